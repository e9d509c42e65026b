//! Moving a mount to another path, and waiting until it is there.

use super::Family;
use crate::{arguments, context::Context, failure::Failure};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;

/// Time between two questions whether it is done.
const POLL: Duration = Duration::from_millis(500);

/// `secrets move`, `auth move`.
#[derive(Args, Debug)]
pub(crate) struct Move {
    /// The path it is mounted at, and the one it shall be at.
    #[arg(value_name = "SOURCE DESTINATION")]
    arguments: Vec<String>,
}

impl Move {
    pub(super) async fn run(self, family: Family, context: &mut Context) -> Result<(), Failure> {
        let [from, to] = arguments::exactly(&self.arguments)?;
        let (noun, prefix) = (family.noun(), family.prefix());
        let at = |path: &str| {
            let path = path.trim_matches('/');
            format!("{prefix}{}/", path.strip_prefix(prefix).unwrap_or(path))
        };
        let (from, to) = (at(from), at(to));
        let body = json!({ "from": from, "to": to });
        let outgoing = Outgoing::new(Method::Post, "sys/remount").json(&body);
        let attempt = format!("Error moving {noun} {from} to {to}");
        let started = context.send(&attempt, outgoing).await?;
        let id = started.data().and_then(|data| data.get("migration_id"));
        let id = id.and_then(Value::as_str).unwrap_or_default().to_owned();
        let what = format!("{noun} {from} to {to}, with migration ID {id}");
        context.output.line(&format!("Started moving {what}"))?;
        context.output.line(&format!(
            "Waiting for terminal status in migration of {noun} {from} to {to}, with migration ID {id}"
        ))?;
        match ended(context, &id).await?.as_str() {
            "success" => context.output.line(&format!("Success! Finished moving {what}")),
            status => Err(Failure::refused(format!("Moving {what} ended with: {status}"))),
        }
    }
}

/// Waits until the move has ended, however long it takes, and says how.
async fn ended(context: &mut Context, id: &str) -> Result<String, Failure> {
    loop {
        let outgoing = Outgoing::new(Method::Get, format!("sys/remount/status/{id}"));
        let found = context.send("Error checking migration status", outgoing).await?;
        let info = found.data().and_then(|data| data.get("migration_info"));
        let status = info.and_then(|info| info.get("status")).and_then(Value::as_str);
        match status.unwrap_or("an unknown status") {
            "in-progress" => tokio::time::sleep(POLL).await,
            other => return Ok(other.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    #[tokio::test]
    async fn a_method_is_moved_below_auth_and_waited_for() {
        let answers = vec![
            (200, json!({"data": {"migration_id": "m"}})),
            (200, json!({"data": {"migration_info": {"status": "success"}}})),
        ];
        let (mut context, out, _, asked) = testing::context(Format::Table, answers).await;
        let arguments = vec!["a".to_owned(), "auth/b/".to_owned()];
        Move { arguments }.run(Family::Auth, &mut context).await.unwrap();
        assert_eq!(
            asked.text(),
            "POST /v1/sys/remount {\"from\":\"auth/a/\",\"to\":\"auth/b/\"}\n\
             GET /v1/sys/remount/status/m\n"
        );
        assert!(out.text().ends_with(
            "Success! Finished moving auth method auth/a/ to auth/b/, with migration ID m\n"
        ));
    }

    #[tokio::test]
    async fn a_move_that_fails_exits_with_2() {
        let answers = vec![
            (200, json!({"data": {"migration_id": "m"}})),
            (200, json!({"data": {"migration_info": {"status": "failure"}}})),
        ];
        let (mut context, ..) = testing::context(Format::Table, answers).await;
        let arguments = vec!["a".to_owned(), "b".to_owned()];
        let moved = Move { arguments }.run(Family::Secrets, &mut context).await;
        assert_eq!(moved.unwrap_err().exit, 2);
    }
}
