//! Test doubles for engines: a harness that stands in for the kernel, and a clock that tests move.
//! Storage that breaks on purpose is `bailee_storage::testing::Faulty`: mount on it.

mod process;
mod simulation;

pub use process::{is_alone, resident};
pub use simulation::{Dice, Log, simulate};

use crate::{
    Body, Caller, Code, Engine, EngineKind, Error, Headers, Issuer, Login, Mount, Mounts,
    Namespace, Operation, Path, Reply, Request, Sensitive, Setup, change,
    engine::{Lease, LeaseRenewal, Renewal, Term},
    intent, openapi,
    request::{Changes, note_changes},
};
use async_trait::async_trait;
use bailee_barrier::{Barrier, RootKey, View};
use bailee_crypto::Clock;
use bailee_storage::{Backend, memory::Memory};
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Times a request is run when its batch conflicts.
const ATTEMPTS_MAX: usize = 8;
/// Where leases are kept, in the mount's own storage.
const LEASES: &str = "harness/leases/";
/// Notes read at once.
const NOTES_MAX: usize = 10_000;
/// How long leases last at most: 32 days, as servers have it.
const LEASE_MAX: Duration = Duration::from_secs(32 * 86_400);

/// One engine, mounted on storage in memory, called as the kernel would call it: routed by its
/// declared paths, committed in one batch, run again on a conflict. There are no policies.
pub struct EngineHarness {
    backend: Arc<dyn Backend>,
    barrier: Arc<Barrier>,
    root: RootKey,
    engine: Arc<dyn Engine>,
    paths: Vec<Path>,
    remote: Option<IpAddr>,
    namespace: Arc<Namespace>,
    mount: Arc<Mount>,
    caller: Arc<Caller>,
    clock: Arc<TestClock>,
    lease_max: Duration,
}

impl EngineHarness {
    /// Mounts an engine of this kind over new storage.
    pub async fn mount(kind: &EngineKind, options: &[(&str, &str)]) -> EngineHarness {
        EngineHarness::mount_on(Arc::new(Memory::default()), kind, options).await
    }

    /// Mounts an engine of this kind over this storage, which must be new.
    pub async fn mount_on(
        backend: Arc<dyn Backend>,
        kind: &EngineKind,
        options: &[(&str, &str)],
    ) -> EngineHarness {
        let setup = setup(options);
        let engine = (kind.make)(&setup).expect("the engine takes these options");
        let root = RootKey::generate();
        let barrier = Barrier::create(backend.clone(), &root, Vec::new())
            .await
            .expect("the storage is new and works");
        let mount = Mount {
            path: format!("{}/", kind.name),
            uuid: "5a3c0b86-0000-4000-8000-000000000001".to_owned(),
            accessor: format!("{}_00000001", kind.name),
            kind: kind.name.to_owned(),
            options: setup.options,
        };
        let caller = Caller {
            display_name: "test".to_owned(),
            accessor: "test-accessor".to_owned(),
            token_id: "test-token".to_owned(),
            entity_id: None,
            policies: vec!["root".to_owned()],
            may: Arc::new(|_, _| true),
        };
        EngineHarness {
            backend,
            barrier,
            root,
            paths: engine.clone().paths(),
            engine,
            remote: None,
            namespace: Arc::new(Namespace::root()),
            mount: Arc::new(mount),
            caller: Arc::new(caller),
            clock: Arc::new(TestClock::default()),
            lease_max: LEASE_MAX,
        }
    }

    /// The same mount in a new process: nothing but storage is left of the old one.
    pub async fn restarted(&self) -> EngineHarness {
        self.restarted_on(self.backend.clone()).await
    }

    /// The same mount in a new process that reaches the storage through another backend.
    pub async fn restarted_on(&self, backend: Arc<dyn Backend>) -> EngineHarness {
        let barrier = Barrier::open(backend.clone(), &self.root)
            .await
            .expect("the storage works")
            .expect("the root key is the one it was made with");
        EngineHarness {
            backend,
            barrier,
            root: self.root.clone(),
            engine: self.engine.clone(),
            paths: self.paths.clone(),
            remote: self.remote,
            namespace: self.namespace.clone(),
            mount: self.mount.clone(),
            caller: self.caller.clone(),
            clock: self.clock.clone(),
            lease_max: self.lease_max,
        }
    }

    /// The same mount with leases that last no longer.
    #[must_use]
    pub fn with_lease_max(mut self, lease_max: Duration) -> EngineHarness {
        self.lease_max = lease_max;
        self
    }

