//! What is told of a plan: a row for each object that does not stay as it is.

use super::{DryRun, Forecast, draft::Draft, look::Look};
use crate::{
    association::{DriftKind, Object},
    destination::{Delivered, Owner},
    estimate::{self, Change, Effect, Seen},
    failure::{Error, Failure},
    naming::{NameRule, Subject, external_name},
    plan::{Desired, Reason, Step},
    work::previous,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// It is made.
    Create,
    /// It is written anew.
    Update,
    /// It is removed.
    Delete,
    /// Something that others made is overwritten, and ours from then on.
    Adopt,
    /// Something that others made is in the way and is left alone.
    Refuse,
    /// It stays.
    Unchanged,
    /// What is wanted cannot be done.
    Failing,
}

/// One object.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) action: Action,
    /// Why, in a word.
    pub(crate) reason: &'static str,
    /// Path of the mount.
    pub(crate) mount: String,
    pub(crate) secret_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sub_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) external_name: Option<String>,
    /// Size of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<usize>,
    /// What others changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drift: Option<&'static str>,
    /// What goes wrong, or went wrong the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_action: Option<&'static str>,
}

/// How many objects of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) create: u64,
    pub(crate) update: u64,
    pub(crate) delete: u64,
    pub(crate) adopt: u64,
    pub(crate) refuse: u64,
    pub(crate) unchanged: u64,
    /// Secrets that whoever asks may not read.
    pub(crate) hidden: u64,
    pub(crate) failing: u64,
}

/// A bound of the destination that something breaks.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Broken {
    pub(crate) external_name: String,
    /// Which bound.
    pub(crate) limit: &'static str,
    /// What it would be.
    pub(crate) value: u64,
    /// The most there may be.
    pub(crate) max: u64,
}

impl Summary {
    fn count(&mut self, action: Action) {
        *match action {
            Action::Create => &mut self.create,
            Action::Update => &mut self.update,
            Action::Delete => &mut self.delete,
            Action::Adopt => &mut self.adopt,
            Action::Refuse => &mut self.refuse,
            Action::Unchanged => &mut self.unchanged,
            Action::Failing => &mut self.failing,
        } += 1;
    }
}

impl Row {
    fn new(draft: &Draft, action: Action, reason: &'static str, sub_key: &Option<String>) -> Row {
        let association = &draft.foreseen.association;
        Row {
            action,
            reason,
            mount: association.mount_path.clone(),
            secret_name: association.secret_name.clone(),
            sub_key: sub_key.clone(),
            external_name: None,
            bytes: None,
            drift: None,
            problem: None,
            next_action: None,
        }
    }

    fn named(mut self, name: &str) -> Row {
        self.external_name = Some(name.to_owned()).filter(|name| !name.is_empty());
        self
    }

    fn because(mut self, error: &Error) -> Row {
        self.problem = Some(error.message.clone());
        self.next_action = Some(error.failure.next_action());
        self
    }
}

