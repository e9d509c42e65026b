//! The accounts that destinations deliver to: a strict service each, the weather on the way to it,
//! people who meddle with it, and a watch over whose objects are touched.

use crate::{
    destination::{
        Checked, Cursor, Delivery, Destination, Names, Ownership, Receipt, Removal, Survey,
    },
    failure::{Error, Failure},
    limits::Limits,
    registry::DestinationKind,
    tags::{MARK_TAG, OWNERSHIP_TAG},
    testing::{
        protocol::{self, Wire},
        service::{Answer, Call, Effect, Object, Service},
    },
};
use async_trait::async_trait;
use bailee_sdk::testing::{Dice, Log};
use bailee_storage::testing::{Crash, Life};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

/// The type of the simulated destinations.
pub(super) const KIND: &str = "sim";
/// How long after the end of its session a call may still land.
const STRAGGLE: Duration = Duration::from_secs(5);

/// What calls meet on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Now and then something is lost.
    Clear,
    /// Nothing goes wrong.
    Calm,
    /// Nothing arrives.
    Outage,
    /// Most is too much.
    Throttled,
    /// The credentials are not accepted.
    Unauthenticated,
    /// One operation is not permitted.
    Forbidden(&'static str),
}

/// Whose an object is that we did not make, or gave away.
#[derive(Clone, Debug)]
pub(super) enum Foreign {
    /// A stranger made it so.
    Made(Object),
    /// It was ours and was to be retained.
    Released,
}

/// How a stranger left an object of ours.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tampered {
    /// Its value, or that it is there.
    pub(super) value: bool,
    /// Its tags.
    pub(super) tags: bool,
    /// It carries the mark of another server: whose it is is open.
    pub(super) contested: bool,
}

/// What went wrong, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) calls: u64,
    pub(super) lost_requests: u64,
    pub(super) lost_replies: u64,
    pub(super) refused: u64,
    pub(super) throttled: u64,
    pub(super) slow: u64,
    pub(super) stragglers: u64,
    pub(super) meddled: u64,
    /// Names that strangers took.
    pub(super) taken: u64,
    pub(super) crashes: u64,
    pub(super) overlaps: u64,
    pub(super) restored: u64,
    pub(super) clones: u64,
    pub(super) acts: u64,
    pub(super) versions: u64,
}

impl Faults {
    pub(super) fn add(&mut self, other: Faults) {
        self.calls += other.calls;
        self.lost_requests += other.lost_requests;
        self.lost_replies += other.lost_replies;
        self.refused += other.refused;
        self.throttled += other.throttled;
        self.slow += other.slow;
        self.stragglers += other.stragglers;
        self.meddled += other.meddled;
        self.taken += other.taken;
        self.crashes += other.crashes;
        self.overlaps += other.overlaps;
        self.restored += other.restored;
        self.clones += other.clones;
        self.acts += other.acts;
        self.versions += other.versions;
    }
}

/// An account.
pub(super) struct Account {
    pub(super) name: &'static str,
    ownership: Ownership,
    pub(super) dice: Dice,
    log: Log,
    books: Mutex<Books>,
}

pub(super) struct Books {
    pub(super) service: Service,
    pub(super) weather: Weather,
    pub(super) foreign: BTreeMap<String, Foreign>,
    pub(super) tampered: BTreeMap<String, Tampered>,
    /// How often strangers changed what is under a name.
    pub(super) meddled: BTreeMap<String, u64>,
    /// What must never happen and did.
    pub(super) breaches: Vec<String>,
    /// Objects that may stay although nobody wants them.
    pub(super) left_behind: Vec<String>,
    pub(super) faults: Faults,
    pub(super) looks: usize,
    /// Objects that were made by a call whose answer did not arrive.
    pub(super) unanswered: BTreeSet<String>,
    /// When calls about a name were last sent.
    pub(super) sent: BTreeMap<String, Instant>,
    /// Strangers have had their time.
    pub(super) is_quiet: bool,
}

/// What becomes of one call.
struct Fate {
    there: Duration,
    back: Duration,
    outcome: Outcome,
}

enum Outcome {
    Lands,
    LosesReply,
    LosesRequest,
    Refused(Error),
}

