//! Lines in a file.

use super::AuditDevice;
use async_trait::async_trait;
use std::{
    fmt, io,
    path::{Path, PathBuf},
};
use tokio::{
    fs::{File, OpenOptions},
    io::AsyncWriteExt,
    sync::Mutex,
};

/// Appends lines to a file that only its owner may read.
pub struct FileDevice {
    name: String,
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    file: File,
    /// The last line may have been cut short.
    torn: bool,
}

impl FileDevice {
    /// Opens the file, or makes it with the mode 0600. Its folder must be there.
    pub async fn open(name: &str, path: &Path) -> io::Result<FileDevice> {
        let state = Mutex::new(State { file: open(path).await?, torn: false });
        Ok(FileDevice { name: name.to_owned(), path: path.to_owned(), state })
    }

    /// Opens the path anew, after the file was moved away.
    pub async fn reopen(&self) -> io::Result<()> {
        let file = open(&self.path).await?;
        *self.state.lock().await = State { file, torn: false };
        Ok(())
    }
}

async fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).await
}

#[async_trait]
impl AuditDevice for FileDevice {
    fn name(&self) -> &str {
        &self.name
    }

    async fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().await;
        let mut bytes = Vec::with_capacity(line.len() + 2);
        if state.torn {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        state.torn = true;
        state.file.write_all(&bytes).await?;
        state.file.flush().await?;
        state.torn = false;
        Ok(())
    }
}

impl fmt::Debug for FileDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileDevice({})", self.name)
    }
}
