//! What an attempt came to, and how that is written down.

use super::{Worker, news};
use crate::{
    association::{Association, DriftFound, Object, State},
    board::{Key, Urgency, Verdict},
    destination::{Delivered, Note},
    event,
    failure::{Error, Failure, Status},
    limits::WriteBudget,
    plan::Plan,
    store::{Claim, Mark, Store},
};
use bailee_barrier::Revision;
use bailee_crypto::clock::{from_millis, to_millis};
use bailee_storage::Error as StorageError;
use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// What an attempt came to.
pub(super) struct Outcome {
    /// The secret as a whole: an error means that its objects were not even looked at.
    pub(super) whole: Result<Done, Error>,
    /// What became of each object that was tried or looked at.
    pub(super) reports: Vec<Report>,
    /// Names that are to go.
    pub(super) leaving: BTreeSet<String>,
    /// What others changed, where the destination was looked at.
    pub(super) looked: Option<Plan>,
    /// When objects that were left alone for now are due.
    pub(super) later: Option<SystemTime>,
    /// When the destination is looked at again, because the look failed.
    pub(super) look_again: Option<SystemTime>,
    /// Whether anything was called or changed, so that the state is worth writing.
    pub(super) acted: bool,
}

/// What holds for the secret as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done {
    /// It has a version that lives, until then.
    Live(Option<SystemTime>),
    /// Nothing is to be there.
    Gone,
}

/// What became of an object.
pub(super) struct Report {
    pub(super) sub_key: Option<String>,
    pub(super) name: String,
    pub(super) result: Result<Landed, Error>,
}

/// A success.
pub(super) enum Landed {
    /// It was delivered.
    Confirmed { delivered: Delivered, notes: Vec<Note>, repaired: bool, writes: WriteBudget },
    /// It is written when the destination allows the next version of it.
    Waits { until: SystemTime },
    /// It failed lately, and its next attempt is not due.
    NotDue,
    /// It is there already.
    Kept,
    /// It was removed, and a call that was sent before may still land: it is looked at again then.
    Removed { until: SystemTime },
    /// It is there no more.
    Gone,
}

impl Outcome {
    pub(super) fn of(whole: Result<Done, Error>) -> Outcome {
        let acted = whole.is_err();
        Outcome {
            whole,
            reports: Vec::new(),
            leaving: BTreeSet::new(),
            looked: None,
            later: None,
            look_again: None,
            acted,
        }
    }

    fn errors(&self) -> impl Iterator<Item = &Error> {
        let reports = self.reports.iter().filter_map(|report| report.result.as_ref().err());
        self.whole.as_ref().err().into_iter().chain(reports)
    }

    /// Whether nothing is left to do until somebody changes something.
    fn is_settled(&self) -> bool {
        self.later.is_none() && self.errors().all(|error| !error.failure.passes())
    }

    /// Whether all went well.
    pub(super) fn is_ok(&self) -> bool {
        self.later.is_none() && self.errors().next().is_none()
    }
}

impl Worker {
    /// Writes down what came of it, and removes the mark unless it was made anew meanwhile.
    pub(super) async fn record(
        &self,
        key: &Key,
        mark: Option<(Mark, Revision)>,
        seen: &Association,
        outcome: &Outcome,
    ) -> Result<Verdict, StorageError> {
        let Key { namespace, destination, secret } = key;
        let now = self.clock.now();
        let mut clear = mark.filter(|_| outcome.is_settled());
        loop {
            let store = Store::open(&self.barrier, namespace);
            if let Some((_, read_at)) = clear {
                store.clear_dirty(destination, secret, read_at);
            }
            let (verdict, woken) = self.write_down(&store, key, seen, outcome, now).await?;
            match store.view.commit().await {
                // The mark was made anew: it stays, and what happened is written down all the same.
                Err(StorageError::Conflict) if clear.is_some() => clear = None,
                Err(error) => return Err(error),
                Ok(_) => {
                    self.board.feed.tell(|| news::events(key, seen, outcome, now));
                    for secret in woken {
                        self.board.kick(Key::new(namespace, destination, &secret), Urgency::Change);
                    }
                    self.forget_tokens(key, outcome);
                    let acted = outcome.is_ok() && outcome.acted;
                    if let Some((mark, _)) = mark.filter(|_| acted) {
                        let lag = now.duration_since(from_millis(mark.since));
                        event::lag(&seen.destination_type, lag.unwrap_or_default());
                    }
                    return Ok(verdict);
                }
            }
        }
    }