impl Account {
    pub(super) fn new(
        name: &'static str,
        ownership: Ownership,
        dice: &Dice,
        log: &Log,
    ) -> Arc<Account> {
        let linger = dice.pick(&[Duration::ZERO, Duration::ZERO, Duration::from_millis(1500)]);
        let lag = dice.pick(&[0, 0, 20, 150, 300]);
        let mut service = Service::default();
        (service.linger, service.lag) = (linger, Duration::from_secs(lag));
        let books = Mutex::new(Books {
            service,
            weather: Weather::Clear,
            foreign: BTreeMap::new(),
            tampered: BTreeMap::new(),
            meddled: BTreeMap::new(),
            breaches: Vec::new(),
            left_behind: Vec::new(),
            faults: Faults::default(),
            looks: 0,
            unanswered: BTreeSet::new(),
            sent: BTreeMap::new(),
            is_quiet: false,
        });
        Arc::new(Account { name, ownership, dice: dice.clone(), log: log.clone(), books })
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock()
    }

    pub(super) fn weather(&self, weather: Weather) {
        self.log.add(format!("{}: weather {weather:?}", self.name));
        self.books().weather = weather;
    }

    /// Objects of which it is not clear whose they are.
    pub(super) fn doubts(&self) -> usize {
        let books = self.books();
        let contested = books.tampered.values().filter(|tampered| tampered.contested).count();
        let unmarked = |object: &&Object| !object.tags.contains_key(MARK_TAG);
        let unmarked = books.service.objects().values().filter(unmarked).count();
        contested + unmarked + books.foreign.len()
    }

    /// Peace: nothing is lost, lists are fresh, strangers stay away.
    pub(super) fn calm(&self) {
        self.weather(Weather::Calm);
        let mut books = self.books();
        books.service.lag = Duration::ZERO;
        books.is_quiet = true;
    }

    /// Somebody else changes something.
    pub(super) fn meddle(&self, call: &Call) -> Answer {
        let mut books = self.books();
        let name = call.name().unwrap_or_default().to_owned();
        self.log.add(format!("{}: a stranger: {}", self.name, brief(call)));
        books.faults.meddled += 1;
        *books.meddled.entry(name).or_default() += 1;
        books.service.apply(0, call).expect("it is well-formed")
    }

    fn fate(&self, call: &Call) -> Fate {
        let (dice, weather) = (&self.dice, self.books().weather);
        let refused = |failure| Outcome::Refused(Error::new(failure, format!("{failure:?}")));
        if weather == Weather::Calm {
            let there = Duration::from_millis(20);
            return Fate { there, back: there, outcome: Outcome::Lands };
        }
        let slow = dice.percent(3);
        let reach = if slow { 20_000 } else { 300 };
        let (there, back) = (dice.millis(reach), dice.millis(reach));
        let outcome = match weather {
            Weather::Outage if dice.percent(50) => refused(Failure::Unavailable),
            Weather::Outage => Outcome::LosesRequest,
            Weather::Throttled if dice.percent(70) => throttled(dice),
            Weather::Unauthenticated => refused(Failure::Unauthenticated),
            Weather::Forbidden(operation) if operation == call.operation() => {
                Outcome::Refused(Error::forbidden(operation, format!("{operation} is forbidden")))
            }
            _ => match dice.below(100) {
                0..4 => Outcome::LosesRequest,
                4..10 => Outcome::LosesReply,
                10..13 => throttled(dice),
                _ => Outcome::Lands,
            },
        };
        let faults = &mut self.books().faults;
        faults.slow += u64::from(slow);
        match &outcome {
            Outcome::Lands => {}
            Outcome::LosesReply => faults.lost_replies += 1,
            Outcome::LosesRequest => faults.lost_requests += 1,
            Outcome::Refused(error) if error.failure == Failure::Throttled => faults.throttled += 1,
            Outcome::Refused(_) => faults.refused += 1,
        }
        Fate { there, back, outcome }
    }

