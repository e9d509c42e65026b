//! What an outcome is to whoever listens.

use super::outcome::{Landed, Outcome, Report};
use crate::{
    association::{Association, Problem},
    board::Key,
    failure::{Error, Status},
    feed::Event,
    paths::status,
};
use bailee_crypto::clock::to_millis;
use serde_json::json;
use std::time::SystemTime;

/// The events of an outcome. `seen` is the association as it was before.
pub(super) fn events(
    key: &Key,
    seen: &Association,
    outcome: &Outcome,
    now: SystemTime,
) -> Vec<Event> {
    let of = |event| Event::of(event, &key.namespace, seen, now);
    let mut events = Vec::new();
    if let Err(error) = &outcome.whole {
        events.push(failed(of("failed"), error, now));
    }
    for report in &outcome.reports {
        let Some(mut event) = told(report, seen, now, of) else { continue };
        if let Some(secret) = &mut event.secret {
            secret.sub_key.clone_from(&report.sub_key);
        }
        event.external_name = Some(report.name.clone()).filter(|name| !name.is_empty());
        events.push(event);
    }
    let drift = outcome.looked.iter().flat_map(|plan| &plan.drift);
    events.extend(drift.filter_map(|(name, kind)| {
        let object = seen.objects.iter().find(|object| object.name == *name)?;
        let known = object.drift.is_some_and(|known| known.kind == *kind);
        let undone = outcome.reports.iter().any(|report| {
            report.name == *name && matches!(report.result, Ok(Landed::Confirmed { .. }))
        });
        if known || undone {
            return None;
        }
        let mut event = of("drift");
        if let Some(secret) = &mut event.secret {
            secret.sub_key.clone_from(&object.sub_key);
        }
        event.external_name = Some(name.clone());
        event.detail = Some(("drift", json!({ "kind": kind.name() })));
        Some(event)
    }));
    events
}

fn told(
    report: &Report,
    seen: &Association,
    now: SystemTime,
    of: impl Fn(&'static str) -> Event,
) -> Option<Event> {
    Some(match &report.result {
        Ok(Landed::Confirmed { repaired, .. }) => {
            let event = of(if *repaired { "drift_repaired" } else { "delivered" });
            Event { status: Some(Status::Synced), ..event }
        }
        Ok(Landed::Gone) => Event { status: Some(Status::Unsynced), ..of("removed") },
        // There already: worth a word only after a failure.
        Ok(Landed::Kept) => {
            let object = seen.object(&report.sub_key, &report.name)?;
            object.state.problem.as_ref()?;
            Event { status: Some(Status::Synced), ..of("recovered") }
        }
        // Told when it failed, or when it is done.
        Ok(Landed::NotDue | Landed::Removed { .. }) => return None,
        Ok(Landed::Waits { .. }) => Event { status: Some(Status::Pending), ..of("waiting") },
        Err(error) => failed(of("failed"), error, now),
    })
}

fn failed(event: Event, error: &Error, now: SystemTime) -> Event {
    let problem = Problem {
        failure: error.failure,
        provider_code: error.provider_code.clone(),
        message: error.message.clone(),
        missing_permission: error.missing_permission.clone(),
        since: to_millis(now),
        attempts: 1,
        next_attempt: None,
    };
    let mut shown = status::error(&problem);
    if let Some(fields) = shown.as_object_mut() {
        // Those are of the status.
        for field in ["since", "attempts", "next_attempt"] {
            fields.remove(field);
        }
    }
    Event { status: Some(error.failure.status()), detail: Some(("error", shown)), ..event }
}
