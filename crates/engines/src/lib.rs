//! The engines that are built in.
//!
//! **Invariant:** an engine knows neither tokens nor HTTP nor another engine: it has its paths and
//! the requests that come to them.

pub mod auth;
mod listing;
pub mod secret;
mod time;

use bailee_sdk::EngineKind;

/// Every kind that can be mounted.
pub fn all(aws: secret::aws::Settings) -> Vec<EngineKind> {
    vec![
        secret::kv::kind(),
        secret::kv::generic(),
        secret::aws::kind(aws),
        auth::approle::kind(),
        auth::userpass::kind(),
    ]
}
