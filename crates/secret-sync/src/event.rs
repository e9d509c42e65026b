//! Each event: one log line and its metrics. Secrets are named by codes only.

use crate::{board::Key, budget::InForce, failure::Error, pulling::stored::LastRun};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

pub(crate) fn delivered(kind: &str, destination: &str, key: &Key, took: Duration, why: &str) {
    tracing::info!(
        kind,
        destination,
        namespace = key.namespace.id,
        association = %key,
        why,
        took_ms = took.as_secs_f64() * 1000.0,
        "secret delivered"
    );
    count(kind, "delivered");
}

pub(crate) fn removed(kind: &str, destination: &str, key: &Key, took: Duration) {
    tracing::info!(
        kind,
        destination,
        namespace = key.namespace.id,
        association = %key,
        took_ms = took.as_secs_f64() * 1000.0,
        "secret removed from destination"
    );
    count(kind, "removed");
}

/// One call of a destination has ended.
pub(crate) fn called(kind: &str, call: &'static str, took: Duration, error: Option<&Error>) {
    let outcome = error.map_or("ok", |error| error.failure.name());
    let labels = [("type", kind.to_owned()), ("call", call.to_owned())];
    metrics::histogram!("vault_secrets_sync_call_seconds", &labels).record(took.as_secs_f64());
    let [kind, call] = labels;
    metrics::counter!("vault_secrets_sync_calls", &[kind, call, ("outcome", outcome.to_owned())])
        .increment(1);
}

/// The message is not logged: it holds the name at the destination. The status shows it.
pub(crate) fn failed(kind: &str, destination: &str, key: &Key, error: &Error, attempts: u32) {
    tracing::warn!(
        kind,
        destination,
        namespace = key.namespace.id,
        association = %key,
        failure = error.failure.name(),
        missing_permission = error.missing_permission,
        attempts,
        "secret not delivered; its association says why"
    );
    count(kind, error.failure.name());
    if error.failure.passes() {
        metrics::counter!("vault_secrets_sync_retries", "type" => kind.to_owned()).increment(1);
    }
}

/// From the change to the end of its delivery.
pub(crate) fn lag(kind: &str, lag: Duration) {
    metrics::histogram!("vault_secrets_sync_lag_seconds", "type" => kind.to_owned())
        .record(lag.as_secs_f64());
}

pub(crate) fn storage_failed(what: &str, error: &bailee_storage::Error) {
    tracing::error!(%error, what, "sync cannot work: storage failed");
    metrics::counter!("vault_secrets_sync_storage_failures").increment(1);
}

pub(crate) fn source_failed(what: &str, error: &Error) {
    tracing::error!(failure = error.failure.name(), what, "sync cannot read from this server");
}

/// A run of a source has ended. Names and messages of secrets are in its status, not in the log.
pub(crate) fn pulled(kind: &str, namespace: &str, source: &str, last: &LastRun, took: Duration) {
    let (outcome, took_ms) = (last.outcome(), took.as_secs_f64() * 1000.0);
    if last.is_ok() {
        let summary = last.summary.as_str();
        tracing::info!(kind, namespace, source, summary, took_ms, "source pulled");
    } else {
        let stage = last.not_begun.as_ref().map(|failure| failure.stage.name());
        let failure = last.not_begun.as_ref().map(|failure| failure.failure.name());
        let failed = last.counts.get("failed").copied().unwrap_or_default();
        tracing::warn!(
            kind,
            namespace,
            source,
            outcome,
            stage,
            failure,
            failed,
            took_ms,
            "source not pulled whole; its status says why"
        );
    }
    let labels = [("type", kind.to_owned()), ("outcome", outcome.to_owned())];
    metrics::counter!("vault_secrets_sync_source_runs", &labels).increment(1);
    metrics::histogram!("vault_secrets_sync_source_run_seconds", "type" => kind.to_owned())
        .record(took.as_secs_f64());
    for (what, count) in &last.counts {
        let labels = [("type", kind.to_owned()), ("outcome", what.clone())];
        metrics::counter!("vault_secrets_sync_source_secrets", &labels).increment(*count);
    }
}

