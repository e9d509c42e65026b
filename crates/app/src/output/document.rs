//! JSON documents, indented, with their fields in the order users know.

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::Value;

/// Which fields come first; the others follow sorted.
pub(crate) struct Order {
    /// The first fields.
    pub(crate) first: &'static [&'static str],
    /// The order inside a field; `*` stands for every one.
    pub(crate) inside: &'static [(&'static str, &'static Order)],
}

impl Order {
    /// All fields sorted.
    pub(crate) const SORTED: Order = Order { first: &[], inside: &[] };

    fn inside(&self, field: &str) -> &Order {
        let found = self.inside.iter().find(|(name, _)| *name == field || *name == "*");
        found.map_or(&Order::SORTED, |(_, order)| order)
    }
}

/// The document as indented text, without a line end.
pub(super) fn json(value: &Value, order: &Order) -> String {
    let text = serde_json::to_string_pretty(&Ordered { value, order });
    text.expect("a JSON value can be written as JSON")
}

struct Ordered<'a> {
    value: &'a Value,
    order: &'a Order,
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(fields) => {
                let mut names: Vec<&String> = fields.keys().collect();
                let rank = |name: &str| self.order.first.iter().position(|first| *first == name);
                names.sort_by_key(|name| (rank(name).unwrap_or(usize::MAX), *name));
                let mut map = serializer.serialize_map(Some(names.len()))?;
                for name in names {
                    let value = fields.get(name).unwrap_or(&Value::Null);
                    map.serialize_entry(name, &Ordered { value, order: self.order.inside(name) })?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for value in items {
                    list.serialize_element(&Ordered { value, order: self.order })?;
                }
                list.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn known_fields_come_first_and_numbers_stay_as_written() {
        const ORDER: Order = Order { first: &["z", "b"], inside: &[("z", &Order::SORTED)] };
        let value: Value = serde_json::from_str(
            r#"{"a": 1.10, "b": 12345678901234567890123, "z": {"y": [], "x": 1}}"#,
        )
        .unwrap();
        let expected = "{\n  \"z\": {\n    \"x\": 1,\n    \"y\": []\n  },\n  \"b\": 12345678901234567890123,\n  \"a\": 1.10\n}";
        assert_eq!(super::json(&value, &ORDER), expected);
        assert_eq!(super::json(&json!(["a"]), &Order::SORTED), "[\n  \"a\"\n]");
    }
}
