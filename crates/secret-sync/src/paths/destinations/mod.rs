//! `sys/sync/destinations`: where secrets go.
//!
//! `write` takes what users give, by the connection details that the kind declares (`details`) and
//! the policies that all kinds have (`policy`); `show` shows it, `delete` ends it, `check` tries it,
//! `rest` pauses and resumes it.

mod check;
mod delete;
mod details;
pub(super) mod given;
pub(super) mod network;
pub(super) mod policy;
mod rest;
mod show;
mod write;

pub(super) use details::{MASK, is_mask};
pub(super) use show::last_drift_check;

use super::{Paths, unsupported_path};
use crate::{
    board::{Board, Key, Manner},
    registry::DestinationKind,
    store::Store,
};
use bailee_barrier::Barrier;
use bailee_sdk::{Error, Namespace, field::Flag};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
pub(super) use write::{WriteDestination, changed};

/// A type of destinations.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OfType {
    /// Type of the destinations.
    #[serde(rename = "type")]
    kind: String,
}

/// A deletion.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteDestination {
    /// Type of the destination.
    #[serde(rename = "type")]
    kind: String,
    /// Name of the destination.
    name: String,
    /// Whether its secrets are removed with it.
    #[serde(default)]
    purge: Flag,
    /// Whether it goes although secrets of it cannot be removed; those are left behind.
    #[serde(default)]
    force_delete: Flag,
}

impl Paths {
    pub(super) fn kind(&self, name: &str) -> Result<&DestinationKind, Error> {
        self.sync.registry.kind(name).ok_or_else(unsupported_path)
    }
}

/// Writes are refused while a destination is being deleted.
pub(super) fn purging() -> Error {
    Error::invalid("purge in progress: the destination is being deleted with its associations")
}

/// A changed destination may take what it refused before. How many associations it has.
async fn look_again(
    board: &Board,
    barrier: &Arc<Barrier>,
    namespace: &Arc<Namespace>,
    id: &str,
    manner: Manner,
) -> Result<usize, Error> {
    let store = Store::open(barrier, namespace);
    let secrets = store.association_secrets(id).await?;
    for secret in &secrets {
        board.look(Key::new(namespace, id, secret), manner);
    }
    Ok(secrets.len())
}
