//! `orphans`: users that carry this mount's mark and that no lease knows. There should be none; after
//! storage was restored from an old snapshot there may be some.

use super::{
    Aws,
    cloud::Failed,
    remove::{created, everything, mark_of, name},
    user::{found, record_key},
};
use bailee_cloud::query::Form;
use bailee_crypto::clock::to_millis;
use bailee_sdk::{
    Error, Reply, Request,
    intent::{GATE, ROLL_BACK_AFTER, Stored},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// Users that one scan looks at.
const USERS_MAX: usize = 5000;
/// Intents that are read at once.
const INTENTS_MAX: usize = 1000;

/// Where to look.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Scan {
    /// Only users below this path of IAM.
    #[serde(default)]
    path_prefix: Option<String>,
}

pub(super) async fn report(engine: Arc<Aws>, request: Request<Scan>) -> Result<Reply, Error> {
    let orphans = find(&engine, &request).await?;
    Ok(Reply::data(&json!({ "orphans": orphans, "removed": [] })))
}

pub(super) async fn remove(engine: Arc<Aws>, request: Request<Scan>) -> Result<Reply, Error> {
    let cloud = engine.cloud(&request.view).await?;
    let (mut removed, mut failures) = (Vec::new(), Vec::new());
    for orphan in find(&engine, &request).await? {
        match everything(&cloud, &orphan).await {
            Ok(()) => removed.push(orphan),
            Err(failed) => failures.push((orphan, failed.of_request().to_string())),
        }
    }
    let left: Vec<&String> = failures.iter().map(|(orphan, _)| orphan).collect();
    let reply = Reply::data(&json!({ "orphans": left, "removed": removed }));
    Ok(failures.iter().fold(reply, |reply, (orphan, why)| reply.warn(format!("{orphan}: {why}"))))
}

async fn find(engine: &Aws, request: &Request<Scan>) -> Result<Vec<String>, Error> {
    let cloud = engine.cloud(&request.view).await?;
    let failed = |cause| Failed { what: "Error listing IAM users", cause }.of_request();
    let prefix = request.input.path_prefix.as_deref().unwrap_or_default();
    let form = Form::new().with_given("PathPrefix", prefix);
    let users = cloud.list("ListUsers", "Users", &form).await.map_err(failed)?;
    if users.len() > USERS_MAX {
        return Err(Error::invalid(format!(
            "there are more than {USERS_MAX} users: give a path_prefix"
        )));
    }
    let announced = announced(request).await?;
    let now = to_millis(request.now) / 1000;
    let mut orphans = Vec::new();
    for user in &users {
        // A young one may belong to a request that is under way on its last step.
        if created(user) + ROLL_BACK_AFTER.as_secs() > now {
            continue;
        }
        let Some(known) = found(&cloud, name(user)).await.map_err(failed)? else { continue };
        let Some(mark) = mark_of(&known, &request.mount.uuid) else { continue };
        let recorded: Option<String> = request.view.get(&record_key(mark)).await?;
        if recorded.is_none() && !announced.contains(mark) {
            orphans.push(name(user).to_owned());
        }
    }
    Ok(orphans)
}

/// Marks of users that are still to be undone.
async fn announced(request: &Request<Scan>) -> Result<BTreeSet<String>, Error> {
    let mut marks = BTreeSet::new();
    let mut after = String::new();
    loop {
        let names = request.view.list(&format!("{GATE}/"), &after, INTENTS_MAX).await?;
        for name in &names {
            let stored: Option<Stored> = request.view.get(&format!("{GATE}/{name}")).await?;
            let mark = stored.and_then(|stored| match stored.body.get("mark") {
                Some(Value::String(mark)) => Some(mark.clone()),
                _ => None,
            });
            marks.extend(mark);
        }
        match names.last() {
            Some(last) if names.len() == INTENTS_MAX => after.clone_from(last),
            _ => return Ok(marks),
        }
    }
}
