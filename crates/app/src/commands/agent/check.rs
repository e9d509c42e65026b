//! `agent check`: whether everything that a configuration needs can be had, and if not, what is missing.

use super::Which;
use crate::{
    agent,
    config::ServerEnvironment,
    context::Context,
    failure::{Failure, REFUSED},
    output::Order,
};
use clap::Args;

/// Walks the way to every secret manager step by step, and fetches each secret of the configuration once.
///
/// For AWS: credentials, the role, the permissions to read and to decrypt. A step that fails is told with the
/// permission or trust that is missing, and with the statement to add. No value is shown. The exit code is 0 when
/// all is well, and 2 when a step failed.
#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    which: Which,
}

impl Check {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let configuration = self.which.configuration()?;
        let checked = Box::pin(agent::check(configuration, &ServerEnvironment::read())).await;
        let checked = checked.map_err(|error| Failure::usage(format!("{error:#}")))?;
        if context.output.is_table() {
            for part in &checked {
                context.output.line(part.to_string().trim_end())?;
            }
        } else {
            let document = serde_json::to_value(&checked).unwrap_or_default();
            context.output.document(&document, &Order::SORTED)?;
        }
        let is_ok = checked.iter().all(agent::Checked::is_ok);
        if is_ok { Ok(()) } else { Err(Failure::shown(REFUSED)) }
    }
}
