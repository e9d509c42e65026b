//! Telling somebody how a run went: a topic of SNS, a webhook. Names and reasons only, never values.
//!
//! Who is told is told also of runs that did not begin. That somebody could not be told is itself
//! told, to whoever reads what the run came to, and changes nothing about that.

mod sns;
mod webhook;

pub use sns::Sns;
pub use webhook::{InvalidWebhook, Webhook, WebhookKeys};

use crate::{failure::Error, pull::report::RunReport};
use async_trait::async_trait;

/// How often one is tried to be told, in all.
const ATTEMPTS_MAX: u32 = 4;

/// Somebody who is told how runs went.
#[async_trait]
pub trait Notify: Send + Sync {
    /// Who that is, for people; without anything secret.
    fn name(&self) -> String;
    /// Whether there is anything to tell.
    fn wants(&self, report: &RunReport) -> bool;
    /// Tells it once. The same report may come again when it is not known whether it arrived.
    async fn tell(&self, report: &RunReport) -> Result<(), Error>;
}

/// Which runs somebody is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runs {
    /// Those in which something failed.
    #[default]
    Failed,
    /// All.
    All,
}

impl Runs {
    fn has(self, report: &RunReport) -> bool {
        match self {
            Runs::Failed => !report.is_ok(),
            Runs::All => true,
        }
    }
}

/// Somebody who could not be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// Who.
    pub name: String,
    /// Why.
    pub error: Error,
}

impl Untold {
    /// One sentence for people.
    pub fn sentence(&self) -> String {
        format!("{} was not told: {}", self.name, self.error)
    }
}

/// Tells all of them, at once, and says who could not be told.
pub async fn tell(notifiers: &[Box<dyn Notify>], report: &RunReport) -> Vec<Untold> {
    let wanting = notifiers.iter().filter(|notifier| notifier.wants(report));
    let told = wanting.map(|notifier| tell_one(notifier.as_ref(), report));
    futures_util::future::join_all(told).await.into_iter().flatten().collect()
}

async fn tell_one(notifier: &dyn Notify, report: &RunReport) -> Option<Untold> {
    let mut attempts = 0;
    loop {
        let error = notifier.tell(report).await.err()?;
        attempts += 1;
        match error.wait(attempts) {
            Some(wait) if attempts < ATTEMPTS_MAX => tokio::time::sleep(wait).await,
            Some(_) | None => return Some(Untold { name: notifier.name(), error }),
        }
    }
}

#[cfg(test)]
mod testing {
    use crate::{
        failure::Failure,
        pull::report::{FailedSecret, Outcome, Results, RunReport, SetupFailure, Stage},
    };
    use std::time::{Duration, SystemTime};

    /// A run that ended so.
    pub(super) fn ended(outcome: Outcome) -> RunReport {
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        RunReport {
            replication: "prod".to_owned(),
            run: "0d3f3c1e-8b1f-4d57-9a51-3f2f3a6a7c11".to_owned(),
            started_at,
            ended_at: started_at + Duration::from_secs(5),
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            outcome,
        }
    }

    /// A run in which these failed.
    pub(super) fn failed(names: impl IntoIterator<Item = String>) -> RunReport {
        let failed = names.into_iter().map(|name| FailedSecret {
            name,
            failure: Failure::Forbidden,
            message: "CreateSecret: AccessDenied: no".to_owned(),
        });
        ended(Outcome::Done(Results {
            created: vec!["p/new".to_owned()],
            unchanged: 3,
            failed: failed.collect(),
            ..Results::default()
        }))
    }

    /// A run that did not begin.
    pub(super) fn not_begun(message: &str) -> RunReport {
        ended(Outcome::NotBegun(SetupFailure {
            stage: Stage::Login,
            failure: Failure::Unauthenticated,
            message: message.to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use parking_lot::Mutex;

    struct Listener {
        fails: Mutex<Vec<Error>>,
        heard: Mutex<u32>,
    }

    impl Listener {
        fn failing(fails: &[Failure]) -> Box<Listener> {
            let fails = fails.iter().rev().map(|failure| Error::new(*failure, "no")).collect();
            Box::new(Listener { fails: Mutex::new(fails), heard: Mutex::default() })
        }
    }

    #[async_trait]
    impl Notify for Listener {
        fn name(&self) -> String {
            "listener".to_owned()
        }

        fn wants(&self, report: &RunReport) -> bool {
            Runs::Failed.has(report)
        }

        async fn tell(&self, _: &RunReport) -> Result<(), Error> {
            if let Some(error) = self.fails.lock().pop() {
                return Err(error);
            }
            *self.heard.lock() += 1;
            Ok(())
        }
    }

    async fn untold(fails: &[Failure]) -> Vec<String> {
        let notifiers: Vec<Box<dyn Notify>> =
            vec![Listener::failing(fails), Listener::failing(&[])];
        let report = testing::failed(["p/a".to_owned()]);
        tell(&notifiers, &report).await.iter().map(Untold::sentence).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_away_is_told_again_and_who_refuses_is_told_of() {
        assert!(untold(&[Failure::Unavailable, Failure::Throttled]).await.is_empty());
        assert_eq!(untold(&[Failure::Forbidden]).await, ["listener was not told: no"]);
        assert_eq!(untold(&[Failure::Unavailable; 4]).await, ["listener was not told: no"]);
        assert!(untold(&[Failure::Unavailable; 3]).await.is_empty());
    }

    #[tokio::test]
    async fn a_run_without_failure_is_not_told_unless_asked_for() {
        let listener = Listener::failing(&[Failure::Forbidden]);
        let fine = testing::failed(Vec::new());
        assert!(!listener.wants(&fine) && Runs::All.has(&fine));
        assert!(tell(&[listener as Box<dyn Notify>], &fine).await.is_empty());
    }
}
