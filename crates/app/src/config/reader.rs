//! Reading a block of the configuration key by key: what is not asked for is unknown, what has the
//! wrong type is named with its line.

use bailee_notation::{
    duration,
    hcl::{Body, Spanned, Value},
};
use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

/// What is wrong with a configuration, all of it at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Adds a fault at a line.
    pub fn add(&mut self, line: u32, text: impl fmt::Display) {
        self.0.push(format!("line {line}: {text}"));
    }

    /// Adds a fault of the whole file.
    pub fn add_overall(&mut self, text: impl fmt::Display) {
        self.0.push(text.to_string());
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// A block that is being read.
pub(crate) struct Block {
    /// What it is called in messages, such as `listener "tcp"`.
    pub(crate) name: String,
    /// Where it starts.
    pub(crate) line: u32,
    items: Vec<(Vec<Spanned<String>>, Spanned<Value>)>,
}

impl Block {
    /// A block with this body.
    pub(crate) fn new(name: impl Into<String>, line: u32, body: Body) -> Block {
        let items = body.items.into_iter().map(|item| (item.keys, item.value)).collect();
        Block { name: name.into(), line, items }
    }

    /// All blocks called `name`, each with its label. The JSON form nests the label as a key.
    pub(crate) fn blocks(&mut self, name: &str, faults: &mut Faults) -> Vec<(String, Block)> {
        let mut found = Vec::new();
        for (keys, value) in self.take(name) {
            let line = value.line;
            let mut labels = keys.into_iter().skip(1).map(|key| key.value);
            match (labels.next(), value.value) {
                (Some(label), Value::Object(body)) => {
                    let shown = format!("{name} {label:?}");
                    found.push((label, Block::new(shown, line, body)));
                }
                (None, value) => labelled(name, line, value, &mut found, faults),
                (Some(_), _) => faults.add(line, format_args!("{name} must be a block")),
            }
        }
        found
    }

    /// The one block called `name`, which has no label.
    pub(crate) fn block(&mut self, name: &str, faults: &mut Faults) -> Option<Block> {
        let mut found = None;
        for (_, value) in self.take(name) {
            let line = value.line;
            for body in objects(value.value, name, line, faults) {
                if found.replace(Block::new(name, line, body)).is_some() {
                    faults.add(line, format_args!("{name} may be given only once"));
                }
            }
        }
        found
    }

    /// All blocks called `name`, which have no labels.
    pub(crate) fn repeated(&mut self, name: &str, faults: &mut Faults) -> Vec<Block> {
        let mut found = Vec::new();
        for (keys, value) in self.take(name) {
            let line = value.line;
            if keys.len() > 1 {
                faults.add(line, format_args!("{name} takes no label"));
                continue;
            }
            let bodies = objects(value.value, name, line, faults);
            found.extend(bodies.into_iter().map(|body| Block::new(name, line, body)));
        }
        found
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str, faults: &mut Faults) -> Option<String> {
        self.one(name, faults, "a string", |value| match value {
            Value::String(text) => Some(text),
            Value::Number(_) | Value::Bool(_) | Value::List(_) | Value::Object(_) => None,
        })
    }

    /// A boolean, also as text.
    pub(crate) fn flag(&mut self, name: &str, faults: &mut Faults) -> Option<bool> {
        self.one(name, faults, "true or false", |value| match value {
            Value::Bool(flag) => Some(flag),
            Value::String(text) | Value::Number(text) => match text.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            Value::List(_) | Value::Object(_) => None,
        })
    }

    /// A list of texts or numbers; one of them counts as a list.
    pub(crate) fn texts(&mut self, name: &str, faults: &mut Faults) -> Vec<String> {
        let texts = self.one(name, faults, "a list of strings", |value| match value {
            Value::String(text) | Value::Number(text) => Some(vec![text]),
            Value::List(items) => items
                .into_iter()
                .map(|item| match item.value {
                    Value::String(text) | Value::Number(text) => Some(text),
                    Value::Bool(_) | Value::List(_) | Value::Object(_) => None,
                })
                .collect(),
            Value::Bool(_) | Value::Object(_) => None,
        });
        texts.unwrap_or_default()
    }

    /// Texts by keys that the user chooses.
    pub(crate) fn map(&mut self, name: &str, faults: &mut Faults) -> BTreeMap<String, String> {
        let map = self.one(name, faults, "a map of strings", |value| match value {
            Value::Object(body) => body
                .items
                .into_iter()
                .map(|item| match (item.keys.as_slice(), item.value.value) {
                    ([key], Value::String(text) | Value::Number(text)) => {
                        Some((key.value.clone(), text))
                    }
                    _ => None,
                })
                .collect(),
            Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::List(_) => None,
        });
        map.unwrap_or_default()
    }

    /// A text that means something to `read`, with the line it is on; what it says of a wrong one is
    /// told.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        faults: &mut Faults,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let line = self.line_of(name);
        let text = self.one(name, faults, "a string", |value| match value {
            Value::String(text) | Value::Number(text) => Some(text),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::List(_) | Value::Object(_) => None,
        })?;
        match read(&text) {
            Ok(read) => Some(read),
            Err(reason) => {
                faults.add(line, format_args!("{name}: {reason}"));
                None
            }
        }
    }

    /// The line of a key; that of the block where it is absent.
    pub(crate) fn line_of(&self, name: &str) -> u32 {
        let key = |(keys, _): &(Vec<Spanned<String>>, _)| {
            keys.first().filter(|key| key.value == name).map(|key| key.line)
        };
        self.items.iter().find_map(key).unwrap_or(self.line)
    }

    /// Whether a key is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.items.iter().any(|(keys, _)| keys.first().is_some_and(|key| key.value == name))
    }

    /// A time span, as seconds or text.
    pub(crate) fn duration(&mut self, name: &str, faults: &mut Faults) -> Option<Duration> {
        self.one(name, faults, "a duration such as \"30s\" or \"1h\"", |value| match value {
            Value::String(text) | Value::Number(text) => duration::parse(&text).ok(),
            Value::Bool(_) | Value::List(_) | Value::Object(_) => None,
        })
    }

    /// An address with a port; a host name is resolved by nobody.
    pub(crate) fn address(&mut self, name: &str, faults: &mut Faults) -> Option<SocketAddr> {
        self.one(name, faults, "an IP address with a port, such as \"127.0.0.1:8200\"", |value| {
            let Value::String(text) = value else { return None };
            let text = match text.strip_prefix("localhost:") {
                Some(port) => format!("127.0.0.1:{port}"),
                None if text.starts_with(':') => format!("0.0.0.0{text}"),
                None => text,
            };
            text.parse().ok()
        })
    }

    /// Keys that other servers know and this one has no use for: taken, whatever they hold. Gives
    /// their names with lines, for a warning.
    pub(crate) fn ignored(&mut self, names: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for name in names {
            for (_, value) in self.take(name) {
                found.push(format!("line {}: {name}", value.line));
            }
        }
        found
    }

    /// Ends the reading: what was not asked for is a fault.
    pub(crate) fn finish(self, faults: &mut Faults) {
        for (keys, value) in self.items {
            let key = keys.into_iter().next().map(|key| (key.line, key.value));
            let (line, key) = key.unwrap_or((value.line, String::new()));
            faults.add(line, format_args!("unknown key {key:?} in {}", self.name));
        }
    }

    fn take(&mut self, name: &str) -> Vec<(Vec<Spanned<String>>, Spanned<Value>)> {
        let all = std::mem::take(&mut self.items);
        let named = |keys: &[Spanned<String>]| keys.first().is_some_and(|key| key.value == name);
        let (found, rest) = all.into_iter().partition(|(keys, _)| named(keys));
        self.items = rest;
        found
    }

    fn one<T>(
        &mut self,
        name: &str,
        faults: &mut Faults,
        expected: &str,
        read: impl Fn(Value) -> Option<T>,
    ) -> Option<T> {
        let mut last = None;
        for (keys, value) in self.take(name) {
            let line = value.line;
            if last.is_some() {
                faults.add(line, format_args!("{name} is given twice"));
            }
            if keys.len() > 1 {
                faults.add(line, format_args!("{name} is not a block"));
                continue;
            }
            match read(value.value) {
                Some(read) => last = Some(read),
                None => faults.add(line, format_args!("{name} must be {expected}")),
            }
        }
        last
    }
}

/// Blocks of the JSON form: `"listener": [{"tcp": {…}}]` or `{"tcp": {…}}`.
fn labelled(
    name: &str,
    line: u32,
    value: Value,
    found: &mut Vec<(String, Block)>,
    faults: &mut Faults,
) {
    for body in objects(value, name, line, faults) {
        for item in body.items {
            let label = item.keys.into_iter().next().map(|key| key.value).unwrap_or_default();
            let line = item.value.line;
            let shown = format!("{name} {label:?}");
            for body in objects(item.value.value, &shown, line, faults) {
                found.push((label.clone(), Block::new(shown.clone(), line, body)));
            }
        }
    }
}

fn objects(value: Value, name: &str, line: u32, faults: &mut Faults) -> Vec<Body> {
    match value {
        Value::Object(body) => vec![body],
        Value::List(items) => items
            .into_iter()
            .flat_map(|item| objects(item.value, name, item.line, faults))
            .collect(),
        Value::String(_) | Value::Number(_) | Value::Bool(_) => {
            faults.add(line, format_args!("{name} must be a block"));
            Vec::new()
        }
    }
}
