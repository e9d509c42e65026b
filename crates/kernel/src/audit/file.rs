//! Lines in a file, or on standard output.

use super::outlet::{Line, Sink, all_failed, write_stream};
use rustix::fs::OFlags;
use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{
        DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Longest wait for the reader of a pipe that is full.
const PIPE_WAIT: Duration = Duration::from_secs(2);
/// Time between two tries to write to it.
const PIPE_PAUSE: Duration = Duration::from_millis(5);
/// Mode of folders that are made for a file.
const FOLDER_MODE: u32 = 0o700;
/// Bits of a mode that let a file be run.
const EXECUTABLE: u32 = 0o111;

/// What belongs to the server itself: no device may write there.
pub(super) type OwnFiles = Arc<Vec<PathBuf>>;

/// Appends lines to a file.
pub(super) struct FileSink {
    path: PathBuf,
    /// Mode of the file; none to leave it as it is.
    mode: Option<u32>,
    own: OwnFiles,
    opened: Option<Opened>,
}

struct Opened {
    file: File,
    /// The last line may have been cut short.
    torn: bool,
}

impl FileSink {
    pub(super) fn new(path: &str, mode: Option<u32>, own: OwnFiles) -> FileSink {
        FileSink { path: PathBuf::from(path), mode, own, opened: None }
    }

    fn open(&self) -> io::Result<Opened> {
        self.try_open().map_err(|error| {
            let path = self.path.display();
            let text = plain(&error);
            io::Error::new(
                error.kind(),
                format!("sanity check failed; unable to open \"{path}\" for writing: {text}"),
            )
        })
    }

    fn try_open(&self) -> io::Result<Opened> {
        let path = real_path(&self.path, &self.own)?;
        let known = match fs::metadata(&path) {
            Ok(known) => Some(known),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        known.as_ref().map(check_kind).transpose()?;
        let is_plain = known.as_ref().is_none_or(Metadata::is_file);
        // A pipe without a reader is refused instead of waited for, and links were followed above.
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY).bits();
        let flags = i32::try_from(flags).map_err(io::Error::other)?;
        let mut file = OpenOptions::new()
            .append(true)
            .read(is_plain)
            .create(true)
            .mode(self.mode.unwrap_or(0o600))
            .custom_flags(flags)
            .open(&path)?;
        let now = file.metadata()?;
        check_kind(&now)?;
        let mut torn = false;
        if now.is_file() {
            if let Some(mode) = self.mode.filter(|mode| now.mode() & 0o7777 != *mode) {
                file.set_permissions(Permissions::from_mode(mode))?;
            }
            torn = is_torn(&mut file, now.len())?;
        }
        Ok(Opened { file, torn })
    }
}

impl Sink for FileSink {
    fn write(&mut self, lines: &[Line]) -> Vec<io::Result<()>> {
        if self.opened.is_none()
            && let Err(error) = self.reopen()
        {
            return all_failed(lines, &error);
        }
        let Some(opened) = &mut self.opened else { return Vec::new() };
        if opened.torn {
            if let Err(error) = Patient(&mut opened.file).write_all(b"\n") {
                return all_failed(lines, &error);
            }
            opened.torn = false;
        }
        let (outcomes, begun) = write_stream(&mut Patient(&mut opened.file), lines);
        opened.torn = begun > 0;
        outcomes
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.opened = None;
        self.opened = Some(self.open()?);
        Ok(())
    }
}

/// Standard output of the server.
pub(super) struct Stdout;

impl Sink for Stdout {
    fn write(&mut self, lines: &[Line]) -> Vec<io::Result<()>> {
        let mut stdout = io::stdout().lock();
        let (outcomes, _) = write_stream(&mut stdout, lines);
        match stdout.flush() {
            Ok(()) => outcomes,
            Err(error) => all_failed(lines, &error),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nowhere: to see what auditing costs.
pub(super) struct Discard;

impl Sink for Discard {
    fn write(&mut self, lines: &[Line]) -> Vec<io::Result<()>> {
        lines.iter().map(|_| Ok(())).collect()
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits a little for the reader of a full pipe.
struct Patient<'a>(&'a mut File);

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let began = Instant::now();
        loop {
            match self.0.write(bytes) {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && began.elapsed() < PIPE_WAIT =>
                {
                    thread::sleep(PIPE_PAUSE);
                }
                outcome => return outcome,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a path leads, links followed, its folder made. Nothing of the server's own is there.
fn real_path(path: &Path, own: &[PathBuf]) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let there = folder.ancestors().find(|folder| folder.exists());
    check_own(&there.unwrap_or(Path::new(".")).canonicalize()?, own)?;
    make_folder(folder)?;
    let place = folder.canonicalize()?.join(name);
    let place = match fs::symlink_metadata(&place) {
        // A link to nothing is an error too: what it is to lead to cannot be judged.
        Ok(known) if known.is_symlink() => place.canonicalize()?,
        _ => place,
    };
    check_own(&place, own)?;
    Ok(place)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
    made.map_err(|error| {
        let blocker = folder.ancestors().find(|above| above.exists() && !above.is_dir());
        let text = match blocker {
            Some(blocker) => format!("mkdir {}: not a directory", blocker.display()),
            None => format!("mkdir {}: {}", folder.display(), plain(&error)),
        };
        io::Error::new(error.kind(), text)
    })
}

fn check_own(place: &Path, own: &[PathBuf]) -> io::Result<()> {
    let is_own = own.iter().any(|own| {
        let own = own.canonicalize().unwrap_or_else(|_| own.clone());
        place.starts_with(&own)
    });
    if is_own {
        return Err(io::Error::other("it belongs to the server itself"));
    }
    Ok(())
}

/// A file nobody runs, a pipe, or a device such as a terminal.
fn check_kind(known: &Metadata) -> io::Result<()> {
    let kind = known.file_type();
    if kind.is_dir() {
        return Err(io::Error::other("is a directory"));
    }
    if kind.is_file() && known.mode() & EXECUTABLE != 0 {
        return Err(io::Error::other("the file is executable"));
    }
    if kind.is_file() || kind.is_fifo() || kind.is_char_device() {
        return Ok(());
    }
    Err(io::Error::other("it is neither a file nor a pipe"))
}

/// Whether the last line has no end: the process or the machine may have died while writing it.
fn is_torn(file: &mut File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// The text without the number that Rust adds.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