impl DryRun<'_> {
    /// Adds what one association comes to.
    pub(super) fn tell(&self, draft: &Draft, look: &Look, forecast: &mut Forecast) {
        let association = &draft.foreseen.association;
        let begun = association.objects.iter().filter(|object| object.begun).count() as u64;
        if let Err(error) = &draft.foreseen.live {
            forecast.objects += begun;
            let row = Row::new(draft, Action::Failing, error.failure.name(), &None).because(error);
            return forecast.add(row);
        }
        for failed in &draft.foreseen.failed {
            let row =
                Row::new(draft, Action::Failing, failed.error.failure.name(), &failed.sub_key);
            forecast.add(row.named(&failed.name).because(&failed.error));
            if failed.error.failure == Failure::Invalid {
                forecast.limits.extend(self.long_name(draft, failed.sub_key.as_deref()));
            }
        }
        let values: BTreeMap<&str, &(Desired, usize)> =
            draft.foreseen.objects.iter().map(|value| (value.0.name.as_str(), value)).collect();
        let mut idle: BTreeSet<&str> = values.keys().copied().collect();
        for step in &draft.plan.steps {
            match step {
                Step::Put { name, why } => {
                    idle.remove(name.as_str());
                    if let Some(value) = values.get(name.as_str()) {
                        self.tell_put(draft, look, value, *why, forecast);
                    }
                }
                Step::Refuse { name, .. } => {
                    idle.remove(name.as_str());
                    if let Some(value) = values.get(name.as_str()) {
                        let row = Row::new(draft, Action::Refuse, "not_ours", &value.0.sub_key);
                        let row = row.named(name);
                        let error = draft.failing.get(name);
                        forecast.add(error.map_or(row.clone(), |error| row.because(error)));
                        let known = association.holder_of(name);
                        forecast.objects +=
                            u64::from(known.is_some_and(|it| it.delivered.is_some()));
                    }
                }
                Step::Delete { name } => self.tell_delete(draft, look, name, forecast),
            }
        }
        for name in idle {
            let Some((desired, bytes)) = values.get(name).copied() else { continue };
            forecast.objects += 1;
            self.tell_unchanged(draft, desired, *bytes, forecast);
        }
        if draft.foreseen.live == Ok(false) && begun == 0 && !association.removing {
            let mut row = Row::new(draft, Action::Unchanged, "no_version", &None);
            row.problem = Some(
                "the secret has no live version: it is delivered as soon as it has one".to_owned(),
            );
            forecast.add(row);
        }
    }

    fn tell_put(
        &self,
        draft: &Draft,
        look: &Look,
        (desired, bytes): &(Desired, usize),
        why: Reason,
        forecast: &mut Forecast,
    ) {
        let name = desired.name.as_str();
        let known = draft.foreseen.association.object(&desired.sub_key, name);
        let delivered = known.and_then(|object| object.delivered.as_ref());
        let seen = look.seen(name);
        let action = action(desired, delivered, seen);
        self.check_bounds(desired, *bytes, seen, forecast);
        let mut row = Row::new(draft, action, why.name(), &desired.sub_key).named(name);
        row.bytes = Some(*bytes);
        row.drift = draft.plan.drift.get(name).map(|kind| kind.name());
        if let Some(error) = draft.failing.get(name) {
            row.action = Action::Failing;
            row.reason = error.failure.name();
            forecast.objects += u64::from(delivered.is_some());
            return forecast.add(row.because(error));
        }
        // Who has a name is told by the plan itself, to whom it may be told.
        let problem = known.and_then(|object| object.state.problem.as_ref());
        if let Some(problem) = problem.filter(|problem| problem.failure != Failure::NameTaken) {
            row.problem = Some(format!("the last attempt failed: {}", problem.message));
            row.next_action = Some(problem.failure.next_action());
        }
        let before = known.and_then(|object| previous(object, desired, why));
        let change = Change {
            previous: before.as_ref(),
            seen,
            effect: Effect::Put {
                tags: &desired.tags,
                aspects: why.is_aspect(),
                confirmed: draft.is_confirmed(name),
            },
        };
        estimate::add(&mut forecast.calls, self.configured.destination.calls_of(&change));
        forecast.changes += 1;
        forecast.objects += 1;
        forecast.add(row);
    }

    fn tell_delete(&self, draft: &Draft, look: &Look, name: &str, forecast: &mut Forecast) {
        let Some(object) = draft.foreseen.association.holder_of(name) else { return };
        let Object { sub_key, delivered, .. } = object;
        if !draft.goes(object) {
            let mut row = Row::new(draft, Action::Failing, "former_name", sub_key).named(name);
            row.problem =
                Some("it stays until what replaces it at the destination is there".to_owned());
            forecast.objects += 1;
            return forecast.add(row);
        }
        let change = Change {
            previous: delivered.as_ref(),
            seen: look.seen(name),
            effect: Effect::Remove(self.configured.stored.deletion),
        };
        estimate::add(&mut forecast.calls, self.configured.destination.calls_of(&change));
        forecast.changes += 1;
        let association = &draft.foreseen.association;
        let reason = if association.removing {
            "dissociated"
        } else if draft.foreseen.live == Ok(false) {
            "no_version"
        } else if draft.foreseen.objects.iter().any(|(desired, _)| desired.sub_key == *sub_key) {
            "renamed"
        } else {
            "no_key"
        };
        forecast.add(Row::new(draft, Action::Delete, reason, sub_key).named(name));
    }

    /// What stays is counted; told only where others changed it and that is not undone.
    fn tell_unchanged(
        &self,
        draft: &Draft,
        desired: &Desired,
        bytes: usize,
        forecast: &mut Forecast,
    ) {
        let drift = draft.plan.drift.get(&desired.name).copied();
        let Some(kind) = drift else { return forecast.summary.count(Action::Unchanged) };
        let mut row =
            Row::new(draft, Action::Unchanged, "drift", &desired.sub_key).named(&desired.name);
        row.bytes = Some(bytes);
        row.drift = Some(kind.name());
        row.problem = Some(not_undone(kind));
        forecast.add(row);
    }

    fn check_bounds(
        &self,
        desired: &Desired,
        bytes: usize,
        seen: Seen<'_>,
        forecast: &mut Forecast,
    ) {
        let mut check = |limit, value: usize, max: usize| {
            if value > max {
                let external_name = desired.name.clone();
                let (value, max) = (value as u64, max as u64);
                forecast.limits.push(Broken { external_name, limit, value, max });
            }
        };
        let max = self.configured.destination.limits().payload_bytes_max;
        check("value_bytes", bytes, max);
        if let Some(max) = self.tags_max {
            let mut keys: BTreeSet<&String> = desired.tags.keys().collect();
            if let Seen::There(remote) = seen {
                keys.extend(remote.tags.iter().flat_map(BTreeMap::keys));
            }
            check("tags", keys.len(), max);
        }
    }

    /// The bound of names, where it is that which a name breaks.
    fn long_name(&self, draft: &Draft, key: Option<&str>) -> Option<Broken> {
        let association = &draft.foreseen.association;
        let subject = Subject {
            destination_type: &association.destination_type,
            destination_name: &association.destination_name,
            namespace: &self.namespace,
            mount: self.mounts.with_uuid(&association.mount)?,
            secret: &association.secret_name,
            key,
        };
        let max = self.configured.names.characters_max;
        let unbounded = NameRule { characters_max: usize::MAX, ..self.configured.names };
        let external_name = external_name(&association.template, &unbounded, &subject).ok()?;
        let value = external_name.chars().count();
        let (value, max) = (value as u64, max as u64);
        (value > max).then_some(Broken { external_name, limit: "name_characters", value, max })
    }

    /// Whether there would be more objects than an account may hold; for a plan of several answers, who
    /// adds them up has to compare.
    pub(crate) fn check_quota(&self, forecast: &mut Forecast) {
        let Some(prices) = self.configured.destination.prices() else { return };
        if forecast.objects > prices.objects_max {
            forecast.limits.push(Broken {
                external_name: String::new(),
                limit: "secrets",
                value: forecast.objects,
                max: prices.objects_max,
            });
        }
    }
}

