//! What is to be done for one secret: decided purely, from what both servers say of its versions.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::SystemTime};

/// Versions that are written only so that the numbers after them are right.
const FILLERS_MAX: u64 = 10_000;

/// What a server says of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    current_version: u64,
    max_versions: u64,
    cas_required: bool,
    delete_version_after: String,
    custom_metadata: Option<BTreeMap<String, String>>,
    versions: BTreeMap<u64, Version>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Version {
    deletion_time: String,
    destroyed: bool,
}

/// How a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    Deleted,
    Destroyed,
    /// Too old to be kept.
    Gone,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The version here that must hold what it should, before anything is done.
    pub(super) compare: Option<u64>,
    /// Whether the settings are written.
    pub(super) settings: bool,
    /// Versions that are written, the oldest first.
    pub(super) write: Vec<u64>,
    /// Versions that are deleted then.
    pub(super) delete: Vec<u64>,
    /// Versions that are destroyed then.
    pub(super) destroy: Vec<u64>,
}

impl Plan {
    pub(super) fn is_nothing(&self) -> bool {
        let Plan { write, delete, destroy, .. } = self;
        !self.settings && write.is_empty() && delete.is_empty() && destroy.is_empty()
    }
}

impl Metadata {
    fn state(&self, number: u64, now: SystemTime) -> State {
        let Some(version) = self.versions.get(&number) else { return State::Gone };
        let ends: Option<jiff::Timestamp> = version.deletion_time.parse().ok();
        match version.destroyed {
            true => State::Destroyed,
            false if ends.is_some_and(|end| SystemTime::from(end) <= now) => State::Deleted,
            false => State::Live,
        }
    }

    /// Whether the value of a version can be read.
    pub(super) fn has_value(&self, number: u64, now: SystemTime) -> bool {
        self.state(number, now) == State::Live
    }

    /// How many versions have a value that was not destroyed, and that cannot be read.
    pub(super) fn unreadable(&self, now: SystemTime) -> usize {
        let deleted = |number: &&u64| self.state(**number, now) == State::Deleted;
        self.versions.keys().filter(deleted).count()
    }

    /// What sets the same here.
    pub(super) fn settings(&self) -> Value {
        json!({
            "max_versions": self.max_versions,
            "cas_required": self.cas_required,
            "delete_version_after": self.lifetime(),
            "custom_metadata": self.custom_metadata.clone().unwrap_or_default(),
        })
    }

    fn lifetime(&self) -> &str {
        if self.delete_version_after.is_empty() { "0s" } else { &self.delete_version_after }
    }
}

/// What a version without a readable value holds here until it is deleted or destroyed, and says when
/// somebody undeletes it.
pub(super) fn filler() -> Map<String, Value> {
    let text = "the value of this version could not be read when the secret was imported";
    Map::from_iter([("bailee-import".to_owned(), text.into())])
}

