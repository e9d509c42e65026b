//! What a token says beside the usual: JSON in which templates stand for JSON values. Pure.
//!
//! ```text
//! {"team": {{identity.entity.metadata.team}}, "groups": {{identity.entity.groups.names}},
//!  "nbf": {{time.now}}}
//! ```

use crate::policy::{Facts, FactsAlias};
use bailee_crypto::clock::to_millis;
use bailee_notation::{duration, json};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::SystemTime};

/// What every token says itself.
const RESERVED: [&str; 6] = ["iat", "aud", "exp", "iss", "sub", "namespace"];
/// What a token may say beside the usual.
const FILLED_BYTES_MAX: usize = 64 << 10;

/// The claims; what is not known of the entity is an empty text, list or object.
pub(super) fn fill(
    text: &str,
    facts: &Facts,
    now: SystemTime,
) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after
            .split_once("}}")
            .ok_or("error parsing template JSON: a template is not closed by }}")?;
        let value = value(name.trim(), facts, now)
            .ok_or_else(|| format!("error parsing template JSON: unknown template {name:?}"))?;
        filled.push_str(before);
        filled.push_str(&value.to_string());
        rest = after;
    }
    filled.push_str(rest);
    if filled.len() > FILLED_BYTES_MAX {
        return Err(format!("the filled template has more than {FILLED_BYTES_MAX} bytes"));
    }
    let parsed = json::parse(filled.as_bytes(), &json::Limits::stored());
    let Ok(Value::Object(claims)) = parsed else {
        return Err("error parsing template JSON: what it yields is not a JSON object".to_owned());
    };
    match RESERVED.iter().find(|name| claims.contains_key(**name)) {
        Some(name) => Err(format!(
            "top level key {name:?} not allowed. Restricted keys: {}",
            RESERVED.join(", ")
        )),
        None => Ok(claims),
    }
}

/// What a template stands for; `None` when there is no such template.
fn value(name: &str, facts: &Facts, now: SystemTime) -> Option<Value> {
    if let Some(rest) = name.strip_prefix("time.now") {
        return time(rest, now);
    }
    let name = name.strip_prefix("identity.entity.")?;
    let text = |text: &Option<String>| Some(Value::from(text.clone().unwrap_or_default()));
    match name {
        "id" => return text(&facts.entity_id),
        "name" => return text(&facts.entity_name),
        "metadata" => return Some(object(&facts.entity_metadata)),
        "groups.ids" => return Some(facts.groups.iter().map(|group| group.id.as_str()).collect()),
        "groups.names" => {
            return Some(facts.groups.iter().map(|group| group.name.as_str()).collect());
        }
        _ => {}
    }
    if let Some(entry) = name.strip_prefix("metadata.") {
        return Some(entry_of(&facts.entity_metadata, entry));
    }
    let (accessor, field) = name.strip_prefix("aliases.")?.split_once('.')?;
    let nobody = FactsAlias::default();
    let alias = facts.aliases.get(accessor).unwrap_or(&nobody);
    match field {
        "id" => Some(alias.id.as_str().into()),
        "name" => Some(alias.name.as_str().into()),
        "metadata" => Some(object(&alias.metadata)),
        "custom_metadata" => Some(object(&alias.custom_metadata)),
        _ => match field.strip_prefix("metadata.") {
            Some(entry) => Some(entry_of(&alias.metadata, entry)),
            None => {
                let entry = field.strip_prefix("custom_metadata.")?;
                Some(entry_of(&alias.custom_metadata, entry))
            }
        },
    }
}

/// Seconds since 1970: now, or a span before or after.
fn time(rest: &str, now: SystemTime) -> Option<Value> {
    let now = to_millis(now) / 1000;
    if rest.is_empty() {
        return Some(now.into());
    }
    let seconds = |text: &str| duration::parse(text).ok().map(|span| span.as_secs());
    if let Some(span) = rest.strip_prefix(".plus.") {
        return Some(now.saturating_add(seconds(span)?).into());
    }
    Some(now.saturating_sub(seconds(rest.strip_prefix(".minus.")?)?).into())
}

fn object(entries: &BTreeMap<String, String>) -> Value {
    serde_json::json!(entries)
}

fn entry_of(entries: &BTreeMap<String, String>, name: &str) -> Value {
    entries.get(name).cloned().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::FactsGroup;
    use serde_json::json;
    use std::time::Duration;

    fn facts() -> Facts {
        let pair = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let alias = FactsAlias {
            id: "a1".to_owned(),
            name: "ann".to_owned(),
            metadata: pair("k", "v"),
            custom_metadata: pair("c", "d"),
        };
        Facts {
            entity_id: Some("e1".to_owned()),
            entity_name: Some("Ann \"x\"".to_owned()),
            entity_metadata: pair("team", "red"),
            aliases: BTreeMap::from([("auth_1".to_owned(), alias)]),
            groups: vec![FactsGroup {
                id: "g1".to_owned(),
                name: "ops".to_owned(),
                ..FactsGroup::default()
            }],
            policies: Vec::new(),
        }
    }

    #[test]
    fn templates_stand_for_json_values() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let text = r#"{"id": {{identity.entity.id}}, "name": {{ identity.entity.name }},
            "team": {{identity.entity.metadata.team}}, "none": {{identity.entity.metadata.x}},
            "all": {{identity.entity.metadata}}, "groups": {{identity.entity.groups.names}},
            "ids": {{identity.entity.groups.ids}}, "alias": {{identity.entity.aliases.auth_1.name}},
            "k": {{identity.entity.aliases.auth_1.metadata.k}},
            "c": {{identity.entity.aliases.auth_1.custom_metadata}},
            "other": {{identity.entity.aliases.auth_2.metadata}},
            "now": {{time.now}}, "later": {{time.now.plus.1m}}, "nbf": {{time.now.minus.10s}}}"#;
        let expected = json!({
            "id": "e1", "name": "Ann \"x\"", "team": "red", "none": "", "all": {"team": "red"},
            "groups": ["ops"], "ids": ["g1"], "alias": "ann", "k": "v", "c": {"c": "d"},
            "other": {}, "now": 1000, "later": 1060, "nbf": 990,
        });
        assert_eq!(Value::Object(fill(text, &facts(), now).unwrap()), expected);
        assert!(fill(text, &Facts::default(), now).is_ok());
        assert!(fill("", &facts(), now).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_template_or_no_object_is_refused() {
        let now = SystemTime::UNIX_EPOCH;
        for (text, reason) in [
            ("[]", "not a JSON object"),
            ("{", "not a JSON object"),
            (r#"{"a": {{identity.entity.id}"#, "not closed"),
            (r#"{"a": {{identity.entity.age}}}"#, "unknown template"),
            (r#"{"a": {{time.now.plus.x}}}"#, "unknown template"),
            (r#"{"sub": "x"}"#, "top level key \"sub\" not allowed"),
        ] {
            let error = fill(text, &facts(), now).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
