//! How fast destinations are called, over the real pipeline.

use super::{many, world::World};
use crate::{
    budget::Budget,
    destination::{Checked, Cursor, Delivery, Destination, Names, Receipt, Removal, Survey},
    failure::{Error, Failure},
    limits::Limits,
    registry::{Registry, Surroundings},
    testing::Fault,
};
use async_trait::async_trait;
use bailee_sdk::testing::TestClock;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Writes and associates secrets while sync is disabled: then all are to be delivered at once.
async fn waiting(world: &World, count: usize) {
    world.post("sync/config", json!({ "disabled": true })).await.unwrap();
    for number in 0..count {
        world.write(&many::secret(number), json!({ "v": number })).await.unwrap();
    }
    many::associate(world, count).await;
}

async fn enable(world: &World) {
    world.post("sync/config", json!({ "disabled": false })).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_first_creates_take_what_the_quota_allows() {
    let world = World::new().await;
    world.cloud.set_latency(Duration::from_millis(80));
    waiting(&world, 10_000).await;
    let start = Instant::now();
    enable(&world).await;
    while world.cloud.names().len() < 10_000 {
        sleep(Duration::from_millis(500)).await;
    }
    let took = start.elapsed().as_secs_f64();
    println!("10,000 first creates: {took:.1} s of 200 s that 50 per second take");
    assert!((190.0..=210.0).contains(&took), "{took}");
    assert_eq!(world.cloud.attempts(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_down_is_probed_and_its_objects_arrive_when_it_is_back() {
    let world = World::new().await;
    world.cloud.set_latency(Duration::from_millis(20));
    waiting(&world, 200).await;
    let down = Fault::Refuse(Error::new(Failure::Unavailable, "down"));
    world.cloud.fail(vec![down; 10_000]);
    enable(&world).await;
    sleep(Duration::from_secs(3600)).await;
    let attempts = world.cloud.attempts();
    assert!((60..=110).contains(&attempts), "one call a minute, not 16: {attempts}");
    world.cloud.heal();
    sleep(Duration::from_secs(400)).await;
    assert_eq!(world.cloud.names().len(), 200);
}

#[tokio::test(start_paused = true)]
async fn throttling_slows_the_destination_and_a_wait_it_asks_for_is_kept() {
    let world = World::new().await;
    waiting(&world, 100).await;
    let slow = Error::new(Failure::Throttled, "slow down").after(Duration::from_secs(120));
    world.cloud.fail(vec![Fault::Refuse(slow)]);
    enable(&world).await;
    sleep(Duration::from_secs(1)).await;
    let attempts = world.cloud.attempts();
    assert!(attempts <= 16, "{attempts}");
    sleep(Duration::from_secs(118)).await;
    assert_eq!(world.cloud.attempts(), attempts, "nothing is called while it asked for quiet");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.cloud.names().len(), 100);
}

/// A destination of an account.
struct OfAccount(Option<&'static str>, Limits);

#[async_trait]
impl Destination for OfAccount {
    fn limits(&self) -> &Limits {
        &self.1
    }
    fn budget_key(&self) -> Option<String> {
        self.0.map(str::to_owned)
    }
    async fn check(&self) -> Result<Checked, Error> {
        Ok(Checked::default())
    }
    async fn survey(&self, _: &Names, _: Option<Cursor>) -> Result<Survey, Error> {
        Ok(Survey::default())
    }
    async fn put(&self, _: &Delivery) -> Result<Receipt, Error> {
        Ok(Receipt::default())
    }
    async fn delete(&self, _: &Removal) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn destinations_of_one_account_share_its_budget() {
    let surroundings = Surroundings::new(Default::default(), Arc::new(TestClock::default()));
    let registry = Registry::new(Vec::new(), surroundings);
    let budget =
        |kind, key| -> Arc<Budget> { registry.budget(kind, &OfAccount(key, Limits::default())) };
    let first = budget("aws-sm", Some("eu-west-1/1"));
    assert!(Arc::ptr_eq(&first, &budget("aws-sm", Some("eu-west-1/1"))));
    assert!(!Arc::ptr_eq(&first, &budget("aws-sm", Some("eu-west-1/2"))));
    assert!(!Arc::ptr_eq(&first, &budget("gcp-sm", Some("eu-west-1/1"))));
    assert!(!Arc::ptr_eq(&budget("aws-sm", None), &budget("aws-sm", None)));
}
