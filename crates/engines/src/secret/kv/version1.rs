//! KV version 1: secrets without versions.
//!
//! A secret is any JSON object, read and written whole at its path. Stored is what version 2 stores
//! for a secret with one version, so a read is one storage read: that of version 1.

use super::store::{Entry, Place, names};
use crate::listing::{self, Page};
use bailee_sdk::{
    Body, Engine, Error, Json, Lease,
    Operation::{Delete, List, Read, Scan, Update},
    Path, Reply, Request,
    field::{Integer, Ttl},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// Number of the one version.
const ONLY: u64 = 1;

/// The key-value store without versions.
#[derive(Debug)]
pub(super) struct KvV1;

impl Engine for KvV1 {
    fn paths(self: Arc<KvV1>) -> Vec<Path> {
        vec![
            Path::new("{path...?}")
                .verbatim()
                .on(Read, &self, "Read a secret", read)
                .on(Update, &self, "Write a secret, whole", write)
                .on(Delete, &self, "Delete a secret", delete)
                .on(List, &self, "List the names in a folder", list)
                .on(Scan, &self, "List the paths of all secrets below a folder", list)
                .exists(&self, exists),
        ]
    }
}

/// Fields with any names, letter by letter as they were sent.
#[derive(Deserialize)]
#[serde(transparent)]
struct Fields(BTreeMap<String, Box<RawValue>>);

impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "Fields".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "path": {
                    "type": "string",
                    "description": "Path of the secret, or of a folder to list.",
                },
            },
            "additionalProperties": true,
        })
    }
}

async fn read(_: Arc<KvV1>, request: Request<Fields>) -> Result<Reply, Error> {
    if is_folder(&request.path) {
        return Err(Error::not_found());
    }
    let value = Place::of(&request.view, &request.path)?.value(ONLY).await?;
    let value = value.ok_or_else(Error::not_found)?;
    let lease = Lease { ttl: lifetime(&value), renewable: false, data: Value::Null };
    Ok(Body::Lease(Json::from_bytes(value), lease).into())
}

async fn write(_: Arc<KvV1>, request: Request<Fields>) -> Result<Reply, Error> {
    let (Fields(fields), request) = request.take_input();
    if fields.is_empty() {
        return Err(Error::invalid("missing data fields"));
    }
    let value = serde_json::to_vec(&fields).map(Zeroizing::new).map_err(Error::internal)?;
    let place = Place::of(&request.view, &request.path)?;
    place.lock().await;
    place.put_value(ONLY, value)?;
    place.put_entry(&Entry::single(request.now)).await?;
    Ok(Reply::empty())
}

async fn delete(_: Arc<KvV1>, request: Request<Fields>) -> Result<Reply, Error> {
    if is_folder(&request.path) {
        return Ok(Reply::empty());
    }
    let place = Place::of(&request.view, &request.path)?;
    place.lock().await;
    if place.entry().await?.is_some() {
        place.delete_value(ONLY);
        place.delete_entry().await?;
    }
    Ok(Reply::empty())
}

/// Which names to list.
#[derive(Deserialize, JsonSchema)]
struct ListNames {
    /// Name after which the list begins.
    #[serde(default)]
    after: String,
    /// Names to give at most; 0 for all.
    #[serde(default)]
    limit: Integer,
}

async fn list(_: Arc<KvV1>, request: Request<ListNames>) -> Result<Reply, Error> {
    let folder = listing::folder(&request.path);
    let page = Page::new(&request.input.after, request.input.limit);
    let names = names(&request.view);
    Reply::keys(&match request.operation {
        Scan => listing::scan(&names, &folder, &page).await?,
        _ => names.list(&folder, page.after, page.limit).await?,
    })
}

async fn exists(_: Arc<KvV1>, request: Request<Fields>) -> Result<bool, Error> {
    if is_folder(&request.path) {
        return Ok(false);
    }
    Ok(Place::of(&request.view, &request.path)?.entry().await?.is_some())
}

fn is_folder(path: &str) -> bool {
    path.is_empty() || path.ends_with('/')
}

/// How long the secret may be kept by who reads it, where it says so itself.
#[derive(Default, Deserialize)]
struct Lifetime {
    ttl: Option<Value>,
    lease: Option<Value>,
}

/// Zero for what the mount says. A field that is no duration says nothing.
fn lifetime(secret: &[u8]) -> Duration {
    let said: Lifetime = serde_json::from_slice(secret).unwrap_or_default();
    let ttl = said.ttl.or(said.lease).and_then(|value| serde_json::from_value::<Ttl>(value).ok());
    ttl.unwrap_or_default().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_may_say_how_long_it_lasts() {
        for (secret, seconds) in [
            (r#"{"ttl":"30m","lease":"1h"}"#, 1800),
            (r#"{"lease":"1h"}"#, 3600),
            (r#"{"ttl":90}"#, 90),
            (r#"{"ttl":"soon"}"#, 0),
            (r#"{"ttl":{"a":1}}"#, 0),
            (r#"{"v":"1h"}"#, 0),
        ] {
            assert_eq!(lifetime(secret.as_bytes()), Duration::from_secs(seconds), "{secret}");
        }
    }
}
