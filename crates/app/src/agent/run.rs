//! The agent put together, and run to its end.

use super::{
    CacheKey, Configuration, DiskSettings, Listening, Manager, ManagerKind,
    privileges::{self, Somebody},
};
use crate::{
    assemble,
    config::{ServerEnvironment, env},
    failure::Failure,
    replicate::{self, Auth},
};
use anyhow::{Context, Result, anyhow};
use bailee_agent::{
    SecretManager, Store,
    aws::{self, AwsManager},
    connection::Connection,
    disk::DiskCache,
    listeners::{
        Listeners, Metrics, Surroundings,
        settings::{Endpoint, Interface, Settings},
        vault::Vault,
    },
    outputs::{
        Outputs,
        exec::{self, Command, Exec, Signal},
        file::{self, File},
    },
    store::Place,
    vault::VaultManager,
};
use bailee_client::Session;
use bailee_cloud::HttpOptions;
use bailee_crypto::{Clock, SystemClock, memory};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::PathBuf,
    sync::Arc,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// The word behind `agent` that starts a process which ends with the agent.
pub(crate) const LAUNCH: &str = "launch";
/// Exit code for a program that cannot be started, as shells have it.
const NOT_STARTED: u8 = 127;

/// Runs an agent to its end; gives the exit code, which is the one of the process that it ran.
pub(crate) async fn run(
    configuration: Configuration,
    environment: &ServerEnvironment,
) -> Result<u8> {
    let Configuration { managers, connections, exec, files, listeners, entries_max, disk, .. } =
        configuration;
    let protection = memory::protect(false);
    if !protection.undumpable {
        tracing::warn!("core dumps could not be switched off");
    }
    let metrics = assemble::record_metrics()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (places, sessions) = places(&managers, environment, &clock).await?;
    let store = Arc::new(Store::new(places, entries_max, clock.clone()));
    let cache = disk.map(|disk| open(&disk, configuration.user.as_deref())).transpose()?;
    let connections = Arc::new(connections);
    keep(&store, &managers, &connections)?;
    let rendered = metrics.clone();
    let surroundings = Surroundings {
        store: store.clone(),
        connections: connections.clone(),
        metrics: Some(Metrics::new(move || rendered.render())),
    };
    let somebody = somebody(configuration.user.as_deref(), configuration.group.as_deref())?;
    let settings: Result<Vec<Settings>> = listeners
        .into_iter()
        .map(|listening| listener(given_to(listening, somebody.as_ref()), &sessions))
        .collect();
    let listeners = Listeners::bind(settings?, &surroundings)?;
    if let Some(somebody) = &somebody {
        somebody.become_it()?;
    }
    if let Some(cache) = &cache {
        match cache.load() {
            Ok(memory) => {
                let taken = store.restore(memory).await;
                tracing::info!(secrets = taken, "secrets of an earlier run taken back");
            }
            Err(reason) => tracing::warn!(%reason, "the encrypted cache was not taken back"),
        }
    }
    let outputs = outputs(exec, files, &store)?;
    let signals = signals(outputs.exec.is_none().then(|| store.clone()))?;
    let (stop, stopping) = watch::channel(false);
    tracing::info!(addresses = ?listeners.addresses(), managers = managers.len(), "agent started");
    let serving = tokio::spawn(listeners.run(stopping));
    let beside = beside(&store, cache.as_ref(), metrics);
    let ended = Box::pin(outputs.run(signals)).await;
    let ended = ended.map(|exit| exit.code).map_err(|failure| anyhow!("{failure}"));
    stop.send_replace(true);
    if serving.await.is_err() {
        tracing::warn!("the listeners did not end as they should");
    }
    beside.iter().for_each(JoinHandle::abort);
    let leases_kept = match &cache {
        Some(cache) => cache.write(&store).await && cache.has_leases(),
        None => false,
    };
    // What nobody would take up again is given back.
    if !leases_kept {
        store.close().await;
    }
    tracing::info!("agent stopped");
    ended
}

/// Whom the agent becomes.
pub(super) fn somebody(user: Option<&str>, group: Option<&str>) -> Result<Option<Somebody>> {
    user.map(|user| Somebody::named(user, group)).transpose()
}

