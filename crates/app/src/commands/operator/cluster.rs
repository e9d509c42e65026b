//! `operator members`, `operator step-down`: the nodes of a cluster.

use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Order, Table, cell},
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Value, json};

/// Lists the nodes of the cluster.
#[derive(Args, Debug)]
pub(crate) struct Members {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Makes the active node give up being it, so that another takes over.
#[derive(Args, Debug)]
pub(crate) struct StepDown {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Members {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let outgoing = Outgoing::new(Method::Get, "sys/ha-status");
        let response = context.attempt(outgoing).await?;
        let response =
            response.map_err(|error| context.failure("Error getting HA status", &error))?;
        let mut told = response.json();
        if let Some(Value::Object(data)) = told.remove("data") {
            told.extend(data);
        }
        let nodes = told.remove("nodes").or_else(|| told.remove("Nodes")).unwrap_or_default();
        if !context.output.is_table() {
            return context.output.document(&json!({ "Nodes": nodes }), &Order::SORTED);
        }
        let columns = [
            ("Host Name", "hostname"),
            ("API Address", "api_address"),
            ("Cluster Address", "cluster_address"),
            ("Active Node", "active_node"),
            ("Version", "version"),
            ("Upgrade Version", "upgrade_version"),
            ("Redundancy Zone", "redundancy_zone"),
            ("Last Echo", "last_echo"),
        ];
        let mut table = Table::new(&columns.map(|(title, _)| title));
        for node in nodes.as_array().into_iter().flatten() {
            table.row(columns.map(|(_, name)| match node.get(name) {
                None | Some(Value::Null) => String::new(),
                Some(value) => cell(name, value),
            }));
        }
        context.output.table(&table)
    }
}

impl StepDown {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        context.send("Error stepping down", Outgoing::new(Method::Put, "sys/step-down")).await?;
        let address = context.client().settings().address.clone();
        context.output.line(&format!("Success! Stepped down: {address}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    #[tokio::test]
    async fn nodes_are_a_table() {
        let node = json!({"hostname": "a", "api_address": "http://a", "active_node": true, "last_echo": null});
        let (mut context, out, ..) =
            testing::context(Format::Table, vec![(200, json!({"nodes": [node]}))]).await;
        Members { rest: Vec::new() }.run(&mut context).await.unwrap();
        let row = out.text().lines().last().unwrap().to_owned();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words, ["a", "http://a", "n/a", "true", "n/a", "n/a", "n/a", "n/a"]);
    }
}
