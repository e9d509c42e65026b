//! An association: that a secret is kept at a destination, and how far that has come.

use crate::{
    destination::{Delivered, Note, Remote},
    failure::{Error, Failure, RETRY_AFTER_MAX, Status},
    limits::WriteBudget,
    naming::Granularity,
};
use bailee_crypto::clock::{from_millis, to_millis};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

/// What is kept of a message.
const MESSAGE_CHARS_MAX: usize = 400;
/// How often within a day changes of others are undone: who makes them again and again is not fought.
pub(crate) const REPAIRS_MAX: usize = 5;
const REPAIRS_WITHIN_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// What is stored of an association. Requests change what is wished for, passes what has come of
/// it; both under the same lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Association {
    /// Id of the mount the secret is in.
    pub(crate) mount: String,
    /// Path of that mount when the association was last set.
    pub(crate) mount_path: String,
    /// Accessor of that mount.
    pub(crate) accessor: String,
    /// Path of the secret in its mount.
    pub(crate) secret_name: String,
    /// Type of the destination.
    pub(crate) destination_type: String,
    /// Name of the destination.
    pub(crate) destination_name: String,
    /// The name template that held when it was last set: a later one waits for the next `set`.
    pub(crate) template: String,
    /// What became one object then.
    pub(crate) granularity: Granularity,
    /// Grows with every `set`: what was delivered for an older one is delivered again.
    pub(crate) generation: u64,
    /// Whether it is to be removed.
    pub(crate) removing: bool,
    /// What is at the destination, or begun there, as far as we know: the ledger.
    pub(crate) objects: Vec<Object>,
    /// How it stands with the secret as a whole; each object has its own state.
    pub(crate) state: State,
}

/// An object at the destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    /// The key of the secret, where each key is an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sub_key: Option<String>,
    /// Its name at the destination.
    pub(crate) name: String,
    /// Whether the name is reserved for it, so that a delivery may have begun.
    pub(crate) begun: bool,
    /// What is there as far as we know; `None` when no delivery was ever confirmed.
    pub(crate) delivered: Option<Delivered>,
    /// Calls that were begun and have no certain answer: what is there may be something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) doubt: Option<Doubt>,
    /// Whether it is to go: its key, or its former name, is no longer wanted.
    #[serde(default)]
    pub(crate) leaving: bool,
    /// How the last attempt went.
    pub(crate) state: State,
    /// What others changed at the destination and we have not undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) drift: Option<DriftFound>,
    /// How far its writes have used up what the destination allows within a day.
    #[serde(default, skip_serializing_if = "WriteBudget::is_unused")]
    pub(crate) writes: WriteBudget,
    /// Until when the next write waits for that, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waits_until: Option<u64>,
    /// When changes of others were undone lately, in milliseconds since 1970, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) repairs: Vec<u64>,
}

/// Calls of ours that may have had their effect, or may still have it. Noted before each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Doubt {
    /// When the last of them that writes was under way, in milliseconds since 1970; 0 for none.
    pub(crate) written: u64,
    /// Whether a removal is among them: the object may be gone, or its marks.
    #[serde(default)]
    pub(crate) removing: bool,
    /// Keys of tags that they may have set, beside those it is known to have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) tags: BTreeSet<String>,
}

/// How long a call of which nobody waits for the answer any more may still land.
const LANDS_WITHIN_MILLIS: u64 = 10_000;

impl Doubt {
    /// When nothing that was sent lands any more. `started` is when this session began: what one
    /// before it noted may have been under way until then.
    pub(crate) fn until(&self, now: SystemTime, started: SystemTime) -> Option<SystemTime> {
        let (now, started) = (to_millis(now), to_millis(started));
        // What lies ahead is from before the clock was put back.
        let last = Some(self.written).filter(|written| (started..=now).contains(written));
        let until = last.unwrap_or(started).saturating_add(LANDS_WITHIN_MILLIS);
        (self.written > 0 && until > now).then(|| from_millis(until))
    }
}

