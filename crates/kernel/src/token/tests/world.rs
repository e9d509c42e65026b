//! A small server around the stores: storage that fails on demand, a clock that goes anywhere.

use super::super::{Made, NewToken, TokenPaths, TokenStore, TtlLimits, complete_input};
use crate::policy::{Asked, Needs, PolicyPaths, PolicyStore, rights};
use async_trait::async_trait;
use bailee_barrier::{Barrier, RootKey};
use bailee_crypto::{Clock, clock::from_millis};
use bailee_sdk::{Caller, Engine, Error, Mount, Namespace, Operation, Reply, Request, Sensitive};
use bailee_storage::{
    Backend, Batch, Change, Entry, Error as StorageError, Revision, memory::Memory,
};
use futures_util::{StreamExt, stream::BoxStream};
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::io::AsyncWrite;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A clock that tests set.
#[derive(Debug)]
pub(crate) struct SetClock(pub(crate) AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> SystemTime {
        from_millis(self.0.load(Ordering::SeqCst))
    }
}

impl SetClock {
    pub(crate) fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_millis() as u64, Ordering::SeqCst);
    }

    pub(crate) fn go_back(&self, span: Duration) {
        self.0.fetch_sub(span.as_millis() as u64, Ordering::SeqCst);
    }
}

/// How the next commits fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is written.
    Before,
    /// All is written, but nobody is told.
    After,
}

type Faults = Box<dyn FnMut() -> Option<Fault> + Send>;

/// Storage whose commits fail on demand.
pub(crate) struct Faulty {
    inner: Memory,
    faults: Mutex<Faults>,
}

impl Default for Faulty {
    fn default() -> Faulty {
        Faulty { inner: Memory::default(), faults: Mutex::new(Box::new(|| None)) }
    }
}

impl Faulty {
    pub(crate) fn fail(&self, faults: impl FnMut() -> Option<Fault> + Send + 'static) {
        *self.faults.lock() = Box::new(faults);
    }

    /// Everything that is stored, keys and values.
    pub(crate) async fn all(&self) -> Vec<(String, Vec<u8>)> {
        let entries: Vec<_> = self.inner.scan("", "").collect().await;
        entries
            .into_iter()
            .map(|entry| entry.map(|(key, entry)| (key, entry.bytes)).unwrap())
            .collect()
    }

    pub(crate) async fn keys_under(&self, prefix: &str) -> Vec<String> {
        let all = self.all().await;
        all.into_iter().map(|(key, _)| key).filter(|key| key.starts_with(prefix)).collect()
    }
}

