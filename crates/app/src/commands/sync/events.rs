//! `sync events`: what happens, as it happens.

use super::{Target, text};
use crate::{arguments, context::Context, failure::Failure};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::Value;

/// The longest event that is waited for.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Events that only say that the connection lives.
const KEEP_ALIVE: &str = "keep_alive";

/// Follows deliveries, removals and failures as they happen; of one destination when it is given.
///
/// With -format=json each event is one line of JSON. Secrets that the token may not read are counted
/// and not named.
#[derive(Args, Debug)]
pub(crate) struct Events {
    /// Only secrets of this mount.
    #[arg(long, value_name = "PATH")]
    mount: Option<String>,
    /// Only events that lead to this status, such as CLIENT_SIDE_ERROR.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    #[arg(value_name = "TYPE/NAME")]
    arguments: Vec<String>,
}

impl Events {
    /// Runs the command until the server ends the stream.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let target = arguments::optional(&self.arguments)?;
        let target = target.map(|text| Target::parse(text)).transpose()?;
        let mut outgoing = Outgoing::new(Method::Get, "sys/sync/events");
        if let Some(Target { kind, name }) = target {
            outgoing = outgoing.query("type", kind).query("name", name);
        }
        for (name, wanted) in [("mount", self.mount), ("status", self.status)] {
            if let Some(wanted) = wanted {
                outgoing = outgoing.query(name, wanted);
            }
        }
        let attempt = "Error following events";
        let mut parts = context.stream(attempt, outgoing).await?;
        let mut pending = Vec::new();
        loop {
            let part = parts.next().await;
            let Some(part) = part.map_err(|error| context.failure(attempt, &error))? else { break };
            pending.extend_from_slice(&part);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                show(context, &line)?;
            }
            if pending.len() > LINE_BYTES_MAX {
                return Err(Failure::refused(format!("{attempt}: an event is too long")));
            }
        }
        context.output.warn("The server ended the stream; run the command again to go on.")
    }
}

fn show(context: &mut Context, line: &[u8]) -> Result<(), Failure> {
    let Ok(event) = serde_json::from_slice::<Value>(line) else {
        return Err(Failure::refused("Error following events: the server sent no JSON"));
    };
    if text(&event, "event") == KEEP_ALIVE {
        return Ok(());
    }
    if context.output.is_table() {
        return context.output.line(&sentence(&event));
    }
    context.output.line(&event.to_string())
}

/// An event as one line for people.
fn sentence(event: &Value) -> String {
    let (time, what) = (text(event, "time"), text(event, "event"));
    if let Some(count) = event.get("count").and_then(Value::as_u64) {
        let told = match what {
            "hidden" => "events of secrets that this token may not read",
            "missed" => "events were missed: they came faster than they were read",
            other => other,
        };
        return format!("{time}  {count} {told}");
    }
    let mut line = format!("{time}  {what}  {}/{}", text(event, "type"), text(event, "name"));
    if !text(event, "secret_name").is_empty() {
        line.push_str(&format!("  {}{}", text(event, "mount"), text(event, "secret_name")));
    }
    if !text(event, "sub_key").is_empty() {
        line.push_str(&format!(" ({})", text(event, "sub_key")));
    }
    if !text(event, "status").is_empty() {
        line.push_str(&format!("  {}", text(event, "status")));
    }
    let message = event.get("error").map(|error| text(error, "message")).unwrap_or_default();
    if !message.is_empty() {
        line.push_str(&format!("  {message}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};
    use serde_json::json;

    #[test]
    fn events_read_as_lines() {
        let failed = json!({
            "time": "T", "event": "failed", "type": "aws-sm", "name": "d", "mount": "kv/",
            "secret_name": "app/db", "sub_key": "user", "status": "CLIENT_SIDE_ERROR",
            "error": { "class": "forbidden", "message": "no" },
        });
        assert_eq!(
            sentence(&failed),
            "T  failed  aws-sm/d  kv/app/db (user)  CLIENT_SIDE_ERROR  no"
        );
        let missed = json!({ "time": "T", "event": "missed", "count": 3 });
        assert!(sentence(&missed).starts_with("T  3 events were missed"));
    }

    #[tokio::test]
    async fn keep_alives_are_not_shown_and_json_stays_json() {
        let (mut context, out, ..) = testing::context(Format::Json, Vec::new()).await;
        show(&mut context, b"{\"event\":\"keep_alive\"}\n").unwrap();
        show(&mut context, b"{\"event\":\"delivered\"}\n").unwrap();
        assert_eq!(out.text(), "{\"event\":\"delivered\"}\n");
        assert!(show(&mut context, b"<html>\n").is_err());
    }
}
