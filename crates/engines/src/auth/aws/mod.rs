//! Users and roles of AWS: a request to STS that only they could sign says who they are.
//!
//! The client signs `GetCallerIdentity` and gives us the signature; we send the request, to the STS of
//! our own configuration, and believe its answer alone. Stored are the configuration, the roles under
//! their names, and for some minutes marks of the signatures that let somebody in.

mod accounts;
mod answer;
mod arn;
mod client;
mod ec2;
mod headers;
mod identity;
mod login;
mod replay;
mod role;
mod signed;
mod upstream;
mod xml;

pub use role::{BINDINGS_MAX, ROLE_NAME_BYTES_MAX};

use crate::aws::Surroundings;
use bailee_sdk::{
    Engine, EngineKind, Error, Issuer, Login,
    Operation::{Delete, List, Read, Update},
    Path, Setup, View,
    engine::{Class, Renewal},
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::SystemTime};

/// Letters of what a client gave that an error repeats.
const REPEATED_MAX: usize = 128;
/// Roles of AWS whose path is kept in memory.
const KNOWN_ROLES_MAX: usize = 4096;

/// What an error repeats of what it is about.
fn short(text: &str) -> String {
    text.chars().take(REPEATED_MAX).collect()
}

/// The kind `aws` of auth methods.
pub fn kind(surroundings: &Surroundings) -> EngineKind {
    let surroundings = surroundings.clone();
    let make = move |setup: &Setup| {
        let (surroundings, issuer) = (surroundings.clone(), setup.issuer.clone());
        let aws = Aws { surroundings, issuer, roles: Mutex::default() };
        Ok(Arc::new(aws) as Arc<dyn Engine>)
    };
    EngineKind { name: "aws", class: Class::Auth, make: Arc::new(make) }
}

/// The auth method of users and roles of AWS.
pub struct Aws {
    surroundings: Surroundings,
    issuer: Arc<dyn Issuer>,
    /// The full ARN of roles by mount and unique id: neither ever changes. Each mount believes its own
    /// IAM alone.
    roles: Mutex<HashMap<(String, String), String>>,
}

impl Aws {
    fn known_role(&self, view: &View, unique_id: &str) -> Option<String> {
        let key = (view.prefix().to_owned(), unique_id.to_owned());
        self.roles.lock().get(&key).cloned()
    }

    fn know_role(&self, view: &View, unique_id: &str, arn: &str) {
        let mut roles = self.roles.lock();
        if roles.len() == KNOWN_ROLES_MAX {
            roles.clear();
        }
        roles.insert((view.prefix().to_owned(), unique_id.to_owned()), arn.to_owned());
    }

    fn config_paths(self: &Arc<Aws>) -> Vec<Path> {
        vec![
            Path::new("config/client")
                .on(Read, self, "Read how AWS is reached", client::read)
                .on(Update, self, "Set how AWS is reached", client::write)
                .on(Delete, self, "Forget how AWS is reached", client::delete)
                .exists(self, client::exists),
            Path::new("config/identity")
                .on(Read, self, "Read how identity knows callers", identity::read)
                .on(Update, self, "Set how identity knows callers", identity::write),
            Path::new("config/sts").on(
                List,
                self,
                "List the accounts that are looked at by a role of theirs",
                accounts::list,
            ),
            Path::new("config/sts/{account_id}")
                .on(Read, self, "Read the role by which an account is looked at", accounts::read)
                .on(Update, self, "Set the role by which an account is looked at", accounts::write)
                .on(Delete, self, "Forget the role of an account", accounts::delete)
                .exists(self, accounts::exists),
        ]
    }
}

#[async_trait::async_trait]
impl Engine for Aws {
    fn paths(self: Arc<Aws>) -> Vec<Path> {
        let mut paths = vec![
            Path::new("login").unauthenticated().on(
                Update,
                &self,
                "Log in with a signed request to STS",
                login::login,
            ),
            Path::new("role").on(List, &self, "List the names of roles", role::list),
            Path::new("roles").on(List, &self, "List the names of roles", role::list),
            Path::new("role/{role}")
                .ignores_case()
                .on(Read, &self, "Read a role", role::read)
                .on(Update, &self, "Create a role, or change one", role::write)
                .on(Delete, &self, "Remove a role", role::delete)
                .exists(&self, role::exists),
        ];
        paths.extend(self.config_paths());
        paths.extend(ec2::paths(&self));
        paths
    }

    async fn renew_login(&self, view: &View, renewal: &Renewal) -> Result<Option<Login>, Error> {
        login::renew(view, renewal).await.map(Some)
    }

    async fn tick(&self, view: &View, now: SystemTime) -> Result<(), Error> {
        replay::sweep(view, now).await
    }
}
