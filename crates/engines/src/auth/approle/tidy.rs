//! Clearing away secret ids that nobody can use any more.

use super::{
    AppRole, role,
    secret_id::{ALL, SecretId, accessors, prefix},
};
use bailee_sdk::{Body, Error, Reply, Request, View};
use futures_util::StreamExt;
use schemars::JsonSchema;
use serde::Deserialize;
use std::{sync::Arc, time::SystemTime};

/// Secret ids that one batch removes, with their accessors: some backends take no more than 128
/// writes at once.
const REMOVED_AT_ONCE: usize = 50;
/// Roles whose ids are read at once.
const ROLES_AT_ONCE: usize = 1000;

/// Nothing to say.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Start {}

pub(super) async fn start(_: Arc<AppRole>, request: Request<Start>) -> Result<Reply, Error> {
    let (view, now) = (request.view.fresh(), request.now);
    let work = Box::pin(async move {
        pass(&view, now).await?;
        Ok(Reply::empty())
    });
    Ok(Reply::from(Body::After(work)).as_accepted().warn(
        "Tidy operation successfully started. Any information from the operation will be printed \
         to the server's logs.",
    ))
}

/// Goes through the secret ids of all roles, of those too that are gone.
pub(super) async fn pass(view: &View, now: SystemTime) -> Result<(), Error> {
    let mut after = String::new();
    loop {
        let roles = view.list(ALL, &after, ROLES_AT_ONCE).await?;
        let Some(last) = roles.last() else { return Ok(()) };
        for role in &roles {
            remove(view, role.trim_end_matches('/'), Some(now)).await?;
        }
        last.clone_into(&mut after);
    }
}

/// Removes all secret ids of a role that is gone, by its own id.
pub(super) async fn clear(view: &View, role: &str) -> Result<(), Error> {
    remove(view, role, None).await
}

/// Removes the secret ids of a role that expired by `now`; all of them without a `now`, or if the
/// role is gone. Ids of roles are never used again, and no secret id gets more time: what is found
/// to be of no use stays so.
async fn remove(view: &View, id: &str, now: Option<SystemTime>) -> Result<(), Error> {
    let source = view.fresh();
    let mut entries = source.scan(&prefix(id));
    let mut is_there = None;
    let mut unit = view.fresh();
    let mut removed = 0;
    while let Some(entry) = entries.next().await {
        let (key, bytes) = entry?;
        let secret: SecretId = serde_json::from_slice(&bytes)
            .map_err(|_| Error::internal("a stored secret id does not parse"))?;
        let keeps = match (now, is_there) {
            (None, _) => false,
            (Some(now), Some(there)) => there && secret.is_alive(now),
            (Some(now), None) => {
                let role = role::find(view, &secret.role).await?;
                let there = role.is_some_and(|role| role.id == id);
                is_there = Some(there);
                there && secret.is_alive(now)
            }
        };
        if keeps {
            continue;
        }
        unit.delete(&key);
        accessors(&unit, id).delete(&secret.accessor).await?;
        removed += 1;
        if removed % REMOVED_AT_ONCE == 0 {
            unit.commit().await?;
            unit = view.fresh();
        }
    }
    unit.commit().await?;
    Ok(())
}
