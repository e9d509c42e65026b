//! A file that holds secrets.
//!
//! [`File::keep`] writes it and writes it again when what it is made of changes. It is replaced as a whole, only where
//! its content is another one, and stays as it is while it cannot be written or made.

mod format;
mod owner;
mod write;

pub use format::Format;
pub use owner::{group, user};
pub use write::{FileMode, Target};

use super::{
    changes::Changes,
    event,
    exec::{Child, Command, Exit, Inherit, Signal},
    template::Template,
};
use crate::{connection::Connection, failure::Failure, store::Store};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, time::sleep};
use zeroize::Zeroizing;

/// How long a command after a change may take unless somebody says otherwise.
pub const COMMAND_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The longest template of a file, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = bailee_notation::template::document::TEXT_BYTES_MAX;
/// The first pause before a file that could not be written is tried again.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a command that took too long has to end before it is killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A file, and what is in it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is, and whose.
    pub target: Target,
    /// What is in it.
    pub content: Content,
    /// What is run when it has become another one.
    pub on_change: Option<Reload>,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub enum Content {
    /// What a template gives.
    Template(Template),
    /// The properties of a connection.
    Connection(Connection, Format),
}

/// What is run when a file has become another one. Its output goes nowhere: there may be secrets in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// The command. It is given none of the secrets.
    pub command: Command,
    /// How long it may take.
    pub timeout: Duration,
}

/// Why a file is not as it shall be. It holds no value of a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is in it cannot be made.
    #[error("{}: {failure}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        failure: Failure,
    },
    /// It cannot be written.
    #[error("{}: {error}", .path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why, with the step.
        error: io::Error,
    },
}

/// A file that is kept as it shall be.
pub struct File {
    settings: Settings,
    store: Arc<Store>,
    /// What the command sees of the agent's own variables.
    inherited: Vec<(OsString, OsString)>,
    changes: Changes,
    path: PathBuf,
}

impl File {
    /// Prepares a file. Its secrets are kept fresh from now on, as far as their names are known.
    ///
    /// # Errors
    /// A secret that it names can be none of its place.
    pub fn new(
        settings: Settings,
        own: impl IntoIterator<Item = (OsString, OsString)>,
        store: Arc<Store>,
    ) -> Result<File, Failure> {
        if let Content::Connection(connection, _) = &settings.content {
            for reference in connection.references() {
                store.pin(&reference.manager, &reference.wanted)?;
            }
        }
        let changes = Changes::of(&store);
        let inherited = Inherit::default().filter(own).collect();
        let path = settings.target.path();
        Ok(File { settings, store, inherited, changes, path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes what would be in it, and writes nothing.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn check(&self) -> Result<(), Error> {
        let content = self.content().await.map(drop);
        content.map_err(|failure| Error::Content { path: self.path.clone(), failure })
    }

    /// Makes it as it shall be now, and says whether it was another one. The command is run if it was.
    ///
    /// # Errors
    /// The file stays as it is.
    pub async fn write(&self) -> Result<bool, Error> {
        let content = self.content().await;
        let content =
            content.map_err(|failure| Error::Content { path: self.path.clone(), failure })?;
        let target = self.settings.target.clone();
        // The disk may take its time.
        let written = tokio::task::spawn_blocking(move || target.write(content.as_bytes())).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        let changed = written.map_err(|error| Error::Disk { path: self.path.clone(), error })?;
        if changed {
            event::file_written(&self.path);
            if let Some(reload) = &self.settings.on_change {
                self.run(reload).await;
            }
        }
        Ok(changed)
    }

    /// Keeps it as it shall be, for ever, and counts up `written` when it was written: run it beside everything
    /// else, and drop it to end.
    pub async fn keep(mut self, written: watch::Sender<u64>) -> Infallible {
        self.clean().await;
        let mut pause = PAUSE_MIN;
        loop {
            match self.write().await {
                Ok(changed) => {
                    pause = PAUSE_MIN;
                    if changed {
                        written.send_modify(|count| *count += 1);
                    }
                    self.changes.seen();
                    self.changes.next().await;
                }
                Err(error) => {
                    event::file_not_written(&error);
                    self.changes.seen();
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.changes.next() => {}
                    }
                    pause = pause.saturating_mul(2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Writes it for the first time, trying until it is written.
    pub(super) async fn begin(&self) {
        self.clean().await;
        let mut pause = PAUSE_MIN;
        while let Err(error) = self.write().await {
            event::file_not_written(&error);
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    /// Removes what a run that crashed left beside it.
    async fn clean(&self) {
        let target = self.settings.target.clone();
        let cleaned = tokio::task::spawn_blocking(move || target.clean()).await;
        if let Ok(files @ 1..) = cleaned {
            event::left_over_removed(&self.path, files);
        }
    }

    async fn content(&self) -> Result<Zeroizing<String>, Failure> {
        match &self.settings.content {
            Content::Template(template) => template.render(&self.store).await,
            Content::Connection(connection, format) => {
                format.write(&connection.resolve(&self.store).await?)
            }
        }
    }

    async fn run(&self, reload: &Reload) {
        let nothing = BTreeMap::new();
        let ended = match Child::quiet(&reload.command, &self.inherited, &nothing) {
            Ok(mut child) => match tokio::time::timeout(reload.timeout, child.exit()).await {
                Ok(Exit { code: 0 }) => return,
                Ok(exit) => exit.to_string(),
                Err(_) => {
                    child.end(Signal::Term, KILL_TIMEOUT).await;
                    format!("it took longer than {} s", reload.timeout.as_secs_f64())
                }
            },
            Err(error) => error.to_string(),
        };
        event::command_failed(&self.path, reload.command.program(), &ended);
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("settings", &self.settings).finish_non_exhaustive()
    }
}
