//! A server in small: storage, a KV store that leaves change notes, and sync.

use crate::{
    LocalSource, Payload, Running, SecretSync, Settings, SyncSession, Tenure,
    failure::Error as SyncError,
    registry::{DestinationKind, StoredDestination},
    store::Store,
    testing::FakeCloud,
};
use async_trait::async_trait;
use bailee_barrier::{Barrier, RootKey};
use bailee_sdk::{
    Body, Caller, Clock, Error, Mount, Mounts, Namespace, Operation, Path, Reply, Request, change,
    request::Changes, testing::TestClock,
};
use bailee_storage::{
    Backend, Batch, Change, Entry, Error as StorageError, Revision, memory::Memory,
};
use futures_util::{StreamExt, stream::BoxStream};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{io::AsyncWrite, sync::watch};
use zeroize::Zeroizing;

/// The name that the secret `app/db` has at a destination of the default template.
pub(super) const NAME: &str = "vault/kv_1234/app/db";

pub(super) struct World {
    pub(super) barrier: Arc<Barrier>,
    pub(super) cloud: Arc<FakeCloud>,
    pub(super) sync: Arc<SecretSync>,
    pub(super) local: Arc<Local>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) namespace: Arc<Namespace>,
    /// What the caller may read.
    pub(super) readable: Arc<Mutex<Option<String>>>,
    changed: watch::Sender<()>,
    tenure: Tenure,
    running: Mutex<Option<Running>>,
    paths: Vec<Path>,
}

/// This server as a source: versions of secrets in storage.
pub(super) struct Local {
    barrier: Arc<Barrier>,
    clock: Arc<dyn Clock>,
    mounts: Mutex<Mounts>,
    namespaces: Vec<Namespace>,
    /// Audit lines: what, caller, path.
    pub(super) lines: Mutex<Vec<(String, String, String)>>,
    pub(super) audit_fails: Mutex<bool>,
    /// The mounts go while a secret is read.
    pub(super) unmounts: Mutex<bool>,
}

type Versions = Vec<Option<Stored>>;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Stored {
    value: Value,
    expires_at: Option<u64>,
}

pub(super) fn root_key() -> RootKey {
    RootKey::from_bytes(&[7; 32]).unwrap()
}

pub(super) async fn barrier(backend: Arc<dyn Backend>) -> Result<Arc<Barrier>, StorageError> {
    match Barrier::open(backend.clone(), &root_key()).await {
        Ok(opened) => Ok(opened.expect("the key fits")),
        // New storage.
        Err(StorageError::Corrupt(_)) => Barrier::create(backend, &root_key(), Vec::new()).await,
        Err(error) => Err(error),
    }
}

fn mount(path: &str, uuid: &str, version: &str) -> Arc<Mount> {
    Arc::new(Mount {
        path: path.to_owned(),
        uuid: uuid.to_owned(),
        accessor: format!("kv_{uuid}"),
        kind: "kv".to_owned(),
        options: BTreeMap::from([("version".to_owned(), version.to_owned())]),
    })
}

impl World {
    /// A server on new storage, sync activated, with the destination `in-mem/d1`.
    pub(super) async fn new() -> World {
        let clock = Arc::new(TestClock::default());
        let world = World::on(Arc::new(Memory::default()), Arc::default(), clock).await;
        world.ready().await;
        world
    }

    pub(super) async fn on(
        backend: Arc<dyn Backend>,
        cloud: Arc<FakeCloud>,
        clock: Arc<dyn Clock>,
    ) -> World {
        World::with(barrier(backend).await.unwrap(), cloud, Settings::default(), clock)
    }

