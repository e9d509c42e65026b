//! What happens when the region is away: its replica answers.

use super::{AwsManager, calls::Calls, names};
use crate::{
    failure::{Cause, Failure},
    manager::{Fetched, Wanted},
};
use std::time::Duration;

/// How long the region has to answer before its replica is asked. Shorter than the store waits.
const HOME_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long the region is left alone after it was away.
const HOME_PAUSE: Duration = Duration::from_secs(30);

impl AwsManager {
    /// The replica, where there is one and the region is known to be away.
    pub(super) fn instead_of_home(&self) -> Option<&Calls> {
        let until = self.state.lock().home_away_until?;
        self.replica.as_ref().filter(|_| self.now() < until)
    }

    /// The replica, after a failure of the region that says that it is away.
    pub(super) fn replica_after(&self, failure: &Failure) -> Option<&Calls> {
        let replica = self.replica.as_ref().filter(|_| failure.cause == Cause::Unavailable)?;
        self.state.lock().home_away_until = Some(self.now() + HOME_PAUSE);
        Some(replica)
    }

    /// A call of the region, with less patience where there is a replica.
    pub(super) async fn at_home<T>(
        &self,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if self.replica.is_none() {
            return call.await;
        }
        tokio::time::timeout(HOME_WAIT_MAX, call).await.unwrap_or_else(|_| {
            let (region, seconds) = (&self.home.region, HOME_WAIT_MAX.as_secs());
            let message = format!("{region} did not answer within {seconds} s");
            Err(Failure::new(Cause::Unavailable, message))
        })
    }

    /// The wish as the replica knows it.
    pub(super) fn abroad(replica: &Calls, wanted: &Wanted) -> Wanted {
        Wanted {
            id: names::in_region(&wanted.id, &replica.region),
            version: wanted.version.clone(),
        }
    }

    /// What the replica gave, by the ARN that the secret has at home.
    pub(super) fn brought_home(&self, fetched: Fetched) -> Fetched {
        Fetched { id: names::in_region(&fetched.id, &self.home.region), ..fetched }
    }
}

/// A failure of both regions. That the replica has no such secret does not say that it is gone.
pub(super) fn of_both(home: Option<Failure>, replica: &Calls, failure: Failure) -> Failure {
    let told = format!("failover_region {}: {failure}", replica.region);
    match home {
        Some(home) => Failure { message: format!("{}; {told}", home.message), ..home },
        None => {
            let cause = match failure.cause {
                Cause::NotFound | Cause::Invalid => Cause::Unavailable,
                other => other,
            };
            Failure { cause, message: format!("the region is away; {told}"), ..failure }
        }
    }
}
