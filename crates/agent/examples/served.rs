//! One secret behind the listener of AWS's agent, for measuring: `served FOLDER` prints its address.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for measuring")]

use async_trait::async_trait;
use bailee_agent::{
    Failure, Fetched, Material, SecretManager, Store, Wanted,
    listeners::{
        Listeners, Settings, Surroundings,
        settings::{Endpoint, Guard, Interface, Limits, SecretsManager, TokenFile},
    },
    manager::Lease,
    store::{Patience, Place},
};
use bailee_crypto::SystemClock;
use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

struct One;

#[async_trait]
impl SecretManager for One {
    fn place(&self) -> String {
        "one".to_owned()
    }

    fn normal(&self, wanted: &Wanted) -> Result<Wanted, Failure> {
        Ok(wanted.clone())
    }

    async fn fetch(&self, wanted: &Wanted) -> Result<Fetched, Failure> {
        Ok(Fetched {
            id: format!(
                "arn:aws:secretsmanager:us-east-1:123456789012:secret:{}-AbCdEf",
                wanted.id
            ),
            name: wanted.id.clone(),
            version: "5d1d2f3a-0000-4000-8000-000000000001".to_owned(),
            stages: vec!["AWSCURRENT".to_owned()],
            created: Some(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
            material: Material::text(format!("{{\"password\":\"{}\"}}", "x".repeat(100))),
            lease: None,
        })
    }

    async fn fetch_tagged(&self, _: &BTreeMap<String, String>) -> Result<Vec<Fetched>, Failure> {
        Ok(Vec::new())
    }

    async fn renew(&self, lease: &Lease) -> Result<Duration, Failure> {
        Ok(lease.duration)
    }

    async fn revoke(&self, _: &Lease) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::main]
async fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap());
    let place = Place::new("one", Arc::new(One), Patience::default());
    let clock = Arc::new(SystemClock);
    let store = Store::new([place], NonZeroUsize::new(1_000).unwrap(), clock.clone());
    let surroundings =
        Surroundings { store: Arc::new(store), connections: Arc::default(), clock, metrics: None };
    let path = folder.join("token");
    let settings = Settings {
        endpoint: Endpoint::tcp("127.0.0.1:0".parse().unwrap(), false).unwrap(),
        interface: Interface::SecretsManager(SecretsManager::new("one", "/v1/").unwrap()),
        guard: Guard {
            token_file: Some(TokenFile { path, create: true, group_may_read: false }),
            ..Guard::default()
        },
        limits: Limits::default(),
    };
    let listeners = Listeners::bind(vec![settings], &surroundings).unwrap();
    println!("{}", listeners.addresses().first().unwrap());
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    listeners.run(stopped).await;
}
