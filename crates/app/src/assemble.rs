//! The whole program in one place: what is built, from what, and in which order it starts and ends.

use crate::{
    VERSION,
    adapters::LocalSecrets,
    config::{Config, ServerEnvironment, Storage},
    host::Machine,
    logs::Logs,
};
use bailee_cloud::{HttpOptions, Roots};
use bailee_crypto::{Clock, SystemClock, memory};
use bailee_engines::aws::Surroundings;
use bailee_kernel::{Core, Node, Parts, Session, Settings};
use bailee_secret_sync::{self as secret_sync, Proxy, Running, SecretSync, SyncSession, Tenure};
use bailee_server::{
    BindError, Listen, Server,
    tls::{Certificate, TlsError},
};
use bailee_storage::{Backend, embedded::Embedded, memory::Memory};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// Time between two clean-ups of metrics.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Storage cannot be opened.
    #[error("storage: {0}")]
    Storage(#[from] bailee_storage::Error),
    /// A certificate cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The proxy's address cannot be used.
    #[error("proxy: {0}")]
    Proxy(String),
    /// Metrics cannot be recorded.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// A server that is assembled and bound, but not serving yet.
pub struct App {
    core: Arc<Core>,
    server: Server,
    sync: Arc<SecretSync>,
    embedded: Option<Arc<Embedded>>,
    certificates: Vec<Arc<Certificate>>,
    clock: Arc<dyn Clock>,
    metrics: PrometheusHandle,
    /// What the system granted to keep memory private.
    pub protection: memory::Protection,
}

/// Builds everything a configuration asks for. Nothing is served before [`App::serve`].
pub async fn assemble(
    config: &Config,
    environment: &ServerEnvironment,
    logs: Option<Arc<Logs>>,
) -> Result<App, StartError> {
    let machine = Arc::new(Machine::new(config, logs));
    let protection = memory::protect(config.lock_memory);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = record_metrics()?;
    let (backend, embedded) = open(&config.storage)?;
    let sync = SecretSync::new(sync_settings(config, environment)?, clock.clone());
    let engines_aws = aws_surroundings(config, environment, &clock)?;
    let rendered = metrics.clone();
    let core = Core::new(Parts {
        backend,
        clock: clock.clone(),
        kinds: bailee_engines::all(&engines_aws),
        system: vec![sync.engine()],
        audit: Vec::new(),
        settings: Settings {
            cluster_name: config.cluster_name.clone().unwrap_or_default(),
            version: VERSION,
            build_date: "",
            default_lease_ttl: config.default_lease_ttl,
            max_lease_ttl: config.max_lease_ttl,
            api_addr: environment.api_addr.clone().or_else(|| config.api_addr.clone()),
            node: node(config, environment),
            host: machine.clone(),
            own_files: own_files(config),
            scratch: scratch(&config.storage),
            render_metrics: Arc::new(move || rendered.render()),
        },
    });
    let mut listens = Vec::new();
    let mut certificates = Vec::new();
    for listener in &config.listeners {
        let certificate = listener.tls.clone().map(Certificate::load).transpose()?;
        certificates.extend(certificate.clone());
        listens.push(Listen { address: listener.address, certificate });
    }
    drop(machine.certificates.set(certificates.clone()));
    let server = Server::bind(core.clone(), &listens).await?;
    Ok(App { core, server, sync, embedded, certificates, clock, metrics, protection })
}

impl App {
    /// The kernel, for what starts a development server.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.server.addresses()
    }

    /// The listeners' certificates, to be read anew when the operator says so.
    pub fn certificates(&self) -> &[Arc<Certificate>] {
        &self.certificates
    }

    /// Serves until `stop` becomes true, then ends in order: no new requests, running ones to their
    /// end, deliveries in flight, keys wiped, storage closed.
    pub async fn serve(self, stop: watch::Receiver<bool>) {
        let upkeep = tokio::spawn(keep_metrics(self.metrics));
        let (ending, ended) = watch::channel(false);
        let sessions = self.core.sessions();
        let delivering = tokio::spawn(deliver(self.sync, sessions, self.clock, ended));
        self.server.run(stop).await;
        self.core.shut_down().await;
        ending.send_replace(true);
        stop_delivering(delivering).await;
        upkeep.abort();
        drop(self.core);
        if let Some(embedded) = self.embedded.and_then(Arc::into_inner) {
            embedded.close().await;
        }
    }
}

