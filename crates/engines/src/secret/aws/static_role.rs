//! `static-roles/` and `static-creds/`: a key of a user that exists already, replaced at intervals.
//!
//! A user has at most two keys: before the second is full the oldest goes, so that the key given out
//! last works until the one after the next.

use super::{
    Aws, Intent,
    cloud::{Cloud, Failed},
    ready::{self, Readiness},
    stored,
    user::{create_key, delete_key, found, key_ids},
};
use crate::listing::ListNames;
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Code, Error, Reply, Request, Sensitive, View, field::Ttl, intent};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const TREE: &str = "static-role";
/// The shortest interval.
const PERIOD_MIN: Duration = Duration::from_secs(60);
/// Static roles of a mount.
const ROLES_MAX: usize = 10_000;

/// A static role, as stored.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StaticRole {
    user: String,
    user_id: String,
    period_secs: u64,
    access_key: String,
    #[serde(serialize_with = "stored")]
    secret_key: Sensitive<String>,
    /// When the key is replaced next, in seconds since 1970.
    due: u64,
}

impl StaticRole {
    pub(super) async fn of(view: &View, name: &str) -> Result<Option<StaticRole>, Error> {
        Ok(view.names(TREE).get(name).await?)
    }

    pub(super) fn access_key(&self) -> &str {
        &self.access_key
    }

    fn shown(&self, name: &str) -> Value {
        json!({
            "name": name,
            "id": self.user_id,
            "username": self.user,
            "rotation_period": self.period_secs,
            "assume_role_arn": "",
            "assume_role_session_name": "",
            "external_id": "",
        })
    }
}

/// Names the role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Named {
    /// Name of the static role.
    name: String,
}

pub(super) async fn list(_: Arc<Aws>, request: Request<ListNames>) -> Result<Reply, Error> {
    request.input.of(&request.view.names(TREE)).await
}

pub(super) async fn exists(_: Arc<Aws>, request: Request<Named>) -> Result<bool, Error> {
    Ok(StaticRole::of(&request.view, &request.input.name).await?.is_some())
}

pub(super) async fn read(_: Arc<Aws>, request: Request<Named>) -> Result<Reply, Error> {
    let name = &request.input.name;
    let role = StaticRole::of(&request.view, name).await?.ok_or_else(Error::not_found)?;
    Ok(Reply::data(&role.shown(name)))
}

/// The key itself.
pub(super) async fn creds(_: Arc<Aws>, request: Request<Named>) -> Result<Reply, Error> {
    let role = StaticRole::of(&request.view, &request.input.name).await?;
    let role = role.ok_or_else(Error::not_found)?;
    let expiration = i64::try_from(role.due).ok().and_then(|due| Timestamp::from_second(due).ok());
    Ok(Reply::data(&json!({
        "access_key": role.access_key,
        "secret_key": role.secret_key.expose(),
        "expiration": expiration.map(|at| at.to_string()),
    })))
}

/// Removes the role, and its key.
pub(super) async fn delete(engine: Arc<Aws>, request: Request<Named>) -> Result<Reply, Error> {
    let name = &request.input.name;
    request.view.lock(&lock_key(&request.view, name)).await;
    let Some(role) = StaticRole::of(&request.view, name).await? else { return Ok(Reply::empty()) };
    let cloud = engine.cloud(&request.view).await?;
    let removed = delete_key(&cloud, &role.user, &role.access_key).await;
    removed.map_err(|cause| Failed { what: "error deleting access key", cause }.of_request())?;
    request.view.names(TREE).delete(name).await?;
    Ok(Reply::empty())
}

/// A user, and how often its key is replaced.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Name of the static role.
    name: String,
    /// The user of IAM. It stays the one it was.
    username: Option<String>,
    /// How often the key is replaced: 60 seconds or more.
    rotation_period: Option<Ttl>,
    /// Not supported: the user must be of the engine's own account.
    assume_role_arn: Option<String>,
    /// Without meaning as long as `assume_role_arn` is not supported.
    #[serde(rename = "assume_role_session_name")]
    _assume_role_session_name: Option<String>,
    /// Without meaning as long as `assume_role_arn` is not supported.
    #[serde(rename = "external_id")]
    _external_id: Option<String>,
}

