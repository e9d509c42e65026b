//! `sys/sync/sources`: where secrets are pulled from.
//!
//! `write` takes what users give, `show` shows it and how runs went, `operate` runs and plans.

mod input;
mod operate;
mod show;
mod write;

use super::Paths;
use crate::pulling::SourceKey;
use bailee_sdk::{Error, Namespace, Reply, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// What names a source.
#[derive(Deserialize, JsonSchema)]
pub(super) struct NamedSource {
    /// Name of the source.
    name: String,
}

impl Paths {
    pub(super) async fn delete_source(
        self: Arc<Self>,
        request: Request<NamedSource>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        store.lock_sources().await;
        let name = &request.input.name;
        if !store.delete_source(name).await? {
            return Ok(Reply::empty());
        }
        let key = source_key(&request.namespace, name);
        let pulling = self.sync.pulling();
        request.view.after_commit(move || {
            if let Some(pulling) = pulling {
                pulling.rest(&key);
            }
        });
        Ok(Reply::empty())
    }
}

fn source_key(namespace: &Namespace, name: &str) -> SourceKey {
    (namespace.id.clone(), name.to_owned())
}
