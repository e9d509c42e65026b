//! The engines that are built in.
//!
//! **Invariant:** an engine knows neither tokens nor HTTP nor another engine: it has its paths and
//! the requests that come to them.

pub mod auth;
pub mod aws;
mod listing;
pub mod secret;
mod time;

use bailee_sdk::EngineKind;

/// Every kind that can be mounted; those that reach clouds do it with what surrounds them.
pub fn all(surroundings: &aws::Surroundings) -> Vec<EngineKind> {
    vec![
        secret::kv::kind(),
        secret::kv::generic(),
        secret::aws::kind(surroundings),
        auth::approle::kind(),
        auth::aws::kind(surroundings),
        auth::userpass::kind(),
    ]
}
