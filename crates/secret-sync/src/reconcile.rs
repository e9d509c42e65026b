//! At the start and once a day every association is compared with its secret. More often each
//! destination is asked for a list of what it holds, where that is permitted: what it shows otherwise
//! than we left it is looked at, and what failed for good is tried again. Nothing is ever held whole
//! in memory, and an unchanged destination costs its list and nothing else.

use crate::{
    association::{Association, DriftKind, Object},
    board::{Key, LaneKey, Manner},
    destination::{Names, Note, Remote},
    epoch::Epoch,
    event,
    failure::Status,
    pass::Pass,
    plan::drift,
    registry::{Configured, Drift, StoredDestination},
    store::{Store, Surveyed},
};
use bailee_crypto::clock::{from_millis, to_millis};
use bailee_sdk::Namespace;
use bailee_storage::Error;
use futures_util::{StreamExt, stream};
use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

/// How far a list of a destination may lag behind the truth: younger deliveries are not judged by it.
const SURVEY_LAG: Duration = Duration::from_secs(600);
/// Pages of a survey: of a hundred objects each.
const SURVEY_PAGES_MAX: usize = 10_000;
/// Destinations that are gone through at once.
const DESTINATIONS_MAX: usize = 8;
/// Destinations that are compared at once: one that is down takes up nothing, and holds up no other.
const COMPARED_MAX: usize = 1_024;
/// How long a visit waits for room for a look. Where there is none a destination is down or far behind,
/// and the next visit goes on.
const ROOM_WAIT: Duration = Duration::from_secs(60);
/// A look at the destination itself.
const LOOK: Manner = Manner { verify: true, repair: false, hurry: false };

/// Has every association compared with its secret, as fast as there is room for it.
pub(crate) async fn compare(pass: &Pass) {
    let mut lanes = Vec::new();
    for namespace in pass.namespaces() {
        let store = Store::open(&pass.barrier, &namespace);
        let destinations = match store.associated_destinations().await {
            Ok(destinations) => destinations,
            Err(error) => {
                event::storage_failed("compare", &error);
                continue;
            }
        };
        lanes.extend(destinations.iter().map(|id| LaneKey::new(&namespace, id)));
    }
    let compared =
        lanes.into_iter().map(|lane| async move { all_of(pass, &lane, Manner::default()).await });
    let mut compared = stream::iter(compared).buffer_unordered(COMPARED_MAX);
    let mut count = 0;
    while let Some(result) = compared.next().await {
        match result {
            Ok(of_destination) => count += of_destination,
            Err(error) => event::storage_failed("compare", &error),
        }
    }
    event::compared(count);
}

/// Has every association of a destination worked on.
pub(crate) async fn all_of(pass: &Pass, lane: &LaneKey, manner: Manner) -> Result<usize, Error> {
    let (mut after, mut count) = (String::new(), 0);
    loop {
        let store = Store::open(&pass.barrier, &lane.namespace);
        let page = store.association_page(&lane.destination, &after).await?;
        let Some(last) = page.last() else { return Ok(count) };
        after.clone_from(last);
        count += page.len();
        for secret in page {
            let key = Key::new(&lane.namespace, &lane.destination, &secret);
            pass.board.check(key, manner).await;
        }
    }
}

/// Goes through all destinations. One that answers late, or cannot be read, holds up no other one.
pub(crate) async fn reconcile(pass: &Pass) {
    let mut destinations = Vec::new();
    for namespace in pass.namespaces() {
        match stored_destinations(&Store::open(&pass.barrier, &namespace)).await {
            Ok((found, outcome)) => {
                let of = |stored: StoredDestination| (namespace.clone(), stored);
                destinations.extend(found.into_iter().map(of));
                if let Err(error) = outcome {
                    event::storage_failed("read a destination", &error);
                }
            }
            Err(error) => event::storage_failed("reconcile", &error),
        }
    }
    let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let visits = destinations.into_iter().map(|(namespace, stored)| async move {
        let kind = stored.kind.clone();
        (kind, visit(pass, &namespace, stored).await)
    });
    let mut visits = stream::iter(visits).buffer_unordered(DESTINATIONS_MAX);
    while let Some((kind, visited)) = visits.next().await {
        let (destinations, associations) = kinds.entry(kind).or_default();
        *destinations += 1;
        match visited {
            Ok(count) => *associations += count,
            Err(error) => event::storage_failed("reconcile a destination", &error),
        }
    }
    event::counted(pass.registry.kind_names(), &kinds);
}

