//! Looking for changes of others: what it costs, and what it finds.

use super::{
    many,
    world::{NAME, World},
};
use crate::{
    store::{Store, Surveyed},
    testing::Look,
};
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

const INTERVAL: Duration = Duration::from_secs(601);

fn text(value: u32) -> Option<String> {
    Some(json!({ "v": value }).to_string())
}

async fn surveyed(world: &World) -> Option<Surveyed> {
    let store = Store::open(&world.barrier, &world.namespace);
    let id = store.destination_id("in-mem", "d1");
    store.surveyed(&id).await.unwrap()
}

async fn delivered(world: &World) {
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
}

async fn configure(world: &World, change: impl FnOnce(&mut crate::registry::StoredDestination)) {
    let store = Store::open(&world.barrier, &world.namespace);
    let (mut stored, _) = store.destination("in-mem", "d1").await.unwrap().unwrap();
    change(&mut stored);
    store.put_destination(&stored).await.unwrap();
    store.view.commit().await.unwrap();
}

fn reads(world: &World) -> usize {
    world.local.lines.lock().iter().filter(|line| line.0 == "read").count()
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_pass_over_ten_thousand_objects_costs_its_list_and_reads_no_secret() {
    let world = World::new().await;
    world.post("sync/config", json!({ "disabled": true })).await.unwrap();
    for number in 0..10_000 {
        world.write(&many::secret(number), json!({ "v": number })).await.unwrap();
    }
    many::associate(&world, 10_000).await;
    world.post("sync/config", json!({ "disabled": false })).await.unwrap();
    while world.cloud.names().len() < 10_000 {
        sleep(Duration::from_secs(1)).await;
    }
    // Past the age at which deliveries are judged.
    sleep(2 * INTERVAL).await;
    let (calls, before) = (world.cloud.surveys() + world.cloud.attempts(), reads(&world));
    let last = surveyed(&world).await.unwrap();
    sleep(INTERVAL).await;
    let calls = world.cloud.surveys() + world.cloud.attempts() - calls;
    let now = surveyed(&world).await.unwrap();
    println!("an unchanged pass over 10,000 objects: {calls} calls");
    assert_ne!(now.at, last.at, "there was a pass");
    assert_eq!((now.looked, now.drifted), (10_000, 0));
    let shown = world.get("sync/destinations/in-mem/d1").await.unwrap();
    assert_eq!(shown["last_drift_check"]["objects"], 10_000);
    assert!(calls <= 101, "{calls}");
    assert_eq!(reads(&world), before);
}

#[tokio::test(start_paused = true)]
async fn what_others_lost_changed_or_untagged_is_repaired_and_told_once() {
    let world = World::new().await;
    delivered(&world).await;
    sleep(INTERVAL).await;
    world.cloud.lose(NAME);
    sleep(INTERVAL).await;
    assert_eq!(world.cloud.text(NAME), text(1));
    sleep(INTERVAL).await;
    world.cloud.retag(NAME, |tags| {
        tags.remove("hashicorp:vault");
        tags.insert("of-others".to_owned(), "x".to_owned());
    });
    let versions = world.cloud.versions(NAME).await;
    sleep(INTERVAL).await;
    let tags = world.cloud.tags(NAME).await;
    assert!(tags.contains_key("hashicorp:vault"), "{tags:?}");
    assert_eq!(world.cloud.versions(NAME).await, versions, "tags make no version");
    sleep(2 * INTERVAL).await;
    assert_eq!(surveyed(&world).await.unwrap().drifted, 0);
}

#[tokio::test(start_paused = true)]
async fn drift_that_is_only_reported_stays_and_goes_when_it_is_undone() {
    let world = World::new().await;
    delivered(&world).await;
    configure(&world, |stored| stored.drift = crate::registry::Drift::Report).await;
    sleep(INTERVAL).await;
    let tags = world.cloud.tags(NAME).await;
    world.cloud.retag(NAME, std::collections::BTreeMap::clear);
    sleep(INTERVAL).await;
    // An object without our mark does not show in a list of ours: a closer look tells.
    assert_eq!(world.cloud.tags(NAME).await.len(), 0);
    let kind = || async {
        let store = Store::open(&world.barrier, &world.namespace);
        let id = store.destination_id("in-mem", "d1");
        let (_, association) = store.associations(&id).await.unwrap().remove(0);
        association.objects[0].drift.map(|drift| drift.kind.name())
    };
    assert_eq!(kind().await, Some("tags"));
    assert_eq!(surveyed(&world).await.unwrap().drifted, 1);
    world.cloud.retag(NAME, |now| *now = tags);
    sleep(INTERVAL).await;
    assert_eq!(kind().await, None);
}

#[tokio::test(start_paused = true)]
async fn without_drift_detection_nothing_is_listed() {
    let world = World::new().await;
    delivered(&world).await;
    configure(&world, |stored| stored.drift = crate::registry::Drift::Off).await;
    sleep(INTERVAL).await;
    let before = world.cloud.surveys();
    world.cloud.lose(NAME);
    sleep(2 * INTERVAL).await;
    assert_eq!(world.cloud.surveys(), before);
    assert_eq!(world.cloud.text(NAME), None);
}

#[tokio::test(start_paused = true)]
async fn a_paused_destination_rests_until_it_is_resumed_or_asked_for() {
    let world = World::new().await;
    delivered(&world).await;
    let id = Store::open(&world.barrier, &world.namespace).destination_id("in-mem", "d1");
    configure(&world, |stored| stored.paused = true).await;
    world.sync.pause(&world.namespace, &id);
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(2 * INTERVAL).await;
    assert_eq!(world.cloud.text(NAME), text(1));
    configure(&world, |stored| stored.paused = false).await;
    world.sync.resume(&world.namespace, &id);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(world.cloud.text(NAME), text(2));
    // The same where nobody tells that it was resumed: the next look for what waits finds it.
    configure(&world, |stored| stored.paused = true).await;
    world.write("app/db", json!({ "v": 3 })).await.unwrap();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(world.cloud.text(NAME), text(2));
    configure(&world, |stored| stored.paused = false).await;
    sleep(Duration::from_secs(31)).await;
    assert_eq!(world.cloud.text(NAME), text(3));
}

#[tokio::test(start_paused = true)]
async fn a_destination_can_be_synced_now() {
    let world = World::new().await;
    delivered(&world).await;
    sleep(Duration::from_secs(1)).await;
    world.cloud.lose(NAME);
    let id = Store::open(&world.barrier, &world.namespace).destination_id("in-mem", "d1");
    assert!(world.sync.sync_now(&world.namespace, &id));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(world.cloud.text(NAME), text(1), "however young the delivery is");
    world.stop().await;
    assert!(!world.sync.sync_now(&world.namespace, &id));
}
