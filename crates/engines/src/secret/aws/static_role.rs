//! `static-roles/` and `static-creds/`: a key of a user that exists already, replaced at intervals.
//!
//! A user has at most two keys: before the second is full the oldest goes, so that the key given out
//! last works until the one after the next.

use super::{
    Aws, Intent,
    automation::FAILURE_CHARS_MAX,
    cloud::{Cloud, Failed, Through},
    config_root::Root,
    ready::{self, Readiness},
    role, stored,
    user::{create_key, delete_key, found, key_ids},
    user_name,
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
pub(super) const ROLES_MAX: usize = 10_000;

/// A static role, as stored.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StaticRole {
    user: String,
    user_id: String,
    #[serde(default)]
    user_arn: String,
    period_secs: u64,
    /// The role of another account, through which the user is reached.
    #[serde(default)]
    through: Option<Through>,
    access_key: String,
    #[serde(serialize_with = "stored")]
    secret_key: Sensitive<String>,
    /// When the key is replaced next, in seconds since 1970.
    due: u64,
    /// Why the key could not be replaced when it was due; empty when it could.
    #[serde(default)]
    failure: String,
}

impl StaticRole {
    pub(super) async fn of(view: &View, name: &str) -> Result<Option<StaticRole>, Error> {
        Ok(view.names(TREE).get(name).await?)
    }

    pub(super) fn access_key(&self) -> &str {
        &self.access_key
    }

    pub(super) fn user_arn(&self) -> &str {
        &self.user_arn
    }

    pub(super) fn through(&self) -> Option<&Through> {
        self.through.as_ref()
    }

    fn shown(&self, name: &str) -> Value {
        let through = self.through.clone().unwrap_or_default();
        let mut shown = json!({
            "name": name,
            "id": self.user_id,
            "username": self.user,
            "rotation_period": self.period_secs,
            "assume_role_arn": through.role_arn,
            "assume_role_session_name": through.session_name,
            "external_id": through.external_id,
        });
        if let (false, Some(shown)) = (self.failure.is_empty(), shown.as_object_mut()) {
            shown.insert("rotation_error".to_owned(), self.failure.as_str().into());
        }
        shown
    }
}

/// The static roles of a mount, `most` at most.
pub(super) async fn all(view: &View, most: usize) -> Result<Vec<StaticRole>, Error> {
    let mut roles = Vec::new();
    for name in view.names(TREE).list("", "", most).await? {
        roles.extend(StaticRole::of(view, &name).await?);
    }
    Ok(roles)
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
    let cloud = engine.cloud_through(&request.view, role.through()).await?;
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
    /// A role that is taken on to manage the user: one of another account.
    assume_role_arn: Option<String>,
    /// The name of its sessions in that account's logs; `bailee-static-role` unless said otherwise.
    assume_role_session_name: Option<String>,
    /// Sent when that role is taken on.
    external_id: Option<String>,
}

/// The role through which the user is reached: as it was, with what is given. Without an ARN there is
/// none.
fn through(known: Option<&Through>, input: &Write) -> Result<Option<Through>, Error> {
    const SESSION_NAME: &str = "bailee-static-role";
    let mut through = known.cloned().unwrap_or_default();
    let fields = [
        (&mut through.role_arn, &input.assume_role_arn),
        (&mut through.session_name, &input.assume_role_session_name),
        (&mut through.external_id, &input.external_id),
    ];
    for (stored, given) in fields {
        if let Some(given) = given {
            given.trim().clone_into(stored);
        }
    }
    let Through { role_arn, session_name, external_id } = &mut through;
    if role_arn.is_empty() {
        let given = [&input.assume_role_session_name, &input.external_id];
        if given.into_iter().flatten().any(|text| !text.is_empty()) {
            return Err(Error::invalid(
                "assume_role_session_name and external_id go with assume_role_arn",
            ));
        }
        return Ok(None);
    }
    if session_name.is_empty() {
        SESSION_NAME.clone_into(session_name);
    }
    let mut wrong = Vec::new();
    role::check_arn("assume_role_arn", role_arn, &mut wrong);
    if !user_name::is_session_name(session_name) {
        wrong.push(user_name::session_name_refusal("assume_role_session_name"));
    }
    if !external_id.is_empty() && !role::is_external_id(external_id) {
        wrong.push(role::EXTERNAL_ID_REFUSAL.to_owned());
    }
    match wrong.into_iter().next() {
        Some(wrong) => Err(Error::invalid(wrong)),
        None => Ok(Some(through)),
    }
}