/// The destinations of a namespace. One that cannot be read hides no other one; the first failure
/// is told beside.
pub(crate) async fn stored_destinations(
    store: &Store,
) -> Result<(Vec<StoredDestination>, Result<(), Error>), Error> {
    let (mut found, mut outcome) = (Vec::new(), Ok(()));
    for folder in store.destination_names("").await? {
        let kind = folder.trim_end_matches('/');
        for name in store.destination_names(&folder).await? {
            match store.destination(kind, &name).await {
                Ok(stored) => found.extend(stored.map(|(stored, _)| stored)),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
    }
    Ok((found, outcome))
}

/// Looks after one destination; how many associations it has.
async fn visit(
    pass: &Pass,
    namespace: &Arc<Namespace>,
    stored: StoredDestination,
) -> Result<usize, Error> {
    let store = Store::open(&pass.barrier, namespace);
    let id = store.destination_id(&stored.kind, &stored.name);
    let epoch = Epoch::read(&store.view).await?.filter(|epoch| !epoch.held);
    let rests = stored.paused || store.config().await?.disabled || epoch.is_none();
    let (began, seen, crowded) = (pass.clock.now(), Seen::default(), AtomicBool::new(false));
    let mut visit = Visit { pass, namespace, id, stored, epoch, began, seen, crowded };
    let count = visit.go_through(rests).await?;
    let looks = count > 0 && !rests && visit.stored.drift != Drift::Off;
    if looks && visit.survey().await? {
        visit.find_missing().await?;
        visit.record().await?;
    }
    Ok(count)
}

/// A visit to a destination.
struct Visit<'a> {
    pass: &'a Pass,
    namespace: &'a Arc<Namespace>,
    id: String,
    stored: StoredDestination,
    epoch: Option<Epoch>,
    began: SystemTime,
    seen: Seen,
    /// Whether there was no room for a look.
    crowded: AtomicBool,
}

/// What a list has shown.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    /// Digests of the names' codes.
    names: HashSet<u64>,
    /// Objects of ours that were looked at.
    looked: u64,
    drifted: u64,
}

