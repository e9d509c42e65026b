//! `policy`: who may do what.

mod explain;

use crate::{arguments, context::Context, failure::Failure, output::Order, value::plain};
use bailee_client::{Method, Outgoing};
use bailee_notation::hcl;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fs;

/// Writes, reads, lists, deletes, formats and explains policies.
#[derive(Subcommand, Debug)]
pub(crate) enum Policy {
    Write(Write),
    Read(Read),
    List(List),
    Delete(Delete),
    Fmt(Fmt),
    Explain(Box<explain::Explain>),
}

/// Uploads a policy from a file, or from standard input when it is `-`.
#[derive(Args, Debug)]
pub(crate) struct Write {
    #[arg(value_name = "NAME FILE")]
    arguments: Vec<String>,
}

/// Shows a policy.
#[derive(Args, Debug)]
pub(crate) struct Read {
    #[arg(value_name = "NAME")]
    arguments: Vec<String>,
}

/// Lists the policies.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Deletes a policy.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    #[arg(value_name = "NAME")]
    arguments: Vec<String>,
}

/// Formats a policy file in place.
#[derive(Args, Debug)]
pub(crate) struct Fmt {
    #[arg(value_name = "FILE")]
    arguments: Vec<String>,
}

impl Policy {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Policy::Write(arguments) => arguments.run(context).await,
            Policy::Read(arguments) => arguments.run(context).await,
            Policy::List(arguments) => arguments.run(context).await,
            Policy::Delete(arguments) => arguments.run(context).await,
            Policy::Fmt(arguments) => arguments.run(context),
            Policy::Explain(arguments) => arguments.run(context).await,
        }
    }
}

fn at(name: &str) -> String {
    format!("sys/policies/acl/{name}")
}

/// The server knows policies by their names in lower case.
fn named(name: &str) -> String {
    name.trim().to_lowercase()
}

impl Write {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [name, file] = arguments::exactly(&self.arguments)?;
        let name = named(name);
        let text = if file == "-" {
            context
                .input
                .all()
                .map_err(|reason| Failure::refused(format!("Error reading policy: {reason}")))?
        } else {
            fs::read_to_string(file).map_err(|error| {
                let reason = plain(&error);
                Failure::refused(format!("Error opening policy file: open {file}: {reason}"))
            })?
        };
        let outgoing = Outgoing::new(Method::Put, at(&name)).json(&json!({ "policy": text }));
        let answer = context.send("Error uploading policy", outgoing).await?;
        context.output.line(&format!("Success! Uploaded policy: {name}"))?;
        context.output.warnings(&answer)
    }
}

impl Read {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [name] = arguments::exactly(&self.arguments)?;
        let name = named(name);
        let outgoing = Outgoing::new(Method::Get, at(&name));
        let found = context.find(&format!("Error reading policy named {name}"), outgoing).await?;
        let found = found.ok_or_else(|| Failure::refused(format!("No policy named: {name}")))?;
        let policy = found.data().and_then(|data| data.get("policy")).cloned().unwrap_or_default();
        if !context.output.is_table() {
            return context.output.document(&json!({ "policy": policy }), &Order::SORTED);
        }
        context.output.line(policy.as_str().unwrap_or_default().trim())
    }
}

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let outgoing = Outgoing::new(Method::List, "sys/policies/acl");
        let found = context.send("Error listing policies", outgoing).await?;
        let names = found.data().and_then(|data| data.get("keys")).cloned().unwrap_or_default();
        if !context.output.is_table() {
            return context.output.document(&names, &Order::SORTED);
        }
        for name in names.as_array().into_iter().flatten().filter_map(Value::as_str) {
            context.output.line(name)?;
        }
        Ok(())
    }
}

impl Delete {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [name] = arguments::exactly(&self.arguments)?;
        let name = named(name);
        let outgoing = Outgoing::new(Method::Delete, at(&name));
        context.send(&format!("Error deleting {name}"), outgoing).await?;
        context.output.line(&format!("Success! Deleted policy: {name}"))
    }
}

impl Fmt {
    fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [file] = arguments::exactly(&self.arguments)?;
        let text = fs::read_to_string(file).map_err(|error| {
            Failure::usage(format!("Error reading source file: open {file}: {}", plain(&error)))
        })?;
        let parsed = hcl::parse(&text);
        let before =
            parsed.map_err(|error| Failure::usage(format!("Error parsing {file}: {error}")))?;
        let formatted = formatted(&text);
        // Formatting moves white space only; what would mean something else is not written.
        let after = hcl::parse(&formatted).ok().map(|after| meaning(&after));
        if after.as_deref() != Some(meaning(&before).as_slice()) {
            return Err(Failure::usage(format!(
                "Error formatting {file}: its layout is too unusual"
            )));
        }
        if formatted != text {
            fs::write(file, formatted).map_err(|error| {
                Failure::usage(format!("Error writing {file}: {}", plain(&error)))
            })?;
        }
        context.output.line(&format!("Success! Formatted policy: {file}"))
    }
}