/// Sources by type.
pub(crate) fn sources(found: &BTreeMap<String, usize>) {
    for (kind, count) in found {
        gauge_by_type("vault_secrets_sync_sources_count", kind, *count);
    }
}

pub(crate) fn source_audit_failed(namespace: &str, source: &str) {
    tracing::error!(namespace, source, "no audit device could record a finished call");
}

pub(crate) fn audit_failed(key: &Key) {
    tracing::error!(association = %key, "no audit device could record a finished call");
}

pub(crate) fn compared(associations: usize) {
    tracing::debug!(associations, "every association is compared with its secret");
}

/// Destinations and associations by type.
pub(crate) fn counted<'a>(
    known: impl Iterator<Item = &'a str>,
    found: &BTreeMap<String, (usize, usize)>,
) {
    for kind in known {
        let (destinations, associations) = found.get(kind).copied().unwrap_or_default();
        gauge_by_type("vault_secrets_sync_destinations_count", kind, destinations);
        gauge_by_type("vault_secrets_sync_associations_count", kind, associations);
    }
}

/// Marks that wait, and the age of the oldest of them, by type.
pub(crate) fn waiting<'a>(
    known: impl Iterator<Item = &'a str>,
    found: &BTreeMap<String, (usize, Duration)>,
) {
    for kind in known {
        let (marks, age) = found.get(kind).copied().unwrap_or_default();
        gauge_by_type("vault_secrets_sync_backlog", kind, marks);
        metrics::gauge!("vault_secrets_sync_oldest_change_seconds", "type" => kind.to_owned())
            .set(age.as_secs_f64());
    }
}

fn gauge_by_type(name: &'static str, kind: &str, count: usize) {
    #[expect(clippy::cast_precision_loss, reason = "a count for a gauge")]
    metrics::gauge!(name, "type" => kind.to_owned()).set(count as f64);
}

/// Somebody else changed something at a destination.
pub(crate) fn drift_found(kind: &str, drift: &'static str) {
    metrics::counter!(
        "vault_secrets_sync_drift_found", "type" => kind.to_owned(), "drift" => drift
    )
    .increment(1);
}

/// A change of somebody else was undone.
pub(crate) fn drift_repaired(kind: &str) {
    metrics::counter!("vault_secrets_sync_drift_repaired", "type" => kind.to_owned()).increment(1);
}

pub(crate) fn survey_failed(kind: &str, destination: &str, error: &Error) {
    tracing::warn!(kind, destination, failure = error.failure.name(), "survey failed");
}

pub(crate) fn depth(objects: usize) {
    #[expect(clippy::cast_precision_loss, reason = "a count for a gauge")]
    metrics::gauge!("vault_secrets_sync_queue_depth").set(objects as f64);
}

/// What calls of a destination may use now.
pub(crate) fn budget(kind: &str, destination: &str, namespace: &str, budget: InForce) {
    let labels = [
        ("type", kind.to_owned()),
        ("namespace", namespace.to_owned()),
        ("destination", destination.to_owned()),
    ];
    metrics::gauge!("vault_secrets_sync_budget_writes_per_second", &labels)
        .set(budget.writes_per_second);
    #[expect(clippy::cast_precision_loss, reason = "a count for a gauge")]
    metrics::gauge!("vault_secrets_sync_budget_concurrency", &labels)
        .set(budget.concurrency as f64);
    let rests = budget.rests_until.map(|until| until.saturating_duration_since(Instant::now()));
    metrics::gauge!("vault_secrets_sync_budget_rest_seconds", &labels)
        .set(rests.unwrap_or_default().as_secs_f64());
}

pub(crate) fn purge_ended(kind: &str, destination: &str, failed: bool) {
    tracing::info!(kind, destination, failed, "deletion of the destination has ended");
}

fn count(kind: &str, outcome: &str) {
    metrics::counter!(
        "vault_secrets_sync_operations",
        "type" => kind.to_owned(),
        "outcome" => outcome.to_owned()
    )
    .increment(1);
}