    async fn write_down(
        &self,
        store: &Store,
        key: &Key,
        seen: &Association,
        outcome: &Outcome,
        now: SystemTime,
    ) -> Result<(Verdict, Vec<String>), StorageError> {
        let Key { destination, secret, .. } = key;
        store.lock_association(destination, secret).await;
        let Some((mut current, read_at)) = store.association(destination, secret).await? else {
            return Ok(Default::default());
        };
        let before = current.clone();
        let freed = apply_facts(seen, &mut current, &outcome.reports, now);
        let unchanged = current.generation == seen.generation && current.removing == seen.removing;
        let mut verdict = Verdict::default();
        if unchanged {
            verdict = self.conclude(key, &mut current, outcome, now);
        }
        let mark = Mark { since: to_millis(now) };
        let regained = regained(&before, &current);
        let names: Vec<&str> = freed
            .iter()
            .map(String::as_str)
            .chain(regained.iter().map(|(name, _)| *name))
            .collect();
        store.lock_names(destination, &names).await;
        for (name, sub_key) in regained {
            // Whoever freed it meanwhile did not know of this delivery.
            if store.claim_of_name(destination, name).await?.is_none() {
                let claim = Claim { secret: secret.to_string(), sub_key: sub_key.clone() };
                store.claim_name(destination, name, &claim);
            }
        }
        let mut woken = Vec::new();
        for name in &freed {
            woken.extend(store.release_name(destination, name, secret, mark).await?);
        }
        if unchanged && current.removing && outcome.is_ok() && !current.has_begun() {
            store.delete_association(destination, secret, read_at);
        } else if current != before {
            store.update_association(destination, secret, &current, read_at);
        }
        Ok((verdict, woken))
    }

    /// The states that follow from the outcome, and when the work is due again.
    fn conclude(
        &self,
        key: &Key,
        current: &mut Association,
        outcome: &Outcome,
        now: SystemTime,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let due = outcome.later.into_iter().chain(outcome.look_again).min();
        verdict.again_at = due.map(|at| self.instant(at));
        let mut waits = Waits::default();
        match &outcome.whole {
            Err(error) => {
                let wait = waits.of(error, &current.state);
                let before = (&current.state, wait);
                current.state = self.failed(key, current, before, error, now, &mut verdict);
                return verdict;
            }
            Ok(done) => {
                let (status, dies_at) = match done {
                    Done::Live(dies_at) => (Status::Synced, *dies_at),
                    Done::Gone => (Status::Unsynced, None),
                };
                if current.state.status != status || current.state.problem.is_some() {
                    current.state = State::done(status, now, Vec::new());
                }
                verdict.sooner(dies_at.map(|at| self.instant(at)));
            }
        }
        for report in &outcome.reports {
            let Report { sub_key, name, result } = report;
            match result {
                Ok(Landed::Gone) => {}
                Ok(landed) => {
                    let kind = current.destination_type.clone();
                    current.object_mut(sub_key, name).succeed(&kind, landed, now);
                }
                Err(error) => {
                    let before = current.object_mut(sub_key, name).state.clone();
                    let before = (&before, waits.of(error, &before));
                    let state = self.failed(key, current, before, error, now, &mut verdict);
                    let object = current.object_mut(sub_key, name);
                    (object.state, object.waits_until) = (state, None);
                }
            }
        }
        let reported: BTreeSet<(&Option<String>, &str)> =
            outcome.reports.iter().map(|report| (&report.sub_key, report.name.as_str())).collect();
        let gone = matches!(outcome.whole, Ok(Done::Gone));
        current.objects.retain_mut(|object| {
            if object.begun || reported.contains(&(&object.sub_key, object.name.as_str())) {
                return true;
            }
            // The name that a whole secret will have is shown before there is anything under it.
            let keep = gone && object.sub_key.is_none() && !object.leaving;
            if keep && object.state.status != Status::Unsynced {
                object.state = State::done(Status::Unsynced, now, Vec::new());
            }
            keep
        });
        for object in &mut current.objects {
            object.leaving = outcome.leaving.contains(&object.name);
        }
        if let Some(plan) = &outcome.looked {
            note_drift(current, plan, &outcome.reports, now);
        }
        verdict
    }

    fn failed(
        &self,
        key: &Key,
        association: &Association,
        (before, wait): (&State, Option<Duration>),
        error: &Error,
        now: SystemTime,
        verdict: &mut Verdict,
    ) -> State {
        let attempts = before.attempts().saturating_add(1);
        let (kind, name) = (&association.destination_type, &association.destination_name);
        event::failed(kind, name, key, error, attempts);
        let again_at = wait.map(|wait| Instant::now() + wait);
        verdict.sooner(again_at);
        if error.failure == Failure::Throttled {
            verdict.pause = verdict.pause.max(again_at);
        }
        before.failed(error, now, wait.map(|wait| now + wait))
    }
}

/// Waits of one attempt: keys of a secret that fail alike are due together, so that they do not have
/// the secret worked on once for each of them.
#[derive(Default)]
struct Waits(HashMap<(Failure, u32), Option<Duration>>);

