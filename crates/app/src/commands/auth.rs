//! `auth`: which auth methods are mounted where.

use super::secrets::{MOUNTS, Settings, detailed, lease_times, options, sorted, text};
use crate::{arguments, context::Context, failure::Failure, output::Table};
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Enables, lists, tunes and disables auth methods.
#[derive(Subcommand, Debug)]
pub(crate) enum Auth {
    Enable(Enable),
    List(List),
    Tune(Tune),
    Disable(Disable),
}

/// Enables an auth method at a path; by default at its type's name.
#[derive(Args, Debug)]
pub(crate) struct Enable {
    /// Where, instead of at the name of its type.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Keep it on this cluster only.
    #[arg(long)]
    local: bool,
    /// The method, such as userpass.
    #[arg(value_name = "TYPE")]
    arguments: Vec<String>,
}

/// Lists the auth methods.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Show all their settings.
    #[arg(long)]
    detailed: bool,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Changes the settings of an auth method.
#[derive(Args, Debug)]
pub(crate) struct Tune {
    #[command(flatten)]
    settings: Settings,
    /// The path it is mounted at.
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Disables an auth method and revokes the tokens it gave.
#[derive(Args, Debug)]
pub(crate) struct Disable {
    /// The path it is mounted at.
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

impl Auth {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Auth::Enable(arguments) => arguments.run(context).await,
            Auth::List(arguments) => arguments.run(context).await,
            Auth::Tune(arguments) => arguments.run(context).await,
            Auth::Disable(arguments) => arguments.run(context).await,
        }
    }
}

impl Enable {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [kind] = arguments::exactly(&self.arguments)?;
        let kind = kind.trim();
        let path = self.path.as_deref().unwrap_or(kind).trim_matches('/');
        let mut config = lease_times(&self.settings);
        if let Some(visibility) = self.settings.listing_visibility {
            config.insert("listing_visibility".to_owned(), visibility.into());
        }
        let body = json!({
            "type": kind,
            "description": self.settings.description.unwrap_or_default(),
            "config": config,
            "options": options(&self.settings.options, None),
            "local": self.local,
        });
        let outgoing = Outgoing::new(Method::Post, format!("sys/auth/{path}")).json(&body);
        context.send(&format!("Error enabling {kind} auth"), outgoing).await?;
        context.output.line(&format!("Success! Enabled {kind} auth method at: {path}/"))
    }
}

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let outgoing = Outgoing::new(Method::Get, "sys/auth");
        let found = context.send("Error listing enabled authentications", outgoing).await?;
        let methods = found.data().cloned().unwrap_or_default();
        if !context.output.is_table() {
            return context.output.document(&Value::Object(methods), &MOUNTS);
        }
        let methods = sorted(methods);
        if self.detailed {
            return context.output.table(&detailed(&methods, ("Token Type", "token_type")));
        }
        let mut table = Table::new(&["Path", "Type", "Accessor", "Description", "Version"]);
        for (path, method) in &methods {
            let cells = ["type", "accessor", "description", "plugin_version"];
            table.row([path.clone()].into_iter().chain(cells.map(|name| text(method, name))));
        }
        context.output.table(&table)
    }
}

impl Tune {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let path = path.trim_matches('/');
        let mut body = lease_times(&self.settings);
        let options = options(&self.settings.options, None);
        if !options.is_empty() {
            body.insert("options".to_owned(), options.into());
        }
        if let Some(description) = self.settings.description {
            body.insert("description".to_owned(), description.into());
        }
        if let Some(visibility) = self.settings.listing_visibility {
            body.insert("listing_visibility".to_owned(), visibility.into());
        }
        let outgoing = Outgoing::new(Method::Post, format!("sys/auth/{path}/tune"));
        let outgoing = outgoing.json(&Value::Object(body));
        context.send(&format!("Error tuning auth method {path}"), outgoing).await?;
        context.output.line(&format!("Success! Tuned the auth method at: {path}/"))
    }
}

impl Disable {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let path = path.trim_matches('/');
        let outgoing = Outgoing::new(Method::Delete, format!("sys/auth/{path}"));
        context.send(&format!("Error disabling auth method at {path}/"), outgoing).await?;
        let told = format!("Success! Disabled the auth method (if it existed) at: {path}/");
        context.output.line(&told)
    }
}