pub(super) async fn write(engine: Arc<Aws>, request: Request<Write>) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    if input.assume_role_arn.as_deref().is_some_and(|arn| !arn.is_empty()) {
        return Err(Error::invalid(
            "assume_role_arn is not supported: mount another engine with credentials of the other \
             account",
        ));
    }
    let period = input.rotation_period.map(|period| period.0);
    if period.is_some_and(|period| period < PERIOD_MIN) {
        return Err(Error::invalid("rotation_period must be >= 60 seconds"));
    }
    let view = &request.view;
    view.lock(&lock_key(view, &input.name)).await;
    let given = input.username.filter(|user| !user.is_empty());
    let role = match StaticRole::of(view, &input.name).await? {
        Some(known) => {
            if given.is_some_and(|user| user != known.user) {
                return Err(Error::invalid("the username of a static role cannot be changed"));
            }
            let period_secs = period.map_or(known.period_secs, |period| period.as_secs());
            let due = known.due - known.period_secs + period_secs;
            StaticRole { period_secs, due, ..known }
        }
        None => {
            let missing = |field| Error::invalid(format!("missing {field}"));
            let user = given.ok_or_else(|| missing("username"))?;
            let period = period.ok_or_else(|| missing("rotation_period"))?;
            claim(view, &input.name, &user).await?;
            let role = StaticRole {
                user,
                user_id: String::new(),
                period_secs: period.as_secs(),
                access_key: String::new(),
                secret_key: Sensitive::default(),
                due: 0,
            };
            rotated(&engine, view, &input.name, role).await?
        }
    };
    view.names(TREE).put(&input.name, &role).await?;
    Ok(Reply::data(&role.shown(&input.name)))
}

fn lock_key(view: &View, name: &str) -> String {
    format!("{TREE}/{}", view.names(TREE).id(name))
}

/// Two roles that replace the keys of one user would take them from each other.
async fn claim(view: &View, name: &str, user: &str) -> Result<(), Error> {
    view.lock("static-users").await;
    for other in view.names(TREE).list("", "", ROLES_MAX).await? {
        let taken = StaticRole::of(view, &other).await?;
        if other != name && taken.is_some_and(|taken| taken.user.eq_ignore_ascii_case(user)) {
            return Err(Error::invalid(format!(
                "the user {user:?} belongs to the static role {other:?} already"
            )));
        }
    }
    Ok(())
}

/// The role with a new key, made under an intent that the unit of `view` removes.
async fn rotated(
    engine: &Aws,
    view: &View,
    name: &str,
    role: StaticRole,
) -> Result<StaticRole, Error> {
    let cloud = engine.cloud(view).await?;
    let user_id = same_user(&cloud, &role).await?;
    let failed = |cause| Failed { what: "error listing access keys", cause }.of_request();
    let mut known = key_ids(&cloud, &role.user).await.map_err(failed)?;
    if known.len() >= 2 {
        // IAM lists the oldest first; ours stays for those who have it.
        let place = known.iter().position(|id| *id != role.access_key).unwrap_or_default();
        let oldest = known.remove(place);
        let removed = delete_key(&cloud, &role.user, &oldest).await;
        removed
            .map_err(|cause| Failed { what: "error deleting access key", cause }.of_request())?;
    }
    let announced =
        Intent::StaticKey { role: name.to_owned(), user: role.user.clone(), known: known.clone() };
    let now = engine.settings.clock.now();
    let declared = intent::declare(view, &announced, now).await?;
    let keys = create_key(&cloud, &role.user, &known).await.map_err(Failed::of_request)?;
    if let Readiness::Unsure(why) = ready::wait(&cloud, &keys).await {
        // The intent removes the new key.
        let text = format!("the new key does not work yet ({why}): try again later");
        return Err(Error::new(Code::Upstream, text));
    }
    declared.settle(view);
    let due = to_millis(engine.settings.clock.now()) / 1000 + role.period_secs;
    Ok(StaticRole {
        user_id,
        access_key: keys.access_key_id,
        secret_key: keys.secret_access_key,
        due,
        ..role
    })
}

/// The id of the role's user: a name may be somebody else's by now.
async fn same_user(cloud: &Cloud, role: &StaticRole) -> Result<String, Error> {
    let known = found(cloud, &role.user).await;
    let known = known.map_err(|cause| Failed { what: "error reading user", cause }.of_request())?;
    let missing = || Error::invalid(format!("the user {:?} does not exist", role.user));
    let id = known.ok_or_else(missing)?.value("UserId").to_owned();
    if !role.user_id.is_empty() && role.user_id != id {
        return Err(Error::invalid(format!(
            "the user {:?} is not the one that it was: delete the static role and make it anew",
            role.user
        )));
    }
    Ok(id)
}

/// Replaces the keys that are due, each in a unit of its own. One that fails is tried again with the
/// next turn, and holds up no other.
pub(super) async fn tick(engine: &Aws, view: &View) -> Result<(), Error> {
    let mut failure = None;
    for name in view.names(TREE).list("", "", ROLES_MAX).await? {
        if let Err(error) = rotate_due(engine, &view.ahead(), &name).await {
            failure = Some(error);
        }
    }
    failure.map_or(Ok(()), Err)
}

async fn rotate_due(engine: &Aws, unit: &View, name: &str) -> Result<(), Error> {
    unit.lock(&lock_key(unit, name)).await;
    let Some(role) = StaticRole::of(unit, name).await? else { return Ok(()) };
    if role.due > to_millis(engine.settings.clock.now()) / 1000 {
        return Ok(());
    }
    let role = rotated(engine, unit, name, role).await?;
    unit.names(TREE).put(name, &role).await?;
    unit.commit().await?;
    Ok(())
}
