//! YAML as the tree that HCL is read into, so that one reader serves both: each key and value knows its
//! line.

use crate::hcl::{Body, Error, Item, Spanned, TEXT_BYTES_MAX, Value};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned as Placed;
use std::fmt;

/// Reads one document whose top is a mapping. A key without a value is as good as absent.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(text: &str) -> Result<Body, Error> {
    let whole = |message: String| Error { line: 1, column: 1, message };
    if text.len() > TEXT_BYTES_MAX {
        return Err(whole(format!("text is longer than {TEXT_BYTES_MAX} bytes")));
    }
    let node: Placed<Node> = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location();
        Error {
            line: place.map_or(1, |place| number(place.line())),
            column: place.map_or(1, |place| number(place.column())),
            message: first_line(&error.without_snippet().to_string()),
        }
    })?;
    match node.value {
        Node::Value(Value::Object(body)) => Ok(body),
        Node::Nothing => Ok(Body::default()),
        Node::Value(other) => {
            Err(whole(format!("want a mapping at the top, found {}", other.describe())))
        }
    }
}

/// A value, or none.
enum Node {
    Nothing,
    Value(Value),
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn number(position: u64) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

fn placed<T>(found: Placed<T>) -> Spanned<T> {
    let place = found.referenced;
    let (line, column) = (number(place.line()), number(place.column()));
    Spanned { value: found.value, line, column }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(Reading)
    }
}

struct Reading;

fn text<E>(value: impl ToString) -> Result<Node, E> {
    Ok(Node::Value(Value::Number(value.to_string())))
}

impl<'de> Visitor<'de> for Reading {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, number, truth value, list or mapping")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Value(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        text(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        text(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        text(value)
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Value(Value::String(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Placed<Node>>()? {
            let item = placed(item);
            let Spanned { value: Node::Value(value), line, column } = item else { continue };
            list.push(Spanned { value, line, column });
        }
        Ok(Node::Value(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut body = Body::default();
        while let Some(key) = entries.next_key::<Placed<String>>()? {
            let key = placed(key);
            let value = placed(entries.next_value::<Placed<Node>>()?);
            let Spanned { value: Node::Value(value), line, column } = value else { continue };
            body.items.push(Item { keys: vec![key], value: Spanned { value, line, column } });
        }
        Ok(Node::Value(Value::Object(body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_lines() {
        let body = parse("a: x\nb:\n  c: [1, two]\n  d: true\ne:\n").unwrap();
        let lines: Vec<(String, u32)> =
            body.items.iter().map(|item| (item.key().value.clone(), item.key().line)).collect();
        assert_eq!(lines, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        let Value::Object(inner) = &body.items[1].value.value else { panic!("no object") };
        let Value::List(list) = &inner.items[0].value.value else { panic!("no list") };
        assert_eq!(list[0].value, Value::Number("1".to_owned()));
        assert_eq!(list[1].value, Value::String("two".to_owned()));
        assert_eq!(
            (inner.items[1].key().line, &inner.items[1].value.value),
            (4, &Value::Bool(true))
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line) in [("a: 1\nb: [1\n", 2..4), ("a: 1\na: 2\n", 2..3), ("- a\n", 1..2)] {
            let error = parse(text).unwrap_err();
            assert!(line.contains(&error.line), "{text:?}: {error:?}");
        }
        assert_eq!(parse("").unwrap(), Body::default());
    }
}