impl Waits {
    fn of(&mut self, error: &Error, before: &State) -> Option<Duration> {
        let attempts = before.attempts().saturating_add(1);
        *self.0.entry((error.failure, attempts)).or_insert_with(|| error.wait(attempts))
    }
}

impl Object {
    fn succeed(&mut self, kind: &str, landed: &Landed, now: SystemTime) {
        match landed {
            Landed::Confirmed { notes, repaired, .. } => {
                self.state = State::done(Status::Synced, now, notes.clone());
                self.drift = None;
                self.waits_until = None;
                if *repaired {
                    event::drift_repaired(kind);
                    self.repaired(now);
                }
            }
            Landed::Waits { until } | Landed::Removed { until } => {
                self.waits_until = Some(to_millis(*until));
                let updated_at = to_millis(now);
                self.state = State { status: Status::Pending, updated_at, ..State::default() };
            }
            Landed::Kept => {
                self.waits_until = None;
                if self.state.status != Status::Synced || self.state.problem.is_some() {
                    self.state = State::done(Status::Synced, now, self.state.notes.clone());
                }
            }
            Landed::NotDue | Landed::Gone => {}
        }
    }
}

/// Objects that count as begun again, though their names may have been freed.
fn regained<'a>(
    before: &Association,
    current: &'a Association,
) -> Vec<(&'a str, &'a Option<String>)> {
    let new = |object: &&Object| {
        let known = before.object(&object.sub_key, &object.name);
        object.begun && known.is_none_or(|known| !known.begun)
    };
    let regained = current.objects.iter().filter(new);
    regained.map(|object| (object.name.as_str(), &object.sub_key)).collect()
}

/// What is at the destination is true whatever was asked meanwhile. The names that became free.
fn apply_facts(
    seen: &Association,
    current: &mut Association,
    reports: &[Report],
    now: SystemTime,
) -> Vec<String> {
    let mut freed = Vec::new();
    for Report { sub_key, name, result } in reports {
        match result {
            Ok(Landed::Confirmed { delivered, writes, .. }) => {
                let object = current.object_mut(sub_key, name);
                object.begun = true;
                object.writes = *writes;
                object.delivered = Some(delivered.clone());
                object.doubt = None;
            }
            // From now on it is removed only where it is seen to be ours.
            Ok(Landed::Removed { .. }) => current.object_mut(sub_key, name).delivered = None,
            Ok(Landed::Gone) => {
                current.forget(sub_key, name);
                freed.push(name.clone());
            }
            Ok(Landed::Kept | Landed::NotDue | Landed::Waits { .. }) => {}
            Err(error) => {
                let holder = seen.holder_of(name);
                if let Some(before) = holder.filter(|_| error.failure == Failure::NotOurs) {
                    // The part that had the name gave it up to this one: what is told of it is told here.
                    current.hand_over(name, &before.sub_key, sub_key);
                }
                let object = current.object_mut(sub_key, name);
                if error.uncertain {
                    let doubt = object.doubt.get_or_insert_default();
                    // A removal by itself writes nothing that could land later.
                    if doubt.written > 0 || !doubt.removing {
                        doubt.written = to_millis(now);
                    }
                    continue;
                }
                // Nothing was done: all is as certain as it was before.
                object.doubt = holder.and_then(|holder| holder.doubt.clone());
                if holder.is_none() && object.begun && object.delivered.is_none() {
                    // A first attempt that certainly failed left nothing to remove.
                    object.begun = false;
                    freed.push(name.clone());
                }
            }
        }
    }
    freed
}

/// Keeps what others changed and nobody undid.
fn note_drift(current: &mut Association, plan: &Plan, reports: &[Report], now: SystemTime) {
    let delivered: BTreeSet<&str> = reports
        .iter()
        .filter(|report| matches!(report.result, Ok(Landed::Confirmed { .. })))
        .map(|report| report.name.as_str())
        .collect();
    let reported = reports.iter().filter(|report| report.result.is_ok());
    let reported: BTreeSet<&str> = reported.map(|report| report.name.as_str()).collect();
    for object in current.objects.iter_mut().filter(|object| object.begun) {
        let kind = plan.drift.get(&object.name).copied();
        if let Some(found) =
            kind.filter(|kind| object.drift.is_none_or(|drift| drift.kind != *kind))
        {
            event::drift_found(&current.destination_type, found.name());
        }
        if kind.is_none() && !reported.contains(object.name.as_str()) {
            // It was not judged, such as one that leaves: what is known of it stays.
            continue;
        }
        let left = kind.filter(|_| !delivered.contains(object.name.as_str()));
        object.drift = left.map(|kind| match object.drift {
            Some(before) if before.kind == kind => before,
            _ => DriftFound { kind, since: to_millis(now) },
        });
    }
}