/// Delivers while the server is unsealed: starts with each session and stops with it, and for good
/// when the server has ended.
async fn deliver(
    sync: Arc<SecretSync>,
    mut sessions: watch::Receiver<Option<Session>>,
    clock: Arc<dyn Clock>,
    mut ended: watch::Receiver<bool>,
) {
    let mut running: Option<Running> = None;
    loop {
        let session = sessions.borrow_and_update().clone();
        if let Some(running) = running.take() {
            running.stop().await;
        }
        if let Some(session) = session {
            let (barrier, changed) = (session.barrier(), session.changed());
            let local = Arc::new(LocalSecrets::new(session, clock.clone()));
            // Storage is this process's alone.
            let tenure = Tenure::unlimited();
            running = Some(sync.start(SyncSession { barrier, local, changed, tenure }));
        }
        tokio::select! {
            changed = sessions.changed() => if changed.is_err() { break },
            _ = ended.wait_for(|ended| *ended) => break,
        }
    }
    if let Some(running) = running {
        running.stop().await;
    }
}

async fn stop_delivering(delivering: JoinHandle<()>) {
    /// Longest wait for a call to a cloud that is under way.
    const PATIENCE: Duration = Duration::from_secs(10);
    // Sealing ended the session; what was cut off is dirty still and goes out after the next start.
    drop(tokio::time::timeout(PATIENCE, delivering).await);
}

/// Scratch files lie where the data lies: there is room, and it is private.
fn scratch(storage: &Storage) -> PathBuf {
    match storage {
        Storage::Embedded { path } => path.clone(),
        Storage::Memory => std::env::temp_dir(),
    }
}

/// What is told about this node: as configured, else by the machine's name.
fn node(config: &Config, environment: &ServerEnvironment) -> Node {
    let name = environment.node_id.clone().or_else(|| config.node_id.clone());
    let cluster_addr = environment.cluster_addr.clone().or_else(|| config.cluster_addr.clone());
    Node {
        name: name.unwrap_or_else(|| environment.host_name.clone()),
        host_name: environment.host_name.clone(),
        // Nodes speak TLS with each other, whatever the configuration says.
        cluster_addr: cluster_addr.unwrap_or_default().replacen("http://", "https://", 1),
        storage_type: config.storage_type.clone(),
    }
}

/// Where the server keeps what is its own.
fn own_files(config: &Config) -> Vec<PathBuf> {
    let mut own = config.files.clone();
    own.extend(config.pid_file.clone());
    if let Storage::Embedded { path } = &config.storage {
        own.push(path.clone());
    }
    for tls in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        own.extend([tls.certificate.clone(), tls.key.clone()]);
    }
    own
}

type Opened = (Arc<dyn Backend>, Option<Arc<Embedded>>);

fn open(storage: &Storage) -> Result<Opened, bailee_storage::Error> {
    Ok(match storage {
        Storage::Memory => (Arc::new(Memory::default()), None),
        Storage::Embedded { path } => {
            let embedded = Arc::new(Embedded::open(path)?);
            (embedded.clone(), Some(embedded))
        }
    })
}

pub(crate) fn proxy(environment: &ServerEnvironment) -> Result<Option<Proxy>, StartError> {
    let no_proxy = environment.no_proxy.as_deref().unwrap_or_default();
    let proxy = environment.proxy.as_ref().map(|url| Proxy::parse(url, no_proxy)).transpose();
    proxy.map_err(|error| StartError::Proxy(error.to_string()))
}

/// What all engines that reach AWS share. Where their connections may go is said here, by the operator:
/// a mount's own settings name endpoints, and open nothing.
fn aws_surroundings(
    config: &Config,
    environment: &ServerEnvironment,
    clock: &Arc<dyn Clock>,
) -> Result<Surroundings, StartError> {
    let http = HttpOptions {
        rules: config.aws.rules.clone(),
        roots: Roots::native(),
        proxy: proxy(environment)?,
        ..HttpOptions::default()
    };
    let ambient = config.aws.ambient_credentials;
    let mut surroundings = Surroundings::new(clock.clone(), http, ambient);
    surroundings.iam_endpoint_url = environment.aws_iam_endpoint_url.clone();
    surroundings.sts_endpoint_url = environment.aws_sts_endpoint_url.clone();
    Ok(surroundings)
}

fn sync_settings(
    config: &Config,
    environment: &ServerEnvironment,
) -> Result<secret_sync::Settings, StartError> {
    Ok(secret_sync::Settings {
        ambient_credentials: config.sync.ambient_credentials,
        reconcile_interval: config.sync.reconcile_interval,
        aws_endpoint_url: environment.aws_endpoint_url.clone(),
        aws_sts_endpoint_url: environment.aws_sts_endpoint_url.clone(),
        proxy: proxy(environment)?,
        ..secret_sync::Settings::default()
    })
}

/// Records the metrics of this process; once in its life.
pub(crate) fn record_metrics() -> Result<PrometheusHandle, StartError> {
    PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| StartError::Metrics(error.to_string()))
}

/// Clears up what metrics gather, for as long as it is polled.
pub(crate) async fn keep_metrics(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP).await;
        metrics.run_upkeep();
    }
}
