//! Connections: named sets of properties, some of which are kept as secrets.
//!
//! ```text
//! connection "orders-db" {
//!   manager = "prod"
//!   properties = { host = "db.example", user = "orders" }
//!   secret "password" { id = "prod/orders-db"  key = "password" }
//! }
//! ```

use crate::{
    failure::{Cause, Failure},
    manager::{Material, Wanted},
    store::{Freshness, Store},
};
use bailee_crypto::Sensitive;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};
use zeroize::Zeroizing;

/// A connection as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its name.
    pub name: String,
    /// Its properties.
    pub properties: BTreeMap<String, Property>,
}

/// A property of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// It is no secret.
    Plain(String),
    /// It is kept by a secret manager.
    Secret(Reference),
}

/// Where a secret value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The manager's name in the configuration.
    pub manager: String,
    /// The secret.
    pub wanted: Wanted,
    /// The key in its JSON object; the whole text where absent.
    pub key: Option<String>,
}

impl Reference {
    /// The value as it is now.
    ///
    /// # Errors
    /// The secret cannot be had, or has no such key; the message names both and holds no value.
    pub async fn value(&self, store: &Store) -> Result<Arc<Sensitive<String>>, Failure> {
        let held = store.get(&self.manager, &self.wanted, Freshness::Kept).await?;
        let id = &self.wanted.id;
        let Material::Text(text) = &held.fetched.material else {
            let message = format!("{id}: the secret is binary, and a text is wanted");
            return Err(Failure::new(Cause::Invalid, message));
        };
        let Some(key) = &self.key else { return Ok(text.clone()) };
        keyed(id, text.expose(), key).map(|value| Arc::new(Sensitive::new(value)))
    }
}

impl Connection {
    /// All its properties as they are now.
    ///
    /// # Errors
    /// The first secret that cannot be had, with the property's name.
    pub async fn resolve(
        &self,
        store: &Store,
    ) -> Result<BTreeMap<String, Arc<Sensitive<String>>>, Failure> {
        let mut resolved = BTreeMap::new();
        for (name, property) in &self.properties {
            let value = match property {
                Property::Plain(text) => Arc::new(Sensitive::from(text.as_str())),
                Property::Secret(reference) => {
                    reference.value(store).await.map_err(|failure| Failure {
                        message: format!(
                            "connection {:?}: property {name:?}: {}",
                            self.name, failure.message
                        ),
                        ..failure
                    })?
                }
            };
            resolved.insert(name.clone(), value);
        }
        Ok(resolved)
    }

    /// The secrets it stands on.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.properties.values().filter_map(|property| match property {
            Property::Secret(reference) => Some(reference),
            Property::Plain(_) => None,
        })
    }
}

/// The value under a key of a JSON object; a dot goes deeper where no key has the whole name.
pub(crate) fn keyed(id: &str, text: &str, key: &str) -> Result<String, Failure> {
    let invalid = |message: String| Failure::new(Cause::Invalid, message);
    let object: Value = serde_json::from_str(text).map_err(|_| {
        invalid(format!("{id}: key {key:?} is wanted, and the secret is no JSON object"))
    })?;
    let found =
        object.get(key).or_else(|| key.split('.').try_fold(&object, |value, part| value.get(part)));
    let value = match found {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => {
            return Err(invalid(format!("{id}: the secret has no key {key:?}")));
        }
        Some(other) => other.to_string(),
    };
    drop(Zeroizing::new(wiped(object)));
    Ok(value)
}

/// All texts of a value, so that they are wiped.
fn wiped(value: Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.into_iter().flat_map(wiped).collect(),
        Value::Object(fields) => fields.into_iter().flat_map(|(_, value)| wiped(value)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}
