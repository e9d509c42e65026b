//! Identity: who is behind a token, however they logged in.
//!
//! An entity is someone; its aliases are the names under which auth methods know it. Groups give
//! policies to entities and to other groups. `store.rs` tells how it is stored, `resolve.rs` what an
//! entity may, `login.rs` how a login finds its entity; the other files serve `identity/`.
//!
//! **Invariant:** what is known of an entity is forgotten by the commit that changes it, or one of
//! its groups, before that commit is answered.

mod alias;
mod cache;
mod entity;
mod group;
mod group_alias;
mod login;
mod lookup;
mod merge;
mod oidc;
mod record;
mod resolve;
mod show;
mod store;

pub(crate) use login::{LoggedIn, User};
pub use oidc::Workload;
pub(crate) use oidc::{MountIssuer, rotation_pass, sign_workload};
pub(crate) use record::check_metadata;
pub(crate) use resolve::Resolved;
pub(crate) use store::IdentityStore;

use crate::registry::Registry;
use bailee_sdk::{Engine, Error, Nothing, Operation, Path, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use show::Mounts;
use std::{fmt, sync::Arc};
use store::Place;

/// What `identity/` serves.
pub(crate) struct IdentityPaths {
    store: Arc<IdentityStore>,
    registry: Arc<Registry>,
    /// Address of this server for clients: whom tokens name as their issuer.
    api_addr: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct ById {
    /// Id of the entity, group or alias.
    id: String,
}

#[derive(Deserialize, JsonSchema)]
struct ByName {
    /// Name of the entity or group; case does not matter.
    name: String,
}

impl Engine for IdentityPaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        let mut paths = self.entity_paths();
        paths.extend(self.alias_paths());
        paths.extend(self.group_paths());
        paths.extend(self.group_alias_paths());
        paths.extend(self.lookup_paths());
        paths.extend(self.oidc_paths());
        paths.extend(self.mfa_paths());
        paths
    }
}

impl IdentityPaths {
    pub(crate) fn new(
        store: Arc<IdentityStore>,
        registry: Arc<Registry>,
        api_addr: Option<String>,
    ) -> IdentityPaths {
        IdentityPaths { store, registry, api_addr }
    }

    fn entity_paths(self: &Arc<Self>) -> Vec<Path> {
        let (create, by_name) = ("Create or change an entity.", "Create or change an entity.");
        vec![
            Path::new("entity").on(Operation::Update, self, create, Self::write_entity),
            Path::new("entity/batch-delete").on(
                Operation::Update,
                self,
                "Delete several entities.",
                Self::delete_entities,
            ),
            Path::new("entity/merge").sudo().on(
                Operation::Update,
                self,
                "Make entities part of another.",
                Self::merge,
            ),
            Path::new("entity/id").on(
                Operation::List,
                self,
                "List the entities by id.",
                Self::list_entities,
            ),
            Path::new("entity/id/{id}")
                .on(Operation::Read, self, "Read an entity.", Self::read_entity)
                .on(Operation::Update, self, "Change an entity.", Self::write_entity)
                .on(Operation::Delete, self, "Delete an entity.", Self::delete_entity),
            Path::new("entity/name").on(
                Operation::List,
                self,
                "List the entities by name.",
                Self::list_entity_names,
            ),
            Path::new("entity/name/{name...}")
                .ignores_case()
                .on(Operation::Read, self, "Read an entity.", Self::read_entity_named)
                .on(Operation::Update, self, by_name, Self::write_entity_named)
                .on(Operation::Delete, self, "Delete an entity.", Self::delete_entity_named),
        ]
    }

