//! `sync destination`: where secrets are delivered to.

use super::{Target, text};
use crate::{
    arguments,
    context::Context,
    failure::Failure,
    input::Input,
    output::{Table, cell},
    value,
};
use bailee_client::{Error, Method, Outgoing};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

/// Creates, shows, lists and deletes destinations.
#[derive(Subcommand, Debug)]
pub(crate) enum Destination {
    Create(Create),
    Update(Update),
    Read(Read),
    List(List),
    Delete(Delete),
}

/// Creates a destination, or writes all its settings anew.
///
/// Settings are KEY=VALUE. Secrets are not for the command line: give KEY=@FILE, or KEY=-, which asks
/// for the value without showing it, or reads standard input. Line ends after such values are dropped.
#[derive(Args, Debug)]
pub(crate) struct Create {
    #[arg(value_name = "TYPE/NAME KEY=VALUE…")]
    arguments: Vec<String>,
}

/// Changes some settings of a destination and leaves the others.
#[derive(Args, Debug)]
pub(crate) struct Update {
    #[arg(value_name = "TYPE/NAME KEY=VALUE…")]
    arguments: Vec<String>,
}

/// Shows a destination. Its secrets are not shown.
#[derive(Args, Debug)]
pub(crate) struct Read {
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    #[arg(value_name = "TYPE/NAME")]
    arguments: Vec<String>,
}

/// Lists the destinations; those of one type when it is given.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[arg(value_name = "TYPE")]
    arguments: Vec<String>,
}

/// Deletes a destination that has no secrets associated, or with -purge, with them.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Remove what was delivered, the associations, and then the destination.
    #[arg(long)]
    purge: bool,
    /// Delete it even if what was delivered cannot be removed; it stays there for good.
    #[arg(long)]
    force_delete: bool,
    #[arg(value_name = "TYPE/NAME")]
    arguments: Vec<String>,
}

impl Destination {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Destination::Create(Create { arguments }) => {
                write(context, Method::Put, &arguments).await
            }
            Destination::Update(Update { arguments }) => {
                write(context, Method::Patch, &arguments).await
            }
            Destination::Read(arguments) => arguments.run(context).await,
            Destination::List(arguments) => arguments.run(context).await,
            Destination::Delete(arguments) => arguments.run(context).await,
        }
    }
}

async fn write(context: &mut Context, method: Method, arguments: &[String]) -> Result<(), Failure> {
    let (target, settings) = arguments::first(arguments)?;
    let target = Target::parse(target)?;
    for name in settings.iter().filter_map(|setting| literal_secret(setting)) {
        context.output.warn(&format!(
            "WARNING! {name} is on the command line, where others on this machine and the shell's \
             history see it. Give {name}=- or {name}=@FILE instead."
        ))?;
    }
    let body = Value::Object(body(settings, &mut context.input)?);
    let outgoing = Outgoing::new(method, target.path()).json(&body);
    let answer = match context.attempt(outgoing).await? {
        Ok(response) => crate::output::Secret::of(&response),
        Err(error) if method == Method::Patch && error.status() == Some(404) => {
            return Err(target.missing());
        }
        Err(error) => {
            return Err(context.failure(&format!("Error writing destination {target}"), &error));
        }
    };
    if !context.output.is_table() {
        return context.output.secret(&answer, None);
    }
    context.output.line(&format!("Success! Destination written: {target}"))?;
    if method == Method::Put {
        context.output.line(&format!("\nNext: bailee sync associate {target} MOUNT SECRET"))?;
    }
    context.output.warnings(&answer)
}

