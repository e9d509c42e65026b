//! Noting whom a month has seen.

use super::{month::Month, synced};
use crate::{
    event,
    registry::{self, Registry},
    token::Token,
};
use bailee_barrier::{Barrier, View};
use bailee_crypto::{Clock, clock, hash};
use bailee_sdk::{Code, Error, Namespace};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// Where it is kept whether clients are counted, and for how long.
const CONFIG_KEY: &str = "core/activity";
/// Tokens that wait to be noted; more are noted when they come again.
const QUEUE_MAX: usize = 4096;
/// Tokens that are known to be noted; when there are more they are looked up anew.
const SEEN_MAX: usize = 1_000_000;
/// Clients of a month that are counted, all namespaces together.
const CLIENTS_MAX: usize = 5_000_000;
/// Clients that are stored under one key.
const SEGMENT_MAX: usize = 256;
/// Clients that one batch stores.
const BATCH_MAX: usize = 256;
/// How long clients are collected before they are stored.
const COLLECT: Duration = Duration::from_millis(250);
/// Time between two looks at the calendar.
const CALENDAR_PASS: Duration = Duration::from_secs(60);
/// Months that are kept when nobody says.
const RETENTION_MONTHS: u32 = 48;
/// Keys that are read, or removed, at once.
pub(super) const PAGE: usize = 1000;

/// Whether clients are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Counting {
    /// As the server has it: not.
    #[default]
    Default,
    /// They are.
    Enable,
    /// They are not.
    Disable,
}

/// What an operator says about counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) counting: Counting,
    pub(crate) retention_months: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config { counting: Counting::Default, retention_months: RETENTION_MONTHS }
    }
}

/// A client that a month has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sighting {
    /// Id of the entity, or a code for the token's policies.
    pub(crate) client: String,
    /// Whether it is an entity.
    pub(crate) entity: bool,
    /// The auth mount the token came from.
    pub(crate) mount_accessor: String,
    pub(crate) mount_path: String,
    pub(crate) mount_type: String,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
}

/// What requests tell, and what is configured.
pub(crate) struct Activity {
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    counts: AtomicBool,
    config: Mutex<Config>,
    /// Held while a configuration is stored and becomes what holds.
    changing: tokio::sync::Mutex<()>,
    /// Tokens of this month that need no further note.
    seen: RwLock<HashSet<u64>>,
    hasher: RandomState,
    sender: mpsc::Sender<Arc<Token>>,
    receiver: Mutex<Option<mpsc::Receiver<Arc<Token>>>>,
    /// Secrets that were told of as synced this month.
    pub(super) synced: tokio::sync::Mutex<Option<synced::Known>>,
}

