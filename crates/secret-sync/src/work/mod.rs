//! The work on one association: read the newest value, plan, act, record. Deliveries, retries,
//! removals and reconciliation all come through here.

mod act;
mod begin;
pub(crate) mod desire;
mod foresee;
mod news;
mod outcome;

pub(crate) use act::{not_ours, previous, too_large};
pub(crate) use begin::{holder, taken};
pub(crate) use desire::Wanted;
pub(crate) use foresee::Foreseen;

use crate::{
    Tenure,
    association::{Association, Object},
    board::{Board, Job, Key, Manner, PurgeKey, Verdict},
    destination::{Owner, Remote},
    epoch::Epoch,
    event,
    failure::{Error, Failure},
    limits::WriteBudget,
    plan::{Desired, Plan, Reason, Rules, Step, plan},
    registry::{Configured, Drift, Registry},
    source::{LocalSource, Payload},
    store::{Mark, Store},
    tags::OwnerMark,
};
use act::Begun;
use bailee_barrier::{Barrier, Revision};
use bailee_sdk::Clock;
use bailee_storage::Error as StorageError;
use futures_util::{StreamExt, future::BoxFuture, stream};
use outcome::{Done, Landed, Outcome, Report};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// How long after a failure of storage an object is worked on again.
const STORAGE_RETRY: Duration = Duration::from_secs(1);
/// A look that failed is repeated as what failed that often in a row: nothing waits for it.
const LOOK_ATTEMPTS: u32 = 10;
/// Keys of one secret that are delivered or removed at once.
const KEYS_RUNNING_MAX: usize = 8;

/// What works on associations needs.
pub(crate) struct Worker {
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) local: Arc<dyn LocalSource>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) board: Arc<Board>,
    tenure: Tenure,
    /// When this session began; no clock that is put right moves that.
    started: Instant,
    /// Deliveries that were begun and are not recorded as done, with their tokens, by name.
    begun: Mutex<HashMap<Key, BTreeMap<String, Begun>>>,
}

/// One association, as it was when the work began.
pub(crate) struct Task<'a> {
    key: &'a Key,
    association: &'a Association,
    configured: &'a Configured,
    epoch: &'a Epoch,
    /// The system caller's name.
    caller: String,
    /// Full path of the secret.
    path: String,
}

impl Worker {
    pub(crate) fn new(
        barrier: Arc<Barrier>,
        local: Arc<dyn LocalSource>,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        board: Arc<Board>,
        tenure: Tenure,
    ) -> Worker {
        let started = Instant::now();
        Worker { barrier, local, registry, clock, board, tenure, started, begun: Mutex::default() }
    }

    /// Brings one association as far as it gets now.
    pub(crate) async fn work(&self, job: &Job) -> Verdict {
        match self.run(job).await {
            Ok(verdict) => verdict,
            Err(error) => {
                event::storage_failed("work on an association", &error);
                let again_at = Some(Instant::now() + STORAGE_RETRY);
                Verdict { again_at, pause: None, manner: job.manner }
            }
        }
    }

    async fn run(&self, job: &Job) -> Result<Verdict, StorageError> {
        let Key { namespace, destination, secret } = &job.key;
        let store = Store::open(&self.barrier, namespace);
        // The mark is read before the secret: a change after that leaves a newer mark.
        let mark = store.dirty_at(destination, secret).await?;
        let Some((association, _)) = store.association(destination, secret).await? else {
            return self.drop_mark(&job.key, mark).await;
        };
        // What rests is found by its mark, or by the next comparison, when it may go on.
        let Some(epoch) = Epoch::read(&store.view).await?.filter(|epoch| !epoch.held) else {
            return Ok(Verdict::default());
        };
        if store.config().await?.disabled {
            return Ok(Verdict::default());
        }
        let not_before = association.state.not_before(self.clock.now());
        if let Some(at) = not_before.filter(|_| !job.manner.hurry) {
            let again_at = Some(self.instant(at));
            return Ok(Verdict { again_at, pause: None, manner: job.manner });
        }
        let configured = match self.configured(&store, &job.key, &association).await {
            Ok(configured) => configured,
            Err(error) => {
                return self.without_destination(&job.key, mark, &association, error).await;
            }
        };
        if configured.stored.paused && !configured.stored.is_purging() {
            return Ok(Verdict::default());
        }
        let task = Task::new(&job.key, &association, &configured, &epoch);
        let outcome = self.attempt(&task, job.manner).await;
        // What a look showed is not done: the next attempt has to look again.
        let failed = !outcome.is_ok() || outcome.look_again.is_some();
        let mut verdict = self.record(&job.key, mark, &association, &outcome).await?;
        verdict.manner = Manner {
            verify: job.manner.verify && failed,
            repair: job.manner.repair && failed,
            hurry: false,
        };
        if configured.stored.is_purging() {
            self.carry_on_purge(&job.key, &association);
        }
        Ok(verdict)
    }

