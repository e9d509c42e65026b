//! Values as the tables show them: the text forms of Go, which scripts parse.

use bailee_notation::duration::format_go;
use serde_json::Value;
use std::time::Duration;

/// A value in a cell.
pub(crate) fn cell(name: &str, value: &Value) -> String {
    match value.as_i64().filter(|_| is_duration(name)) {
        Some(length) => seconds(length),
        None => go(value),
    }
}

/// A value in Go's default form: `map[a:1 b:<nil>]`, `[x y]`.
pub(super) fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(plain) => plain.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(go).collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let fields = fields.iter().map(|(name, value)| format!("{name}:{}", go(value)));
            format!("map[{}]", fields.collect::<Vec<_>>().join(" "))
        }
    }
}

/// A list of texts, each in quotes.
pub(super) fn quoted(value: Option<&Value>) -> String {
    let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let items = items.iter().map(|item| format!("{:?}", item.as_str().unwrap_or_default()));
    format!("[{}]", items.collect::<Vec<_>>().join(" "))
}

/// Seconds as a short duration: `768h`, `1h30m`, `0s`.
pub(crate) fn seconds(length: i64) -> String {
    match u64::try_from(length) {
        Ok(length) => duration(Duration::from_secs(length)),
        Err(_) => format!("-{}", duration(Duration::from_secs(length.unsigned_abs()))),
    }
}

/// A duration without the units at its end that are zero.
pub(crate) fn duration(length: Duration) -> String {
    let mut text = format_go(length);
    for (zero, kept) in [("m0s", 1), ("h0m", 1)] {
        if text.ends_with(zero) {
            text.truncate(text.len() - zero.len() + kept);
        }
    }
    text
}

/// Names under which the API gives seconds.
fn is_duration(name: &str) -> bool {
    ["period", "ttl", "duration"].iter().any(|kind| {
        name.strip_suffix(kind).is_some_and(|front| front.is_empty() || front.ends_with('_'))
    }) || matches!(name, "lease_max" | "ttl_max")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_have_the_texts_of_go() {
        let value = json!({"b": [1, "x"], "a": null, "c": {"d": ""}});
        assert_eq!(go(&value), "map[a:<nil> b:[1 x] c:map[d:]]");
        assert_eq!(quoted(Some(&json!(["default", "p"]))), r#"["default" "p"]"#);
        assert_eq!(quoted(None), "[]");
    }

    #[test]
    fn seconds_are_short_durations_under_names_of_durations_only() {
        let cases = [
            (0, "0s"),
            (60, "1m"),
            (1800, "30m"),
            (3600, "1h"),
            (2_764_800, "768h"),
            (90, "1m30s"),
            (3601, "1h0m1s"),
        ];
        for (length, text) in cases {
            assert_eq!(seconds(length), text);
        }
        assert_eq!(cell("creation_ttl", &json!(3600)), "1h");
        assert_eq!(cell("ttl", &json!("1h")), "1h");
        assert_eq!(cell("creation_time", &json!(3600)), "3600");
    }
}
