//! `sync check`, `pause`, `resume`, `now`, `takeover`, `orphans`, `config`: what operators do.

use super::{Target, text};
use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Table, cell},
    value,
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Value, json};

/// Checks the credentials of a destination, without writing anything there.
#[derive(Args, Debug)]
pub(crate) struct Check {
    #[arg(value_name = "TYPE/NAME")]
    arguments: Vec<String>,
}

/// Delivers and removes nothing at a destination until `sync resume`.
#[derive(Args, Debug)]
pub(crate) struct Pause {
    #[arg(value_name = "TYPE/NAME")]
    arguments: Vec<String>,
}

/// Delivers to a paused destination again, beginning with what was missed.
#[derive(Args, Debug)]
pub(crate) struct Resume {
    #[arg(value_name = "TYPE/NAME")]
    arguments: Vec<String>,
}

/// Looks at what a destination holds, and delivers at once what differs.
#[derive(Args, Debug)]
pub(crate) struct Now {
    /// Undo changes that others made there, whatever the setting `drift` says.
    #[arg(long)]
    repair: bool,
    #[arg(value_name = "TYPE/NAME [MOUNT SECRET]")]
    arguments: Vec<String>,
}

/// Delivers from this server what the one delivered that its storage was restored from.
///
/// Only when that server delivers no more: otherwise both would write the same secrets.
#[derive(Args, Debug)]
pub(crate) struct Takeover {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Lists what forced deletions of destinations left behind there.
#[derive(Args, Debug)]
pub(crate) struct Orphans {
    /// Forget those of the destination: somebody has taken note.
    #[arg(long)]
    forget: bool,
    #[arg(value_name = "TYPE/NAME")]
    arguments: Vec<String>,
}

/// Shows the configuration of secrets sync, or with KEY=VALUE, changes it.
#[derive(Args, Debug)]
pub(crate) struct Config {
    #[arg(value_name = "KEY=VALUE…")]
    arguments: Vec<String>,
}

impl Check {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [target] = arguments::exactly(&self.arguments)?;
        let target = Target::parse(target)?;
        let outgoing = Outgoing::new(Method::Put, format!("{}/check", target.path()));
        let attempt = format!("Error checking {target}");
        let found = context.find(&attempt, outgoing.json(&json!({}))).await?;
        let found = found.ok_or_else(|| target.missing())?;
        let data = Value::Object(found.data().cloned().unwrap_or_default());
        let good = data.get("ok").and_then(Value::as_bool).unwrap_or(false);
        if !context.output.is_table() {
            context.output.secret(&found, None)?;
            return if good { Ok(()) } else { Err(Failure::shown(crate::failure::REFUSED)) };
        }
        let error = data.get("error").cloned().unwrap_or_default();
        if !good {
            let mut message = format!("{target} does not work: {}", text(&error, "message"));
            if !text(&error, "next_action").is_empty() {
                message.push_str(&format!("\n\nWhat to do: {}.", text(&error, "next_action")));
            }
            return Err(Failure::refused(message));
        }
        context.output.line(&format!("Success! {target} accepts its credentials."))?;
        for (name, value) in data.get("identity").and_then(Value::as_object).into_iter().flatten() {
            context.output.line(&format!("{name}: {}", cell(name, value)))?;
        }
        for note in data.get("notes").and_then(Value::as_array).into_iter().flatten() {
            let (permission, adds) = (text(note, "missing_permission"), text(note, "message"));
            context.output.line(&format!("{permission} would be used if granted: {adds}"))?;
        }
        context.output.warnings(&found)
    }
}

impl Pause {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let told = "is paused: nothing is delivered or removed there until `bailee sync resume`.";
        act(context, &self.arguments, "pause", told).await
    }
}

impl Resume {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        act(context, &self.arguments, "resume", "is delivered to.").await
    }
}

async fn act(
    context: &mut Context,
    arguments: &[String],
    action: &str,
    told: &str,
) -> Result<(), Failure> {
    let [target] = arguments::exactly(arguments)?;
    let target = Target::parse(target)?;
    let outgoing = Outgoing::new(Method::Put, format!("{}/{action}", target.path()));
    let attempt = format!("Error with {action} of {target}");
    let found = context.find(&attempt, outgoing.json(&json!({}))).await?;
    let found = found.ok_or_else(|| target.missing())?;
    if !context.output.is_table() {
        return context.output.secret(&found, None);
    }
    context.output.line(&format!("Success! {target} {told}"))?;
    context.output.warnings(&found)
}

impl Now {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let repair = self.repair;
        let (target, body) = match self.arguments.as_slice() {
            [target, mount, secret] => {
                let mount = mount.trim_matches('/');
                (target, json!({ "repair": repair, "mount": mount, "secret_name": secret }))
            }
            _ => {
                let [target] = arguments::exactly(&self.arguments)?;
                (target, json!({ "repair": repair }))
            }
        };
        let target = Target::parse(target)?;
        let outgoing = Outgoing::new(Method::Put, format!("{}/sync", target.path())).json(&body);
        let attempt = format!("Error delivering to {target}");
        let found = context.find(&attempt, outgoing).await?.ok_or_else(|| target.missing())?;
        if !context.output.is_table() {
            return context.output.secret(&found, None);
        }
        let count = found.data().and_then(|data| data.get("associations")).and_then(Value::as_u64);
        let what = count.map_or("the secret".to_owned(), |count| format!("{count} secrets"));
        context.output.line(&format!(
            "Success! {target} is looked at for {what}; `bailee sync status {target}` shows how it goes."
        ))?;
        context.output.warnings(&found)
    }
}