    /// The same mount with other options, as after tuning.
    #[must_use]
    pub fn tuned(mut self, kind: &EngineKind, options: &[(&str, &str)]) -> EngineHarness {
        let setup = setup(options);
        let engine = (kind.make)(&setup).expect("the engine takes these options");
        self.paths = engine.clone().paths();
        self.engine = engine;
        self.mount = Arc::new(Mount { options: setup.options, ..(*self.mount).clone() });
        self
    }

    /// Calls as another caller.
    #[must_use]
    pub fn with_caller(mut self, caller: Caller) -> EngineHarness {
        self.caller = Arc::new(caller);
        self
    }

    /// Calls from an address.
    #[must_use]
    pub fn from_address(mut self, remote: IpAddr) -> EngineHarness {
        self.remote = Some(remote);
        self
    }

    /// Asks what a login would give when its token is to be prolonged, as the kernel does with what
    /// it kept of the login.
    pub async fn renew_login(&self, login: &Login) -> Result<Option<Login>, Error> {
        let mut policies: BTreeSet<String> = login.policies.iter().cloned().collect();
        if !login.no_default_policy {
            policies.insert("default".to_owned());
        }
        let renewal = Renewal {
            internal: login.internal.clone(),
            metadata: login.metadata.clone(),
            policies: policies.into_iter().collect(),
            now: self.clock.now(),
        };
        self.engine.renew_login(&self.view(), &renewal).await
    }

    /// The leases that are out, as stored with the answers that gave them.
    pub async fn leases(&self) -> Vec<(String, Lease)> {
        let view = self.view();
        let names = view.list(LEASES, "", usize::MAX).await.expect("the storage works");
        let mut leases = Vec::new();
        for name in names {
            let lease = view.get(&format!("{LEASES}{name}")).await.expect("the storage works");
            leases.extend(lease.map(|lease| (name, lease)));
        }
        leases
    }

    /// Takes a lease back, and forgets it in the same batch, as the kernel does.
    pub async fn revoke(&self, id: &str) -> Result<(), Error> {
        let (key, view) = (format!("{LEASES}{id}"), self.view());
        let Some(lease) = view.get::<Lease>(&key).await? else { return Ok(()) };
        self.engine.revoke(&view, &lease).await?;
        view.delete(&key);
        view.commit().await?;
        Ok(())
    }

    /// Asks for how long a lease can be prolonged.
    pub async fn renew(&self, id: &str, increment: Duration) -> Result<Term, Error> {
        let (key, view) = (format!("{LEASES}{id}"), self.view());
        let lease = view.get::<Lease>(&key).await?;
        let lease = lease.ok_or_else(|| Error::invalid("lease not found"))?;
        let now = self.clock.now();
        let renewal = LeaseRenewal { increment, issued: now, now };
        self.engine.renew(&view, &lease, &renewal).await
    }

    /// Undoes what unfinished requests left outside, where it is due, as the kernel does before the
    /// periodic work of a mount. Tells how many are left.
    pub async fn roll_back(&self) -> usize {
        self.undo(false).await
    }

    /// The same for all that is left, due or not, as when the mount is to go.
    pub async fn undo_now(&self) -> usize {
        self.undo(true).await
    }

    async fn undo(&self, all: bool) -> usize {
        let view = self.view();
        let folder = format!("{}/", intent::GATE);
        let names = view.list(&folder, "", usize::MAX).await.expect("the storage works");
        let mut left = 0;
        for name in names {
            let (key, view) = (format!("{folder}{name}"), self.view());
            let locked = tokio::time::timeout(Duration::from_millis(100), view.lock(&key)).await;
            let stored = view.get::<intent::Stored>(&key).await.expect("the storage works");
            let Some(stored) = stored else { continue };
            let due = all || stored.due <= bailee_crypto::clock::to_millis(self.clock.now());
            let undone =
                due && locked.is_ok() && self.engine.roll_back(&view, &stored.body).await.is_ok();
            if !undone {
                left += 1;
                continue;
            }
            view.delete(&key);
            view.commit().await.expect("the storage works");
        }
        left
    }

    /// Runs the periodic work of the mount.
    pub async fn tick(&self) -> Result<(), Error> {
        self.engine.tick(&self.view(), self.clock.now()).await
    }