/// The settings, with secrets typed or read where they are not in the arguments.
pub(super) fn body(settings: &[String], input: &mut Input) -> Result<Map<String, Value>, Failure> {
    let mut plain = Vec::new();
    let mut hidden = Vec::new();
    for setting in settings {
        match setting.split_once('=') {
            Some((key, "-")) => hidden.push(key),
            _ => plain.push(setting.clone()),
        }
    }
    let mut body = value::body(&plain, input)?;
    let from_files = plain.iter().filter_map(|setting| setting.split_once('='));
    let from_files = from_files.filter(|(_, value)| value.starts_with('@')).map(|(key, _)| key);
    for key in from_files {
        if let Some(Value::String(text)) = body.get_mut(key) {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
    }
    for key in hidden {
        let typed = input.hidden(key)?;
        body.insert(key.to_owned(), typed.expose().as_str().into());
    }
    Ok(body)
}

/// The name of a setting whose value is a secret and stands in the arguments.
fn literal_secret(setting: &str) -> Option<&str> {
    let (name, value) = setting.split_once('=')?;
    let harmless = value.is_empty() || value == "-" || value.starts_with('@');
    // Names of secrets in Vault's API; the others carry the word without holding one.
    let secret =
        matches!(name, "secret_access_key" | "client_secret" | "credentials" | "private_key")
            || name == "access_token"
            || name.ends_with("password");
    (secret && !harmless).then_some(name)
}

impl Read {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [target] = arguments::exactly(&self.arguments)?;
        let target = Target::parse(target)?;
        let outgoing = Outgoing::new(Method::Get, target.path());
        let found = context.find(&format!("Error reading destination {target}"), outgoing).await?;
        let found = found.ok_or_else(|| target.missing())?;
        if self.field.is_some() || !context.output.is_table() {
            return context.output.secret(&found, self.field.as_deref());
        }
        let data = found.data().cloned().unwrap_or_default();
        let mut table = Table::of_fields();
        for (name, value) in &data {
            match value {
                // Settings one by one, each on its line.
                Value::Object(inner) => {
                    let mut inner: Vec<_> = inner.iter().collect();
                    inner.sort_by_key(|(name, _)| *name);
                    let is_setting = matches!(&**name, "connection_details" | "options");
                    let of = if is_setting { String::new() } else { format!("{name}.") };
                    for (name, value) in inner {
                        table.row([format!("{of}{name}"), cell(name, value)]);
                    }
                }
                plain => table.row([name.clone(), cell(name, plain)]),
            }
        }
        context.output.table(&table)?;
        context.output.warnings(&found)
    }
}

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let kind = arguments::optional(&self.arguments)?.map(|kind| kind.trim_matches('/'));
        let path = match kind {
            Some(kind) => format!("sys/sync/destinations/{kind}"),
            None => "sys/sync/destinations".to_owned(),
        };
        let outgoing = Outgoing::new(Method::List, path);
        let found = context.find("Error listing destinations", outgoing).await?;
        if !context.output.is_table() {
            return context.show_names(found.as_ref(), "");
        }
        let data = found.as_ref().and_then(|found| found.data()).cloned().unwrap_or_default();
        let targets = targets(&data, kind);
        if targets.is_empty() {
            return Err(Failure::refused(
                "There are no destinations. `bailee sync destination create aws-sm/NAME …` makes one.",
            ));
        }
        let mut table = Table::new(&["Destination"]);
        for target in targets {
            table.row([target.to_string()]);
        }
        context.output.table(&table)
    }
}

/// The destinations that a list answers: of one type, or of all.
pub(super) fn targets(data: &Map<String, Value>, kind: Option<&str>) -> Vec<Target> {
    let names = |list: &Value| -> Vec<String> {
        let names = list.as_array().into_iter().flatten();
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let of = |kind: &str, names: Vec<String>| {
        let kind = kind.trim_end_matches('/').to_owned();
        names.into_iter().map(move |name| Target { kind: kind.clone(), name })
    };
    if let Some(kind) = kind {
        return data
            .get("keys")
            .map(names)
            .map(|names| of(kind, names).collect())
            .unwrap_or_default();
    }
    let by_kind = data.get("key_info").and_then(Value::as_object).into_iter().flatten();
    by_kind.flat_map(|(kind, list)| of(kind, names(list))).collect()
}

impl Delete {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [target] = arguments::exactly(&self.arguments)?;
        let target = Target::parse(target)?;
        let mut outgoing = Outgoing::new(Method::Delete, target.path());
        for (name, wanted) in [("purge", self.purge), ("force_delete", self.force_delete)] {
            if wanted {
                outgoing = outgoing.query(name, "true");
            }
        }
        let attempt = format!("Error deleting destination {target}");
        match context.attempt(outgoing).await? {
            Ok(_) => {}
            Err(error) => {
                let mut failure = context.failure(&attempt, &error);
                if !self.purge && has_associations(&error) {
                    failure.message += &format!(
                        "\n\n`bailee sync status {target}` shows what is associated; \
                         `bailee sync destination delete -purge {target}` removes that, too."
                    );
                }
                return Err(failure);
            }
        }
        let told = if self.purge || self.force_delete {
            format!(
                "Success! Destination is being deleted: {target}\n\nWhat was delivered is removed first; `bailee sync status {target}` shows what is left."
            )
        } else {
            format!("Success! Destination deleted (if it existed): {target}")
        };
        context.output.line(&told)
    }
}