impl Look {
    fn seen(&self, name: &str) -> Seen<'_> {
        match self.found.get(name) {
            Some(remote) => Seen::There(remote),
            None if self.known.contains(name) => Seen::Missing,
            None => Seen::Unknown,
        }
    }
}

impl Forecast {
    fn add(&mut self, row: Row) {
        self.summary.count(row.action);
        self.rows.push(row);
    }
}

/// What a delivery does to the object that has the name.
fn action(desired: &Desired, delivered: Option<&Delivered>, seen: Seen<'_>) -> Action {
    match (delivered, seen) {
        (_, Seen::Missing) | (None, Seen::Unknown) => Action::Create,
        (Some(_), _) => Action::Update,
        (None, Seen::There(remote)) => match remote.owner(&desired.mark) {
            Owner::Us => Action::Update,
            Owner::Twin | Owner::Sibling | Owner::Other | Owner::Vault | Owner::Nobody => {
                Action::Adopt
            }
        },
    }
}

fn not_undone(kind: DriftKind) -> String {
    let what = match kind {
        DriftKind::Missing => "somebody removed it",
        DriftKind::Deleting => "somebody scheduled it for deletion",
        DriftKind::Changed => "somebody wrote another value",
        DriftKind::Tags => "somebody changed tags of ours",
        DriftKind::Taken => "another server marked it as its own",
    };
    format!("{what} at the destination, and that is not undone")
}