/// Each line indented by two spaces for every bracket that is open before it; no white space at
/// line ends, no two empty lines in a row.
fn formatted(text: &str) -> String {
    let mut formatted = String::new();
    let mut depth = 0_usize;
    let mut scan = Scan::Code;
    let mut empty = true;
    for line in text.lines() {
        let verbatim = scan == Scan::Comment;
        let shown = if verbatim { line } else { line.trim() };
        if shown.is_empty() {
            if !empty {
                formatted.push('\n');
            }
            empty = true;
            continue;
        }
        empty = false;
        let closing = shown.chars().take_while(|letter| "}]".contains(*letter)).count();
        if !verbatim {
            formatted.push_str(&"  ".repeat(depth.saturating_sub(closing)));
        }
        formatted.push_str(shown);
        formatted.push('\n');
        let (opened, closed);
        (opened, closed, scan) = brackets(shown, scan);
        depth = (depth + opened).saturating_sub(closed);
    }
    let end = formatted.trim_end().len();
    formatted.truncate(end);
    if end > 0 {
        formatted.push('\n');
    }
    formatted
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scan {
    Code,
    Text,
    Comment,
}

/// Brackets that a line opens and closes outside texts and comments.
fn brackets(line: &str, mut scan: Scan) -> (usize, usize, Scan) {
    let (mut opened, mut closed) = (0, 0);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match (scan, letter) {
            (Scan::Comment, '*') if letters.peek() == Some(&'/') => {
                letters.next();
                scan = Scan::Code;
            }
            (Scan::Text, '\\') => {
                letters.next();
            }
            (Scan::Text, '"') => scan = Scan::Code,
            (Scan::Comment | Scan::Text, _) => {}
            (Scan::Code, '"') => scan = Scan::Text,
            (Scan::Code, '#') => break,
            (Scan::Code, '/') => match letters.peek() {
                Some('/') => break,
                Some('*') => scan = Scan::Comment,
                _ => {}
            },
            (Scan::Code, '{' | '[') => opened += 1,
            (Scan::Code, '}' | ']') => closed += 1,
            (Scan::Code, _) => {}
        }
    }
    // A text ends with its line.
    (opened, closed, if scan == Scan::Text { Scan::Code } else { scan })
}

/// A policy without its places.
fn meaning(body: &hcl::Body) -> Vec<String> {
    let item = |item: &hcl::Item| {
        let keys: Vec<&str> = item.keys.iter().map(|key| key.value.as_str()).collect();
        format!("{keys:?} = {}", value_meaning(&item.value.value))
    };
    body.items.iter().map(item).collect()
}

fn value_meaning(value: &hcl::Value) -> String {
    match value {
        hcl::Value::String(text) => format!("{text:?}"),
        hcl::Value::Number(text) => text.clone(),
        hcl::Value::Bool(plain) => plain.to_string(),
        hcl::Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| value_meaning(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        hcl::Value::Object(body) => format!("{{{}}}", meaning(body).join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    #[test]
    fn formatting_indents_by_open_brackets_outside_of_texts_and_comments() {
        let text = "path \"a/{{x}}/{\" {   \n# a { comment\n      capabilities = [\n\"read\",\n]\n}\n\n\n\n/* {\n   kept\n*/\npath \"b\" { capabilities = [\"list\"] }";
        let expected = "path \"a/{{x}}/{\" {\n  # a { comment\n  capabilities = [\n    \"read\",\n  ]\n}\n\n/* {\n   kept\n*/\npath \"b\" { capabilities = [\"list\"] }\n";
        assert_eq!(formatted(text), expected);
        assert_eq!(formatted(expected), expected);
    }

    #[tokio::test]
    async fn a_heredoc_that_would_change_its_meaning_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.hcl");
        let text = "path \"a\" {\n  note = <<END\n    indented {\nEND\n}\n";
        fs::write(&file, text).unwrap();
        let (mut context, ..) = testing::context(Format::Table, Vec::new()).await;
        let arguments = vec![file.display().to_string()];
        assert_eq!(Fmt { arguments }.run(&mut context).unwrap_err().exit, 1);
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }

    #[tokio::test]
    async fn a_policy_is_uploaded_from_standard_input() {
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![(204, Value::Null)]).await;
        context.input = crate::input::Input::from_text("path \"a\" {}");
        let arguments = vec!["P".to_owned(), "-".to_owned()];
        Write { arguments }.run(&mut context).await.unwrap();
        assert_eq!(asked.text(), "PUT /v1/sys/policies/acl/p {\"policy\":\"path \\\"a\\\" {}\"}\n");
        assert_eq!(out.text(), "Success! Uploaded policy: p\n");
    }
}
