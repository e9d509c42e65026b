//! `replicate policy`: the least that AWS must permit.

use super::What;
use crate::{
    arguments,
    context::Context,
    failure::Failure,
    replicate::{Consumer, consumer_policies, role_policy},
};
use clap::Args;
use serde_json::Value;

/// Prints the policy of the role that replicates; with -consumer, those of who reads.
#[derive(Args, Debug)]
pub(crate) struct Policy {
    #[command(flatten)]
    what: What,
    /// Number of the account; any account when absent.
    #[arg(long, value_name = "NUMBER")]
    account: Option<String>,
    /// ARN of a role or user that reads what is replicated.
    #[arg(long, value_name = "ARN")]
    consumer: Option<String>,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Policy {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let configuration = self.what.configuration(context)?;
        let account = self.account.as_deref();
        let policy: Value = match self.consumer {
            Some(arn) if !arn.starts_with("arn:") => {
                return Err(Failure::usage(format!("-consumer {arn:?} is no ARN")));
            }
            Some(arn) => consumer_policies(&configuration, account, &Consumer { arn }),
            None => role_policy(&configuration, account),
        };
        let text = serde_json::to_string_pretty(&policy).unwrap_or_default();
        context.output.line(&text)?;
        Ok(())
    }
}
