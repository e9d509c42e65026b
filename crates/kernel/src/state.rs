//! Uninitialized, sealed, or active. Requests take what is active once; below this file nobody asks.

mod snapshot;

pub use snapshot::{Restore, SnapshotBytes};

use crate::{
    Answer, Call,
    audit::AuditDevice,
    event,
    kernel::{self, Kernel},
    keyholders::{SHARE_BYTES_MAX, SHARE_BYTES_MIN, root_token},
    quota::Limited,
    session::Session,
    status::{Health, Leader, SealStatus},
    system::{Cors, Host, PageHeaders, rotation_pass},
};
use arc_swap::ArcSwap;
use bailee_barrier::{
    Barrier, RootKey, View,
    seal::{
        Seal, Unlock,
        shamir::{self, ShamirSeal, Shares},
    },
};
use bailee_crypto::{Clock, Sensitive, clock};
use bailee_sdk::{Code, Engine, EngineKind, Error, Operation};
use bailee_storage::Backend;
use jiff::Timestamp;
use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use zeroize::Zeroizing;

/// How long sealing waits for work that is under way.
const SEAL_WAIT: Duration = Duration::from_secs(10);
/// How often sealing looks whether that work is done.
const SEAL_POLL: Duration = Duration::from_millis(5);
/// How often an initialization whose end is unknown looks for what it stored.
const OPEN_TRIES: u32 = 6;
/// How long it waits after the first look; twice as long after each further one.
const OPEN_PAUSE: Duration = Duration::from_millis(200);

/// What the kernel is made of.
pub struct Parts {
    /// Where ciphertext is kept.
    pub backend: Arc<dyn Backend>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Kinds of engines that can be mounted.
    pub kinds: Vec<EngineKind>,
    /// More paths below `sys/`.
    pub system: Vec<Arc<dyn Engine>>,
    /// Where audit lines go beside the devices that are enabled over the API.
    pub audit: Vec<Arc<dyn AuditDevice>>,
    /// Facts and limits.
    pub settings: Settings,
}

/// Facts about the server, and its limits.
#[derive(Clone)]
pub struct Settings {
    /// The cluster's name; empty to have one made up. Counts when the storage is initialized.
    pub cluster_name: String,
    /// The version of the API that is spoken, such as `2.2.0`.
    pub version: &'static str,
    /// When the server was built.
    pub build_date: &'static str,
    /// For tokens and leases that name no TTL.
    pub default_lease_ttl: Duration,
    /// The longest TTL.
    pub max_lease_ttl: Duration,
    /// Where clients reach this node.
    pub api_addr: Option<String>,
    /// What is told about this node.
    pub node: Node,
    /// The process and its machine.
    pub host: Arc<dyn Host>,
    /// What belongs to the server itself: no audit device may write there.
    pub own_files: Vec<PathBuf>,
    /// A folder for scratch files that hold ciphertext, on a disk with room for two snapshots.
    pub scratch: PathBuf,
    /// Writes all metrics in Prometheus' text format.
    pub render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// What is told about a node to those who ask for the nodes of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Its name, as configured or made up.
    pub name: String,
    /// The name of its machine.
    pub host_name: String,
    /// Where other nodes would reach it; empty when nobody said.
    pub cluster_addr: String,
    /// What the configuration calls the storage. Clients that read `raft` use `sys/storage/raft`
    /// and expect the answers of a cluster, if only of one node.
    pub storage_type: String,
}

impl Node {
    /// Host and port where other nodes would reach it.
    pub(crate) fn cluster_authority(&self) -> &str {
        let address = self.cluster_addr.as_str();
        address.split_once("://").map_or(address, |(_, authority)| authority)
    }

    /// Whether it was configured like one node of a cluster.
    fn is_clustered(&self) -> bool {
        self.storage_type == "raft"
    }
}

/// How to split the root key of a new storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initialize {
    /// Shares to make.
    pub shares: i64,
    /// Shares that open the storage.
    pub threshold: i64,
}

/// What only the operator who initialized ever gets.
#[derive(Debug)]
pub struct Initialized {
    /// The shares of the root key.
    pub keys: Vec<Zeroizing<Vec<u8>>>,
    /// A token with all rights.
    pub root_token: Sensitive<String>,
}

/// The server, sealed or not.
pub struct Core {
    parts: Parts,
    state: ArcSwap<State>,
    /// Held while the state changes.
    changing: tokio::sync::Mutex<()>,
    /// What the active state needs when it ends. Touched only by who holds `changing`.
    ending: parking_lot::Mutex<Option<Ending>>,
    sessions: watch::Sender<Option<Session>>,
    /// Room for snapshots.
    snapshots: Arc<Semaphore>,
}

