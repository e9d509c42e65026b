//! Members of a request, read with the bounds of the service's model.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::wire::{Failure, Service};

/// The members of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    service: Service,
    members: &'a Value,
}

impl<'a> Input<'a> {
    pub(crate) fn new(service: Service, members: &'a Value) -> Self {
        Self { service, members }
    }

    /// A member; `null` counts as absent.
    pub(crate) fn member(self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn has(self, name: &str) -> bool {
        self.member(name).is_some()
    }

    fn serialization(name: &str) -> Failure {
        Failure::new("SerializationException", format!("Unexpected type of member {name}"))
    }

    /// A text of `min` to `max` characters.
    pub(crate) fn text(
        self,
        name: &str,
        min: usize,
        max: usize,
    ) -> Result<Option<&'a str>, Failure> {
        let Some(value) = self.member(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| Self::serialization(name))?;
        self.check_length(name, text.chars().count(), min, max)?;
        Ok(Some(text))
    }

    pub(crate) fn required_text(
        self,
        name: &str,
        min: usize,
        max: usize,
    ) -> Result<&'a str, Failure> {
        self.text(name, min, max)?
            .ok_or_else(|| Failure::constraint(self.service, name, "not be null"))
    }

    pub(crate) fn check_length(
        self,
        name: &str,
        length: usize,
        min: usize,
        max: usize,
    ) -> Result<(), Failure> {
        let must = if length < min {
            format!("have length greater than or equal to {min}")
        } else if length > max {
            format!("have length less than or equal to {max}")
        } else {
            return Ok(());
        };
        Err(Failure::constraint(self.service, name, &must))
    }

    pub(crate) fn boolean(self, name: &str) -> Result<Option<bool>, Failure> {
        match self.member(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if self.service.is_query() => match text.as_str() {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                _ => Err(Self::serialization(name)),
            },
            Some(_) => Err(Self::serialization(name)),
        }
    }

    pub(crate) fn integer(self, name: &str) -> Result<Option<i64>, Failure> {
        let number = match self.member(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) if self.service.is_query() => text.parse().ok(),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| Self::serialization(name))
    }

    /// A number from `min` to `max`, or `default`.
    pub(crate) fn bounded(
        self,
        name: &str,
        min: i64,
        max: i64,
        default: i64,
    ) -> Result<i64, Failure> {
        let Some(number) = self.integer(name)? else { return Ok(default) };
        let must = if number < min {
            format!("have value greater than or equal to {min}")
        } else if number > max {
            format!("have value less than or equal to {max}")
        } else {
            return Ok(number);
        };
        Err(Failure::constraint(self.service, name, &must))
    }

    pub(crate) fn list(self, name: &str) -> Result<Option<&'a [Value]>, Failure> {
        match self.member(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            // An empty list of the query protocol is written as an empty text.
            Some(Value::String(text)) if self.service.is_query() && text.is_empty() => {
                Ok(Some(&[]))
            }
            Some(_) => Err(Self::serialization(name)),
        }
    }

    pub(crate) fn texts(self, name: &str, min: usize, max: usize) -> Result<Vec<&'a str>, Failure> {
        let items = self.list(name)?.unwrap_or_default();
        items
            .iter()
            .map(|item| {
                let text = item.as_str().ok_or_else(|| Self::serialization(name))?;
                self.check_length(name, text.chars().count(), min, max)?;
                Ok(text)
            })
            .collect()
    }

    /// The objects of a list, each as an input of its own.
    pub(crate) fn inputs(self, name: &str) -> Result<Vec<Input<'a>>, Failure> {
        let items = self.list(name)?.unwrap_or_default();
        items
            .iter()
            .map(|item| match item {
                Value::Object(_) => Ok(Input::new(self.service, item)),
                _ => Err(Self::serialization(name)),
            })
            .collect()
    }

    /// Base64 of `min` to `max` bytes.
    pub(crate) fn blob(
        self,
        name: &str,
        min: usize,
        max: usize,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let Some(value) = self.member(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| Self::serialization(name))?;
        let bytes = STANDARD.decode(text).map_err(|_| Self::serialization(name))?;
        self.check_length(name, bytes.len(), min, max)?;
        Ok(Some(bytes))
    }

    /// `[{Key, Value}]` as given; a repeated key is an error the caller names.
    pub(crate) fn tags(
        self,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<Option<BTreeMap<String, String>>, Failure> {
        if !self.has(name) {
            return Ok(None);
        }
        let mut tags = BTreeMap::new();
        for item in self.inputs(name)? {
            let key = item.required_text(key, 1, 128)?;
            let value = item.text(value, 0, 256)?.unwrap_or_default();
            if tags.insert(key.to_owned(), value.to_owned()).is_some() {
                let code = if self.service.is_query() {
                    "InvalidInput"
                } else {
                    "InvalidParameterException"
                };
                return Err(Failure::new(code, format!("Duplicate tag key {key}.")));
            }
        }
        Ok(Some(tags))
    }
}