    /// The destination cannot be used as it is configured, or is not there.
    async fn without_destination(
        &self,
        key: &Key,
        mark: Option<(Mark, Revision)>,
        association: &Association,
        error: Error,
    ) -> Result<Verdict, StorageError> {
        // Where nothing was ever delivered, nothing needs the destination to be removed.
        let nothing = association.removing && !association.has_begun();
        let outcome = Outcome::of(if nothing { Ok(Done::Gone) } else { Err(error) });
        let verdict = self.record(key, mark, association, &outcome).await?;
        self.carry_on_purge(key, association);
        Ok(verdict)
    }

    fn carry_on_purge(&self, key: &Key, association: &Association) {
        self.board.kick_purge(PurgeKey {
            namespace: key.namespace.clone(),
            kind: association.destination_type.clone(),
            name: association.destination_name.clone(),
        });
    }

    async fn drop_mark(
        &self,
        key: &Key,
        mark: Option<(Mark, Revision)>,
    ) -> Result<Verdict, StorageError> {
        self.begun.lock().remove(key);
        let store = Store::open(&self.barrier, &key.namespace);
        if let Some((_, read_at)) = mark {
            store.clear_dirty(&key.destination, &key.secret, read_at);
        }
        match store.view.commit().await {
            Ok(_) | Err(StorageError::Conflict) => Ok(Verdict::default()),
            Err(error) => Err(error),
        }
    }

    async fn configured(
        &self,
        store: &Store,
        key: &Key,
        association: &Association,
    ) -> Result<Arc<Configured>, Error> {
        let (kind, name) = (&association.destination_type, &association.destination_name);
        let found = self.registry.configured(store, &key.namespace, kind, name).await?;
        found.ok_or_else(|| Error::new(Failure::Invalid, "the destination does not exist"))
    }

    /// Plans and acts; what one object fails of holds up another one only where it concerns the
    /// destination as a whole.
    async fn attempt(&self, task: &Task<'_>, manner: Manner) -> Outcome {
        let wanted = match self.wanted(task).await {
            Ok(wanted) => wanted,
            Err(error) => return Outcome::of(Err(error)),
        };
        let done = wanted.as_ref().map_or(Done::Gone, |wanted| Done::Live(wanted.expires_at));
        let mut outcome = Outcome::of(Ok(done));
        let mut wanted = wanted.unwrap_or_default();
        // Over what somebody else took nothing is written unseen: two servers would fight. And what
        // need not be there any more may have given way to somebody else's.
        let association = task.association;
        let wary = association.is_taken() || association.is_unproven(&task.epoch.id);
        let found = if manner.verify || wary { self.survey(task).await } else { Ok(None) };
        if let Err(error) = &found
            && wary
        {
            return Outcome::of(Err(error.clone()));
        }
        let unseen = found.as_ref().err().and_then(|error| error.wait(LOOK_ATTEMPTS));
        outcome.look_again = unseen.map(|wait| self.clock.now() + wait);
        let found = found.unwrap_or_default();
        let desired: Vec<Desired> =
            wanted.objects.iter().map(|(desired, _)| desired.clone()).collect();
        let plan = self.planned(task, &desired, &wanted.unnamed(), found.as_ref(), manner);
        let failed = std::mem::take(&mut wanted.failed);
        outcome.reports.extend(failed.into_iter().map(|unnamed| Report {
            sub_key: unnamed.sub_key,
            name: unnamed.name,
            result: Err(unnamed.error),
        }));
        self.act(task, &wanted, &plan, manner, found.as_ref(), &mut outcome).await;
        outcome.acted = !plan.steps.is_empty() || !outcome.is_ok();
        outcome.looked = found.map(|_| plan);
        outcome
    }

