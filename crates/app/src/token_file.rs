//! The file that remembers the token between commands.

use crate::config::env;
use bailee_crypto::{Sensitive, random};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const NAME: &str = ".vault-token";

/// The token that was stored; `None` when there is none.
pub(crate) fn read() -> io::Result<Option<Sensitive<String>>> {
    match env::home() {
        Some(home) => read_from(&home.join(NAME)),
        None => Ok(None),
    }
}

/// Stores a token for the commands to come, readable by its owner only.
pub(crate) fn store(token: &Sensitive<String>) -> io::Result<()> {
    store_in(&path()?, token)
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

/// Replaces the file as a whole: a reader never sees half a token, nor anyone a readable one.
fn store_in(path: &Path, token: &Sensitive<String>) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", random::alphanumeric(12)));
    let new = PathBuf::from(new);
    let written = write_new(&new, token).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        fs::remove_file(&new).ok();
    }
    written
}

fn write_new(path: &Path, token: &Sensitive<String>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(token.expose().as_bytes())?;
    file.sync_all()
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
    fn a_folder_that_cannot_be_written_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join(NAME);
        assert!(store_in(&path, &Sensitive::from("new")).is_err());
    }
}
