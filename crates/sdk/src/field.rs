//! The lenient inputs that clients of this API are used to: durations as numbers or texts, lists as
//! arrays or comma texts, numbers and booleans as texts. Each type carries its own schema.

use bailee_notation::duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap, time::Duration};

/// What stands where something else was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

impl Found {
    fn of(value: &Value) -> Found {
        match value {
            Value::Null => Found::Null,
            Value::Bool(_) => Found::Bool,
            Value::Number(_) => Found::Number,
            Value::String(_) => Found::Text,
            Value::Array(_) => Found::Array,
            Value::Object(_) => Found::Object,
        }
    }

    /// Its type in the messages that clients of this API know.
    pub(crate) fn go_type(self) -> &'static str {
        match self {
            Found::Null => "nil",
            Found::Bool => "bool",
            Found::Number => "json.Number",
            Found::Text => "string",
            Found::Array => "[]interface {}",
            Found::Object => "map[string]interface {}",
        }
    }

    /// The same in short; a number is the text of its digits.
    pub(crate) fn go_kind(self) -> &'static str {
        match self {
            Found::Null => "invalid",
            Found::Bool => "bool",
            Found::Number | Found::Text => "string",
            Found::Array => "slice",
            Found::Object => "map",
        }
    }
}

/// Refuses a value by its type alone; `place` is its place within the field.
pub(crate) fn unconvertible(place: &str, wanted: &str, found: &str) -> String {
    format!("'{place}' expected type '{wanted}', got unconvertible type '{found}'")
}

/// Refuses a text that is not a number or a truth value, without repeating it.
fn unparsable(place: &str, wanted: &str, parser: &str) -> String {
    format!("'{place}' cannot parse value as '{wanted}': strconv.{parser}: invalid syntax")
}

/// Refuses the elements of a list.
fn undecodable(errors: &[String]) -> String {
    format!("{SEVERAL}{}", errors.join("\n"))
}

const SEVERAL: &str = "decoding failed due to the following error(s):\n\n";

/// Whether a message is one of those above: they repeat nothing.
pub(crate) fn is_refusal(text: &str) -> bool {
    text.starts_with('\'') || text.starts_with(SEVERAL)
}

/// The input of an endpoint that takes none.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub struct Nothing {}

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
        let items = match Value::deserialize(deserializer)? {
            Value::Null => Vec::new(),
            Value::String(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
            Value::Number(number) => vec![number.to_string()],
            Value::Array(items) => texts(items).map_err(D::Error::custom)?,
            // One value counts as a list of one.
            other @ (Value::Bool(_) | Value::Object(_)) => {
                texts(vec![other]).map_err(D::Error::custom)?
            }
        };
        let items = items.into_iter().map(|item| item.trim().to_owned());
        Ok(CommaList(items.filter(|item: &String| !item.is_empty()).collect()))
    }
}

/// The elements of a list as texts.
fn texts(items: Vec<Value>) -> Result<Vec<String>, String> {
    let (mut texts, mut errors) = (Vec::new(), Vec::new());
    for (place, item) in items.into_iter().enumerate() {
        match item {
            Value::String(text) => texts.push(text),
            Value::Number(number) => texts.push(number.to_string()),
            other => {
                let found = Found::of(&other).go_type();
                errors.push(unconvertible(&format!("[{place}]"), "string", found));
            }
        }
    }
    if errors.is_empty() { Ok(texts) } else { Err(undecodable(&errors)) }
}

/// A list of whole numbers, also as texts, or one text with commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Integers(pub Vec<i64>);

impl<'de> Deserialize<'de> for Integers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Integers, D::Error> {
        let items = match Value::deserialize(deserializer)? {
            Value::Null => Vec::new(),
            Value::String(text) if text.trim().is_empty() => Vec::new(),
            Value::String(text) => text.split(',').map(|item| Value::from(item.trim())).collect(),
            Value::Array(items) => items,
            other => vec![other],
        };
        let (mut numbers, mut errors) = (Vec::new(), Vec::new());
        for (place, item) in items.iter().enumerate() {
            match integer(&format!("[{place}]"), item) {
                Ok(number) => numbers.push(number),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(Integers(numbers))
        } else {
            Err(D::Error::custom(undecodable(&errors)))
        }
    }
}