/// A change that others made at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DriftFound {
    /// What differs.
    pub(crate) kind: DriftKind,
    /// Since when that is known, in milliseconds since 1970.
    pub(crate) since: u64,
}

/// What differs at the destination from what we left there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DriftKind {
    /// The object is not there.
    Missing,
    /// It is scheduled for deletion.
    Deleting,
    /// It has another version.
    Changed,
    /// Tags of ours are missing or changed.
    Tags,
    /// It carries the mark of another server.
    Taken,
}

impl DriftKind {
    /// The word in the API and in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            DriftKind::Missing => "missing",
            DriftKind::Deleting => "deleting",
            DriftKind::Changed => "changed",
            DriftKind::Tags => "tags",
            DriftKind::Taken => "taken",
        }
    }
}

/// How the last attempt went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The status as the API names it.
    pub(crate) status: Status,
    /// When it became that, in milliseconds since 1970.
    pub(crate) updated_at: u64,
    /// Why it failed.
    pub(crate) problem: Option<Problem>,
    /// Permissions that are not necessary, and what they would add.
    #[serde(default)]
    pub(crate) notes: Vec<Note>,
}

/// Why something is not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// Its class.
    pub(crate) failure: Failure,
    /// The destination's own code for it.
    #[serde(default)]
    pub(crate) provider_code: Option<String>,
    /// What happened.
    pub(crate) message: String,
    /// The permission that would help.
    pub(crate) missing_permission: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub(crate) since: u64,
    /// Attempts that failed in a row.
    pub(crate) attempts: u32,
    /// When it is tried again by itself, in milliseconds since 1970.
    pub(crate) next_attempt: Option<u64>,
}

impl Association {
    /// What is known of a part of the secret under a name.
    pub(crate) fn object(&self, sub_key: &Option<String>, name: &str) -> Option<&Object> {
        self.objects.iter().find(|object| object.is(sub_key, name))
    }

    /// The object that has a name at the destination.
    pub(crate) fn holder_of(&self, name: &str) -> Option<&Object> {
        self.objects.iter().find(|object| object.begun && object.name == name)
    }

    /// The object of a part under a name, made where it is not known yet.
    pub(crate) fn object_mut(&mut self, sub_key: &Option<String>, name: &str) -> &mut Object {
        let index = self.objects.iter().position(|object| object.is(sub_key, name));
        let index = index.unwrap_or_else(|| {
            self.objects.push(Object::new(sub_key.clone(), name));
            self.objects.len() - 1
        });
        self.objects.get_mut(index).expect("it was found, or added just now")
    }

    /// A name goes on under another part of the secret.
    pub(crate) fn hand_over(&mut self, name: &str, from: &Option<String>, to: &Option<String>) {
        let holds = |object: &Object| object.begun && object.is(from, name);
        if from == to || !self.objects.iter().any(holds) {
            return;
        }
        self.objects.retain(|object| object.begun || !object.is(to, name));
        if let Some(object) = self.objects.iter_mut().find(|object| holds(object)) {
            object.sub_key.clone_from(to);
        }
    }

    /// Forgets a name under which there certainly is nothing of ours.
    pub(crate) fn forget(&mut self, sub_key: &Option<String>, name: &str) {
        self.objects.retain(|object| !object.is(sub_key, name));
    }