    /// Runs one request; `input` is a JSON object, or null for none.
    pub async fn call(
        &self,
        operation: Operation,
        path: &str,
        input: Value,
    ) -> Result<Reply, Error> {
        let input = fields(input);
        let mut outcome = self.attempt(operation, path, input.clone()).await;
        for _ in 1..ATTEMPTS_MAX {
            match &outcome {
                Err(error) if error.code == Code::Conflict => {}
                Ok(_) | Err(_) => break,
            }
            outcome = self.attempt(operation, path, input.clone()).await;
        }
        match outcome {
            Ok(Reply { body: Body::After(after), .. }) => after.await,
            other => other,
        }
    }

    /// Whether what the path names exists; `None` when the engine does not tell.
    pub async fn exists(&self, path: &str, input: Value) -> Option<Result<bool, Error>> {
        let (declared, captures) = self.route(path)?;
        let request =
            self.request(Operation::Update, path, self.view(), Changes::default(), fields(input));
        declared.check_exists(request, captures).await
    }

    /// Paths of the secrets whose change waits for sync.
    pub async fn changed(&self) -> BTreeSet<String> {
        let view = self.view();
        let waiting = change::waiting(&view, &self.namespace, "", NOTES_MAX);
        let waiting = waiting.await.expect("the storage works");
        waiting.into_iter().map(|waiting| waiting.change.path).collect()
    }

    /// Takes up all notes of changes, as sync does.
    pub async fn take_up_changes(&self) {
        let view = self.view();
        let waiting = change::waiting(&view, &self.namespace, "", NOTES_MAX);
        for waiting in waiting.await.expect("the storage works") {
            change::take_up(&view, &self.namespace, &waiting);
        }
        view.commit().await.expect("the storage works");
    }

    /// All that the engine serves.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// A new unit of work on the mount's storage.
    pub fn view(&self) -> View {
        self.barrier.view(&self.mount.prefix(&self.namespace))
    }

    /// The storage below, as ciphertext.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// The clock that the engine's kind is to be made with, when it needs one.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<TestClock>) -> EngineHarness {
        self.clock = clock;
        self
    }

    /// What the engine takes for the time of day.
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    async fn attempt(
        &self,
        operation: Operation,
        path: &str,
        input: Map<String, Value>,
    ) -> Result<Reply, Error> {
        let not_served = |text| Error::new(Code::Unsupported, text);
        let (declared, captures) =
            self.route(path).ok_or_else(|| not_served("unsupported path"))?;
        let endpoint = declared
            .endpoints
            .get(&operation)
            .ok_or_else(|| not_served("unsupported operation"))?;
        let (view, changes) = (self.view(), Changes::default());
        let request = self.request(operation, path, view.clone(), changes.clone(), input);
        let reply = endpoint.call(request, captures).await?;
        note_changes(&self.request(operation, path, view.clone(), changes, ()));
        if let Body::Lease(_, lease) = &reply.body {
            view.put(&format!("{LEASES}{}", bailee_crypto::random::uuid()), lease);
        }
        view.commit().await?;
        Ok(reply)
    }

    fn route(&self, path: &str) -> Option<(&Path, crate::path::Captures)> {
        self.paths.iter().find_map(|declared| Some((declared, declared.matches(path)?)))
    }

    fn request<I>(
        &self,
        operation: Operation,
        path: &str,
        view: View,
        changes: Changes,
        input: I,
    ) -> Request<I> {
        Request {
            input,
            operation,
            path: path.to_owned(),
            caller: Some(self.caller.clone()),
            now: self.clock.now(),
            namespace: self.namespace.clone(),
            mount: self.mount.clone(),
            mounts: Mounts(Arc::new(vec![self.mount.clone()])),
            view,
            changes,
            remote: self.remote,
            headers: Headers::default(),
            lease_max: self.lease_max,
        }
    }
}

/// The data of a reply as a value; null when it has none.
pub fn data(reply: &Reply) -> Value {
    match &reply.body {
        Body::Data(json) | Body::Lease(json, _) => {
            serde_json::from_slice(json.bytes()).expect("a reply's data is JSON")
        }
        Body::Empty
        | Body::Login(_)
        | Body::Token(_)
        | Body::Raw { .. }
        | Body::Stream { .. }
        | Body::Prolonged { .. }
        | Body::Kept(_)
        | Body::After(_) => Value::Null,
    }
}

/// What declared paths leave without words: operations without a summary, fields without a
/// description. For a test that finds none.
pub fn undescribed(paths: &[Path]) -> Vec<String> {
    let mut found = Vec::new();
    for path in paths {
        for (operation, endpoint) in &path.endpoints {
            if endpoint.summary.is_empty() {
                found.push(format!("{} {}", operation.name(), path.pattern));
            }
        }
        for field in openapi::fields(path) {
            if field.description.is_empty() {
                found.push(format!("field {} of {}", field.name, path.pattern));
            }
        }
    }
    found
}

