//! Waiting for changes, until they are over.

use crate::store::Store;
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// How long changes are waited for that come together with another one, so that one act answers them all.
pub const SETTLE: Duration = Duration::from_millis(100);
/// The same where files are written meanwhile that the act shall come after.
pub const SETTLE_FILES: Duration = Duration::from_millis(300);
/// The longest time for which changes that keep coming put an act off.
pub const SETTLE_MAX: Duration = Duration::from_secs(2);

/// Changes of what is kept, and of files.
#[derive(Debug)]
pub(super) struct Changes {
    kept: watch::Receiver<u64>,
    files: Option<watch::Receiver<u64>>,
    unseen: bool,
    files_unseen: bool,
}

impl Changes {
    pub(super) fn of(store: &Store) -> Changes {
        Changes { kept: store.changes(), files: None, unseen: false, files_unseen: false }
    }

    /// Has files counted, too.
    pub(super) fn and_files(&mut self, files: watch::Receiver<u64>) {
        self.files = Some(files);
    }

    /// Returns when something changed that was not seen, and no more comes. May be dropped at any time.
    pub(super) async fn next(&mut self) {
        if !self.unseen {
            self.one().await;
        }
        let settle = if self.files.is_some() { SETTLE_FILES } else { SETTLE };
        let latest = Instant::now() + SETTLE_MAX;
        while Instant::now() < latest && timeout(settle, self.one()).await.is_ok() {}
    }

    /// Says that everything so far was looked at; gives whether files were among it.
    pub(super) fn seen(&mut self) -> bool {
        self.unseen = false;
        std::mem::take(&mut self.files_unseen)
    }

    async fn one(&mut self) {
        tokio::select! {
            () = changed(Some(&mut self.kept)) => {}
            () = changed(self.files.as_mut()) => self.files_unseen = true,
        }
        self.unseen = true;
    }
}

/// Nothing comes any more where nobody is left to tell.
async fn changed(receiver: Option<&mut watch::Receiver<u64>>) {
    if let Some(receiver) = receiver
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
