//! YAML of JSON documents: block style, sorted fields, and every text that YAML could take for
//! something else in JSON's quotes, which YAML reads alike.

use serde_json::Value;

/// Words that YAML 1.1 readers take for booleans or nothing.
const RESERVED: [&str; 11] = ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n"];

/// The document as text, with a line end.
pub(super) fn text(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => object(&mut text, fields, 0),
        Value::Array(items) if !items.is_empty() => list(&mut text, items, 0),
        plain => {
            text.push_str(&scalar(plain));
            text.push('\n');
        }
    }
    text
}

fn object(text: &mut String, fields: &serde_json::Map<String, Value>, depth: usize) {
    let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    for (position, (name, value)) in sorted.into_iter().enumerate() {
        // The first field of an object in a list stands behind the dash.
        if position > 0 || !text.ends_with("- ") {
            indent(text, depth);
        }
        text.push_str(&string(name));
        text.push(':');
        below(text, value, depth);
    }
}

fn list(text: &mut String, items: &[Value], depth: usize) {
    for item in items {
        indent(text, depth);
        match item {
            Value::Object(fields) if !fields.is_empty() => {
                text.push_str("- ");
                object(text, fields, depth + 1);
            }
            Value::Array(inner) if !inner.is_empty() => {
                text.push_str("-\n");
                list(text, inner, depth + 1);
            }
            plain => {
                text.push_str("- ");
                text.push_str(&scalar(plain));
                text.push('\n');
            }
        }
    }
}

fn below(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            object(text, fields, depth + 1);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            list(text, items, depth);
        }
        plain => {
            text.push(' ');
            text.push_str(&scalar(plain));
            text.push('\n');
        }
    }
}

fn indent(text: &mut String, depth: usize) {
    text.push_str(&"  ".repeat(depth));
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(plain) => string(plain),
        other => other.to_string(),
    }
}

fn string(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { Value::from(text).to_string() }
}

/// Whether the text means itself without quotes.
fn is_plain(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let harmless = |letter: char| letter.is_ascii_alphanumeric() || "_-./@+=:() ".contains(letter);
    let first =
        text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '/' || c == '_');
    first
        && text.chars().all(harmless)
        && !RESERVED.contains(&lower.as_str())
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !looks_like_number(&lower)
        && !looks_like_time(text)
}

fn looks_like_number(text: &str) -> bool {
    let digits: String = text.chars().filter(|letter| *letter != '_').collect();
    let based = ["0x", "0o", "0b"].iter().any(|prefix| digits.starts_with(prefix));
    based || digits.parse::<f64>().is_ok() || digits.chars().all(|c| c.is_ascii_digit() || c == ':')
}

fn looks_like_time(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let digits = |part: Option<&str>, length: usize| {
        part.is_some_and(|part| part.len() == length && part.bytes().all(|b| b.is_ascii_digit()))
    };
    digits(parts.next(), 4)
        && parts.next().is_some_and(|part| part.len() <= 2)
        && parts.next().is_some_and(|part| part.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_written_in_blocks_with_sorted_fields() {
        let document = json!({
            "warnings": null, "lease_id": "", "data": {"user": "eve", "n": "1", "list": [1, "a b"]},
            "empty": {}, "none": [], "rows": [{"b": 1, "a": [true]}, [2]],
        });
        let expected = "data:\n  list:\n  - 1\n  - a b\n  \"n\": \"1\"\n  user: eve\nempty: {}\n\
                        lease_id: \"\"\nnone: []\nrows:\n- a:\n  - true\n  b: 1\n-\n  - 2\nwarnings: null\n";
        assert_eq!(text(&document), expected);
    }

    #[test]
    fn texts_that_yaml_reads_as_something_else_are_quoted() {
        for quoted in [
            "yes",
            "No",
            "null",
            "~",
            "1",
            "1.5",
            "1e400",
            "0x1F",
            "1_000",
            "12:30",
            "2026-01-02",
            "2026-01-02T03:04:05Z",
            "a: b",
            "a:",
            "- a",
            "#a",
            "a #b",
            "*a",
            "{a",
            "a\nb",
            " a",
            "é",
            "@a",
            "inf",
            ".5",
            "'a'",
            "%",
            "!x",
            "&x",
            "a, b",
            "?",
            "=",
        ] {
            assert_eq!(string(quoted), Value::from(quoted).to_string(), "{quoted}");
        }
        for plain in [
            "eve",
            "1.14.9",
            "http://127.0.0.1:8200",
            "8d6f0b1e-1c5e-4b6a-9d39-0d8f2c6d1a11",
            "per-token private secret storage",
            "secret/data/app",
            "a@b",
            "k=v",
        ] {
            assert_eq!(string(plain), plain);
        }
    }
}
