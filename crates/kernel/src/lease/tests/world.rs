//! A server without tasks beside it: time passes when a test says so.

use crate::{
    Answer, AuditDevice, Call, Content, Core, Initialize, Parts, Settings,
    intents::{Reach, Undo},
    kernel::Kernel,
    token::tests::world::{Faulty, SetClock},
};
use async_trait::async_trait;
use bailee_barrier::{
    Barrier, View,
    seal::{Seal, Unlock, shamir::ShamirSeal},
};
use bailee_crypto::{Clock, Sensitive, clock::to_millis};
use bailee_sdk::{
    Body, Code, Engine, EngineKind, Error, Headers, Json, Lease, LeaseRenewal, Nothing, Operation,
    Path, Reply, Request, Term, engine::Class, field::Ttl, intent,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// How long it takes to take back what was lent as `slow`; what was lent as `stuck` never comes.
pub(super) const SLOW: Duration = Duration::from_secs(50);

/// How the lender answers.
#[derive(Clone, Debug)]
pub(super) enum Mood {
    Works,
    Refuses,
    /// So many calls a second; the bucket holds as many.
    Throttles(u64),
}

/// What is out on loan.
pub(super) struct Ledger {
    pub(super) out: Mutex<BTreeSet<String>>,
    pub(super) mood: Mutex<Mood>,
    pub(super) calls: AtomicU64,
    bucket: Mutex<(f64, u64)>,
    next: AtomicU64,
    pub(super) clock: Arc<SetClock>,
}

impl Ledger {
    fn take(&self) -> bool {
        let Mood::Throttles(rate) = *self.mood.lock() else { return true };
        let now = to_millis(self.clock.now());
        let mut bucket = self.bucket.lock();
        let (level, since) = *bucket;
        let level = (level + rate as f64 * (now - since.min(now)) as f64 / 1000.0).min(rate as f64);
        let has = level >= 1.0;
        *bucket = (if has { level - 1.0 } else { level }, now);
        has
    }
}

/// Makers of engines have no state of their own: ledgers are found by a name.
static LEDGERS: LazyLock<Mutex<BTreeMap<String, Arc<Ledger>>>> = LazyLock::new(Mutex::default);
static NAMES: AtomicU64 = AtomicU64::new(0);

struct Lender(Arc<Ledger>);

#[derive(Deserialize, JsonSchema)]
struct Borrow {
    role: String,
    #[serde(default)]
    ttl: Ttl,
}

#[derive(Deserialize, JsonSchema)]
struct Config {
    word: String,
}

#[async_trait]
impl Engine for Lender {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("loans/{role...}").on(
                Operation::Read,
                &self,
                "Borrow.",
                |lender: Arc<Self>, request: Request<Borrow>| async move {
                    let number = lender.0.next.fetch_add(1, Ordering::SeqCst);
                    let name = match request.input.role.as_str() {
                        role @ ("slow" | "stuck") => format!("{role}-{number}"),
                        _ => format!("loan-{number}"),
                    };
                    lender.0.out.lock().insert(name.clone());
                    let data = json!({ "loan": name });
                    let lease = Lease {
                        ttl: request.input.ttl.0,
                        renewable: request.input.role != "rigid",
                        data: data.clone(),
                    };
                    Ok(Body::Lease(Json::of(&data), lease).into())
                },
            ),
            Path::new("made/{role}").on(Operation::Read, &self, "Make and lend.", make),
            Path::new("config")
                .on(
                    Operation::Update,
                    &self,
                    "Configure.",
                    |_: Arc<Self>, request: Request<Config>| async move {
                        request.view.put("config", &request.input.word);
                        Ok(Reply::empty())
                    },
                )
                .on(
                    Operation::Read,
                    &self,
                    "Read.",
                    |_: Arc<Self>, request: Request<Nothing>| async move {
                        let word: Option<String> = request.view.get("config").await?;
                        Ok(Reply::data(&json!({ "word": word })))
                    },
                ),
        ]
    }

    async fn renew(&self, _: &View, _: &Lease, wish: &LeaseRenewal) -> Result<Term, Error> {
        Ok(Term { ttl: wish.increment, max_ttl: Duration::ZERO })
    }

    async fn roll_back(&self, _: &View, intent: &Value) -> Result<(), Error> {
        tokio::task::yield_now().await;
        if matches!(*self.0.mood.lock(), Mood::Refuses) {
            return Err(Error::new(Code::Upstream, "the lender is away"));
        }
        self.0.out.lock().remove(intent["loan"].as_str().unwrap());
        Ok(())
    }

    async fn revoke(&self, view: &View, lease: &Lease) -> Result<(), Error> {
        tokio::task::yield_now().await;
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        if !self.0.take() {
            return Err(Error::new(Code::RateLimited, "too fast"));
        }
        // Written also when it fails then: it must not land.
        let name = lease.data["loan"].as_str().unwrap();
        if name.starts_with("slow") {
            tokio::time::sleep(SLOW).await;
        } else if name.starts_with("stuck") {
            std::future::pending::<()>().await;
        }
        view.put("last", &name);
        if matches!(*self.0.mood.lock(), Mood::Refuses) {
            return Err(Error::new(Code::Upstream, "the lender is away"));
        }
        self.0.out.lock().remove(name);
        Ok(())
    }
}

