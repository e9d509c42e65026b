//! `replicate serve`: runs by schedule, until it is told to stop.

use super::{What, run};
use crate::{
    arguments, config::ServerEnvironment, context::Context, failure::Failure, output::Order,
    replicate,
};
use bailee_crypto::{Clock, SystemClock};
use bailee_notation::schedule::Schedule;
use clap::Args;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Runs at once, and again by schedule, until it is told to stop.
///
/// SIGTERM and SIGINT end it between two runs; a run that is under way goes to its end.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    #[command(flatten)]
    what: What,
    /// When runs begin: cron(0/30 * * * ? *), rate(30 minutes), five fields, or an interval like 30m.
    #[arg(long, value_name = "SCHEDULE", value_parser = schedule)]
    schedule: Option<Schedule>,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

fn schedule(text: &str) -> Result<Schedule, String> {
    Schedule::parse(text).map_err(|error| error.to_string())
}

impl Serve {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let configuration = self.what.configuration(context)?;
        let schedule = self.schedule.or_else(|| configuration.schedule.clone());
        let schedule = schedule.ok_or_else(|| {
            Failure::usage("no schedule: give -schedule, or schedule in the configuration")
        })?;
        let (mut ends, mut interrupts) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let environment = ServerEnvironment::read();
        loop {
            let ran = replicate::run_once(&configuration, &environment).await;
            let report = ran.report;
            for sentence in &ran.untold {
                context.output.warn(sentence)?;
            }
            if context.output.is_table() {
                run::show(context, &report)?;
            } else {
                let document = serde_json::to_value(&report).unwrap_or_default();
                context.output.document(&document, &Order::SORTED)?;
            }
            let now = SystemClock.now();
            let Some(next) = schedule.next_after(now) else { return Ok(()) };
            let wait = next.duration_since(now).unwrap_or(Duration::ZERO);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = ends.recv() => return Ok(()),
                _ = interrupts.recv() => return Ok(()),
            }
        }
    }
}
