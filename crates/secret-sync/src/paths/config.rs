//! `sys/sync/config`.

use super::{Nothing, Paths};
use crate::store::{Config, Store};
use bailee_sdk::{
    Body, Error, Reply, Request,
    field::{Flag, Integer},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// The configuration of secrets sync.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteConfig {
    /// Whether nothing is to be delivered or removed; changes wait until it is enabled again.
    disabled: Option<Flag>,
    /// Pending operations that may wait; accepted for compatibility, the queue is bounded by the
    /// number of associations.
    queue_capacity: Option<Integer>,
}

impl Paths {
    pub(super) async fn read_config(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        Ok(reply(self.store(&request).await?.config().await?))
    }

    pub(super) async fn write_config(
        self: Arc<Self>,
        request: Request<WriteConfig>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let before = store.config().await?;
        let mut config = before;
        if let Some(disabled) = request.input.disabled {
            config.disabled = disabled.0;
        }
        if let Some(capacity) = request.input.queue_capacity {
            if capacity.0 < 1 {
                return Err(Error::invalid("queue_capacity must be at least 1"));
            }
            config.queue_capacity = capacity.0;
        }
        self.changed(&store, before, config)
    }

    pub(super) async fn reset_config(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let before = store.config().await?;
        self.changed(&store, before, Config::default())
    }

    fn changed(&self, store: &Store, before: Config, config: Config) -> Result<Reply, Error> {
        store.put_config(config);
        if !before.disabled || config.disabled {
            return Ok(reply(config));
        }
        // What has waited is in storage.
        let board = self.board();
        Ok(Body::After(Box::pin(async move {
            if let Some(board) = board {
                board.kick_sweep();
            }
            Ok(reply(config))
        }))
        .into())
    }
}

fn reply(config: Config) -> Reply {
    Reply::data(&json!({ "disabled": config.disabled, "queue_capacity": config.queue_capacity }))
}
