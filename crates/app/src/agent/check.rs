//! Whether everything that a configuration needs can be had.

use super::{
    Configuration, ManagerKind,
    run::{aws_surroundings, outputs, places, somebody},
};
use crate::config::ServerEnvironment;
use anyhow::{Result, anyhow};
use bailee_agent::{
    Failure, Store, Wanted,
    aws::{
        self,
        check::{Report, Wishes},
    },
    outputs::{Outputs, value::Value},
    store::Place,
};
use bailee_client::Session;
use bailee_crypto::{Clock, SystemClock};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// What was found of one secret manager, or of the outputs.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Checked {
    /// AWS Secrets Manager, with the statements that are missing.
    Aws {
        /// The secret manager's name.
        manager: String,
        /// The steps.
        report: Report,
    },
    /// A server, or the outputs.
    Steps {
        /// What the steps are about.
        subject: String,
        /// The steps.
        steps: Vec<Step>,
    },
}

/// A step that was tried.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    /// What was tried.
    pub(crate) step: String,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// What was found, or what is missing and how it is mended.
    pub(crate) told: String,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It works.
    Ok,
    /// It does not.
    Failed,
    /// It was not tried, as an earlier one failed.
    Skipped,
}

impl Checked {
    /// Whether all that was tried works.
    pub(crate) fn is_ok(&self) -> bool {
        match self {
            Checked::Aws { report, .. } => report.is_ok(),
            Checked::Steps { steps, .. } => steps.iter().all(|step| step.verdict == Verdict::Ok),
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Checked::Aws { manager, report } => write!(f, "secret_manager {manager:?}: {report}"),
            Checked::Steps { subject, steps } => {
                writeln!(f, "{subject}")?;
                steps.iter().try_for_each(|step| write!(f, "{step}"))
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "skipped",
        };
        let mut told = self.told.lines();
        match told.next() {
            Some(first) => writeln!(f, "  {verdict:<8} {}: {first}", self.step)?,
            None => writeln!(f, "  {verdict:<8} {}", self.step)?,
        }
        told.try_for_each(|line| writeln!(f, "           {line}"))
    }
}

/// Walks the way to every secret manager, to each secret of the configuration, and to what outputs make of them.
pub(crate) async fn check(
    configuration: Configuration,
    environment: &ServerEnvironment,
) -> Result<Vec<Checked>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // As the agent will be: what only root may read helps it nothing.
    let somebody = somebody(configuration.user.as_deref(), configuration.group.as_deref())?;
    if let Some(somebody) = somebody.filter(|_| rustix::process::geteuid().is_root()) {
        somebody.become_it()?;
    }
    let (places, sessions) = places(&configuration.managers, environment, &clock).await?;
    let store = Arc::new(Store::new(places, configuration.entries_max, clock.clone()));
    let checked = all(configuration, environment, &clock, &store, &sessions).await;
    // However it went: a check leaves neither leases nor tokens behind.
    store.close().await;
    checked
}

async fn all(
    configuration: Configuration,
    environment: &ServerEnvironment,
    clock: &Arc<dyn Clock>,
    store: &Arc<Store>,
    sessions: &BTreeMap<String, Arc<Session>>,
) -> Result<Vec<Checked>> {
    let mut checked = Vec::new();
    for place in store.places() {
        let name = place.name.to_string();
        let secrets = wanted(&configuration, &name);
        let Some(manager) = configuration.managers.get(&name) else { continue };
        match &manager.kind {
            ManagerKind::Aws(settings) => {
                let surroundings = aws_surroundings(environment, clock)?;
                let wishes = Wishes { secrets, tags: manager.tagged.clone() };
                let report = Box::pin(aws::check::check(settings, &surroundings, &wishes)).await;
                let report = report.map_err(|error| anyhow!("secret_manager {name:?}: {error}"))?;
                checked.push(Checked::Aws { manager: name, report });
            }
            ManagerKind::Vault(_) => {
                let Some(session) = sessions.get(&name) else { continue };
                let steps = of_server(place, session, &secrets).await;
                let subject = format!("secret_manager {name:?}: {}", place.manager.place());
                checked.push(Checked::Steps { subject, steps });
            }
        }
    }
    let outputs = outputs(configuration.exec, configuration.files, store)?;
    let steps = of_outputs(&outputs).await;
    if !steps.is_empty() {
        checked.push(Checked::Steps { subject: "outputs".to_owned(), steps });
    }
    Ok(checked)
}

/// What outputs would be given now; nothing is written or started.
async fn of_outputs(outputs: &Outputs) -> Vec<Step> {
    let mut steps = Vec::new();
    for file in &outputs.files {
        let path = file.path().display().to_string();
        let checked = file.check().await.map_err(|error| {
            let told = error.to_string();
            told.strip_prefix(&format!("{path}: ")).map_or_else(|| told.clone(), str::to_owned)
        });
        steps.push(Step::of(format!("file {path}"), checked));
    }
    if let Some(exec) = &outputs.exec {
        let checked = exec.check().await.map_err(|failure| failure.to_string());
        steps.push(Step::of("exec".to_owned(), checked));
    }
    steps
}

impl Step {
    fn of(step: String, checked: Result<(), String>) -> Step {
        match checked {
            Ok(()) => Step { step, verdict: Verdict::Ok, told: String::new() },
            Err(told) => Step { step, verdict: Verdict::Failed, told },
        }
    }
}

/// The secrets of one manager that the configuration stands on.
fn wanted(configuration: &Configuration, manager: &str) -> Vec<Wanted> {
    let prefetched = configuration.managers.get(manager).map(|manager| manager.prefetched.iter());
    let connections =
        configuration.connections.values().flat_map(|connection| connection.references());
    let variables = configuration.exec.iter().flat_map(|exec| exec.environment.values());
    let referred = connections.chain(variables.filter_map(Value::reference));
    let referred = referred.filter(|reference| reference.manager == manager);
    let all: BTreeSet<&Wanted> = prefetched
        .into_iter()
        .flatten()
        .chain(referred.map(|reference| &reference.wanted))
        .collect();
    all.into_iter().cloned().collect()
}

async fn of_server(place: &Place, session: &Session, wanted: &[Wanted]) -> Vec<Step> {
    let entered = session.token().await.map(drop).map_err(|error| error.to_string());
    let failed = entered.is_err();
    let mut steps = vec![Step::of("a token".to_owned(), entered)];
    for wanted in wanted {
        let step = format!("read {}", wanted.id);
        if failed {
            let told = "there is no token".to_owned();
            steps.push(Step { step, verdict: Verdict::Skipped, told });
            continue;
        }
        let fetched = match place.manager.normal(wanted) {
            Ok(wanted) => place.manager.fetch(&wanted).await,
            Err(failure) => Err(failure),
        };
        steps.push(match fetched {
            Ok(fetched) => {
                let mut told = match fetched.version.as_str() {
                    "" => String::new(),
                    version => format!("version {version}"),
                };
                // What was made for this check alone is given back.
                if let Some(lease) = &fetched.lease
                    && place.manager.revoke(lease).await.is_err()
                {
                    told = "the lease of this check ends by itself".to_owned();
                }
                Step { step, verdict: Verdict::Ok, told }
            }
            Err(failure) => Step { step, verdict: Verdict::Failed, told: mended(wanted, &failure) },
        });
    }
    steps
}

fn mended(wanted: &Wanted, failure: &Failure) -> String {
    match failure.status {
        Some(403) => format!(
            "{failure}\nthe token's policies need: path \"{}\" {{ capabilities = [\"read\"] }}",
            wanted.id
        ),
        _ => failure.to_string(),
    }
}
