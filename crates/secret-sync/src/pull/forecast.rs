//! What a run would do, told before it does: out of the same comparison.

use super::{
    Known,
    compare::Put,
    keys::Keys,
    ledger::DELIVERED_TAG,
    report::FailedSecret,
    spec::{Removals, Spec},
    target::Target,
};
use crate::{
    destination::Deletion,
    estimate::{self, Calls, Change, Effect, Seen},
    plan::Reason,
};
use serde::Serialize;
use std::collections::BTreeSet;

/// What a run would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Forecast {
    /// One row for each secret that does not stay as it is.
    pub rows: Vec<Row>,
    /// How many secrets stay as they are.
    pub unchanged: u64,
    /// Secrets for which nothing can be done.
    pub failed: Vec<FailedSecret>,
    /// Sentences.
    pub notes: Vec<String>,
    /// Calls at the destination by their names.
    pub calls: Calls,
}

/// What becomes of one secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What is done.
    pub action: Action,
    /// Why, in a word.
    pub reason: &'static str,
    /// Its name at the destination.
    pub name: String,
    /// Its path at the source; empty where it is there no more.
    pub path: String,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is written anew.
    Update,
    /// It is written anew, and ours from then on.
    Adopt,
    /// Tags, key or replicas alone are written.
    Retag,
    /// It is tagged as an orphan.
    Orphan,
    /// It is scheduled for deletion.
    Schedule,
    /// It is deleted.
    Delete,
}

impl Action {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Adopt => "adopt",
            Action::Retag => "retag",
            Action::Orphan => "orphan",
            Action::Schedule => "schedule",
            Action::Delete => "delete",
        }
    }
}

impl Forecast {
    /// Whether a run would have nothing to do, and nothing to tell.
    pub fn is_quiet(&self) -> bool {
        self.rows.is_empty() && self.failed.is_empty()
    }
}

/// `equal` are the names of deliveries whose value turned out to be there already.
pub(super) fn forecast(
    spec: &Spec,
    keys: &Keys,
    target: &Target,
    known: &Known,
    equal: &BTreeSet<&str>,
) -> Forecast {
    let comparison = &known.comparison;
    let mut forecast = Forecast {
        unchanged: comparison.unchanged,
        failed: comparison.failed.clone(),
        notes: comparison.notes.clone(),
        ..Forecast::default()
    };
    for (path, error) in &known.listing.failed {
        forecast.failed.push(FailedSecret {
            name: path.clone(),
            failure: error.failure,
            message: error.message.clone(),
        });
    }
    let puts = comparison.puts.iter();
    for put in puts.filter_map(|due| comparison.put(spec, keys, target, &known.listing, due)) {
        let name = &put.entry.desired.name;
        let is_equal = equal.contains(name.as_str());
        let path = known.listing.secrets.get(put.at).map(|secret| secret.full_path());
        forecast.rows.push(Row {
            action: if is_equal { Action::Retag } else { action(&put) },
            reason: put.why.name(),
            name: name.clone(),
            path: path.unwrap_or_default(),
        });
        let seen = known.comparison.found.get(name).map_or(Seen::Missing, Seen::There);
        let aspects = put.why.is_aspect() || is_equal;
        let mut tags = put.entry.desired.tags.clone();
        if !aspects {
            tags.insert(DELIVERED_TAG.to_owned(), put.entry.token.clone());
        }
        let change = Change {
            previous: put.entry.object.as_ref().and_then(|object| object.delivered.as_ref()),
            seen,
            effect: Effect::Put { tags: &tags, aspects, confirmed: false },
        };
        estimate::add(&mut forecast.calls, target.destination().calls_of(&change));
    }
    for object in &comparison.removals {
        let (action, how) = match spec.removals {
            Removals::Keep => continue,
            Removals::Orphan => (Action::Orphan, Deletion::Retain),
            Removals::Schedule { days } => (Action::Schedule, Deletion::Schedule { days }),
            Removals::Delete => (Action::Delete, Deletion::Delete),
        };
        forecast.rows.push(Row {
            action,
            reason: "not_at_source",
            name: object.name.clone(),
            path: String::new(),
        });
        let seen = known.comparison.found.get(&object.name).map_or(Seen::Missing, Seen::There);
        let effect = Effect::Remove(how);
        let change = Change { previous: object.delivered.as_ref(), seen, effect };
        estimate::add(&mut forecast.calls, target.destination().calls_of(&change));
    }
    forecast.failed.sort_by(|one, other| one.name.cmp(&other.name));
    forecast
}

fn action(put: &Put) -> Action {
    match (put.why, put.adopts, &put.entry.object) {
        (_, true, _) => Action::Adopt,
        (why, false, _) if why.is_aspect() => Action::Retag,
        (Reason::New, false, None) => Action::Create,
        (_, false, _) => Action::Update,
    }
}
