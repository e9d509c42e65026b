//! `agent status`: how a running agent fares.

use super::Which;
use crate::{
    agent,
    context::Context,
    failure::{Failure, REFUSED},
    output::{Order, Table},
};
use clap::Args;
use serde_json::Value;

/// Shows how a running agent fares: its secret managers, and the secrets that it keeps. Never values.
///
/// The exit code is 0 when all that outputs stand on is there, and 2 when something is missing or the agent does
/// not answer.
#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    which: Which,
}

impl Status {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let configuration = self.which.configuration()?;
        let answer = agent::ask(&configuration, "/agent/status").await;
        let answer = answer.map_err(|error| Failure::refused(format!("{error:#}")))?;
        if !answer.status.is_success() {
            let told = String::from_utf8_lossy(&answer.body).trim().to_owned();
            return Err(Failure::refused(format!("the agent answered {}: {told}", answer.status)));
        }
        let status: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| Failure::refused("the agent's answer is not JSON"))?;
        if context.output.is_table() {
            tables(context, &status)?;
        } else {
            context.output.document(&status, &Order::SORTED)?;
        }
        let missing = |secret: &Value| {
            secret.get("pinned") == Some(&Value::Bool(true))
                && secret.get("version").is_none_or(Value::is_null)
        };
        let secrets = status.get("secrets").and_then(Value::as_array);
        if secrets.is_some_and(|secrets| secrets.iter().any(missing)) {
            return Err(Failure::shown(REFUSED));
        }
        Ok(())
    }
}

fn tables(context: &mut Context, status: &Value) -> Result<(), Failure> {
    let mut managers = Table::new(&["Manager", "Place", "Answered", "Failure"]);
    for (name, manager) in status.get("managers").and_then(Value::as_object).into_iter().flatten() {
        let answered = ago(manager.get("answered_seconds_ago"));
        managers.row([name.clone(), text(manager, "place"), answered, text(manager, "failure")]);
    }
    context.output.table(&managers)?;
    context.output.line("")?;
    let mut secrets = Table::new(&["Secret", "Manager", "Version", "Fetched", "State"]);
    for secret in status.get("secrets").and_then(Value::as_array).into_iter().flatten() {
        let stale = secret.get("stale") == Some(&Value::Bool(true));
        let held = secret.get("version").is_some_and(Value::is_string);
        let failure = text(secret, "failure");
        let state = match (held, stale) {
            (true, false) => "fresh".to_owned(),
            (true, true) => with("old", &failure),
            (false, _) => with("missing", &failure),
        };
        let fetched = ago(secret.get("age_seconds"));
        let (id, manager) = (text(secret, "id"), text(secret, "manager"));
        secrets.row([id, manager, text(secret, "version"), fetched, state]);
    }
    context.output.table(&secrets)
}

/// A state with its reason, where there is one yet.
fn with(state: &str, reason: &str) -> String {
    if reason.is_empty() { state.to_owned() } else { format!("{state}: {reason}") }
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn ago(seconds: Option<&Value>) -> String {
    match seconds.and_then(Value::as_u64) {
        Some(seconds) => format!("{seconds}s ago"),
        None => "never".to_owned(),
    }
}
