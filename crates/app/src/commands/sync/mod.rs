//! `sync`: delivery of secrets to where they are used, for people.

mod associate;
mod destination;
mod events;
mod operate;
mod plan;
mod preview;
mod status;

use crate::{arguments, context::Context, failure::Failure};
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Delivers secrets to other places, such as AWS Secrets Manager.
///
/// In this order: `sync activate`, `sync destination create aws-sm/NAME …`,
/// `sync plan aws-sm/NAME -associate=MOUNT/SECRET`, `sync associate aws-sm/NAME MOUNT SECRET`,
/// `sync status`.
#[derive(Subcommand, Debug)]
pub(crate) enum Sync {
    Activate(Activate),
    #[command(subcommand)]
    Destination(destination::Destination),
    Associate(associate::Associate),
    Dissociate(associate::Dissociate),
    Preview(preview::Preview),
    Plan(plan::Plan),
    Status(status::Status),
    Events(events::Events),
    Check(operate::Check),
    Now(operate::Now),
    Pause(operate::Pause),
    Resume(operate::Resume),
    Orphans(operate::Orphans),
    Takeover(operate::Takeover),
    Config(operate::Config),
}

/// Activates delivery, once for the whole server. It cannot be taken back.
#[derive(Args, Debug)]
pub(crate) struct Activate {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Sync {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let outcome = match self {
            Sync::Activate(arguments) => arguments.run(context).await,
            Sync::Destination(arguments) => arguments.run(context).await,
            Sync::Associate(arguments) => arguments.run(context).await,
            Sync::Dissociate(arguments) => arguments.run(context).await,
            Sync::Preview(arguments) => arguments.run(context).await,
            Sync::Plan(arguments) => arguments.run(context).await,
            Sync::Status(arguments) => arguments.run(context).await,
            Sync::Events(arguments) => arguments.run(context).await,
            Sync::Check(arguments) => arguments.run(context).await,
            Sync::Now(arguments) => arguments.run(context).await,
            Sync::Pause(arguments) => arguments.run(context).await,
            Sync::Resume(arguments) => arguments.run(context).await,
            Sync::Orphans(arguments) => arguments.run(context).await,
            Sync::Takeover(arguments) => arguments.run(context).await,
            Sync::Config(arguments) => arguments.run(context).await,
        };
        outcome.map_err(with_next_step)
    }
}

impl Activate {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let path = "sys/activation-flags/secrets-sync/activate";
        let outgoing = Outgoing::new(Method::Put, path).json(&json!({}));
        let answer = context.send("Error activating secrets sync", outgoing).await?;
        if !context.output.is_table() {
            return context.output.secret(&answer, None);
        }
        context.output.line(
            "Success! Secrets sync is active.\n\nNext: bailee sync destination create aws-sm/NAME region=REGION …",
        )
    }
}

/// A destination as it is typed: `TYPE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    kind: String,
    name: String,
}

impl Target {
    fn parse(text: &str) -> Result<Target, Failure> {
        let parts = text.trim_matches('/').split_once('/');
        let parts = parts.filter(|(kind, name)| !kind.is_empty() && !name.contains('/'));
        let (kind, name) = parts.ok_or_else(|| {
            Failure::usage(format!(
                "{text:?} is no destination: give TYPE/NAME, such as aws-sm/main"
            ))
        })?;
        Ok(Target { kind: kind.to_owned(), name: name.to_owned() })
    }

    fn path(&self) -> String {
        format!("sys/sync/destinations/{}/{}", self.kind, self.name)
    }

    fn missing(&self) -> Failure {
        Failure::refused(format!(
            "There is no destination {self}.\n\n`bailee sync destination list` shows those there are; \
             `bailee sync destination create {self} …` makes it."
        ))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// Adds what to do next to refusals that newcomers meet.
fn with_next_step(mut failure: Failure) -> Failure {
    let known: [(&str, &str); 5] = [
        ("not activated", "Run `bailee sync activate` first."),
        (
            "permission denied to read the content",
            "Whoever associates a secret must be allowed to read it: use a token whose policy grants \
             \"read\" on it.",
        ),
        (
            "Code: 403.",
            "The token lacks the right, or there is none: `bailee token lookup` shows the one in use, \
             `bailee login` sets another.",
        ),
        ("purge in progress", "Wait for it: `bailee sync status` shows what is left."),
        ("Vault is sealed", "Run `bailee operator unseal` first."),
    ];
    let step = known.iter().find(|(sign, _)| failure.message.contains(sign));
    if let Some((_, step)) = step {
        failure.message = format!("{}\n\n{step}", failure.message.trim_end());
    }
    failure
}

fn text<'a>(document: &'a Value, name: &str) -> &'a str {
    document.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_typed_as_type_and_name() {
        assert_eq!(Target::parse("aws-sm/a").unwrap().path(), "sys/sync/destinations/aws-sm/a");
        for bad in ["aws-sm", "aws-sm/", "/a", "a/b/c", ""] {
            assert_eq!(Target::parse(bad).unwrap_err().exit, 1, "{bad}");
        }
    }

    #[test]
    fn a_refusal_before_activation_says_what_to_do() {
        let failure = with_next_step(Failure::refused("* feature not activated"));
        assert!(failure.message.ends_with("Run `bailee sync activate` first."), "{failure:?}");
        let other = Failure::refused("* something else");
        assert_eq!(with_next_step(Failure::refused("* something else")), other);
    }
}
