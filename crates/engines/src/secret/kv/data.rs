//! `data/`: reading and writing secrets.

use super::{
    Kv,
    attribution::{self, Done},
    config::Config,
    input::present,
    store::{self, Entry, Place},
};
use bailee_crypto::clock::to_millis;
use bailee_notation::json;
use bailee_sdk::{Body, Error, Json, Reply, Request, field::Integer};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Which version to read.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadData {
    /// Path of the secret.
    path: String,
    /// Number of the version; 0 for the newest.
    #[serde(default)]
    version: Integer,
}

pub(super) async fn read(_: Arc<Kv>, request: Request<ReadData>) -> Result<Reply, Error> {
    let place = Place::of(&request.view, &request.input.path)?;
    let found = store::find(&place, request.input.version.0, request.now).await?;
    let found = found.ok_or_else(Error::not_found)?;
    let metadata = Json::of(&found.shown());
    // The value is JSON as it was stored: it is passed on, never parsed.
    let value = found.value.as_ref().map_or(b"null".as_slice(), |value| value);
    let parts = [b"{\"data\":", value, b",\"metadata\":", metadata.bytes(), b"}"];
    let mut bytes = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        bytes.extend_from_slice(part);
    }
    let reply = Reply::from(Body::Data(Json::from_bytes(bytes)));
    Ok(if found.value.is_some() { reply } else { reply.as_missing() })
}

/// A secret to write.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteData {
    /// Path of the secret.
    path: String,
    /// The secret: a JSON object.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<Map<String, Value>>")]
    data: Option<Box<RawValue>>,
    /// Options of the write: with `cas`, it succeeds only while the newest version has this
    /// number; 0 for a secret that must not exist.
    #[serde(default)]
    #[schemars(with = "Option<Map<String, Value>>")]
    options: Option<Value>,
}

pub(super) async fn write(_: Arc<Kv>, request: Request<WriteData>) -> Result<Reply, Error> {
    let (WriteData { path, data, options }, request) = request.take_input();
    let data = data.ok_or_else(no_data)?;
    if data.get() != "null" {
        check_map("data", data.get())?;
    }
    let value = Zeroizing::new(Box::<str>::from(data).into_string().into_bytes());
    let cas = check_and_set(options.as_ref())?;
    let place = Place::of(&request.view, &path)?;
    place.lock().await;
    let config = Config::of(&request.view).await?;
    let entry = place.entry().await?.unwrap_or_else(|| Entry::new(request.now));
    may_write(&config, &entry, cas)?;
    let operation = if entry.current == 0 { "create" } else { "update" };
    store_version(&request, &place, &config, entry, value, operation).await
}

/// Merges by RFC 7396: null removes a field, objects merge, everything else replaces.
pub(super) async fn patch(_: Arc<Kv>, request: Request<WriteData>) -> Result<Reply, Error> {
    let (WriteData { path, data, options }, request) = request.take_input();
    let data = data.ok_or_else(no_data)?;
    check_map("data", data.get())?;
    let cas = check_and_set(options.as_ref())?;
    let place = Place::of(&request.view, &path)?;
    place.lock().await;
    let config = Config::of(&request.view).await?;
    let Some(found) = store::find(&place, 0, request.now).await? else {
        return Ok(Reply::empty().as_missing());
    };
    may_write(&config, &found.entry, cas)?;
    let Some(value) = &found.value else { return Ok(Reply::data(&found.shown()).as_missing()) };
    let stored = |_| Error::internal("a stored version does not parse");
    let limits = json::Limits::stored();
    let mut merged = json::parse(value, &limits).map_err(stored)?;
    let patch = json::parse(data.get().as_bytes(), &limits);
    let patch = patch.map_err(|_| Error::invalid("data is not JSON"))?;
    merge(&mut merged, patch);
    let value = Zeroizing::new(merged.to_string().into_bytes());
    store_version(&request, &place, &config, found.entry, value, "patch").await
}

/// The secret to delete.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteData {
    /// Path of the secret.
    path: String,
}

pub(super) async fn delete(_: Arc<Kv>, request: Request<DeleteData>) -> Result<Reply, Error> {
    let place = Place::of(&request.view, &request.input.path)?;
    place.lock().await;
    let Some(mut entry) = place.entry().await? else { return Ok(Reply::empty()) };
    let current = entry.current;
    match entry.versions.get_mut(&current) {
        Some(version) if version.is_alive(request.now) => {
            version.deleted = Some(to_millis(request.now));
        }
        _ => return Ok(Reply::empty()),
    }
    entry.updated = to_millis(request.now);
    place.put_entry(&entry).await?;
    attribution::note(&request, &place, "delete", Done::Deleted(&[current])).await?;
    request.changed(&request.input.path);
    Ok(Reply::empty())
}

