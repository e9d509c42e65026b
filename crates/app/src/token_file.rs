//! What remembers the token between commands: a file, or the user's own program.

use crate::config::env;
use bailee_agent::private_file;
use bailee_crypto::Sensitive;
use bailee_notation::hcl;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const NAME: &str = ".vault-token";
/// The user's settings for the command line.
const SETTINGS: &str = ".vault";

/// The token that was stored; `None` when there is none.
pub(crate) fn read() -> io::Result<Option<Sensitive<String>>> {
    if let Some(helper) = helper()? {
        return read_by(&helper);
    }
    match env::home() {
        Some(home) => read_from(&home.join(NAME)),
        None => Ok(None),
    }
}

/// Stores a token for the commands to come, readable by its owner only.
pub(crate) fn store(token: &Sensitive<String>) -> io::Result<()> {
    match helper()? {
        Some(helper) => run(&helper, "store", token.expose().as_bytes()).map(drop),
        None => store_in(&path()?, token),
    }
}

/// The program that keeps tokens instead of the file: `token_helper` in the user's settings.
fn helper() -> io::Result<Option<PathBuf>> {
    let settings = env::setting("CONFIG_PATH").map(PathBuf::from);
    match settings.or_else(|| Some(env::home()?.join(SETTINGS))) {
        Some(settings) => helper_of(&settings),
        None => Ok(None),
    }
}

fn helper_of(settings: &Path) -> io::Result<Option<PathBuf>> {
    let failed = |reason: &str| io::Error::other(format!("{}: {reason}", settings.display()));
    let text = match fs::read_to_string(settings) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error.to_string())),
    };
    let body = hcl::parse(&text).map_err(|error| failed(&error.to_string()))?;
    let named =
        |item: &&hcl::Item| item.keys.first().is_some_and(|key| key.value == "token_helper");
    match body.items.iter().find(named).map(|item| &item.value.value) {
        None => Ok(None),
        Some(hcl::Value::String(path)) if path.is_empty() => Ok(None),
        Some(hcl::Value::String(path)) => Ok(Some(PathBuf::from(path))),
        Some(_) => Err(failed("token_helper is not the path of a program")),
    }
}

fn read_by(helper: &Path) -> io::Result<Option<Sensitive<String>>> {
    let told =
        Sensitive::from(String::from_utf8(run(helper, "get", &[])?.stdout).map_err(|_| {
            io::Error::other(format!("{}: its answer is not text", helper.display()))
        })?);
    let token = told.expose().trim();
    Ok((!token.is_empty()).then(|| Sensitive::from(token)))
}

/// Runs the program with a word that says what is wanted, and gives it the token on its standard
/// input, where nobody else sees it.
fn run(helper: &Path, word: &str, input: &[u8]) -> io::Result<Output> {
    let failed = |reason: &dyn std::fmt::Display| {
        io::Error::other(format!("token helper {}: {reason}", helper.display()))
    };
    let mut child = Command::new(helper)
        .arg(word)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // It did not want to read all of it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.map_err(|error| failed(&error))?,
        }
    }
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    if output.status.success() { Ok(output) } else { Err(failed(&output.status)) }
}

fn path() -> io::Result<PathBuf> {
    let home = env::home();
    let home =
        home.ok_or_else(|| io::Error::other("HOME is not set, so there is no place for it"))?;
    Ok(home.join(NAME))
}

fn read_from(path: &Path) -> io::Result<Option<Sensitive<String>>> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(Sensitive::from(text.trim()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn store_in(path: &Path, token: &Sensitive<String>) -> io::Result<()> {
    private_file::replace(path, token.expose().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_replaced_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        assert_eq!(read_from(&path).unwrap(), None);
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        store_in(&path, &Sensitive::from("new")).unwrap();
        assert_eq!(read_from(&path).unwrap(), Some(Sensitive::from("new")));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn the_users_own_program_can_keep_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let (program, kept) = (folder.path().join("helper"), folder.path().join("kept"));
        let script = format!(
            "#!/bin/sh\ncase $1 in get) cat {0};; store) cat > {0};; *) exit 1;; esac\n",
            kept.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let settings = folder.path().join("settings");
        assert_eq!(helper_of(&settings).unwrap(), None);
        fs::write(&settings, format!("token_helper = {:?}\n", program)).unwrap();
        let helper = helper_of(&settings).unwrap().unwrap();
        run(&helper, "store", b"hvs.x").unwrap();
        assert_eq!(read_by(&helper).unwrap(), Some(Sensitive::from("hvs.x")));
        fs::remove_file(&kept).unwrap();
        assert!(
            read_by(&helper).is_err(),
            "a program that fails is not taken for one without a token"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_written_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join(NAME);
        assert!(store_in(&path, &Sensitive::from("new")).is_err());
    }
}
