//! The life of one session: it ends at a numbered commit or call, before or after its effect, and from
//! then on nothing that belongs to it gets any further.

use crate::{Backend, Batch, Change, Entries, Entry, Error, Revision};
use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt};
use parking_lot::Mutex;
use std::{fmt, future::pending, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWrite,
    sync::{Notify, watch},
    time::Instant,
};

/// Leases that are renewed all the time.
const LONG: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Where a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// At that commit, which is lost.
    BeforeCommit(u64),
    /// At that commit, which lands.
    AfterCommit(u64),
    /// At that call, which is not sent.
    BeforeCall(u64),
    /// At that call, which has its effect.
    AfterCall(u64),
}

/// A session.
#[derive(Debug)]
pub struct Life {
    /// Which server and which session of it: the author of its calls.
    pub author: u32,
    end: Option<Crash>,
    state: Mutex<State>,
    crashed: Notify,
    /// When its lease ends, where that is known.
    lease: watch::Sender<Instant>,
}

#[derive(Debug, Default)]
struct State {
    commits: u64,
    calls: u64,
    died_at: Option<Instant>,
    deposed: bool,
}

impl Life {
    /// A session that ends there, or by [`Life::die`].
    pub fn new(author: u32, end: Option<Crash>) -> Arc<Life> {
        let lease = watch::Sender::new(Instant::now() + LONG);
        let (state, crashed) = Default::default();
        Arc::new(Life { author, end, state, crashed, lease })
    }

    /// When its lease ends, as far as it knows.
    pub fn lease(&self) -> watch::Receiver<Instant> {
        self.lease.subscribe()
    }

    /// Its lease is not renewed any more.
    pub fn ends_in(&self, left: Duration) {
        self.lease.send_replace(Instant::now() + left);
    }

    /// Another session has the lease.
    pub fn depose(&self) {
        self.state.lock().deposed = true;
    }

    /// When it ended, if it has.
    pub fn died_at(&self) -> Option<Instant> {
        self.state.lock().died_at
    }

    /// Ends it here.
    pub fn die(&self) {
        self.state.lock().died_at.get_or_insert_with(Instant::now);
        self.crashed.notify_waiters();
        self.crashed.notify_one();
    }

    /// Ends when the session has.
    pub async fn crashed(&self) {
        while self.died_at().is_none() {
            self.crashed.notified().await;
        }
    }

    /// The dead do nothing.
    pub async fn alive(&self) {
        if self.died_at().is_some() {
            pending::<()>().await;
        }
    }

    /// Counts a call; whether the session ends there.
    pub fn next_call(&self) -> Option<Crash> {
        let mut state = self.state.lock();
        state.calls += 1;
        let number = state.calls;
        self.end.filter(|end| [Crash::BeforeCall(number), Crash::AfterCall(number)].contains(end))
    }

    fn next_commit(&self) -> Option<Crash> {
        let mut state = self.state.lock();
        state.commits += 1;
        let number = state.commits;
        self.end
            .filter(|end| [Crash::BeforeCommit(number), Crash::AfterCommit(number)].contains(end))
    }
}

/// Storage as one session sees it.
pub struct Disk {
    /// What outlives the session.
    pub inner: Arc<dyn Backend>,
    /// The session.
    pub life: Arc<Life>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("life", &self.life).finish_non_exhaustive()
    }
}

#[async_trait]
impl Backend for Disk {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.life.alive().await;
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, Error> {
        self.life.alive().await;
        self.inner.list(prefix, after, limit).await
    }

    fn scan(&self, prefix: &str, after: &str) -> BoxStream<'_, Result<(String, Entry), Error>> {
        if self.life.died_at().is_some() {
            return futures_util::stream::pending().boxed();
        }
        self.inner.scan(prefix, after)
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, Error> {
        self.life.alive().await;
        if self.life.state.lock().deposed {
            return Err(Error::Conflict);
        }
        let crash = self.life.next_commit();
        if let Some(Crash::BeforeCommit(_)) = crash {
            self.life.die();
            self.life.alive().await;
        }
        let outcome = self.inner.commit(batch).await;
        if crash.is_some() {
            self.life.die();
            self.life.alive().await;
        }
        outcome
    }

    fn changes(&self) -> BoxStream<'static, Result<Change, Error>> {
        self.inner.changes()
    }

    async fn backup(&self, into: &mut (dyn AsyncWrite + Send + Unpin)) -> Result<(), Error> {
        self.inner.backup(into).await
    }

    async fn restore(&self, entries: Entries<'_>) -> Result<Revision, Error> {
        self.inner.restore(entries).await
    }
}
