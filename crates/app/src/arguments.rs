//! What was typed, made fit for clap: flags with one dash, which end at the first argument.
//!
//! Only under `sync` and `replicate`, which are our own, they may also follow it.

use crate::{failure::Failure, help};
use clap::{Arg, Command, error::ContextKind};

/// What is to be done with a command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Run a command: arguments for clap, and those that look like flags but come too late.
    Run {
        /// Program, command, flags with two dashes, `--`, the rest.
        arguments: Vec<String>,
        /// Arguments with a dash behind the first plain one.
        late: Vec<String>,
    },
    /// Show the help of a command.
    Help(String),
    /// Show the version.
    Version,
    /// Put completion into the shells' startup files, or take it out.
    Install(bool),
    /// No such command; show what there is.
    Unknown(String),
}

/// Understands a command line. `root` must be built, so that its commands know the common flags.
pub(crate) fn understand(root: &Command, arguments: &[String]) -> Result<Typed, Failure> {
    let mut command = root;
    let mut words = vec![root.get_name().to_owned()];
    let mut rest = arguments;
    while let [word, after @ ..] = rest
        && let Some(found) = command.find_subcommand(word)
    {
        words.push(found.get_name().to_owned());
        (command, rest) = (found, after);
    }
    let first = rest.first().map(String::as_str);
    if words.len() == 1 {
        return Ok(match first {
            Some("-v" | "-version" | "--version") => Typed::Version,
            Some("-autocomplete-install" | "--autocomplete-install") => Typed::Install(true),
            Some("-autocomplete-uninstall" | "--autocomplete-uninstall") => Typed::Install(false),
            Some(word) if is_help(word) => Typed::Help(help::overview(root)),
            _ => Typed::Unknown(help::overview(root)),
        });
    }
    let help = || help::of(command, &words);
    if first.is_some_and(is_help) {
        return Ok(Typed::Help(help()));
    }
    if command.has_subcommands() {
        return Err(Failure::usage(help()));
    }
    let anywhere =
        words.get(1).is_some_and(|family| matches!(family.as_str(), "sync" | "replicate"));
    let (flags, plain) = match flags(command, rest, anywhere)? {
        Some(split) => split,
        None => return Ok(Typed::Help(help())),
    };
    let late = plain.iter().filter(|text| text.len() > 1 && text.starts_with('-'));
    let late = late.cloned().collect();
    words.extend(flags);
    words.push("--".to_owned());
    words.extend(plain);
    Ok(Typed::Run { arguments: words, late })
}

/// A fault that clap found, in the words Go's users know.
pub(crate) fn fault(error: &clap::Error) -> Failure {
    let context = |kind| error.get(kind).map(ToString::to_string);
    if let (Some(flag), Some(value)) =
        (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue))
    {
        let flag = flag.split_whitespace().next().unwrap_or_default().trim_start_matches('-');
        let flag = flag.split('=').next().unwrap_or_default();
        let reason = std::error::Error::source(error).map(ToString::to_string);
        let reason = reason.unwrap_or_else(|| "not one of its values".to_owned());
        return Failure::usage(format!("invalid value {value:?} for flag -{flag}: {reason}"));
    }
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    Failure::usage(line.strip_prefix("error: ").unwrap_or(line).replace("--", "-"))
}

/// The plain arguments, when there are as many as the command takes.
pub(crate) fn exactly<const N: usize>(arguments: &[String]) -> Result<&[String; N], Failure> {
    let count = arguments.len();
    let failed =
        |which: &str| Failure::usage(format!("{which} arguments (expected {N}, got {count})"));
    if count > N {
        return Err(failed("Too many"));
    }
    arguments.try_into().map_err(|_| failed("Not enough"))
}

/// The one plain argument that may be left out.
pub(crate) fn optional(arguments: &[String]) -> Result<Option<&String>, Failure> {
    match arguments {
        [] => Ok(None),
        [argument] => Ok(Some(argument)),
        more => {
            let count = more.len();
            Err(Failure::usage(format!("Too many arguments (expected 0-1, got {count})")))
        }
    }
}

/// The first plain argument, and the others.
pub(crate) fn first(arguments: &[String]) -> Result<(&String, &[String]), Failure> {
    let enough = arguments.split_first();
    enough.ok_or_else(|| Failure::usage("Not enough arguments (expected >1, got 0)"))
}

/// Flags rewritten for clap, and the plain arguments behind them; `None` when help is asked for.
type Split = (Vec<String>, Vec<String>);

fn flags(
    command: &Command,
    arguments: &[String],
    anywhere: bool,
) -> Result<Option<Split>, Failure> {
    let (mut flags, mut plain) = (Vec::new(), Vec::new());
    let mut rest = arguments;
    while let [argument, after @ ..] = rest {
        if argument == "--" {
            rest = after;
            break;
        }
        if argument == "-" || !argument.starts_with('-') {
            if !anywhere {
                break;
            }
            plain.push(argument.clone());
            rest = after;
            continue;
        }
        if is_help(argument) {
            return Ok(None);
        }
        rest = after;
        let text = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        let text = text.unwrap_or(argument);
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let Some(flag) = command.get_arguments().find(|flag| answers_to(flag, name)) else {
            return Err(Failure::usage(format!("flag provided but not defined: -{name}")));
        };
        let long = flag.get_long().unwrap_or(name);
        if is_switch(flag) {
            flags.extend(switch(flag, long, value)?);
            continue;
        }
        let value = match (value, rest) {
            (Some(value), _) => value,
            (None, [next, after @ ..]) => {
                rest = after;
                next.clone()
            }
            (None, []) => {
                return Err(Failure::usage(format!("flag needs an argument: -{name}")));
            }
        };
        flags.push(format!("--{long}={value}"));
    }
    plain.extend_from_slice(rest);
    Ok(Some((flags, plain)))
}

