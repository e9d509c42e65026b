//! `agent`: beside an application, it fetches credentials, keeps them, and hands them over.

mod check;
mod run;
mod status;

use crate::{agent, context::Context, failure::Failure};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Fetches credentials from AWS Secrets Manager, bailee or a Vault, keeps them through outages, and hands them to
/// an application: as variables, files, or over HTTP.
///
/// In this order: `agent check`, `agent run`, `agent status`.
#[derive(Subcommand, Debug)]
pub(crate) enum Agent {
    Run(run::Run),
    Check(check::Check),
    Status(status::Status),
}

/// Which agent.
#[derive(Args, Clone, Debug)]
pub(crate) struct Which {
    /// Configuration file: HCL or JSON, or YAML when its name ends in .yaml or .yml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Agent {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            // Ran before.
            Agent::Run(_) => Ok(()),
            Agent::Check(arguments) => arguments.run(context).await,
            Agent::Status(arguments) => arguments.run(context).await,
        }
    }
}

impl Which {
    /// The configuration.
    fn configuration(&self) -> Result<agent::Configuration, Failure> {
        let [] = crate::arguments::exactly::<0>(&self.rest)?;
        let Some(path) = &self.config else {
            return Err(Failure::usage("a configuration is needed: -config=FILE"));
        };
        agent::read(path).map_err(|faults| {
            Failure::usage(format!("Error reading {}:\n{faults}", path.display()))
        })
    }
}