/// What makes the secret here like the one there; the error says why it is left alone.
pub(super) fn plan(
    theirs: &Metadata,
    ours: Option<&Metadata>,
    now: SystemTime,
) -> Result<Plan, &'static str> {
    let none = Metadata::default();
    let here = ours.unwrap_or(&none);
    let (newest, known) = (theirs.current_version, here.current_version);
    if known > newest {
        return Err("it has more versions here than there");
    }
    let mut plan = Plan::default();
    if known > 0 {
        plan.compare = (1..=known).rev().find(|number| here.state(*number, now) == State::Live);
        let same = |number| match (here.state(number, now), theirs.state(number, now)) {
            (State::Gone, _) | (State::Destroyed, State::Gone) => true,
            (ours, theirs) => ours == theirs,
        };
        if plan.compare.is_none() && !(1..=known).all(same) {
            return Err("its versions here are deleted, so that nobody can say what they were");
        }
    }
    let fillers = (known + 1..=newest).filter(|number| !theirs.has_value(*number, now)).count();
    if u64::try_from(fillers).is_ok_and(|fillers| fillers > FILLERS_MAX) {
        return Err("more than 10,000 of its versions are gone: copy it by hand");
    }
    plan.settings = ours.is_none_or(|ours| ours.settings() != theirs.settings());
    plan.write = (known + 1..=newest).collect();
    for number in 1..=newest {
        let is = if number > known { State::Live } else { here.state(number, now) };
        match (is, theirs.state(number, now)) {
            (State::Live, State::Deleted) => plan.delete.push(number),
            (State::Live | State::Deleted, State::Destroyed | State::Gone) => {
                plan.destroy.push(number);
            }
            (_, State::Live | State::Deleted | State::Destroyed | State::Gone) => {}
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    /// A secret of these versions, the first of which has the number after `gone`.
    fn secret(gone: u64, states: &str) -> Metadata {
        let versions = states.chars().zip(gone + 1..).map(|(state, number)| {
            let (deletion_time, destroyed) = match state {
                'x' => ("", true),
                'd' => ("2020-01-01T00:00:00Z", false),
                'f' => ("2100-01-01T00:00:00Z", false),
                _ => ("", false),
            };
            (number, Version { deletion_time: deletion_time.to_owned(), destroyed })
        });
        let versions: BTreeMap<u64, Version> = versions.collect();
        let current_version = gone + states.len() as u64;
        Metadata { current_version, versions, ..Metadata::default() }
    }

    #[test]
    fn a_secret_that_is_not_here_is_written_version_by_version() {
        let plan = plan(&secret(0, "ldxfl"), None, now()).unwrap();
        assert_eq!((plan.compare, plan.settings), (None, true));
        assert_eq!(plan.write, [1, 2, 3, 4, 5]);
        assert_eq!((plan.delete, plan.destroy), (vec![2], vec![3]));
    }

    #[test]
    fn versions_that_are_gone_keep_their_numbers_for_those_that_follow() {
        let plan = plan(&secret(2, "ll"), None, now()).unwrap();
        assert_eq!(plan.write, [1, 2, 3, 4]);
        assert_eq!(plan.destroy, [1, 2]);
    }

    #[test]
    fn what_was_interrupted_goes_on_where_it_was() {
        let theirs = secret(0, "ldl");
        let half = plan(&theirs, Some(&secret(0, "ll")), now()).unwrap();
        assert_eq!((half.compare, half.write), (Some(2), vec![3]));
        assert_eq!(half.delete, [2]);
        let done = plan(&theirs, Some(&theirs), now()).unwrap();
        assert!(done.is_nothing() && done.compare == Some(3));
    }

    #[test]
    fn what_is_newer_here_or_cannot_be_told_is_left_alone() {
        assert!(plan(&secret(0, "l"), Some(&secret(0, "ll")), now()).is_err());
        assert!(plan(&secret(0, "lll"), Some(&secret(0, "dd")), now()).is_err());
        assert!(plan(&secret(0, "ddl"), Some(&secret(0, "dd")), now()).is_ok());
        assert!(plan(&secret(20_000, "l"), None, now()).is_err());
    }

    #[test]
    fn metadata_as_vault_and_openbao_tell_them_are_read() {
        let told = json!({
            "cas_required": true, "created_time": "2026-01-01T00:00:00Z", "current_version": 3,
            "current_metadata_version": 0, "custom_metadata": null, "delete_version_after": "3h25m19s",
            "max_versions": 0, "metadata_cas_required": false, "oldest_version": 2,
            "versions": {
                "2": {"created_time": "x", "deletion_time": "2020-01-01T00:00:00.5Z", "destroyed": false},
                "3": {"created_time": "x", "deletion_time": "", "destroyed": false},
            },
        });
        let read: Metadata = serde_json::from_value(told).unwrap();
        let states: Vec<State> = (1..=3).map(|number| read.state(number, now())).collect();
        assert_eq!(states, [State::Gone, State::Deleted, State::Live]);
        assert_eq!(read.settings()["delete_version_after"], "3h25m19s");
        assert_eq!(read.settings()["custom_metadata"], json!({}));
    }

    #[test]
    fn settings_that_differ_are_written() {
        let theirs = Metadata { max_versions: 3, ..secret(0, "l") };
        let plan = plan(&theirs, Some(&secret(0, "l")), now()).unwrap();
        assert!(plan.settings && plan.write.is_empty());
        assert_eq!(theirs.settings()["delete_version_after"], "0s");
    }

    /// The secret here after a plan was carried out, up to a step.
    fn after(here: &Metadata, plan: &Plan, steps: usize) -> Metadata {
        let mut here = here.clone();
        let mut left = steps;
        for number in &plan.write {
            if left == 0 {
                return here;
            }
            left -= 1;
            here.current_version = *number;
            here.versions.insert(*number, Version::default());
        }
        for (numbers, destroyed) in [(&plan.delete, false), (&plan.destroy, true)] {
            if left == 0 {
                return here;
            }
            left -= 1;
            for number in numbers {
                let deletion_time = if destroyed { "" } else { "2020-01-01T00:00:00Z" };
                let version = Version { deletion_time: deletion_time.to_owned(), destroyed };
                here.versions.insert(*number, version);
            }
        }
        here
    }

    proptest! {
        #[test]
        fn wherever_it_is_cut_a_second_run_ends_it(
            gone in 0..4_u64, states in "[ldxf]{1,6}", cut in 0..12_usize,
        ) {
            let theirs = secret(gone, &states);
            let first = plan(&theirs, None, now()).unwrap();
            let half = after(&Metadata::default(), &first, cut);
            let ours = (half.current_version > 0).then_some(&half);
            let second = plan(&theirs, ours, now()).unwrap();
            let whole = after(&half, &second, usize::MAX);
            prop_assert!(plan(&theirs, Some(&whole), now()).unwrap().is_nothing());
            for number in 1..=theirs.current_version {
                let wanted = match theirs.state(number, now()) {
                    State::Gone => State::Destroyed,
                    state => state,
                };
                prop_assert_eq!(whole.state(number, now()), wanted);
            }
        }
    }
}
