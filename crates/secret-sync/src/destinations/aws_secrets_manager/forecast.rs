//! The calls that a change takes, and what they cost: what `put` and `remove` do, counted.

use super::placement::Placement;
use crate::{
    destination::{Deletion, Delivered},
    estimate::{Calls, Change, Effect, Prices, Seen},
};
use std::collections::BTreeMap;

/// US dollars for a secret, or a copy of one in another region, and month.
const SECRET_MONTH_USD: f64 = 0.40;
/// US dollars for ten thousand calls.
const CALLS_10000_USD: f64 = 0.05;
/// Where both are published.
const PRICES_SOURCE: &str = "https://aws.amazon.com/secrets-manager/pricing/ (us-east-1)";
/// Secrets that one page of `ListSecrets` shows at most.
const LISTED_PER_CALL: u64 = 100;
/// Secrets of an account in one region.
const SECRETS_MAX: u64 = 500_000;

const CREATE: &str = "CreateSecret";
const UPDATE: &str = "UpdateSecret";
const DESCRIBE: &str = "DescribeSecret";
const TAG: &str = "TagResource";
const UNTAG: &str = "UntagResource";
const RESTORE: &str = "RestoreSecret";
const DELETE: &str = "DeleteSecret";
const REPLICATE: &str = "ReplicateSecretToRegions";
const UNREPLICATE: &str = "RemoveRegionsFromReplication";

pub(super) fn prices(placement: &Placement) -> Prices {
    Prices {
        secret_month_usd: SECRET_MONTH_USD,
        calls_10000_usd: CALLS_10000_USD,
        source: PRICES_SOURCE,
        listed_per_call: LISTED_PER_CALL,
        objects_max: SECRETS_MAX,
        replicas: placement.replica_regions.len() as u64,
    }
}

pub(super) fn calls_of(change: &Change<'_>, placement: &Placement) -> Calls {
    let Change { previous, seen, effect } = change;
    match effect {
        Effect::Remove(deletion) => calls_of_removal(*previous, *deletion),
        Effect::Put { tags, aspects, confirmed } => {
            let (mut calls, created) = calls_of_value(*previous, *seen, *aspects);
            // What is created has its tags and its placement already.
            if !created {
                count_tags(&mut calls, previous.map(|before| &before.tags), tags);
                count_moves(&mut calls, *previous, *aspects, placement);
            }
            if *confirmed {
                *calls.entry(DESCRIBE).or_default() += 1;
            }
            calls
        }
    }
}

/// The calls that write the value, and whether they create the secret.
fn calls_of_value(previous: Option<&Delivered>, seen: Seen<'_>, aspects: bool) -> (Calls, bool) {
    match (previous, seen) {
        (None, Seen::Unknown | Seen::Missing) => (Calls::from([(CREATE, 1)]), true),
        (Some(_), Seen::Missing) => (Calls::from([(UPDATE, 1), (CREATE, 1)]), true),
        (Some(_), Seen::There(remote)) if remote.deleting => {
            (Calls::from([(UPDATE, 2), (RESTORE, 1)]), false)
        }
        (Some(_), _) if aspects => (Calls::new(), false),
        (Some(_), _) => (Calls::from([(UPDATE, 1)]), false),
        // Creation is tried first, and says that the name is there.
        (None, Seen::There(remote)) => {
            let mut calls = Calls::from([(CREATE, 1), (DESCRIBE, 1), (UPDATE, 1)]);
            if remote.deleting {
                calls.insert(RESTORE, 1);
            }
            (calls, false)
        }
    }
}

fn count_tags(
    calls: &mut Calls,
    before: Option<&BTreeMap<String, String>>,
    tags: &BTreeMap<String, String>,
) {
    let set = tags.iter().any(|(key, value)| before.and_then(|tags| tags.get(key)) != Some(value));
    if set {
        *calls.entry(TAG).or_default() += 1;
    }
    if before.into_iter().flat_map(BTreeMap::keys).any(|key| !tags.contains_key(key)) {
        *calls.entry(UNTAG).or_default() += 1;
    }
}

fn count_moves(calls: &mut Calls, before: Option<&Delivered>, aspects: bool, wanted: &Placement) {
    let moves = match before {
        Some(before) => wanted.moves_from(&Placement::parse(&before.placement)),
        None => wanted.moves_from_foreign(None),
    };
    // An update of the value carries the key.
    if aspects && moves.key.is_some() {
        *calls.entry(UPDATE).or_default() += 1;
    }
    if !moves.remove.is_empty() {
        *calls.entry(UNREPLICATE).or_default() += 1;
    }
    if !moves.add.is_empty() {
        *calls.entry(REPLICATE).or_default() += 1;
    }
}

fn calls_of_removal(previous: Option<&Delivered>, deletion: Deletion) -> Calls {
    let mut calls = Calls::new();
    let Some(previous) = previous else {
        // Whether it is ours is looked at first.
        calls.insert(DESCRIBE, 1);
        calls.insert(if deletion == Deletion::Retain { UNTAG } else { DELETE }, 1);
        return calls;
    };
    if deletion == Deletion::Retain {
        return Calls::from([(UNTAG, 1)]);
    }
    if !Placement::parse(&previous.placement).replica_regions.is_empty() {
        calls.insert(UNREPLICATE, 1);
    }
    calls.insert(DELETE, 1);
    calls
}
