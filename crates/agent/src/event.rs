//! What happens, as log lines and metrics. Ids are told, values never.

use crate::{
    failure::{Cause, Failure},
    store::Place,
};
use metrics::counter;

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
        Served::Kept => "kept",
        Served::Stale => "stale",
        Served::Failed(cause) => cause.as_str(),
    };
    let manager = place.name.to_string();
    counter!("bailee_agent_served_total", "manager" => manager, "outcome" => outcome).increment(1);
}

pub(crate) fn fetched(place: &Place) {
    counter!("bailee_agent_fetched_total", "manager" => place.name.to_string()).increment(1);
}

pub(crate) fn failed(place: &Place, id: &str, failure: &Failure) {
    let (manager, cause) = (place.name.to_string(), failure.cause.as_str());
    counter!("bailee_agent_failures_total", "manager" => manager, "cause" => cause).increment(1);
    tracing::warn!(manager = %place.name, secret = id, cause, %failure, "a secret could not be fetched");
}

pub(crate) fn lease_not_given_back(place: &Place, failure: &Failure) {
    tracing::warn!(manager = %place.name, %failure, "a lease could not be given back; it ends by itself");
}