impl Activity {
    pub(crate) async fn load(
        barrier: Arc<Barrier>,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Activity>, Error> {
        let config: Config = barrier.view("").get(CONFIG_KEY).await?.unwrap_or_default();
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        Ok(Arc::new(Activity {
            barrier,
            registry,
            clock,
            counts: AtomicBool::new(config.counting == Counting::Enable),
            config: Mutex::new(config),
            changing: tokio::sync::Mutex::default(),
            seen: RwLock::default(),
            hasher: RandomState::new(),
            sender,
            receiver: Mutex::new(Some(receiver)),
            synced: tokio::sync::Mutex::default(),
        }))
    }

    /// A token was used. Costs next to nothing: what is to be stored is stored beside requests.
    pub(crate) fn saw(&self, token: &Arc<Token>) {
        if !self.counts.load(Ordering::Relaxed) || token.is_root() || is_wrapping(token) {
            return;
        }
        if !self.seen.read().contains(&self.hasher.hash_one(token.id.as_str())) {
            // When the queue is full, the token is noted at its next use.
            drop(self.sender.try_send(token.clone()));
        }
    }

    pub(crate) fn config(&self) -> Config {
        *self.config.lock()
    }

    /// Stores a configuration and counts by it from then on.
    pub(crate) async fn configure(self: &Arc<Self>, config: Config) -> Result<(), Error> {
        let activity = self.clone();
        let work = tokio::spawn(async move {
            let _alone = activity.changing.lock().await;
            let view = activity.barrier.view("");
            view.put(CONFIG_KEY, &config);
            view.commit().await?;
            *activity.config.lock() = config;
            activity.counts.store(config.counting == Counting::Enable, Ordering::Relaxed);
            Ok(())
        });
        work.await.map_err(Error::internal)?
    }

    /// Whether anyone is counted.
    pub(crate) fn counts(&self) -> bool {
        self.counts.load(Ordering::Relaxed)
    }

    pub(crate) fn month(&self) -> Month {
        Month::of(self.clock.now())
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Activity(..)")
    }
}

fn is_wrapping(token: &Token) -> bool {
    token.policies.iter().all(|policy| policy == "response-wrapping")
}

/// Where the sightings of a namespace are.
pub(crate) fn place(barrier: &Arc<Barrier>, namespace: &Namespace) -> View {
    barrier.view(&format!("{}sys/activity/", namespace.prefix()))
}

/// Shows the sightings of a namespace in a month, segment by segment: a month can have millions.
pub(crate) async fn sightings(
    barrier: &Arc<Barrier>,
    namespace: &Namespace,
    month: Month,
    mut seen: impl FnMut(Vec<Sighting>) -> Result<(), Error>,
) -> Result<(), Error> {
    let place = place(barrier, namespace);
    let folder = format!("{month}/");
    let mut after = String::new();
    loop {
        let page = place.list(&folder, &after, PAGE).await?;
        for name in &page {
            let segment: Option<Vec<Sighting>> = place.get(&format!("{folder}{name}")).await?;
            seen(segment.unwrap_or_default())?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after.clone_from(last),
            _ => return Ok(()),
        }
    }
}

/// What the task knows of the month: who was noted, and the last segment of each namespace.
struct Noted {
    month: Month,
    clients: HashSet<u64>,
    open: HashMap<String, Segment>,
}

#[derive(Clone, Default)]
struct Segment {
    number: usize,
    entries: Vec<Sighting>,
}

/// Stores whom requests tell of, until the server is sealed.
pub(crate) async fn record(activity: Arc<Activity>) {
    let Some(mut receiver) = activity.receiver.lock().take() else { return };
    let mut noted: Option<Noted> = None;
    let mut tidied: Option<Instant> = None;
    loop {
        let first = tokio::time::timeout(CALENDAR_PASS, receiver.recv()).await;
        let month = activity.month();
        if tidied.is_none_or(|at| at.elapsed() >= CALENDAR_PASS) {
            tidied = Some(Instant::now());
            if let Err(error) = forget(&activity, month).await {
                event::pass_failed("removal of old activity", &error);
            }
        }
        if noted.as_ref().is_some_and(|noted| noted.month != month) {
            noted = None;
            activity.seen.write().clear();
        }
        let first = match first {
            Ok(Some(first)) => first,
            Ok(None) => return,
            Err(_) => continue,
        };
        tokio::time::sleep(COLLECT).await;
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(next) = receiver.try_recv()
        {
            batch.push(next);
        }
        if let Err(error) = note(&activity, &mut noted, month, batch).await {
            // Read anew: who was not stored comes again with the next use.
            noted = None;
            event::pass_failed("counting of clients", &error);
        }
    }
}

async fn note(
    activity: &Activity,
    noted: &mut Option<Noted>,
    month: Month,
    batch: Vec<Arc<Token>>,
) -> Result<(), Error> {
    if noted.is_none() {
        *noted = Some(read(activity, month).await?);
    }
    let Some(noted) = noted else { return Ok(()) };
    let mut by_namespace: BTreeMap<String, Vec<Arc<Token>>> = BTreeMap::new();
    for token in batch {
        by_namespace.entry(token.namespace.id.clone()).or_default().push(token);
    }
    for (id, tokens) in by_namespace {
        let places = activity.registry.places();
        let Some(place) = places.with_id(&id) else { continue };
        match append(activity, noted, &place.namespace, &tokens).await {
            Ok(()) => {}
            // The namespace is being removed, and with it what is counted.
            Err(error) if error.code == Code::NotFound => continue,
            Err(error) => return Err(error),
        }
        let mut seen = activity.seen.write();
        if seen.len() + tokens.len() > SEEN_MAX {
            seen.clear();
        }
        seen.extend(tokens.iter().map(|token| activity.hasher.hash_one(token.id.as_str())));
    }
    Ok(())
}

/// Stores the clients of one namespace that are new this month.
async fn append(
    activity: &Activity,
    noted: &mut Noted,
    namespace: &Namespace,
    tokens: &[Arc<Token>],
) -> Result<(), Error> {
    let mut fresh: Vec<(u64, Sighting)> = Vec::new();
    for token in tokens {
        let sighting = sighting(activity, token);
        let code = activity.hasher.hash_one((&namespace.id, &sighting.client));
        let is_known =
            noted.clients.contains(&code) || fresh.iter().any(|(known, _)| *known == code);
        if !is_known && noted.clients.len() + fresh.len() < CLIENTS_MAX {
            fresh.push((code, sighting));
        }
    }
    if fresh.is_empty() {
        return Ok(());
    }
    let view = activity.barrier.view("");
    registry::guard_namespace(&view, namespace).await?;
    let place = view.at(place(&activity.barrier, namespace).prefix());
    let mut open = noted.open.get(&namespace.id).cloned().unwrap_or_default();
    for (_, sighting) in &fresh {
        if open.entries.len() >= SEGMENT_MAX {
            open = Segment { number: open.number + 1, entries: Vec::new() };
        }
        open.entries.push(sighting.clone());
        place.put(&segment_key(noted.month, open.number), &open.entries);
    }
    view.commit().await?;
    noted.open.insert(namespace.id.clone(), open);
    noted.clients.extend(fresh.into_iter().map(|(code, _)| code));
    Ok(())
}

fn segment_key(month: Month, number: usize) -> String {
    format!("{month}/{number:08}")
}

/// What storage says of this month.
async fn read(activity: &Activity, month: Month) -> Result<Noted, Error> {
    let mut noted = Noted { month, clients: HashSet::new(), open: HashMap::new() };
    for place in activity.registry.places().iter() {
        let namespace = &place.namespace;
        let code = |one: &Sighting| activity.hasher.hash_one((&namespace.id, &one.client));
        let (mut segments, mut entries) = (0_usize, Vec::new());
        sightings(&activity.barrier, namespace, month, |segment| {
            noted.clients.extend(segment.iter().map(code));
            (segments, entries) = (segments + 1, segment);
            Ok(())
        })
        .await?;
        let number = segments.saturating_sub(1);
        noted.open.insert(namespace.id.clone(), Segment { number, entries });
    }
    Ok(noted)
}

/// An entity is one client; tokens without one are a client for each set of policies.
fn sighting(activity: &Activity, token: &Token) -> Sighting {
    let places = activity.registry.places();
    let found = places.with_id(&token.namespace.id).and_then(|place| place.find(&token.path));
    let mount = found.map(|(mounted, _)| mounted.mount.clone());
    let client = token.entity_id.clone().filter(|id| !id.is_empty());
    Sighting {
        entity: client.is_some(),
        client: client.unwrap_or_else(|| {
            let mut policies = token.policies.clone();
            policies.sort_unstable();
            let text = format!("{}\0{}", token.namespace.id, policies.join("\0"));
            hex::encode(hash::sha256(text.as_bytes()))
        }),
        mount_accessor: mount.as_ref().map(|mount| mount.accessor.clone()).unwrap_or_default(),
        mount_path: mount.as_ref().map(|mount| mount.path.clone()).unwrap_or_default(),
        mount_type: mount.map(|mount| mount.kind.clone()).unwrap_or_default(),
        at: clock::to_millis(activity.clock.now()),
    }
}

/// Removes months that are older than what is kept.
async fn forget(activity: &Activity, month: Month) -> Result<(), Error> {
    let oldest = month.before(activity.config().retention_months);
    for of in activity.registry.places().iter() {
        let place = place(&activity.barrier, &of.namespace);
        for folder in place.list("", "", PAGE).await? {
            let Some(month) = Month::parse(folder.trim_end_matches('/')) else { continue };
            if month >= oldest {
                continue;
            }
            let gone = place.fresh();
            for name in gone.list(&folder, "", PAGE).await? {
                gone.delete(&format!("{folder}{name}"));
            }
            gone.commit().await?;
        }
    }
    Ok(())
}
