//! How places and secrets fare, for operators. No value is in it.

use super::{Place, Store};
use serde::Serialize;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// How the whole store fares.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// By the managers' names in the configuration.
    pub managers: BTreeMap<String, ManagerStatus>,
    /// The secrets that are kept, in order.
    pub secrets: Vec<SecretStatus>,
}

/// How a place fares.
#[derive(Clone, Debug, Serialize)]
pub struct ManagerStatus {
    /// What it is.
    pub place: String,
    /// Seconds since it last gave something.
    pub answered_seconds_ago: Option<u64>,
    /// Its last failure, where nothing came after it.
    pub failure: Option<String>,
    /// Failures of the place as a whole since it last gave something.
    pub failures: u32,
}

/// How a secret fares.
#[derive(Clone, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretStatus {
    /// The manager's name in the configuration.
    pub manager: String,
    /// As it was asked for.
    pub id: String,
    /// Its version, where one is kept.
    pub version: Option<String>,
    /// Seconds since it was fetched.
    pub age_seconds: Option<u64>,
    /// Whether what is kept is older than its time of refreshing.
    pub stale: bool,
    /// Whether an output stands on it.
    pub pinned: bool,
    /// Why it could not be fetched, where nothing came after that.
    pub failure: Option<String>,
}

impl Store {
    /// How everything fares now.
    pub fn status(&self) -> Status {
        let now = Instant::now();
        let managers =
            self.places.values().map(|place| (place.name.to_string(), of_place(place, now)));
        let slots = self.slots.lock();
        let mut secrets: Vec<SecretStatus> = slots
            .iter()
            .filter(|(key, slot)| **key == slot.key)
            .map(|(key, slot)| {
                let held = slot.held();
                SecretStatus {
                    manager: key.manager.to_string(),
                    id: key.id().to_owned(),
                    version: held.as_ref().map(|held| held.fetched.version.clone()),
                    age_seconds: held.as_ref().map(|held| held.age_at(now).as_secs()),
                    stale: held.is_some() && !slot.is_fresh(now),
                    pinned: slot.is_pinned(),
                    failure: slot.failure().map(|failure| failure.to_string()),
                }
            })
            .collect();
        drop(slots);
        secrets.sort();
        Status { managers: managers.collect(), secrets }
    }
}

impl Status {
    /// What an application that stands on it would notice: an output's secret that is missing.
    pub fn missing(&self) -> impl Iterator<Item = &SecretStatus> {
        self.secrets.iter().filter(|secret| secret.pinned && secret.version.is_none())
    }
}

fn of_place(place: &Place, now: Instant) -> ManagerStatus {
    let fares = place.fares();
    let since = |at| seconds(at, now);
    let newest = fares.answered_at;
    let failure = fares.failed.filter(|(at, _)| newest.is_none_or(|newest| newest < *at));
    ManagerStatus {
        place: place.manager.place(),
        answered_seconds_ago: newest.map(since),
        failure: failure.map(|(_, failure)| failure.to_string()),
        failures: fares.failures,
    }
}

fn seconds(from: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(from).as_secs()
}
