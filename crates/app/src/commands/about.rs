//! `path-help`, `version-history`: what a server tells about itself.

use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Order, Table},
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::Value;

/// Shows the server's help for a path of the API.
#[derive(Args, Debug)]
pub(crate) struct PathHelp {
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Shows which versions the server had, and since when.
#[derive(Args, Debug)]
pub(crate) struct VersionHistory {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl PathHelp {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let outgoing = Outgoing::new(Method::Get, path.trim_matches('/')).query("help", "1");
        let response = context.attempt(outgoing).await?;
        let response =
            response.map_err(|error| context.failure("Error retrieving help", &error))?;
        let told = response.json();
        if !context.output.is_table() {
            return context.output.document(&Value::Object(told), &Order::SORTED);
        }
        let help = told.get("help").or_else(|| told.get("data")?.get("help"));
        context.output.line(help.and_then(Value::as_str).unwrap_or_default().trim_end())
    }
}

impl VersionHistory {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let outgoing = Outgoing::new(Method::List, "sys/version-history");
        let found = context.send("Error reading version history", outgoing).await?;
        if !context.output.is_table() {
            return context.output.secret(&found, None);
        }
        let data = found.data().cloned().unwrap_or_default();
        let mut table = Table::new(&["Version", "Installation Time", "Build Date"]);
        for version in data.get("keys").and_then(Value::as_array).into_iter().flatten() {
            let version = version.as_str().unwrap_or_default();
            let known = data.get("key_info").and_then(|known| known.get(version));
            let text = |name: &str| {
                let text = known.and_then(|known| known.get(name)).and_then(Value::as_str);
                text.unwrap_or_default().to_owned()
            };
            table.row([version.to_owned(), text("timestamp_installed"), text("build_date")]);
        }
        context.output.table(&table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};
    use serde_json::json;

    #[tokio::test]
    async fn help_of_a_path_is_its_text() {
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![(200, json!({"help": "## text\n\n"}))]).await;
        PathHelp { arguments: vec!["sys/mounts/".to_owned()] }.run(&mut context).await.unwrap();
        assert_eq!(asked.text(), "GET /v1/sys/mounts?help=1\n");
        assert_eq!(out.text(), "## text\n");
    }

    #[tokio::test]
    async fn versions_are_listed_in_their_order() {
        let known =
            json!({"timestamp_installed": "t", "build_date": "b", "previous_version": null});
        let history = json!({"data": {"keys": ["2.2.0"], "key_info": {"2.2.0": known}}});
        let (mut context, out, ..) = testing::context(Format::Table, vec![(200, history)]).await;
        VersionHistory { rest: Vec::new() }.run(&mut context).await.unwrap();
        assert!(out.text().ends_with("2.2.0      t                    b\n"), "{}", out.text());
    }
}
