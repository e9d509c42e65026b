//! `metadata/`: a secret's settings and versions.

use super::{
    Kv,
    attribution::{self, Done},
    config::checked_max_versions,
    input::{DeleteAfterInput, present},
    store::{Entry, Place},
};
use crate::time::time_text;
use bailee_crypto::clock::to_millis;
use bailee_sdk::{
    Error, Reply, Request,
    field::{Flag, Integer},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

/// Pairs of custom metadata at most.
const CUSTOM_PAIRS_MAX: usize = 64;
/// Longest name of a pair, in bytes.
const CUSTOM_NAME_BYTES_MAX: usize = 128;
/// Longest value of a pair, in bytes.
const CUSTOM_VALUE_BYTES_MAX: usize = 512;

/// The secret to look at or to remove.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OneSecret {
    /// Path of the secret, or of a folder to list.
    path: String,
}

pub(super) async fn read(_: Arc<Kv>, request: Request<OneSecret>) -> Result<Reply, Error> {
    let path = &request.input.path;
    if path.is_empty() || path.ends_with('/') {
        return Err(Error::not_found());
    }
    let shown = shown(&Place::of(&request.view, path)?).await?;
    Ok(Reply::data(&shown.ok_or_else(Error::not_found)?))
}

/// All that is known of a secret beside its values; `None` when there is none.
pub(super) async fn shown(place: &Place<'_>) -> Result<Option<Value>, Error> {
    let Some(entry) = place.entry().await? else { return Ok(None) };
    let attributions = place.attributions().await?;
    let versions: Map<String, Value> = entry
        .versions
        .iter()
        .map(|(number, version)| {
            let by = attributions.versions.get(number);
            let shown = json!({
                "created_by": by.map(|by| &by.created),
                "created_time": time_text(version.created),
                "deleted_by": by.map(|by| &by.deleted),
                "deletion_time": version.deleted.map(time_text).unwrap_or_default(),
                "destroyed": version.destroyed,
            });
            (number.to_string(), shown)
        })
        .collect();
    Ok(Some(json!({
        "cas_required": entry.cas_required,
        "created_time": time_text(entry.created),
        "current_version": entry.current,
        "custom_metadata": entry.shown_custom(),
        "delete_version_after": entry.delete_after.text(),
        "last_updated_by": attributions.updated,
        "max_versions": entry.max_versions,
        "oldest_version": entry.oldest,
        "updated_time": time_text(entry.updated),
        "versions": versions,
    })))
}

/// Settings of a secret to change; those left out stay.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteMetadata {
    /// Path of the secret, or of a folder to list.
    path: String,
    /// Versions to keep; 0 for what the mount says.
    #[serde(default, deserialize_with = "present")]
    max_versions: Option<Integer>,
    /// Whether every write must give the `cas` option; the mount may require it as well.
    #[serde(default, deserialize_with = "present")]
    cas_required: Option<Flag>,
    /// How long after its creation a version is deleted; 0 for what the mount says. The shorter of
    /// the two counts; a negative duration turns both off.
    #[serde(default, deserialize_with = "present")]
    delete_version_after: Option<DeleteAfterInput>,
    /// Texts under names that belong to the secret and are not secret: at most 64, names up to 128
    /// bytes, values up to 512.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    custom_metadata: Option<Value>,
}

impl WriteMetadata {
    fn is_empty(&self) -> bool {
        self.max_versions.is_none()
            && self.cas_required.is_none()
            && self.delete_version_after.is_none()
            && self.custom_metadata.is_none()
    }

    /// Puts the settings into an entry. Custom metadata is merged into what is there, or replaces it.
    fn apply(&self, entry: &mut Entry, merge: bool, now: SystemTime) -> Result<(), Error> {
        if let Some(max) = self.max_versions {
            entry.max_versions = checked_max_versions(max)?;
        }
        if let Some(required) = self.cas_required {
            entry.cas_required = required.0;
        }
        if let Some(after) = self.delete_version_after {
            entry.delete_after = after.0;
        }
        if let Some(custom) = &self.custom_metadata {
            let kept = if merge { std::mem::take(&mut entry.custom) } else { BTreeMap::new() };
            entry.custom = merged_custom(kept, custom)?;
        }
        entry.updated = to_millis(now);
        Ok(())
    }
}

