//! Credentials for AWS that exist only while they are needed: users of IAM with a key, and sessions of
//! STS.
//!
//! A user is announced by an intent before it is made, and the batch that answers with its key holds
//! its lease and its record in `users/`. So every user outside has an intent or a lease, whatever
//! fails in between.
//!
//! **Invariant:** what is undone or revoked is identified first: by the mark among its tags, by its
//! id, or by a key that was ours. A user of somebody else that has the same name is left alone.

#![expect(clippy::result_large_err, reason = "failures of a cloud are rare, and are told whole")]

mod automation;
mod cloud;
mod config_lease;
mod config_root;
mod creds;
mod orphans;
mod pace;
mod policy;
mod ready;
mod remove;
mod role;
mod role_paths;
mod root_policy;
mod rotate_root;
mod session;
mod static_role;
#[cfg(test)]
mod tests;
mod user;
mod user_name;

use crate::aws::Surroundings;
use bailee_sdk::{
    Engine, EngineKind, Error, Issuer, Lease, LeaseRenewal,
    Operation::{Delete, List, Read, Update},
    Path, Sensitive, Setup, Term, View,
    engine::Class,
};
use cloud::{Cloud, Clouds, Through};
use config_root::Root;
use remove::LeftKeys;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The kind `aws`.
pub fn kind(settings: &Surroundings) -> EngineKind {
    let settings = settings.clone();
    let make = move |setup: &Setup| {
        let (settings, issuer) = (settings.clone(), setup.issuer.clone());
        let engine = Aws { clouds: Clouds::default(), settings, issuer };
        Ok(Arc::new(engine) as Arc<dyn Engine>)
    };
    EngineKind { name: "aws", class: Class::Secret, make: Arc::new(make) }
}

/// The engine of all mounts of the kind.
struct Aws {
    settings: Surroundings,
    issuer: Arc<dyn Issuer>,
    clouds: Clouds,
}

/// What is made outside, told before it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
enum Intent {
    /// A user, with all that hangs on it.
    User {
        name: String,
        /// The mark among its tags.
        mark: String,
        /// When, in seconds since 1970.
        made: u64,
    },
    /// Another key of the user that the engine itself is.
    RootKey {
        user: String,
        /// Names can be used again, and keys of another account can be set meanwhile; ids are not.
        #[serde(default)]
        user_id: String,
        /// The keys it had before.
        known: Vec<String>,
    },
    /// Another key of a static role's user.
    StaticKey {
        role: String,
        user: String,
        #[serde(default)]
        user_id: String,
        /// The role of another account, through which the user is reached.
        #[serde(default)]
        through: Option<Through>,
        /// The keys it had before.
        known: Vec<String>,
    },
}

/// For storage alone: what is stored is sealed.
fn stored<S: Serializer>(secret: &Sensitive<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// The keys that the mount depends on, or gives out. The user whose rotation is undone may belong to
/// another static role by now.
async fn stored_keys(view: &View) -> Result<BTreeSet<String>, Error> {
    let root = Root::of(view).await?.unwrap_or_default();
    let statics = static_role::all(view, static_role::ROLES_MAX).await?;
    let mut keys: BTreeSet<String> =
        statics.iter().map(|role| role.access_key().to_owned()).collect();
    keys.insert(root.access_key);
    Ok(keys)
}

/// What a lease stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Given {
    /// A user with one key.
    User(user::MadeUser),
    /// A session of STS, which ends by itself and cannot be ended before.
    Session,
}

impl Given {
    fn of(lease: &Lease) -> Result<Given, Error> {
        serde_json::from_value(lease.data.clone()).map_err(Error::internal)
    }
}

