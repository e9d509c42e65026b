//! What the simulation found, each in its smallest form.

use super::{
    epochs::restored,
    world::{NAME, World, barrier},
};
use crate::{
    Settings,
    destination::Ownership,
    failure::{Error, Failure},
    tags::OWNERSHIP_TAG,
    testing::{FakeCloud, Fault, service::Call},
};
use bailee_sdk::{Clock, Operation, testing::TestClock};
use bailee_storage::memory::Memory;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::sleep;

/// Longer than it takes until a list is believed and compared.
const PASS: Duration = Duration::from_secs(1300);

fn stranger(name: &str, token: &str) -> Call {
    Call::Update { name: name.to_owned(), token: token.to_owned(), bytes: b"meddled".to_vec() }
}

#[tokio::test(start_paused = true)]
async fn a_repair_is_a_delivery_of_its_own_although_another_key_of_the_secret_fails() {
    let world = World::new().await;
    let by_key = json!({
        "granularity": "secret-key",
        "secret_name_template": "{{ .SecretPath }}/{{ .SecretKey }}",
    });
    world.post("sync/destinations/in-mem/d1", by_key).await.unwrap();
    // Two keys of one name: one of them fails for good.
    world.write("app/db", json!({ "a": "1", "b*": "2", "b ": "3" })).await.unwrap();
    world.set("app/db").await.unwrap();
    for round in 0..2 {
        assert_eq!(world.cloud.text("app/db/a").unwrap(), "1", "round {round}");
        world.cloud.meddle(&stranger("app/db/a", &format!("stranger-{round}")));
        sleep(PASS).await;
    }
    assert_eq!(world.cloud.text("app/db/a").unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_over_gets_its_tags_though_the_reply_is_lost() {
    let world = World::new().await;
    world.configure(|stored| stored.ownership = Ownership::Adopt).await;
    world.cloud.meddle(&Call::Create {
        name: NAME.to_owned(),
        token: "stranger".to_owned(),
        bytes: b"a stranger's".to_vec(),
        tags: BTreeMap::new(),
    });
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    // The value lands, and what was to follow does not.
    world.cloud.lose_reply_of("Update");
    world.set("app/db").await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.entry("app/db").await["sync_status"], "SYNCED");
    let object = crate::testing::Look::tags(world.cloud.as_ref(), NAME).await;
    assert!(object.contains_key(OWNERSHIP_TAG), "{object:?}");
    assert_eq!(world.cloud.text(NAME).unwrap(), json!({ "v": 1 }).to_string());
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_is_asked_for_again_is_tried_again_also_while_paused() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.post("sync/destinations/in-mem/d1/pause", json!({})).await.unwrap();
    let refused = Error::new(Failure::Unauthenticated, "who are you");
    world.cloud.fail([Fault::Refuse(refused)]);
    for there in [true, false] {
        let purge = json!({ "purge": true });
        world.call(Operation::Delete, "sync/destinations/in-mem/d1", purge).await.unwrap();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.get("sync/destinations/in-mem/d1").await.is_ok(), there);
    }
    assert_eq!(world.cloud.text(NAME), None);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_may_have_landed_is_undone_when_the_secret_goes_back() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.cloud.fail([Fault::LoseReply]);
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(world.cloud.text(NAME).unwrap(), r#"{"v":2}"#, "it landed, and nobody knows");
    world.delete_newest("app/db").await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.cloud.text(NAME).unwrap(), r#"{"v":1}"#);
}

/// A server, and a copy of it that has taken over what both deliver.
async fn original_and_copy() -> (World, World, Arc<FakeCloud>) {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
    let (cloud, memory) = (Arc::new(FakeCloud::default()), Arc::new(Memory::default()));
    let world = async |memory: Arc<Memory>| {
        let barrier = barrier(memory).await.unwrap();
        World::with(barrier, cloud.clone(), Settings::default(), clock.clone())
    };
    let original = world(memory.clone()).await;
    original.ready().await;
    original.write("app/db", json!({ "v": 1 })).await.unwrap();
    original.set("app/db").await.unwrap();
    let copy = world(restored(&memory).await).await;
    sleep(Duration::from_secs(1)).await;
    copy.post("sync/takeover", json!({})).await.unwrap();
    sleep(PASS).await;
    assert_eq!(original.entry("app/db").await["drift"]["kind"], "taken");
    (original, copy, cloud.clone())
}

#[tokio::test(start_paused = true)]
async fn a_new_value_does_not_go_over_what_a_copy_has_taken_over() {
    let (original, _copy, cloud) = original_and_copy().await;
    original.write("app/db", json!({ "v": "original" })).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cloud.text(NAME).unwrap(), json!({ "v": 1 }).to_string());
    let entry = original.entry("app/db").await;
    assert_eq!(entry["error"]["class"], "not_ours", "{entry}");
}

#[tokio::test(start_paused = true)]
async fn a_removal_leaves_what_a_copy_has_taken_over() {
    let (original, copy, cloud) = original_and_copy().await;
    original.remove("app/db").await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(original.entry("app/db").await, Value::Null);
    assert_eq!(cloud.text(NAME).unwrap(), json!({ "v": 1 }).to_string());
    copy.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cloud.text(NAME).unwrap(), json!({ "v": 2 }).to_string());
}
