//! Against the fake of AWS, which verifies signatures and evaluates policies.

mod checking;
mod documented;
mod fetching;
mod identities;
mod regional;

use super::{AwsManager, Fields, Settings, Surroundings};
use crate::{
    failure::Failure,
    manager::{Fetched, SecretManager, Wanted, Which},
};
use bailee_cloud::HttpOptions;
use bailee_crypto::{Clock, Sensitive, SystemClock};
use bailee_fake_clouds::{
    FakeAws,
    aws::{Key, Options},
};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The wall clock, put forward by tests.
#[derive(Debug, Default)]
pub(super) struct Turned(Mutex<Duration>);

impl Clock for Turned {
    fn now(&self) -> SystemTime {
        SystemClock.now() + *self.0.lock()
    }
}

/// A fake and a clock that go on together.
pub(super) struct Bed {
    pub(super) aws: FakeAws,
    pub(super) clock: Arc<Turned>,
}

impl Bed {
    pub(super) async fn new() -> Bed {
        Bed { aws: FakeAws::start().await, clock: Arc::default() }
    }

    /// A fake that is another account.
    pub(super) async fn of(account: &str) -> Bed {
        let options = Options { account_id: account.to_owned(), ..Options::default() };
        Bed { aws: FakeAws::start_with(options).await.unwrap(), clock: Arc::default() }
    }

    /// Lets time pass for both, and for what counts by tokio's clock.
    pub(super) async fn pass(&self, time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
        // Connections that grew too old meanwhile are noticed.
        for _ in 0..2_000 {
            tokio::task::yield_now().await;
        }
        let total = {
            let mut passed = self.clock.0.lock();
            *passed += time;
            *passed
        };
        self.aws.advance(time);
        self.aws.set_clock_skew(i64::try_from(total.as_millis()).unwrap());
    }

    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings { http: HttpOptions::default(), clock: self.clock.clone() }
    }

    pub(super) async fn manager(&self, fields: &Fields) -> AwsManager {
        AwsManager::new(&Settings::new(fields).unwrap(), &self.surroundings()).await.unwrap()
    }

    /// A user with these policies, as a secret manager.
    pub(super) async fn user(&self, policies: &[&str]) -> AwsManager {
        self.manager(&self.keys(&self.aws.create_user("app", policies))).await
    }

    pub(super) fn keys(&self, key: &Key) -> Fields {
        Fields {
            authentication: Some("access-key".to_owned()),
            access_key_id: Some(key.access_key_id.clone()),
            secret_access_key: Some(Sensitive::from(key.secret_access_key.as_str())),
            ..self.fields()
        }
    }

    pub(super) fn fields(&self) -> Fields {
        Fields {
            region: Some("us-east-1".to_owned()),
            endpoint: Some(self.aws.endpoint()),
            ..Fields::default()
        }
    }
}

/// What a manager needs that knows no fake.
pub(super) fn surroundings() -> Surroundings {
    Surroundings { http: HttpOptions::default(), clock: Arc::new(SystemClock) }
}

/// A policy that allows actions on resources.
pub(super) fn allow(actions: &[&str], resource: &str) -> String {
    let actions = actions.join("\",\"");
    format!(
        "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\"Action\":[\"{actions}\"],\
         \"Resource\":\"{resource}\"}}]}}"
    )
}

/// All that a place of the agent reads with.
pub(super) fn reader() -> String {
    allow(
        &[
            "secretsmanager:GetSecretValue",
            "secretsmanager:BatchGetSecretValue",
            "secretsmanager:ListSecrets",
        ],
        "*",
    )
}

pub(super) fn text(fetched: &Fetched) -> String {
    String::from_utf8(fetched.material.bytes().to_vec()).unwrap()
}

pub(super) async fn get(manager: &AwsManager, id: &str) -> Result<String, Failure> {
    read(manager, id, Which::Current).await
}

pub(super) async fn read(
    manager: &AwsManager,
    id: &str,
    version: Which,
) -> Result<String, Failure> {
    let wanted = manager.normal(&Wanted { id: id.to_owned(), version })?;
    manager.fetch(&wanted).await.map(|fetched| text(&fetched))
}
