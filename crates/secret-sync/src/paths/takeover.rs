//! `sys/sync/takeover`: this server delivers what the one delivered that it was restored from.

use super::{Nothing, Paths};
use crate::epoch::Epoch;
use bailee_sdk::{Body, Error, Reply, Request};
use serde_json::json;
use std::sync::Arc;

impl Paths {
    pub(super) async fn take_over(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        self.store(&request).await?;
        let epoch = Epoch::read(&request.view).await?;
        if epoch.is_none_or(|epoch| !epoch.held) {
            return Err(Error::invalid(
                "there is nothing to take over: this server's storage was not restored from a \
                 snapshot since sync last started",
            ));
        }
        let epoch = Epoch::take_over(&request.view).await?;
        let board = self.board();
        Ok(Body::After(Box::pin(async move {
            // Everything is compared, and marked anew.
            if let Some(board) = board {
                board.kick_sweep();
            }
            Ok(Reply::data(&json!({ "epoch": epoch.id })))
        }))
        .into())
    }
}
