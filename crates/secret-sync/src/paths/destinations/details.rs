//! Connection details: each kind says which it takes; what they look like in the API stands here.

use super::given::Entries;
use crate::registry::{DestinationKind, Details, StoredDestination};
use bailee_sdk::{Error, Sensitive, field::Ttl};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// What stands for a secret in answers, and for "unchanged" in writes.
pub(in crate::paths) const MASK: &str = "*****";
/// The longest text of one detail.
const DETAIL_BYTES_MAX: usize = 4096;
/// Most entries of a map.
const ENTRIES_MAX: usize = 64;

/// How a detail is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A text.
    Text,
    /// A time span, in seconds when it is shown.
    Seconds,
    /// Texts under names.
    Map,
}

/// The details that kinds choose from: name, shape, and what users read about them.
const DETAILS: &[(&str, Shape, &str)] = &[
    (
        "access_key_id",
        Shape::Text,
        "Access key of AWS; given together with `secret_access_key`, or not at all.",
    ),
    ("secret_access_key", Shape::Text, "Secret of the access key."),
    ("region", Shape::Text, "Region of the cloud, such as `eu-west-1`."),
    ("role_arn", Shape::Text, "ARN of a role to take on."),
    ("external_id", Shape::Text, "Identifier that the role's trust asks for."),
    (
        "identity_token_audience",
        Shape::Text,
        "For whom this server signs identity tokens that stand for the destination, instead of keys.",
    ),
    (
        "identity_token_key",
        Shape::Text,
        "Name of the key that signs identity tokens; empty for the default one.",
    ),
    ("identity_token_ttl", Shape::Seconds, "How long an identity token holds; an hour by default."),
    ("kms_key_id", Shape::Text, "Key that encrypts what is delivered; the cloud's own by default."),
    (
        "replica_regions",
        Shape::Map,
        "Regions to which secrets are copied, with the key that encrypts them there, or an empty text.",
    ),
];

/// Details of kinds that this server does not have: whoever sends them is told.
const FOREIGN: &[&str] = &[
    "access_token",
    "app_name",
    "client_id",
    "client_secret",
    "cloud",
    "credentials",
    "deployment_environments",
    "enterprise_url",
    "environment_name",
    "global_kms_key",
    "installation_id",
    "key_vault_uri",
    "locational_kms_keys",
    "organization_name",
    "organization_visibility",
    "project_id",
    "replication_locations",
    "repository_name",
    "repository_owner",
    "secrets_location",
    "selected_repository_names",
    "service_account_email",
    "subscription_id",
    "team_id",
    "tenant_id",
];

/// The details of a request, and what nobody knows.
#[derive(Deserialize)]
pub(crate) struct GivenDetails(Map<String, Value>);

impl JsonSchema for GivenDetails {
    fn schema_name() -> Cow<'static, str> {
        "ConnectionDetails".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut properties = Map::new();
        for (name, shape, description) in DETAILS {
            let mut schema = match shape {
                Shape::Text => json!({ "type": ["string", "null"] }),
                Shape::Seconds => {
                    json!({ "type": ["string", "integer", "null"], "format": "duration" })
                }
                Shape::Map => json!({
                    "type": ["object", "null"], "additionalProperties": { "type": "string" }
                }),
            };
            if let Value::Object(schema) = &mut schema {
                schema.insert("description".to_owned(), json!(description));
            }
            properties.insert((*name).to_owned(), schema);
        }
        let mut schema = Schema::default();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), Value::Object(properties));
        schema
    }
}

/// What a write makes of the details.
pub(super) struct Written {
    pub(super) details: Details,
    /// Secret fields that the request itself holds, masks not counted.
    pub(super) fresh: BTreeSet<&'static str>,
}

