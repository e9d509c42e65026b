//! Templates of whole files: so much of Go's templates, and of what consul-template adds to them, that the files
//! which people have for Vault Agent give the same texts here.
//!
//! ```text
//! {{- with secret "secret/data/app" }}
//! user={{ .Data.data.user }}
//! {{- range $name, $value := .Data.metadata.custom_metadata }}
//! {{ $name | toUpper }}={{ $value | toJSON }}
//! {{- else }}
//! # nothing more is known
//! {{- end }}
//! {{- end }}
//! ```
//!
//! * `if`, `else if`, `with`, `else with`, `range`, `else`, `end`, `break`, `continue`; variables, which hold until
//!   the `end` of where they are declared; pipes, parentheses, comments and trim markers as in names ([`super`]).
//! * `.Name.Name` goes into maps, of `.`, of variables and of parentheses. What is not there is nothing: false for `if`
//!   and `with`, and an error where it would be written, since a file with `<no value>` in it serves nobody.
//! * [`Lookup`]s are functions that the caller answers while the template is rendered. It may answer that it does not
//!   know yet: the template is then gone through to the end, so that all that it asks for becomes known, and
//!   rendered again when it is there.
//!
//! Everything is bounded: the text, nesting, the work and what is written. Values are wiped when they are no longer needed.
//!
//! The crate `gtmpl` was weighed and not taken: its last release is of 2021, its functions are bare pointers that can
//! hold no store, its values are not wiped, and nothing bounds it.

mod buffer;
mod format;
mod function;
mod parse;
mod render;
mod value;

pub use value::Value;

use super::Error;
use function::Function;
use std::fmt;
use zeroize::Zeroizing;

/// The longest template, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// The longest result, and the longest text on the way to it, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The deepest nesting of blocks, and of parentheses, in levels.
pub const DEPTH_MAX: usize = 32;
/// The most calls that stand inside each other, pipes among them.
pub const CALLS_MAX: usize = 64;
/// The most values of a list that a function makes.
pub const LIST_MAX: usize = 10_000;
/// The most work of one rendering: bytes that functions read and write, and a few for each step.
pub const WORK_MAX: usize = 256 * 1024 * 1024;

/// A function that the caller answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Its name in templates.
    pub name: &'static str,
    /// What its parameters are called. They are texts.
    pub parameters: &'static [&'static str],
    /// What is said to somebody who gives it others.
    pub hint: &'static str,
}

/// What answers lookups: the value, or `None` where it is not known yet. An error is told with its line.
pub type Answers<'a> = dyn FnMut(&Lookup, &[&str]) -> Result<Option<Value>, String> + 'a;

/// A checked template of a file.
#[derive(Clone)]
pub struct Document {
    nodes: Vec<Node>,
    variables: usize,
    lookups: Vec<Lookup>,
    /// The names of those that are called.
    used: Vec<&'static str>,
}

#[derive(Clone)]
enum Node {
    Text(String),
    Emit(Expression, u32),
    Set(usize, Expression),
    /// The first arm that holds.
    Choose(Vec<Arm>),
    Range(Box<Range>),
    Break,
    Continue,
}

#[derive(Clone)]
struct Arm {
    /// The last arm may have none.
    condition: Option<Condition>,
    body: Vec<Node>,
}

#[derive(Clone)]
struct Condition {
    value: Expression,
    variable: Option<usize>,
    /// Whether the value is `.` in the body.
    is_dot: bool,
}

#[derive(Clone)]
struct Range {
    value: Expression,
    line: u32,
    key: Option<usize>,
    item: Option<usize>,
    body: Vec<Node>,
    otherwise: Vec<Node>,
}

#[derive(Clone)]
enum Expression {
    Value(Value),
    Dot,
    Variable(usize, String),
    Fields(Box<Expression>, Vec<String>, u32),
    Call(Function, Vec<Expression>, u32),
    /// The lookup with this number.
    Lookup(usize, Vec<Expression>, u32),
}

impl Document {
    /// Reads a template that may use these lookups.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str, lookups: &[Lookup]) -> Result<Document, Error> {
        parse::document(text, lookups)
    }

    /// Whether it calls a lookup anywhere.
    pub fn uses(&self, lookup: &str) -> bool {
        self.used.contains(&lookup)
    }

    /// Renders it. Where an answer was `None`, text and errors mean nothing yet.
    ///
    /// # Errors
    /// A value that is not there or of the wrong kind, an answer that is an error, or a bound; with the line, and
    /// without any value.
    pub fn render(&self, answers: &mut Answers<'_>) -> Result<Zeroizing<String>, Error> {
        render::document(self, answers)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Document(..)")
    }
}

#[cfg(test)]
mod tests;