pub(super) async fn write(_: Arc<Kv>, request: Request<WriteMetadata>) -> Result<Reply, Error> {
    let place = Place::of(&request.view, &request.input.path)?;
    if request.input.is_empty() {
        return Ok(Reply::empty());
    }
    place.lock().await;
    let found = place.entry().await?;
    let operation = if found.is_some() { "update" } else { "create" };
    let mut entry = found.unwrap_or_else(|| Entry::new(request.now));
    request.input.apply(&mut entry, false, request.now)?;
    place.put_entry(&entry).await?;
    attribution::note(&request, &place, operation, Done::Other).await?;
    Ok(Reply::empty())
}

pub(super) async fn patch(_: Arc<Kv>, request: Request<WriteMetadata>) -> Result<Reply, Error> {
    let place = Place::of(&request.view, &request.input.path)?;
    place.lock().await;
    let Some(mut entry) = place.entry().await? else { return Ok(Reply::empty().as_missing()) };
    if request.input.is_empty() {
        return Ok(Reply::empty());
    }
    request.input.apply(&mut entry, true, request.now)?;
    place.put_entry(&entry).await?;
    attribution::note(&request, &place, "patch", Done::Other).await?;
    Ok(Reply::empty())
}

pub(super) async fn delete(_: Arc<Kv>, request: Request<OneSecret>) -> Result<Reply, Error> {
    let place = Place::of(&request.view, &request.input.path)?;
    place.lock().await;
    let Some(entry) = place.entry().await? else { return Ok(Reply::empty()) };
    for (number, version) in &entry.versions {
        if !version.destroyed {
            place.delete_value(*number);
        }
    }
    place.delete_entry().await?;
    request.changed(&request.input.path);
    Ok(Reply::empty())
}

/// Null removes a pair, or all of them.
fn merged_custom(
    mut pairs: BTreeMap<String, String>,
    change: &Value,
) -> Result<BTreeMap<String, String>, Error> {
    let failed =
        |text: String| Error::invalid(format!("custom_metadata validation failed: {text}"));
    let change = match change {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Object(change) => change,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(failed("it must be an object of texts".to_owned()));
        }
    };
    for (name, value) in change {
        let value = match value {
            Value::Null => {
                pairs.remove(name);
                continue;
            }
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err(failed(format!("the value of {name:?} must be a text")));
            }
        };
        check_custom(name, &value).map_err(failed)?;
        pairs.insert(name.clone(), value);
    }
    if pairs.len() > CUSTOM_PAIRS_MAX {
        let text = format!("at most {CUSTOM_PAIRS_MAX} pairs are kept, these are {}", pairs.len());
        return Err(failed(text));
    }
    Ok(pairs)
}

fn check_custom(name: &str, value: &str) -> Result<(), String> {
    let printable = |text: &str| !text.chars().any(char::is_control);
    if name.is_empty() {
        return Err("a name must not be empty".to_owned());
    }
    if name.len() > CUSTOM_NAME_BYTES_MAX {
        let start: String = name.chars().take(16).collect();
        return Err(format!(
            "the name that starts with {start:?} has {} bytes, allowed are {CUSTOM_NAME_BYTES_MAX}",
            name.len()
        ));
    }
    if !printable(name) {
        return Err(format!("the name {name:?} has characters that cannot be printed"));
    }
    if value.len() > CUSTOM_VALUE_BYTES_MAX {
        return Err(format!(
            "the value of {name:?} has {} bytes, allowed are {CUSTOM_VALUE_BYTES_MAX}",
            value.len()
        ));
    }
    if !printable(value) {
        return Err(format!("the value of {name:?} has characters that cannot be printed"));
    }
    Ok(())
}
