//! A server that is nothing but a kernel, with an `aws` engine, beside a fake IAM.

use super::way::{Network, Seen, Way, Weather};
use bailee_cloud::HttpOptions;
use bailee_crypto::Sensitive;
use bailee_engines::aws::Surroundings;
use bailee_fake_clouds::{FakeAws, aws};
use bailee_kernel::{
    Answer, Call, Content, Core, Host, Initialize, LogLevel, Node, Parts, Settings,
};
use bailee_sdk::{
    Clock, Error, Headers, Operation,
    testing::{Dice, Log, TestClock},
};
use bailee_storage::{
    memory::Memory,
    testing::{Crash, Disk, Life},
};
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
/// Leases that nobody says otherwise about.
pub(super) const DEFAULT_TTL: Duration = Duration::from_secs(768 * 3600);

pub(super) const EC2: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:*"],"Resource":["*"]}]}"#;

/// What outlives a session: storage, IAM, the clock.
pub(super) struct World {
    pub(super) network: Arc<Network>,
    pub(super) clock: Arc<TestClock>,
    pub(super) root: String,
    /// What the engine's own user may do.
    pub(super) policy: String,
    pub(super) session: Session,
    memory: Arc<Memory>,
    keys: Vec<Zeroizing<Vec<u8>>>,
    sessions: u32,
}

/// A server from its start to its end.
pub(super) struct Session {
    pub(super) core: Arc<Core>,
    pub(super) life: Arc<Life>,
}

/// A lease as it is stored.
#[derive(Debug)]
pub(super) struct StoredLease {
    pub(super) user: String,
    pub(super) access_key: String,
}

impl World {
    /// Unsealed, with the engine at `aws/` as a user of IAM who has no more rights than it asks for,
    /// and a role `ci` with all that a role of users can have.
    pub(super) async fn new(dice: Dice, way_max: u64) -> World {
        let clock = Arc::new(TestClock::default());
        let aws = FakeAws::unplugged(aws::Options::default(), clock.now());
        let network = Arc::new(Network {
            aws,
            dice,
            log: Log::default(),
            weather: Mutex::new(Weather::default()),
            seen: Mutex::new(Seen::default()),
            way_max,
        });
        let memory = Arc::new(Memory::default());
        let session = begin(&memory, &network, &clock, Life::new(0, None));
        let made = session.core.initialize(Initialize { shares: 1, threshold: 1 }).await.unwrap();
        session.core.unseal(&made.keys[0]).await.unwrap();
        let root = made.root_token.expose().clone();
        let keys = made.keys;
        let policy = String::new();
        let mut world = World { network, clock, root, policy, session, memory, keys, sessions: 0 };
        world.configure().await;
        world
    }

    async fn configure(&mut self) {
        self.mount("aws").await;
        let role = json!({
            "credential_type": "iam_user", "policy_document": EC2, "iam_groups": "staff",
            "policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess",
        });
        self.aws().create_group("staff");
        self.write("aws/roles/ci", role).await.unwrap();
        let policy = self.read("aws/root-policy").await.unwrap();
        self.policy = policy["policy_document"].as_str().unwrap().to_owned();
        let key = self.aws().create_user("engine", &[&self.policy]);
        let root = json!({
            "access_key": key.access_key_id, "secret_key": key.secret_access_key,
            "region": "us-east-1",
        });
        self.write("aws/config/root", root).await.unwrap();
    }

    pub(super) async fn mount(&self, path: &str) {
        self.write(&format!("sys/mounts/{path}"), json!({ "type": "aws" })).await.unwrap();
    }

    pub(super) async fn unmount(&self, path: &str) -> Result<Answer, Error> {
        let path = format!("sys/mounts/{path}");
        self.call(Operation::Delete, &path, json!({}), &self.root).await
    }

