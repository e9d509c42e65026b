//! The folder the engine lives in: made private, claimed by one process, never another server's.

use super::failure::{from_system, unavailable};
use crate::Error;
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

const DATABASE: &str = "bailee.db";
const LOG: &str = "bailee.db-wal";
const LOCK: &str = "lock";
/// Long enough that no file of an operator is taken for ours and removed.
const COPY_PREFIX: &str = "bailee.db-copy-";
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Marks of folders that are not ours: the name, whether it is a folder, what it belongs to.
const FOREIGN: [(&str, bool, &str); 11] = [
    ("vault.db", false, "the raft storage of Vault or OpenBao"),
    ("raft", true, "the raft storage of Vault or OpenBao"),
    ("core", true, "the file storage of Vault or OpenBao"),
    ("sys", true, "the file storage of Vault or OpenBao"),
    ("logical", true, "the file storage of Vault or OpenBao"),
    ("auth", true, "the file storage of Vault or OpenBao"),
    ("audit", true, "the file storage of Vault or OpenBao"),
    ("_migration", false, "the file storage of Vault or OpenBao"),
    ("_core", true, "the file storage of Vault or OpenBao"),
    ("member", true, "etcd"),
    ("PG_VERSION", false, "PostgreSQL"),
];

/// A folder that this process holds alone until the value is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Held, not read: the lock ends with it.
    _lock: File,
    copies: AtomicU64,
}

impl Folder {
    /// Makes the folder if need be and waits at most `patience` for another process to leave it.
    pub(super) fn claim(path: &Path, patience: Duration) -> Result<Folder, Error> {
        create(path)?;
        let database = path.join(DATABASE);
        if !has_bytes(&database) {
            refuse_foreign(path)?;
            refuse_orphaned_log(path)?;
        }
        let lock = lock(path, patience)?;
        let folder = Folder { path: path.to_owned(), _lock: lock, copies: AtomicU64::new(0) };
        folder.remove_leftovers()?;
        match private().create_new(true).open(&database) {
            Ok(file) => file.sync_all().map_err(|error| at(&database, "create", &error))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(at(&database, "create", &error)),
        }
        folder.flush()?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Sizes in bytes of the database and of its log; 0 for a file that is not there.
    pub(super) fn sizes(&self) -> (u64, u64) {
        let size = |name| fs::metadata(self.path.join(name)).map_or(0, |about| about.len());
        (size(DATABASE), size(LOG))
    }

    /// Makes the names in the folder durable.
    pub(super) fn flush(&self) -> Result<(), Error> {
        flush(&self.path)
    }

    /// An empty private file for a copy.
    pub(super) fn copy(&self) -> Result<CopyFile, Error> {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("{COPY_PREFIX}{number}"));
        private().create_new(true).open(&path).map_err(|error| at(&path, "create", &error))?;
        Ok(CopyFile(path))
    }

    /// Copies that a crash left behind.
    fn remove_leftovers(&self) -> Result<(), Error> {
        let failed = |error| at(&self.path, "read", &error);
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_string_lossy().starts_with(COPY_PREFIX) {
                fs::remove_file(entry.path())
                    .map_err(|error| at(&entry.path(), "remove", &error))?;
            }
        }
        Ok(())
    }
}

/// A file that is removed with the value.
#[derive(Debug)]
pub(super) struct CopyFile(PathBuf);

impl CopyFile {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for CopyFile {
    fn drop(&mut self) {
        // What cannot be removed now goes when the folder is opened next.
        fs::remove_file(&self.0).ok();
    }
}

fn create(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| is_missing(folder)).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| at(path, "create", &error))?;
    missing.iter().filter_map(|folder| folder.parent()).try_for_each(flush)
}

fn is_missing(folder: &Path) -> bool {
    !folder.as_os_str().is_empty() && !folder.exists()
}

fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let found = FOREIGN.iter().find(|(name, is_folder, _)| {
        let about = fs::metadata(path.join(name));
        about.is_ok_and(|about| about.is_dir() == *is_folder)
    });
    match found {
        None => Ok(()),
        Some((name, _, owner)) => Err(Error::Unavailable(format!(
            "{} holds data of another server: {name:?} belongs to {owner}; nothing was changed; \
             set the storage path to an empty folder",
            path.display()
        ))),
    }
}

/// A log without its file means that the file was lost; starting empty would hide that.
fn refuse_orphaned_log(path: &Path) -> Result<(), Error> {
    if has_bytes(&path.join(LOG)) {
        return Err(Error::Corrupt(format!(
            "{} has {LOG} but {DATABASE} is missing or empty; restore both from the same copy",
            path.display()
        )));
    }
    Ok(())
}

fn has_bytes(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.len() > 0)
}

fn lock(path: &Path, patience: Duration) -> Result<File, Error> {
    let name = path.join(LOCK);
    let file = private()
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(|error| at(&name, "open", &error))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() < patience => {
                thread::sleep(LOCK_RETRY);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Unavailable(format!(
                    "{} is in use by another process; stop it or use another folder",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(at(&name, "lock", &error)),
        }
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn flush(folder: &Path) -> Result<(), Error> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| at(folder, "flush", &error))
}

fn at(path: &Path, doing: &str, error: &std::io::Error) -> Error {
    match from_system(doing, error) {
        Error::Full => Error::Full,
        _ => unavailable(&format!("{doing} {}", path.display()), error),
    }
}
