//! An answer of the API: its envelope, and the table people see of it.

use super::{Order, Table, cell, seconds, text};
use bailee_client::Response;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

const AUTH: Order = Order {
    first: &[
        "client_token",
        "accessor",
        "policies",
        "token_policies",
        "identity_policies",
        "metadata",
        "orphan",
        "entity_id",
        "lease_duration",
        "renewable",
        "mfa_requirement",
    ],
    inside: &[],
};
const WRAP: Order = Order {
    first: &["token", "accessor", "ttl", "creation_time", "creation_path", "wrapped_accessor"],
    inside: &[],
};
/// Fields as the official client writes them.
pub(super) const ORDER: Order = Order {
    first: &["request_id", "lease_id", "lease_duration", "renewable", "data", "warnings"],
    inside: &[("auth", &AUTH), ("wrap_info", &WRAP)],
};

/// An answer.
#[derive(Default)]
pub(crate) struct Secret {
    envelope: Map<String, Value>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Secret {
    /// The answer that a request got.
    pub(crate) fn of(response: &Response) -> Secret {
        Secret { envelope: response.json(), bytes: Zeroizing::new(response.bytes().to_vec()) }
    }

    /// An answer put together here.
    pub(crate) fn made(envelope: Map<String, Value>) -> Secret {
        let bytes = Value::Object(envelope.clone()).to_string().into_bytes();
        Secret { envelope, bytes: Zeroizing::new(bytes) }
    }

    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.data().is_none_or(Map::is_empty) && self.auth().is_none() && self.wrapping().is_none()
    }

    /// The data.
    pub(crate) fn data(&self) -> Option<&Map<String, Value>> {
        self.envelope.get("data").and_then(Value::as_object)
    }

    /// Puts a value where the data has none.
    pub(crate) fn fill(&mut self, name: &str, value: Value) {
        let data = self.envelope.get_mut("data").and_then(Value::as_object_mut);
        let field = data.map(|data| data.entry(name).or_insert(Value::Null));
        if let Some(field) = field.filter(|field| field.is_null()) {
            *field = value;
        }
    }

    /// The token that was made.
    pub(crate) fn auth(&self) -> Option<&Map<String, Value>> {
        self.envelope.get("auth").and_then(Value::as_object)
    }

    /// The token that holds the real answer.
    pub(crate) fn wrapping(&self) -> Option<&Map<String, Value>> {
        self.envelope.get("wrap_info").and_then(Value::as_object)
    }

    /// What the server warned of.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        let warnings = self.envelope.get("warnings").and_then(Value::as_array);
        warnings.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The envelope as a document.
    pub(super) fn document(&self) -> Value {
        let or = |name: &str, otherwise: Value| {
            self.envelope.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(otherwise)
        };
        let names = ["auth", "wrap_info"];
        let parts = names.into_iter().filter_map(|name| Some((name, self.envelope.get(name)?)));
        let parts = parts.filter(|(_, part)| !part.is_null());
        let mut document = Map::from_iter([
            ("request_id".to_owned(), or("request_id", "".into())),
            ("lease_id".to_owned(), or("lease_id", "".into())),
            ("lease_duration".to_owned(), or("lease_duration", 0.into())),
            ("renewable".to_owned(), or("renewable", false.into())),
            ("data".to_owned(), or("data", Value::Null)),
            ("warnings".to_owned(), or("warnings", Value::Null)),
        ]);
        document.extend(parts.map(|(name, part)| (name.to_owned(), part.clone())));
        if let Some(Value::Object(auth)) = document.get_mut("auth") {
            auth.retain(|name, _| AUTH.first.contains(&name.as_str()));
        }
        Value::Object(document)
    }

    /// What the table shows, as rows.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::of_fields();
        for (name, value) in self.rows() {
            let shown = cell(&name, &value);
            table.row([name, shown]);
        }
        table
    }

    /// One field, by the name it has in the table.
    pub(super) fn field(&self, name: &str) -> Option<Value> {
        if self.auth().is_some() && name == "token_policies" {
            return self.auth()?.get("token_policies").cloned();
        }
        let rows = self.rows();
        let row = rows.into_iter().find(|(row, _)| row.trim_end_matches(':') == name);
        row.map(|(_, value)| value).or_else(|| self.data()?.get(name).cloned())
    }

    fn rows(&self) -> Vec<(String, Value)> {
        let mut rows = Vec::new();
        if let Some(wrapping) = self.wrapping() {
            return wrapping_rows(wrapping);
        }
        if let Some(auth) = self.auth() {
            rows = auth_rows(auth);
        } else {
            rows.extend(self.lease_rows());
        }
        let mut data: Vec<_> = self.data().into_iter().flatten().collect();
        data.sort_by_key(|(name, _)| *name);
        rows.extend(data.into_iter().map(|(name, value)| (name.clone(), value.clone())));
        rows
    }

    fn lease_rows(&self) -> Vec<(String, Value)> {
        let lease = self.envelope.get("lease_id").and_then(Value::as_str).unwrap_or_default();
        let length = self.envelope.get("lease_duration").and_then(Value::as_i64).unwrap_or(0);
        let renewable = self.envelope.get("renewable").cloned().unwrap_or(false.into());
        match (lease, length) {
            ("", 0) => Vec::new(),
            ("", _) => vec![("refresh_interval".to_owned(), seconds(length).into())],
            _ => vec![
                ("lease_id".to_owned(), lease.into()),
                ("lease_duration".to_owned(), seconds(length).into()),
                ("lease_renewable".to_owned(), renewable),
            ],
        }
    }
}

