//! Values while a document is made. Texts are wiped when nobody has them any longer.

use super::buffer::{Buffer, TooLong};
use std::{collections::BTreeMap, fmt, sync::Arc};
use zeroize::Zeroizing;

/// A value in a template.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// There is none.
    Nothing,
    /// True or false.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Another number, as it was written.
    Decimal(Arc<str>),
    /// A text.
    Text(Arc<Zeroizing<String>>),
    /// Several values.
    List(Arc<[Value]>),
    /// Values by name, in the order of names.
    Map(Arc<BTreeMap<String, Value>>),
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(Arc::new(Zeroizing::new(text.into())))
    }

    /// Values by name.
    pub fn map(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
        Value::Map(Arc::new(entries.into_iter().collect()))
    }

    /// Values in order.
    pub(super) fn list(items: impl IntoIterator<Item = Value>) -> Value {
        Value::List(items.into_iter().collect())
    }

    /// What a word for it is, in messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Nothing => "nothing",
            Value::Flag(_) => "true or false",
            Value::Integer(_) | Value::Decimal(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Whether `if` and `with` take it for something.
    pub(super) fn holds(&self) -> bool {
        match self {
            Value::Nothing => false,
            Value::Flag(flag) => *flag,
            Value::Integer(number) => *number != 0,
            Value::Decimal(text) => text.bytes().any(|byte| matches!(byte, b'1'..=b'9')),
            Value::Text(text) => !text.is_empty(),
            Value::List(items) => !items.is_empty(),
            Value::Map(entries) => !entries.is_empty(),
        }
    }

    /// Its text, where it is no list and no map.
    pub(super) fn plain(&self) -> Option<Zeroizing<String>> {
        match self {
            Value::Flag(flag) => Some(Zeroizing::new(flag.to_string())),
            Value::Integer(number) => Some(Zeroizing::new(number.to_string())),
            Value::Decimal(text) => Some(Zeroizing::new(text.to_string())),
            Value::Text(text) => Some(Zeroizing::new(text.to_string())),
            Value::Nothing | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// What is under a name; nothing is under no name.
    pub(super) fn field(&self, name: &str) -> Option<Value> {
        match self {
            Value::Map(entries) => Some(entries.get(name).cloned().unwrap_or(Value::Nothing)),
            Value::Nothing => Some(Value::Nothing),
            _ => None,
        }
    }

    /// How many bytes or values it has.
    pub(super) fn length(&self) -> Option<usize> {
        match self {
            Value::Text(text) => Some(text.len()),
            Value::List(items) => Some(items.len()),
            Value::Map(entries) => Some(entries.len()),
            Value::Nothing => Some(0),
            Value::Flag(_) | Value::Integer(_) | Value::Decimal(_) => None,
        }
    }

    /// Writes it as JSON: keys in order, `<`, `>` and `&` escaped where asked, so that it can stand in HTML.
    pub(super) fn write_json(
        &self,
        out: &mut Buffer,
        style: Json,
        depth: usize,
    ) -> Result<(), TooLong> {
        match self {
            Value::Nothing => out.push("null"),
            Value::Flag(flag) => out.push(if *flag { "true" } else { "false" }),
            Value::Integer(number) => out.push(&number.to_string()),
            Value::Decimal(text) => out.push(text),
            Value::Text(text) => write_json_text(text, out, style),
            Value::List(items) if items.is_empty() => out.push("[]"),
            Value::Map(entries) if entries.is_empty() => out.push("{}"),
            Value::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    out.push(if at == 0 { "[" } else { "," })?;
                    style.indent(out, depth + 1)?;
                    item.write_json(out, style, depth + 1)?;
                }
                style.indent(out, depth)?;
                out.push("]")
            }
            Value::Map(entries) => {
                for (at, (name, value)) in entries.iter().enumerate() {
                    out.push(if at == 0 { "{" } else { "," })?;
                    style.indent(out, depth + 1)?;
                    write_json_text(name, out, style)?;
                    out.push(if style.pretty { ": " } else { ":" })?;
                    value.write_json(out, style, depth + 1)?;
                }
                style.indent(out, depth)?;
                out.push("}")
            }
        }
    }
}

/// How JSON is written.
#[derive(Clone, Copy)]
pub(super) struct Json {
    pub(super) pretty: bool,
    pub(super) escapes_html: bool,
}

impl Json {
    fn indent(self, out: &mut Buffer, depth: usize) -> Result<(), TooLong> {
        if !self.pretty {
            return Ok(());
        }
        out.push("\n")?;
        (0..depth).try_for_each(|_| out.push("  "))
    }
}

fn write_json_text(text: &str, out: &mut Buffer, style: Json) -> Result<(), TooLong> {
    out.push("\"")?;
    let mut plain = 0;
    for (at, letter) in text.char_indices() {
        let escaped = match letter {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            '<' | '>' | '&' if style.escapes_html => format!("\\u{:04x}", u32::from(letter)),
            '\u{2028}' | '\u{2029}' => format!("\\u{:04x}", u32::from(letter)),
            control if u32::from(control) < 0x20 => format!("\\u{:04x}", u32::from(control)),
            _ => continue,
        };
        out.push(text.get(plain..at).unwrap_or_default())?;
        out.push(&escaped)?;
        plain = at + letter.len_utf8();
    }
    out.push(text.get(plain..).unwrap_or_default())?;
    out.push("\"")
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Value {
        match value {
            serde_json::Value::Null => Value::Nothing,
            serde_json::Value::Bool(flag) => Value::Flag(flag),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(number) => Value::Integer(number),
                None => Value::Decimal(number.to_string().into()),
            },
            serde_json::Value::String(text) => Value::text(text),
            serde_json::Value::Array(items) => Value::list(items.into_iter().map(Value::from)),
            serde_json::Value::Object(entries) => {
                Value::map(entries.into_iter().map(|(name, value)| (name, Value::from(value))))
            }
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.kind())
    }
}