    fn planned(
        &self,
        task: &Task<'_>,
        desired: &[Desired],
        unnamed: &BTreeSet<Option<String>>,
        found: Option<&BTreeMap<String, Remote>>,
        manner: Manner,
    ) -> Plan {
        // What was delivered of a part without a name stays; what never was need not.
        let kept =
            |object: &Object| object.delivered.is_some() && unnamed.contains(&object.sub_key);
        let of_ledger = |object: &&Object| object.begun && !kept(object);
        let ledger: Vec<Object> =
            task.association.objects.iter().filter(of_ledger).cloned().collect();
        let stored = &task.configured.stored;
        let drift = if manner.repair { Drift::Repair } else { stored.drift };
        let rules = Rules { drift, ownership: stored.ownership };
        let now = self.clock.now();
        // Whoever asks for a repair has looked: that is no fight.
        plan(desired, &ledger, found, rules, |object| manner.repair || object.is_repairable(now))
    }

    async fn act(
        &self,
        task: &Task<'_>,
        wanted: &Wanted,
        plan: &Plan,
        manner: Manner,
        found: Option<&BTreeMap<String, Remote>>,
        outcome: &mut Outcome,
    ) {
        let values: BTreeMap<&str, &(Desired, Payload)> =
            wanted.objects.iter().map(|object| (object.0.name.as_str(), object)).collect();
        let mut idle: BTreeSet<&str> = values.keys().copied().collect();
        let mut puts = Vec::new();
        let mut leaving = Vec::new();
        for step in &plan.steps {
            match step {
                Step::Put { name, why } => {
                    idle.remove(name.as_str());
                    let value = values.get(name.as_str()).copied();
                    let Some((desired, payload)) = value else { continue };
                    if !self.is_due(task, &desired.sub_key, name, manner, outcome) {
                        let (sub_key, name) = (desired.sub_key.clone(), name.clone());
                        outcome.reports.push(Report { sub_key, name, result: Ok(Landed::NotDue) });
                    } else if self.is_allowed(task, desired, *why, outcome) {
                        puts.push((desired, payload, *why));
                    }
                }
                Step::Refuse { name, owner } => {
                    idle.remove(name.as_str());
                    let sub_key =
                        values.get(name.as_str()).and_then(|value| value.0.sub_key.clone());
                    let result = Err(not_ours(name, *owner));
                    outcome.reports.push(Report { sub_key, name: name.clone(), result });
                }
                Step::Delete { name } => {
                    outcome.leaving.insert(name.clone());
                    let object = task.association.holder_of(name);
                    let remote = found.and_then(|found| found.get(name));
                    if let (Some(object), Some(remote)) = (object, remote)
                        && let Owner::Twin | Owner::Sibling =
                            remote.owner(&task.mark(&self.barrier, name))
                    {
                        // It goes on as the other's: nothing of ours is there any more.
                        let (sub_key, name) = (object.sub_key.clone(), name.clone());
                        outcome.reports.push(Report { sub_key, name, result: Ok(Landed::Gone) });
                        continue;
                    }
                    leaving.extend(object);
                }
            }
        }
        outcome.reports.extend(idle.into_iter().filter_map(|name| {
            let sub_key = values.get(name)?.0.sub_key.clone();
            Some(Report { sub_key, name: name.to_owned(), result: Ok(Landed::Kept) })
        }));
        self.put_all(task, puts, outcome).await;
        self.delete_all(task, leaving, manner, found, outcome).await;
    }

