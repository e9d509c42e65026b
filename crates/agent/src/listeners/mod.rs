//! What applications talk to: HTTP on an address of this machine, or on a socket in the file system.
//!
//! `settings` says what there may be; `bind` opens sockets, `serve` accepts and bounds, `guard` and `tokens` say
//! who may speak. `secretsmanager` speaks as AWS's agent does, `vault` keeps a server's answers at hand,
//! `operations` shows how the agent fares.

mod answer;
mod bind;
mod document;
mod guard;
mod operations;
mod query;
mod secretsmanager;
mod serve;
pub mod settings;
mod stall;
#[cfg(test)]
mod tests;
mod tokens;
pub mod vault;

pub use bind::{BindError, Listeners};
pub use operations::Metrics;
pub use settings::Settings;
pub use tokens::TokenFileError;

use crate::{connection::Connection, store::Store};
use std::{collections::BTreeMap, sync::Arc};

/// What listeners hand out, and what they need for it.
#[derive(Clone)]
pub struct Surroundings {
    /// The secrets.
    pub store: Arc<Store>,
    /// The connections, by name.
    pub connections: Arc<BTreeMap<String, Connection>>,
    /// Makes the page of metrics; without it `/metrics` is not there.
    pub metrics: Option<Metrics>,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Surroundings(..)")
    }
}