fn auth_rows(auth: &Map<String, Value>) -> Vec<(String, Value)> {
    let plain = |name: &str| auth.get(name).cloned().unwrap_or(Value::Null);
    let length = auth.get("lease_duration").and_then(Value::as_i64).unwrap_or(0);
    let length = if length == 0 { "∞".to_owned() } else { seconds(length) };
    let lists = ["token_policies", "identity_policies", "policies"];
    let mut rows = vec![
        ("token".to_owned(), plain("client_token")),
        ("token_accessor".to_owned(), plain("accessor")),
        ("token_duration".to_owned(), length.into()),
        ("token_renewable".to_owned(), plain("renewable")),
    ];
    rows.extend(lists.map(|name| (name.to_owned(), text::quoted(auth.get(name)).into())));
    let metadata = auth.get("metadata").and_then(Value::as_object);
    let mut metadata: Vec<_> = metadata.into_iter().flatten().collect();
    metadata.sort_by_key(|(name, _)| *name);
    rows.extend(
        metadata.iter().map(|(name, value)| (format!("token_meta_{name}"), (*value).clone())),
    );
    rows
}

fn wrapping_rows(wrapping: &Map<String, Value>) -> Vec<(String, Value)> {
    let plain = |name: &str| wrapping.get(name).cloned().unwrap_or(Value::Null);
    let length =
        wrapping.get("ttl").and_then(Value::as_i64).map_or(Value::Null, |ttl| seconds(ttl).into());
    let mut rows = vec![
        ("wrapping_token:".to_owned(), plain("token")),
        ("wrapping_accessor:".to_owned(), plain("accessor")),
        ("wrapping_token_ttl:".to_owned(), length),
        ("wrapping_token_creation_time:".to_owned(), plain("creation_time")),
        ("wrapping_token_creation_path:".to_owned(), plain("creation_path")),
    ];
    let wrapped = plain("wrapped_accessor");
    if wrapped.as_str().is_some_and(|accessor| !accessor.is_empty()) {
        rows.push(("wrapped_accessor:".to_owned(), wrapped));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(value: Value) -> Secret {
        Secret::made(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn tokens_are_shown_with_their_rights() {
        let made = secret(json!({"auth": {
            "client_token": "t", "accessor": "a", "lease_duration": 0, "renewable": false,
            "token_policies": ["root"], "identity_policies": null, "policies": ["root"],
            "metadata": {"username": "bob"},
        }}));
        let expected = "Key                    Value\n---                    -----\n\
            token                  t\ntoken_accessor         a\ntoken_duration         ∞\n\
            token_renewable        false\ntoken_policies         [\"root\"]\n\
            identity_policies      []\npolicies               [\"root\"]\ntoken_meta_username    bob\n";
        assert_eq!(made.table().to_string(), expected);
        assert_eq!(made.field("token"), Some("t".into()));
    }

    #[test]
    fn a_wrapped_answer_shows_its_token_only() {
        let wrapped = secret(json!({"wrap_info": {"token": "w", "accessor": "a", "ttl": 60,
            "creation_time": "t", "creation_path": "secret/data/j", "wrapped_accessor": ""}}));
        let expected = "Key                              Value\n---                              -----\n\
            wrapping_token:                  w\nwrapping_accessor:               a\n\
            wrapping_token_ttl:              1m\nwrapping_token_creation_time:    t\n\
            wrapping_token_creation_path:    secret/data/j\n";
        assert_eq!(wrapped.table().to_string(), expected);
        assert_eq!(wrapped.field("wrapping_token"), Some("w".into()));
    }

    #[test]
    fn data_follows_its_refresh_interval() {
        let read =
            secret(json!({"lease_id": "", "lease_duration": 2_764_800, "data": {"b": 2, "a": ""}}));
        let expected = "Key                 Value\n---                 -----\n\
            refresh_interval    768h\na                   n/a\nb                   2\n";
        assert_eq!(read.table().to_string(), expected);
    }

    #[test]
    fn documents_hold_the_envelope_without_what_is_absent() {
        let read = secret(
            json!({"request_id": "r", "data": {"a": 1}, "auth": null, "wrap_info": null, "mount_type": "kv"}),
        );
        let expected = json!({"request_id": "r", "lease_id": "", "lease_duration": 0,
            "renewable": false, "data": {"a": 1}, "warnings": null});
        assert_eq!(read.document(), expected);
    }
}