/// A listener whose socket, and whose file of tokens where the agent makes it, belong to whom it becomes: who is
/// this user, as the application is, can use them.
fn given_to(mut listening: Listening, somebody: Option<&Somebody>) -> Listening {
    let Some(somebody) = somebody.filter(|somebody| !somebody.is_me()) else { return listening };
    let (uid, gid) = (somebody.uid.as_raw(), somebody.gid.as_raw());
    if let Endpoint::Unix(socket) = &mut listening.endpoint {
        socket.owner.get_or_insert(uid);
        socket.group.get_or_insert(gid);
    }
    if let Some(file) = &mut listening.guard.token_file {
        file.owner = Some((uid, gid));
    }
    listening
}

/// What runs beside everything else until the agent ends.
fn beside(
    store: &Arc<Store>,
    cache: Option<&Arc<DiskCache>>,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
) -> Vec<JoinHandle<()>> {
    let keeping = store.clone();
    let mut tasks = vec![
        tokio::spawn(async move { keeping.keep_fresh().await }),
        tokio::spawn(assemble::keep_metrics(metrics)),
    ];
    if let Some(cache) = cache {
        tasks.push(tokio::spawn(cache.clone().keep(store.clone())));
    }
    tasks
}

/// The files, and the process that ends with the agent however that ends.
pub(super) fn outputs(
    exec: Option<exec::Settings>,
    files: Vec<file::Settings>,
    store: &Arc<Store>,
) -> Result<Outputs> {
    let mut outputs = Outputs::default();
    for settings in files {
        let path = settings.target.path();
        let file = File::new(settings, env::all(), store.clone());
        outputs.files.push(file.map_err(|failure| anyhow!("file {}: {failure}", path.display()))?);
    }
    if let Some(settings) = exec {
        let own = std::env::current_exe().context("the agent's own program")?;
        let words = vec![own.display().to_string(), "agent".to_owned(), LAUNCH.to_owned()];
        let launcher = Command::new(words).map_err(|error| anyhow!("{error}"))?;
        let exec = Exec::new(settings, env::all(), store.clone());
        let exec = exec.map_err(|failure| anyhow!("exec: {failure}"))?;
        outputs.exec = Some(exec.launched_by(&launcher));
    }
    Ok(outputs)
}

/// Becomes the process that an agent runs. Returns only where that fails.
pub(crate) fn launch(agent: &OsStr, words: &[OsString]) -> Failure {
    let Some(agent) = agent.to_str().and_then(|text| text.parse().ok()) else {
        return Failure::usage("agent launch is for the agent itself");
    };
    let error = exec::launch(agent, words.iter().cloned());
    Failure { exit: NOT_STARTED, message: format!("the process could not be started: {error}") }
}