impl Visit<'_> {
    fn store(&self) -> Store {
        Store::open(&self.pass.barrier, self.namespace)
    }

    /// Goes through all associations: tells whoever counts them, and tries again what failed and
    /// somebody may have put right. How many there are.
    async fn go_through(&self, rests: bool) -> Result<usize, Error> {
        let (mut after, mut count) = (String::new(), 0);
        loop {
            let store = self.store();
            let page = store.association_page(&self.id, &after).await?;
            let Some(last) = page.last() else { return Ok(count) };
            after.clone_from(last);
            count += page.len();
            let mut synced: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            for secret in &page {
                let Some((association, _)) = store.association(&self.id, secret).await? else {
                    continue;
                };
                if !rests && self.is_unsettled(&association) {
                    self.check(secret, Manner::default()).await;
                }
                synced.entry(association.mount_path).or_default().push(client_code(secret));
            }
            for (mount_path, secrets) in synced {
                let told = self.pass.local.synced(self.namespace, &mount_path, &secrets).await;
                if let Err(error) = told {
                    event::source_failed("count synced secrets", &error);
                }
            }
        }
    }

    /// Has an association worked on, where there is room within a while.
    async fn check(&self, secret: &str, manner: Manner) {
        if self.crowded.load(Relaxed) {
            return;
        }
        let key = Key::new(self.namespace, &self.id, secret);
        let check = tokio::time::timeout(ROOM_WAIT, self.pass.board.check(key, manner));
        self.crowded.store(check.await.is_err(), Relaxed);
    }

    /// Judges what the destination lists, page by page; whether the list was complete.
    async fn survey(&mut self) -> Result<bool, Error> {
        let (kind, name) = (&self.stored.kind, &self.stored.name);
        let registry = &self.pass.registry;
        let configured = match registry.configured(&self.store(), self.namespace, kind, name).await
        {
            Ok(Some(configured)) => configured,
            // Each association says what is wrong with its destination.
            Ok(None) | Err(_) => return Ok(false),
        };
        let mut after = None;
        for _ in 0..SURVEY_PAGES_MAX {
            let page = match configured.destination.survey(&Names::Ours, after).await {
                Ok(page) => page,
                Err(error) => {
                    survey_failed(&configured, error);
                    return Ok(false);
                }
            };
            for (name, remote) in &page.objects {
                self.judge_listed(name, remote).await?;
            }
            after = page.next;
            if after.is_none() {
                configured.surveyed();
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn judge_listed(&mut self, name: &str, remote: &Remote) -> Result<(), Error> {
        let store = self.store();
        let code = store.name_code(name);
        // A list that shifts while it is paged may show an object twice.
        if self.seen.names.insert(self.seen.hasher.hash_one(&code)) {
            self.judge_claimed(&store, &code, Some(remote)).await?;
        }
        Ok(())
    }

    /// Judges the object that has the name of a code, if one has it.
    async fn judge_claimed(
        &mut self,
        store: &Store,
        code: &str,
        remote: Option<&Remote>,
    ) -> Result<(), Error> {
        let Some(claim) = store.claim_of_code(&self.id, code).await? else { return Ok(()) };
        let found = store.association(&self.id, &claim.secret).await?;
        let Some((association, _)) = found else { return Ok(()) };
        let begun = association.objects.iter().filter(|object| object.begun);
        let object = begun.into_iter().find(|object| store.name_code(&object.name) == code);
        self.seen.looked += u64::from(remote.is_some() && object.is_some());
        if let Some(object) = object
            && self.judge(&association, object, remote)
        {
            self.check(&claim.secret, LOOK).await;
        }
        Ok(())
    }

    /// Judges what a complete list did not show.
    async fn find_missing(&mut self) -> Result<(), Error> {
        let mut after = String::new();
        loop {
            let store = self.store();
            let page = store.claimed_page(&self.id, &after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(last);
            for code in &page {
                if !self.seen.names.contains(&self.seen.hasher.hash_one(code)) {
                    self.judge_claimed(&store, code, None).await?;
                }
            }
        }
    }

    /// Whether an object is to be looked at: it seems to be otherwise than we know.
    fn judge(
        &mut self,
        association: &Association,
        object: &Object,
        remote: Option<&Remote>,
    ) -> bool {
        let Some((delivered, epoch)) = object.delivered.as_ref().zip(self.epoch.as_ref()) else {
            return false;
        };
        let at = from_millis(delivered.at);
        // What was delivered in the future was so before the clock was put back.
        let young = at + SURVEY_LAG > self.began && at <= self.pass.clock.now();
        if young || association.removing || object.leaving {
            return false;
        }
        let destination = (self.stored.kind.as_str(), self.stored.name.as_str());
        let mark = epoch.mark(&self.pass.barrier, self.namespace, destination, &object.name);
        let kind = drift(remote, delivered, &mark);
        self.seen.drifted += u64::from(kind.is_some());
        // What is known and shall be undone is tried again; nobody fights for what is taken.
        let undo = self.stored.drift == Drift::Repair
            && kind.is_some_and(|kind| kind != DriftKind::Taken)
            && object.is_repairable(self.pass.clock.now());
        undo || kind != object.drift.map(|drift| drift.kind)
    }

    /// Whether somebody may have put right what it failed of, or its mount has gone.
    fn is_unsettled(&self, association: &Association) -> bool {
        let settled = |status| matches!(status, Status::Synced | Status::Unsynced);
        let mounts = self.pass.local.mounts(self.namespace);
        !settled(association.state.status)
            || association.objects.iter().any(|object| !settled(object.state.status))
            || mounts.with_uuid(&association.mount).is_none()
    }

    async fn record(&self) -> Result<(), Error> {
        let store = self.store();
        let surveyed = Surveyed {
            at: to_millis(self.began),
            looked: self.seen.looked,
            drifted: self.seen.drifted,
        };
        store.lock_destination(&self.id).await;
        // A destination that was deleted meanwhile leaves nothing behind.
        if store.destination(&self.stored.kind, &self.stored.name).await?.is_some() {
            store.put_surveyed(&self.id, surveyed);
            store.view.commit().await?;
        }
        Ok(())
    }
}

/// What a secret is counted by: a digest of its code, the same at every destination and each month.
fn client_code(secret: &str) -> u64 {
    let step = |digest: u64, byte: u8| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    secret.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

fn survey_failed(configured: &Configured, error: crate::failure::Error) {
    let stored = &configured.stored;
    match error.missing_permission {
        Some(missing_permission) => configured.wish(Note {
            missing_permission,
            message: "would let reconciliation see what others changed at the destination"
                .to_owned(),
        }),
        None => event::survey_failed(&stored.kind, &stored.name, &error),
    }
}