/// What an engine of a test is made with.
pub fn setup(options: &[(&str, &str)]) -> Setup {
    let named = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Setup { options: options.iter().map(named).collect(), issuer: Arc::new(TestIssuer) }
}

/// Signs nothing: its tokens say in the clear what was asked for. Nobody is given one for the
/// audience `refused`.
struct TestIssuer;

#[async_trait]
impl Issuer for TestIssuer {
    async fn token(
        &self,
        prefix: &str,
        audience: &str,
        ttl: Duration,
    ) -> Result<Sensitive<String>, Error> {
        if audience == "refused" {
            return Err(Error::invalid("no token for this audience"));
        }
        Ok(Sensitive::new(format!("{prefix} {audience} {}", ttl.as_secs())))
    }
}

#[expect(clippy::panic, reason = "a test that gives no object is wrong itself")]
fn fields(input: Value) -> Map<String, Value> {
    match input {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        other => panic!("the input of a request is an object, not {other}"),
    }
}

/// Wall time that follows tokio's paused clock: one knob moves both.
#[derive(Debug)]
pub struct TestClock {
    epoch: SystemTime,
    started: tokio::time::Instant,
}

impl Default for TestClock {
    fn default() -> TestClock {
        TestClock {
            epoch: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            started: tokio::time::Instant::now(),
        }
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        self.epoch + self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, engine::Class};
    use schemars::JsonSchema;
    use serde::Deserialize;

    /// Counts under names.
    struct Counter;

    #[derive(Deserialize, JsonSchema)]
    struct Count {
        /// Name of the counter.
        name: String,
    }

    impl Engine for Counter {
        fn paths(self: Arc<Counter>) -> Vec<Path> {
            async fn add(_: Arc<Counter>, request: Request<Count>) -> Result<Reply, Error> {
                let name = &request.input.name;
                let stored = request.view.get_at::<u64>(name).await?;
                match stored {
                    Some((_, Some(revision))) => request.view.expect(name, revision),
                    _ => request.view.expect_absent(name),
                }
                let count = stored.map_or(0, |(count, _)| count) + 1;
                // Lets the others read the same count before this one commits.
                tokio::task::yield_now().await;
                request.view.put(name, &count);
                request.changed(name);
                Ok(Reply::data(&serde_json::json!({ "count": count })))
            }
            vec![Path::new("{name}").on(Operation::Update, &self, "Count", add)]
        }
    }

    fn kind() -> EngineKind {
        EngineKind {
            name: "counter",
            class: Class::Secret,
            make: Arc::new(|_| Ok(Arc::new(Counter))),
        }
    }

    #[tokio::test]
    async fn a_request_that_conflicts_is_run_again() {
        let harness = EngineHarness::mount(&kind(), &[]).await;
        let calls = (0..4).map(|_| harness.call(Operation::Update, "a", Value::Null));
        let replies = futures_util::future::join_all(calls).await;
        let counts: BTreeSet<u64> = replies
            .iter()
            .map(|reply| data(reply.as_ref().unwrap())["count"].as_u64().unwrap())
            .collect();
        assert_eq!(counts, BTreeSet::from([1, 2, 3, 4]));
    }

    #[tokio::test]
    async fn what_was_committed_outlives_a_restart_and_leaves_notes() {
        let harness = EngineHarness::mount(&kind(), &[]).await;
        for name in ["a", "b", "a"] {
            harness.call(Operation::Update, name, Value::Null).await.unwrap();
        }
        let harness = harness.restarted().await;
        let reply = harness.call(Operation::Update, "a", Value::Null).await.unwrap();
        assert_eq!(data(&reply), serde_json::json!({ "count": 3 }));
        assert_eq!(harness.changed().await, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        harness.take_up_changes().await;
        assert!(harness.changed().await.is_empty());
    }

    #[tokio::test]
    async fn what_is_not_declared_is_not_served() {
        let harness = EngineHarness::mount(&kind(), &[]).await;
        for (operation, path) in [(Operation::Update, "a/b"), (Operation::Read, "a")] {
            let error = harness.call(operation, path, Value::Null).await.unwrap_err();
            assert_eq!(error.code, Code::Unsupported);
        }
        assert!(harness.exists("a", Value::Null).await.is_none());
        assert_eq!(undescribed(harness.paths()), Vec::<String>::new());
    }
}
