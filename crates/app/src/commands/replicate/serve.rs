//! `replicate serve`: runs by schedule, until it is told to stop.

use super::{What, run};
use crate::{
    arguments, assemble,
    config::ServerEnvironment,
    context::Context,
    failure::{Failure, USAGE},
    output::Order,
    replicate::{self, Configuration, Listener, Told},
};
use bailee_crypto::{Clock, SystemClock};
use bailee_notation::{duration, schedule::Schedule};
use clap::Args;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// Runs at once, and again by schedule, until it is told to stop.
///
/// SIGTERM and SIGINT end it between two runs; a run that is under way goes to its end. With -listen,
/// `/health` and `/metrics` tell how runs went, in numbers and times.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    #[command(flatten)]
    what: What,
    /// When runs begin: cron(0/30 * * * ? *), rate(30 minutes), five fields, or an interval like 30m.
    #[arg(long, value_name = "SCHEDULE", value_parser = schedule)]
    schedule: Option<Schedule>,
    /// Where health and metrics are told over HTTP, such as 127.0.0.1:9130.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// How long it is healthy after a run in which all was well; two runs in a row when absent.
    #[arg(long, value_name = "DURATION", value_parser = healthy_for)]
    healthy_for: Option<Duration>,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

fn schedule(text: &str) -> Result<Schedule, String> {
    Schedule::parse(text).map_err(|error| error.to_string())
}

fn healthy_for(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

impl Serve {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let mut configuration = self.what.configuration(context)?;
        let schedule = self.schedule.or_else(|| configuration.schedule.clone());
        let schedule = schedule.ok_or_else(|| {
            Failure::usage("no schedule: give -schedule, or schedule in the configuration")
        })?;
        configuration.listen = self.listen.or(configuration.listen);
        configuration.healthy_for = self.healthy_for.or(configuration.healthy_for);
        let (mut ends, mut interrupts) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let told = tell(context, &configuration, &schedule).await?;
        let environment = ServerEnvironment::read();
        loop {
            if let Some(told) = &told {
                told.begins();
            }
            let ran = replicate::run_once(&configuration, &environment).await;
            let report = ran.report;
            let now = SystemClock.now();
            let next = schedule.next_after(now);
            if let Some(told) = &told {
                told.ended(&report, next);
            }
            for sentence in &ran.untold {
                context.output.warn(sentence)?;
            }
            if context.output.is_table() {
                run::show(context, &report)?;
            } else {
                let document = serde_json::to_value(&report).unwrap_or_default();
                context.output.document(&document, &Order::SORTED)?;
            }
            let Some(next) = next else { return Ok(()) };
            let wait = next.duration_since(now).unwrap_or(Duration::ZERO);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = ends.recv() => return Ok(()),
                _ = interrupts.recv() => return Ok(()),
            }
        }
    }
}

/// Tells how runs went from now on, where that is asked for.
async fn tell(
    context: &mut Context,
    configuration: &Configuration,
    schedule: &Schedule,
) -> Result<Option<Arc<Told>>, Failure> {
    let Some(address) = configuration.listen else { return Ok(None) };
    let wrong = |error: std::io::Error| Failure {
        exit: USAGE,
        message: format!("listen {address}: {error}"),
    };
    let listener = Listener::bind(address).await.map_err(wrong)?;
    let recorded = assemble::record_metrics();
    let metrics = recorded.map_err(|error| Failure { exit: USAGE, message: error.to_string() })?;
    let address = listener.address().map_err(wrong)?;
    let (schedule, healthy_for) = (schedule.clone(), configuration.healthy_for);
    let told = Arc::new(Told::new(metrics.clone(), schedule, healthy_for, SystemClock.now()));
    tokio::spawn(assemble::keep_metrics(metrics));
    tokio::spawn(listener.serve(told.clone()));
    context.output.warn(&format!("Health and metrics: http://{address}/health, /metrics"))?;
    Ok(Some(told))
}
