//! What happens when the region is away: its replica answers.

use super::{AwsManager, State, calls::Calls, names};
use crate::{
    failure::{Cause, Failure},
    manager::{Fetched, Newest, Wanted},
    store::ENTRIES_MAX,
};
use std::time::{Duration, SystemTime};

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

    /// Notes how new what the region gave is. Only needed where there is a replica.
    pub(super) fn note_home<'f>(&self, fetched: impl IntoIterator<Item = &'f Fetched>) {
        if self.replica.is_none() {
            return;
        }
        let mut state = self.state.lock();
        for one in fetched {
            let (Some(created), true) = (one.created, one.is_current()) else { continue };
            let secret = without_end(&one.id);
            state.make_room_for(secret);
            state.made.insert(secret.to_owned(), (one.version.clone(), created));
        }
    }

    /// What the region gave, for the next run.
    pub(super) fn given_at_home(&self) -> Vec<Newest> {
        let state = self.state.lock();
        let newest = |(id, (version, created)): (&String, &(String, SystemTime))| Newest {
            id: id.clone(),
            version: version.clone(),
            created: *created,
        };
        state.made.iter().map(newest).collect()
    }

    /// Takes back what the region gave an earlier run.
    pub(super) fn remember_home(&self, newest: Vec<Newest>) {
        if self.replica.is_none() {
            return;
        }
        let mut state = self.state.lock();
        for Newest { id, version, created } in newest {
            state.make_room_for(&id);
            state.made.entry(id).or_insert((version, created));
        }
    }

    /// What the replica gave, by the ARN that the secret has at home.
    ///
    /// # Errors
    /// It is older than what the region gave: AWS has not brought that to the replica yet.
    pub(super) fn brought_home(&self, fetched: Fetched) -> Result<Fetched, Failure> {
        let id = names::in_region(&fetched.id, &self.home.region);
        let fetched = Fetched { id, ..fetched };
        let newest = self.state.lock().made.get(without_end(&fetched.id)).cloned();
        let is_behind = newest
            .zip(fetched.created)
            .is_some_and(|((version, newest), made)| version != fetched.version && made < newest);
        if is_behind && fetched.is_current() {
            let message = format!("{}: the replica has an older version", fetched.name);
            return Err(Failure::new(Cause::Unavailable, message));
        }
        Ok(fetched)
    }
}

impl State {
    fn make_room_for(&mut self, secret: &str) {
        if self.made.len() >= ENTRIES_MAX && !self.made.contains_key(secret) {
            self.made.clear();
        }
    }
}

/// An ARN without its random end, which a secret that was made anew does not share with its former replica.
fn without_end(arn: &str) -> &str {
    arn.rsplit_once('-').map_or(arn, |(secret, _)| secret)
}

impl Fetched {
    /// Whether it is the version that is current now: others are older by right.
    fn is_current(&self) -> bool {
        self.stages.iter().any(|stage| stage == "AWSCURRENT")
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
