//! Files that only few may read: who may is decided here, for keys and for tokens.

use bailee_crypto::{Sensitive, random};
use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

/// Who may have a private file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The mode that lets most people in that it may have.
    pub mode: u32,
    /// Who may own it beside root and the one who reads it: the user whom a program that starts as root becomes.
    pub owner: Option<u32>,
}

impl Rule {
    /// Its owner alone may read it.
    pub const OWN: Rule = Rule { mode: 0o600, owner: None };
    /// One of systemd's credentials: it is root's, in a folder that nobody else enters, and where the service has a
    /// user the group's bits stand for what this user was granted.
    pub const CREDENTIAL: Rule = Rule { mode: 0o440, owner: None };

    /// Reads a file, at most so many bytes; gives what the system said of it, too.
    ///
    /// # Errors
    /// What is wrong, for a sentence that begins with the file's name: it is not there, is no file, others may use it,
    /// it belongs to somebody else, it is too long.
    pub fn read(
        self,
        path: &Path,
        bytes_max: u64,
    ) -> Result<(Sensitive<Vec<u8>>, Metadata), String> {
        let told = |error: io::Error| format!("cannot be read: {error}");
        let file = File::open(path).map_err(told)?;
        // Asked of the open file: a name may lead elsewhere a moment later.
        let metadata = file.metadata().map_err(told)?;
        if !metadata.is_file() {
            return Err("is not a file".to_owned());
        }
        let me = rustix::process::geteuid().as_raw();
        if let Some(fault) = self.fault(metadata.mode() & 0o7777, metadata.uid(), me) {
            return Err(format!("{fault} {}", path.display()));
        }
        // Room for all of it at once: a buffer that grows leaves copies behind.
        let room = usize::try_from(bytes_max).unwrap_or(usize::MAX).saturating_add(1);
        let mut content = Vec::with_capacity(room);
        let read = file.take(bytes_max + 1).read_to_end(&mut content);
        let bytes = Sensitive::new(content);
        read.map_err(told)?;
        if u64::try_from(bytes.expose().len()).unwrap_or(u64::MAX) > bytes_max {
            return Err(format!("is longer than {bytes_max} bytes"));
        }
        Ok((bytes, metadata))
    }

    /// What is wrong with a mode and an owner, up to the name of the file.
    fn fault(self, mode: u32, owner: u32, me: u32) -> Option<String> {
        let most = self.mode;
        if mode & OTHERS & !most != 0 {
            return Some(format!(
                "has mode {mode:04o}, so others may use it: run chmod {most:04o}"
            ));
        }
        let becomes = self.owner.unwrap_or(me);
        (![0, me, becomes].contains(&owner)).then(|| {
            format!("belongs to user {owner}, who is neither root nor the one it is for: run chown {becomes}")
        })
    }
}

/// Reads a file that nobody but its owner may read, at most so many bytes.
///
/// # Errors
/// A sentence that names the file and the fix: it is not there, is no file, others may use it, it belongs to somebody
/// else, it is too long.
pub fn read(path: &Path, bytes_max: u64, rule: Rule) -> Result<Sensitive<Vec<u8>>, String> {
    let read = rule.read(path, bytes_max);
    read.map(|(bytes, _)| bytes).map_err(|fault| format!("{} {fault}", path.display()))
}

/// Makes a file that was not there, empty.
///
/// # Errors
/// It is there, or cannot be made.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a file that runs share, such as one that is locked; makes it where it is not there.
///
/// # Errors
/// It cannot be opened or made.
pub fn shared(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, chown};

    const ME: u32 = 1_000;
    const OTHER: u32 = 1_001;

    #[test]
    fn nobody_but_root_the_reader_and_whom_it_becomes_may_own_it() {
        let becoming = Rule { mode: 0o600, owner: Some(OTHER) };
        for (rule, owner, fine) in [
            (Rule::OWN, ME, true),
            (Rule::OWN, 0, true),
            (Rule::OWN, OTHER, false),
            (Rule::CREDENTIAL, OTHER, false),
            (becoming, OTHER, true),
            (becoming, ME, true),
            (becoming, 1_002, false),
        ] {
            assert_eq!(rule.fault(0o600, owner, ME).is_none(), fine, "{rule:?} {owner}");
        }
        let told = Rule::OWN.fault(0o400, OTHER, ME).unwrap();
        assert!(told.starts_with("belongs to user 1001") && told.ends_with("chown 1000"), "{told}");
    }

    #[test]
    fn others_may_do_no_more_than_the_rule_says() {
        let tokens = Rule { mode: 0o640, owner: None };
        for (rule, mode, fine) in [
            (Rule::OWN, 0o400, true),
            (Rule::OWN, 0o700, true),
            (Rule::OWN, 0o640, false),
            (Rule::OWN, 0o601, false),
            (tokens, 0o640, true),
            (tokens, 0o660, false),
            (tokens, 0o644, false),
            (Rule::CREDENTIAL, 0o440, true),
            (Rule::CREDENTIAL, 0o444, false),
            (Rule::CREDENTIAL, 0o460, false),
        ] {
            assert_eq!(rule.fault(mode, ME, ME).is_none(), fine, "{rule:?} {mode:o}");
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        replace(&path, b"canary").unwrap();
        let read = |rule| read(&path, 100, rule);
        assert_eq!(read(Rule::OWN).unwrap().expose(), b"canary");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        assert!(read(Rule::OWN).unwrap_err().ends_with(&format!("0600 {}", path.display())));
        assert_eq!(read(Rule::CREDENTIAL).unwrap().expose(), b"canary");
        // Only root can give a file away; whoever else owns it, this user cannot open it in the first place.
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(65_534), None).unwrap();
            let told = read(Rule::CREDENTIAL).unwrap_err();
            assert!(told.contains("belongs to user 65534"), "{told}");
            let becoming = Rule { owner: Some(65_534), ..Rule::CREDENTIAL };
            assert_eq!(read(becoming).unwrap().expose(), b"canary");
        } else {
            let told = read(Rule { mode: 0o600, owner: Some(0) }).unwrap_err();
            assert!(told.contains("has mode 0440"), "{told}");
        }
    }
}
