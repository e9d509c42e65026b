//! A copy of everything that is stored, as a file: made while writes go on, restored whole or not at
//! all.
//!
//! The file is a gzip archive of `meta.json`, `state.bin` (the entries as storage has them: sealed),
//! `SHA256SUMS` over both, and `SHA256SUMS.sealed`, the sums signed with a key of the cluster.
//! Nothing in it can be read without the shares that open the storage it was made of.

mod archive;
mod state_file;
mod tar;

pub(crate) use archive::{Checked, Meta, check, write};
pub(crate) use state_file::{StateFile, entries};

use bailee_crypto::random;
use bailee_sdk::{Code, Error};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Largest snapshot, as it comes and as it is unpacked.
pub const SNAPSHOT_BYTES_MAX: u64 = 64 << 30;

/// A private file without a name, which is gone with the last who uses it.
pub(crate) fn scratch(folder: &Path) -> io::Result<File> {
    let path = folder.join(format!(".bailee-scratch-{}", random::alphanumeric(16)));
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// A failure of the disk that scratch files are on.
pub(crate) fn disk(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::new(Code::Internal, "no room on disk for the snapshot").because(error)
        }
        _ => Error::internal(error),
    }
}

/// What is wrong with a snapshot that someone sent.
pub(crate) fn unusable(what: &str) -> Error {
    Error::new(Code::InvalidRequest, format!("this is not a usable snapshot: {what}"))
}
