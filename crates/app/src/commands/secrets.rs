//! `secrets`: which engines are mounted where.

use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Order, Table, cell, seconds},
    value,
};
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Enables, lists, tunes and disables secrets engines.
#[derive(Subcommand, Debug)]
pub(crate) enum Secrets {
    Enable(Enable),
    List(List),
    Tune(Tune),
    Disable(Disable),
}

/// Enables a secrets engine at a path; by default at its type's name.
#[derive(Args, Debug)]
pub(crate) struct Enable {
    /// Where, instead of at the name of its type.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Version of the kv engine: 1 or 2.
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    #[command(flatten)]
    settings: Settings,
    /// Keep it on this cluster only.
    #[arg(long)]
    local: bool,
    /// The engine, such as kv.
    #[arg(value_name = "TYPE")]
    arguments: Vec<String>,
}

/// Changes the settings of a secrets engine.
#[derive(Args, Debug)]
pub(crate) struct Tune {
    /// Version of the kv engine: 2.
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    #[command(flatten)]
    settings: Settings,
    /// The path it is mounted at.
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Settings of a mount, which auth methods have, too.
#[derive(Args, Debug)]
pub(super) struct Settings {
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub(super) description: Option<String>,
    /// How long a lease lasts when nobody says.
    #[arg(long, value_name = "DURATION", value_parser = value::ttl)]
    default_lease_ttl: Option<String>,
    /// How long a lease may last.
    #[arg(long, value_name = "DURATION", value_parser = value::ttl)]
    max_lease_ttl: Option<String>,
    /// An option of the engine; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::pair)]
    pub(super) options: Vec<(String, String)>,
    /// Whether those who may not read it see it: hidden or unauth.
    #[arg(long, value_name = "WORD")]
    pub(super) listing_visibility: Option<String>,
}

/// Lists the secrets engines.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Show all their settings.
    #[arg(long)]
    detailed: bool,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Disables a secrets engine and deletes all it holds.
#[derive(Args, Debug)]
pub(crate) struct Disable {
    /// The path it is mounted at.
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

impl Secrets {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Secrets::Enable(arguments) => arguments.run(context).await,
            Secrets::List(arguments) => arguments.run(context).await,
            Secrets::Tune(arguments) => arguments.run(context).await,
            Secrets::Disable(arguments) => arguments.run(context).await,
        }
    }
}

impl Enable {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [typed] = arguments::exactly(&self.arguments)?;
        let kind = typed.trim();
        let path = self.path.as_deref().unwrap_or(kind).trim_matches('/');
        // kv-v1 and kv-v2 are names for kv with its version.
        let (engine, named) = match kind {
            "kv-v1" => ("kv", Some(1)),
            "kv-v2" => ("kv", Some(2)),
            other => (other, None),
        };
        let mut config = lease_times(&self.settings);
        if let Some(visibility) = self.settings.listing_visibility {
            config.insert("listing_visibility".to_owned(), visibility.into());
        }
        let body = json!({
            "type": engine,
            "description": self.settings.description.unwrap_or_default(),
            "config": config,
            "options": options(&self.settings.options, self.version.or(named)),
            "local": self.local,
        });
        let outgoing = Outgoing::new(Method::Post, format!("sys/mounts/{path}")).json(&body);
        context.send("Error enabling", outgoing).await?;
        context.output.line(&format!("Success! Enabled the {kind} secrets engine at: {path}/"))
    }
}

impl Tune {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let path = path.trim_matches('/');
        let mut body = lease_times(&self.settings);
        let options = options(&self.settings.options, self.version);
        if !options.is_empty() {
            body.insert("options".to_owned(), options.into());
        }
        if let Some(description) = self.settings.description {
            body.insert("description".to_owned(), description.into());
        }
        if let Some(visibility) = self.settings.listing_visibility {
            body.insert("listing_visibility".to_owned(), visibility.into());
        }
        tune(context, path, body).await
    }
}

/// Changes settings of a mount; `kv enable-versioning` does, too.
pub(super) async fn tune(
    context: &mut Context,
    path: &str,
    body: Map<String, Value>,
) -> Result<(), Failure> {
    let outgoing = Outgoing::new(Method::Post, format!("sys/mounts/{path}/tune"));
    let outgoing = outgoing.json(&Value::Object(body));
    context.send(&format!("Error tuning secrets engine {path}/"), outgoing).await?;
    context.output.line(&format!("Success! Tuned the secrets engine at: {path}/"))
}

