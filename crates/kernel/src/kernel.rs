//! What serves requests while the storage is open. It is made by unsealing and dropped by sealing.

use crate::{
    activity::{self, Activity, ActivityPaths},
    audit::{AuditPaths, AuditStore, Broker},
    cubbyhole::Cubbyhole,
    event,
    headers::WantedHeaders,
    identity::{self, IdentityPaths, IdentityStore, MountIssuer},
    keyholders::Keyholders,
    lease::{LeasePaths, LeaseStore},
    lockout::{Lockout, LockoutPaths},
    mount,
    policy::{ExplainPaths, PasswordPaths, PolicyPaths, PolicyStore},
    purge,
    quota::{QuotaPaths, QuotaStore},
    registry::{Builtin, Kinds, Registry, Served},
    running::Running,
    state::{Parts, Settings},
    system::{self, System, Web, rotation_pass},
    tick,
    token::{TokenPaths, TokenStore, TtlLimits},
    wrapping::WrappingPaths,
};
use bailee_barrier::{Barrier, View, seal::shamir::ShamirSeal};
use bailee_crypto::{Clock, random};
use bailee_sdk::{Engine, Error, Namespace};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};
use tokio::{sync::watch, task::JoinSet};

/// Where the cluster's name and id are kept.
const CLUSTER_KEY: &str = "core/cluster";
/// Longest time between two passes over what has expired.
const EXPIRY_PASS_MAX: Duration = Duration::from_secs(30);
/// Shortest time between two passes.
const EXPIRY_PASS_MIN: Duration = Duration::from_secs(1);
/// Time between two passes over what is being removed, when nothing wakes them.
const PURGE_PASS: Duration = Duration::from_secs(600);

/// Time between two passes over users who were locked out.
const SWEEP_PASS: Duration = Duration::from_secs(300);

/// Time between two looks at how often the active key was used.
const ROTATION_PASS: Duration = Duration::from_secs(60);

/// What names this cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cluster {
    /// Its name, as configured or made up.
    pub(crate) name: String,
    /// Its id, made when it was initialized.
    pub(crate) id: String,
}

/// What serves requests.
pub(crate) struct Kernel {
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) tokens: Arc<TokenStore>,
    pub(crate) policies: Arc<PolicyStore>,
    pub(crate) lockout: Arc<Lockout>,
    pub(crate) keyholders: Arc<Keyholders>,
    pub(crate) leases: Arc<LeaseStore>,
    pub(crate) audit: Arc<Broker>,
    pub(crate) quotas: Arc<QuotaStore>,
    pub(crate) wanted_headers: WantedHeaders,
    pub(crate) cluster: Cluster,
    pub(crate) web: Arc<Web>,
    pub(crate) running: Arc<Running>,
    pub(crate) activity: Arc<Activity>,
    /// Woken after each batch with notes of changed secrets, and when mounts change.
    pub(crate) changed: watch::Sender<()>,
    pub(crate) builtin: Arc<Builtin>,
    /// Kept for as long as requests are served.
    _system: Arc<Served>,
}

impl Kernel {
    /// Reads what has to be at hand.
    pub(crate) async fn open(
        barrier: Arc<Barrier>,
        seal: Arc<ShamirSeal>,
        parts: &Parts,
    ) -> Result<Kernel, Error> {
        let settings = Arc::new(parts.settings.clone());
        let cluster = barrier.view("").get::<Cluster>(CLUSTER_KEY).await?;
        let cluster = cluster.ok_or_else(|| Error::internal("storage names no cluster"))?;
        let stores = Stores::load(&barrier, parts, &settings).await?;
        let builtin = Arc::new(stores.builtin(settings.api_addr.clone()));
        let keyholders = Arc::new(Keyholders::new(barrier.clone(), stores.tokens.clone(), seal));
        let mut more = stores.families(&builtin);
        more.push(keyholders.clone());
        more.push(audit_paths(&barrier, &stores.audit, parts).await?);
        more.extend(parts.system.iter().cloned());
        let (web, running) = (Web::load(&barrier).await?, Running::new());
        note_version(&barrier, &settings, parts.clock.now()).await;
        let system = Arc::new(System {
            barrier: barrier.clone(),
            registry: stores.registry.clone(),
            policies: stores.policies.clone(),
            leases: stores.leases.clone(),
            tokens: stores.tokens.clone(),
            settings: settings.clone(),
            builtin: vec![
                ("auth/token/", builtin.token.clone()),
                ("cubbyhole/", builtin.cubbyhole.clone()),
                ("identity/", builtin.identity.clone()),
            ],
            more,
            web: web.clone(),
            running: running.clone(),
            moves: Default::default(),
            public_document: OnceLock::new(),
        });
        let system = Arc::new(Served::new(system));
        builtin.system.set(Arc::downgrade(&system)).ok();
        let Stores { registry, tokens, policies, audit, leases, quotas, lockout, activity } =
            stores;
        Ok(Kernel {
            clock: parts.clock.clone(),
            settings,
            registry,
            tokens,
            policies,
            lockout,
            keyholders,
            leases,
            audit,
            quotas,
            wanted_headers: WantedHeaders::default(),
            cluster,
            changed: watch::Sender::new(()),
            web,
            running,
            activity,
            builtin,
            _system: system,
            barrier,
        })
    }