    /// Whether an object that failed may be tried again; otherwise when it may.
    fn is_due(
        &self,
        task: &Task<'_>,
        sub_key: &Option<String>,
        name: &str,
        manner: Manner,
        outcome: &mut Outcome,
    ) -> bool {
        let object = task.association.object(sub_key, name);
        let next = object.and_then(|object| object.state.not_before(self.clock.now()));
        let Some(at) = next.filter(|_| !manner.hurry) else { return true };
        outcome.later = outcome.later.into_iter().chain([at]).min();
        false
    }

    /// Whether the destination allows another version of the object now; otherwise when it will.
    fn is_allowed(
        &self,
        task: &Task<'_>,
        desired: &Desired,
        why: Reason,
        outcome: &mut Outcome,
    ) -> bool {
        let limits = task.configured.destination.limits();
        let taken = task.writes(&desired.name).take(limits, self.clock.now());
        let Some(until) = taken.err().filter(|_| why.may_wait()) else { return true };
        outcome.later = outcome.later.into_iter().chain([until]).min();
        let (sub_key, name) = (desired.sub_key.clone(), desired.name.clone());
        outcome.reports.push(Report { sub_key, name, result: Ok(Landed::Waits { until }) });
        false
    }

    async fn put_all(
        &self,
        task: &Task<'_>,
        mut puts: Vec<(&Desired, &Payload, Reason)>,
        outcome: &mut Outcome,
    ) {
        let wanted: Vec<&Desired> = puts.iter().map(|(desired, ..)| *desired).collect();
        let mut refused = match self.begin(task, &wanted).await {
            Ok(refused) => refused,
            Err(error) => {
                outcome.whole = Err(error);
                return;
            }
        };
        puts.retain(|(desired, ..)| {
            let Some(error) = refused.remove(&desired.name) else { return true };
            let (sub_key, name) = (desired.sub_key.clone(), desired.name.clone());
            outcome.reports.push(Report { sub_key, name, result: Err(error) });
            false
        });
        let stop = Stop::default();
        let mut calls: Vec<BoxFuture<'_, Report>> = Vec::with_capacity(puts.len());
        for (desired, payload, why) in puts {
            let call = self.put(task, desired, payload, why);
            calls.push(Box::pin(stop.unless_failed(&desired.sub_key, &desired.name, call)));
        }
        let calls = stream::iter(calls).buffer_unordered(KEYS_RUNNING_MAX);
        outcome.reports.extend(calls.collect::<Vec<_>>().await);
    }

    async fn delete_all(
        &self,
        task: &Task<'_>,
        leaving: Vec<&Object>,
        manner: Manner,
        found: Option<&BTreeMap<String, Remote>>,
        outcome: &mut Outcome,
    ) {
        if leaving.is_empty() || outcome.whole.is_err() || outcome.reports.iter().any(is_general) {
            return;
        }
        let (mut going, mut confirmed) = (Vec::new(), BTreeMap::new());
        for object in leaving {
            if !self.is_due(task, &object.sub_key, &object.name, manner, outcome) {
                continue;
            }
            if object.delivered.is_none() {
                // Nobody relies on what was never confirmed.
                going.push(object);
                continue;
            }
            match self.is_replaced(task, object, outcome, &mut confirmed).await {
                Ok(true) => going.push(object),
                // What shall replace it is not there yet.
                Ok(false) => {}
                Err(error) => outcome.reports.push(Report {
                    sub_key: object.sub_key.clone(),
                    name: object.name.clone(),
                    result: Err(error),
                }),
            }
        }
        if let Err(error) = self.begin_removal(task, &going).await {
            outcome.whole = Err(error);
            return;
        }
        let stop = Stop::default();
        let mut calls: Vec<BoxFuture<'_, Report>> = Vec::with_capacity(going.len());
        for object in going {
            let there = found.and_then(|found| found.get(&object.name));
            let call = self.delete(task, object, there);
            calls.push(Box::pin(stop.unless_failed(&object.sub_key, &object.name, call)));
        }
        let calls = stream::iter(calls).buffer_unordered(KEYS_RUNNING_MAX);
        let reports: Vec<Report> = calls.collect().await;
        for report in &reports {
            if let Ok(Landed::Removed { until }) = report.result {
                outcome.later = outcome.later.into_iter().chain([until]).min();
            }
        }
        outcome.reports.extend(reports);
    }

