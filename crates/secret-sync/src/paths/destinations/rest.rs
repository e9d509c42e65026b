//! Pausing and resuming a destination, and delivering to it at once.

use super::{look_again, purging};
use crate::{
    board::{Key, Manner},
    paths::{AfterCommit, Named, Paths, associations},
};
use bailee_sdk::{Body, Error, Reply, Request, field::Flag};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// What is to be delivered at once.
#[derive(Deserialize, JsonSchema)]
pub(in crate::paths) struct SyncNow {
    /// Type of the destination.
    #[serde(rename = "type")]
    kind: String,
    /// Name of the destination.
    name: String,
    /// Path of the mount that holds the secret; all secrets of the destination where it is left out.
    mount: Option<String>,
    /// Path of the secret in its mount; given together with `mount`.
    secret_name: Option<String>,
    /// Whether changes that others made at the destination are undone whatever `drift` says.
    #[serde(default)]
    repair: Flag,
}

impl Paths {
    pub(in crate::paths) async fn pause_destination(
        self: Arc<Self>,
        request: Request<Named>,
    ) -> Result<Reply, Error> {
        self.rest(request, true).await
    }

    pub(in crate::paths) async fn resume_destination(
        self: Arc<Self>,
        request: Request<Named>,
    ) -> Result<Reply, Error> {
        self.rest(request, false).await
    }

    async fn rest(self: Arc<Self>, request: Request<Named>, paused: bool) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let Named { kind, name } = &request.input;
        let kind = self.kind(kind)?;
        let id = store.destination_id(kind.name, name);
        store.lock_destination(&id).await;
        let found = store.destination(kind.name, name).await?;
        let (mut destination, _) = found.ok_or_else(Error::not_found)?;
        if destination.is_purging() {
            return Err(purging());
        }
        if destination.paused != paused {
            destination.paused = paused;
            store.put_destination(&destination).await?;
        }
        let data = self.shown(&store, &request.namespace, kind, &destination);
        let (barrier, namespace) = (request.view.barrier().clone(), request.namespace.clone());
        let board = self.board().filter(|_| !paused);
        Ok(Body::After(Box::pin(async move {
            if let Some(board) = board {
                look_again(&board, &barrier, &namespace, &id, Manner::default()).await?;
            }
            Ok(Reply::data(&data))
        }))
        .into())
    }

    pub(in crate::paths) async fn sync_now(
        self: Arc<Self>,
        request: Request<SyncNow>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let SyncNow { kind, name, mount, secret_name, repair } = &request.input;
        let kind = self.kind(kind)?;
        let found = store.destination(kind.name, name).await?;
        let (destination, _) = found.ok_or_else(Error::not_found)?;
        if destination.is_purging() {
            return Err(purging());
        }
        let warnings = self.resting(&store, Some(&destination)).await?;
        let id = store.destination_id(kind.name, name);
        let manner = Manner { verify: true, hurry: true, repair: repair.0 };
        let (board, namespace) = (self.board(), request.namespace.clone());
        let barrier = request.view.barrier().clone();
        let reply = match (mount, secret_name) {
            (None, None) => Body::After(Box::pin(async move {
                let count = match &board {
                    Some(board) => look_again(board, &barrier, &namespace, &id, manner).await?,
                    None => 0,
                };
                Ok(Reply::data(&json!({ "associations": count })))
            })),
            (Some(mount), Some(secret)) => {
                let secret = associations::trimmed(secret);
                let found =
                    associations::found(&store, &request.mounts, &id, mount, secret).await?;
                let key = Key::new(&namespace, &id, &found.ok_or_else(Error::not_found)?);
                let (sync, wait) = (self.sync.clone(), self.sync.settings.set_wait);
                Body::After(Box::pin(async move {
                    if let Some(board) = &board {
                        board.look(key.clone(), manner);
                    }
                    let after = AfterCommit { board, keys: vec![key.clone()] };
                    after.first_outcome(wait).await;
                    associations::one(&sync, &barrier, &namespace, &key).await
                }))
            }
            (mount, _) => {
                let missing = if mount.is_some() { "secret_name" } else { "mount" };
                return Err(Error::invalid(format!(
                    "mount and secret_name name one secret together: {missing} is missing; leave \
                     out both for all secrets of the destination"
                )));
            }
        };
        Ok(warnings.into_iter().fold(reply.into(), Reply::warn))
    }
}
