//! Codes in place of values.

use bailee_crypto::mac::MacKey;
use serde_json::{Map, Value};

/// Makes the codes of one device.
pub(crate) struct Hasher(MacKey);

impl Hasher {
    pub(crate) fn new(key: &[u8]) -> Hasher {
        Hasher(MacKey::new(key))
    }

    /// The code of a text: equal texts have equal codes on one device.
    pub(crate) fn text(&self, text: &str) -> String {
        format!("hmac-sha256:{}", hex::encode(self.0.sign(&[text.as_bytes()])))
    }

    /// Every text and number below becomes a code, except under the keys to be shown in clear.
    /// Field names, booleans and null stay.
    pub(crate) fn fields(&self, fields: &Map<String, Value>, clear: &[String]) -> Value {
        let fields = fields.iter().map(|(name, value)| {
            let value = if clear.contains(name) { value.clone() } else { self.value(value) };
            (name.clone(), value)
        });
        Value::Object(fields.collect())
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::Null | Value::Bool(_) => value.clone(),
            Value::Number(number) => self.text(&number.to_string()).into(),
            Value::String(text) => self.text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => self.fields(fields, &[]),
        }
    }
}
