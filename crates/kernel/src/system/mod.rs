//! The paths below `sys/`.

mod about;
mod auth;
mod catalog;
mod ending;
mod exposition;
mod internal_ui;
mod keys;
mod mounts;
mod namespaces;
mod node;
mod openapi;
mod remount;
mod rotation;
mod tools;
mod tuning;
mod web;

pub(crate) use rotation::rotation_pass;

use crate::{
    lease::LeaseStore,
    policy::PolicyStore,
    registry::{Registry, Served},
    running::Running,
    state::Settings,
    token::TokenStore,
};
pub use about::{Host, LogLevel};
pub(crate) use about::{note_version, time};
use bailee_barrier::Barrier;
use bailee_sdk::{Engine, Nothing, Path};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};
pub(crate) use web::Web;
pub use web::{Cors, PageHeaders};

/// Serves the server's own paths. Policies and sync bring theirs themselves.
pub(crate) struct System {
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) policies: Arc<PolicyStore>,
    pub(crate) leases: Arc<LeaseStore>,
    pub(crate) tokens: Arc<TokenStore>,
    pub(crate) settings: Arc<Settings>,
    /// The other mounts that every namespace has, by path.
    pub(crate) builtin: Vec<(&'static str, Arc<Served>)>,
    /// Engines that bring more paths below `sys/`.
    pub(crate) more: Vec<Arc<dyn Engine>>,
    /// What browsers are told.
    pub(crate) web: Arc<Web>,
    /// Requests under way.
    pub(crate) running: Arc<Running>,
    /// Mounts that were moved since the server was unsealed.
    pub(crate) moves: remount::Moves,
    /// The OpenAPI document for those who have no token, once someone asked for it.
    pub(crate) public_document: OnceLock<Vec<u8>>,
}

impl Engine for System {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        let mut paths = self.own_paths();
        paths.extend(self.more.iter().flat_map(|engine| engine.clone().paths()));
        paths
    }
}

impl System {
    fn own_paths(self: &Arc<Self>) -> Vec<Path> {
        let mut paths = tuning::paths(self);
        paths.extend(mounts::paths(self));
        paths.extend(remount::paths(self));
        paths.extend(auth::paths(self));
        paths.extend(namespaces::paths(self));
        paths.extend(internal_ui::paths(self));
        paths.extend(openapi::paths(self));
        paths.extend(keys::paths(self));
        paths.extend(rotation::paths(self));
        paths.extend(node::paths(self));
        paths.extend(about::paths(self));
        paths.extend(tools::paths(self));
        paths.extend(catalog::paths(self));
        paths.extend(web::paths(self));
        paths
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("System(..)")
    }
}
