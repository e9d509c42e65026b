//! What happens in the kernel: each event is one log line and what it counts.

use crate::{Answer, audit::Trace};
use bailee_sdk::{Code, Error};
use std::{error::Error as _, io, time::Instant};

/// Measures one request.
pub(crate) struct RequestTimer(Instant);

impl RequestTimer {
    pub(crate) fn start() -> RequestTimer {
        RequestTimer(Instant::now())
    }

    /// The request is answered. Only a failure of the server makes a line: refusals are in the audit.
    pub(crate) fn stop(self, trace: &Trace, outcome: &Result<Answer, Error>) {
        let millis = self.0.elapsed().as_secs_f64() * 1000.0;
        metrics::histogram!("vault_core_handle_request").record(millis);
        let Err(error) = outcome else { return };
        if error.code == Code::Internal {
            metrics::counter!("vault_core_handle_request_failed").increment(1);
            tracing::error!(request = ?trace, error = %error, source = chain(error), "request failed");
        }
    }
}

/// Another request changed the same thing first.
pub(crate) fn conflict() {
    metrics::counter!("vault_core_commit_conflict").increment(1);
}

/// A user failed to log in too often.
pub(crate) fn user_locked() {
    metrics::counter!("vault_core_user_locked").increment(1);
    tracing::warn!("a user of an auth method is locked out; see sys/locked-users");
}

/// A user who is locked out tried to log in.
pub(crate) fn login_while_locked() {
    metrics::counter!("vault_core_login_while_locked").increment(1);
}

/// The storage is open, the first request can come.
pub(crate) fn unsealed() {
    metrics::gauge!("vault_core_unsealed").set(1.0);
    metrics::gauge!("vault_core_active").set(1.0);
    tracing::info!("vault is unsealed");
}

/// No more requests are taken.
pub(crate) fn sealed(in_time: bool) {
    metrics::gauge!("vault_core_unsealed").set(0.0);
    metrics::gauge!("vault_core_active").set(0.0);
    if in_time {
        tracing::info!("vault is sealed");
    } else {
        tracing::warn!("vault is sealed; work that was still under way was cut off");
    }
}

/// The storage was initialized.
pub(crate) fn initialized(shares: u8, threshold: u8) {
    tracing::info!(shares, threshold, "storage initialized");
}

/// Shares were given that do not open the storage.
pub(crate) fn unseal_failed() {
    metrics::counter!("vault_core_unseal_failed").increment(1);
    tracing::warn!("the shares given do not open the storage");
}

/// A snapshot is ready to be sent.
pub(crate) fn snapshot_made(id: &str, entries: u64, bytes: u64) {
    tracing::info!(id, entries, bytes, "snapshot made");
}

/// A snapshot was not sent whole.
pub(crate) fn snapshot_cut_off(error: &io::Error) {
    tracing::warn!(%error, "snapshot cut off");
}

/// A snapshot took the place of what was stored, or did not.
pub(crate) fn restored(force: bool, failure: Option<&Error>) {
    match failure {
        None => tracing::warn!(force, "storage replaced by a snapshot"),
        Some(error) => {
            tracing::error!(force, %error, source = chain(error), "snapshot not restored");
        }
    }
}

/// Another root key, in other shares, opens the storage.
pub(crate) fn rekeyed(shares: u8, threshold: u8) {
    tracing::info!(shares, threshold, "storage has new key shares");
}

/// A root token was made by those who hold the shares.
pub(crate) fn root_generated() {
    tracing::warn!("a root token was made from key shares");
}

/// An audit device did not take a line.
pub(crate) fn audit_failed(device: &str, error: &io::Error) {
    metrics::counter!("vault_audit_log_request_failure").increment(1);
    tracing::debug!(device, %error, "audit line failed");
}

/// An audit device begins to fail.
pub(crate) fn audit_device_fails(device: &str, error: &io::Error) {
    tracing::error!(device, %error, "audit device fails");
}

/// An audit device works again.
pub(crate) fn audit_device_works(device: &str) {
    tracing::info!(device, "audit device works again");
}

/// A pass of background work did not get through; the next one begins anew.
pub(crate) fn pass_failed(pass: &'static str, error: &Error) {
    metrics::counter!("vault_core_pass_failed", "pass" => pass).increment(1);
    tracing::error!(pass, %error, source = chain(error), "pass failed");
}

/// A token that is used up could not be cleared away yet.
pub(crate) fn revocation_failed(error: Error) {
    pass_failed("revocation of a used-up token", &error);
}

/// A request could not be recorded and did not happen, but took a use of its token.
pub(crate) fn use_lost(error: Error) {
    pass_failed("giving a use of a token back", &error);
}

/// What a lease stood for was taken back.
pub(crate) fn lease_revoked() {
    metrics::counter!("vault_expire_lease_revoked").increment(1);
}

/// What a request that never finished had begun outside is undone.
pub(crate) fn intent_undone(made: std::time::SystemTime) {
    metrics::counter!("vault_rollback_undone").increment(1);
    tracing::info!(?made, "undid what a request that never finished had begun outside");
}

/// What a request that never finished had begun outside could not be undone; it is tried again.
pub(crate) fn intent_failed(error: &Error) {
    metrics::counter!("vault_rollback_failed").increment(1);
    tracing::warn!(%error, source = chain(error), "an unfinished request could not be undone");
}

/// What a request that never finished had begun outside is left there: an operator said so.
pub(crate) fn intent_given_up(error: &Error) {
    metrics::counter!("vault_rollback_given_up").increment(1);
    tracing::error!(%error, source = chain(error), "an unfinished request was given up, not undone");
}

/// A lease could not be revoked; it is tried again.
pub(crate) fn lease_failed(error: &Error) {
    metrics::counter!("vault_expire_lease_revocation_failed").increment(1);
    tracing::warn!(%error, source = chain(error), "a lease could not be revoked");
}

/// A lease could not be revoked so often that someone has to look at it.
pub(crate) fn lease_irrevocable(error: &Error) {
    metrics::counter!("vault_expire_lease_irrevocable").increment(1);
    tracing::error!(%error, source = chain(error), "a lease is irrevocable; sys/leases shows it");
}

/// An operator gave up a lease that its engine could not take back.
pub(crate) fn lease_given_up(error: &Error) {
    metrics::counter!("vault_expire_lease_given_up").increment(1);
    tracing::warn!(%error, source = chain(error), "a lease was given up");
}

/// A request was given up because it panicked.
pub(crate) fn panicked() {
    metrics::counter!("vault_core_handle_request_panicked").increment(1);
    tracing::error!("a request panicked");
}

fn chain(error: &Error) -> String {
    let mut texts = Vec::new();
    let mut next = error.source();
    while let Some(source) = next {
        texts.push(source.to_string());
        next = source.source();
    }
    texts.join(": ")
}
