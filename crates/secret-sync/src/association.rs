//! An association: that a secret is kept at a destination, and how far that has come.

use crate::{
    destination::{Delivered, LedgerEntry, Note},
    failure::{Error, Failure, Status},
};
use bailee_crypto::clock::{from_millis, to_millis};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

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
    /// The name that the secret shall have at the destination.
    pub(crate) external_name: String,
    /// Grows with every `set`: what was delivered for an older one is delivered again.
    pub(crate) generation: u64,
    /// Whether it is to be removed.
    pub(crate) removing: bool,
    /// What is at the destination, as far as we know.
    pub(crate) ledger: Vec<LedgerEntry>,
    /// How the last attempt went.
    pub(crate) state: State,
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

/// Why an association is not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// Its class.
    pub(crate) failure: Failure,
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
    /// What is known of a name.
    pub(crate) fn entry(&self, name: &str) -> Option<&LedgerEntry> {
        self.ledger.iter().find(|entry| entry.name == name)
    }

    /// Notes that a delivery under this name begins.
    pub(crate) fn begin(&mut self, name: &str) {
        if self.entry(name).is_none() {
            let name = name.to_owned();
            self.ledger.push(LedgerEntry { name, delivered: None });
        }
    }

    /// Notes a confirmed delivery.
    pub(crate) fn confirm(&mut self, name: &str, delivered: Delivered) {
        self.begin(name);
        if let Some(entry) = self.ledger.iter_mut().find(|entry| entry.name == name) {
            entry.delivered = Some(delivered);
        }
    }

    /// Forgets a name under which there certainly is nothing of ours.
    pub(crate) fn forget(&mut self, name: &str) {
        self.ledger.retain(|entry| entry.name != name);
    }

    /// When a failed attempt may be repeated; `None` when nothing forbids it now.
    pub(crate) fn not_before(&self, now: SystemTime) -> Option<SystemTime> {
        let next = from_millis(self.state.problem.as_ref()?.next_attempt?);
        (next > now).then_some(next)
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
            message: error.message.clone(),
            missing_permission: error.missing_permission.clone(),
            since: before.map_or_else(|| to_millis(now), |problem| problem.since),
            attempts: before.map_or(0, |problem| problem.attempts).saturating_add(1),
            next_attempt: next_attempt.map(to_millis),
        };
        State {
            status: error.failure.status(),
            updated_at: to_millis(now),
            problem: Some(problem),
            notes: self.notes.clone(),
        }
    }
}
