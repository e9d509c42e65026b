//! Trouble in one place holds up nothing elsewhere, and is over as soon as its cause is.

use super::world::{NAME, World};
use crate::{
    SyncSession, Tenure,
    board::Board,
    failure::{Error, Failure},
    pass::Pass,
    store::{Mark, Store},
    testing::Fault,
};
use bailee_sdk::Namespace;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};

const MOMENT: Duration = Duration::from_millis(50);

fn down() -> Fault {
    Fault::Refuse(Error::new(Failure::Unavailable, "down"))
}

fn text(value: u32) -> Option<String> {
    Some(json!({ "v": value }).to_string())
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_read_holds_up_no_other_namespace() {
    let world = World::new().await;
    world.stop().await;
    let store = Store::open(&world.barrier, &world.namespace);
    store.view.names("destination").put("in-mem/broken", &json!(5)).await.unwrap();
    store.view.commit().await.unwrap();
    let team = Namespace { id: "team1".to_owned(), path: "team/".to_owned() };
    let store = Store::open(&world.barrier, &team);
    store.mark_dirty("d", "s", Mark::default());
    store.view.commit().await.unwrap();
    let session = SyncSession {
        barrier: world.barrier.clone(),
        local: world.local.clone(),
        changed: watch::Sender::new(()).subscribe(),
        tenure: Tenure::unlimited(),
    };
    let board: Arc<Board> = Arc::default();
    let (registry, clock) = (world.sync.registry.clone(), world.clock.clone());
    let pass = Pass::new(&session, registry, clock, board.clone(), Duration::from_secs(600));
    assert!(pass.sweep().await.is_err());
    let found = board.take_refills();
    assert_eq!(found.iter().map(|refill| &*refill.lane.destination).collect::<Vec<_>>(), ["d"]);
}

/// Associates a secret with a destination which refuses it until the next reconciliation.
async fn refused(world: &World, destination: &str, secret: &str) {
    world.write(secret, json!({ "v": 1 })).await.unwrap();
    world.cloud.fail([Fault::Refuse(Error::new(Failure::Forbidden, "no"))]);
    world.post(&format!("sync/destinations/in-mem/{destination}"), json!({})).await.unwrap();
    let input = json!({ "mount": "kv", "secret_name": secret });
    let path = format!("sync/destinations/in-mem/{destination}/associations/set");
    let data = world.post(&path, input).await.unwrap();
    let entry = &data["associated_secrets"][format!("kv_1234/{secret}")];
    assert_eq!(entry["sync_status"], "CLIENT_SIDE_ERROR");
}

#[tokio::test(start_paused = true)]
async fn a_slow_survey_holds_up_neither_secrets_nor_other_destinations() {
    let world = World::new().await;
    sleep(MOMENT).await;
    world.cloud.set_survey_latency(Duration::from_secs(30));
    refused(&world, "d1", "a").await;
    refused(&world, "d2", "b").await;
    let (a, b) = ("vault/kv_1234/a", "vault/kv_1234/b");
    assert_eq!((world.cloud.text(a), world.cloud.text(b)), (None, None));
    sleep(Duration::from_secs(601)).await;
    assert_eq!((world.cloud.text(a), world.cloud.text(b)), (text(1), text(1)));
    world.cloud.lose(a);
    world.cloud.lose(b);
    // One survey of each destination, then one closer look at each secret.
    sleep(Duration::from_secs(600 + 2 * 30 + 1)).await;
    assert_eq!((world.cloud.text(a), world.cloud.text(b)), (text(1), text(1)));
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_fails_is_tried_again() {
    let world = World::new().await;
    // Too young for the first reconciliation to judge it.
    sleep(MOMENT).await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.cloud.lose(NAME);
    sleep(Duration::from_secs(700)).await;
    world.cloud.fail([down()]);
    let before = world.cloud.attempts();
    sleep(Duration::from_secs(510)).await;
    assert_eq!(world.cloud.attempts() - before, 2, "one that failed and one more");
    assert_eq!(world.cloud.text(NAME), text(1));
    assert_eq!(world.entry("app/db").await["sync_status"], "SYNCED");
}

#[tokio::test(start_paused = true)]
async fn a_changed_destination_is_tried_at_once() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.cloud.fail(vec![down(); 100]);
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(Duration::from_secs(120)).await;
    world.cloud.heal();
    let path = "sync/destinations/in-mem/d1";
    world.post(path, json!({ "custom_tags": { "team": "blue" } })).await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(world.cloud.text(NAME), text(1), "tags are no reason to hurry");
    world.post(path, json!({ "allowed_ports": "8443" })).await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(world.cloud.text(NAME), text(2));
    assert_eq!(world.entry("app/db").await["sync_status"], "SYNCED");
}
