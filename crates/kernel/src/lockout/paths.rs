//! `sys/locked-users`: who is locked out, and letting them in again.

use super::Lockout;
use crate::registry::{Mounted, Place, Registry};
use bailee_sdk::{Engine, Error, Operation, Path, Reply, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{fmt, sync::Arc};

/// Users of one mount that one answer shows.
const SHOWN_MAX: usize = 10_000;

/// Serves `sys/locked-users`.
pub(crate) struct LockoutPaths {
    lockout: Arc<Lockout>,
    registry: Arc<Registry>,
}

#[derive(Deserialize, JsonSchema)]
struct Shown {
    /// Only the users of the auth mount with this accessor.
    #[serde(default)]
    mount_accessor: String,
}

#[derive(Deserialize, JsonSchema)]
struct Unlock {
    /// Accessor of the auth mount.
    mount_accessor: String,
    /// The name under which it knows the user.
    alias_identifier: String,
}

impl Engine for LockoutPaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("locked-users").on(
                Operation::Read,
                &self,
                "Show the users that are locked out.",
                Self::show,
            ),
            Path::new("locked-users/{mount_accessor}/unlock/{alias_identifier...}")
                .sudo()
                .ignores_case()
                .on(
                    Operation::Update,
                    &self,
                    "Let a user who is locked out try again.",
                    Self::unlock,
                ),
        ]
    }
}

impl LockoutPaths {
    pub(crate) fn new(lockout: Arc<Lockout>, registry: Arc<Registry>) -> LockoutPaths {
        LockoutPaths { lockout, registry }
    }

    async fn show(self: Arc<Self>, request: Request<Shown>) -> Result<Reply, Error> {
        let places = self.registry.places();
        let wanted = &request.input.mount_accessor;
        let mut found = Vec::new();
        let mut total = 0;
        let below = |place: &&Arc<Place>| place.namespace.path.starts_with(&request.namespace.path);
        for place in places.iter().filter(below) {
            let mut mounts: Vec<Value> = Vec::new();
            let mut counts = 0;
            for mounted in auth_mounts(place) {
                let accessor = &mounted.entry.accessor;
                if !wanted.is_empty() && wanted != accessor {
                    continue;
                }
                let uuid = &mounted.entry.uuid;
                let names = self.lockout.locked(&place.namespace, uuid, SHOWN_MAX).await?;
                if !names.is_empty() {
                    counts += names.len();
                    mounts.push(json!({
                        "mount_accessor": accessor,
                        "counts": names.len(),
                        "alias_identifiers": names,
                    }));
                }
            }
            if counts > 0 {
                total += counts;
                found.push(json!({
                    "namespace_id": place.namespace.id,
                    "namespace_path": place.namespace.path,
                    "counts": counts,
                    "mount_accessors": mounts,
                }));
            }
        }
        Ok(Reply::data(&json!({ "by_namespace": found, "total": total })))
    }

    async fn unlock(self: Arc<Self>, request: Request<Unlock>) -> Result<Reply, Error> {
        let places = self.registry.places();
        let place = places.with_id(&request.namespace.id).ok_or_else(Error::not_found)?;
        let accessor = &request.input.mount_accessor;
        let mounted = auth_mounts(place).find(|mounted| mounted.entry.accessor == *accessor);
        let mounted = mounted.ok_or_else(|| {
            Error::invalid(format!("no auth mount has the accessor {accessor:?}: see sys/auth"))
        })?;
        let alias = request.input.alias_identifier.trim_end_matches('/');
        self.lockout.unlock(&request.view, &request.namespace, mounted, alias);
        Ok(Reply::empty())
    }
}

fn auth_mounts(place: &Place) -> impl Iterator<Item = &Arc<Mounted>> {
    place.mounts.values().filter(|mounted| place.has_auth(&mounted.entry.uuid))
}

impl fmt::Debug for LockoutPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockoutPaths(..)")
    }
}