    fn alias_paths(self: &Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("entity-alias").on(
                Operation::Update,
                self,
                "Create or change an alias of an entity.",
                Self::write_alias,
            ),
            Path::new("entity-alias/id").on(
                Operation::List,
                self,
                "List the aliases of entities.",
                Self::list_aliases,
            ),
            Path::new("entity-alias/id/{id}")
                .on(Operation::Read, self, "Read an alias of an entity.", Self::read_alias)
                .on(Operation::Update, self, "Change an alias of an entity.", Self::write_alias)
                .on(Operation::Delete, self, "Delete an alias of an entity.", Self::delete_alias),
        ]
    }

    fn group_paths(self: &Arc<Self>) -> Vec<Path> {
        let write = "Create or change a group.";
        vec![
            Path::new("group").on(Operation::Update, self, write, Self::write_group),
            Path::new("group/id").on(
                Operation::List,
                self,
                "List the groups by id.",
                Self::list_groups,
            ),
            Path::new("group/id/{id}")
                .on(Operation::Read, self, "Read a group.", Self::read_group)
                .on(Operation::Update, self, "Change a group.", Self::write_group)
                .on(Operation::Delete, self, "Delete a group.", Self::delete_group),
            Path::new("group/name").on(
                Operation::List,
                self,
                "List the groups by name.",
                Self::list_group_names,
            ),
            Path::new("group/name/{name...}")
                .ignores_case()
                .on(Operation::Read, self, "Read a group.", Self::read_group_named)
                .on(Operation::Update, self, write, Self::write_group_named)
                .on(Operation::Delete, self, "Delete a group.", Self::delete_group_named),
        ]
    }

    fn group_alias_paths(self: &Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("group-alias").on(
                Operation::Update,
                self,
                "Create or change the alias of an external group.",
                Self::write_group_alias,
            ),
            Path::new("group-alias/id").on(
                Operation::List,
                self,
                "List the aliases of groups.",
                Self::list_group_aliases,
            ),
            Path::new("group-alias/id/{id}")
                .on(Operation::Read, self, "Read an alias of a group.", Self::read_group_alias)
                .on(Operation::Update, self, "Change an alias of a group.", Self::write_group_alias)
                .on(
                    Operation::Delete,
                    self,
                    "Delete an alias of a group.",
                    Self::delete_group_alias,
                ),
        ]
    }

    fn lookup_paths(self: &Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("lookup/entity").on(
                Operation::Update,
                self,
                "Find an entity by its id, name or alias.",
                Self::look_up_entity,
            ),
            Path::new("lookup/group").on(
                Operation::Update,
                self,
                "Find a group by its id, name or alias.",
                Self::look_up_group,
            ),
        ]
    }

    /// Logins ask for no second factor here: those who look for such find none.
    fn mfa_paths(self: &Arc<Self>) -> Vec<Path> {
        ["mfa/method", "mfa/method/{type}", "mfa/login-enforcement"]
            .map(|pattern| {
                let summary = "List second factors of logins: there are none.";
                Path::new(pattern).hidden().on(Operation::List, self, summary, Self::list_none)
            })
            .into()
    }

    async fn list_none(self: Arc<Self>, _: Request<Nothing>) -> Result<bailee_sdk::Reply, Error> {
        Err(Error::not_found())
    }

    /// The entities and groups of the request's namespace, in its unit of work.
    fn place<I>(&self, request: &Request<I>) -> Place {
        self.store.place(&request.view, &request.namespace)
    }

    fn mounts<I>(&self, request: &Request<I>) -> Mounts {
        Mounts::of(&self.registry, &request.namespace)
    }
}

impl fmt::Debug for IdentityPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityPaths(..)")
    }
}

/// A list with what is told of each; an empty one is not found.
fn listed(
    entries: impl Iterator<Item = (String, serde_json::Value)>,
) -> Result<bailee_sdk::Reply, Error> {
    let info: serde_json::Map<_, _> = entries.collect();
    if info.is_empty() {
        return Err(Error::not_found());
    }
    let keys: Vec<&String> = info.keys().collect();
    Ok(bailee_sdk::Reply::data(&serde_json::json!({ "keys": keys, "key_info": info })))
}

/// A list of names, sorted.
fn named(names: impl Iterator<Item = String>) -> Result<bailee_sdk::Reply, Error> {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    bailee_sdk::Reply::keys(&names)
}
