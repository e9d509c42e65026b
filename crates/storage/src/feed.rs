//! Tells listeners which keys a commit of this process changed.

use crate::{Change, Error};
use futures_util::stream::{BoxStream, StreamExt};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Changes a slow receiver may be behind before it must read anew.
const CHANGES_MAX: usize = 1024;

#[derive(Clone, Debug)]
pub(crate) struct Feed(broadcast::Sender<Change>);

impl Default for Feed {
    fn default() -> Feed {
        Feed(broadcast::Sender::new(CHANGES_MAX))
    }
}

impl Feed {
    pub(crate) fn tell(&self, change: Change) {
        // Nobody listening is fine.
        self.0.send(change).ok();
    }

    pub(crate) fn listen(&self) -> BoxStream<'static, Result<Change, Error>> {
        BroadcastStream::new(self.0.subscribe())
            .map(|change| change.map_err(|_| Error::Unavailable("changes were missed".to_owned())))
            .boxed()
    }
}
