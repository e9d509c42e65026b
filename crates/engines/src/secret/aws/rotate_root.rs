//! `config/rotate-root`: the engine's own key is replaced by a new one.
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
    request.view.lock(KEY).await;
    let stored = request.view.get_at::<Root>(KEY).await?;
    let Some((root, revision)) = stored.filter(|(root, _)| root.has_keys()) else {
        return Err(Error::invalid(
            "Cannot call config/rotate-root when either access_key or secret_key is empty",
        ));
    };
    if let Some(revision) = revision {
        request.view.expect(KEY, revision);
    }
    let cloud = engine.cloud(&request.view).await?;
    let user = own_name(&cloud).await?;
    if let Some(old) = &root.old_key {
        // One that an earlier rotation could not remove takes the new one's place.
        let removed = delete_key(&cloud, &old.user, &old.id).await;
        removed.map_err(|cause| Failed { what: "error deleting old key", cause }.of_request())?;
    }
    let listed = |cause| Failed { what: "error listing access keys", cause }.of_request();
    let known = key_ids(&cloud, &user).await.map_err(listed)?;
    let announced = Intent::RootKey { user: user.clone(), known: known.clone() };
    let now = engine.settings.clock.now();
    let declared = intent::declare(&request.view, &announced, now).await?;
    let keys = create_key(&cloud, &user, &known).await.map_err(Failed::of_request)?;
    if let Readiness::Unsure(why) = ready::wait(&cloud, &keys).await {
        // The intent removes the new key.
        return Err(Error::new(
            Code::Upstream,
            format!("the new key does not work yet ({why}): the old one stays; try again later"),
        ));
    }
    let old = OldKey { user, id: root.access_key.clone() };
    let id = keys.access_key_id.clone();
    let secret_key = keys.secret_access_key.clone();
    let root = Root { access_key: id.clone(), secret_key, old_key: Some(old), ..root };
    request.view.put(KEY, &root);
    declared.settle(&request.view);
    let view = request.view.fresh();
    let after = Box::pin(async move {
        let reply = Reply::data(&json!({ "access_key": id }));
        Ok(match clear_old(&engine, &view).await {
            Ok(()) => match view.commit().await {
                Ok(_) => reply,
                Err(_) => reply,
            },
            Err(error) => reply.warn(format!("the old key is not removed yet: {error}")),
        })
    });
    Ok(Body::After(after).into())
}

/// The name of the user that the engine is.
async fn own_name(cloud: &Cloud) -> Result<String, Error> {
    let answer = cloud.iam("GetUser", &Form::new()).await;
    let answer =
        answer.map_err(|cause| Failed { what: "error calling GetUser", cause }.of_request())?;
    match answer.value("UserName") {
        "" => Err(Error::invalid(
            "the engine's key is not that of an IAM user: only a user's key can be rotated",
        )),
        name => Ok(name.to_owned()),
    }
}

/// Removes the key that was replaced, if there is one, in the unit of `view`.
pub(super) async fn clear_old(engine: &Aws, view: &View) -> Result<(), Error> {
    let Some((root, revision)) = view.get_at::<Root>(KEY).await? else { return Ok(()) };
    let Some(old) = &root.old_key else { return Ok(()) };
    let cloud = engine.cloud(view).await?;
    let removed = delete_key(&cloud, &old.user, &old.id).await;
    removed.map_err(|cause| Failed { what: "error deleting old key", cause }.of_request())?;
    if let Some(revision) = revision {
        view.expect(KEY, revision);
    }
    view.put(KEY, &Root { old_key: None, ..root });
    Ok(())
}
