//! Connections as texts.

use crate::{
    failure::{Cause, Failure},
    outputs::Invalid,
};
use bailee_crypto::Sensitive;
use std::{collections::BTreeMap, sync::Arc};
use zeroize::Zeroizing;

/// The most bytes that a letter becomes in any of the formats.
const LETTER_BYTES_MAX: usize = 12;

/// How a connection is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object.
    Json,
    /// Lines `NAME="value"`, as shells and systemd read them.
    Env,
    /// Lines `name=value`, as Java reads them.
    Properties,
    /// A YAML map.
    Yaml,
}

type Properties = BTreeMap<String, Arc<Sensitive<String>>>;

impl Format {
    /// Reads `json`, `env`, `properties` or `yaml`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(word: &str) -> Result<Format, Invalid> {
        match word {
            "json" => Ok(Format::Json),
            "env" | "dotenv" => Ok(Format::Env),
            "properties" => Ok(Format::Properties),
            "yaml" => Ok(Format::Yaml),
            _ => Err(Invalid::new(format!(
                "format: {word:?} is none of json, env, properties and yaml"
            ))),
        }
    }

    /// The properties as a text.
    ///
    /// # Errors
    /// A name or value that the format cannot hold; the value is not told.
    pub(super) fn write(self, properties: &Properties) -> Result<Zeroizing<String>, Failure> {
        // Room for the worst, so that the text never grows and leaves no copy.
        let letters = |(name, value): (&String, &Arc<Sensitive<String>>)| {
            8 + LETTER_BYTES_MAX * (name.len() + value.expose().len())
        };
        let room = 8 + properties.iter().map(letters).sum::<usize>();
        let mut text = Zeroizing::new(String::with_capacity(room));
        match self {
            Format::Json => json(properties, &mut text),
            Format::Yaml => yaml(properties, &mut text),
            Format::Properties => java(properties, &mut text),
            Format::Env => env(properties, &mut text)?,
        }
        Ok(text)
    }
}

fn json(properties: &Properties, text: &mut String) {
    text.push('{');
    for (at, (name, value)) in properties.iter().enumerate() {
        text.push_str(if at == 0 { "\n  " } else { ",\n  " });
        quote_json(name, text);
        text.push_str(": ");
        quote_json(value.expose(), text);
    }
    text.push_str(if properties.is_empty() { "}\n" } else { "\n}\n" });
}

/// A text between JSON's quotes is one between YAML's, too, whatever is in it.
fn yaml(properties: &Properties, text: &mut String) {
    if properties.is_empty() {
        text.push_str("{}\n");
    }
    for (name, value) in properties {
        quote_json(name, text);
        text.push_str(": ");
        quote_json(value.expose(), text);
        text.push('\n');
    }
}

fn java(properties: &Properties, text: &mut String) {
    for (name, value) in properties {
        escape_java(name, true, text);
        text.push('=');
        escape_java(value.expose(), false, text);
        text.push('\n');
    }
}

fn env(properties: &Properties, text: &mut String) -> Result<(), Failure> {
    let mut names = BTreeMap::new();
    for (property, value) in properties {
        let invalid = |message: String| {
            Failure::new(Cause::Invalid, format!("format env: property {property:?}: {message}"))
        };
        let name = variable(property);
        if name.starts_with(|first: char| first.is_ascii_digit()) || name.is_empty() {
            return Err(invalid("a variable begins with a letter or _".to_owned()));
        }
        if let Some(other) = names.insert(name.clone(), property) {
            return Err(invalid(format!("property {other:?} is {name}, too")));
        }
        if value.expose().contains('\0') {
            return Err(invalid("the value has a NUL byte".to_owned()));
        }
        text.push_str(&name);
        text.push_str("=\"");
        for letter in value.expose().chars() {
            if matches!(letter, '"' | '\\' | '$' | '`') {
                text.push('\\');
            }
            text.push(letter);
        }
        text.push_str("\"\n");
    }
    Ok(())
}

/// The name of a variable for a property: `db-host` is `DB_HOST`.
fn variable(property: &str) -> String {
    let letter = |letter: char| match letter {
        letter if letter.is_ascii_alphanumeric() => letter.to_ascii_uppercase(),
        _ => '_',
    };
    property.chars().map(letter).collect()
}

fn quote_json(value: &str, text: &mut String) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            // YAML takes more letters than JSON for ends of lines and for unprintable.
            letter
                if letter.is_control()
                    || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}') =>
            {
                escape_unicode(letter, text);
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
}

fn escape_java(value: &str, is_name: bool, text: &mut String) {
    for (at, letter) in value.chars().enumerate() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\x0c' => text.push_str("\\f"),
            ' ' if is_name || at == 0 => text.push_str("\\ "),
            '=' | ':' if is_name => text.extend(['\\', letter]),
            '#' | '!' if is_name && at == 0 => text.extend(['\\', letter]),
            ' '..='~' => text.push(letter),
            letter => escape_unicode(letter, text),
        }
    }
}

fn escape_unicode(letter: char, text: &mut String) {
    for unit in letter.encode_utf16(&mut [0; 2]) {
        text.push_str(&format!("\\u{unit:04x}"));
    }
}
