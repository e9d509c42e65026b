//! One file on disk: replaced as a whole, under whatever folder it is in.

use crate::outputs::Invalid;
use bailee_crypto::random;
use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fchmod, fchown, fstat, fsync, mkdirat,
        openat, readlinkat, renameat, unlinkat,
    },
    io::Errno,
    process::{Gid, Uid, geteuid},
};
use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Component, Path, PathBuf},
};
use zeroize::Zeroizing;

/// The longest name of a file, in bytes; the name of the file that becomes it is longer.
const NAME_BYTES_MAX: usize = 200;
/// The most symbolic links on the way to a file.
const LINKS_MAX: usize = 40;
/// Letters that tell one private file from another.
const RANDOM_LETTERS: usize = 12;
/// How the names of private files end.
const PRIVATE_SUFFIX: &str = ".bailee";
/// The mode of folders that are made.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);
/// Entries of a folder that are looked at for what a crash left behind.
const ENTRIES_MAX: usize = 100_000;

/// Where a file is, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    folder: PathBuf,
    name: OsString,
    /// Its mode.
    pub mode: FileMode,
    /// Its user's number; the agent's where absent.
    pub user: Option<u32>,
    /// Its group's number; the agent's where absent.
    pub group: Option<u32>,
    /// Whether folders on the way to it are made.
    pub create_directories: bool,
}

/// Who may do what with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

impl Default for FileMode {
    /// Only the owner reads and writes it.
    fn default() -> FileMode {
        FileMode(0o600)
    }
}

impl FileMode {
    /// Reads an octal mode, such as `0640`.
    ///
    /// # Errors
    /// It is none, or gives more than reading and writing, or lets everybody write.
    pub fn parse(text: &str) -> Result<FileMode, Invalid> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = !digits.is_empty() && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o777);
        let Some(mode) = mode else {
            return Err(Invalid::new(format!("mode: {text:?} is no mode; write it as \"0640\"")));
        };
        if mode & 0o113 != 0 {
            return Err(Invalid::new(format!(
                "mode: {text:?} lets somebody run the file, or everybody write it; \"0664\" is the most"
            )));
        }
        Ok(FileMode(mode))
    }
}

