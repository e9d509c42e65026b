//! `replicate run`: one run.

use super::What;
use crate::{
    arguments,
    config::ServerEnvironment,
    context::Context,
    failure::{Failure, REFUSED},
    output::Order,
    replicate,
};
use bailee_secret_sync::pull::report::{Outcome, Results, RunReport};
use clap::Args;

/// Brings the destination to what the source has, once.
///
/// The exit code is 0 when everything is as it shall be, 1 when the command or its file is wrong, and 2
/// when a secret failed or the run could not begin.
#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    what: What,
    /// The result in another form: `sample`, as the published Lambda sample returns it.
    #[arg(long, value_name = "FORM", value_parser = ["sample"])]
    output: Option<String>,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Run {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let configuration = self.what.configuration(context)?;
        let ran = replicate::run_once(&configuration, &ServerEnvironment::read()).await;
        let report = ran.report;
        for sentence in &ran.untold {
            context.output.warn(sentence)?;
        }
        if self.output.is_some() {
            context.output.line(&report.as_sample().to_string())?;
        } else if context.output.is_table() {
            show(context, &report)?;
        } else {
            let document = serde_json::to_value(&report).unwrap_or_default();
            context.output.document(&document, &Order::SORTED)?;
        }
        if report.is_ok() { Ok(()) } else { Err(Failure::shown(REFUSED)) }
    }
}

/// Names by what became of them, then a sentence.
pub(super) fn show(context: &mut Context, report: &RunReport) -> Result<(), Failure> {
    if let Outcome::Done(results) = &report.outcome {
        for (names, what) in effects(results) {
            for name in names {
                context.output.line(&format!("{what} {name}"))?;
            }
        }
        for failed in &results.failed {
            context.output.line(&format!("! {}: {}", failed.name, failed.message))?;
        }
        for name in &results.not_done {
            context.output.line(&format!("! {name}: not done in time"))?;
        }
        for note in &results.notes {
            context.output.line(&format!("! {note}"))?;
        }
    }
    context.output.line(&report.sentence())?;
    Ok(())
}

fn effects(results: &Results) -> [(&Vec<String>, &'static str); 7] {
    [
        (&results.created, "created"),
        (&results.updated, "updated"),
        (&results.adopted, "adopted"),
        (&results.aspects, "retagged"),
        (&results.orphaned, "tagged as orphan"),
        (&results.scheduled, "scheduled for deletion"),
        (&results.deleted, "deleted"),
    ]
}