    /// What failed of the secret as a whole, and of each of its objects.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        let objects = self.objects.iter().map(|object| &object.state);
        std::iter::once(&self.state).chain(objects).filter_map(|state| state.problem.as_ref())
    }

    /// Whether something failed before that time and was not tried since.
    pub(crate) fn failed_before(&self, at: u64) -> bool {
        let objects = self.objects.iter().map(|object| &object.state);
        let mut failed =
            std::iter::once(&self.state).chain(objects).filter(|state| state.problem.is_some());
        failed.any(|state| state.updated_at < at)
    }

    /// Whether another server was seen to have one of the objects, or a name we want.
    pub(crate) fn is_taken(&self) -> bool {
        let mut drift = self.objects.iter().filter_map(|object| object.drift);
        drift.any(|drift| drift.kind == DriftKind::Taken)
            || self.problems().any(|problem| problem.failure == Failure::NotOurs)
    }

    /// The most names that wait to be removed of any one part of the secret.
    pub(crate) fn former_names(&self) -> usize {
        let mut names: BTreeMap<&Option<String>, usize> = BTreeMap::new();
        for object in self.objects.iter().filter(|object| object.leaving) {
            *names.entry(&object.sub_key).or_default() += 1;
        }
        names.into_values().max().unwrap_or_default()
    }

    /// Whether the ledger is no proof of what is there: see [`Object::proof`].
    pub(crate) fn is_unproven(&self, epoch: &str) -> bool {
        let unproven =
            |object: &Object| object.delivered.is_some() && object.proof(epoch, None).is_none();
        self.objects.iter().any(unproven)
    }

    /// About what its objects that are, or may be, at the destination take of its entry.
    pub(crate) fn bytes(&self) -> usize {
        self.objects.iter().filter(|object| object.begun).map(Object::bytes).sum()
    }

    /// Whether anything is, or may be, at the destination.
    pub(crate) fn has_begun(&self) -> bool {
        self.objects.iter().any(|object| object.begun)
    }
}

/// About what an object takes of the entry beside its name, key and tags.
const OBJECT_BYTES: usize = 1_000;

/// About what an object takes of the entry of its association.
pub(crate) fn object_bytes<'a>(
    name: &str,
    sub_key: &Option<String>,
    tags: impl Iterator<Item = (&'a String, &'a String)>,
) -> usize {
    let tags = tags.map(|(key, value)| key.len() + value.len() + 6);
    OBJECT_BYTES + name.len() + sub_key.as_ref().map_or(0, String::len) + tags.sum::<usize>()
}

impl Object {
    /// About what it takes of the entry.
    fn bytes(&self) -> usize {
        let tags = self.delivered.iter().flat_map(|delivered| &delivered.tags);
        let doubtful = self.doubt.iter().flat_map(|doubt| &doubt.tags);
        let doubtful: usize = doubtful.map(|key| key.len() + 3).sum();
        let identity = self.delivered.iter().filter_map(|delivered| delivered.identity.as_ref());
        let identity: usize = identity.map(String::len).sum();
        object_bytes(&self.name, &self.sub_key, tags) + doubtful + identity
    }

    pub(crate) fn new(sub_key: Option<String>, name: &str) -> Object {
        Object {
            sub_key,
            name: name.to_owned(),
            begun: false,
            delivered: None,
            doubt: None,
            leaving: false,
            state: State::default(),
            drift: None,
            writes: WriteBudget::default(),
            waits_until: None,
            repairs: Vec::new(),
        }
    }

    fn is(&self, sub_key: &Option<String>, name: &str) -> bool {
        self.name == name && self.sub_key == *sub_key
    }

    /// Whether a removal was begun that may have been done: somebody else may have the name by now.
    pub(crate) fn may_be_gone(&self) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.removing)
    }

    /// Whether a delivery was begun since what was delivered last, that may have been done.
    pub(crate) fn may_be_written(&self) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.written > 0)
    }

    /// What was delivered, where it proves that what is there is ours. It does not where it may be
    /// gone, nor where a server delivered it that this one has taken over from, whose ledger does not
    /// know what was done since it was stored: unless that very version shows. Nor does it where
    /// another object shows.
    pub(crate) fn proof(&self, epoch: &str, there: Option<&Remote>) -> Option<&Delivered> {
        let shown = there.and_then(|there| there.version_id.as_ref());
        self.delivered.as_ref().filter(|delivered| {
            let identity = there.and_then(|there| there.identity.as_ref());
            let known = identity.zip(delivered.identity.as_ref());
            let is_another = known.is_some_and(|(shown, known)| shown != known);
            let holds = !self.may_be_gone() && !delivered.is_taken_over(epoch);
            !is_another && (holds || shown == Some(&delivered.version_id))
        })
    }

    /// Whether changes of others may still be undone, or somebody keeps making them.
    pub(crate) fn is_repairable(&self, now: SystemTime) -> bool {
        let now = to_millis(now);
        let since = now.saturating_sub(REPAIRS_WITHIN_MILLIS);
        // What lies ahead is from before the clock was put back.
        self.repairs.iter().filter(|at| (since + 1..=now).contains(at)).count() < REPAIRS_MAX
    }

    /// Notes that a change of others was undone.
    pub(crate) fn repaired(&mut self, now: SystemTime) {
        self.repairs.push(to_millis(now));
        let surplus = self.repairs.len().saturating_sub(REPAIRS_MAX);
        self.repairs.drain(..surplus);
    }
}

