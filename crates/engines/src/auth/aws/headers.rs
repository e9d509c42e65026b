//! Headers of a request that a client signed: which there may be, each once.

use super::short;
use bailee_sdk::Error;
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// The header that ties a signed request to one server, in the letters of its documentation.
pub(super) const SERVER_ID: &str = "X-Vault-AWS-IAM-Server-ID";
/// The same in lower case.
pub(super) const SERVER_ID_LOWER: &str = "x-vault-aws-iam-server-id";
/// Most headers of one request.
const HEADERS_MAX: usize = 32;
/// Most bytes of all headers together: a session token has up to some 4 KiB.
const HEADERS_BYTES_MAX: usize = 16 << 10;

/// Headers that clients of AWS sign, or send along.
const ALLOWED: &[&str] = &[
    "accept",
    "accept-encoding",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-user-agent",
    SERVER_ID_LOWER,
];

/// Headers that say how a message travels, not what it is: no configuration allows them.
const NEVER: &[&str] = &[
    "connection",
    "content-encoding",
    "cookie",
    "expect",
    "forwarded",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-http-method-override",
];

/// The headers by their names in lower case.
#[derive(Debug, Default)]
pub(super) struct SignedHeaders(BTreeMap<String, String>);

impl SignedHeaders {
    /// Reads `iam_request_headers`: an object, or JSON, or JSON in base64. `more` are allowed beside
    /// the usual ones.
    pub(super) fn read(given: &Value, more: &[String]) -> Result<SignedHeaders, Error> {
        let pairs = match given {
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
            }
            Value::String(text) if !text.trim().is_empty() => pairs_of(text)?,
            Value::Null | Value::String(_) => {
                return Err(Error::invalid("missing iam_request_headers"));
            }
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => return Err(unreadable()),
        };
        let bytes: usize = pairs.iter().map(|(name, _)| name.len()).sum();
        let mut headers = BTreeMap::new();
        let mut total = bytes;
        for (name, value) in pairs {
            let lower = name.to_ascii_lowercase();
            if !is_allowed(&lower, more) {
                return Err(Error::invalid(format!("invalid request header: {:?}", short(&name))));
            }
            let value = only_value(&name, value)?;
            total += value.len();
            if headers.insert(lower, value).is_some() {
                return Err(Error::invalid(format!(
                    "request header {:?} is there twice",
                    short(&name)
                )));
            }
        }
        if headers.len() > HEADERS_MAX || total > HEADERS_BYTES_MAX {
            return Err(Error::invalid("iam_request_headers are more than a signed request has"));
        }
        Ok(SignedHeaders(headers))
    }

    /// The value of a header; `name` is in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All names and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Checks `allowed_sts_header_values`; gives them in lower case.
pub(super) fn allowable(names: Vec<String>) -> Result<Vec<String>, Error> {
    names
        .into_iter()
        .map(|name| {
            let lower = name.to_ascii_lowercase();
            let token =
                lower.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if lower.is_empty() || !token || NEVER.contains(&lower.as_str()) {
                return Err(Error::invalid(format!(
                    "allowed_sts_header_values: {name:?} is no header that can be passed on to STS"
                )));
            }
            Ok(lower)
        })
        .collect()
}

fn is_allowed(lower: &str, more: &[String]) -> bool {
    !NEVER.contains(&lower) && (ALLOWED.contains(&lower) || more.iter().any(|name| name == lower))
}

/// One value, of letters that no other reader could take for more than one header.
fn only_value(name: &str, value: Value) -> Result<String, Error> {
    let several =
        || Error::invalid(format!("request header {:?} needs exactly one value", short(name)));
    let value = match value {
        Value::Array(values) => {
            let mut values = values.into_iter();
            let first = values.next().ok_or_else(several)?;
            if values.next().is_some() {
                return Err(several());
            }
            first
        }
        value => value,
    };
    let text = match value {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => return Err(several()),
    };
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if text.is_empty() || !printable || text.trim() != text {
        return Err(Error::invalid(format!(
            "request header {:?} has a crooked value",
            short(name)
        )));
    }
    Ok(text)
}

