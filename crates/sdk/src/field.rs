//! The lenient inputs that clients of this API are used to: durations as numbers or texts, lists as
//! arrays or comma texts, numbers and booleans as texts. Each type carries its own schema.

use bailee_notation::duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap, time::Duration};

/// A time span: seconds as a number or text, or Go's form such as `1h30m`, or days as `2d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(pub Duration);

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ttl, D::Error> {
        let expected = || D::Error::custom("expected a duration such as 30, \"30s\" or \"1h\"");
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Ttl::default()),
            Value::String(text) if text.is_empty() => Ok(Ttl::default()),
            Value::String(text) => duration::parse(&text).map(Ttl).map_err(|_| expected()),
            Value::Number(number) => {
                duration::parse(&number.to_string()).map(Ttl).map_err(|_| expected())
            }
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(expected()),
        }
    }
}

/// A list of texts: an array, or one text with commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommaList(pub Vec<String>);

impl<'de> Deserialize<'de> for CommaList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CommaList, D::Error> {
        let expected = || D::Error::custom("expected a list of strings");
        let items = match Value::deserialize(deserializer)? {
            Value::Null => Vec::new(),
            Value::String(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
            Value::Number(number) => vec![number.to_string()],
            Value::Array(items) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text.trim().to_owned()),
                    Value::Number(number) => Ok(number.to_string()),
                    Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => {
                        Err(expected())
                    }
                })
                .collect::<Result<_, _>>()?,
            Value::Bool(_) | Value::Object(_) => return Err(expected()),
        };
        Ok(CommaList(items.into_iter().filter(|item: &String| !item.is_empty()).collect()))
    }
}

/// Texts under names: an object, or a list of `name=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValues(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for KeyValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeyValues, D::Error> {
        let expected = || D::Error::custom("expected an object of strings, or a list of key=value");
        let pair = |text: &str| {
            let (name, value) = text.split_once('=').ok_or_else(expected)?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        };
        let pairs = match Value::deserialize(deserializer)? {
            Value::Null => BTreeMap::new(),
            Value::String(text) if text.is_empty() => BTreeMap::new(),
            Value::String(text) => text.split(',').map(pair).collect::<Result<_, _>>()?,
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().ok_or_else(expected).and_then(pair))
                .collect::<Result<_, _>>()?,
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| match value {
                    Value::String(text) => Ok((name, text)),
                    Value::Number(number) => Ok((name, number.to_string())),
                    Value::Bool(flag) => Ok((name, flag.to_string())),
                    Value::Null | Value::Array(_) | Value::Object(_) => Err(expected()),
                })
                .collect::<Result<_, _>>()?,
            Value::Bool(_) | Value::Number(_) => return Err(expected()),
        };
        Ok(KeyValues(pairs))
    }
}

/// A boolean, also as text or number: `true`, `"true"`, `"1"`, `1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Flag, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::Null => return Ok(Flag(false)),
            Value::Bool(flag) => return Ok(Flag(flag)),
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Array(_) | Value::Object(_) => String::new(),
        };
        match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Flag(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Flag(false)),
            _ => Err(D::Error::custom("expected true or false")),
        }
    }
}

/// A whole number, also as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Integer(pub i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Integer, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::Null => return Ok(Integer(0)),
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
        };
        text.trim().parse().map(Integer).map_err(|_| D::Error::custom("expected a whole number"))
    }
}

macro_rules! schema {
    ($($type:ident: $json:tt),+ $(,)?) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($json)
            }
        })+
    };
}

schema! {
    Ttl: { "type": ["string", "integer"], "format": "duration" },
    CommaList: { "type": "array", "items": { "type": "string" } },
    KeyValues: { "type": "object", "additionalProperties": { "type": "string" } },
    Flag: { "type": "boolean" },
    Integer: { "type": "integer" },
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_duration_is_a_number_of_seconds_or_a_text() {
        for value in [json!(30), json!("30"), json!("30s")] {
            assert_eq!(read(value), Ok(Ttl(Duration::from_secs(30))));
        }
        for value in [json!(null), json!(""), json!(0)] {
            assert_eq!(read(value), Ok(Ttl(Duration::ZERO)));
        }
        for value in [json!(true), json!([1]), json!({}), json!("soon"), json!(-1)] {
            assert!(read::<Ttl>(value).unwrap_err().starts_with("expected a duration"));
        }
    }

    #[test]
    fn a_list_is_an_array_or_one_text_with_commas() {
        for value in [json!(["a", " b", ""]), json!("a, b,")] {
            assert_eq!(read(value), Ok(CommaList(vec!["a".to_owned(), "b".to_owned()])));
        }
        assert_eq!(read(json!([1, "2"])), Ok(CommaList(vec!["1".to_owned(), "2".to_owned()])));
        assert_eq!(read(json!(null)), Ok(CommaList::default()));
        assert!(read::<CommaList>(json!([["a"]])).is_err());
        assert!(read::<CommaList>(json!(true)).is_err());
    }

    #[test]
    fn texts_under_names_are_an_object_or_a_list_of_pairs() {
        let expected =
            KeyValues([("a", "1"), ("b", "x=y")].map(|(k, v)| (k.into(), v.into())).into());
        for value in [json!({"a": 1, "b": "x=y"}), json!(["a=1", "b=x=y"]), json!("a=1,b=x=y")] {
            assert_eq!(read(value), Ok(expected.clone()));
        }
        assert!(read::<KeyValues>(json!({"a": {}})).is_err());
        assert!(read::<KeyValues>(json!(["a"])).is_err());
    }

    #[test]
    fn a_flag_and_a_whole_number_may_be_texts() {
        for value in [json!(true), json!("true"), json!("1"), json!(1)] {
            assert_eq!(read(value), Ok(Flag(true)));
        }
        for value in [json!(false), json!("false"), json!(0), json!(null)] {
            assert_eq!(read(value), Ok(Flag(false)));
        }
        assert!(read::<Flag>(json!("yes")).is_err());
        for value in [json!(7), json!("7")] {
            assert_eq!(read(value), Ok(Integer(7)));
        }
        for value in [json!("x"), json!(7.5), json!([7]), json!("")] {
            assert!(read::<Integer>(value).is_err());
        }
    }
}