/// The signals that the agent gets. Where no process waits for it, SIGHUP has everything fetched anew.
fn signals(refreshed: Option<Arc<Store>>) -> Result<mpsc::Receiver<Signal>> {
    let mut arriving = Signal::listen().context("signals cannot be received")?;
    let Some(store) = refreshed else { return Ok(arriving) };
    let (told, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(signal) = arriving.recv().await {
            if signal == Signal::Hup {
                tracing::info!("all secrets are fetched anew");
                store.refresh_soon();
            } else if told.send(signal).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// The places of a configuration, and for each server its session.
pub(super) async fn places(
    managers: &BTreeMap<String, Manager>,
    environment: &ServerEnvironment,
    clock: &Arc<dyn Clock>,
) -> Result<(Vec<Place>, BTreeMap<String, Arc<Session>>)> {
    let proxy = assemble::proxy(environment)?;
    let mut places = Vec::with_capacity(managers.len());
    let mut sessions = BTreeMap::new();
    for (name, manager) in managers {
        let failed = |error: &dyn std::fmt::Display| anyhow!("secret_manager {name:?}: {error}");
        let made: Arc<dyn SecretManager> = match &manager.kind {
            ManagerKind::Aws(settings) => {
                let surroundings = aws_surroundings(environment, clock)?;
                let made = Box::pin(AwsManager::new(settings, &surroundings)).await;
                Arc::new(made.map_err(|error| failed(&error))?)
            }
            ManagerKind::Vault(vault) => {
                let told = replicate::Connection::default();
                let session = replicate::session(vault, &told, proxy.clone(), clock);
                let session = Arc::new(session.map_err(|failure| failed(&failure))?);
                sessions.insert(name.clone(), session.clone());
                Arc::new(VaultManager::new(session, identity(vault)))
            }
        };
        places.push(
            Place::new(&manager.name, made, manager.patience).keeping(manager.tagged.clone()),
        );
    }
    Ok((places, sessions))
}

/// What secret managers of AWS need beside their settings.
pub(super) fn aws_surroundings(
    environment: &ServerEnvironment,
    clock: &Arc<dyn Clock>,
) -> Result<aws::Surroundings> {
    let proxy = assemble::proxy(environment)?;
    let http = HttpOptions { proxy, ..HttpOptions::default() };
    Ok(aws::Surroundings { http, clock: clock.clone() })
}

/// As whom a server is entered; no secret is in it.
fn identity(vault: &replicate::Vault) -> String {
    match &vault.auth {
        Some(Auth::AppRole { mount, role_id, .. }) => format!("{mount} {role_id}"),
        Some(Auth::Jwt { mount, role, .. } | Auth::Aws { mount, role, .. }) => {
            format!("{mount} {}", role.as_deref().unwrap_or_default())
        }
        Some(Auth::TokenFile(path)) => format!("token {}", path.display()),
        None => "token".to_owned(),
    }
}

/// A listener, with the session of the server that it stands for.
fn listener(listening: Listening, sessions: &BTreeMap<String, Arc<Session>>) -> Result<Settings> {
    let Listening { endpoint, interface, guard, limits } = listening;
    let interface = match interface {
        super::Interface::SecretsManager(interface) => Interface::SecretsManager(interface),
        super::Interface::Vault(told) => {
            let session = sessions.get(&told.manager).cloned();
            let session = session.with_context(|| format!("listener {endpoint}: manager"))?;
            let mut vault = Vault::new(session);
            vault.agent_token = told.agent_token;
            vault.require_request_header = told.require_request_header;
            vault.keep_logins = told.keep_logins.unwrap_or(vault.keep_logins);
            vault.stale_max = told.stale_max.unwrap_or(vault.stale_max);
            if let Some(ttl) = told.cache_ttl {
                vault = vault.cache_ttl(ttl).with_context(|| format!("listener {endpoint}"))?;
            }
            if let Some(entries) = told.cache_entries {
                vault =
                    vault.cache_entries(entries).with_context(|| format!("listener {endpoint}"))?;
            }
            Interface::Vault(Box::new(vault))
        }
    };
    Ok(Settings { endpoint, interface, guard, limits })
}

/// Pins what is to be kept fresh without being asked for.
fn keep(
    store: &Store,
    managers: &BTreeMap<String, Manager>,
    connections: &BTreeMap<String, Connection>,
) -> Result<()> {
    for (name, manager) in managers {
        for wanted in &manager.prefetched {
            let pinned = store.pin(name, wanted);
            pinned.map_err(|failure| anyhow!("secret_manager {name:?}: prefetch: {failure}"))?;
        }
    }
    for (name, connection) in connections {
        for reference in connection.references() {
            let pinned = store.pin(&reference.manager, &reference.wanted);
            pinned.map_err(|failure| anyhow!("connection {name:?}: {failure}"))?;
        }
    }
    Ok(())
}

fn open(disk: &DiskSettings, user: Option<&str>) -> Result<Arc<DiskCache>> {
    let key_file = match &disk.key {
        CacheKey::File(path) => path.clone(),
        CacheKey::Credential(name) => credential(name)?,
    };
    let cache = DiskCache::new(&disk.path, &key_file, privileges::rule(&key_file, user));
    let cache = cache.map_err(|reason| anyhow!("cache: {reason}"))?;
    Ok(Arc::new(cache.with_leases(disk.keep_leases)))
}

/// Where systemd put one of the credentials of this service.
fn credential(name: &str) -> Result<PathBuf> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        anyhow::bail!("cache: key_credential {name:?} is no name of a credential");
    }
    let folder = env::credentials_directory().with_context(|| {
        format!(
            "cache: key_credential {name:?}: this service has no credentials: add LoadCredentialEncrypted={name}:… \
             to its unit"
        )
    })?;
    Ok(folder.join(name))
}