    /// Does what a call of ours asks for, under watch.
    fn apply(&self, by: u32, call: &Call) -> Result<Answer, Error> {
        let mut books = self.books();
        books.faults.calls += 1;
        books.looks += usize::from(matches!(call, Call::Describe { .. }));
        let before = books.service.effects().len();
        let answer = books.service.apply(by, call);
        if let Some(effect) = books.service.effects().get(before).cloned() {
            self.watch(&mut books, &effect);
        } else if let (Call::Untag { keys, .. }, Ok(Answer::Done)) = (call, &answer)
            && keys.iter().any(|key| key == MARK_TAG)
            && let Some(name) = call.name()
        {
            // Its marks were gone already.
            books.foreign.insert(name.to_owned(), Foreign::Released);
        }
        if !matches!(call, Call::List { .. }) {
            let shown = answer.as_ref().map_or_else(|error| error.message.clone(), short);
            self.log.add(format!("{}: {by}: {} -> {shown}", self.name, brief(call)));
        }
        answer
    }

    fn watch(&self, books: &mut Books, effect: &Effect) {
        let name = effect.call.name().unwrap_or_default().to_owned();
        let deletes = matches!(effect.call, Call::Delete { .. });
        if let Some(Foreign::Made(object)) = books.foreign.get(&name) {
            let marked = object.tags.contains_key(MARK_TAG);
            // Whatever else is done follows a value of ours.
            let permitted = match (&effect.call, self.ownership) {
                (Call::Update { .. }, Ownership::Overwrite) => true,
                (Call::Update { .. }, Ownership::Adopt) => !marked,
                _ => false,
            };
            if !permitted {
                let what = effect.call.operation();
                books.breaches.push(format!("{what} of {name:?}, which is not ours"));
            }
        }
        let writes = matches!(effect.call, Call::Create { .. } | Call::Update { .. });
        if writes || deletes {
            books.foreign.remove(&name);
        }
        books.faults.versions += u64::from(writes);
        let tampered = books.tampered.entry(name.clone()).or_default();
        match &effect.call {
            Call::Create { .. } => *tampered = Tampered::default(),
            Call::Update { .. } => tampered.value = false,
            Call::Restore { .. } => {
                tampered.value = false;
                // Tags that it had when it was removed are in no ledger.
                books.unanswered.insert(name);
            }
            Call::Tag { tags, .. } if tags.contains_key(MARK_TAG) => {
                // Some of what was taken away is not enough.
                tampered.tags &= !tags.contains_key(OWNERSHIP_TAG);
                tampered.contested = false;
            }
            Call::Untag { keys, .. } if keys.iter().any(|key| key == MARK_TAG) => {
                // What else is on it is left to others.
                books.unanswered.insert(name.clone());
                books.foreign.insert(name, Foreign::Released);
            }
            _ => {}
        }
    }

    /// Whether another session has changed an object since then.
    fn is_overtaken(&self, name: Option<&str>, by: u32, since: Instant) -> bool {
        let books = self.books();
        books
            .service
            .effects()
            .iter()
            .rev()
            .take_while(|effect| effect.at >= since)
            .any(|effect| effect.call.name() == name && effect.by != by && effect.by != 0)
    }
}

fn throttled(dice: &Dice) -> Outcome {
    let error = Error::new(Failure::Throttled, "slow down");
    let asked = dice.below(20);
    Outcome::Refused(if asked < 5 { error } else { error.after(Duration::from_secs(asked)) })
}

/// A call as the history shows it.
fn brief(call: &Call) -> String {
    let name = call.name().unwrap_or_default();
    match call {
        Call::Create { token, bytes, .. } | Call::Update { token, bytes, .. } => {
            let value = String::from_utf8_lossy(bytes);
            let token: String = token.chars().take(8).collect();
            format!("{} {name:?} {token} {value}", call.operation())
        }
        Call::Delete { days, .. } => format!("Delete {name:?} {days:?}"),
        Call::Tag { tags, .. } => format!("Tag {name:?} {tags:?}"),
        Call::Untag { keys, .. } => format!("Untag {name:?} {keys:?}"),
        other => format!("{} {name:?}", other.operation()),
    }
}

fn short(answer: &Answer) -> String {
    match answer {
        Answer::Found(found) => {
            let found = found.as_ref();
            format!("{:?}", found.map(|remote| (remote.version_id.clone(), remote.deleting)))
        }
        other => format!("{other:?}"),
    }
}