/// The details after a write: those of the request, onto `kept`. Masked secrets stay as they were in
/// `before`.
pub(super) fn written(
    kind: &DestinationKind,
    given: GivenDetails,
    before: Option<&StoredDestination>,
    kept: Details,
    partly: bool,
) -> Result<Written, Error> {
    let mut written = Written { details: kept, fresh: BTreeSet::new() };
    for (name, value) in given.0 {
        let Some(field) = kind.details.iter().find(|field| field.name == name) else {
            let known = shape(&name).is_some() || FOREIGN.contains(&name.as_str());
            if known && says_something(&value) {
                return Err(Error::invalid(not_of(kind, &name)));
            }
            continue;
        };
        let details = &mut written.details.0;
        let text = text(field.name, value, details.get(field.name).filter(|_| partly))?;
        let Some(text) = text else {
            details.remove(field.name);
            continue;
        };
        if field.secret && is_mask(text.expose()) {
            let old = before.and_then(|before| before.details.get(field.name));
            let old = old.ok_or_else(|| {
                Error::invalid(format!("{name} is masked, and there is no value to keep: set it"))
            })?;
            details.insert(name, old.clone());
            continue;
        }
        if field.secret {
            written.fresh.insert(field.name);
        }
        details.insert(name, text);
    }
    Ok(written)
}

/// A detail as answers show it.
pub(super) fn shown(name: &str, secret: bool, value: &Sensitive<String>) -> Value {
    if secret {
        return json!(MASK);
    }
    let text = value.expose();
    match shape(name) {
        Some(Shape::Map) => serde_json::from_str(text).unwrap_or_else(|_| json!({})),
        Some(Shape::Seconds) => text.parse::<u64>().map_or_else(|_| json!(text), |it| json!(it)),
        Some(Shape::Text) | None => json!(text),
    }
}

fn shape(name: &str) -> Option<Shape> {
    DETAILS.iter().find(|(known, ..)| *known == name).map(|(_, shape, _)| *shape)
}

fn not_of(kind: &DestinationKind, name: &str) -> String {
    let names: Vec<&str> = kind.details.iter().map(|field| field.name).collect();
    let takes = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    format!(
        "{name} is not a field of {}: leave it out; its connection details are {takes}",
        kind.name
    )
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        // Clients send zero for what was not set.
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(set) => *set,
    }
}

pub(in crate::paths) fn is_mask(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'*')
}

/// The text that is stored of a value; `None` where nothing is.
fn text(
    name: &str,
    value: Value,
    before: Option<&Sensitive<String>>,
) -> Result<Option<Sensitive<String>>, Error> {
    let wrong = |wanted: &str| Error::invalid(format!("{name} is not valid: want {wanted}"));
    let text = match (shape(name).unwrap_or(Shape::Text), value) {
        (_, Value::Null) => return Ok(None),
        (Shape::Text, Value::String(text)) => {
            check_text(name, &text)?;
            text
        }
        (Shape::Text, _) => return Err(wrong("a text")),
        (Shape::Seconds, value) => {
            let Ttl(span) =
                Ttl::deserialize(value).map_err(|_| wrong("seconds or a duration such as 1h"))?;
            if span.is_zero() { String::new() } else { span.as_secs().max(1).to_string() }
        }
        (Shape::Map, value) => {
            let entries = Entries::deserialize(value)
                .map_err(|_| wrong("a map of texts, or a list of name=value"))?;
            let before = before.map(|text| serde_json::from_str(text.expose()));
            let before: BTreeMap<String, String> = before.and_then(Result::ok).unwrap_or_default();
            let entries = entries.onto(before);
            if entries.len() > ENTRIES_MAX {
                return Err(wrong(&format!("at most {ENTRIES_MAX} entries")));
            }
            for (key, value) in &entries {
                check_text(name, key)?;
                check_text(name, value)?;
            }
            if entries.is_empty() { String::new() } else { json!(entries).to_string() }
        }
    };
    Ok(Some(text).filter(|text| !text.is_empty()).map(Sensitive::from))
}

/// What no detail may look like; the kind checks the rest.
fn check_text(name: &str, text: &str) -> Result<(), Error> {
    let problem = if text.len() > DETAIL_BYTES_MAX {
        format!("is longer than {DETAIL_BYTES_MAX} bytes")
    } else if text.chars().any(char::is_control) {
        "contains a line break or another control character: give it without".to_owned()
    } else if text.trim() != text {
        "begins or ends with white space: give it without".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("{name} {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_of_every_kind_are_described() {
        for kind in crate::destinations::all() {
            for field in kind.details {
                assert!(shape(field.name).is_some(), "{} of {}", field.name, kind.name);
                assert!(!FOREIGN.contains(&field.name), "{}", field.name);
            }
        }
    }
}
