//! The variables of a process: which may be given, and which of the agent's own it sees.

use super::{Invalid, Value};
use crate::{
    connection::Connection,
    failure::{Cause, Failure},
};
use std::{collections::BTreeMap, ffi::OsString, fmt};

/// The most variables of a process.
pub const VARIABLES_MAX: usize = 500;
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// The longest value with its name, in bytes: Linux takes no longer one.
const VALUE_BYTES_MAX: usize = 128 * 1024 - 2;

/// Variables through which whoever writes a secret would choose the code that runs: of the loader, of shells, and of
/// languages. An `*` stands for any rest.
const REFUSED: [&str; 31] = [
    "PATH",
    "LD_*",
    "DYLD_*",
    "GCONV_PATH",
    "GETCONF_DIR",
    "HOSTALIASES",
    "LOCPATH",
    "MALLOC_*",
    "NLSPATH",
    "RESOLV_HOST_CONF",
    "TZDIR",
    "GLIBC_TUNABLES",
    "IFS",
    "ENV",
    "BASH_ENV",
    "BASH_FUNC_*",
    "BASHOPTS",
    "SHELLOPTS",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PERL5*",
    "RUBYOPT",
    "RUBYLIB",
    "NODE_OPTIONS",
    "NODE_PATH",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
];

/// The agent's own: how it proves who it is, and what its service manager says to it alone.
const KEPT_BACK: [&str; 9] = [
    "AWS_*",
    "VAULT_*",
    "BAO_*",
    "BAILEE_*",
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
    "LISTEN_*",
    "WATCHDOG_*",
    "INVOCATION_ID",
];

/// The name of a variable that a process may be given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable(String);

/// Which of the agent's own variables a process sees although they are kept back: names, or beginnings with `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherit(Vec<String>);

/// Reads what a configuration declares: names, and what each stands for as [`Value::parse`] has it.
///
/// # Errors
/// The first name or value that is wrong, or too many of them.
pub fn environment(
    declared: &BTreeMap<String, String>,
    connections: &BTreeMap<String, Connection>,
    manager: Option<&str>,
) -> Result<BTreeMap<Variable, Value>, Invalid> {
    if declared.len() > VARIABLES_MAX {
        return Err(Invalid::new(format!("environment: more than {VARIABLES_MAX} variables")));
    }
    let read = |(name, text): (&String, &String)| {
        let variable = Variable::new(name)?;
        let value = Value::parse(text, connections, manager);
        let value =
            value.map_err(|wrong| Invalid::new(format!("environment: {variable}: {wrong}")))?;
        Ok((variable, value))
    };
    declared.iter().map(read).collect()
}

impl Variable {
    /// Checks a name.
    ///
    /// # Errors
    /// It is no name of a variable, or one that decides which code runs.
    pub fn new(name: &str) -> Result<Variable, Invalid> {
        let mut letters = name.chars();
        let begins =
            letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
        let goes_on = letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !begins || !goes_on || name.len() > NAME_BYTES_MAX {
            return Err(Invalid::new(format!(
                "environment: {name:?} is no name of a variable; take letters, digits and _, no digit first, \
                 {NAME_BYTES_MAX} bytes at most"
            )));
        }
        if let Some(pattern) = REFUSED.iter().find(|pattern| matches(pattern, name)) {
            return Err(Invalid::new(format!(
                "environment: {name} is refused ({pattern}): who writes the secret would choose what code runs; \
                 set it for the agent, whose variables the process sees"
            )));
        }
        Ok(Variable(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a variable can hold a value.
    pub(super) fn check(&self, value: &str) -> Result<(), Failure> {
        if value.contains('\0') {
            return Err(Failure::new(Cause::Invalid, "the value has a NUL byte; no variable can"));
        }
        if self.0.len() + value.len() > VALUE_BYTES_MAX {
            let message = format!(
                "the value is longer than a variable can be ({VALUE_BYTES_MAX} bytes with its name); write it to a file"
            );
            return Err(Failure::new(Cause::Invalid, message));
        }
        Ok(())
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Inherit {
    /// Checks names, such as `AWS_REGION`, and beginnings, such as `AWS_CONTAINER_*`.
    ///
    /// # Errors
    /// One of them is neither.
    pub fn new(names: Vec<String>) -> Result<Inherit, Invalid> {
        if names.len() > VARIABLES_MAX {
            return Err(Invalid::new(format!("inherit: more than {VARIABLES_MAX} names")));
        }
        for name in &names {
            let bare = name.strip_suffix('*').unwrap_or(name);
            if bare.is_empty() || bare.contains(['*', '=', '\0']) {
                return Err(Invalid::new(format!(
                    "inherit: {name:?} is no name of a variable; write AWS_REGION or AWS_CONTAINER_*"
                )));
            }
        }
        Ok(Inherit(names))
    }

    /// What a process sees of the agent's own variables.
    pub(in crate::outputs) fn filter(
        &self,
        own: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> impl Iterator<Item = (OsString, OsString)> {
        own.into_iter().filter(|(name, _)| {
            let name = name.to_string_lossy();
            let kept_back = KEPT_BACK.iter().any(|pattern| matches(pattern, &name));
            !kept_back || self.0.iter().any(|pattern| matches(pattern, &name))
        })
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}
