//! `subkeys/`: the names in a secret, for those who must not see its values.

use super::{
    Kv,
    store::{self, Place},
};
use bailee_notation::json;
use bailee_sdk::{Error, Reply, Request, field::Integer};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Which version to look into, and how deep.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadSubkeys {
    /// Path of the secret.
    path: String,
    /// Number of the version; 0 for the newest.
    #[serde(default)]
    version: Integer,
    /// Levels to show; 0 for all.
    #[serde(default)]
    depth: Integer,
}

pub(super) async fn read(_: Arc<Kv>, request: Request<ReadSubkeys>) -> Result<Reply, Error> {
    let ReadSubkeys { path, version, depth } = &request.input;
    let depth = u64::try_from(depth.0)
        .map_err(|_| Error::invalid("field \"depth\" must not be negative; 0 shows all levels"))?;
    let place = Place::of(&request.view, path)?;
    let found = store::find(&place, version.0, request.now).await?;
    let found = found.ok_or_else(Error::not_found)?;
    let Some(value) = &found.value else {
        let data = serde_json::json!({ "subkeys": null, "metadata": found.shown() });
        return Ok(Reply::data(&data).as_missing());
    };
    let secret = json::parse(value, &json::Limits::stored())
        .map_err(|_| Error::internal("a stored version does not parse"))?;
    let levels = if depth == 0 { u64::MAX } else { depth };
    let data = serde_json::json!({ "subkeys": names(&secret, levels), "metadata": found.shown() });
    Ok(Reply::data(&data))
}

/// The value with null for everything that is no object, and for what lies deeper than `levels`.
fn names(value: &Value, levels: u64) -> Value {
    match (value, levels.checked_sub(1)) {
        (Value::Object(fields), Some(below)) => {
            let fields: Map<_, _> =
                fields.iter().map(|(name, value)| (name.clone(), names(value, below))).collect();
            Value::Object(fields)
        }
        _ => Value::Null,
    }
}