fn switch(flag: &Arg, long: &str, value: Option<String>) -> Result<Option<String>, Failure> {
    let on = match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some(other) => {
            let text = format!("invalid boolean value {other:?} for -{long}: parse error");
            return Err(Failure::usage(text));
        }
    };
    // A switch that is on by default carries its value.
    if flag.get_num_args().is_some_and(|range| range.takes_values()) {
        return Ok(Some(format!("--{long}={on}")));
    }
    Ok(on.then(|| format!("--{long}")))
}

/// Whether a flag stands alone, or takes its value only behind `=`.
pub(crate) fn is_switch(flag: &Arg) -> bool {
    flag.get_num_args().is_some_and(|range| range.min_values() == 0)
}

/// Whether a flag has this name, without its dashes.
pub(crate) fn answers_to(flag: &Arg, name: &str) -> bool {
    flag.get_long() == Some(name)
        || flag.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
}

fn is_help(argument: &str) -> bool {
    matches!(argument, "-h" | "-help" | "--help")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;

    fn command() -> Command {
        let get = Command::new("get")
            .arg(Arg::new("field").long("field").num_args(1))
            .arg(Arg::new("force").long("force").alias("f").action(ArgAction::SetTrue))
            .arg(Arg::new("renewable").long("renewable").num_args(0..=1))
            .arg(Arg::new("rest").num_args(0..));
        let common = Arg::new("format").long("format").global(true).num_args(1);
        let mut root = Command::new("bailee").disable_help_subcommand(true).arg(common);
        let sync = Command::new("sync").subcommand(get.clone());
        root = root.subcommand(Command::new("kv").subcommand(get)).subcommand(sync);
        root.build();
        root
    }

    fn typed(arguments: &[&str]) -> Result<Typed, Failure> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        understand(&command(), &arguments)
    }

    fn rewritten(arguments: &[&str]) -> String {
        match typed(arguments) {
            Ok(Typed::Run { arguments, .. }) => arguments.join(" "),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn flags_take_one_dash_or_two_and_their_value_either_way() {
        let expected = "bailee kv get --field=a --format=json -- x";
        assert_eq!(rewritten(&["kv", "get", "-field=a", "-format", "json", "x"]), expected);
        assert_eq!(rewritten(&["kv", "get", "--field", "a", "--format=json", "x"]), expected);
        assert_eq!(rewritten(&["kv", "get", "-field=", "x"]), "bailee kv get --field= -- x");
        assert_eq!(
            rewritten(&["kv", "get", "-f", "-renewable", "-"]),
            "bailee kv get --force --renewable=true -- -"
        );
        assert_eq!(
            rewritten(&["kv", "get", "-force=false", "-renewable=0"]),
            "bailee kv get --renewable=false --"
        );
    }

    #[test]
    fn flags_end_at_the_first_plain_argument() {
        let late = typed(&["kv", "get", "x", "-field=a", "-"]).unwrap();
        let Typed::Run { arguments, late } = late else { panic!("{late:?}") };
        assert_eq!(arguments.join(" "), "bailee kv get -- x -field=a -");
        assert_eq!(late, ["-field=a"]);
    }

    #[test]
    fn flags_of_our_own_commands_may_follow_arguments() {
        let expected = "bailee sync get --field=a --force -- x - y";
        assert_eq!(rewritten(&["sync", "get", "x", "-field", "a", "-", "-force", "y"]), expected);
        assert_eq!(rewritten(&["sync", "get", "x", "--", "-y"]), "bailee sync get -- x -y");
    }

    #[test]
    fn unknown_flags_and_missing_values_are_usage_errors() {
        let failed = |arguments: &[&str]| typed(arguments).unwrap_err();
        assert_eq!(
            failed(&["kv", "get", "-nope", "x"]),
            Failure::usage("flag provided but not defined: -nope")
        );
        assert_eq!(
            failed(&["kv", "get", "-field"]),
            Failure::usage("flag needs an argument: -field")
        );
        assert_eq!(failed(&["kv"]).exit, 1);
        assert_eq!(failed(&["kv", "nope"]).exit, 1);
    }

    #[test]
    fn unknown_commands_help_and_version_are_told_apart() {
        assert!(matches!(typed(&[]), Ok(Typed::Unknown(_))));
        assert!(matches!(typed(&["nope"]), Ok(Typed::Unknown(_))));
        assert!(matches!(typed(&["kv", "get", "-h"]), Ok(Typed::Help(_))));
        assert!(matches!(typed(&["-help"]), Ok(Typed::Help(_))));
        assert_eq!(typed(&["-version"]).unwrap(), Typed::Version);
    }

    #[test]
    fn counts_of_arguments_are_checked() {
        let arguments = ["a".to_owned(), "b".to_owned()];
        let failure = exactly::<1>(&arguments).unwrap_err();
        assert_eq!(failure.message, "Too many arguments (expected 1, got 2)");
        let failure = exactly::<1>(&[]).unwrap_err();
        assert_eq!(failure.message, "Not enough arguments (expected 1, got 0)");
    }
}
