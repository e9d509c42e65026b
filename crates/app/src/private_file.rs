//! Files that only their owner may read: tokens, keys.

use bailee_crypto::random;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Makes a file that was not there, empty.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a file beside another one that it is to replace.
pub(crate) fn beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", random::alphanumeric(12)));
    let beside = PathBuf::from(beside);
    let file = create(&beside)?;
    Ok((beside, file))
}

/// Replaces a file as a whole: a reader never sees half of it, nor anyone a readable one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let (new, file) = beside(path)?;
    let written = fill(file, content).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        fs::remove_file(&new).ok();
    }
    written
}

/// Writes all of it, and returns when it is on the disk.
pub(crate) fn fill(mut file: File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}