/// Makes what it lends: told before, so that a crash leaves nothing made that nobody has.
async fn make(lender: Arc<Lender>, request: Request<Borrow>) -> Result<Reply, Error> {
    let name = format!("loan-{}", lender.0.next.fetch_add(1, Ordering::SeqCst));
    let data = json!({ "loan": name });
    let declared = intent::declare(&request.view, &data, request.now).await?;
    lender.0.out.lock().insert(name);
    tokio::task::yield_now().await;
    if request.input.role == "broken" {
        return Err(Error::new(Code::Upstream, "the lender is away"));
    }
    declared.settle(&request.view);
    let lease = Lease { ttl: request.input.ttl.0, renewable: true, data: data.clone() };
    Ok(Body::Lease(Json::of(&data), lease).into())
}

/// Lets everyone in for an hour.
struct Door;

#[async_trait]
impl Engine for Door {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("login/{name}")
                .on(
                    Operation::Update,
                    &self,
                    "Come in.",
                    |_: Arc<Self>, _: Request<Named>| async move {
                        let login = bailee_sdk::Login { ttl: HOUR, ..Default::default() };
                        Ok(Body::Login(Box::new(login)).into())
                    },
                )
                .unauthenticated(),
        ]
    }
}

#[derive(Deserialize, JsonSchema)]
struct Named {
    #[serde(rename = "name")]
    _name: String,
}

fn kinds() -> Vec<EngineKind> {
    vec![
        EngineKind {
            name: "lender",
            class: Class::Secret,
            make: Arc::new(|setup| {
                let ledger = LEDGERS.lock()[&setup.options["ledger"]].clone();
                Ok(Arc::new(Lender(ledger)))
            }),
        },
        EngineKind { name: "door", class: Class::Auth, make: Arc::new(|_| Ok(Arc::new(Door))) },
    ]
}

pub(super) struct World {
    pub(super) backend: Arc<Faulty>,
    pub(super) clock: Arc<SetClock>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) kernel: Arc<Kernel>,
    pub(super) name: String,
    pub(super) root: String,
    keys: Vec<Zeroizing<Vec<u8>>>,
    audit: Vec<Arc<dyn AuditDevice>>,
}

impl World {
    /// With a lender mounted at `bank/`.
    pub(super) async fn new() -> World {
        World::recorded(Vec::new()).await
    }

    /// The same with audit devices.
    pub(super) async fn recorded(audit: Vec<Arc<dyn AuditDevice>>) -> World {
        let backend = Arc::new(Faulty::default());
        let clock = Arc::new(SetClock(AtomicU64::new(1_700_000_000_000)));
        let name = NAMES.fetch_add(1, Ordering::SeqCst).to_string();
        let ledger = Arc::new(Ledger {
            out: Mutex::default(),
            mood: Mutex::new(Mood::Works),
            calls: AtomicU64::new(0),
            bucket: Mutex::new((0.0, 0)),
            next: AtomicU64::new(0),
            clock: clock.clone(),
        });
        LEDGERS.lock().insert(name.clone(), ledger.clone());
        let parts = parts(&backend, &clock, &audit);
        let core = Core::new(self::parts(&backend, &clock, &audit));
        let made = core.initialize(Initialize { shares: 2, threshold: 2 }).await.unwrap();
        let root = made.root_token.expose().clone();
        let kernel = Arc::new(open(&backend, &parts, &made.keys).await);
        let world = World { backend, clock, ledger, kernel, name, root, keys: made.keys, audit };
        world.mount("bank").await.unwrap();
        world
    }

    pub(super) async fn restart(&mut self) {
        let parts = parts(&self.backend, &self.clock, &self.audit);
        self.kernel = Arc::new(open(&self.backend, &parts, &self.keys).await);
    }

    pub(super) async fn mount(&self, path: &str) -> Result<Answer, Error> {
        self.mount_at(&format!("sys/mounts/{path}")).await
    }

    async fn mount_at(&self, path: &str) -> Result<Answer, Error> {
        let input = json!({ "type": "lender", "options": { "ledger": self.name } });
        self.write(path, input).await
    }

