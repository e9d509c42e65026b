//! AWS Secrets Manager as a place that keeps secrets: one identity in one region.
//!
//! `settings` is what the configuration says, `regions` and `names` what can be a region and a secret's name,
//! `connect` makes clients of it, `calls` are the calls and `failures` what their errors mean. `fetch` says in
//! which calls wishes are served, `tagged` those by tag, `failover` what happens when the region is away.

mod calls;
pub mod check;
mod connect;
mod failover;
mod failures;
mod fetch;
mod names;
mod regions;
mod settings;
mod tagged;
#[cfg(test)]
mod tests;

pub use connect::Surroundings;
pub use settings::{Fields, InvalidField, Settings};

use crate::{
    failure::{Cause, Failure},
    manager::{Fetched, Lease, Newest, SecretManager, Wanted},
};
use async_trait::async_trait;
use bailee_crypto::Clock;
use calls::Calls;
use connect::{Identity, Kept};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// AWS Secrets Manager as one identity in one region.
pub struct AwsManager {
    place: String,
    home: Calls,
    /// Replicas in another region.
    replica: Option<Calls>,
    kept: Kept,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// What was learnt of the place.
#[derive(Debug, Default)]
struct State {
    /// Until when `BatchGetSecretValue` is not tried, as it is not permitted.
    no_batch_until: Option<SystemTime>,
    /// Until when the region is left alone, as its replica answers instead.
    home_away_until: Option<SystemTime>,
    /// The versions that the region gave last, and when they were made, by ARN without its end: a replica
    /// may lag.
    made: BTreeMap<String, (String, SystemTime)>,
    /// Which secrets carry which tags.
    sorted: BTreeMap<BTreeMap<String, String>, tagged::Sorted>,
}

impl AwsManager {
    /// A secret manager of these settings; nothing is called yet.
    ///
    /// # Errors
    /// A field that does not do.
    pub async fn new(
        settings: &Settings,
        surroundings: &Surroundings,
    ) -> Result<AwsManager, InvalidField> {
        let identity = Box::pin(Identity::new(settings, surroundings)).await?;
        let home = Calls::new(identity.client(), &settings.region);
        let replica = settings.failover.as_ref().map(|failover| {
            let client = identity.client_in(&failover.region, failover.endpoint.as_deref());
            Calls::new(client, &failover.region)
        });
        Ok(AwsManager {
            place: format!("aws-sm/{}/{}", settings.region, settings.identity()),
            home,
            replica,
            kept: identity.kept,
            clock: surroundings.clock.clone(),
            state: Mutex::default(),
        })
    }

    fn now(&self) -> SystemTime {
        self.clock.now()
    }
}

#[async_trait]
impl SecretManager for AwsManager {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn normal(&self, wanted: &Wanted) -> Result<Wanted, Failure> {
        names::normal(wanted, &self.home.region)
    }

    async fn fetch(&self, wanted: &Wanted) -> Result<Fetched, Failure> {
        let fetched = Box::pin(self.fetch_one(wanted)).await;
        if let Err(failure) = &fetched {
            self.kept.note(failure).await;
        }
        fetched
    }

    async fn fetch_many(&self, wanted: &[Wanted]) -> Vec<Result<Fetched, Failure>> {
        let fetched = Box::pin(self.fetch_all(wanted)).await;
        if let Some(Err(failure)) = fetched.first() {
            self.kept.note(failure).await;
        }
        fetched
    }

    async fn fetch_tagged(&self, tags: &BTreeMap<String, String>) -> Result<Vec<Fetched>, Failure> {
        Box::pin(self.fetch_by_tags(tags)).await
    }

    async fn renew(&self, _: &Lease) -> Result<Duration, Failure> {
        Err(Failure::new(Cause::Invalid, "secrets of AWS Secrets Manager have no lease"))
    }

    fn newest(&self) -> Vec<Newest> {
        self.given_at_home()
    }

    fn remember(&self, newest: Vec<Newest>) {
        self.remember_home(newest);
    }

    async fn revoke(&self, _: &Lease) -> Result<(), Failure> {
        Ok(())
    }
}

impl fmt::Debug for AwsManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsManager({})", self.place)
    }
}