enum State {
    /// Nobody has looked yet, or the storage has no keys.
    Uninitialized,
    /// Shares are being collected.
    Sealed(Arc<ShamirSeal>),
    /// Requests are served.
    Active(Arc<Active>),
}

struct Active {
    kernel: Arc<Kernel>,
    since: SystemTime,
}

struct Ending {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    barrier: Weak<Barrier>,
}

impl Core {
    /// A sealed server.
    pub fn new(parts: Parts) -> Arc<Core> {
        Arc::new(Core {
            parts,
            state: ArcSwap::from_pointee(State::Uninitialized),
            changing: tokio::sync::Mutex::default(),
            ending: parking_lot::Mutex::default(),
            sessions: watch::Sender::new(None),
            snapshots: Arc::new(Semaphore::new(snapshot::SNAPSHOTS_MAX)),
        })
    }

    /// Serves one request. What may change something is finished even if nobody waits for the
    /// answer any more.
    pub async fn handle(&self, call: Call) -> Result<Answer, Error> {
        let active = self.active().ok_or_else(sealed)?;
        match call.operation {
            Operation::Read | Operation::List | Operation::Scan => active.kernel.handle(call).await,
            Operation::Create | Operation::Update | Operation::Patch | Operation::Delete => {
                let work = tokio::spawn(async move { active.kernel.handle(call).await });
                work.await.unwrap_or_else(|failed| {
                    event::panicked();
                    Err(Error::internal(failed))
                })
            }
        }
    }

    /// Counts a request against the quotas, before anything else is done for it.
    pub async fn limit(&self, call: &Call) -> Result<Limited, Error> {
        match self.active() {
            Some(active) => active.kernel.limit(call).await,
            None => Ok(Limited::default()),
        }
    }

    /// Names in lower case of the headers that [`Call::headers`] is to hold.
    pub fn wanted_headers(&self) -> Arc<Vec<String>> {
        match self.active() {
            Some(active) => {
                let kernel = &active.kernel;
                kernel.wanted_headers.names(&kernel.registry, &kernel.audit)
            }
            None => Arc::default(),
        }
    }

    /// Whether the storage has keys.
    pub async fn is_initialized(&self) -> Result<bool, Error> {
        Ok(self.active().is_some() || self.find_seal().await?.is_some())
    }

    /// Makes the keys of a new storage, its first mounts and the root token: all of it, or nothing.
    pub async fn initialize(&self, request: Initialize) -> Result<Initialized, Error> {
        let _alone = self.changing.lock().await;
        if self.is_initialized().await? {
            return Err(Error::invalid("Vault is already initialized"));
        }
        let shares = Shares::new(request.shares, request.threshold)
            .map_err(|reason| Error::invalid(format!("invalid seal configuration: {reason}")))?;
        let root = RootKey::generate();
        let beside = vec![ShamirSeal::config_write(shares)];
        let view = Barrier::begin(self.parts.backend.clone(), &root, beside);
        kernel::found(&view, &self.parts.settings);
        let root_token = self.make_root_token(&view).await?;
        if let Err(error) = view.commit().await {
            // It may have landed: then the shares must not be lost.
            match (error, self.open_surely(&root).await) {
                (bailee_barrier::Error::Conflict, Ok(None)) => {
                    return Err(Error::invalid("Vault is already initialized"));
                }
                (_, Ok(Some(_))) => {}
                (error, _) => return Err(error.into()),
            }
        }
        event::initialized(shares.total(), shares.threshold());
        Ok(Initialized { keys: shamir::split(&root, shares), root_token })
    }

    /// Takes one more share; opens the storage when there are enough.
    pub async fn unseal(&self, share: &[u8]) -> Result<SealStatus, Error> {
        let _alone = self.changing.lock().await;
        if self.active().is_some() {
            return self.seal_status().await;
        }
        let Some(seal) = self.find_seal().await? else {
            return Err(Error::invalid("Vault is not initialized"));
        };
        if share.len() < SHARE_BYTES_MIN {
            return Err(Error::invalid(format!(
                "invalid key: key is shorter than minimum {SHARE_BYTES_MIN} bytes"
            )));
        }
        if share.len() > SHARE_BYTES_MAX {
            return Err(Error::invalid(format!(
                "invalid key: key is longer than maximum {SHARE_BYTES_MAX} bytes"
            )));
        }
        let barrier = match seal.unlock(Some(share)).await? {
            Unlock::Missing { .. } => return self.seal_status().await,
            Unlock::Wrong => None,
            Unlock::Open(root) => Barrier::open(self.parts.backend.clone(), &root).await?,
        };
        let Some(barrier) = barrier else {
            event::unseal_failed();
            // Operators' tools look for this text.
            return Err(Error::invalid(
                "unable to retrieve stored keys: invalid key: failed to decrypt keys from storage: \
                 error decrypting seal wrapped value\nerror decrypting using seal shamir: \
                 cipher: message authentication failed",
            ));
        };
        self.activate(barrier, seal).await?;
        self.seal_status().await
    }

