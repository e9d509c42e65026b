//! `agent run`: the agent itself.

use super::Which;
use crate::{agent, config::ServerEnvironment, failure::Failure, logs};
use clap::Args;

/// Runs the agent.
///
/// SIGTERM and SIGINT end it, after the process that it runs; it ends with that process's exit code. Without a
/// process SIGHUP fetches everything anew.
#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    which: Which,
}

impl Run {
    /// Runs the command.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut configuration = self.which.configuration()?;
        let environment = ServerEnvironment::read();
        if let Some(level) = &environment.log_level {
            configuration.log_level.clone_from(level);
        }
        let failed = |error: anyhow::Error| Failure::usage(format!("{error:#}"));
        logs::write(&configuration.log_level, configuration.log_json).map_err(failed)?;
        // One thread: it serves more requests than an application makes, and costs less than several.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(Box::pin(agent::run(configuration, &environment)));
        match ended.map_err(failed)? {
            0 => Ok(()),
            code => Err(Failure::shown(code)),
        }
    }
}
