//! Files that only their owner may read.

use bailee_crypto::{Sensitive, random};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

/// Reads a file that nobody but its owner may read, at most so many bytes.
///
/// # Errors
/// A sentence that names the file and the fix: it is not there, is no file, others may read it, it is too long.
pub fn read(path: &Path, bytes_max: u64) -> Result<Sensitive<Vec<u8>>, String> {
    let shown = path.display();
    let told = |error: &io::Error| format!("{shown} cannot be read: {error}");
    let file = File::open(path).map_err(|error| told(&error))?;
    // Asked of the open file: a name may lead elsewhere a moment later.
    let metadata = file.metadata().map_err(|error| told(&error))?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(format!("{shown} has mode {mode:04o}: others may read it; chmod 600 {shown}"));
    }
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let room = usize::try_from(bytes_max).unwrap_or(usize::MAX).saturating_add(1);
    let mut content = Vec::with_capacity(room);
    let read = file.take(bytes_max + 1).read_to_end(&mut content);
    let bytes = Sensitive::new(content);
    read.map_err(|error| told(&error))?;
    if u64::try_from(bytes.expose().len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(format!("{shown} is longer than {bytes_max} bytes"));
    }
    Ok(bytes)
}

/// Makes a file that was not there, empty.
///
/// # Errors
/// It is there, or cannot be made.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a file beside another one that it is to replace; gives where it is, too.
///
/// # Errors
/// It cannot be made.
pub fn beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", random::alphanumeric(12)));
    let beside = PathBuf::from(beside);
    let file = create(&beside)?;
    Ok((beside, file))
}

/// Writes all of it, and returns when it is on the disk.
///
/// # Errors
/// A part of it may be written.
pub fn fill(mut file: File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}

/// Replaces a file as a whole: a reader never sees half of it, nor anyone a readable one, and after a crash it is the
/// old one or the new one.
///
/// # Errors
/// The old file is as it was.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let (new, file) = beside(path)?;
    let written = fill(file, content).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        fs::remove_file(&new).ok();
        return written;
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
