//! Fields as a request gives them: absent, `null`, or a value. In a merge patch `null` takes away
//! what an absent field leaves alone.

use bailee_sdk::field::KeyValues;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

/// A field of a request.
#[derive(Default)]
pub(crate) enum Given<T> {
    /// The request does not have it.
    #[default]
    Absent,
    /// It is `null`.
    Null,
    /// It is set.
    Value(T),
}

impl<T> Given<T> {
    /// What the field becomes: what was there where the request does not have it.
    pub(crate) fn or(self, before: T, default: impl FnOnce() -> T) -> T {
        match self {
            Given::Absent => before,
            Given::Null => default(),
            Given::Value(value) => value,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Given<T>, D::Error> {
        let value = Option::<T>::deserialize(deserializer)?;
        Ok(value.map_or(Given::Null, Given::Value))
    }
}

impl<T: JsonSchema> JsonSchema for Given<T> {
    fn schema_name() -> Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

/// Texts under names, as [`KeyValues`] takes them; a name with `null` is to go.
#[derive(Default)]
pub(crate) struct Entries(pub(super) BTreeMap<String, Option<String>>);

impl Entries {
    /// What is there afterwards.
    pub(in crate::paths) fn onto(
        self,
        mut before: BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        for (name, value) in self.0 {
            match value {
                Some(value) => before.insert(name, value),
                None => before.remove(&name),
            };
        }
        before
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let mut entries = BTreeMap::new();
        if let Value::Object(fields) = &mut value {
            fields.retain(|name, value| {
                let goes = value.is_null();
                if goes {
                    entries.insert(name.clone(), None);
                }
                !goes
            });
        }
        let KeyValues(set) = KeyValues::deserialize(value).map_err(D::Error::custom)?;
        entries.extend(set.into_iter().map(|(name, value)| (name, Some(value))));
        Ok(Entries(entries))
    }
}

impl JsonSchema for Entries {
    fn schema_name() -> Cow<'static, str> {
        KeyValues::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        KeyValues::json_schema(generator)
    }
}
