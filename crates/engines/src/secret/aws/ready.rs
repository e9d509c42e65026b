//! A new key takes seconds to be known everywhere: it is answered when it works.

use super::cloud::Cloud;
use bailee_cloud::{
    CloudError, Kind,
    query::{Form, Keys},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The shortest wait: what a key needs that works at once.
pub(super) const TIMEOUT_SECS_MIN: u64 = 2;
/// The longest wait that can be asked for, in seconds: official clients give up after 60.
pub(super) const TIMEOUT_SECS_MAX: u64 = 50;
/// How often in a row the key must work: the service has many front doors.
const SUCCESSES: u32 = 3;
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Failures in a row that say nothing about the key, after which nobody waits any more.
const AWAY_MAX: u32 = 5;

/// Whether and how long to wait for a key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Patience {
    pub(super) wait: bool,
    pub(super) timeout_secs: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { wait: true, timeout_secs: 40 }
    }
}

/// What came of the wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It worked several times in a row, or nobody wanted to wait.
    Ready,
    /// It did not within the time; why not.
    Unsure(String),
}

/// Waits until a key authenticates, several times in a row, unless nobody wants to wait.
pub(super) async fn wait(cloud: &Cloud, keys: &Keys) -> Readiness {
    if cloud.ready.wait { proven(cloud, keys).await } else { Readiness::Ready }
}

/// Waits until a key authenticates, also where users do not: the engine itself is to depend on it.
pub(super) async fn proven(cloud: &Cloud, keys: &Keys) -> Readiness {
    let patience = cloud.ready;
    let Some(sts) = cloud.first_sts() else { return Readiness::Ready };
    let sts = sts.with_keys(keys);
    let end = Instant::now() + Duration::from_secs(patience.timeout_secs);
    let (mut worked, mut away) = (0, 0);
    loop {
        let why = match sts.call("GetCallerIdentity", &Form::new()).await {
            Ok(_) => {
                (worked, away) = (worked + 1, 0);
                None
            }
            // Somebody who is refused has been recognized.
            Err(error) if matches!(error.kind, Kind::Denied { .. }) => {
                (worked, away) = (worked + 1, 0);
                None
            }
            Err(error) => {
                worked = 0;
                away = if says_nothing(&error) { away + 1 } else { 0 };
                Some(error.to_string())
            }
        };
        if worked >= SUCCESSES {
            return Readiness::Ready;
        }
        if away >= AWAY_MAX || Instant::now() + PAUSE >= end {
            let why = why.unwrap_or_else(|| "it worked only now and then".to_owned());
            return Readiness::Unsure(why);
        }
        sleep(PAUSE).await;
    }
}

/// Whether a failure is about STS and not about the key.
fn says_nothing(error: &CloudError) -> bool {
    !matches!(error.kind, Kind::Credentials)
}
