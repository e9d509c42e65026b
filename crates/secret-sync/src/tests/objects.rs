//! Keys that become objects of their own, names that change, and what others do to them.

use super::world::{NAME, World};
use crate::{
    failure::{Error, Failure},
    limits::Limits,
    naming::Granularity,
    registry::Drift,
    testing::{FakeCloud, Fault},
    work::desire::KEYS_MAX,
};
use bailee_sdk::testing::TestClock;
use bailee_storage::memory::Memory;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn by_key() -> World {
    let world = World::new().await;
    world
        .configure(|stored| {
            stored.granularity = Some(Granularity::SecretKey);
            stored.template = Some("{{ .SecretBaseName }}/{{ .SecretKey }}".to_owned());
        })
        .await;
    world
}

fn statuses(lines: &serde_json::Map<String, Value>) -> Vec<(&str, &str)> {
    let status = |line: &Value| line["sync_status"].as_str().map(str::to_owned).unwrap();
    lines.iter().map(|(key, line)| (key.as_str(), status(line).leak() as &str)).collect()
}

#[tokio::test(start_paused = true)]
async fn each_key_is_an_object_and_goes_with_its_key() {
    let world = by_key().await;
    world.write("app/db", json!({ "user": "u", "port": 5432 })).await.unwrap();
    world.set("app/db").await.unwrap();
    let lines = world.lines().await;
    assert_eq!(
        statuses(&lines),
        [("kv_1234/app/db/port", "SYNCED"), ("kv_1234/app/db/user", "SYNCED")]
    );
    assert_eq!(lines["kv_1234/app/db/user"]["sub_key"], "user");
    assert_eq!(lines["kv_1234/app/db/user"]["external_name"], "db/user");
    assert_eq!(world.cloud.text("db/user").unwrap(), "u");
    assert_eq!(world.cloud.text("db/port").unwrap(), "5432");
    world.write("app/db", json!({ "user": "u", "password": "p" })).await.unwrap();
    world.settle().await;
    assert_eq!(world.cloud.names(), ["db/password", "db/user"]);
    world.remove("app/db").await.unwrap();
    assert_eq!(world.cloud.names(), Vec::<String>::new());
    assert!(world.lines().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_key_that_cannot_be_delivered_holds_up_no_other() {
    let world = by_key().await;
    let large = "x".repeat(70_000);
    world.write("app/db", json!({ "a b": "1", "a-b": "2", "c": large, "d": "4" })).await.unwrap();
    world.set("app/db").await.unwrap();
    let lines = world.lines().await;
    assert_eq!(
        statuses(&lines),
        [
            ("kv_1234/app/db/a b", "SYNCED"),
            ("kv_1234/app/db/a-b", "CLIENT_SIDE_ERROR"),
            ("kv_1234/app/db/c", "CLIENT_SIDE_ERROR"),
            ("kv_1234/app/db/d", "SYNCED"),
        ]
    );
    let taken = &lines["kv_1234/app/db/a-b"]["error"];
    assert_eq!(taken["class"], "name_taken");
    assert!(taken["message"].as_str().unwrap().contains("key \"a b\" of the same secret"));
    assert_eq!(lines["kv_1234/app/db/c"]["error"]["class"], "too_large");
    world.write("app/db", json!({ "a-b": "2", "c": "3" })).await.unwrap();
    world.settle().await;
    assert_eq!(world.cloud.text("db/a-b").unwrap(), "2", "the name went over to the other key");
    assert_eq!(world.cloud.names(), ["db/a-b", "db/c"]);
    let lines = world.lines().await;
    assert_eq!(
        statuses(&lines),
        [("kv_1234/app/db/a-b", "SYNCED"), ("kv_1234/app/db/c", "SYNCED")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_changed_template_waits_for_the_next_set_and_the_old_name_for_the_new_one() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.configure(|stored| stored.template = Some("new/{{ .SecretBaseName }}".to_owned())).await;
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    world.settle().await;
    assert_eq!(world.cloud.names(), [NAME], "only new associations get the new name");
    let refusal = Error::new(Failure::Forbidden, "no creation here");
    world.cloud.fail([Fault::Refuse(refusal)]);
    let entry = world.set("app/db").await.unwrap();
    assert_eq!(entry["sync_status"], "CLIENT_SIDE_ERROR", "{entry}");
    assert_eq!(world.cloud.names(), [NAME], "the old name stays until the new one is there");
    let entry = world.set("app/db").await.unwrap();
    assert_eq!(entry["sync_status"], "SYNCED", "{entry}");
    assert_eq!(world.cloud.names(), ["new/db"]);
}

#[tokio::test(start_paused = true)]
async fn a_former_name_that_cannot_go_is_shown_beside_the_new_one() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.configure(|stored| stored.template = Some("new/{{ .SecretBaseName }}".to_owned())).await;
    let refusal = Error::forbidden("x:Delete", "no removal here");
    world.cloud.fail([Fault::None, Fault::Refuse(refusal)]);
    let entry = world.set("app/db").await.unwrap();
    assert_eq!(entry["sync_status"], "SYNCED", "{entry}");
    assert_eq!(entry["external_name"], "new/db");
    assert_eq!(entry["former_names"][0]["external_name"], NAME);
    assert_eq!(entry["former_names"][0]["error"]["missing_permission"], "x:Delete");
    world.set("app/db").await.unwrap();
    assert_eq!(world.cloud.names(), ["new/db"]);
    assert!(world.entry("app/db").await.get("former_names").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_hot_secret_stays_within_the_versions_of_a_day_and_ends_at_its_newest_value() {
    let limits = Limits { versions_per_day: Some(100), ..Limits::default() };
    let cloud = Arc::new(FakeCloud::with_limits(limits));
    let clock = Arc::new(TestClock::default());
    let world = World::on(Arc::new(Memory::default()), cloud, clock).await;
    world.ready().await;
    world.set("hot").await.unwrap();
    let mut newest = 0;
    for _ in 0..12 * 60 {
        newest += 1;
        world.write("hot", json!({ "v": newest })).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let entry = world.entry("hot").await;
    assert_eq!(entry["sync_status"], "PENDING", "{entry}");
    assert!(entry["waiting"]["until"].is_string(), "{entry}");
    tokio::time::sleep(DAY / 2).await;
    let versions = world.cloud.history().len();
    assert!((60..=100).contains(&versions), "{versions} versions within a day");
    assert_eq!(world.cloud.text("vault/kv_1234/hot").unwrap(), format!("{{\"v\":{newest}}}"));
    let entry = world.entry("hot").await;
    assert_eq!(entry["sync_status"], "SYNCED", "{entry}");
    assert!(entry.get("waiting").is_none(), "{entry}");
}

#[tokio::test(start_paused = true)]
async fn drift_is_reported_or_repaired_and_never_fought_for() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.configure(|stored| stored.drift = Drift::Report).await;
    world.cloud.lose(NAME);
    tokio::time::sleep(DAY).await;
    let entry = world.entry("app/db").await;
    assert_eq!(entry["drift"]["kind"], "missing", "{entry}");
    assert_eq!(world.cloud.names(), Vec::<String>::new());
    world.configure(|stored| stored.drift = Drift::Repair).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let entry = world.entry("app/db").await;
    assert!(entry.get("drift").is_none(), "{entry}");
    assert_eq!(world.cloud.names(), [NAME]);
    let before = world.cloud.attempts();
    for _ in 0..40 {
        world.cloud.lose(NAME);
        tokio::time::sleep(Duration::from_secs(1200)).await;
    }
    let repairs = world.cloud.attempts() - before;
    assert!(repairs <= 6, "{repairs} repairs within half a day");
    let entry = world.entry("app/db").await;
    assert_eq!(entry["drift"]["kind"], "missing", "{entry}");
}

#[tokio::test(start_paused = true)]
async fn the_old_name_stays_while_the_new_one_waits_for_its_next_attempt() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.configure(|stored| stored.template = Some("new/{{ .SecretBaseName }}".to_owned())).await;
    let busy = Error::new(Failure::Conflict, "busy").after(Duration::from_secs(600));
    world.cloud.fail([Fault::Refuse(busy)]);
    world.set("app/db").await.unwrap();
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    world.settle().await;
    assert_eq!(world.cloud.names(), [NAME], "nothing replaces it yet");
    let entry = world.entry("app/db").await;
    assert_eq!(entry["error"]["attempts"], 1, "{entry}");
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert_eq!(world.cloud.names(), ["new/db"]);
    assert_eq!(world.cloud.text("new/db").unwrap(), r#"{"v":2}"#);
}

#[tokio::test(start_paused = true)]
async fn keys_that_keep_failing_are_tried_less_and_less_often() {
    let world = by_key().await;
    world.write("app/db", json!({ "a": "1", "b": "2", "c": "3" })).await.unwrap();
    let busy = Fault::Refuse(Error::new(Failure::Conflict, "busy"));
    // One of them is out of step with the others.
    world.cloud.fail([Fault::None]);
    world.cloud.fail(std::iter::repeat_n(busy, 1_000));
    world.set("app/db").await.unwrap();
    world.write("app/db", json!({ "a": "4", "b": "5", "c": "6" })).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let attempts = world.cloud.attempts();
    assert!((9..50).contains(&attempts), "{attempts} attempts within two minutes");
    for (key, line) in world.lines().await {
        assert!(line["error"]["attempts"].as_u64().unwrap() > 3, "{key}: {line}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_keys_an_account_is_kept_also_when_each_of_them_fails_at_length() {
    let world = by_key().await;
    let keys = |count: usize, prefix: &str| {
        let key = |number: usize| (format!("{prefix}{number}"), json!("value"));
        Value::Object((0..count).map(key).collect())
    };
    world.write("app/db", keys(KEYS_MAX, "first")).await.unwrap();
    world.set("app/db").await.unwrap();
    // All of them are replaced while nothing can be written or removed.
    let long = Fault::Refuse(Error::forbidden("action", "a long story ".repeat(200)));
    world.cloud.fail(std::iter::repeat_n(long, 100 * KEYS_MAX));
    world.write("app/db", keys(KEYS_MAX, "second")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let lines = world.lines().await;
    let failed = lines.values().filter(|line| line["error"]["class"] == "forbidden").count();
    assert!(failed >= KEYS_MAX, "{failed} of {} lines say why", lines.len());
    // Keys that went are no former names: it may be set again.
    world.set("app/db").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn keys_that_cannot_be_removed_end_where_the_account_is_full_and_go_when_they_may() {
    let world = by_key().await;
    world.cloud.forbid("Delete");
    for round in 0..4 {
        let key = |number: usize| (format!("{round}-{number}"), json!("value"));
        world.write("app/db", (0..KEYS_MAX).map(key).collect()).await.unwrap();
        world.set("app/db").await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let there = world.cloud.names().len();
    assert!((KEYS_MAX + 1..3 * KEYS_MAX).contains(&there), "{there}");
    let lines = world.lines().await;
    let told =
        |line: &&Value| line.to_string().contains("account of this secret's objects is full");
    assert!(lines.values().filter(told).count() > 0);
    world.cloud.heal();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.cloud.names().len(), KEYS_MAX);
    assert!(world.lines().await.values().all(|line| line["sync_status"] == "SYNCED"));
}

#[tokio::test(start_paused = true)]
async fn more_than_an_account_is_kept_of_is_refused_before_anything_is_called() {
    let world = by_key().await;
    let keys = |count: usize| (0..count).map(|number| (number.to_string(), json!("value")));
    world.write("app/many", keys(KEYS_MAX + 1).collect()).await.unwrap();
    let refused = world.set("app/many").await.unwrap();
    assert!(refused["error"]["message"].as_str().unwrap().contains("at most 400"), "{refused}");
    // Tags count as well.
    world
        .configure(|stored| {
            let tag = |number: u32| (format!("tag{number}"), "v".repeat(200));
            stored.custom_tags = (0..8).map(tag).collect();
        })
        .await;
    world.write("app/db", keys(KEYS_MAX).collect()).await.unwrap();
    let refused = world.set("app/db").await.unwrap();
    assert!(refused["error"]["message"].as_str().unwrap().contains("custom_tags"), "{refused}");
    assert_eq!(world.cloud.attempts(), 0);
}
