//! The main job, watched from outside: a secret is written here and AWS has it, whatever happens
//! in between. Every line about AWS comes from boto3.

mod burst;
mod replicate;
mod report;
mod shell;
mod stage;
mod story;
mod view;

use crate::tools;
use anyhow::{Context, Result, bail};
use report::Report;
use stage::Stage;
use std::{future::Future, io::Write as _};
use tokio::signal::unix::{SignalKind, signal};

/// What was asked for.
pub(crate) struct Options {
    /// Leave everything running.
    keep: bool,
    /// Use the caller's account.
    aws: bool,
    /// Do not ask.
    yes: bool,
    /// Tell of replication instead.
    replicates: bool,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut options = Options { keep: false, aws: false, yes: false, replicates: false };
    for argument in arguments {
        match argument.as_str() {
            "replicate" => options.replicates = true,
            "--keep" => options.keep = true,
            "--aws" => options.aws = true,
            "--yes" => options.yes = true,
            other => bail!("unknown option {other}; known are replicate, --keep, --aws and --yes"),
        }
    }
    if options.replicates && options.aws {
        bail!("demo replicate plays on moto alone");
    }
    let python = tools::python()?;
    let build = ["build", "--locked", "--package", "bailee", "--bin", "bailee"];
    tools::step("bailee (debug build)", &mut tools::cargo(&build))?;
    let account = if options.aws { Some(stage::Account::read()?) } else { None };
    if let Some(account) = &account
        && !options.yes
        && !agreed(account)?
    {
        tools::say("Nothing was done.");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("the runtime cannot be started")?.block_on(play(&options, account, &python))
}

async fn play(
    options: &Options,
    account: Option<stage::Account>,
    python: &std::path::Path,
) -> Result<()> {
    let stopped = stop_signal()?;
    let mut stage = Stage::new(account, python)?;
    let mut report = Report::new();
    let outcome = tokio::select! {
        outcome = tell(options, &mut stage, &mut report) => outcome,
        signal = stopped => Err(anyhow::anyhow!("stopped by {signal}")),
    };
    let outcome = outcome.and_then(|()| report.verdict());
    if let Err(error) = &outcome {
        stage.show_log();
        tools::say(&format!("\n   FAILED: {error:#}"));
    }
    report.print();
    if options.keep && outcome.is_ok() {
        stage.leave_running();
        return outcome;
    }
    let ended = stage.end().await;
    outcome.and(ended)
}

async fn tell(options: &Options, stage: &mut Stage, report: &mut Report) -> Result<()> {
    match options.replicates {
        true => Box::pin(replicate::tell(stage, report)).await,
        false => Box::pin(story::tell(stage, report)).await,
    }
}

/// Resolves when somebody wants the demo to stop.
fn stop_signal() -> Result<impl Future<Output = &'static str>> {
    let of = |kind| signal(kind).context("signals cannot be received");
    let mut int = of(SignalKind::interrupt())?;
    let mut term = of(SignalKind::terminate())?;
    let mut hangup = of(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = int.recv() => "Ctrl-C",
            _ = term.recv() => "a signal (TERM)",
            _ = hangup.recv() => "the end of the terminal",
        }
    })
}

/// Says what happens in the caller's account, and asks.
fn agreed(account: &stage::Account) -> Result<bool> {
    tools::say(&format!(
        "\nThis uses YOUR AWS account: key {}, region {}.\n\
         It makes up to 4 secrets named {}/… , updates them some dozen times, reads them with boto3\n\
         about 20 times a second for half a minute, and deletes them (forced) at the end, also when\n\
         it fails or is stopped. It touches nothing else. Cost: below one US cent (a secret costs\n\
         $0.40 a month by the hour, 10,000 calls $0.05).",
        account.shown_key(),
        account.region,
        account.prefix,
    ));
    ask("Go on? [y/N] ")
}

#[expect(clippy::print_stdout, reason = "a question at the terminal")]
fn ask(question: &str) -> Result<bool> {
    print!("{question}");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
