//! `config/rotate-root`, and the same by itself: the engine's own key is replaced by a new one.
//!
//! The old key is removed only after the new one is stored and was seen to work.

use super::{
    Aws, Intent,
    cloud::{Cloud, Failed},
    config_root::{KEY, OldKey, Root},
    ready::{self, Readiness},
    user::{create_key, delete_key, key_ids},
};
use bailee_cloud::query::Form;
use bailee_sdk::{Body, Code, Error, Nothing, Reply, Request, View, intent};
use serde_json::json;
use std::sync::Arc;

pub(super) async fn rotate(engine: Arc<Aws>, request: Request<Nothing>) -> Result<Reply, Error> {
    let id = rotated(&engine, &request.view).await?;
    let view = request.view.fresh();
    let after = Box::pin(async move {
        let reply = Reply::data(&json!({ "access_key": id }));
        Ok(match cleared(&engine, &view).await {
            Ok(()) => reply,
            Err(error) => reply.warn(format!("the old key is not removed yet: {error}")),
        })
    });
    Ok(Body::After(after).into())
}

/// Replaces the key when its time has come, in units of its own, and removes one that was replaced.
pub(super) async fn tick(engine: &Aws, view: &View) -> Result<(), Error> {
    let before = cleared(engine, &view.ahead()).await;
    match rotate_due(engine, view).await {
        Ok(true) => cleared(engine, &view.ahead()).await,
        outcome => outcome.and(before),
    }
}

/// Whether the key was replaced. What went wrong is kept, for those who look, and tried again.
async fn rotate_due(engine: &Aws, view: &View) -> Result<bool, Error> {
    let clock = &engine.settings.clock;
    let unit = view.ahead();
    unit.lock(KEY).await;
    let Some(mut root) = Root::of(&unit).await? else { return Ok(false) };
    let before = root.automation.clone();
    if !root.automation.is_due(clock.now())? {
        if root.automation != before {
            unit.put(KEY, &root);
            unit.commit().await?;
        }
        return Ok(false);
    }
    let outcome = match rotated(engine, &unit).await {
        Ok(_) => unit.commit().await.map(drop).map_err(Error::from),
        Err(error) => Err(error),
    };
    drop(unit);
    let Err(error) = outcome else { return Ok(true) };
    let note = view.ahead();
    note.lock(KEY).await;
    if let Some(mut root) = Root::of(&note).await?.filter(|root| root.automation.is_on()) {
        root.automation.failed(&error, clock.now());
        note.put(KEY, &root);
        note.commit().await?;
    }
    Err(error)
}

/// Makes another key and stores it, with the unit of `view`, under an intent that the unit removes.
/// Tells the new one's id.
async fn rotated(engine: &Aws, view: &View) -> Result<String, Error> {
    view.lock(KEY).await;
    let stored = view.get_at::<Root>(KEY).await?;
    let Some((root, revision)) = stored.filter(|(root, _)| root.has_keys()) else {
        return Err(Error::invalid(
            "Cannot call config/rotate-root when either access_key or secret_key is empty",
        ));
    };
    if let Some(revision) = revision {
        view.expect(KEY, revision);
    }
    let cloud = Cloud::of_key(engine, &root, view).await?;
    let Own { name: user, id: user_id } = own(&cloud).await?;
    if let Some(old) = &root.old_key {
        // One that an earlier rotation could not remove takes the new one's place.
        let removed = delete_key(&cloud, &old.user, &old.id).await;
        removed.map_err(|cause| Failed { what: "error deleting old key", cause }.of_request())?;
    }
    let listed = |cause| Failed { what: "error listing access keys", cause }.of_request();
    let known = key_ids(&cloud, &user).await.map_err(listed)?;
    let announced = Intent::RootKey { user: user.clone(), user_id, known: known.clone() };
    let now = engine.settings.clock.now();
    let declared = intent::declare(view, &announced, now).await?;
    let keys = create_key(&cloud, &user, &known).await.map_err(Failed::of_request)?;
    if let Readiness::Unsure(why) = ready::proven(&cloud, &keys).await {
        // The intent removes the new key.
        return Err(Error::new(
            Code::Upstream,
            format!("the new key does not work yet ({why}): the old one stays; try again later"),
        ));
    }
    let old = OldKey { user, id: root.access_key.clone() };
    let id = keys.access_key_id.clone();
    let secret_key = keys.secret_access_key.clone();
    let mut root = Root { access_key: id.clone(), secret_key, old_key: Some(old), ..root };
    root.automation.done(engine.settings.clock.now())?;
    view.put(KEY, &root);
    declared.settle(view);
    Ok(id)
}

/// The user that the engine is.
struct Own {
    name: String,
    id: String,
}

async fn own(cloud: &Cloud) -> Result<Own, Error> {
    let answer = cloud.iam("GetUser", &Form::new()).await;
    let answer =
        answer.map_err(|cause| Failed { what: "error calling GetUser", cause }.of_request())?;
    match answer.value("UserName") {
        "" => Err(Error::invalid(
            "the engine's key is not that of an IAM user: only a user's key can be rotated",
        )),
        name => Ok(Own { name: name.to_owned(), id: answer.value("UserId").to_owned() }),
    }
}

/// Removes the key that was replaced, if there is one, with the unit of `view`, which lands here.
async fn cleared(engine: &Aws, view: &View) -> Result<(), Error> {
    view.lock(KEY).await;
    let Some((root, revision)) = view.get_at::<Root>(KEY).await? else { return Ok(()) };
    let Some(old) = &root.old_key else { return Ok(()) };
    let cloud = Cloud::of_key(engine, &root, view).await?;
    let removed = delete_key(&cloud, &old.user, &old.id).await;
    removed.map_err(|cause| Failed { what: "error deleting old key", cause }.of_request())?;
    if let Some(revision) = revision {
        view.expect(KEY, revision);
    }
    view.put(KEY, &Root { old_key: None, ..root });
    view.commit().await?;
    Ok(())
}
