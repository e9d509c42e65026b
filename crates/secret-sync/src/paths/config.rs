//! `sys/sync/config`.

use super::{Nothing, Paths, destinations::given::Given};
use crate::store::{Config, Store};
use bailee_sdk::{
    Body, Error, Reply, Request,
    field::{Flag, Integer},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// The largest queue that can be asked for.
const QUEUE_CAPACITY_MAX: i64 = 1_000_000_000;

/// The configuration of secrets sync.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteConfig {
    /// Whether nothing is to be delivered or removed; changes wait until it is enabled again.
    #[serde(default)]
    disabled: Given<Flag>,
    /// Pending operations that may wait; accepted for compatibility, the queue is bounded by the
    /// number of associations.
    #[serde(default)]
    queue_capacity: Given<Integer>,
}

impl Paths {
    pub(super) async fn read_config(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        Ok(reply(store.config().await?, self.is_held(&store).await?))
    }

    pub(super) async fn write_config(
        self: Arc<Self>,
        request: Request<WriteConfig>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let before = store.config().await?;
        let mut config = before;
        let WriteConfig { disabled, queue_capacity } = request.input;
        let fresh = Config::default();
        config.disabled = disabled.or(Flag(before.disabled), || Flag(fresh.disabled)).0;
        let capacity = Integer(before.queue_capacity);
        let capacity = queue_capacity.or(capacity, || Integer(fresh.queue_capacity)).0;
        if !(1..=QUEUE_CAPACITY_MAX).contains(&capacity) {
            return Err(Error::invalid(format!(
                "queue_capacity is not valid: want 1 to {QUEUE_CAPACITY_MAX}"
            )));
        }
        config.queue_capacity = capacity;
        self.changed(&store, before, config).await
    }

    pub(super) async fn reset_config(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let before = store.config().await?;
        self.changed(&store, before, Config::default()).await
    }

    async fn changed(&self, store: &Store, before: Config, config: Config) -> Result<Reply, Error> {
        store.put_config(config);
        let held = self.is_held(store).await?;
        if !before.disabled || config.disabled {
            return Ok(reply(config, held));
        }
        // What has waited is in storage.
        let board = self.board();
        Ok(Body::After(Box::pin(async move {
            if let Some(board) = board {
                board.kick_sweep();
            }
            Ok(reply(config, held))
        }))
        .into())
    }
}

/// `held`: whether nothing goes out because storage was restored.
fn reply(config: Config, held: bool) -> Reply {
    Reply::data(&json!({
        "disabled": config.disabled,
        "queue_capacity": config.queue_capacity,
        "held": held,
    }))
}
