//! `config`: what holds for all secrets of the mount.

use super::{
    Kv, VERSIONS_MAX,
    input::{DeleteAfter, DeleteAfterInput, present},
};
use bailee_sdk::{
    Error, Reply, Request, View,
    field::{Flag, Integer},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

const KEY: &str = "config";

/// The settings of a mount, as stored.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Config {
    /// 0 for the default.
    pub(super) max_versions: u64,
    pub(super) cas_required: bool,
    pub(super) delete_after: DeleteAfter,
}

impl Config {
    pub(super) async fn of(view: &View) -> Result<Config, Error> {
        Ok(view.get(KEY).await?.unwrap_or_default())
    }
}

/// Nothing to say.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadConfig {}

pub(super) async fn read(_: Arc<Kv>, request: Request<ReadConfig>) -> Result<Reply, Error> {
    let config = Config::of(&request.view).await?;
    Ok(Reply::data(&json!({
        "max_versions": config.max_versions,
        "cas_required": config.cas_required,
        "delete_version_after": config.delete_after.text(),
    })))
}

/// Settings to change; those left out stay.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteConfig {
    /// Versions to keep of each secret; 0 for 10, a negative number for as many as are kept at all,
    /// which is 4096. A secret's own setting goes before it.
    #[serde(default, deserialize_with = "present")]
    max_versions: Option<Integer>,
    /// Whether every write must give the `cas` option.
    #[serde(default, deserialize_with = "present")]
    cas_required: Option<Flag>,
    /// How long after its creation a version is deleted; 0 for never. Where a secret says so too,
    /// the shorter counts; a negative duration turns both off.
    #[serde(default, deserialize_with = "present")]
    delete_version_after: Option<DeleteAfterInput>,
}

pub(super) async fn write(_: Arc<Kv>, request: Request<WriteConfig>) -> Result<Reply, Error> {
    let WriteConfig { max_versions, cas_required, delete_version_after } = &request.input;
    request.view.lock(KEY).await;
    let mut config = Config::of(&request.view).await?;
    if let Some(max) = max_versions {
        config.max_versions = checked_max_versions(*max)?;
    }
    if let Some(required) = cas_required {
        config.cas_required = required.0;
    }
    if let Some(after) = delete_version_after {
        config.delete_after = after.0;
    }
    request.view.put(KEY, &config);
    Ok(Reply::empty())
}

/// How many versions to keep. There is no "unlimited": below zero, as some write it, is the most.
pub(super) fn checked_max_versions(max: Integer) -> Result<u64, Error> {
    if max.0 < 0 {
        return Ok(VERSIONS_MAX);
    }
    u64::try_from(max.0).ok().filter(|max| *max <= VERSIONS_MAX).ok_or_else(|| {
        Error::invalid(format!(
            "field \"max_versions\" must be at most {VERSIONS_MAX}; 0 stands for the default"
        ))
    })
}