impl Takeover {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let outgoing = Outgoing::new(Method::Put, "sys/sync/takeover").json(&json!({}));
        let answer = context.send("Error taking over", outgoing).await?;
        if !context.output.is_table() {
            return context.output.secret(&answer, None);
        }
        context
            .output
            .line("Success! This server delivers from now on, and marks what it owns anew.")?;
        context.output.warnings(&answer)
    }
}

impl Orphans {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let target = arguments::optional(&self.arguments)?;
        let target = target.map(|text| Target::parse(text)).transpose()?;
        if self.forget {
            let target = target.ok_or_else(|| {
                Failure::usage("-forget needs a destination: `sync orphans -forget TYPE/NAME`")
            })?;
            let path = format!("sys/sync/orphans/{}/{}", target.kind, target.name);
            let outgoing = Outgoing::new(Method::Delete, path);
            context.send(&format!("Error forgetting orphans of {target}"), outgoing).await?;
            return context.output.line(&format!("Success! Orphans of {target} are forgotten."));
        }
        let outgoing = Outgoing::new(Method::Get, "sys/sync/orphans");
        let found = context.find("Error listing orphans", outgoing).await?;
        if !context.output.is_table() {
            return match found {
                Some(found) => context.output.secret(&found, None),
                None => context.output.document(&json!({}), &crate::output::Order::SORTED),
            };
        }
        let data = found.as_ref().and_then(|found| found.data()).cloned().unwrap_or_default();
        let by_destination = data.get("key_info").and_then(Value::as_object).into_iter().flatten();
        let mut table = Table::new(&["Destination", "External name", "Secret", "Since", "Why"]);
        let mut any = false;
        for (destination, orphans) in by_destination {
            if target.as_ref().is_some_and(|target| target.to_string() != *destination) {
                continue;
            }
            for orphan in orphans.as_array().into_iter().flatten() {
                any = true;
                let secret = format!("{}{}", text(orphan, "mount"), text(orphan, "secret_name"));
                let error = orphan.get("error").cloned().unwrap_or_default();
                table.row([
                    destination.clone(),
                    text(orphan, "external_name").to_owned(),
                    secret,
                    text(orphan, "since").to_owned(),
                    text(&error, "message").to_owned(),
                ]);
            }
        }
        if !any {
            return context.output.line("Nothing was left behind.");
        }
        context.output.table(&table)
    }
}

impl Config {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let path = "sys/sync/config";
        let outgoing = if self.arguments.is_empty() {
            Outgoing::new(Method::Get, path)
        } else {
            let body = value::body(&self.arguments, &mut context.input)?;
            Outgoing::new(Method::Patch, path).json(&Value::Object(body))
        };
        let answer = context.send("Error with the configuration of secrets sync", outgoing).await?;
        if !context.output.is_table() {
            return context.output.secret(&answer, None);
        }
        let mut table = Table::of_fields();
        for (name, value) in answer.data().into_iter().flatten() {
            table.row([name.clone(), cell(name, value)]);
        }
        context.output.table(&table)?;
        context.output.warnings(&answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    fn words(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|&text| text.to_owned()).collect()
    }

    #[tokio::test]
    async fn a_check_that_fails_says_what_to_do() {
        let answer = json!({"data": {"ok": false, "identity": {}, "notes": [],
            "error": {"class": "unauthenticated", "message": "the key is not accepted",
                "next_action": "give the destination credentials that are accepted"}}});
        let (mut context, ..) = testing::context(Format::Table, vec![(200, answer)]).await;
        let check = Check { arguments: words(&["aws-sm/m"]) };
        let failure = check.run(&mut context).await.unwrap_err();
        let expected = "aws-sm/m does not work: the key is not accepted\n\nWhat to do: give the \
                        destination credentials that are accepted.";
        assert_eq!(failure, Failure::refused(expected));
    }

    #[tokio::test]
    async fn a_check_tells_who_we_are_there_and_what_is_missing() {
        let answer = json!({"data": {"ok": true, "identity": {"account": "1234"}, "error": null,
            "notes": [{"missing_permission": "p:List", "message": "would show drift"}]}});
        let (mut context, out, ..) = testing::context(Format::Table, vec![(200, answer)]).await;
        Check { arguments: words(&["aws-sm/m"]) }.run(&mut context).await.unwrap();
        let expected = "Success! aws-sm/m accepts its credentials.\naccount: 1234\np:List would be \
                        used if granted: would show drift\n";
        assert_eq!(out.text(), expected);
    }

    #[tokio::test]
    async fn orphans_are_listed_with_what_failed() {
        let answer = json!({"data": {"keys": ["aws-sm/m"], "total_orphans": 1, "key_info": {"aws-sm/m": [
            {"external_name": "x", "mount": "kv/", "secret_name": "a",
             "since": "1970-01-01T00:00:00Z", "error": {"message": "access denied"}}]}}});
        let (mut context, out, ..) = testing::context(Format::Table, vec![(200, answer)]).await;
        Orphans { forget: false, arguments: Vec::new() }.run(&mut context).await.unwrap();
        assert!(out.text().contains("aws-sm/m       x                kv/a"), "{}", out.text());
        let (mut context, out, ..) =
            testing::context(Format::Table, vec![(404, json!({"errors": []}))]).await;
        Orphans { forget: false, arguments: Vec::new() }.run(&mut context).await.unwrap();
        assert_eq!(out.text(), "Nothing was left behind.\n");
    }
}