    pub(super) async fn mount_in(&self, namespace: &str, path: &str) {
        self.mount_at(&format!("{namespace}sys/mounts/{path}")).await.unwrap();
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    pub(super) async fn call(
        &self,
        operation: Operation,
        path: &str,
        input: Value,
        token: &str,
    ) -> Result<Answer, Error> {
        let input: Map<String, Value> = input.as_object().unwrap().clone();
        self.kernel
            .handle(Call {
                id: "r".to_owned(),
                namespace: String::new(),
                path: path.to_owned(),
                operation,
                input,
                token: (!token.is_empty()).then(|| Sensitive::from(token)),
                wrap_ttl: None,
                remote: None,
                headers: Headers::default(),
            })
            .await
    }

    pub(super) async fn write(&self, path: &str, input: Value) -> Result<Answer, Error> {
        self.call(Operation::Update, path, input, &self.root).await
    }

    pub(super) async fn read(&self, path: &str) -> Result<Value, Error> {
        Ok(data(&self.call(Operation::Read, path, json!({}), &self.root).await?))
    }

    pub(super) async fn list(&self, path: &str) -> Result<Value, Error> {
        let answer = self.call(Operation::List, path, json!({}), &self.root).await?;
        Ok(data(&answer)["keys"].clone())
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Answer, Error> {
        self.call(Operation::Delete, path, json!({}), &self.root).await
    }

    /// Borrows; the id of the lease and the loan.
    pub(super) async fn borrow(
        &self,
        path: &str,
        ttl: Duration,
        token: &str,
    ) -> Result<(String, String), Error> {
        let input = json!({ "ttl": ttl.as_secs() });
        let answer = self.call(Operation::Read, path, input, token).await?;
        let loan = data(&answer)["loan"].as_str().unwrap().to_owned();
        Ok((answer.leased.unwrap().id, loan))
    }

    pub(super) async fn token(&self, input: Value) -> String {
        let made = self.write("auth/token/create", input).await.unwrap();
        made.auth.unwrap().client_token.expose().clone()
    }

    pub(super) async fn look_up(&self, id: &str) -> Result<Value, Error> {
        Ok(data(&self.write("sys/leases/lookup", json!({ "lease_id": id })).await?))
    }

    /// All that is due.
    pub(super) async fn pass(&self) {
        let now = self.now();
        self.kernel.tokens.expire_pass(now).await.unwrap();
        self.kernel.leases.pass(now).await.unwrap();
    }

    /// Undoes what unfinished requests left, as a turn of each mount does.
    pub(super) async fn undo(&self, reach: Reach) -> Result<(), Error> {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let places = self.kernel.registry.places();
        let mounts = places.iter().flat_map(|place| place.mounts.values());
        for mounted in mounts.filter(|mounted| mounted.served.is_some()) {
            let barrier = &self.kernel.barrier;
            Undo { barrier, mounted, clock: &clock }.run(reach).await?;
        }
        Ok(())
    }

    /// How many intents are stored.
    pub(super) async fn intents(&self) -> usize {
        let keys = self.backend.keys_under("n/").await;
        keys.iter().filter(|key| key.contains("/intents/")).count()
    }

    pub(super) fn is_out(&self, loan: &str) -> bool {
        self.ledger.out.lock().contains(loan)
    }

    pub(super) fn mood(&self, mood: Mood) {
        *self.ledger.mood.lock() = mood;
    }

    pub(super) async fn lease_keys(&self) -> Vec<String> {
        let keys = self.backend.keys_under("n/").await;
        keys.into_iter().filter(|key| key.contains("/lease/")).collect()
    }
}

fn parts(backend: &Arc<Faulty>, clock: &Arc<SetClock>, audit: &[Arc<dyn AuditDevice>]) -> Parts {
    Parts {
        backend: backend.clone(),
        clock: clock.clone(),
        kinds: kinds(),
        system: Vec::new(),
        audit: audit.to_vec(),
        settings: Settings { max_lease_ttl: HOUR * 24 * 32, ..crate::tests::settings() },
    }
}

async fn open(backend: &Arc<Faulty>, parts: &Parts, keys: &[Zeroizing<Vec<u8>>]) -> Kernel {
    let seal = ShamirSeal::load(&**backend).await.unwrap().unwrap();
    for key in keys {
        if let Unlock::Open(root) = seal.unlock(Some(key)).await.unwrap() {
            let barrier = Barrier::open(backend.clone(), &root).await.unwrap().unwrap();
            return Kernel::open(barrier, Arc::new(seal), parts).await.unwrap();
        }
    }
    panic!("the shares do not open the storage")
}

pub(super) fn data(answer: &Answer) -> Value {
    match &answer.content {
        Content::Data(data) => serde_json::from_slice(data.bytes()).unwrap(),
        Content::Empty | Content::Answer(_) | Content::Raw { .. } | Content::Stream { .. } => {
            Value::Null
        }
    }
}

/// Code and text of a refusal.
pub(super) fn refused<T>(outcome: Result<T, Error>) -> (Code, String) {
    match outcome {
        Ok(_) => panic!("expected a refusal"),
        Err(error) => (error.code, error.to_string()),
    }
}
