//! Taking one lease back.

use super::{
    mark::persist,
    record::{Record, id_key, place},
    store::{Found, LeaseStore, Stored, no_engine},
};
use crate::event;
use bailee_barrier::View;
use bailee_crypto::{clock::to_millis, random};
use bailee_sdk::{Code, Error};
use std::time::Duration;

/// Failed attempts after which a lease counts as irrevocable.
const TRIES_MAX: u32 = 6;
/// How long an engine may take for one lease.
pub(super) const REVOKE_TIME_MAX: Duration = Duration::from_secs(60);
/// Pause after the first failure; each further one doubles it.
const BACKOFF_MIN: Duration = Duration::from_secs(10);
/// Longest pause: irrevocable leases are tried again this often, too.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(3600);
/// Bytes that are kept of a failure's text.
const FAILURE_BYTES_MAX: usize = 1024;

/// Whether a lease is kept when its engine fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
    /// Kept, with the reason, and tried again.
    Keeps,
    /// Given up after so long: an operator said so.
    GivesUp(Duration),
}

impl Failing {
    /// How long the engine may take.
    fn time_max(self) -> Duration {
        match self {
            Failing::Keeps => REVOKE_TIME_MAX,
            Failing::GivesUp(time_max) => time_max,
        }
    }
}

impl LeaseStore {
    /// Takes one lease back, at once; one that is gone is fine. Returns why the engine could not, which
    /// is kept with the lease then, if that is kept.
    pub(crate) async fn revoke(
        &self,
        at: &Found,
        failing: Failing,
    ) -> Result<Option<Error>, Error> {
        // Two that take the same lease back wait for each other.
        let alone = self.barrier.view(&place(&at.namespace.id));
        alone.lock(&id_key(&at.code)).await;
        let outcome = persist(|| self.attempt(at, failing)).await;
        match outcome {
            Ok(given_up) => Ok(given_up),
            Err(Failure::Engine(error)) => {
                persist(|| async { self.keep_failure(at, &error).await }).await?;
                Ok(Some(error))
            }
            Err(Failure::Own(error)) => Err(error),
        }
    }

    /// The engine's work and the removal of the lease, in one batch. Returns why the engine could not,
    /// when the lease went all the same.
    async fn attempt(&self, at: &Found, failing: Failing) -> Result<Option<Error>, Failure> {
        self.registry.refresh().await?;
        let view = self.barrier.view(&place(&at.namespace.id));
        let Some(stored) = self.read(&view, &at.namespace, &at.code).await? else {
            return Ok(None);
        };
        let Stored { record, revision, .. } = stored;
        let outcome = self.take_back(at, &record, &view, failing.time_max()).await;
        let (view, given_up) = match (outcome, failing) {
            (Ok(()), _) => (view, None),
            (Err(error), Failing::Keeps) => return Err(Failure::Engine(error)),
            (Err(error), Failing::GivesUp(_)) => {
                event::lease_given_up(&error);
                // What it wrote before it failed is not wanted.
                (view.fresh(), Some(error))
            }
        };
        if let Some(revision) = revision {
            view.expect(&id_key(&at.code), revision);
        }
        record.remove(&view, &at.code, &at.namespace).await?;
        view.commit().await.map_err(Error::from)?;
        event::lease_revoked();
        Ok(given_up)
    }

    async fn take_back(
        &self,
        at: &Found,
        record: &Record,
        view: &View,
        time_max: Duration,
    ) -> Result<(), Error> {
        // A mount that is gone has nothing left to take back.
        let Some(mounted) = self.mounted(at) else { return Ok(()) };
        let served = mounted.served.as_ref().ok_or_else(|| no_engine(&mounted))?;
        if let Some(guard) = &mounted.guard {
            view.guard(guard.clone());
        }
        let own = view.at(&mounted.prefix);
        let lease = record.lease();
        match tokio::time::timeout(time_max, served.engine.revoke(&own, &lease)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(
                Code::Upstream,
                format!("the engine did not answer in {} s", time_max.as_secs()),
            )),
        }
    }

    /// Notes why a lease could not be taken back, and when that is tried again.
    async fn keep_failure(&self, at: &Found, error: &Error) -> Result<(), Error> {
        let view = self.barrier.view(&place(&at.namespace.id));
        let Some(stored) = self.read(&view, &at.namespace, &at.code).await? else { return Ok(()) };
        let record = stored.record;
        // A limit on how often something may be asked says nothing about the lease.
        let counts = error.code != Code::RateLimited;
        let tries = record.tries.saturating_add(u32::from(counts));
        let irrevocable = tries >= TRIES_MAX;
        if irrevocable && !record.irrevocable {
            event::lease_irrevocable(error);
        } else {
            event::lease_failed(error);
        }
        let due = to_millis(self.clock.now() + backoff(if counts { tries } else { 0 }));
        let mut failure = error.to_string();
        failure.truncate(failure.floor_char_boundary(FAILURE_BYTES_MAX));
        let failed = Record { tries, irrevocable, due, failure: Some(failure), ..record.clone() };
        if let Some(revision) = stored.revision {
            view.expect(&id_key(&at.code), revision);
        }
        record.change(&view, &at.code, &failed);
        view.commit().await?;
        Ok(())
    }
}

/// Whose failure it is.
enum Failure {
    /// The engine's: the lease is kept, with the reason.
    Engine(Error),
    /// The server's own: nothing can be noted.
    Own(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Own(error)
    }
}

impl From<bailee_barrier::Error> for Failure {
    fn from(error: bailee_barrier::Error) -> Failure {
        Failure::Own(error.into())
    }
}

impl super::mark::Conflicts for Failure {
    fn is_conflict(&self) -> bool {
        matches!(self, Failure::Own(error) if error.code == Code::Conflict)
    }
}

/// The pause after so many failures in turn, a little different each time, so that leases that failed
/// together do not come back together.
fn backoff(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    let pause = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
    let [spread] = random::array::<1>();
    // Three to four quarters of it.
    pause - pause.mul_f64(f64::from(spread) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_an_hour_and_never_beyond() {
        for (tries, least, most) in [(0, 7, 10), (1, 7, 10), (2, 15, 20), (6, 240, 320)] {
            let pause = backoff(tries);
            let (least, most) = (Duration::from_secs(least), Duration::from_secs(most));
            assert!(pause >= least && pause <= most, "{tries}: {pause:?}");
        }
        assert!(backoff(u32::MAX) <= BACKOFF_MAX);
        assert!(backoff(20) >= BACKOFF_MAX * 3 / 4);
    }
}