/// Only the path: whether a write creates does not depend on the rest.
#[derive(Deserialize)]
pub(super) struct Named {
    path: String,
}

pub(super) async fn exists(_: Arc<Kv>, request: Request<Named>) -> Result<bool, Error> {
    let path = &request.input.path;
    if path.is_empty() || path.ends_with('/') {
        return Ok(false);
    }
    Ok(Place::of(&request.view, path)?.entry().await?.is_some())
}

async fn store_version(
    request: &Request<()>,
    place: &Place<'_>,
    config: &Config,
    mut entry: Entry,
    value: Zeroizing<Vec<u8>>,
    operation: &str,
) -> Result<Reply, Error> {
    let (number, pruned) = entry.add_version(config, request.now);
    place.put_value(number, value)?;
    for old in &pruned {
        place.delete_value(*old);
    }
    place.put_entry(&entry).await?;
    attribution::note(request, place, operation, Done::Created(number, &pruned)).await?;
    request.changed(place.path());
    let version = entry.versions.get(&number).cloned().unwrap_or_default();
    Ok(Reply::data(&entry.shown(number, &version)))
}

fn no_data() -> Error {
    Error::invalid("no data provided")
}

/// `json` was written by the JSON encoder: its first letter tells what it is.
fn check_map(field: &str, json: &str) -> Result<(), Error> {
    if json.starts_with('[') {
        // A list is told apart by its elements, as clients know it.
        let elements: Vec<&RawValue> = serde_json::from_str(json).map_err(Error::internal)?;
        let odd = elements.iter().position(|element| !element.get().starts_with(['{', 'n']));
        return Err(match odd.and_then(|place| Some((place, elements.get(place)?))) {
            Some((place, element)) => not_a_map(field, &format!("[{place}]"), kind(element.get())),
            None => not_a_map(field, "", kind(json)),
        });
    }
    if json.starts_with('{') { Ok(()) } else { Err(not_a_map(field, "", kind(json))) }
}

/// What JSON holds, in the words of the messages clients know: there a number is its letters.
fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "map",
        Some(b'[') => "slice",
        Some(b't' | b'f') => "bool",
        Some(b'n') | None => "null",
        Some(_) => "string",
    }
}

fn not_a_map(field: &str, place: &str, kind: &str) -> Error {
    Error::invalid(format!(
        "error converting input for field {field:?}: '{place}' expected a map, got '{kind}'"
    ))
}

/// The number of the version that must be the newest; null counts as 0.
fn check_and_set(options: Option<&Value>) -> Result<Option<i64>, Error> {
    let options = match options {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(options)) => options,
        Some(other) => return check_map("options", &other.to_string()).map(|()| None),
    };
    let text = match options.get("cas") {
        None => return Ok(None),
        Some(Value::Null) => "0".to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => String::new(),
    };
    let number = text.parse().map_err(|_| Error::invalid("error parsing check-and-set parameter"));
    number.map(Some)
}

fn may_write(config: &Config, entry: &Entry, cas: Option<i64>) -> Result<(), Error> {
    match cas {
        None if config.cas_required || entry.cas_required => {
            Err(Error::invalid("check-and-set parameter required for this call"))
        }
        Some(number) if u64::try_from(number) != Ok(entry.current) => {
            Err(Error::invalid("check-and-set parameter did not match the current version"))
        }
        None | Some(_) => Ok(()),
    }
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn merging_keeps_the_rules_of_the_merge_patch_standard() {
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target;
            merge(&mut merged, patch);
            assert_eq!(merged, expected);
        }
    }

    #[test]
    fn the_check_and_set_parameter_is_a_whole_number_or_its_text() {
        let parse = |cas: Value| check_and_set(Some(&json!({ "cas": cas }))).ok();
        assert_eq!(parse(json!(2)), Some(Some(2)));
        assert_eq!(parse(json!("2")), Some(Some(2)));
        assert_eq!(parse(json!(null)), Some(Some(0)));
        assert_eq!(parse(json!(-1)), Some(Some(-1)));
        for cas in [json!(4.0), json!("x"), json!(true), json!([1])] {
            assert_eq!(parse(cas), None);
        }
        assert_eq!(check_and_set(Some(&json!({}))).unwrap(), None);
        assert_eq!(check_and_set(None).unwrap(), None);
        assert!(check_and_set(Some(&json!("x"))).is_err());
    }
}
