//! Listing what is mounted.

use super::Family;
use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Order, Table, cell, seconds},
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Map, Value, json};

/// `secrets list`, `auth list`.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Show all their settings.
    #[arg(long)]
    detailed: bool,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

const CONFIG: Order = Order {
    first: &["default_lease_ttl", "max_lease_ttl", "force_no_cache", "token_type"],
    inside: &[],
};
const MOUNT: Order = Order {
    first: &[
        "uuid",
        "type",
        "description",
        "accessor",
        "config",
        "options",
        "local",
        "seal_wrap",
        "external_entropy_access",
        "plugin_version",
        "running_plugin_version",
        "running_sha256",
        "deprecation_status",
    ],
    inside: &[("config", &CONFIG)],
};
const MOUNTS: Order = Order { first: &[], inside: &[("*", &MOUNT)] };

impl List {
    pub(super) async fn run(self, family: Family, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let (endpoint, attempt) = match family {
            Family::Secrets => ("sys/mounts", "Error listing secrets engines"),
            Family::Auth => ("sys/auth", "Error listing enabled authentications"),
        };
        let found = context.send(attempt, Outgoing::new(Method::Get, endpoint)).await?;
        let mut mounts = found.data().cloned().unwrap_or_default();
        mounts.values_mut().for_each(complete);
        if !context.output.is_table() {
            return context.output.document(&Value::Object(mounts), &MOUNTS);
        }
        let mounts = sorted(mounts);
        let table = match (self.detailed, family) {
            (true, Family::Secrets) => detailed(&mounts, ("Force No Cache", "force_no_cache")),
            (true, Family::Auth) => detailed(&mounts, ("Token Type", "token_type")),
            (false, family) => simple(&mounts, family),
        };
        context.output.table(&table)
    }
}

/// Adds what a server may leave out, and scripts expect.
fn complete(mount: &mut Value) {
    let Value::Object(fields) = mount else { return };
    let texts =
        ["plugin_version", "running_plugin_version", "running_sha256", "deprecation_status"];
    for name in texts {
        fields.entry(name).or_insert_with(|| "".into());
    }
}

fn sorted(mounts: Map<String, Value>) -> Vec<(String, Value)> {
    let mut mounts: Vec<(String, Value)> = mounts.into_iter().collect();
    mounts.sort_by(|left, right| left.0.cmp(&right.0));
    mounts
}

fn simple(mounts: &[(String, Value)], family: Family) -> Table {
    let mut columns =
        vec![("Type", "type"), ("Accessor", "accessor"), ("Description", "description")];
    if family == Family::Auth {
        columns.push(("Version", "plugin_version"));
    }
    let head: Vec<&str> =
        ["Path"].into_iter().chain(columns.iter().map(|(title, _)| *title)).collect();
    let mut table = Table::new(&head);
    for (path, mount) in mounts {
        let cells = columns.iter().map(|(_, name)| text(mount, name));
        table.row([path.clone()].into_iter().chain(cells));
    }
    table
}

/// All settings of mounts; the sixth column, with its field, differs between engines and methods.
fn detailed(mounts: &[(String, Value)], sixth: (&str, &str)) -> Table {
    let mut table = Table::new(&[
        "Path",
        "Plugin",
        "Accessor",
        "Default TTL",
        "Max TTL",
        sixth.0,
        "Replication",
        "Seal Wrap",
        "External Entropy Access",
        "Options",
        "Description",
        "UUID",
        "Version",
        "Running Version",
        "Running SHA256",
        "Deprecation Status",
    ]);
    for (path, mount) in mounts {
        let config = mount.get("config").unwrap_or(&Value::Null);
        // These two have no leases of their own to set times for.
        let timeless = matches!(text(mount, "type").as_str(), "system" | "cubbyhole");
        let time = |name| match config.get(name).and_then(Value::as_i64).unwrap_or(0) {
            _ if timeless => String::new(),
            0 => "system".to_owned(),
            length => seconds(length),
        };
        let local = mount.get("local").and_then(Value::as_bool).unwrap_or(false);
        let options = mount.get("options").filter(|options| !options.is_null()).cloned();
        table.row([
            path.clone(),
            text(mount, "type"),
            text(mount, "accessor"),
            time("default_lease_ttl"),
            time("max_lease_ttl"),
            config.get(sixth.1).map_or_else(|| "false".to_owned(), |value| cell(sixth.1, value)),
            if local { "local" } else { "replicated" }.to_owned(),
            flag(mount, "seal_wrap"),
            flag(mount, "external_entropy_access"),
            cell("options", &options.unwrap_or_else(|| json!({}))),
            text(mount, "description"),
            text(mount, "uuid"),
            text(mount, "plugin_version"),
            text(mount, "running_plugin_version"),
            text(mount, "running_sha256"),
            text(mount, "deprecation_status"),
        ]);
    }
    table
}

fn text(document: &Value, name: &str) -> String {
    document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn flag(document: &Value, name: &str) -> String {
    document.get(name).and_then(Value::as_bool).unwrap_or(false).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    #[tokio::test]
    async fn mounts_are_listed_by_path() {
        let mounts = json!({"data": {
            "secret/": {"type": "kv", "accessor": "kv_1", "description": "", "options": {"version": "2"}},
            "cubbyhole/": {"type": "cubbyhole", "accessor": "cubbyhole_1", "description": "own", "local": true},
        }});
        let answers = vec![(200, mounts.clone()), (200, mounts)];
        let (mut context, out, ..) = testing::context(Format::Table, answers).await;
        let list = || List { detailed: false, rest: Vec::new() };
        list().run(Family::Secrets, &mut context).await.unwrap();
        let expected = "Path          Type         Accessor       Description\n\
                        ----          ----         --------       -----------\n\
                        cubbyhole/    cubbyhole    cubbyhole_1    own\n\
                        secret/       kv           kv_1           n/a\n";
        assert_eq!(out.text(), expected);
        list().run(Family::Auth, &mut context).await.unwrap();
        assert!(out.text().contains("Description    Version\n"), "{}", out.text());
    }
}
