//! `status`: whether the server is initialized, sealed, active.

use crate::{
    arguments,
    context::Context,
    failure::{Failure, REFUSED, USAGE},
    output::{Order, Table},
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Map, Value};

/// Fields of the seal status as the official client writes them.
const ORDER: Order = Order {
    first: &[
        "type",
        "initialized",
        "sealed",
        "t",
        "n",
        "progress",
        "nonce",
        "version",
        "build_date",
        "migration",
        "cluster_name",
        "cluster_id",
        "recovery_seal",
        "storage_type",
        "ha_enabled",
        "is_self",
        "active_time",
        "leader_address",
        "leader_cluster_address",
    ],
    inside: &[],
};
/// What stands for no time in JSON.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Shows whether the server is initialized and unsealed.
///
/// Exit code 0 when it is unsealed, 2 when it is sealed, 1 when it cannot be asked.
#[derive(Args, Debug)]
pub(crate) struct Status {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Status {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let asked = Outgoing::new(Method::Get, "sys/seal-status");
        let response = context.attempt(asked).await?.map_err(|error| {
            let failure = context.failure("Error checking seal status", &error);
            Failure { exit: USAGE, ..failure }
        })?;
        let mut status = response.json();
        // A sealed server does not know who leads; the seal status is what counts.
        let leader = context.attempt(Outgoing::new(Method::Get, "sys/leader")).await?;
        let leader = leader.map(|response| response.json()).unwrap_or_default();
        add_leader(&mut status, &leader);
        show(context, status.clone())?;
        let sealed = status.get("sealed").and_then(Value::as_bool).unwrap_or(true);
        if sealed { Err(Failure::shown(REFUSED)) } else { Ok(()) }
    }
}

fn add_leader(status: &mut Map<String, Value>, leader: &Map<String, Value>) {
    status.entry("ha_enabled").or_insert(false.into());
    let names =
        ["ha_enabled", "is_self", "active_time", "leader_address", "leader_cluster_address"];
    for name in names {
        let told = leader.get(name).filter(|value| value.as_str() != Some("") && !value.is_null());
        // Without a leader there is nothing to say about oneself.
        let told = told.filter(|value| name != "is_self" || value.as_bool() == Some(true));
        if let Some(value) = told {
            status.insert(name.to_owned(), value.clone());
        }
    }
}

/// Shows a seal status, which `operator unseal` answers, too.
pub(super) fn show(context: &mut Context, mut status: Map<String, Value>) -> Result<(), Failure> {
    if context.output.is_table() {
        return context.output.table(&table(&status));
    }
    status.entry("active_time").or_insert(NO_TIME.into());
    context.output.document(&Value::Object(status), &ORDER)
}

fn table(status: &Map<String, Value>) -> Table {
    let text = |name: &str| match status.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let is = |name: &str| status.get(name).and_then(Value::as_bool).unwrap_or(false);
    let mut table = Table::of_fields();
    table.row(["Seal Type", &text("type")]);
    table.row(["Initialized", &text("initialized")]);
    table.row(["Sealed", &text("sealed")]);
    table.row(["Total Shares", &text("n")]);
    table.row(["Threshold", &text("t")]);
    if is("sealed") {
        table.row(["Unseal Progress", &format!("{}/{}", text("progress"), text("t"))]);
        table.row(["Unseal Nonce", &text("nonce")]);
    }
    table.row(["Version", &text("version")]);
    table.row(["Build Date", &text("build_date")]);
    table.row(["Storage Type", &text("storage_type")]);
    for (name, field) in [("Cluster Name", "cluster_name"), ("Cluster ID", "cluster_id")] {
        if !text(field).is_empty() {
            table.row([name, &text(field)]);
        }
    }
    table.row(["HA Enabled", &is("ha_enabled").to_string()]);
    if is("ha_enabled") && !is("sealed") {
        table.row(["HA Cluster", &text("leader_cluster_address")]);
        let mode = if is("is_self") { "active" } else { "standby" };
        table.row(["HA Mode", mode]);
        if is("is_self") {
            table.row(["Active Since", &text("active_time")]);
        } else {
            table.row(["Active Node Address", &text("leader_address")]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};
    use serde_json::json;

    #[tokio::test]
    async fn a_sealed_server_shows_its_progress_and_exits_with_2() {
        let status = json!({"type": "shamir", "initialized": true, "sealed": true, "t": 2, "n": 3,
            "progress": 1, "nonce": "u", "version": "2.2.0", "build_date": "", "storage_type": "embedded"});
        let answers = vec![(200, status), (503, json!({"errors": ["Vault is sealed"]}))];
        let (mut context, out, ..) = testing::context(Format::Table, answers).await;
        let failure = Status { rest: Vec::new() }.run(&mut context).await.unwrap_err();
        assert_eq!(failure, Failure::shown(2));
        assert!(out.text().contains("Unseal Progress    1/2\n"), "{}", out.text());
        assert!(out.text().contains("HA Enabled         false\n"), "{}", out.text());
    }

    #[tokio::test]
    async fn json_has_the_fields_in_their_known_order() {
        let status = json!({"sealed": false, "type": "shamir", "initialized": true});
        let leader =
            json!({"ha_enabled": true, "is_self": true, "active_time": "x", "leader_address": ""});
        let (mut context, out, ..) =
            testing::context(Format::Json, vec![(200, status), (200, leader)]).await;
        Status { rest: Vec::new() }.run(&mut context).await.unwrap();
        let expected = "{\n  \"type\": \"shamir\",\n  \"initialized\": true,\n  \"sealed\": false,\n  \"ha_enabled\": true,\n  \"is_self\": true,\n  \"active_time\": \"x\"\n}\n";
        assert_eq!(out.text(), expected);
    }
}
