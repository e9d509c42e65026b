//! Listeners as clients see them.

mod canary;
mod operations;
mod protection;
mod secretsmanager;
pub(super) mod wire;

use super::{
    Listeners, Surroundings,
    operations::Metrics,
    settings::{Endpoint, Guard, Interface, Limits, SecretsManager, Settings, TokenFile},
};
use crate::{
    connection::{Connection, Property, Reference},
    failure::{Cause, Failure},
    manager::{Fetched, Lease, Material, SecretManager, Wanted},
    store::{ENTRIES_DEFAULT, Patience, Place, Store},
};
use async_trait::async_trait;
use bailee_crypto::Clock;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{sync::watch, task::JoinHandle};

pub(super) const TOKEN: &str = "canary-token-of-the-agent";
pub(super) const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:app-AbCdEf";

/// Later, by the clock that ages are counted by.
pub(super) async fn forward(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// A wall clock that stands still.
#[derive(Debug)]
pub(super) struct Hands(Mutex<SystemTime>);

impl Hands {
    pub(super) fn new() -> Arc<Hands> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        Arc::new(Hands(Mutex::new(now)))
    }
}

impl Clock for Hands {
    fn now(&self) -> SystemTime {
        *self.0.lock()
    }
}

/// A place that answers what a test says.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) secrets: Mutex<BTreeMap<Wanted, Result<Fetched, Failure>>>,
    pub(super) asked: Mutex<Vec<Wanted>>,
    pub(super) away: Mutex<Option<Failure>>,
    pub(super) hangs: Mutex<bool>,
}

impl Shelf {
    pub(super) fn put(&self, wanted: Wanted, fetched: Result<Fetched, Failure>) {
        self.secrets.lock().insert(wanted, fetched);
    }

    pub(super) fn asked(&self) -> Vec<Wanted> {
        std::mem::take(&mut *self.asked.lock())
    }
}

#[async_trait]
impl SecretManager for Shelf {
    fn place(&self) -> String {
        "shelf".to_owned()
    }

    fn normal(&self, wanted: &Wanted) -> Result<Wanted, Failure> {
        Ok(wanted.clone())
    }

    async fn fetch(&self, wanted: &Wanted) -> Result<Fetched, Failure> {
        self.asked.lock().push(wanted.clone());
        if *self.hangs.lock() {
            std::future::pending::<()>().await;
        }
        if let Some(away) = self.away.lock().clone() {
            return Err(away);
        }
        self.secrets.lock().get(wanted).cloned().unwrap_or_else(|| Err(not_found()))
    }

    async fn fetch_tagged(&self, _: &BTreeMap<String, String>) -> Result<Vec<Fetched>, Failure> {
        Ok(Vec::new())
    }

    async fn renew(&self, lease: &Lease) -> Result<Duration, Failure> {
        Ok(lease.duration)
    }

    async fn revoke(&self, _: &Lease) -> Result<(), Failure> {
        Ok(())
    }
}

pub(super) fn not_found() -> Failure {
    Failure {
        code: "ResourceNotFoundException".to_owned(),
        status: Some(400),
        ..Failure::new(Cause::NotFound, "Secrets Manager can't find the specified secret.")
    }
}

pub(super) fn app(material: Material) -> Fetched {
    Fetched {
        id: ARN.to_owned(),
        name: "app".to_owned(),
        version: "5d1d2f3a-0000-4000-8000-000000000001".to_owned(),
        stages: vec!["AWSCURRENT".to_owned()],
        created: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250)),
        material,
        versioned: false,
        lease: None,
    }
}

/// Listeners that run, and what stands behind them.
pub(super) struct Stage {
    pub(super) shelf: Arc<Shelf>,
    pub(super) clock: Arc<Hands>,
    pub(super) store: Arc<Store>,
    pub(super) folder: tempfile::TempDir,
}

impl Stage {
    pub(super) fn new() -> Stage {
        let (shelf, clock) = (Arc::new(Shelf::default()), Hands::new());
        shelf.put(Wanted::current("app"), Ok(app(Material::text("canary-value"))));
        let patience =
            Patience { refresh: Duration::from_secs(60), stale_max: Duration::from_secs(3_600) };
        let places = ["m", "other"].map(|name| Place::new(name, shelf.clone(), patience));
        let entries_max = NonZeroUsize::new(ENTRIES_DEFAULT).unwrap();
        let store = Arc::new(Store::new(places, entries_max, clock.clone()));
        Stage { shelf, clock, store, folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn surroundings(&self) -> Surroundings {
        let reference = |id: &str| Reference {
            manager: "m".to_owned(),
            wanted: Wanted::current(id),
            key: None,
        };
        let properties = |id: &str| {
            BTreeMap::from([
                ("host".to_owned(), Property::Plain("db.example".to_owned())),
                ("password".to_owned(), Property::Secret(reference(id))),
            ])
        };
        let connections = [("orders", "app"), ("broken", "none")].map(|(name, id)| {
            (name.to_owned(), Connection { name: name.to_owned(), properties: properties(id) })
        });
        Surroundings {
            store: self.store.clone(),
            connections: Arc::new(connections.into()),
            metrics: Some(Metrics::new(|| "up 1\n".to_owned())),
        }
    }

    /// A file with these lines and this mode.
    pub(super) fn token_file(&self, text: &str, mode: u32) -> PathBuf {
        let path = self.folder.path().join("token");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    pub(super) fn settings(&self) -> Settings {
        let path = self.token_file(&format!("{TOKEN}\n"), 0o600);
        let token_file =
            Some(TokenFile { path, create: false, group_may_read: false, owner: None });
        let mut interface = SecretsManager::new("m", "/v1/").unwrap();
        let role = "arn:aws:iam::123456789012:role/app";
        interface.roles.insert(role.to_owned(), "other".to_owned());
        Settings {
            endpoint: Endpoint::tcp("127.0.0.1:0".parse().unwrap(), false).unwrap(),
            interface: Interface::SecretsManager(interface),
            guard: Guard { token_file, ..Guard::default() },
            limits: Limits::default(),
        }
    }

    pub(super) fn run(&self, settings: Settings) -> Running {
        let listeners = Listeners::bind(vec![settings], &self.surroundings()).unwrap();
        let address = listeners.addresses().first().copied();
        let (stop, stopped) = watch::channel(false);
        Running { address, stop, ended: tokio::spawn(listeners.run(stopped)) }
    }

    pub(super) fn start(&self) -> Running {
        self.run(self.settings())
    }
}

pub(super) struct Running {
    address: Option<SocketAddr>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) ended: JoinHandle<()>,
}

impl Running {
    pub(super) fn address(&self) -> SocketAddr {
        self.address.unwrap()
    }

    /// Asks with the token.
    pub(super) async fn get(&self, target: &str) -> wire::Answer {
        self.ask("GET", target, &[("X-Aws-Parameters-Secrets-Token", TOKEN)]).await
    }

    pub(super) async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> wire::Answer {
        wire::Connection::open(self.address()).await.ask(method, target, headers).await
    }
}
