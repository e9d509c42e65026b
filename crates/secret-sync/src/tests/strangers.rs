//! Somebody else's object under a name that is in our ledger, or was a moment ago.

use super::world::{NAME, World};
use crate::{
    destination::Ownership,
    registry::Drift,
    tags::{MARK_TAG, OWNERSHIP_TAG},
    testing::{Look, service::Call},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// Longer than it takes until a list is believed and compared.
const PASS: Duration = Duration::from_secs(1300);
const THEIRS: &str = "a stranger's";
/// The mark of another server.
const THEIR_MARK: &str = "0a0b.c0de";

/// Somebody removes what has a name and makes an object of his own.
fn replace(world: &World, name: &str, mark: Option<&str>) {
    world.cloud.lose(name);
    let (token, bytes) = ("a-stranger-".repeat(4), THEIRS.as_bytes().to_vec());
    let tags = mark.map(|mark| (MARK_TAG.to_owned(), mark.to_owned()));
    let tags = BTreeMap::from_iter(tags);
    world.cloud.meddle(&Call::Create { name: name.to_owned(), token, bytes, tags });
}

/// A secret that was delivered, and what replaced it.
async fn replaced(ownership: Ownership, mark: Option<&str>) -> World {
    let world = World::new().await;
    world.configure(|stored| stored.ownership = ownership).await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    replace(&world, NAME, mark);
    world
}

async fn is_untouched(world: &World, mark: Option<&str>) {
    assert_eq!(world.cloud.text(NAME).as_deref(), Some(THEIRS));
    let tags = world.cloud.tags(NAME).await;
    assert_eq!((tags.get(MARK_TAG).map(String::as_str), tags.len()), (mark, mark.iter().len()));
}

#[tokio::test(start_paused = true)]
async fn a_removal_leaves_what_replaced_what_we_delivered() {
    for mark in [None, Some(THEIR_MARK)] {
        let world = replaced(Ownership::Overwrite, mark).await;
        world.remove("app/db").await.unwrap();
        sleep(PASS).await;
        is_untouched(&world, mark).await;
        assert!(world.lines().await.is_empty(), "what we delivered is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_value_goes_over_what_replaced_ours_as_ownership_permits() {
    use Ownership::{Adopt, Overwrite, Refuse};
    for (ownership, mark, written) in [
        (Overwrite, None, true),
        (Overwrite, Some(THEIR_MARK), true),
        (Adopt, None, true),
        (Adopt, Some(THEIR_MARK), false),
        (Refuse, None, false),
        (Refuse, Some(THEIR_MARK), false),
    ] {
        let world = replaced(ownership, mark).await;
        world.write("app/db", json!({ "v": 2 })).await.unwrap();
        sleep(Duration::from_secs(5)).await;
        let entry = world.entry("app/db").await;
        if written {
            assert_eq!(entry["sync_status"], "SYNCED", "{ownership:?} {mark:?}: {entry}");
            assert_eq!(world.cloud.text(NAME).unwrap(), json!({ "v": 2 }).to_string());
            let tags = world.cloud.tags(NAME).await;
            assert!(tags.contains_key(OWNERSHIP_TAG), "it is marked: {tags:?}");
            assert_ne!(tags.get(MARK_TAG).map(String::as_str), mark, "{tags:?}");
        } else {
            assert_eq!(entry["error"]["class"], "not_ours", "{ownership:?} {mark:?}: {entry}");
            is_untouched(&world, mark).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_replaced_ours_is_told_and_not_repaired_where_it_is_to_be_left_alone() {
    let world = replaced(Ownership::Refuse, None).await;
    sleep(PASS).await;
    let entry = world.entry("app/db").await;
    assert_eq!(entry["error"]["class"], "not_ours", "{entry}");
    assert_eq!(entry["drift"]["kind"], "changed", "{entry}");
    is_untouched(&world, None).await;
    // Nothing was called but looks.
    let before = world.cloud.attempts();
    sleep(PASS).await;
    assert_eq!(world.cloud.attempts(), before);
    world.cloud.lose(NAME);
    sleep(PASS).await;
    assert_eq!(world.entry("app/db").await["sync_status"], "SYNCED");
}

#[tokio::test(start_paused = true)]
async fn new_tags_do_not_mark_what_replaced_ours() {
    let world = replaced(Ownership::Refuse, None).await;
    world
        .configure(|stored| {
            stored.drift = Drift::Off;
            stored.custom_tags = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
        })
        .await;
    world.post("sync/destinations/in-mem/d1/sync", json!({})).await.unwrap();
    sleep(PASS).await;
    is_untouched(&world, None).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_call_made_in_the_place_of_what_had_gone_is_removed_as_well() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.cloud.lose(NAME);
    world.cloud.lose_reply_of("Create");
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(world.cloud.text(NAME).unwrap(), json!({ "v": 2 }).to_string());
    world.remove("app/db").await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.cloud.text(NAME), None);
    assert!(world.lines().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn where_a_lost_call_may_have_gone_over_a_strangers_object_a_removal_says_so() {
    let world = replaced(Ownership::Overwrite, None).await;
    // The value lands, and the mark does not.
    world.cloud.forbid("Tag");
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    world.remove("app/db").await.unwrap();
    sleep(PASS).await;
    assert_eq!(world.cloud.text(NAME).unwrap(), json!({ "v": 2 }).to_string());
    let entry = world.entry("app/db").await;
    assert_eq!(entry["error"]["class"], "not_ours", "{entry}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_changed_hands_within_a_secret_is_told_of_once_where_it_is_a_strangers() {
    let world = World::new().await;
    let by_key = json!({
        "granularity": "secret-key",
        "secret_name_template": "{{ .SecretPath }}/{{ .SecretKey }}",
        "ownership": "refuse",
    });
    world.post("sync/destinations/in-mem/d1", by_key).await.unwrap();
    // Two keys of one name: the first of them has it.
    world.write("app/db", json!({ "b ": "1", "b*": "2" })).await.unwrap();
    world.set("app/db").await.unwrap();
    replace(&world, "app/db/b-", None);
    sleep(PASS).await;
    world.write("app/db", json!({ "b*": "3" })).await.unwrap();
    sleep(PASS).await;
    assert_eq!(world.cloud.text("app/db/b-").as_deref(), Some(THEIRS));
    let lines = world.lines().await;
    let classes: Vec<(&str, &Value)> =
        lines.iter().map(|(key, line)| (key.as_str(), &line["error"]["class"])).collect();
    assert_eq!(classes, [("kv_1234/app/db/b*", &json!("not_ours"))]);
}