    /// Forgets the shares given so far.
    pub async fn reset_unseal(&self) -> Result<SealStatus, Error> {
        let _alone = self.changing.lock().await;
        if self.active().is_some() {
            return Err(Error::invalid("vault is unsealed"));
        }
        match self.find_seal().await? {
            Some(seal) => seal.reset(),
            None => return Err(Error::invalid("Vault is not initialized")),
        }
        self.seal_status().await
    }

    /// Whether it is sealed, and how far the unsealing is.
    pub async fn seal_status(&self) -> Result<SealStatus, Error> {
        let active = self.active();
        let seal = match &active {
            Some(active) => Some(active.kernel.keyholders.seal()),
            None => self.find_seal().await?,
        };
        let shares = seal.as_ref().map(|seal| seal.shares());
        let progress = seal.as_ref().map(|seal| seal.progress()).unwrap_or_default();
        let settings = &self.parts.settings;
        let cluster = active.as_ref().map(|active| active.kernel.cluster.clone());
        Ok(SealStatus {
            kind: "shamir",
            initialized: seal.is_some(),
            sealed: active.is_none(),
            threshold: shares.map_or(0, Shares::threshold),
            shares: shares.map_or(0, Shares::total),
            progress: progress.given,
            nonce: progress.nonce,
            version: settings.version,
            build_date: settings.build_date,
            migration: false,
            cluster_name: cluster.as_ref().map(|cluster| cluster.name.clone()),
            cluster_id: cluster.map(|cluster| cluster.id),
            recovery_seal: false,
            storage_type: settings.node.storage_type.clone(),
            removed_from_cluster: false,
        })
    }

    /// Seals, if the caller may; a sealed server is left as it is. `call` is for `sys/seal`.
    pub async fn seal(self: &Arc<Self>, call: Call) -> Result<(), Error> {
        if self.active().is_none() {
            return Ok(());
        }
        self.handle(call).await?;
        // A client that goes away must not keep the keys from being wiped.
        let core = self.clone();
        let work = tokio::spawn(async move { core.shut_down().await });
        work.await.map_err(Error::internal)
    }

    /// Seals without asking: the end of the process.
    pub async fn shut_down(&self) {
        let _alone = self.changing.lock().await;
        self.end().await;
    }

    /// Ends the session, if there is one. Called by who holds `changing`.
    async fn end(&self) {
        let Some(active) = self.active() else { return };
        self.sessions.send_replace(None);
        let seal = active.kernel.keyholders.close(SEAL_WAIT).await;
        self.state.store(Arc::new(seal.map_or(State::Uninitialized, State::Sealed)));
        drop(active);
        let ending = self.ending.lock().take();
        let Some(Ending { stop, mut tasks, barrier }) = ending else { return };
        stop.send_replace(true);
        let wait = async {
            while tasks.join_next().await.is_some() {}
            while barrier.strong_count() > 0 {
                tokio::time::sleep(SEAL_POLL).await;
            }
        };
        let in_time = tokio::time::timeout(SEAL_WAIT, wait).await.is_ok();
        if let Some(barrier) = barrier.upgrade() {
            // Someone does not let go: what is still under way fails from here on.
            barrier.wipe();
        }
        event::sealed(in_time);
    }

    /// How it is.
    pub async fn health(&self) -> Health {
        let active = self.active();
        // When storage cannot tell, it is not said to be initialized.
        let initialized = active.is_some() || self.is_initialized().await.unwrap_or(false);
        let replication = if active.is_some() { "disabled" } else { "unknown" };
        let cluster = active.as_ref().map(|active| active.kernel.cluster.clone());
        Health {
            initialized,
            sealed: active.is_none(),
            standby: active.is_none(),
            performance_standby: false,
            replication_performance_mode: replication,
            replication_dr_mode: replication,
            server_time_utc: clock::to_millis(self.parts.clock.now()) / 1000,
            version: self.parts.settings.version,
            enterprise: false,
            cluster_name: cluster.as_ref().map(|cluster| cluster.name.clone()),
            cluster_id: cluster.map(|cluster| cluster.id),
            echo_duration_ms: 0,
            clock_skew_ms: 0,
            replication_primary_canary_age_ms: 0,
            removed_from_cluster: false,
        }
    }