    pub(super) fn with(
        barrier: Arc<Barrier>,
        cloud: Arc<FakeCloud>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> World {
        let kind = cloud.kind();
        World::of_kind(barrier, cloud, kind, settings, clock, Tenure::unlimited())
    }

    /// The same with a kind of destinations of the test's own.
    pub(super) fn of_kind(
        barrier: Arc<Barrier>,
        cloud: Arc<FakeCloud>,
        kind: DestinationKind,
        settings: Settings,
        clock: Arc<dyn Clock>,
        tenure: Tenure,
    ) -> World {
        let mut kinds = crate::destinations::all();
        kinds.push(kind);
        let sync = SecretSync::with_kinds(settings, clock.clone(), kinds);
        let mounts = Mounts(Arc::new(vec![mount("kv/", "1234", "2"), mount("old/", "5678", "1")]));
        let team = Namespace { id: "team1".to_owned(), path: "team/".to_owned() };
        let local = Arc::new(Local {
            barrier: barrier.clone(),
            clock: clock.clone(),
            mounts: Mutex::new(mounts),
            namespaces: vec![Namespace::root(), team],
            lines: Mutex::default(),
            audit_fails: Mutex::default(),
            unmounts: Mutex::default(),
        });
        let world = World {
            barrier,
            cloud,
            paths: sync.engine().paths(),
            sync,
            local,
            clock,
            namespace: Arc::new(Namespace::root()),
            readable: Arc::new(Mutex::new(None)),
            changed: watch::Sender::new(()),
            tenure,
            running: Mutex::default(),
        };
        world.start();
        world
    }

    pub(super) fn start(&self) {
        let session = SyncSession {
            barrier: self.barrier.clone(),
            local: self.local.clone(),
            changed: self.changed.subscribe(),
            tenure: self.tenure.clone(),
        };
        *self.running.lock() = Some(self.sync.start(session));
    }

    pub(super) async fn stop(&self) {
        let running = self.running.lock().take();
        if let Some(running) = running {
            running.stop().await;
        }
    }

    /// Ends as a crash does.
    pub(super) async fn kill(&self) {
        let running = self.running.lock().take();
        if let Some(running) = running {
            running.kill().await;
        }
    }

    /// Activates sync and makes the destination `in-mem/d1`.
    pub(super) async fn ready(&self) {
        self.post("activation-flags/secrets-sync/activate", json!({})).await.unwrap();
        self.post("sync/destinations/in-mem/d1", json!({})).await.unwrap();
    }

    pub(super) async fn post(&self, path: &str, input: Value) -> Result<Value, Error> {
        self.call(Operation::Update, path, input).await
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Error> {
        self.call(Operation::Read, path, json!({})).await
    }

    /// The data of an answer; `null` for an empty one.
    pub(super) async fn call(
        &self,
        operation: Operation,
        path: &str,
        input: Value,
    ) -> Result<Value, Error> {
        match self.reply(operation, path, input).await?.body {
            Body::Data(json) => Ok(serde_json::from_slice(json.bytes()).unwrap()),
            Body::Empty => Ok(Value::Null),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// As the kernel does it: run, commit, then what comes after.
    pub(super) async fn reply(
        &self,
        operation: Operation,
        path: &str,
        input: Value,
    ) -> Result<Reply, Error> {
        let unsupported = Error::invalid("unsupported operation");
        let (endpoint, captures) = self
            .paths
            .iter()
            .find_map(|declared| {
                let captures = declared.matches(path)?;
                Some((declared.endpoints.get(&operation)?, captures))
            })
            .ok_or(unsupported)?;
        let view = self.barrier.view("n/root/sys/");
        let request = self.request(operation, path, input, &view);
        let reply = endpoint.call(request, captures).await?;
        view.commit().await?;
        match reply.body {
            Body::After(after) => {
                let warnings = reply.warnings;
                let mut reply = after.await?;
                reply.warnings.extend(warnings);
                Ok(reply)
            }
            body => Ok(Reply { body, ..reply }),
        }
    }

    fn request(
        &self,
        operation: Operation,
        path: &str,
        input: Value,
        view: &bailee_sdk::View,
    ) -> Request<Map<String, Value>> {
        let readable = self.readable.lock().clone();
        let caller = Caller {
            display_name: "token".to_owned(),
            accessor: "a".to_owned(),
            token_id: "t".to_owned(),
            entity_id: None,
            policies: Vec::new(),
            may: Arc::new(move |_, path| readable.as_ref().is_none_or(|only| only == path)),
        };
        Request {
            input: input.as_object().cloned().unwrap_or_default(),
            operation,
            path: path.to_owned(),
            caller: Some(Arc::new(caller)),
            now: self.clock.now(),
            namespace: self.namespace.clone(),
            mount: mount("sys/", "sys", ""),
            mounts: self.local.mounts.lock().clone(),
            view: view.clone(),
            changes: Changes::default(),
            remote: None,
            headers: Default::default(),
            lease_max: Default::default(),
        }
    }

    /// Associates a secret of `kv/` with `in-mem/d1`; the entry of the answer.
    pub(super) async fn set(&self, secret: &str) -> Result<Value, Error> {
        let input = json!({ "mount": "kv", "secret_name": secret });
        let data = self.post("sync/destinations/in-mem/d1/associations/set", input).await?;
        Ok(data["associated_secrets"][format!("kv_1234/{secret}")].clone())
    }

    pub(super) async fn remove(&self, secret: &str) -> Result<Value, Error> {
        let input = json!({ "mount": "kv", "secret_name": secret });
        let data = self.post("sync/destinations/in-mem/d1/associations/remove", input).await?;
        Ok(data["associated_secrets"][format!("kv_1234/{secret}")].clone())
    }

    /// The entry of an association as it is shown now.
    pub(super) async fn entry(&self, secret: &str) -> Value {
        let data = self.get("sync/destinations/in-mem/d1/associations").await.unwrap();
        data["associated_secrets"][format!("kv_1234/{secret}")].clone()
    }

    /// Adds a version, as the kernel does it: value and change note in one batch, then a wake-up.
    pub(super) async fn write(&self, path: &str, value: Value) -> Result<(), StorageError> {
        self.change(path, |versions| {
            versions.push(Some(Stored { value, expires_at: None }));
        })
        .await
    }

    /// Adds a version that dies by itself.
    pub(super) async fn write_for(&self, path: &str, value: Value, life: Duration) {
        let expires_at = Some(bailee_crypto::clock::to_millis(self.clock.now() + life));
        let stored = Stored { value, expires_at };
        self.change(path, |versions| versions.push(Some(stored))).await.unwrap();
    }

    /// Deletes the newest version that lives.
    pub(super) async fn delete_newest(&self, path: &str) -> Result<(), StorageError> {
        self.change(path, |versions| {
            if let Some(newest) = versions.iter_mut().rev().find(|version| version.is_some()) {
                *newest = None;
            }
        })
        .await
    }

    /// Makes these the versions of a secret, deleted ones as `None`.
    pub(super) async fn keep(
        &self,
        path: &str,
        values: Vec<Option<Value>>,
    ) -> Result<(), StorageError> {
        let stored = |value| Stored { value, expires_at: None };
        let versions: Versions = values.into_iter().map(|value| value.map(stored)).collect();
        self.change(path, |kept| *kept = versions).await
    }

    async fn change(
        &self,
        path: &str,
        change: impl FnOnce(&mut Versions),
    ) -> Result<(), StorageError> {
        let mount = self.local.mounts.lock().at("kv").unwrap().clone();
        let view = self.barrier.view(&mount.prefix(&self.namespace));
        view.lock(path).await;
        let mut versions: Versions = view.get(path).await?.unwrap_or_default();
        change(&mut versions);
        view.put(path, &versions);
        change::note(&view, &self.namespace, &mount, path);
        view.commit().await?;
        self.changed.send_replace(());
        Ok(())
    }

    /// The newest live value, as the destination should hold it.
    pub(super) async fn held(&self, path: &str) -> Option<String> {
        let mount = self.local.mounts.lock().at("kv").unwrap().clone();
        let payload = self.local.read("test", &self.namespace, &mount, path).await.unwrap();
        payload.map(|payload| String::from_utf8(payload.bytes.to_vec()).unwrap())
    }

    /// Changes the destination `in-mem/d1` as it is stored.
    pub(super) async fn configure(&self, change: impl FnOnce(&mut StoredDestination)) {
        let store = Store::open(&self.barrier, &self.namespace);
        let (mut stored, _) = store.destination("in-mem", "d1").await.unwrap().unwrap();
        change(&mut stored);
        store.put_destination(&stored).await.unwrap();
        store.view.commit().await.unwrap();
    }

    /// All associations of a secret's destination `in-mem/d1`, as they are shown now.
    pub(super) async fn lines(&self) -> Map<String, Value> {
        let data = self.get("sync/destinations/in-mem/d1/associations").await.unwrap();
        data["associated_secrets"].as_object().unwrap().clone()
    }

    /// Lets the work that is ready come to its end.
    pub(super) async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    /// Other mounts instead of those there are.
    pub(super) fn swap_mounts(&self, mounts: Mounts) -> Mounts {
        std::mem::replace(&mut *self.local.mounts.lock(), mounts)
    }

    pub(super) fn unmount(&self) {
        *self.local.mounts.lock() = Mounts::default();
    }
}

#[async_trait]
impl LocalSource for Local {
    async fn namespaces(&self) -> Result<Vec<Namespace>, SyncError> {
        Ok(self.namespaces.clone())
    }

    fn mounts(&self, _namespace: &Namespace) -> Mounts {
        self.mounts.lock().clone()
    }

    async fn read(
        &self,
        name: &str,
        namespace: &Namespace,
        mount: &Mount,
        path: &str,
    ) -> Result<Option<Payload>, SyncError> {
        if *self.unmounts.lock() {
            *self.mounts.lock() = Mounts::default();
            return Ok(None);
        }
        let full = format!("{}{path}", mount.path);
        self.lines.lock().push(("read".to_owned(), name.to_owned(), full));
        let view = self.barrier.view(&mount.prefix(namespace));
        let versions: Versions = view.get(path).await?.unwrap_or_default();
        let now = bailee_crypto::clock::to_millis(self.clock.now());
        let live = versions.iter().enumerate().rev().find_map(|(index, version)| {
            let stored = version.as_ref()?;
            let dead = stored.expires_at.is_some_and(|at| at <= now);
            (!dead).then(|| (index as u64 + 1, stored.clone()))
        });
        Ok(live.map(|(version, stored)| Payload {
            bytes: Zeroizing::new(stored.value.to_string().into_bytes()),
            version,
            expires_at: stored.expires_at.map(bailee_crypto::clock::from_millis),
        }))
    }

    async fn list(
        &self,
        name: &str,
        namespace: &Namespace,
        mount: &Mount,
        folder: &str,
    ) -> Result<Vec<String>, SyncError> {
        self.lines.lock().push(("list".to_owned(), name.to_owned(), mount.path.clone() + folder));
        Ok(self.barrier.view(&mount.prefix(namespace)).list(folder, "", usize::MAX).await?)
    }

    async fn identity_token(
        &self,
        _namespace: &Namespace,
        wanted: &crate::IdentityToken,
    ) -> Result<bailee_sdk::Sensitive<String>, SyncError> {
        Ok(bailee_sdk::Sensitive::new(format!("signed for {}", wanted.subject)))
    }

    async fn audit(
        &self,
        name: &str,
        _namespace: &Namespace,
        what: &str,
        path: &str,
        _detail: &Map<String, Value>,
    ) -> Result<(), SyncError> {
        if *self.audit_fails.lock() {
            let failure = crate::failure::Failure::Internal;
            return Err(SyncError::new(failure, "no audit device could write"));
        }
        self.lines.lock().push((what.to_owned(), name.to_owned(), path.to_owned()));
        Ok(())
    }
}

/// Storage that goes down after a number of commits. With `applies`, the last one lands though it
/// reports failure.
pub(super) struct Faulty {
    pub(super) inner: Arc<Memory>,
    pub(super) left: AtomicU64,
    pub(super) applies: bool,
}

impl Faulty {
    fn up(&self) -> Result<(), StorageError> {
        if self.left.load(Ordering::SeqCst) == 0 {
            return Err(StorageError::Unavailable("down".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for Faulty {
    fn kind(&self) -> &'static str {
        "faulty"
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StorageError> {
        self.up()?;
        self.inner.get(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        self.up()?;
        self.inner.list(prefix, after, limit).await
    }

    fn scan(
        &self,
        prefix: &str,
        after: &str,
    ) -> BoxStream<'_, Result<(String, Entry), StorageError>> {
        if let Err(error) = self.up() {
            return futures_util::stream::iter([Err(error)]).boxed();
        }
        self.inner.scan(prefix, after)
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, StorageError> {
        let left =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let down = || StorageError::Unavailable("down".to_owned());
        match left {
            Err(_) => Err(down()),
            Ok(1) => {
                if self.applies {
                    self.inner.commit(batch).await?;
                }
                Err(down())
            }
            Ok(_) => self.inner.commit(batch).await,
        }
    }

    fn changes(&self) -> BoxStream<'static, Result<Change, StorageError>> {
        self.inner.changes()
    }

    async fn backup(&self, into: &mut (dyn AsyncWrite + Send + Unpin)) -> Result<(), StorageError> {
        self.inner.backup(into).await
    }

    async fn restore(
        &self,
        entries: bailee_storage::Entries<'_>,
    ) -> Result<Revision, StorageError> {
        self.inner.restore(entries).await
    }
}
