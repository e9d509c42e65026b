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
    store::{Freshness, Held, Store},
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

/// Secrets as they are now, each looked at once: who takes a user's name and a password out of one secret gets both
/// of the same version, also where the secret becomes another one meanwhile.
pub struct Glance<'s> {
    store: &'s Store,
    seen: BTreeMap<(String, Wanted), Arc<Held>>,
}

impl<'s> Glance<'s> {
    /// Nothing is looked at yet.
    pub fn at(store: &'s Store) -> Glance<'s> {
        Glance { store, seen: BTreeMap::new() }
    }

    async fn held(&mut self, reference: &Reference) -> Result<Arc<Held>, Failure> {
        let key = (reference.manager.clone(), reference.wanted.clone());
        if let Some(held) = self.seen.get(&key) {
            return Ok(held.clone());
        }
        let held = self.store.get(&reference.manager, &reference.wanted, Freshness::Kept).await?;
        self.seen.insert(key, held.clone());
        Ok(held)
    }
}

impl Reference {
    /// The value as it is now.
    ///
    /// # Errors
    /// The secret cannot be had, or has no such key; the message names both and holds no value.
    pub async fn value(&self, glance: &mut Glance<'_>) -> Result<Arc<Sensitive<String>>, Failure> {
        let held = glance.held(self).await?;
        let id = &self.wanted.id;
        let Material::Text(text) = &held.fetched.material else {
            let message = format!("{id}: the secret is binary, and a text is wanted");
            return Err(Failure::new(Cause::Invalid, message));
        };
        let Some(key) = &self.key else { return Ok(text.clone()) };
        keyed(id, text.expose(), key, held.fetched.versioned)
            .map(|value| Arc::new(Sensitive::new(value)))
    }
}

impl std::fmt::Debug for Glance<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Glance").field("seen", &self.seen.keys()).finish_non_exhaustive()
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
        let (mut glance, mut resolved) = (Glance::at(store), BTreeMap::new());
        for (name, property) in &self.properties {
            let value = match property {
                Property::Plain(text) => Arc::new(Sensitive::from(text.as_str())),
                Property::Secret(reference) => {
                    reference.value(&mut glance).await.map_err(|failure| Failure {
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

/// The value under a key of a JSON object; a dot goes deeper where no key has the whole name. Of what a versioned KV
/// engine answers only the secret is meant, whatever its keys are called.
fn keyed(id: &str, text: &str, key: &str, versioned: bool) -> Result<String, Failure> {
    let invalid = |message: String| Failure::new(Cause::Invalid, message);
    let object: Value = serde_json::from_str(text).map_err(|_| {
        invalid(format!("{id}: key {key:?} is wanted, and the secret is no JSON object"))
    })?;
    let secret = if versioned { object.get("data").unwrap_or(&Value::Null) } else { &object };
    let deeper = || key.split('.').try_fold(secret, |value, part| value.get(part));
    let value = match secret.get(key).or_else(deeper) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeManager, store_over};
    use serde_json::json;

    const SECRET: &str = r#"{"password":"p","port":5432,"nested":{"key":"k"},"a.b":"dotted"}"#;

    fn reference(id: &str, key: Option<&str>) -> Reference {
        let key = key.map(str::to_owned);
        Reference { manager: "m".to_owned(), wanted: Wanted::current(id), key }
    }

    #[test]
    fn a_key_is_found_as_text_as_number_and_deeper() {
        for (key, value) in
            [("password", "p"), ("port", "5432"), ("nested.key", "k"), ("a.b", "dotted")]
        {
            assert_eq!(keyed("s", SECRET, key, false).unwrap(), value);
        }
    }

    #[test]
    fn of_a_versioned_engine_the_secret_alone_is_meant_whatever_its_keys_are_called() {
        let inner = r#"{"password":"p","data":"d","metadata":{"version":"inner"}}"#;
        let outer = format!(r#"{{"data":{inner},"metadata":{{"version":7}}}}"#);
        for (key, of_engine, as_it_is) in [
            ("password", Some("p"), None),
            ("data", Some("d"), Some(inner)),
            ("metadata.version", Some("inner"), Some("7")),
            ("data.password", None, Some("p")),
        ] {
            for (versioned, value) in [(true, of_engine), (false, as_it_is)] {
                let found = keyed("s", &outer, key, versioned).ok();
                let found = found.map(|text| serde_json::from_str(&text).unwrap_or(json!(text)));
                let value = value.map(|text| serde_json::from_str(text).unwrap_or(json!(text)));
                assert_eq!(found, value, "{key} {versioned}");
            }
        }
    }

    #[test]
    fn a_missing_key_is_told_without_the_secret() {
        let told = keyed("prod/db", SECRET, "user", false).unwrap_err().to_string();
        assert_eq!(told, "prod/db: the secret has no key \"user\"");
        let told = keyed("prod/db", "not json", "user", true).unwrap_err().to_string();
        assert_eq!(told, "prod/db: key \"user\" is wanted, and the secret is no JSON object");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_out_of_one_secret_is_of_one_version() {
        let manager =
            FakeManager::with(&[("db", r#"{"user":"u1","password":"p1"}"#), ("slow", "s")]);
        let store = store_over(manager.clone());
        let properties = [
            ("1-user", Property::Secret(reference("db", Some("user")))),
            ("2-slow", Property::Secret(reference("slow", None))),
            ("3-password", Property::Secret(reference("db", Some("password")))),
        ];
        let properties = properties.map(|(name, property)| (name.to_owned(), property)).into();
        let connection = Connection { name: "orders".to_owned(), properties };
        store.get("m", &Wanted::current("db"), Freshness::Kept).await.unwrap();
        manager.set("db", r#"{"user":"u2","password":"p2"}"#);
        manager.slow(std::time::Duration::from_secs(2));
        // The secret becomes another one while its connection is put together.
        let (resolved, _) = tokio::join!(connection.resolve(&store), async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            manager.slow(std::time::Duration::ZERO);
            store.get("m", &Wanted::current("db"), Freshness::Now).await.unwrap()
        });
        let resolved = resolved.unwrap();
        let shown: Vec<&str> = resolved.values().map(|value| value.expose().as_str()).collect();
        assert_eq!(shown, ["u1", "s", "p1"]);
        let resolved = connection.resolve(&store).await.unwrap();
        let shown: Vec<&str> = resolved.values().map(|value| value.expose().as_str()).collect();
        assert_eq!(shown, ["u2", "s", "p2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_put_together_of_plain_and_secret_properties() {
        let store = store_over(FakeManager::with(&[("db", SECRET), ("text", "whole")]));
        let properties = [
            ("host", Property::Plain("db.example".to_owned())),
            ("password", Property::Secret(reference("db", Some("password")))),
            ("all", Property::Secret(reference("text", None))),
        ];
        let properties = properties.map(|(name, property)| (name.to_owned(), property));
        let mut connection =
            Connection { name: "orders".to_owned(), properties: properties.into() };
        let resolved = connection.resolve(&store).await.unwrap();
        let shown: Vec<&str> = resolved.values().map(|value| value.expose().as_str()).collect();
        assert_eq!(shown, ["whole", "db.example", "p"]);
        connection.properties.insert("x".to_owned(), Property::Secret(reference("gone", None)));
        let failure = connection.resolve(&store).await.unwrap_err();
        assert_eq!(failure.message, "connection \"orders\": property \"x\": gone is not there");
        assert_eq!(failure.cause, Cause::NotFound);
    }
}
