//! How long a lease is when nobody says.

use super::world::{DEFAULT_TTL, HOUR, World, data};
use bailee_sdk::{Operation, testing::Dice};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn a_default_lease_ends_after_768_hours_and_not_before() {
    let world = World::new(Dice::new(1), 20).await;
    let asked = world.call(Operation::Read, "aws/creds/ci", Value::Null, &world.root).await;
    let answer = asked.unwrap();
    assert_eq!(answer.leased.as_ref().unwrap().ttl, DEFAULT_TTL);
    let key = data(&answer)["access_key"].as_str().unwrap().to_owned();
    sleep(DEFAULT_TTL - HOUR).await;
    assert!(world.aws().key_works(&key));
    sleep(HOUR + Duration::from_secs(60)).await;
    assert!(!world.aws().key_works(&key) && world.users().is_empty());
    let gone = json!({ "lease_id": answer.leased.unwrap().id });
    assert!(world.write("sys/leases/lookup", gone).await.is_err());
}