fn has_associations(error: &Error) -> bool {
    matches!(error, Error::Refused { response, .. }
        if response.errors().iter().any(|text| text.contains("purge") && !text.contains("in progress")))
}

/// What a destination that is being deleted says of it.
pub(super) fn purge_note(destination: &Value) -> Option<String> {
    let started = text(destination, "purge_initiated_at");
    if started.is_empty() {
        return None;
    }
    Some(match text(destination, "purge_error") {
        "" => format!("It is being deleted since {started}."),
        error => format!("It is being deleted since {started}, and that fails: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};
    use serde_json::json;

    fn words(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|&text| text.to_owned()).collect()
    }

    #[tokio::test]
    async fn a_secret_on_the_command_line_is_warned_of_and_not_repeated() {
        let (mut context, out, err, _) =
            testing::context(Format::Table, vec![(200, json!({"data": {"name": "m"}}))]).await;
        let arguments = words(&["aws-sm/m", "region=eu-west-1", "secret_access_key=canary"]);
        write(&mut context, Method::Put, &arguments).await.unwrap();
        assert!(err.text().contains("secret_access_key is on the command line"), "{}", err.text());
        assert!(!err.text().contains("canary") && !out.text().contains("canary"));
        assert!(out.text().contains("Next: bailee sync associate aws-sm/m MOUNT SECRET"));
    }

    #[test]
    fn secrets_come_from_standard_input_or_files_without_their_line_ends() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "AKIA\n").unwrap();
        let settings =
            words(&["secret_access_key=-", &format!("access_key_id=@{}", file.display())]);
        let body = body(&settings, &mut Input::from_text("s3cret\n")).unwrap();
        assert_eq!(
            Value::Object(body),
            json!({"secret_access_key": "s3cret", "access_key_id": "AKIA"})
        );
        assert_eq!(settings.iter().find_map(|setting| literal_secret(setting)), None);
        assert_eq!(literal_secret("secret_name_template=x"), None);
    }

    #[tokio::test]
    async fn settings_are_shown_one_by_one_and_everything_else_by_its_name() {
        let data = json!({"connection_details": {"region": "eu-west-1"}, "name": "m",
            "last_drift_check": {"drifted": 2, "objects": 3}});
        let (mut context, out, ..) =
            testing::context(Format::Table, vec![(200, json!({"data": data}))]).await;
        Read { field: None, arguments: words(&["aws-sm/m"]) }.run(&mut context).await.unwrap();
        assert!(out.text().contains("\nregion  "), "{}", out.text());
        assert!(out.text().contains("\nlast_drift_check.drifted    2\n"), "{}", out.text());
    }

    #[tokio::test]
    async fn all_destinations_are_listed_with_their_types() {
        let data = json!({"keys": ["aws-sm/"], "key_info": {"aws-sm/": ["a", "b"]}, "total_destinations": 2});
        let (mut context, out, ..) =
            testing::context(Format::Table, vec![(200, json!({"data": data}))]).await;
        List { arguments: Vec::new() }.run(&mut context).await.unwrap();
        assert_eq!(out.text(), "Destination\n-----------\naws-sm/a\naws-sm/b\n");
    }

    #[tokio::test]
    async fn a_refused_delete_says_how_to_purge() {
        let errors = json!({"errors": ["destination has associations: delete with purge=true to remove them with it"]});
        let (mut context, ..) = testing::context(Format::Table, vec![(400, errors)]).await;
        let delete = Delete { purge: false, force_delete: false, arguments: words(&["aws-sm/a"]) };
        let failure = delete.run(&mut context).await.unwrap_err();
        assert!(failure.message.contains("delete -purge aws-sm/a"), "{failure:?}");
    }
}
