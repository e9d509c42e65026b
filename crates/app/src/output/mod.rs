//! What a command shows, in the form the user asked for.

mod document;
mod secret;
mod table;
mod text;
mod yaml;

pub(crate) use document::Order;
pub(crate) use secret::Secret;
pub(crate) use table::Table;
pub(crate) use text::{cell, duration, seconds};

use crate::failure::Failure;
use serde_json::Value;
use std::{
    io::{self, IsTerminal, Write},
    str::FromStr,
};

/// The form of what is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// Indented JSON.
    Json,
    /// YAML.
    Yaml,
    /// The answer as it came.
    Raw,
    /// For people, too.
    Pretty,
}

impl FromStr for Format {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Format, Failure> {
        match text.to_ascii_lowercase().as_str() {
            "table" => Ok(Format::Table),
            "json" => Ok(Format::Json),
            "yaml" | "yml" => Ok(Format::Yaml),
            "raw" => Ok(Format::Raw),
            "pretty" => Ok(Format::Pretty),
            _ => Err(Failure::usage(format!("Invalid output format: {text}"))),
        }
    }
}

/// The terminal, or whatever stands in its place. Nothing else in the program prints.
pub(crate) struct Output {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    format: Format,
    terminal: bool,
}

impl Output {
    /// Standard output and standard error.
    pub(crate) fn standard(format: Format) -> Output {
        let terminal = io::stdout().is_terminal();
        Output { out: Box::new(io::stdout()), err: Box::new(io::stderr()), format, terminal }
    }

    /// Whether people read it: no JSON, no YAML.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.format, Format::Table | Format::Pretty)
    }

    /// A line, or several.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// A line on standard error.
    pub(crate) fn warn(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.err, "{text}")?)
    }

    /// A value on its own: scripts get no line end, people do.
    pub(crate) fn bare(&mut self, text: &str) -> Result<(), Failure> {
        write!(self.out, "{text}")?;
        if self.terminal {
            writeln!(self.out)?;
        }
        Ok(self.out.flush()?)
    }

    /// A table.
    pub(crate) fn table(&mut self, table: &Table) -> Result<(), Failure> {
        Ok(self.out.write_all(table.to_string().as_bytes())?)
    }

    /// A document: YAML when that was asked for, else JSON.
    pub(crate) fn document(&mut self, value: &Value, order: &Order) -> Result<(), Failure> {
        let text = match self.format {
            Format::Yaml => yaml::text(value),
            Format::Table | Format::Json | Format::Raw | Format::Pretty => {
                document::json(value, order) + "\n"
            }
        };
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// An answer, or one field of it.
    pub(crate) fn secret(&mut self, secret: &Secret, field: Option<&str>) -> Result<(), Failure> {
        if let Some(field) = field {
            return self.field(secret.field(field).as_ref(), field);
        }
        match self.format {
            Format::Table | Format::Pretty => {
                self.table(&secret.table())?;
                self.warnings(secret)
            }
            Format::Json | Format::Yaml => self.document(&secret.document(), &secret::ORDER),
            Format::Raw => {
                self.out.write_all(secret.bytes())?;
                Ok(writeln!(self.out)?)
            }
        }
    }

    /// One field on its own; exit code 1 when it is not there.
    pub(crate) fn field(&mut self, value: Option<&Value>, name: &str) -> Result<(), Failure> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Err(Failure::usage(format!("Field {name:?} not present in secret")));
        };
        match self.format {
            Format::Table | Format::Raw | Format::Pretty => self.bare(&text::go(value)),
            Format::Json | Format::Yaml => self.document(value, &Order::SORTED),
        }
    }

    /// What the server warned of, on standard error.
    pub(crate) fn warnings(&mut self, secret: &Secret) -> Result<(), Failure> {
        let warnings = secret.warnings();
        if warnings.is_empty() {
            return Ok(());
        }
        self.warn("\nWARNING! The server warns:\n")?;
        for warning in warnings {
            self.warn(&format!("  * {warning}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// What was written, kept.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output with what it wrote to standard output and standard error.
    pub(crate) fn output(format: Format) -> (Output, Kept, Kept) {
        let (out, err) = (Kept::default(), Kept::default());
        let boxed = (Box::new(out.clone()), Box::new(err.clone()));
        (Output { out: boxed.0, err: boxed.1, format, terminal: false }, out, err)
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::output, *};
    use serde_json::json;

    #[test]
    fn fields_are_bare_for_scripts_and_json_where_asked() {
        let (mut table, out, _) = output(Format::Table);
        table.field(Some(&json!("s3cret")), "password").unwrap();
        assert_eq!(out.text(), "s3cret");
        let (mut json, out, _) = output(Format::Json);
        json.field(Some(&json!({"y": [1, 2]})), "x").unwrap();
        assert_eq!(out.text(), "{\n  \"y\": [\n    1,\n    2\n  ]\n}\n");
    }

    #[test]
    fn a_missing_field_is_named_and_exits_with_1() {
        let (mut table, out, _) = output(Format::Table);
        let failure = table.field(None, "nope").unwrap_err();
        assert_eq!(failure, Failure::usage("Field \"nope\" not present in secret"));
        assert_eq!(out.text(), "");
    }
}