    /// Starts what runs beside requests. The tasks hold no kernel and end when `stop` says so.
    pub(crate) fn start_tasks(&self, stop: &watch::Receiver<bool>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(until(stop.clone(), expire(self.tokens.clone(), self.clock.clone())));
        tasks.spawn(until(stop.clone(), self.leases.clone().run()));
        let ticks = tick::run(self.barrier.clone(), self.registry.clone(), self.clock.clone());
        tasks.spawn(until(stop.clone(), ticks));
        let identity = self.policies.identity().clone();
        let parts = (self.barrier.clone(), self.registry.clone(), self.tokens.clone(), identity);
        tasks.spawn(until(stop.clone(), remove(parts)));
        tasks.spawn(until(stop.clone(), sweep(self.lockout.clone(), self.registry.clone())));
        tasks.spawn(until(stop.clone(), rotate(self.barrier.clone(), self.clock.clone())));
        tasks.spawn(until(stop.clone(), activity::record(self.activity.clone())));
        let identity = self.policies.identity().clone();
        let (registry, clock) = (self.registry.clone(), self.clock.clone());
        tasks.spawn(until(stop.clone(), rotate_signers(identity, registry, clock)));
        tasks
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kernel(..)")
    }
}

/// What is kept of each subject, over one storage.
struct Stores {
    registry: Arc<Registry>,
    tokens: Arc<TokenStore>,
    policies: Arc<PolicyStore>,
    audit: Arc<Broker>,
    leases: Arc<LeaseStore>,
    quotas: Arc<QuotaStore>,
    lockout: Arc<Lockout>,
    activity: Arc<Activity>,
}

impl Stores {
    async fn load(
        barrier: &Arc<Barrier>,
        parts: &Parts,
        settings: &Settings,
    ) -> Result<Stores, Error> {
        let (clock, limits) = (&parts.clock, settings.limits());
        let policies = Arc::new(PolicyStore::new(barrier.clone()));
        let issuer = MountIssuer::new(policies.identity(), settings.api_addr.clone(), clock);
        let issuer = Arc::new(issuer);
        let kinds = Arc::new(Kinds::new(parts.kinds.clone(), issuer.clone()));
        let registry = Arc::new(Registry::load(barrier.clone(), kinds).await?);
        issuer.knows(&registry);
        let tokens =
            TokenStore::with_registry(barrier.clone(), clock.clone(), limits, registry.clone());
        let audit = Arc::new(Broker::new(barrier, &parts.audit, settings.version));
        let leases = LeaseStore::new(
            barrier.clone(),
            clock.clone(),
            registry.clone(),
            tokens.clone(),
            limits,
            audit.clone(),
        );
        let activity = Activity::load(barrier.clone(), registry.clone(), clock.clone()).await?;
        Ok(Stores {
            policies,
            quotas: Arc::new(QuotaStore::load(barrier.clone(), registry.clone()).await?),
            lockout: Lockout::new(barrier.clone(), clock.clone()),
            registry,
            tokens,
            audit,
            leases,
            activity,
        })
    }

    /// The engines of the mounts that every namespace has.
    fn builtin(&self, api_addr: Option<String>) -> Builtin {
        let token = TokenPaths::new(self.tokens.clone(), self.policies.clone());
        let identity = self.policies.identity().clone();
        let identity = IdentityPaths::new(identity, self.registry.clone(), api_addr);
        Builtin {
            token: Arc::new(Served::new(Arc::new(token))),
            cubbyhole: Arc::new(Served::new(Arc::new(Cubbyhole::new(self.tokens.clone())))),
            identity: Arc::new(Served::new(Arc::new(identity))),
            system: OnceLock::new(),
        }
    }