    pub(super) fn aws(&self) -> &FakeAws {
        &self.network.aws
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// The end of the session, without a word to anyone.
    pub(super) fn kill(&self) {
        self.session.life.die();
    }

    /// The next session, on what the one before has left.
    pub(super) async fn restart(&mut self, end: Option<Crash>) {
        self.kill();
        self.sessions += 1;
        let life = Life::new(self.sessions, end);
        self.session = begin(&self.memory, &self.network, &self.clock, life.clone());
        let unsealing = self.session.core.unseal(&self.keys[0]);
        tokio::select! {
            biased;
            status = unsealing => assert!(!status.unwrap().sealed),
            () = life.crashed() => {}
        }
    }

    /// Whether the session has come to its end.
    pub(super) fn is_dead(&self) -> bool {
        self.session.life.died_at().is_some()
    }

    pub(super) async fn call(
        &self,
        operation: Operation,
        path: &str,
        input: Value,
        token: &str,
    ) -> Result<Answer, Error> {
        let input: Map<String, Value> = input.as_object().cloned().unwrap_or_default();
        let call = Call {
            id: "r".to_owned(),
            namespace: String::new(),
            path: path.to_owned(),
            operation,
            input,
            token: Some(Sensitive::from(token)),
            wrap_ttl: None,
            remote: None,
            headers: Headers::default(),
        };
        self.session.core.handle(call).await
    }

    pub(super) async fn write(&self, path: &str, input: Value) -> Result<Answer, Error> {
        self.call(Operation::Update, path, input, &self.root).await
    }

    pub(super) async fn read(&self, path: &str) -> Result<Value, Error> {
        Ok(data(&self.call(Operation::Read, path, json!({}), &self.root).await?))
    }

    /// Users that the engine has made, and that are still there.
    pub(super) fn users(&self) -> Vec<String> {
        let all = self.aws().users().into_iter();
        all.filter(|name| name.starts_with("vault-")).collect()
    }

    /// The leases that storage holds.
    pub(super) async fn leases(&self) -> Vec<StoredLease> {
        let text = |record: &Value, name: &str| record["data"][name].as_str().unwrap().to_owned();
        let records = self.stored("lease/id/").await;
        let lease = |(_, record): &(String, Value)| StoredLease {
            user: text(record, "name"),
            access_key: text(record, "access_key"),
        };
        records.iter().map(lease).collect()
    }

    /// What storage holds of the root namespace below a folder.
    pub(super) async fn stored(&self, folder: &str) -> Vec<(String, Value)> {
        let session = self.session.core.sessions().borrow().clone().expect("unsealed");
        let view = session.barrier().view("n/root/");
        let entries = view.scan(folder).map(|entry| {
            let (key, bytes) = entry.unwrap();
            (key, serde_json::from_slice(&bytes).unwrap())
        });
        entries.collect().await
    }

    /// What the engines have announced, and the users that they keep account of.
    pub(super) async fn noted(&self) -> (usize, usize) {
        let session = self.session.core.sessions().borrow().clone().expect("unsealed");
        let view = session.barrier().view("n/root/");
        let keys: Vec<String> = view.scan("").map(|entry| entry.unwrap().0).collect().await;
        let count = |part: &str| keys.iter().filter(|key| key.contains(part)).count();
        (count("/intents/"), count("/users/"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

fn begin(
    memory: &Arc<Memory>,
    network: &Arc<Network>,
    clock: &Arc<TestClock>,
    life: Arc<Life>,
) -> Session {
    let way = Way { network: network.clone(), life: life.clone() };
    let clock: Arc<dyn Clock> = clock.clone();
    let surroundings = Surroundings::new(clock.clone(), HttpOptions::default(), false);
    let core = Core::new(Parts {
        backend: Arc::new(Disk { inner: memory.clone(), life: life.clone() }),
        clock,
        kinds: bailee_engines::all(&surroundings.over(Arc::new(way))),
        system: Vec::new(),
        audit: Vec::new(),
        settings: settings(),
    });
    Session { core, life }
}

fn settings() -> Settings {
    Settings {
        cluster_name: "test".to_owned(),
        version: "2.2.0",
        build_date: "2026-01-01T00:00:00Z",
        default_lease_ttl: DEFAULT_TTL,
        max_lease_ttl: DEFAULT_TTL,
        api_addr: None,
        node: Node { storage_type: "inmem".to_owned(), ..Node::default() },
        host: Arc::new(NoHost),
        own_files: Vec::new(),
        scratch: std::env::temp_dir(),
        render_metrics: Arc::new(String::new),
    }
}

/// A process that knows nothing of its machine.
struct NoHost;

impl Host for NoHost {
    fn info(&self) -> Map<String, Value> {
        Map::new()
    }

    fn configuration(&self) -> Map<String, Value> {
        Map::new()
    }

    fn log_levels(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn set_log_level(&self, _: Option<&str>, _: Option<LogLevel>) -> bool {
        false
    }

    fn reload(&self, _: &str) -> Option<Result<(), String>> {
        None
    }
}

pub(super) fn data(answer: &Answer) -> Value {
    match &answer.content {
        Content::Data(data) => serde_json::from_slice(data.bytes()).unwrap(),
        Content::Empty | Content::Answer(_) | Content::Raw { .. } | Content::Stream { .. } => {
            Value::Null
        }
    }
}
