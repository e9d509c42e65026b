//! What happens, as log lines and metrics. Ids are told, values never.

use crate::{
    failure::{Cause, Failure},
    listeners::TokenFileError,
    store::Place,
};
use metrics::{Counter, counter};
use parking_lot::Mutex;
use std::{io, path::Path, time::Duration};
use tokio::time::Instant;

/// The shortest time between two lines of one listener about requests that it refused.
const REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(1);

/// How a wish was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// Out of what is kept.
    Kept,
    /// Old, because the place is away.
    Stale,
    /// Not at all.
    Failed(Cause),
}

pub(crate) fn served(place: &Place, how: Served) {
    let outcome = match how {
        // The one that applications wait for: looking the counter up costs more than the rest.
        Served::Kept => return place.kept.get_or_init(|| served_total(place, "kept")).increment(1),
        Served::Stale => "stale",
        Served::Failed(cause) => cause.as_str(),
    };
    served_total(place, outcome).increment(1);
}

fn served_total(place: &Place, outcome: &'static str) -> Counter {
    let manager = place.name.to_string();
    counter!("bailee_agent_served_total", "manager" => manager, "outcome" => outcome)
}

pub(crate) fn fetched(place: &Place) {
    counter!("bailee_agent_fetched_total", "manager" => place.name.to_string()).increment(1);
}

pub(crate) fn token_replaced(place: &Place) {
    tracing::warn!(manager = %place.name, "the agent's token ended: what hangs on its leases is fetched anew");
}

/// A failure that lasts is told once, and counted each time.
pub(crate) fn failed(place: &Place, id: &str, failure: &Failure, is_news: bool) {
    let (manager, cause) = (place.name.to_string(), failure.cause.as_str());
    counter!("bailee_agent_failures_total", "manager" => manager, "cause" => cause).increment(1);
    if is_news {
        tracing::warn!(manager = %place.name, secret = id, cause, %failure, "a secret could not be fetched");
    }
}

pub(crate) fn no_batches(place: &str, failure: &Failure) {
    tracing::warn!(
        place,
        %failure,
        "BatchGetSecretValue is not permitted: every secret costs a call of its own; permit \
         secretsmanager:BatchGetSecretValue on \"*\""
    );
}

pub(crate) fn tagged_left_out(place: &str, id: &str, failure: &Failure) {
    tracing::warn!(place, secret = id, %failure, "a secret with the tags is left out");
}

pub(crate) fn lease_not_given_back(place: &Place, failure: &Failure) {
    tracing::warn!(manager = %place.name, %failure, "a lease could not be given back; it ends by itself");
}

pub(crate) fn not_given_back_in_time(place: &Place, what: &str) {
    tracing::warn!(manager = %place.name, "{what} could not be given back in time: what is left ends by itself");
}

pub(crate) fn listening(endpoint: &str) {
    tracing::info!(endpoint, "listening");
}

/// Requests that a listener refuses: all are counted, one a second is logged, so that nobody fills the disk.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Option<Instant>>);

impl Refusals {
    pub(crate) fn tell(&self, why: &'static str) {
        counter!("bailee_agent_refused_total", "reason" => why).increment(1);
        let mut told_at = self.0.lock();
        if told_at.is_none_or(|at| at.elapsed() >= REFUSALS_TOLD_EVERY) {
            *told_at = Some(Instant::now());
            tracing::warn!(reason = why, "a request was refused");
        }
    }
}

pub(crate) fn tokens_read_again(path: &Path) {
    tracing::info!(file = %path.display(), "the tokens were read again");
}

pub(crate) fn tokens_not_read(error: &TokenFileError) {
    tracing::error!(%error, "the tokens that were read before stay");
}

pub(crate) fn accept_failed(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
}

pub(crate) fn connection_ended(error: &hyper::Error) {
    tracing::debug!(%error, "a connection ended early");
}

pub(crate) fn drain_ended() {
    tracing::warn!("requests were still running when their time was over");
}

pub(crate) fn not_removed(path: &Path) {
    tracing::warn!(path = %path.display(), "could not be removed");
}

pub(crate) fn server_away(address: &str) {
    counter!("bailee_agent_server_away_total", "server" => address.to_owned()).increment(1);
    tracing::warn!(server = address, "the server does not answer: what is kept serves meanwhile");
}

pub(crate) fn cache_of_another(path: &std::path::Path) {
    tracing::warn!(
        path = %path.display(),
        "another agent has this cache: nothing is written, and leases are not gone on with; give each agent a path of its own"
    );
}

pub(crate) fn cache_not_written(path: &std::path::Path, error: &std::io::Error) {
    counter!("bailee_agent_cache_writes_failed_total").increment(1);
    tracing::warn!(path = %path.display(), %error, "the encrypted cache could not be written");
}

/// How a request to a server was served: `hit`, `stale`, or `asked`.
pub(crate) fn proxied(how: &'static str) {
    counter!("bailee_agent_proxied_total", "outcome" => how).increment(1);
}