    /// Which node is active; an error while sealed.
    pub async fn leader(&self) -> Result<Leader, Error> {
        let active = self.active().ok_or_else(sealed)?;
        let since = Timestamp::try_from(active.since).map(|since| since.to_string());
        let node = &self.parts.settings.node;
        Ok(Leader {
            ha_enabled: node.is_clustered(),
            is_self: true,
            active_time: since.unwrap_or_default(),
            leader_address: self.parts.settings.api_addr.clone().unwrap_or_default(),
            leader_cluster_address: node.cluster_addr.clone(),
            performance_standby: false,
            performance_standby_last_remote_wal: 0,
        })
    }

    /// Opens the places of audit lines anew, after files were moved away.
    pub fn reopen_audit(&self) {
        if let Some(active) = self.active() {
            active.kernel.audit.reopen();
        }
    }

    /// The open storage, or none while sealed: told anew at each change.
    pub fn sessions(&self) -> watch::Receiver<Option<Session>> {
        self.sessions.subscribe()
    }

    /// Which pages of other origins may call; the default while sealed.
    pub fn cors(&self) -> Arc<Cors> {
        self.active().map(|active| active.kernel.web.cors.load_full()).unwrap_or_default()
    }

    /// Headers that web pages are sent with; none while sealed.
    pub fn page_headers(&self) -> Arc<PageHeaders> {
        self.active().map(|active| active.kernel.web.headers.load_full()).unwrap_or_default()
    }

    fn active(&self) -> Option<Arc<Active>> {
        match &**self.state.load() {
            State::Active(active) => Some(active.clone()),
            State::Uninitialized | State::Sealed(_) => None,
        }
    }

    /// The seal, as soon as the storage has one.
    async fn find_seal(&self) -> Result<Option<Arc<ShamirSeal>>, Error> {
        match &*self.state.load_full() {
            State::Sealed(seal) => return Ok(Some(seal.clone())),
            State::Active(active) => return Ok(Some(active.kernel.keyholders.seal())),
            State::Uninitialized => {}
        }
        let Some(seal) = ShamirSeal::load(&*self.parts.backend).await? else { return Ok(None) };
        let found = Arc::new(State::Sealed(Arc::new(seal)));
        self.state.rcu(|state| match &**state {
            State::Uninitialized => found.clone(),
            State::Sealed(_) | State::Active(_) => state.clone(),
        });
        match &*self.state.load_full() {
            State::Sealed(seal) => Ok(Some(seal.clone())),
            State::Active(active) => Ok(Some(active.kernel.keyholders.seal())),
            State::Uninitialized => Ok(None),
        }
    }

    async fn activate(&self, barrier: Arc<Barrier>, seal: Arc<ShamirSeal>) -> Result<(), Error> {
        // A key that is used up, or may be since a restore, seals nothing more. Should it fail, a
        // pass goes on trying.
        if let Err(error) = rotation_pass(&barrier, self.parts.clock.now()).await {
            event::pass_failed("key rotation", &error);
        }
        let kernel = Arc::new(Kernel::open(barrier, seal, &self.parts).await?);
        let (stop, stopped) = watch::channel(false);
        let tasks = kernel.start_tasks(&stopped);
        let barrier = Arc::downgrade(&kernel.barrier);
        *self.ending.lock() = Some(Ending { stop, tasks, barrier });
        let session = Session::new(kernel.clone());
        let since = self.parts.clock.now();
        let active = Active { kernel, since };
        self.state.store(Arc::new(State::Active(Arc::new(active))));
        self.sessions.send_replace(Some(session));
        event::unsealed();
        Ok(())
    }

    /// Opens the storage, with some patience when it does not tell.
    async fn open_surely(
        &self,
        root: &RootKey,
    ) -> Result<Option<Arc<Barrier>>, bailee_barrier::Error> {
        let mut pause = OPEN_PAUSE;
        for _ in 1..OPEN_TRIES {
            match Barrier::open(self.parts.backend.clone(), root).await {
                Err(bailee_barrier::Error::Corrupt(reason)) => {
                    return Err(bailee_barrier::Error::Corrupt(reason));
                }
                Ok(opened) => return Ok(opened),
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        Barrier::open(self.parts.backend.clone(), root).await
    }

    async fn make_root_token(&self, view: &View) -> Result<Sensitive<String>, Error> {
        let tokens = crate::token::TokenStore::new(
            view.barrier().clone(),
            self.parts.clock.clone(),
            self.parts.settings.limits(),
        );
        let new = root_token(self.parts.clock.now(), None);
        Ok(tokens.create(view, new).await?.secret)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &**self.state.load() {
            State::Uninitialized => "Core(uninitialized)",
            State::Sealed(_) => "Core(sealed)",
            State::Active(_) => "Core(active)",
        })
    }
}

fn sealed() -> Error {
    Error::new(Code::Sealed, "Vault is sealed")
}
