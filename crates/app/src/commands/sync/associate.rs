//! `sync associate`, `sync dissociate`: which secrets are delivered.

use super::{Target, status};
use crate::{arguments, context::Context, failure::Failure, output::Secret};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Value, json};

/// Delivers a secret to a destination from now on. Again for the same secret: delivers it anew.
#[derive(Args, Debug)]
pub(crate) struct Associate {
    #[arg(value_name = "TYPE/NAME MOUNT SECRET")]
    arguments: Vec<String>,
}

/// Delivers a secret no longer, and removes it from the destination.
#[derive(Args, Debug)]
pub(crate) struct Dissociate {
    #[arg(value_name = "TYPE/NAME MOUNT SECRET")]
    arguments: Vec<String>,
}

impl Associate {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [target, mount, secret] = arguments::exactly(&self.arguments)?;
        let target = Target::parse(target)?;
        let attempt = format!("Error associating {secret} with {target}");
        let answer = ask(context, &attempt, &target, "set", (mount, secret)).await?;
        if !context.output.is_table() {
            return context.output.secret(&answer, None);
        }
        status::show_one(context, &target, &answer, (mount, secret)).await?;
        context.output.warnings(&answer)
    }
}

impl Dissociate {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [target, mount, secret] = arguments::exactly(&self.arguments)?;
        let target = Target::parse(target)?;
        let attempt = format!("Error dissociating {secret} from {target}");
        let answer = ask(context, &attempt, &target, "remove", (mount, secret)).await?;
        if !context.output.is_table() {
            return context.output.secret(&answer, None);
        }
        status::show_one(context, &target, &answer, (mount, secret)).await?;
        context.output.warnings(&answer)
    }
}

async fn ask(
    context: &mut Context,
    attempt: &str,
    target: &Target,
    action: &str,
    (mount, secret): (&str, &str),
) -> Result<Secret, Failure> {
    let body: Value = json!({ "mount": mount.trim_matches('/'), "secret_name": secret });
    let path = format!("{}/associations/{action}", target.path());
    match context.attempt(Outgoing::new(Method::Put, path).json(&body)).await? {
        Ok(response) => Ok(Secret::of(&response)),
        Err(error) if error.status() == Some(404) => Err(target.missing()),
        Err(error) => Err(context.failure(attempt, &error)),
    }
}