/// The way of one session to one account.
struct Link {
    account: Arc<Account>,
    life: Arc<Life>,
    limits: Limits,
}

#[async_trait]
impl Wire for Link {
    async fn call(&self, call: Call) -> Result<Answer, Error> {
        self.life.alive().await;
        let crash = self.life.next_call();
        if let Some(Crash::BeforeCall(_)) = crash {
            self.account.log.add(format!("crash before {}", brief(&call)));
            self.life.die();
            self.life.alive().await;
        }
        if let Some(name) = call.name() {
            self.account.books().sent.insert(name.to_owned(), Instant::now());
        }
        let fate = self.account.fate(&call);
        let (answer, answered) = oneshot::channel();
        // What is sent is on its way, whatever becomes of the sender.
        tokio::spawn(travel(self.account.clone(), self.life.clone(), call, fate, crash, answer));
        match answered.await {
            Ok(answer) => answer,
            Err(_) => pending().await,
        }
    }
}

async fn travel(
    account: Arc<Account>,
    life: Arc<Life>,
    call: Call,
    fate: Fate,
    crash: Option<Crash>,
    answer: oneshot::Sender<Result<Answer, Error>>,
) {
    let sent = Instant::now();
    sleep(fate.there).await;
    account.interfere(&call, false);
    if let Some(died) = life.died_at() {
        let late = died.elapsed() > STRAGGLE;
        if late || call.looks() || account.is_overtaken(call.name(), life.author, sent) {
            return;
        }
        account.books().faults.stragglers += 1;
        account.log.add(format!("{}: late, of a dead session:", account.name));
    }
    let uncertain = |what: &str| Error::new(Failure::Unavailable, what).uncertain();
    let outcome = match fate.outcome {
        Outcome::Refused(error) => Err(error),
        Outcome::LosesRequest => {
            sleep(Duration::from_secs(3)).await;
            Err(uncertain("no answer"))
        }
        Outcome::Lands => account.apply(life.author, &call),
        Outcome::LosesReply => {
            account.apply(life.author, &call).and(Err(uncertain("the reply was lost")))
        }
    };
    if let Err(error) = &outcome {
        account.log.add(format!("{}: {} failed: {error}", account.name, brief(&call)));
    }
    let unanswered = outcome.is_err() || crash.is_some() || life.died_at().is_some();
    if let (true, Call::Create { name, .. }) = (unanswered, &call) {
        account.books().unanswered.insert(name.clone());
    }
    if unanswered && !call.looks() {
        account.interfere(&call, true);
    }
    if crash.is_some() {
        account.log.add(format!("crash after {}", brief(&call)));
        life.die();
        return;
    }
    sleep(fate.back).await;
    if let (Err(_), Call::Create { name, .. }) = (answer.send(outcome), &call) {
        account.books().unanswered.insert(name.clone());
    }
}

#[async_trait]
impl Destination for Link {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn check(&self) -> Result<Checked, Error> {
        Ok(Checked::default())
    }

    async fn survey(&self, names: &Names, after: Option<Cursor>) -> Result<Survey, Error> {
        protocol::survey(self, names, after).await
    }

    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        protocol::deliver(self, delivery).await
    }

    async fn delete(&self, removal: &Removal) -> Result<(), Error> {
        protocol::remove(self, removal).await
    }
}

/// The kind whose destinations are these accounts, as one session reaches them.
pub(super) fn kind(
    accounts: &BTreeMap<&'static str, Arc<Account>>,
    life: &Arc<Life>,
) -> DestinationKind {
    let (accounts, life) = (accounts.clone(), life.clone());
    DestinationKind {
        name: KIND,
        details: &[],
        build: Arc::new(move |blueprint| {
            let account = accounts.get(blueprint.name.as_str()).cloned();
            let life = life.clone();
            Box::pin(async move {
                let unknown = || Error::new(Failure::Invalid, "no such account");
                let account = account.ok_or_else(unknown)?;
                let link: Arc<dyn Destination> =
                    Arc::new(Link { account, life, limits: Limits::default() });
                Ok(link)
            })
        }),
        ..crate::destinations::aws_secrets_manager::kind()
    }
}