    /// Whether an object may go because nothing replaces it, or because that is there.
    async fn is_replaced(
        &self,
        task: &Task<'_>,
        object: &Object,
        outcome: &Outcome,
        confirmed: &mut BTreeMap<String, Result<(), Error>>,
    ) -> Result<bool, Error> {
        let heirs = outcome.reports.iter().filter(|report| {
            let of_part = report.sub_key == object.sub_key
                || report.sub_key.is_none()
                || object.sub_key.is_none();
            of_part && report.name != object.name && !matches!(report.result, Ok(Landed::Gone))
        });
        for heir in heirs {
            match &heir.result {
                Ok(Landed::Confirmed { .. }) => match confirmed.get(&heir.name) {
                    Some(known) => known.clone()?,
                    None => {
                        let seen = self.confirmed(task, &heir.name).await;
                        confirmed.insert(heir.name.clone(), seen.clone());
                        seen?;
                    }
                },
                Ok(Landed::Kept | Landed::Removed { .. } | Landed::Gone) => {}
                Ok(Landed::Waits { .. } | Landed::NotDue) | Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// A wall time as tokio sees it; what is past is now.
    fn instant(&self, at: SystemTime) -> Instant {
        let wait = at.duration_since(self.clock.now()).unwrap_or_default();
        // Stored times have milliseconds: a little later is certainly not too early.
        Instant::now() + wait + Duration::from_millis(1)
    }
}

/// What failed of the destination as a whole: the other objects fail of it without a call.
#[derive(Default)]
struct Stop(Mutex<Option<Error>>);

impl Stop {
    async fn unless_failed(
        &self,
        sub_key: &Option<String>,
        name: &str,
        call: impl Future<Output = Report>,
    ) -> Report {
        let failed = self.0.lock().clone();
        if let Some(error) = failed {
            let (sub_key, name) = (sub_key.clone(), name.to_owned());
            return Report { sub_key, name, result: Err(Error { uncertain: false, ..error }) };
        }
        let report = call.await;
        if let Err(error) = &report.result
            && error.failure.is_general()
        {
            *self.0.lock() = Some(error.clone());
        }
        report
    }
}

fn is_general(report: &Report) -> bool {
    report.result.as_ref().is_err_and(|error| error.failure.is_general())
}

impl<'a> Task<'a> {
    fn new(
        key: &'a Key,
        association: &'a Association,
        configured: &'a Configured,
        epoch: &'a Epoch,
    ) -> Task<'a> {
        Task {
            key,
            association,
            configured,
            epoch,
            caller: format!("sync/{key}"),
            path: format!("{}{}", association.mount_path, association.secret_name),
        }
    }

    fn detail(&self, external_name: &str) -> Map<String, Value> {
        let association = self.association;
        Map::from_iter([
            ("destination_type".to_owned(), json!(association.destination_type)),
            ("destination_name".to_owned(), json!(association.destination_name)),
            ("external_name".to_owned(), json!(external_name)),
        ])
    }

    /// What an object has used up of the versions that the destination allows within a day.
    fn writes(&self, name: &str) -> WriteBudget {
        self.association.holder_of(name).map(|object| object.writes).unwrap_or_default()
    }

    fn mark(&self, barrier: &Barrier, name: &str) -> OwnerMark {
        let association = self.association;
        let destination =
            (association.destination_type.as_str(), association.destination_name.as_str());
        self.epoch.mark(barrier, &self.key.namespace, destination, name)
    }
}