pub(super) async fn write(engine: Arc<Aws>, request: Request<Write>) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    let period = input.rotation_period.map(|period| period.0);
    if period.is_some_and(|period| period < PERIOD_MIN) {
        return Err(Error::invalid("rotation_period must be >= 60 seconds"));
    }
    let view = &request.view;
    view.lock(&lock_key(view, &input.name)).await;
    let given = input.username.clone().filter(|user| !user.is_empty());
    let role = match StaticRole::of(view, &input.name).await? {
        Some(known) => {
            if given.is_some_and(|user| user != known.user) {
                return Err(Error::invalid("the username of a static role cannot be changed"));
            }
            let through = through(known.through(), &input)?;
            let period_secs = period.map_or(known.period_secs, |period| period.as_secs());
            let due = known.due.saturating_sub(known.period_secs).saturating_add(period_secs);
            let changed = through != known.through;
            let role = StaticRole { period_secs, due, through, ..known };
            if changed {
                // The user must be the same one on the new way too.
                let cloud = engine.cloud_through(view, role.through()).await?;
                same_user(&cloud, &role).await?;
            }
            role
        }
        None => {
            let missing = |field| Error::invalid(format!("missing {field}"));
            let user = given.ok_or_else(|| missing("username"))?;
            let period = period.ok_or_else(|| missing("rotation_period"))?;
            let mut role = StaticRole {
                user,
                user_id: String::new(),
                user_arn: String::new(),
                period_secs: period.as_secs(),
                through: through(None, &input)?,
                access_key: String::new(),
                secret_key: Sensitive::default(),
                due: 0,
                failure: String::new(),
            };
            let cloud = engine.cloud_through(view, role.through()).await?;
            (role.user_id, role.user_arn) = same_user(&cloud, &role).await?;
            claim(view, &input.name, &role).await?;
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
async fn claim(view: &View, name: &str, role: &StaticRole) -> Result<(), Error> {
    let user = &role.user;
    view.lock("static-users").await;
    for other in view.names(TREE).list("", "", ROLES_MAX).await? {
        let taken = StaticRole::of(view, &other).await?;
        if other != name && taken.is_some_and(|taken| taken.user_id == role.user_id) {
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
    let cloud = engine.cloud_through(view, role.through()).await?;
    let (user_id, user_arn) = same_user(&cloud, &role).await?;
    let failed = |cause| Failed { what: "error listing access keys", cause }.of_request();
    let mut known = key_ids(&cloud, &role.user).await.map_err(failed)?;
    let root = Root::of(view).await?.unwrap_or_default();
    if root.has_keys() && known.contains(&root.access_key) {
        return Err(Error::invalid(format!(
            "the user {:?} is the engine's own: its key is replaced by config/rotate-root, or by \
             itself with rotation_period in config/root",
            role.user
        )));
    }
    if known.len() >= 2 {
        // IAM lists the oldest first; ours stays for those who have it.
        let place = known.iter().position(|id| *id != role.access_key).unwrap_or_default();
        let oldest = known.remove(place);
        let removed = delete_key(&cloud, &role.user, &oldest).await;
        removed
            .map_err(|cause| Failed { what: "error deleting access key", cause }.of_request())?;
    }
    let announced = Intent::StaticKey {
        role: name.to_owned(),
        user: role.user.clone(),
        user_id: user_id.clone(),
        through: role.through.clone(),
        known: known.clone(),
    };
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
        user_arn,
        access_key: keys.access_key_id,
        secret_key: keys.secret_access_key,
        due,
        failure: String::new(),
        ..role
    })
}

/// Id and ARN of the role's user: a name may be somebody else's by now.
async fn same_user(cloud: &Cloud, role: &StaticRole) -> Result<(String, String), Error> {
    let known = found(cloud, &role.user).await;
    let known = known.map_err(|cause| Failed { what: "error reading user", cause }.of_request())?;
    let missing = || Error::invalid(format!("the user {:?} does not exist", role.user));
    let known = known.ok_or_else(missing)?;
    let id = known.value("UserId").to_owned();
    if !role.user_id.is_empty() && role.user_id != id {
        return Err(Error::invalid(format!(
            "the user {:?} is not the one that it was: delete the static role and make it anew",
            role.user
        )));
    }
    Ok((id, known.value("Arn").to_owned()))
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
    // Of a rotation that fails nothing is kept but why.
    let attempt = unit.ahead();
    let outcome = match rotated(engine, &attempt, name, role.clone()).await {
        Ok(role) => {
            attempt.names(TREE).put(name, &role).await?;
            attempt.commit().await.map(drop).map_err(Error::from)
        }
        Err(error) => Err(error),
    };
    let Err(error) = outcome else { return Ok(()) };
    let failure: String = error.to_string().chars().take(FAILURE_CHARS_MAX).collect();
    if failure != role.failure {
        unit.names(TREE).put(name, &StaticRole { failure, ..role }).await?;
        unit.commit().await?;
    }
    Err(error)
}
