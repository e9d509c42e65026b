//! `replicate plan`: what a run would do.

use super::What;
use crate::{
    arguments,
    config::ServerEnvironment,
    context::Context,
    failure::{Failure, USAGE},
    output::{Order, Table},
    replicate,
};
use bailee_secret_sync::pull::Forecast;
use clap::Args;

/// Exit code where something is to be done, or cannot be done.
const CHANGES: u8 = 2;

/// Shows what a run would create, update and remove. Nothing is written.
///
/// The exit code is 0 when nothing is to be done, 1 for an error, and 2 when there is something to do,
/// or something that cannot be done.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    #[command(flatten)]
    what: What,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Plan {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let configuration = self.what.configuration(context)?;
        let environment = ServerEnvironment::read();
        let planned = Box::pin(replicate::plan(&configuration, &environment)).await;
        let forecast =
            planned.map_err(|failure| Failure { exit: USAGE, message: failure.to_string() })?;
        if context.output.is_table() {
            show(context, &forecast)?;
        } else {
            let document = serde_json::to_value(&forecast).unwrap_or_default();
            context.output.document(&document, &Order::SORTED)?;
        }
        if forecast.is_quiet() { Ok(()) } else { Err(Failure::shown(CHANGES)) }
    }
}

fn show(context: &mut Context, forecast: &Forecast) -> Result<(), Failure> {
    if !forecast.rows.is_empty() {
        let mut table = Table::new(&["Action", "Name", "Source", "Why"]);
        for row in &forecast.rows {
            let why = row.reason.replace('_', " ");
            table.row([row.action.name().to_owned(), row.name.clone(), row.path.clone(), why]);
        }
        context.output.table(&table)?;
        context.output.line("")?;
    }
    for failed in &forecast.failed {
        context.output.line(&format!("! {}: {}", failed.name, failed.message))?;
    }
    for note in &forecast.notes {
        context.output.line(&format!("! {note}"))?;
    }
    let (changes, failed) = (forecast.rows.len(), forecast.failed.len());
    context.output.line(&format!(
        "{changes} to change, {} unchanged, {failed} that cannot be done.",
        forecast.unchanged
    ))?;
    let calls: Vec<String> =
        forecast.calls.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if !calls.is_empty() {
        context.output.line(&format!("Calls: {}.", calls.join(", ")))?;
    }
    Ok(())
}
