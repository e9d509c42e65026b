//! Secrets leaving: what is associated with a destination is kept there at its newest value.
//!
//! A batch that changes a secret holds a change note; `dirty` turns notes into dirty marks,
//! `board` says what is next, `work` reads the newest value, asks `plan` and acts. The mark
//! goes only at the revision that was read, so a change during a delivery stays dirty.
//!
//! *Invariant:* nothing here knows the kernel or an engine; the binary adapts this server as a
//! [`LocalSource`]. *Invariant:* whether something is tried again is decided in `failure` alone.

mod association;
mod board;
mod budget;
mod calls;
pub mod destination;
pub mod destinations;
mod dirty;
mod dry_run;
mod epoch;
pub mod estimate;
mod event;
pub mod failure;
mod feed;
pub mod limits;
pub mod naming;
pub mod notice;
mod orphan;
mod pass;
mod paths;
mod plan;
pub mod pull;
mod pulling;
mod purge;
mod reconcile;
pub mod registry;
pub mod source;
mod store;
pub mod tags;
mod tenure;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod work;

pub use bailee_cloud::{Proxy, Roots};
pub use pass::{Running, SyncSession};
pub use source::{IdentityToken, LocalSource, Payload};
pub use tenure::Tenure;

use bailee_sdk::Namespace;
use bailee_sdk::{Clock, Engine};
use board::{Board, LaneKey};
use parking_lot::RwLock;
use pass::Pass;
use paths::Paths;
use pulling::Pulling;
use registry::{DestinationKind, Registry, Surroundings};
use std::{fmt, sync::Arc, time::Duration};

/// The server's configuration of sync.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether destinations of the root namespace may use the credentials of this machine.
    pub ambient_credentials: bool,
    /// Where AWS Secrets Manager is, instead of AWS's own address; still guarded.
    pub aws_endpoint_url: Option<String>,
    /// Where AWS STS is, instead of AWS's own address; still guarded.
    pub aws_sts_endpoint_url: Option<String>,
    /// The operator's forward proxy.
    pub proxy: Option<Proxy>,
    /// Whom TLS connections trust.
    pub roots: Roots,
    /// How often every association is compared again.
    pub reconcile_interval: Duration,
    /// How long `set` and `remove` wait for the first outcome before they report `PENDING`.
    pub set_wait: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            ambient_credentials: false,
            aws_endpoint_url: None,
            aws_sts_endpoint_url: None,
            proxy: None,
            roots: Roots::native(),
            reconcile_interval: Duration::from_secs(600),
            set_wait: Duration::from_secs(5),
        }
    }
}

/// Secrets sync of one server: its paths, and its work while the server is unsealed.
pub struct SecretSync {
    settings: Settings,
    clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    /// Present while the work runs.
    board: RwLock<Option<Arc<Board>>>,
    /// Likewise, for the sources.
    pulling: RwLock<Option<Arc<Pulling>>>,
}

impl SecretSync {
    /// Sync with all kinds of destinations; nothing runs yet.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Arc<SecretSync> {
        SecretSync::with_kinds(settings, clock, destinations::all())
    }

    /// Sync with these kinds of destinations.
    pub fn with_kinds(
        settings: Settings,
        clock: Arc<dyn Clock>,
        kinds: Vec<DestinationKind>,
    ) -> Arc<SecretSync> {
        let surroundings = Surroundings::new(settings.clone(), clock.clone());
        let registry = Arc::new(Registry::new(kinds, surroundings));
        let (board, pulling) = (RwLock::default(), RwLock::default());
        Arc::new(SecretSync { settings, clock, registry, board, pulling })
    }

    /// Its paths below `sys/`.
    pub fn engine(self: &Arc<Self>) -> Arc<dyn Engine> {
        Arc::new(Paths::new(self.clone()))
    }

    /// Starts the work for one unsealed session.
    pub fn start(self: &Arc<Self>, session: SyncSession) -> Running {
        let board: Arc<Board> = Arc::default();
        *self.registry.surroundings.local.write() = Some(session.local.clone());
        let pass = Pass::new(
            &session,
            self.registry.clone(),
            self.clock.clone(),
            board.clone(),
            self.settings.reconcile_interval,
        );
        let pulling = Pulling::new(&session, self.registry.clone(), self.clock.clone());
        *self.board.write() = Some(board.clone());
        *self.pulling.write() = Some(pulling.clone());
        let sync = self.clone();
        pass.start(session.changed, pulling.clone(), move || {
            forget(&mut sync.board.write(), &board);
            forget(&mut sync.pulling.write(), &pulling);
        })
    }

    /// Has every association of a destination worked on now, with a look at the destination; whether
    /// there is anyone to do it.
    pub fn sync_now(&self, namespace: &Arc<Namespace>, destination: &str) -> bool {
        let Some(board) = self.board() else { return false };
        board.ask_for_all(&LaneKey::new(namespace, destination));
        true
    }

    /// A destination was paused: what is ready there waits in storage until it is resumed.
    pub fn pause(&self, namespace: &Arc<Namespace>, destination: &str) {
        if let Some(board) = self.board() {
            board.rest(&LaneKey::new(namespace, destination));
        }
    }

    /// A destination was resumed: what waits in storage is taken up.
    pub fn resume(&self, namespace: &Arc<Namespace>, destination: &str) {
        if let Some(board) = self.board() {
            board.resume(&LaneKey::new(namespace, destination));
        }
    }

    fn board(&self) -> Option<Arc<Board>> {
        self.board.read().clone()
    }

    fn pulling(&self) -> Option<Arc<Pulling>> {
        self.pulling.read().clone()
    }
}

/// Forgets what has ended; a later session may have begun meanwhile.
fn forget<T>(current: &mut Option<Arc<T>>, ended: &Arc<T>) {
    if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, ended)) {
        *current = None;
    }
}

impl fmt::Debug for SecretSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretSync")
    }
}
