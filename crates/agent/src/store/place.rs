//! A place and how it fares.

use crate::{
    failure::{Cause, Failure},
    manager::SecretManager,
};
use bailee_crypto::{Sensitive, random};
use metrics::Counter;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// The first pause after a failure.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long values serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How old a value may be before its place is asked again.
    pub refresh: Duration,
    /// How old a value may be that serves while its place is away.
    pub stale_max: Duration,
}

/// A secret manager of the configuration.
pub struct Place {
    /// Its name there.
    pub name: Arc<str>,
    /// What it is.
    pub manager: Arc<dyn SecretManager>,
    /// How long its values serve.
    pub patience: Patience,
    /// Tags whose secrets are all kept fresh; each map is one wish, all of whose tags a secret must carry.
    pub tagged: Vec<BTreeMap<String, String>>,
    /// When the tagged ones were last fetched.
    pub(crate) tagged_at: Mutex<Option<Instant>>,
    /// The token that leases hang on, as it was last seen.
    pub(crate) hangs_on: Mutex<Option<Sensitive<String>>>,
    fares: Mutex<Fares>,
    /// Wakes [`super::Store::keep_fresh`] when something new is to be kept fresh.
    pub(crate) due: Notify,
    /// Counts what was served out of what is kept.
    pub(crate) kept: OnceLock<Counter>,
}

/// How a place fares.
#[derive(Clone, Debug, Default)]
pub struct Fares {
    /// When it last gave something.
    pub answered_at: Option<Instant>,
    /// When it last failed, and how.
    pub failed: Option<(Instant, Failure)>,
    /// Failures of the place as a whole since it last gave something.
    pub failures: u32,
    /// Until when it is left alone.
    pub away_until: Option<Instant>,
}

impl Default for Patience {
    /// Five minutes as AWS's agent has them; a week of outage.
    fn default() -> Patience {
        Patience { refresh: Duration::from_secs(300), stale_max: Duration::from_secs(7 * 86_400) }
    }
}

impl Place {
    /// A place of which nothing is known yet.
    pub fn new(name: &str, manager: Arc<dyn SecretManager>, patience: Patience) -> Place {
        Place {
            name: name.into(),
            manager,
            patience,
            tagged: Vec::new(),
            hangs_on: Mutex::default(),
            tagged_at: Mutex::default(),
            fares: Mutex::default(),
            due: Notify::new(),
            kept: OnceLock::new(),
        }
    }

    /// The same place, all of whose secrets with these tags are kept fresh.
    #[must_use]
    pub fn keeping(mut self, tagged: Vec<BTreeMap<String, String>>) -> Place {
        self.tagged = tagged;
        self
    }

    /// How it fares.
    pub fn fares(&self) -> Fares {
        self.fares.lock().clone()
    }

    /// The failure for which the place is left alone now.
    pub(crate) fn away(&self, now: Instant) -> Option<Failure> {
        let fares = self.fares.lock();
        fares.away_until.filter(|until| now < *until)?;
        fares.failed.as_ref().map(|(_, failure)| failure.clone())
    }

    /// How long it is still left alone.
    pub(crate) fn pause(&self, now: Instant) -> Option<Duration> {
        let until = self.fares.lock().away_until?;
        Some(until.saturating_duration_since(now)).filter(|pause| !pause.is_zero())
    }

    pub(crate) fn answered(&self, now: Instant) {
        let mut fares = self.fares.lock();
        *fares = Fares { answered_at: Some(now), failed: fares.failed.take(), ..Fares::default() };
    }

    pub(crate) fn failed(&self, now: Instant, failure: &Failure) {
        let mut fares = self.fares.lock();
        fares.failed = Some((now, failure.clone()));
        let counted = fares.away_until.is_some_and(|until| now < until);
        if counted || !is_of_the_place(failure.cause) {
            return;
        }
        let pause = pause_after(fares.failures, failure);
        fares.failures = fares.failures.saturating_add(1);
        fares.away_until = Some(now + pause);
    }
}

/// Whether a failure says that others would fail, too.
pub(super) fn is_of_the_place(cause: Cause) -> bool {
    match cause {
        Cause::Throttled | Cause::Unavailable | Cause::Credentials => true,
        Cause::NotFound | Cause::Invalid | Cause::Denied | Cause::Decryption => false,
    }
}

/// How long something is left alone after so many failures and this one.
pub(crate) fn pause_after(failures: u32, failure: &Failure) -> Duration {
    let pause = PAUSE_MIN.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX);
    jittered(pause).max(failure.retry_after.unwrap_or_default().min(PAUSE_MAX))
}

/// Between three quarters of it and the whole.
pub(crate) fn jittered(time: Duration) -> Duration {
    let quarter = u64::try_from(time.as_millis() / 4).unwrap_or(u64::MAX);
    time - Duration::from_millis(random::below(quarter.max(1)))
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({} at {})", self.name, self.manager.place())
    }
}
