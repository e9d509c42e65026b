//! Roles for machines: a role id says who, a secret id proves it.
//!
//! Stored are, under the role's name, the role with a random id of its own; under a code of the
//! role id, the role's name; and for each secret id, under the role's own id and a code of the
//! secret, what is known of it, never the secret itself. Accessors are names in a tree of the role.
//! What belongs to a role that is gone can so be reached by nobody, also by no later role of that
//! name; tidying clears it away.

mod fields;
mod login;
mod role;
mod secret_id;
mod secret_id_paths;
mod tidy;

use bailee_sdk::{
    Engine, EngineKind, Error, Login,
    Operation::{Delete, List, Read, Update},
    Path, Setup, View,
    engine::{Class, Renewal},
};
use std::{sync::Arc, time::SystemTime};

/// Longest name of a role, in bytes.
pub const ROLE_NAME_BYTES_MAX: usize = 512;
/// Longest role id, in bytes.
pub const ROLE_ID_BYTES_MAX: usize = 1024;
/// Longest secret id, in bytes.
pub const SECRET_ID_BYTES_MAX: usize = 4096;
/// Largest metadata of a secret id, in bytes.
pub const METADATA_BYTES_MAX: usize = 64 << 10;

/// The kind `approle`.
pub fn kind() -> EngineKind {
    EngineKind { name: "approle", class: Class::Auth, make: Arc::new(make) }
}

/// The auth method of roles and secret ids.
#[derive(Debug)]
pub struct AppRole;

fn make(_: &Setup) -> Result<Arc<dyn Engine>, Error> {
    Ok(Arc::new(AppRole))
}

#[async_trait::async_trait]
impl Engine for AppRole {
    fn paths(self: Arc<AppRole>) -> Vec<Path> {
        let mut paths = vec![
            Path::new("login")
                .unauthenticated()
                .login_alias(|input| Some(input.get("role_id")?.as_str()?.to_owned()))
                .on(Update, &self, "Log in with a role id and a secret id", login::login),
            Path::new("role").on(List, &self, "List the names of roles", role::list),
            Path::new("role/{role_name}")
                .on(Read, &self, "Read a role", role::read)
                .on(Update, &self, "Create a role, or change one", role::write)
                .on(Delete, &self, "Remove a role and its secret ids", role::delete)
                .exists(&self, role::exists),
            Path::new("role/{role_name}/role-id")
                .on(Read, &self, "Read the role id", role::read_role_id)
                .on(Update, &self, "Set the role id", role::write_role_id),
        ];
        paths.extend(fields::paths(&self));
        paths.extend(secret_id_paths::paths(&self));
        let mut paths: Vec<Path> = paths.into_iter().map(Path::ignores_case).collect();
        paths.push(Path::new("tidy/secret-id").on(
            Update,
            &self,
            "Clear away secret ids that expired or whose role is gone",
            tidy::start,
        ));
        paths
    }

    async fn renew_login(&self, view: &View, renewal: &Renewal) -> Result<Option<Login>, Error> {
        login::renew(view, renewal).await.map(Some)
    }

    async fn tick(&self, view: &View, now: SystemTime) -> Result<(), Error> {
        tidy::pass(view, now).await
    }
}