#[async_trait::async_trait]
impl Engine for Aws {
    fn paths(self: Arc<Aws>) -> Vec<Path> {
        vec![
            Path::new("config/root")
                .on(Read, &self, "Read how AWS is reached", config_root::read)
                .on(Update, &self, "Set how AWS is reached", config_root::write),
            Path::new("config/rotate-root").on(
                Update,
                &self,
                "Replace the engine's own key",
                rotate_root::rotate,
            ),
            Path::new("config/lease")
                .on(Read, &self, "Read how long keys of users last", config_lease::read)
                .on(Update, &self, "Set how long keys of users last", config_lease::write),
            Path::new("roles").on(List, &self, "List the names of roles", role_paths::list),
            Path::new("roles/{name}")
                .on(Read, &self, "Read a role", role_paths::read)
                .on(Update, &self, "Create a role, or change one", role_paths::write)
                .on(Delete, &self, "Remove a role; what it gave out stays", role_paths::delete)
                .exists(&self, role_paths::exists),
            Path::new("creds/{name}")
                .on(Read, &self, "Make credentials of a role", creds::give)
                .on(Update, &self, "Make credentials of a role", creds::give),
            Path::new("sts/{name}")
                .on(Read, &self, "Make temporary credentials of a role", creds::give)
                .on(Update, &self, "Make temporary credentials of a role", creds::give),
            Path::new("static-roles").on(
                List,
                &self,
                "List the names of static roles",
                static_role::list,
            ),
            Path::new("static-roles/{name}")
                .on(Read, &self, "Read a static role", static_role::read)
                .on(Update, &self, "Create a static role, or change one", static_role::write)
                .on(Delete, &self, "Remove a static role and its key", static_role::delete)
                .exists(&self, static_role::exists),
            Path::new("static-creds/{name}").on(
                Read,
                &self,
                "Read the key of a static role",
                static_role::creds,
            ),
            Path::new("root-policy").on(
                Read,
                &self,
                "The permissions that the engine's own user needs",
                root_policy::read,
            ),
            Path::new("orphans")
                .sudo()
                .on(Read, &self, "Users of this mount that no lease knows", orphans::report)
                .on(
                    Update,
                    &self,
                    "Remove users of this mount that no lease knows",
                    orphans::remove,
                ),
        ]
    }

    async fn renew(
        &self,
        view: &View,
        lease: &Lease,
        renewal: &LeaseRenewal,
    ) -> Result<Term, Error> {
        match Given::of(lease)? {
            Given::Session => Err(Error::invalid("lease is not renewable")),
            Given::User(_) => {
                let term = config_lease::term(view).await?;
                let asked = renewal.increment;
                let ttl = if asked == Duration::ZERO { term.ttl } else { asked };
                Ok(Term { ttl, ..term })
            }
        }
    }

    async fn revoke(&self, view: &View, lease: &Lease) -> Result<(), Error> {
        match Given::of(lease)? {
            Given::Session => Ok(()),
            Given::User(user) => {
                let cloud = self.cloud(view).await?.unhurried();
                remove::made(&cloud, &user).await.map_err(|error| error.of_revocation())?;
                view.delete(&user::record_key(&user.mark));
                Ok(())
            }
        }
    }

    async fn roll_back(&self, view: &View, intent: &Value) -> Result<(), Error> {
        let intent = Intent::deserialize(intent).map_err(Error::internal)?;
        let outcome = match intent {
            Intent::User { name, mark, made } => {
                let cloud = self.cloud(view).await?.unhurried();
                remove::intended(&cloud, &name, &mark, made).await
            }
            Intent::RootKey { user, user_id, known } => {
                let root = Root::of(view).await?.unwrap_or_default();
                let cloud = Cloud::of_key(self, &root, view).await?;
                let left = LeftKeys { user: &user, user_id: &user_id, known: &known };
                remove::other_keys(&cloud, left, &stored_keys(view).await?).await
            }
            Intent::StaticKey { role: _, user, user_id, through, known } => {
                let cloud = self.cloud_through(view, through.as_ref()).await?;
                let left = LeftKeys { user: &user, user_id: &user_id, known: &known };
                remove::other_keys(&cloud, left, &stored_keys(view).await?).await
            }
        };
        outcome.map_err(|error| error.of_revocation())
    }

    async fn tick(&self, view: &View, _: SystemTime) -> Result<(), Error> {
        let rotated = rotate_root::tick(self, view).await;
        static_role::tick(self, view).await.and(rotated)
    }
}

impl Aws {
    /// AWS as the mount is configured to reach it.
    async fn cloud(&self, view: &View) -> Result<Arc<Cloud>, Error> {
        self.clouds.of(self, view).await
    }

    /// The same through a role of another account, if there is one.
    async fn cloud_through(
        &self,
        view: &View,
        through: Option<&Through>,
    ) -> Result<Arc<Cloud>, Error> {
        let cloud = self.cloud(view).await?;
        match through {
            Some(through) => cloud.through(self, through).map(Arc::new),
            None => Ok(cloud),
        }
    }
}