pub(super) fn lease_times(settings: &Settings) -> Map<String, Value> {
    let times = [
        ("default_lease_ttl", &settings.default_lease_ttl),
        ("max_lease_ttl", &settings.max_lease_ttl),
    ];
    let given = times.into_iter().filter_map(|(name, time)| {
        let time = time.as_ref()?;
        Some((name.to_owned(), Value::from(time.as_str())))
    });
    given.collect()
}

pub(super) fn options(given: &[(String, String)], version: Option<u32>) -> Map<String, Value> {
    let mut options: Map<String, Value> =
        given.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    if let Some(version) = version {
        options.insert("version".to_owned(), version.to_string().into());
    }
    options
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
pub(super) const MOUNTS: Order = Order { first: &[], inside: &[("*", &MOUNT)] };

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let outgoing = Outgoing::new(Method::Get, "sys/mounts");
        let found = context.send("Error listing secrets engines", outgoing).await?;
        let mounts = found.data().cloned().unwrap_or_default();
        if !context.output.is_table() {
            return context.output.document(&Value::Object(mounts), &MOUNTS);
        }
        let mounts = sorted(mounts);
        let table = if self.detailed {
            detailed(&mounts, ("Force No Cache", "force_no_cache"))
        } else {
            simple(&mounts)
        };
        context.output.table(&table)
    }
}

pub(super) fn sorted(mounts: Map<String, Value>) -> Vec<(String, Value)> {
    let mut mounts: Vec<(String, Value)> = mounts.into_iter().collect();
    mounts.sort_by(|left, right| left.0.cmp(&right.0));
    mounts
}

fn simple(mounts: &[(String, Value)]) -> Table {
    let mut table = Table::new(&["Path", "Type", "Accessor", "Description"]);
    for (path, mount) in mounts {
        let cells = ["type", "accessor", "description"].map(|name| text(mount, name));
        table.row([path.clone()].into_iter().chain(cells));
    }
    table
}

/// All settings of mounts; the sixth column, with its field, differs between engines and methods.
pub(super) fn detailed(mounts: &[(String, Value)], sixth: (&str, &str)) -> Table {
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

pub(super) fn text(document: &Value, name: &str) -> String {
    document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn flag(document: &Value, name: &str) -> String {
    document.get(name).and_then(Value::as_bool).unwrap_or(false).to_string()
}

impl Disable {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let path = path.trim_matches('/');
        let attempt = format!("Error disabling secrets engine at {path}/");
        context.send(&attempt, Outgoing::new(Method::Delete, format!("sys/mounts/{path}"))).await?;
        context
            .output
            .line(&format!("Success! Disabled the secrets engine (if it existed) at: {path}/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    #[tokio::test]
    async fn an_engine_is_enabled_with_its_version_as_an_option() {
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![(204, Value::Null)]).await;
        let settings = Settings {
            description: None,
            default_lease_ttl: Some("1h".to_owned()),
            max_lease_ttl: None,
            options: Vec::new(),
            listing_visibility: None,
        };
        let (path, arguments) = (Some("secret/".to_owned()), vec!["kv-v2".to_owned()]);
        let enable = Enable { path, version: None, settings, local: false, arguments };
        enable.run(&mut context).await.unwrap();
        let (line, body) = asked
            .text()
            .trim()
            .split_once(" {")
            .map(|(l, b)| (l.to_owned(), format!("{{{b}")))
            .unwrap();
        assert_eq!(line, "POST /v1/sys/mounts/secret");
        let body: Value = serde_json::from_str(&body).unwrap();
        let expected = json!({"type": "kv", "description": "", "local": false, "options": {"version": "2"}, "config": {"default_lease_ttl": "1h"}});
        assert_eq!(body, expected);
        assert_eq!(out.text(), "Success! Enabled the kv-v2 secrets engine at: secret/\n");
    }

    #[tokio::test]
    async fn mounts_are_listed_by_path() {
        let mounts = json!({"data": {
            "secret/": {"type": "kv", "accessor": "kv_1", "description": "", "options": {"version": "2"}},
            "cubbyhole/": {"type": "cubbyhole", "accessor": "cubbyhole_1", "description": "own", "local": true},
        }});
        let (mut context, out, ..) = testing::context(Format::Table, vec![(200, mounts)]).await;
        List { detailed: false, rest: Vec::new() }.run(&mut context).await.unwrap();
        let expected = "Path          Type         Accessor       Description\n\
                        ----          ----         --------       -----------\n\
                        cubbyhole/    cubbyhole    cubbyhole_1    own\n\
                        secret/       kv           kv_1           n/a\n";
        assert_eq!(out.text(), expected);
    }
}