#[async_trait]
impl Backend for Faulty {
    fn kind(&self) -> &'static str {
        "faulty"
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StorageError> {
        // Lets other tasks in, as real storage does.
        tokio::task::yield_now().await;
        self.inner.get(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        self.inner.list(prefix, after, limit).await
    }

    fn scan(
        &self,
        prefix: &str,
        after: &str,
    ) -> BoxStream<'_, Result<(String, Entry), StorageError>> {
        self.inner.scan(prefix, after)
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, StorageError> {
        assert!(batch.writes.len() <= 128, "a batch of {} writes", batch.writes.len());
        tokio::task::yield_now().await;
        let fault = (self.faults.lock())();
        match fault {
            None => {
                let revision = self.inner.commit(batch).await;
                // Whoever waits may go away before it learns that the batch has landed.
                tokio::task::yield_now().await;
                revision
            }
            Some(Fault::Before) => Err(StorageError::Unavailable("down".to_owned())),
            Some(Fault::After) => {
                self.inner.commit(batch).await?;
                Err(StorageError::Unavailable("gone".to_owned()))
            }
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

pub(crate) struct World {
    pub(crate) backend: Arc<Faulty>,
    root_key: RootKey,
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) tokens: Arc<TokenStore>,
    pub(crate) policies: Arc<PolicyStore>,
    pub(crate) root: Sensitive<String>,
}

impl World {
    pub(crate) async fn new() -> World {
        let backend = Arc::new(Faulty::default());
        let root_key = RootKey::generate();
        let barrier = Barrier::create(backend.clone(), &root_key, Vec::new()).await.unwrap();
        let clock = Arc::new(SetClock(AtomicU64::new(1_700_000_000_000)));
        let tokens = TokenStore::new(barrier.clone(), clock.clone(), limits());
        let policies = Arc::new(PolicyStore::new(barrier.clone()));
        let root = Sensitive::default();
        let mut world = World { backend, root_key, barrier, clock, tokens, policies, root };
        let new = NewToken {
            policies: vec!["root".to_owned()],
            display_name: "root".to_owned(),
            path: "auth/token/root".to_owned(),
            eternal: true,
            ..world.plain(Duration::ZERO)
        };
        world.root = world.made(new).await.secret;
        world
    }

    /// Ends the process and starts it anew on the same storage.
    pub(crate) async fn restart(&mut self) {
        let barrier = Barrier::open(self.backend.clone(), &self.root_key).await.unwrap();
        self.barrier = barrier.unwrap();
        self.tokens = TokenStore::new(self.barrier.clone(), self.clock.clone(), limits());
        self.policies = Arc::new(PolicyStore::new(self.barrier.clone()));
    }

    /// An orphan that lasts for `ttl`.
    pub(crate) fn plain(&self, ttl: Duration) -> NewToken {
        NewToken {
            policies: vec!["default".to_owned()],
            display_name: "token".to_owned(),
            ttl,
            renewable: true,
            ..NewToken::new(Namespace::root(), "auth/token/create".to_owned(), self.clock.now())
        }
    }

    pub(crate) async fn made(&self, new: NewToken) -> Made {
        self.try_made(new).await.unwrap()
    }

    pub(crate) async fn try_made(&self, new: NewToken) -> Result<Made, Error> {
        let view = self.barrier.view("");
        let made = self.tokens.create(&view, new).await?;
        view.commit().await?;
        Ok(made)
    }

    pub(crate) async fn child(&self, parent: &Made, ttl: Duration) -> Made {
        let parent = Some(parent.token.id.clone());
        self.made(NewToken { parent, ..self.plain(ttl) }).await
    }

    pub(crate) async fn is_alive(&self, secret: &Sensitive<String>) -> bool {
        self.tokens.authenticate(secret).await.unwrap().is_some()
    }

    pub(crate) async fn pass(&self) -> Result<Option<SystemTime>, Error> {
        self.tokens.expire_pass(self.clock.now()).await
    }

    pub(crate) async fn write_policy(&self, name: &str, text: &str) {
        let view = self.barrier.view("");
        self.policies.write(&view, &Namespace::root(), name, text).await.unwrap();
        self.policies.land(view, &Namespace::root(), name).await.unwrap();
    }

    /// A request to `auth/token/…` or `sys/…` of the root namespace.
    pub(crate) async fn call(
        &self,
        secret: &Sensitive<String>,
        operation: Operation,
        path: &str,
        input: Value,
    ) -> Result<Reply, Error> {
        self.call_in(&Namespace::root(), secret, operation, path, input).await
    }

    /// The same in any namespace, as the kernel serves it.
    pub(crate) async fn call_in(
        &self,
        namespace: &Namespace,
        secret: &Sensitive<String>,
        operation: Operation,
        path: &str,
        input: Value,
    ) -> Result<Reply, Error> {
        let (engine, mount_path): (Arc<dyn Engine>, _) = if path.starts_with("sys/") {
            (Arc::new(PolicyPaths::new(self.policies.clone(), self.tokens.clone())), "sys/")
        } else {
            (Arc::new(TokenPaths::new(self.tokens.clone(), self.policies.clone())), "auth/token/")
        };
        let relative = path.strip_prefix(mount_path).unwrap();
        let token = self.tokens.authenticate(secret).await?.ok_or_else(Error::permission_denied)?;
        let token = self.tokens.spend(&token).await?.ok_or_else(Error::permission_denied)?;
        let paths = engine.paths();
        let (served, captures) = paths
            .iter()
            .find_map(|served| Some((served, served.matches(relative)?)))
            .ok_or_else(Error::not_found)?;
        let (acl, prefix) = rights(&self.policies, &token, namespace).await?;
        let full = format!("{prefix}{path}");
        let needs = Needs::of(served, &format!("{prefix}{mount_path}"));
        let input_of_call = input.as_object();
        let asked = Asked { operation, path: &full, needs, input: input_of_call, wrap_ttl: None };
        if !acl.judge(&asked).allowed {
            return Err(Error::permission_denied());
        }
        let mut input = input.as_object().cloned().unwrap_or_default();
        if mount_path == "auth/token/" {
            complete_input(relative, &mut input, secret);
        }
        let view = self.barrier.view("n/root/mount/x/");
        let caller = Caller {
            display_name: token.display_name.clone(),
            accessor: token.accessor.clone(),
            token_id: token.id.as_str().to_owned(),
            entity_id: token.entity_id.clone(),
            policies: token.policies.clone(),
            may: Arc::new(move |operation, path| acl.may(operation, path)),
        };
        let mount = Mount {
            path: mount_path.to_owned(),
            uuid: "x".to_owned(),
            accessor: "x_1".to_owned(),
            kind: "x".to_owned(),
            options: Default::default(),
        };
        let request = Request {
            input,
            operation,
            path: relative.to_owned(),
            caller: Some(Arc::new(caller)),
            now: self.clock.now(),
            namespace: Arc::new(namespace.clone()),
            mount: Arc::new(mount),
            mounts: Default::default(),
            view: view.clone(),
            changes: Default::default(),
            remote: None,
            headers: Default::default(),
            lease_max: Default::default(),
        };
        let endpoint = served.endpoints.get(&operation).ok_or_else(Error::not_found)?;
        let reply = endpoint.call(request, captures).await;
        if reply.is_ok() {
            view.commit().await?;
        }
        if token.used_up {
            self.tokens.revoke_tree(&token.id).await?;
        }
        reply
    }
}

fn limits() -> TtlLimits {
    TtlLimits { default: DAY * 32, max: DAY * 32 }
}
