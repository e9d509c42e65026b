//! `sync preview`: which names secrets would get at a destination.

use super::{Target, text};
use crate::{
    arguments,
    context::Context,
    failure::{Failure, USAGE},
    output::Table,
    value,
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Map, Value, json};

/// Settings that a preview takes.
const SETTINGS: [&str; 3] = ["secret_name_template", "granularity", "keys"];

/// Shows the name that a secret, or each of its keys, would get at a destination. Nothing is written.
///
/// With secret_name_template=… and granularity=…, what they would give; with keys=A,B, the names of
/// those keys. With a type alone (such as aws-sm), a destination that does not exist yet. The exit code
/// is 1 when a name cannot be used.
#[derive(Args, Debug)]
pub(crate) struct Preview {
    #[arg(value_name = "TYPE[/NAME] [MOUNT SECRET] KEY=VALUE…")]
    arguments: Vec<String>,
}

impl Preview {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let (target, rest) = arguments::first(&self.arguments)?;
        let settings = rest.iter().position(|word| word.contains('=')).unwrap_or(rest.len());
        let (secret, settings) = rest.split_at(settings);
        let mut body = value::body(settings, &mut context.input)?;
        if let Some(other) = body.keys().find(|name| !SETTINGS.contains(&name.as_str())) {
            return Err(Failure::usage(format!(
                "{other:?} changes no name: a preview takes {}",
                SETTINGS.join(", ")
            )));
        }
        if !secret.is_empty() {
            let [mount, name] = arguments::exactly(secret)?;
            body.insert("mount".to_owned(), json!(mount));
            body.insert("secret_name".to_owned(), json!(name));
        }
        let (path, missing) = path(target, &mut body)?;
        let outgoing = Outgoing::new(Method::Put, path).json(&Value::Object(body));
        let found = context.find("Error previewing names", outgoing).await?.ok_or(missing)?;
        let data = Value::Object(found.data().cloned().unwrap_or_default());
        let names: Vec<&Value> =
            data.get("names").and_then(Value::as_array).into_iter().flatten().collect();
        if context.output.is_table() {
            show(context, &data, &names)?;
            context.output.warnings(&found)?;
        } else {
            context.output.secret(&found, None)?;
        }
        let unusable = names.iter().any(|line| line.get("error").is_some());
        if unusable { Err(Failure::shown(USAGE)) } else { Ok(()) }
    }
}

/// The endpoint to ask, and what is said when it answers that there is nothing.
fn path(target: &str, body: &mut Map<String, Value>) -> Result<(String, Failure), Failure> {
    if target.trim_matches('/').contains('/') {
        let target = Target::parse(target)?;
        return Ok((format!("{}/preview", target.path()), target.missing()));
    }
    let kind = target.trim_matches('/');
    body.insert("type".to_owned(), json!(kind));
    let missing = Failure::refused(format!("{kind:?} is no type of destinations"));
    Ok(("sys/sync/preview".to_owned(), missing))
}

fn show(context: &mut Context, data: &Value, names: &[&Value]) -> Result<(), Failure> {
    let (template, granularity) =
        (text(data, "secret_name_template"), text(data, "granularity_level"));
    context.output.line(&format!("{granularity}: {template}\n"))?;
    let mut table = Table::new(&["Key", "External Name", "Notes"]);
    for line in names {
        let mut notes: Vec<&str> = Vec::new();
        notes.extend(Some(text(line, "error")).filter(|error| !error.is_empty()));
        let warnings = line.get("warnings").and_then(Value::as_array).into_iter().flatten();
        notes.extend(warnings.filter_map(Value::as_str));
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        table.row([
            or_dash(text(line, "sub_key")),
            or_dash(text(line, "external_name")),
            or_dash(&notes.join("; ")),
        ]);
    }
    context.output.table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn answer(lines: Value) -> Vec<(u16, Value)> {
        let data = json!({
            "granularity_level": "secret-key",
            "secret_name_template": "{{ .SecretKey }}",
            "names": lines,
        });
        vec![(200, json!({ "data": data }))]
    }

    #[tokio::test]
    async fn names_are_shown_with_what_is_wrong_with_them() {
        let lines = json!([
            { "sub_key": "a b", "external_name": "a-b", "warnings": ["one", "two"] },
            { "sub_key": "c", "error": "too long", "warnings": [] },
        ]);
        let (mut context, out, ..) = testing::context(Format::Table, answer(lines)).await;
        let arguments = words(&["aws-sm/d", "kv", "app/db", "granularity=secret-key"]);
        let failure = Preview { arguments }.run(&mut context).await.unwrap_err();
        assert_eq!((failure.exit, failure.message.as_str()), (USAGE, ""));
        let shown = out.text();
        assert!(shown.starts_with("secret-key: {{ .SecretKey }}\n"), "{shown}");
        assert!(shown.contains("one; two"), "{shown}");
        assert!(shown.contains("too long"), "{shown}");
    }

    #[tokio::test]
    async fn a_setting_that_changes_no_name_is_refused_before_anything_is_asked() {
        let (mut context, ..) = testing::context(Format::Table, Vec::new()).await;
        let arguments = words(&["aws-sm", "region=eu-west-1"]);
        let failure = Preview { arguments }.run(&mut context).await.unwrap_err();
        assert!(failure.message.contains("\"region\" changes no name"), "{failure:?}");
    }

    #[test]
    fn a_type_alone_stands_for_a_destination_to_come() {
        let mut body = Map::new();
        assert_eq!(path("aws-sm", &mut body).unwrap().0, "sys/sync/preview");
        assert_eq!(body.get("type"), Some(&json!("aws-sm")));
        assert_eq!(
            path("aws-sm/d", &mut body).unwrap().0,
            "sys/sync/destinations/aws-sm/d/preview"
        );
    }
}
