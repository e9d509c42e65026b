//! Codes in place of values.

use super::options::Style;
use bailee_crypto::mac::MacKey;
use serde_json::{Map, Value};

/// Makes the codes of one device.
pub(super) struct Hasher {
    key: MacKey,
    style: Style,
}

/// Which numbers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// None: a number may be a secret as well as a text.
    Coded,
    /// All: they are the system's own, such as a TTL.
    Clear,
}

impl Hasher {
    pub(super) fn new(key: &[u8], style: Style) -> Hasher {
        Hasher { key: MacKey::new(key), style }
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// The code of a text, whatever the device shows: equal texts have equal codes on one device.
    pub(super) fn code(&self, text: &str) -> String {
        format!("hmac-sha256:{}", hex::encode(self.key.sign(&[text.as_bytes()])))
    }

    /// A text as the device shows it.
    pub(super) fn text(&self, text: &str) -> String {
        if self.style.raw { text.to_owned() } else { self.code(text) }
    }

    /// An accessor as the device shows it.
    pub(super) fn accessor(&self, accessor: &str) -> String {
        if self.style.hmac_accessor { self.text(accessor) } else { accessor.to_owned() }
    }

    /// Every text below becomes a code, except under the keys to be shown in clear. Field names,
    /// booleans and null stay.
    pub(super) fn fields(
        &self,
        fields: &Map<String, Value>,
        clear: &[String],
        numbers: Numbers,
    ) -> Value {
        let fields = fields.iter().map(|(name, value)| {
            let is_clear = self.style.raw || clear.contains(name);
            let value = match value {
                value if is_clear => value.clone(),
                Value::String(text) if name == "accessor" => self.accessor(text).into(),
                value => self.value(value, numbers),
            };
            (name.clone(), value)
        });
        Value::Object(fields.collect())
    }

    /// Every value below as a code, whatever the device shows.
    pub(super) fn never_clear(&self, fields: &Map<String, Value>) -> Value {
        self.nested(fields, Numbers::Coded)
    }

    fn value(&self, value: &Value, numbers: Numbers) -> Value {
        match value {
            Value::Null | Value::Bool(_) => value.clone(),
            Value::Number(_) if numbers == Numbers::Clear => value.clone(),
            Value::Number(number) => self.code(&number.to_string()).into(),
            Value::String(text) => self.code(text).into(),
            Value::Array(items) => items.iter().map(|item| self.value(item, numbers)).collect(),
            Value::Object(fields) => self.nested(fields, numbers),
        }
    }

    fn nested(&self, fields: &Map<String, Value>, numbers: Numbers) -> Value {
        let fields = fields.iter().map(|(name, value)| (name.clone(), self.value(value, numbers)));
        Value::Object(fields.collect())
    }
}
