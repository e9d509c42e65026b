//! What this crate logs and counts. Metric names carry their unit last.

use std::{path::Path, time::Duration};

/// One transaction of the embedded engine: several batches, one flush.
pub(crate) struct Group {
    pub(crate) landed: usize,
    pub(crate) refused: usize,
    /// Batches still waiting when the group was taken.
    pub(crate) waiting: usize,
    pub(crate) took: Duration,
}

pub(crate) fn group_committed(group: &Group) {
    commits("landed", group.landed);
    commits("refused", group.refused);
    metrics::histogram!("bailee_storage_group_batches").record(count(group.landed + group.refused));
    metrics::histogram!("bailee_storage_commit_seconds").record(group.took.as_secs_f64());
    metrics::gauge!("bailee_storage_queue_batches").set(count(group.waiting));
}

pub(crate) fn group_failed(batches: usize, error: &crate::Error) {
    commits("failed", batches);
    tracing::warn!(batches, %error, "storage did not commit");
}

pub(crate) fn writes_stopped(reason: &str) {
    metrics::counter!("bailee_storage_stopped_total").increment(1);
    tracing::error!(reason, "storage takes no more writes until it is opened again");
}

/// Always counted; logged unless the failure before it was.
pub(crate) fn checkpoint_failed(error: &crate::Error, logged_before: bool) {
    metrics::counter!("bailee_storage_checkpoint_failures_total").increment(1);
    if !logged_before {
        tracing::warn!(%error, "storage could not fold its log into its file");
    }
}

pub(crate) fn file_sizes(database: u64, log: u64) {
    metrics::gauge!("bailee_storage_file_bytes", "file" => "database").set(bytes(database));
    metrics::gauge!("bailee_storage_file_bytes", "file" => "log").set(bytes(log));
}

pub(crate) fn opened(folder: &Path, took: Duration) {
    tracing::info!(folder = %folder.display(), ?took, "storage opened");
}

pub(crate) fn closed(folder: &Path) {
    tracing::info!(folder = %folder.display(), "storage closed");
}

fn commits(outcome: &'static str, batches: usize) {
    if batches > 0 {
        let batches = u64::try_from(batches).unwrap_or(u64::MAX);
        metrics::counter!("bailee_storage_commits_total", "outcome" => outcome).increment(batches);
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn bytes(number: u64) -> f64 {
    number as f64
}

/// The entries of a restore ended before their end: the storage is as it was.
pub(crate) fn restore_given_up() {
    tracing::warn!("a restore was given up; the storage is as it was");
}