    /// The families of paths below `sys/` that stand beside their stores.
    fn families(&self, builtin: &Arc<Builtin>) -> Vec<Arc<dyn Engine>> {
        let (registry, tokens, policies) = (&self.registry, &self.tokens, &self.policies);
        let identity = policies.identity().clone();
        vec![
            Arc::new(PolicyPaths::new(policies.clone(), tokens.clone())),
            Arc::new(PasswordPaths),
            Arc::new(ExplainPaths::new(
                policies.clone(),
                tokens.clone(),
                registry.clone(),
                builtin.clone(),
            )),
            Arc::new(ActivityPaths::new(self.activity.clone(), identity)),
            Arc::new(WrappingPaths::new(tokens.clone())),
            Arc::new(QuotaPaths::new(self.quotas.clone())),
            Arc::new(LockoutPaths::new(self.lockout.clone(), registry.clone())),
            Arc::new(LeasePaths::new(self.leases.clone(), registry.clone())),
        ]
    }
}

/// A disk that is full must not keep a server from being opened and read.
async fn note_version(barrier: &Arc<Barrier>, settings: &Settings, now: SystemTime) {
    let noted = system::note_version(barrier, settings.version, settings.build_date, now);
    if let Err(error) = noted.await {
        event::pass_failed("noting the version that serves", &error);
    }
}

/// Puts what a new storage begins with: the cluster's id and the first mounts.
pub(crate) fn found(view: &View, settings: &Settings) {
    let name = match settings.cluster_name.as_str() {
        "" => format!("bailee-cluster-{}", hex::encode(random::array::<4>())),
        name => name.to_owned(),
    };
    view.put(CLUSTER_KEY, &Cluster { name, id: random::uuid().to_string() });
    mount::put_builtin(view, &Namespace::root());
}

/// Starts the audit devices; what is served about them.
async fn audit_paths(
    barrier: &Arc<Barrier>,
    audit: &Arc<Broker>,
    parts: &Parts,
) -> Result<Arc<AuditPaths>, Error> {
    let own = &parts.settings.own_files;
    let (barrier, audit, clock) = (barrier.clone(), audit.clone(), parts.clock.clone());
    let store = AuditStore::load(barrier, audit, clock, own).await?;
    Ok(Arc::new(AuditPaths::new(Arc::new(store))))
}

impl Settings {
    /// Default and longest life of tokens.
    pub(crate) fn limits(&self) -> TtlLimits {
        TtlLimits { default: self.default_lease_ttl, max: self.max_lease_ttl }
    }
}

async fn until(mut stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn expire(tokens: Arc<TokenStore>, clock: Arc<dyn Clock>) {
    loop {
        let now = clock.now();
        let pause = match tokens.expire_pass(now).await {
            Ok(next) => next.and_then(|next| next.duration_since(now).ok()),
            Err(error) => {
                event::pass_failed("token expiry", &error);
                None
            }
        };
        let pause = pause.unwrap_or(EXPIRY_PASS_MAX).clamp(EXPIRY_PASS_MIN, EXPIRY_PASS_MAX);
        tokio::time::timeout(pause, tokens.tidy.notified()).await.ok();
    }
}

async fn sweep(lockout: Arc<Lockout>, registry: Arc<Registry>) {
    loop {
        tokio::time::sleep(SWEEP_PASS).await;
        for place in registry.places().iter() {
            if let Err(error) = lockout.sweep(&place.namespace).await {
                event::pass_failed("forgetting who was locked out", &error);
            }
        }
    }
}

type Removal = (Arc<Barrier>, Arc<Registry>, Arc<TokenStore>, Arc<IdentityStore>);

async fn remove((barrier, registry, tokens, identity): Removal) {
    loop {
        if let Err(error) = purge::pass(&barrier, &registry, &tokens, &identity).await {
            event::pass_failed("removal of disabled mounts", &error);
        }
        tokio::time::sleep(PURGE_PASS).await;
    }
}

async fn rotate_signers(
    identity: Arc<IdentityStore>,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
) {
    loop {
        for place in registry.places().iter() {
            let pass = identity::rotation_pass(&identity, &place.namespace, clock.now());
            if let Err(error) = pass.await {
                event::pass_failed("rotation of signing keys", &error);
            }
        }
        tokio::time::sleep(ROTATION_PASS).await;
    }
}

async fn rotate(barrier: Arc<Barrier>, clock: Arc<dyn Clock>) {
    loop {
        if let Err(error) = rotation_pass(&barrier, clock.now()).await {
            event::pass_failed("key rotation", &error);
        }
        tokio::time::sleep(ROTATION_PASS).await;
    }
}
