//! `audit`: where requests are written down.

use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Order, Table},
    value,
};
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Enables, lists and disables audit devices.
#[derive(Subcommand, Debug)]
pub(crate) enum Audit {
    Enable(Enable),
    List(List),
    Disable(Disable),
}

/// Enables an audit device: file, socket or syslog, with its options.
///
/// From then on every request is written there, or refused when that fails.
#[derive(Args, Debug)]
pub(crate) struct Enable {
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Where, instead of at the name of its type.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Keep it on this cluster only.
    #[arg(long)]
    local: bool,
    /// The type and the options of the device.
    #[arg(value_name = "TYPE [KEY=VALUE…]")]
    arguments: Vec<String>,
}

/// Lists the audit devices.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Show their options, too.
    #[arg(long)]
    detailed: bool,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Disables an audit device.
#[derive(Args, Debug)]
pub(crate) struct Disable {
    /// The path it is enabled at.
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

impl Audit {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Audit::Enable(arguments) => arguments.run(context).await,
            Audit::List(arguments) => arguments.run(context).await,
            Audit::Disable(arguments) => arguments.run(context).await,
        }
    }
}

impl Enable {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let (kind, options) = self.arguments.split_first().ok_or_else(|| {
            Failure::usage("Not enough arguments: the type is missing (file, socket or syslog)")
        })?;
        let kind = kind.trim();
        let path = self.path.as_deref().unwrap_or(kind).trim_matches('/');
        let body = json!({
            "type": kind,
            "description": self.description.unwrap_or_default(),
            "local": self.local,
            "options": value::body(options, &mut context.input)?,
        });
        let outgoing = Outgoing::new(Method::Put, format!("sys/audit/{path}")).json(&body);
        let answer = context.send("Error enabling audit device", outgoing).await?;
        context.output.line(&format!("Success! Enabled the {kind} audit device at: {path}/"))?;
        context.output.warnings(&answer)
    }
}

const DEVICE: Order =
    Order { first: &["type", "description", "options", "local", "path"], inside: &[] };
const DEVICES: Order = Order { first: &[], inside: &[("*", &DEVICE)] };

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let outgoing = Outgoing::new(Method::Get, "sys/audit");
        let found = context.send("Error listing audits", outgoing).await?;
        let devices = found.data().cloned().unwrap_or_default();
        if !context.output.is_table() {
            return context.output.document(&Value::Object(devices), &DEVICES);
        }
        if devices.is_empty() {
            context.output.line("No audit devices are enabled.")?;
            return Err(Failure::shown(crate::failure::REFUSED));
        }
        context.output.table(&self.table(&devices))
    }

    fn table(&self, devices: &Map<String, Value>) -> Table {
        let mut sorted: Vec<(&String, &Value)> = devices.iter().collect();
        sorted.sort_by_key(|(path, _)| *path);
        let head = ["Path", "Type", "Description", "Replication", "Options"];
        let columns = if self.detailed { 5 } else { 3 };
        let mut table = Table::new(head.get(..columns).unwrap_or(&head));
        for (path, device) in sorted {
            let text = |name: &str| device.get(name).and_then(Value::as_str).unwrap_or_default();
            let local = device.get("local").and_then(Value::as_bool).unwrap_or(false);
            let mut cells = vec![path.clone(), text("type").to_owned()];
            cells.push(text("description").to_owned());
            if self.detailed {
                cells.push(if local { "local" } else { "replicated" }.to_owned());
                cells.push(options(device));
            }
            table.row(cells);
        }
        table
    }
}

fn options(device: &Value) -> String {
    let options = device.get("options").and_then(Value::as_object);
    let mut options: Vec<String> = options
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", crate::output::cell(name, value)))
        .collect();
    options.sort();
    options.join(" ")
}

impl Disable {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let path = path.trim_matches('/');
        let outgoing = Outgoing::new(Method::Delete, format!("sys/audit/{path}"));
        context.send("Error disabling audit device", outgoing).await?;
        context
            .output
            .line(&format!("Success! Disabled audit device (if it was enabled) at: {path}/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    #[tokio::test]
    async fn devices_are_listed_and_none_exits_with_2() {
        let devices = json!({"data": {
            "file/": {"type": "file", "description": "", "options": {"mode": "0600", "file_path": "/a"}, "local": false},
        }});
        let answers = vec![(200, devices), (200, json!({"data": {}}))];
        let (mut context, out, ..) = testing::context(Format::Table, answers).await;
        let list = || List { detailed: true, rest: Vec::new() };
        list().run(&mut context).await.unwrap();
        assert!(out.text().ends_with("replicated     file_path=/a mode=0600\n"), "{}", out.text());
        assert_eq!(list().run(&mut context).await, Err(Failure::shown(2)));
        assert!(out.text().ends_with("No audit devices are enabled.\n"));
    }

    #[tokio::test]
    async fn a_device_is_enabled_with_its_options() {
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![(204, Value::Null)]).await;
        let arguments = vec!["file".to_owned(), "file_path=/a".to_owned()];
        let enable =
            Enable { description: None, path: Some("f2".to_owned()), local: false, arguments };
        enable.run(&mut context).await.unwrap();
        assert!(asked.text().starts_with("PUT /v1/sys/audit/f2 {"), "{}", asked.text());
        assert!(asked.text().contains(r#""options":{"file_path":"/a"}"#), "{}", asked.text());
        assert_eq!(out.text(), "Success! Enabled the file audit device at: f2/\n");
    }
}