fn unreadable() -> Error {
    Error::invalid("iam_request_headers is neither a JSON object nor one in base64")
}

fn pairs_of(text: &str) -> Result<Vec<(String, Value)>, Error> {
    let decoded;
    let json = if text.trim_start().starts_with('{') {
        text
    } else {
        decoded = super::signed::from_base64("iam_request_headers", text)?;
        decoded.as_str()
    };
    serde_json::from_str::<Pairs>(json).map(|pairs| pairs.0).map_err(|_| unreadable())
}

/// An object with all its fields, also those that are there twice.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, Value>()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(given: &Value) -> String {
        SignedHeaders::read(given, &[]).unwrap_err().to_string()
    }

    #[test]
    fn objects_json_and_base64_are_read_alike() {
        let object = json!({"X-Amz-Date": ["20260102T030405Z"], "Content-Length": 43, "host": "h"});
        let text = Value::from(object.to_string());
        let base64 = Value::from(crate::auth::aws::signed::tests::base64(&object.to_string()));
        for given in [object, text, base64] {
            let headers = SignedHeaders::read(&given, &[]).unwrap();
            assert_eq!(headers.get("x-amz-date"), Some("20260102T030405Z"));
            assert_eq!(headers.get("content-length"), Some("43"));
            assert_eq!(headers.get("host"), Some("h"));
        }
    }

    #[test]
    fn a_header_is_there_once_whatever_its_letters() {
        for given in [
            json!({"Host": ["a", "b"]}),
            json!({"Host": []}),
            json!({"Host": "a", "host": "a"}),
            Value::from(r#"{"Host": "a", "Host": "a"}"#),
            Value::from(r#"{"X-Amz-Date": "a", "x-amz-DATE": "b"}"#),
            json!({"Host": {"a": "b"}}),
            json!({"Host": null}),
        ] {
            let text = refusal(&given);
            assert!(
                text.contains("twice") || text.contains("exactly one value"),
                "{given}: {text}"
            );
        }
    }

    #[test]
    fn values_that_could_be_read_as_more_are_refused() {
        for value in
            ["a\r\nX-Amz-Date: b", "a\nb", "a\0", " a", "a ", "\ta", "", "ä", "a\u{7f}", "\u{2028}"]
        {
            assert!(refusal(&json!({"Host": value})).contains("crooked"), "{value:?}");
        }
        assert!(refusal(&json!({"Host\r\nX": "a"})).contains("invalid request header"));
        assert!(refusal(&json!({"Host ": "a"})).contains("invalid request header"));
        assert!(refusal(&json!({"": "a"})).contains("invalid request header"));
    }

    #[test]
    fn only_known_headers_pass_and_those_of_the_connection_never() {
        for name in ["X-Amz-Target", "X-Forwarded-Host", "Date", "Range", "Connection", "TE"] {
            assert!(refusal(&json!({name: "a"})).contains("invalid request header"), "{name}");
        }
        let more = allowable(vec!["X-Amz-Meta".to_owned()]).unwrap();
        SignedHeaders::read(&json!({"x-amz-META": "a"}), &more).unwrap();
        for name in ["Transfer-Encoding", "connection", "Upgrade", "a b", "", "X:Y", "Cookie"] {
            assert!(allowable(vec![name.to_owned()]).is_err(), "{name}");
        }
        let forced = ["transfer-encoding".to_owned()];
        assert!(SignedHeaders::read(&json!({"Transfer-Encoding": "chunked"}), &forced).is_err());
    }

    #[test]
    fn there_are_no_more_than_a_request_needs() {
        let long = "a".repeat(17 << 10);
        assert!(refusal(&json!({"X-Amz-Security-Token": long})).contains("more than"));
        for given in [json!(1), json!([]), json!(true), json!("%%%"), json!("bm8="), json!("[]")] {
            SignedHeaders::read(&given, &[]).unwrap_err();
        }
        assert_eq!(refusal(&Value::Null), "missing iam_request_headers");
    }
}