impl State {
    /// The state after success.
    pub(crate) fn done(status: Status, now: SystemTime, notes: Vec<Note>) -> State {
        State { status, updated_at: to_millis(now), problem: None, notes }
    }

    /// The state after a failure; `next_attempt` when it is tried again by itself.
    pub(crate) fn failed(
        &self,
        error: &Error,
        now: SystemTime,
        next_attempt: Option<SystemTime>,
    ) -> State {
        let before = self.problem.as_ref();
        let problem = Problem {
            failure: error.failure,
            provider_code: error.provider_code.clone(),
            message: error.message.chars().take(MESSAGE_CHARS_MAX).collect(),
            missing_permission: error.missing_permission.clone(),
            since: before.map_or_else(|| to_millis(now), |problem| problem.since),
            attempts: self.attempts().saturating_add(1),
            next_attempt: next_attempt.map(to_millis),
        };
        State {
            status: error.failure.status(),
            updated_at: to_millis(now),
            problem: Some(problem),
            notes: self.notes.clone(),
        }
    }

    /// Attempts that failed in a row.
    pub(crate) fn attempts(&self) -> u32 {
        self.problem.as_ref().map_or(0, |problem| problem.attempts)
    }

    /// When a failed attempt may be repeated; `None` when nothing forbids it now.
    pub(crate) fn not_before(&self, now: SystemTime) -> Option<SystemTime> {
        let next = from_millis(self.problem.as_ref()?.next_attempt?);
        // What lies further ahead than any wait is from before the clock was put back.
        (next > now && next <= now + RETRY_AFTER_MAX).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_call_is_waited_for_from_when_it_was_last_under_way() {
        let at = |seconds: u64| from_millis(1_800_000_000_000 + seconds * 1000);
        let doubt = |seconds| Doubt { written: to_millis(at(seconds)), ..Doubt::default() };
        assert_eq!(doubt(50).until(at(55), at(20)), Some(at(60)));
        assert_eq!(doubt(50).until(at(60), at(20)), None);
        // A session before this one wrote it.
        assert_eq!(doubt(5).until(at(25), at(20)), Some(at(30)));
        assert_eq!(doubt(5).until(at(31), at(20)), None);
        // The clock was put back.
        assert_eq!(doubt(500).until(at(25), at(20)), Some(at(30)));
        assert_eq!(doubt(500).until(at(31), at(20)), None);
        let removal = Doubt { removing: true, ..Doubt::default() };
        assert_eq!(removal.until(at(20), at(20)), None);
    }

    #[test]
    fn a_clock_that_was_put_back_holds_up_nothing() {
        let now = from_millis(1_800_000_000_000);
        let error = Error::new(Failure::Unavailable, "down");
        let wait = Duration::from_secs(300);
        let state = State::default().failed(&error, now, Some(now + wait));
        assert_eq!(state.not_before(now), Some(now + wait));
        assert_eq!(state.not_before(now + wait), None);
        let before = now - Duration::from_secs(86_400);
        assert_eq!(state.not_before(before), None);
        let mut object = Object::new(None, "name");
        for _ in 0..REPAIRS_MAX {
            assert!(object.is_repairable(now));
            object.repaired(now);
        }
        assert!(!object.is_repairable(now));
        assert!(object.is_repairable(before));
    }
}
