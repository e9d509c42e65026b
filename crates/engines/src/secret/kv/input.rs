//! Inputs that are lenient in this engine's own way.

use bailee_notation::duration;
use bailee_sdk::field::Integers;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
use std::{borrow::Cow, time::Duration};

/// A field that is there, null included: null sets it back to its default.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Numbers of versions: an array, or one text with commas. Negative ones name no version.
#[derive(Debug, Default)]
pub(super) struct VersionNumbers(pub(super) Vec<u64>);

impl<'de> Deserialize<'de> for VersionNumbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<VersionNumbers, D::Error> {
        let Integers(numbers) = Integers::deserialize(deserializer)?;
        Ok(VersionNumbers(
            numbers.into_iter().filter_map(|number| number.try_into().ok()).collect(),
        ))
    }
}

impl JsonSchema for VersionNumbers {
    fn schema_name() -> Cow<'static, str> {
        "VersionNumbers".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "integer" } })
    }
}

/// How long after its creation a version is deleted by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub(super) enum DeleteAfter {
    /// Not said here.
    #[default]
    Unset,
    /// Never, whatever the other place says: written as a negative duration.
    Never,
    /// After this long.
    After(Duration),
}

impl DeleteAfter {
    /// How long a new version lives under the mount's and the key's setting.
    pub(super) fn combined(mount: DeleteAfter, key: DeleteAfter) -> Option<Duration> {
        match (mount, key) {
            (DeleteAfter::Never, _) | (_, DeleteAfter::Never) => None,
            (DeleteAfter::Unset, DeleteAfter::Unset) => None,
            (DeleteAfter::After(only), DeleteAfter::Unset)
            | (DeleteAfter::Unset, DeleteAfter::After(only)) => Some(only),
            (DeleteAfter::After(mount), DeleteAfter::After(key)) => Some(mount.min(key)),
        }
    }

    pub(super) fn text(self) -> String {
        match self {
            DeleteAfter::Unset => duration::format_go(Duration::ZERO),
            DeleteAfter::Never => "-1s".to_owned(),
            DeleteAfter::After(after) => duration::format_go(after),
        }
    }
}

/// Stored as milliseconds; -1 for never.
impl From<DeleteAfter> for i64 {
    fn from(value: DeleteAfter) -> i64 {
        match value {
            DeleteAfter::Unset => 0,
            DeleteAfter::Never => -1,
            DeleteAfter::After(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

impl From<i64> for DeleteAfter {
    fn from(millis: i64) -> DeleteAfter {
        match u64::try_from(millis) {
            Ok(0) => DeleteAfter::Unset,
            Ok(millis) => DeleteAfter::After(Duration::from_millis(millis)),
            Err(_) => DeleteAfter::Never,
        }
    }
}

/// [`DeleteAfter`] as clients write it: a duration, below zero for never.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeleteAfterInput(pub(super) DeleteAfter);

impl<'de> Deserialize<'de> for DeleteAfterInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DeleteAfterInput, D::Error> {
        let expected = || D::Error::custom("expected a duration such as 30, \"30s\" or \"1h\"");
        let text = match Value::deserialize(deserializer)? {
            Value::Null => String::new(),
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => return Err(expected()),
        };
        let length = match text.strip_prefix('-') {
            Some("") => return Err(expected()),
            Some(length) => length,
            None => &text,
        };
        let length = match length {
            "" => Duration::ZERO,
            length => duration::parse(length).map_err(|_| expected())?,
        };
        Ok(DeleteAfterInput(match (length, text.starts_with('-')) {
            (Duration::ZERO, _) => DeleteAfter::Unset,
            (_, true) => DeleteAfter::Never,
            // Less than a millisecond is not told apart from nothing.
            (length, false) => DeleteAfter::After(length.max(Duration::from_millis(1))),
        }))
    }
}

impl JsonSchema for DeleteAfterInput {
    fn schema_name() -> Cow<'static, str> {
        "DeleteAfter".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration" })
    }
}