impl Target {
    /// The file at a path, with everything else as nobody says otherwise.
    ///
    /// # Errors
    /// The path is not absolute, leads up, or has no name at its end.
    pub fn new(path: &Path) -> Result<Target, Invalid> {
        let shown = path.display();
        if !path.is_absolute() {
            return Err(Invalid::new(format!("path: {shown} is not absolute; begin it with /")));
        }
        let plain =
            path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        let ends_in_slash = path.as_os_str().as_bytes().ends_with(b"/");
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Invalid::new(format!("path: {shown} names no file")));
        };
        if !plain || ends_in_slash || path.as_os_str().as_bytes().contains(&0) {
            return Err(Invalid::new(format!("path: {shown} names no file, or leads up by ..")));
        }
        if name.len() > NAME_BYTES_MAX {
            let message =
                format!("path: the name of {shown} is longer than {NAME_BYTES_MAX} bytes");
            return Err(Invalid::new(message));
        }
        Ok(Target {
            folder: folder.to_owned(),
            name: name.to_owned(),
            mode: FileMode::default(),
            user: None,
            group: None,
            create_directories: false,
        })
    }

    /// The whole path.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Makes the file hold this, and says whether it did not before. A reader never sees a part of it; after a crash
    /// it is the old one or the new one.
    ///
    /// # Errors
    /// The old file is as it was; the error tells the step.
    pub(in crate::outputs) fn write(&self, content: &[u8]) -> io::Result<bool> {
        let folder = self.open_folder()?;
        if self.holds(&folder, content)? {
            return Ok(false);
        }
        let private = self.private_name();
        let written = self.fill(&folder, &private, content).and_then(|()| {
            let renamed = renameat(&folder, &private, &folder, &self.name);
            renamed.map_err(at("it cannot be put in its place"))
        });
        if let Err(error) = written {
            unlinkat(&folder, &private, AtFlags::empty()).ok();
            return Err(error);
        }
        fsync(&folder).map_err(at("its folder cannot be written to disk"))?;
        Ok(true)
    }

    /// Removes what a run that crashed left behind, and says how many files that were.
    pub(super) fn clean(&self) -> usize {
        let Ok(folder) = self.open_folder() else { return 0 };
        let Ok(entries) = Dir::read_from(&folder) else { return 0 };
        let names = entries.take(ENTRIES_MAX).flatten().map(|entry| entry.file_name().to_owned());
        let left = names.filter(|name| self.is_private_name(name.to_bytes()));
        left.filter(|name| unlinkat(&folder, name, AtFlags::empty()).is_ok()).count()
    }

    fn fill(&self, folder: &OwnedFd, private: &OsStr, content: &[u8]) -> io::Result<()> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(folder, private, flags, Mode::from_raw_mode(0o600));
        let file = file.map_err(at("no file can be made beside it"))?;
        // Whose it is and who may read it is settled before there is anything to read.
        if self.user.is_some() || self.group.is_some() {
            let (user, group) = (self.user.map(Uid::from_raw), self.group.map(Gid::from_raw));
            fchown(&file, user, group).map_err(at("its user or group cannot be set"))?;
        }
        fchmod(&file, Mode::from_raw_mode(self.mode.0)).map_err(at("its mode cannot be set"))?;
        let mut file = File::from(file);
        let written = file.write_all(content).and_then(|()| file.sync_all());
        written.map_err(|error| told("it cannot be written", &error))
    }

    /// Whether the file is as it shall be.
    fn holds(&self, folder: &OwnedFd, content: &[u8]) -> io::Result<bool> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(folder, &self.name, flags, Mode::empty()) {
            Ok(file) => file,
            // Not there, a symbolic link, or for nobody: it is replaced.
            Err(_) => return Ok(false),
        };
        let stat = fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => {
                return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
            }
            _ => return Ok(false),
        }
        let as_wanted = stat.st_mode & 0o7777 == self.mode.0
            && self.user.is_none_or(|user| user == stat.st_uid)
            && self.group.is_none_or(|group| group == stat.st_gid)
            && u64::try_from(stat.st_size).ok() == u64::try_from(content.len()).ok();
        if !as_wanted {
            return Ok(false);
        }
        let mut found = Zeroizing::new(vec![0; content.len()]);
        let read = File::from(file).read_exact(&mut found);
        Ok(read.is_ok() && found.as_slice() == content)
    }

    /// Opens the folder, step by step: a symbolic link is followed only where nobody but the agent's user and root
    /// could have put it. Otherwise whoever may write a folder on the way would choose where secrets go.
    fn open_folder(&self) -> io::Result<OwnedFd> {
        let steps = self.folder.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            _ => None,
        });
        let mut steps: VecDeque<OsString> = steps.collect();
        let mut links = 0;
        let mut here = root()?;
        while let Some(step) = steps.pop_front() {
            let next = match open_step(&here, &step) {
                Err(Errno::NOENT) if self.create_directories => {
                    match mkdirat(&here, &step, FOLDER_MODE) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(at("a folder on the way cannot be made")(error)),
                    }
                    open_step(&here, &step)
                }
                opened => opened,
            };
            let next = next.map_err(|error| {
                let step = format!("folder {} cannot be opened", step.to_string_lossy());
                told(&step, &error.into())
            })?;
            if !is_link(&fstat(&next)?) {
                here = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX || !is_ours_alone(&fstat(&here)?) {
                let step = step.to_string_lossy();
                let message = format!(
                    "{step} is a symbolic link in a folder that others can write; write the path without it"
                );
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
            }
            let target = readlinkat(&here, &step, Vec::new())?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            if target.is_absolute() {
                here = root()?;
            }
            for component in target.components().rev() {
                match component {
                    Component::Normal(name) => steps.push_front(name.to_owned()),
                    Component::ParentDir => steps.push_front("..".into()),
                    Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                }
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&here, ".", flags, Mode::empty()).map_err(at("its folder cannot be opened"))
    }

    fn private_name(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".{}{PRIVATE_SUFFIX}", random::alphanumeric(RANDOM_LETTERS)));
        name
    }

    fn is_private_name(&self, name: &[u8]) -> bool {
        let middle = name
            .strip_prefix(b".")
            .and_then(|name| name.strip_prefix(self.name.as_bytes()))
            .and_then(|name| name.strip_prefix(b"."))
            .and_then(|name| name.strip_suffix(PRIVATE_SUFFIX.as_bytes()));
        middle.is_some_and(|middle| {
            middle.len() == RANDOM_LETTERS && middle.iter().all(u8::is_ascii_alphanumeric)
        })
    }
}

fn root() -> io::Result<OwnedFd> {
    Ok(openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn open_step(here: &OwnedFd, step: &OsStr) -> Result<OwnedFd, Errno> {
    openat(here, step, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

fn is_ours_alone(folder: &Stat) -> bool {
    let owner = Uid::from_raw(folder.st_uid);
    (owner.is_root() || owner == geteuid()) && folder.st_mode & 0o022 == 0
}

fn at(step: &'static str) -> impl Fn(Errno) -> io::Error {
    move |error| told(step, &error.into())
}

fn told(step: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{step}: {error}"))
}