fn integer(place: &str, value: &Value) -> Result<i64, String> {
    let refusal = || unparsable(place, "int", "ParseInt");
    match value {
        Value::Number(number) => number.to_string().parse().map_err(|_| refusal()),
        Value::String(text) => text.trim().parse().map_err(|_| refusal()),
        other => Err(unconvertible(place, "int", Found::of(other).go_type())),
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
        let not_texts = |found: Found| {
            let error = unconvertible("[0]", "string", found.go_type());
            D::Error::custom(undecodable(&[error]))
        };
        let pairs = match Value::deserialize(deserializer)? {
            Value::Null => BTreeMap::new(),
            Value::String(text) if text.is_empty() => BTreeMap::new(),
            Value::String(text) => text.split(',').map(pair).collect::<Result<_, _>>()?,
            Value::Array(items) => {
                let items = texts(items).map_err(D::Error::custom)?;
                items.iter().map(|item| pair(item)).collect::<Result<_, _>>()?
            }
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| match value {
                    Value::String(text) => Ok((name, text)),
                    Value::Number(number) => Ok((name, number.to_string())),
                    Value::Bool(flag) => Ok((name, flag.to_string())),
                    // What is no map of texts is a list of one thing, which is no text either.
                    Value::Null | Value::Array(_) | Value::Object(_) => {
                        Err(not_texts(Found::Object))
                    }
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
            other @ (Value::Array(_) | Value::Object(_)) => {
                let found = Found::of(&other).go_type();
                return Err(D::Error::custom(unconvertible("", "bool", found)));
            }
        };
        match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Flag(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Flag(false)),
            _ => Err(D::Error::custom(unparsable("", "bool", "ParseBool"))),
        }
    }
}

/// A whole number, also as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Integer(pub i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Integer, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Integer(0)),
            value => integer("", &value).map(Integer).map_err(D::Error::custom),
        }
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
    Integers: { "type": "array", "items": { "type": "integer" } },
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
    fn a_refusal_names_types_and_places_and_repeats_nothing() {
        let refusal = |read: Result<(), String>| read.unwrap_err();
        assert_eq!(
            refusal(read::<Integers>(json!("canary,1,canary")).map(|_| ())),
            "decoding failed due to the following error(s):\n\n\
             '[0]' cannot parse value as 'int': strconv.ParseInt: invalid syntax\n\
             '[2]' cannot parse value as 'int': strconv.ParseInt: invalid syntax"
        );
        assert_eq!(
            refusal(read::<KeyValues>(json!({"canary": {"canary": 1}})).map(|_| ())),
            "decoding failed due to the following error(s):\n\n\
             '[0]' expected type 'string', got unconvertible type 'map[string]interface {}'"
        );
        assert_eq!(
            refusal(read::<Flag>(json!("canary")).map(|_| ())),
            "'' cannot parse value as 'bool': strconv.ParseBool: invalid syntax"
        );
        assert_eq!(
            refusal(read::<Integer>(json!([7])).map(|_| ())),
            "'' expected type 'int', got unconvertible type '[]interface {}'"
        );
        let listed = [
            read::<CommaList>(json!([true])).map(|_| ()),
            read::<CommaList>(json!(true)).map(|_| ()),
        ];
        for one in listed {
            assert!(
                refusal(one)
                    .ends_with("'[0]' expected type 'string', got unconvertible type 'bool'")
            );
        }
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
        for value in [json!([1, "2"]), json!("1, 2")] {
            assert_eq!(read(value), Ok(Integers(vec![1, 2])));
        }
        assert_eq!(read(json!(3)), Ok(Integers(vec![3])));
    }
}
