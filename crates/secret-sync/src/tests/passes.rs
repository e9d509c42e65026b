//! What passes do when nothing, or only the destination, fails.

use super::world::{NAME, World};
use crate::{
    failure::{Error, Failure},
    testing::Fault,
};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Long enough for everything that does not have to wait.
const MOMENT: Duration = Duration::from_millis(50);

fn text(value: u32) -> Option<String> {
    Some(json!({ "v": value }).to_string())
}

fn down() -> Fault {
    Fault::Refuse(Error::new(Failure::Unavailable, "down"))
}

#[tokio::test(start_paused = true)]
async fn set_delivers_and_answers_synced() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    let entry = world.set("app/db").await.unwrap();
    assert_eq!(entry["sync_status"], "SYNCED");
    assert_eq!(entry["external_name"], NAME);
    assert_eq!(entry["accessor"], "kv_1234");
    assert_eq!(world.cloud.text(NAME), text(1));
}

#[tokio::test(start_paused = true)]
async fn a_new_version_is_delivered_at_once() {
    let world = World::new().await;
    world.set("app/db").await.unwrap();
    for value in 1..=3 {
        let start = Instant::now();
        world.write("app/db", json!({ "v": value })).await.unwrap();
        while world.cloud.text(NAME) != text(value) {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(start.elapsed() <= Duration::from_millis(20), "{:?}", start.elapsed());
    }
    sleep(MOMENT).await;
    assert_eq!(world.entry("app/db").await["sync_status"], "SYNCED");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_version_falls_back_and_the_last_one_removes() {
    let world = World::new().await;
    for value in 1..=2 {
        world.write("app/db", json!({ "v": value })).await.unwrap();
    }
    world.set("app/db").await.unwrap();
    assert_eq!(world.cloud.text(NAME), text(2));
    world.delete_newest("app/db").await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(world.cloud.text(NAME), text(1));
    world.delete_newest("app/db").await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(world.cloud.text(NAME), None);
    assert_eq!(world.entry("app/db").await["sync_status"], "UNSYNCED");
    world.write("app/db", json!({ "v": 3 })).await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(world.cloud.text(NAME), text(3));
    assert_eq!(world.entry("app/db").await["sync_status"], "SYNCED");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_dies_by_itself_falls_back_in_time_also_after_a_restart() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.write_for("app/db", json!({ "v": 2 }), Duration::from_secs(3600)).await;
    world.set("app/db").await.unwrap();
    assert_eq!(world.cloud.text(NAME), text(2));
    sleep(Duration::from_secs(3500)).await;
    assert_eq!(world.cloud.text(NAME), text(2));
    world.kill().await;
    world.start();
    sleep(Duration::from_secs(101)).await;
    assert_eq!(world.cloud.text(NAME), text(1));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_dies_while_sync_is_disabled_is_noticed_when_it_is_enabled() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.write_for("app/db", json!({ "v": 2 }), Duration::from_secs(3600)).await;
    world.set("app/db").await.unwrap();
    sleep(Duration::from_secs(3590)).await;
    world.post("sync/config", json!({ "disabled": true })).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(world.cloud.text(NAME), text(2));
    world.post("sync/config", json!({ "disabled": false })).await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(world.cloud.text(NAME), text(1));
}

#[tokio::test(start_paused = true)]
async fn dissociation_removes_and_answers_unsynced() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    let entry = world.remove("app/db").await.unwrap();
    assert_eq!(entry["sync_status"], "UNSYNCED");
    assert_eq!(world.cloud.text(NAME), None);
    assert!(world.entry("app/db").await.is_null());
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(world.cloud.text(NAME), None);
    // Removing what is not there is a success.
    assert!(world.remove("app/db").await.unwrap().is_null());
}

#[tokio::test(start_paused = true)]
async fn dissociation_works_after_the_mount_has_gone() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.unmount();
    sleep(Duration::from_secs(601)).await;
    assert_eq!(world.cloud.text(NAME), text(1), "what was delivered stays");
    assert_eq!(world.entry("app/db").await["sync_status"], "UNKNOWN");
    assert_eq!(world.remove("app/db").await.unwrap()["sync_status"], "UNSYNCED");
    assert_eq!(world.cloud.text(NAME), None);
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_goes_while_it_is_read_removes_nothing() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    *world.local.unmounts.lock() = true;
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(world.cloud.text(NAME), text(1));
    assert_eq!(world.entry("app/db").await["sync_status"], "UNKNOWN");
}

#[tokio::test(start_paused = true)]
async fn changes_of_many_secrets_and_of_a_hot_one_are_all_taken_up() {
    let world = World::new().await;
    for number in 0..40 {
        world.set(&format!("app/{number}")).await.unwrap();
    }
    for round in 1..=3 {
        for number in 0..80 {
            world.write(&format!("app/{number}"), json!({ "v": round })).await.unwrap();
            world.write("app/7", json!({ "v": round * 1000 + number })).await.unwrap();
            tokio::task::yield_now().await;
        }
    }
    sleep(Duration::from_secs(60)).await;
    for number in 0..40 {
        let held = world.held(&format!("app/{number}")).await;
        assert_eq!(world.cloud.text(&format!("vault/kv_1234/app/{number}")), held, "{number}");
    }
    let view = world.barrier.view("n/root/");
    let waiting = bailee_sdk::change::waiting(&view, &world.namespace, "", 9).await.unwrap();
    assert_eq!(waiting, []);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out_with_backoff_and_the_newest_value_arrives() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    let before = world.cloud.attempts();
    world.cloud.fail(vec![down(); 8]);
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(MOMENT).await;
    let entry = world.entry("app/db").await;
    assert_eq!(entry["sync_status"], "EXTERNAL_SERVICE_ERROR");
    assert_eq!(entry["error"]["attempts"], 1);
    assert_eq!(entry["error"]["message"], "down");
    assert!(entry["error"]["next_attempt"].is_string());
    // A change during the outage does not hurry it.
    for value in 3..=20 {
        world.write("app/db", json!({ "v": value })).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_secs(10)).await;
    let attempts = world.cloud.attempts() - before;
    assert!((4..=8).contains(&attempts), "{attempts}");
    sleep(Duration::from_secs(200)).await;
    assert_eq!(world.cloud.text(NAME), text(20));
    let entry = world.entry("app/db").await;
    assert_eq!(entry["sync_status"], "SYNCED");
    assert!(entry["error"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_cannot_pass_is_a_plain_status_until_something_changes() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    sleep(MOMENT).await;
    world.cloud.fail([Fault::Refuse(Error::forbidden("in-mem:Put", "no right to put"))]);
    let entry = world.set("app/db").await.unwrap();
    assert_eq!(entry["sync_status"], "CLIENT_SIDE_ERROR");
    assert_eq!(entry["error"]["missing_permission"], "in-mem:Put");
    assert!(entry["error"]["next_attempt"].is_null());
    let attempts = world.cloud.attempts();
    sleep(Duration::from_secs(300)).await;
    assert_eq!(world.cloud.attempts(), attempts);
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(world.cloud.text(NAME), text(2));
}

#[tokio::test(start_paused = true)]
async fn reconciliation_tries_again_what_somebody_may_have_put_right() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    sleep(MOMENT).await;
    world.cloud.fail([Fault::Refuse(Error::new(Failure::Forbidden, "no"))]);
    assert_eq!(world.set("app/db").await.unwrap()["sync_status"], "CLIENT_SIDE_ERROR");
    sleep(Duration::from_secs(601)).await;
    assert_eq!(world.entry("app/db").await["sync_status"], "SYNCED");
}

#[tokio::test(start_paused = true)]
async fn reconciliation_repairs_what_the_destination_lost() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.cloud.lose(NAME);
    // A list may lag behind the truth: young deliveries are not judged by it.
    sleep(Duration::from_secs(601)).await;
    sleep(Duration::from_secs(601)).await;
    assert_eq!(world.cloud.text(NAME), text(1));
}

#[tokio::test(start_paused = true)]
async fn a_value_over_the_limit_is_a_client_error_that_names_the_limit() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.write("app/db", json!({ "v": "x".repeat(70_000) })).await.unwrap();
    sleep(MOMENT).await;
    let entry = world.entry("app/db").await;
    assert_eq!(entry["sync_status"], "CLIENT_SIDE_ERROR");
    assert!(entry["error"]["message"].as_str().unwrap().contains("65536 bytes"));
    assert_eq!(world.cloud.text(NAME), text(1), "the last value that fits stays");
}

#[tokio::test(start_paused = true)]
async fn a_burst_coalesces_and_never_goes_back() {
    let world = World::new().await;
    world.cloud.set_latency(Duration::from_millis(30));
    world.set("app/db").await.unwrap();
    for value in 1..=100 {
        world.write("app/db", json!({ "v": value })).await.unwrap();
        sleep(Duration::from_millis(2)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let values: Vec<u64> = world
        .cloud
        .history()
        .iter()
        .filter_map(|(_, text)| {
            serde_json::from_str::<serde_json::Value>(text.as_ref()?).unwrap()["v"].as_u64()
        })
        .collect();
    assert!(values.is_sorted(), "{values:?}");
    assert_eq!(values.last(), Some(&100));
    assert!(values.len() < 50, "{}", values.len());
}

#[tokio::test(start_paused = true)]
async fn many_objects_keep_the_concurrency_and_the_rate() {
    let world = World::new().await;
    world.cloud.set_latency(Duration::from_millis(100));
    for number in 0..200 {
        let secret = format!("app/{number}");
        world.write(&secret, json!({ "v": number })).await.unwrap();
        // Associated while sync is disabled: then all come at once.
        if number == 0 {
            world.post("sync/config", json!({ "disabled": true })).await.unwrap();
        }
        let input = json!({ "mount": "kv", "secret_name": secret });
        world.post("sync/destinations/in-mem/d1/associations/set", input).await.unwrap();
    }
    assert_eq!(world.entry("app/7").await["sync_status"], "PENDING");
    assert_eq!(world.cloud.names().len(), 0);
    let start = Instant::now();
    world.post("sync/config", json!({ "disabled": false })).await.unwrap();
    while world.cloud.names().len() < 200 {
        sleep(Duration::from_millis(10)).await;
    }
    let took = start.elapsed();
    assert!(world.cloud.most_running() <= 16);
    assert!(took >= Duration::from_secs(3), "50 a second at most: {took:?}");
    assert!(took <= Duration::from_secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn no_audit_device_no_delivery() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    *world.local.audit_fails.lock() = true;
    let entry = world.set("app/db").await.unwrap();
    assert_eq!(entry["sync_status"], "INTERNAL_VAULT_ERROR");
    assert_eq!(world.cloud.attempts(), 0);
    *world.local.audit_fails.lock() = false;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.cloud.text(NAME), text(1));
    let lines = world.local.lines.lock().clone();
    let deliver = lines.iter().find(|line| line.0 == "deliver").unwrap();
    assert!(deliver.1.starts_with("sync/"));
    assert!(!deliver.1.contains("app/db"), "the caller's name holds codes only");
    assert_eq!(deliver.2, "kv/app/db");
    assert!(lines.iter().any(|line| line.0 == "delivered"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_abandons_a_slow_call_and_the_next_start_delivers() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.cloud.set_latency(Duration::from_secs(60));
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(MOMENT).await;
    let start = Instant::now();
    world.stop().await;
    assert!(start.elapsed() <= Duration::from_secs(3));
    world.cloud.set_latency(Duration::ZERO);
    world.start();
    sleep(MOMENT).await;
    assert_eq!(world.cloud.text(NAME), text(2));
}

#[tokio::test(start_paused = true)]
async fn a_new_template_moves_the_object_when_set_again() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    let template = json!({ "secret_name_template": "apps/{{ .SecretPath }}" });
    world.post("sync/destinations/in-mem/d1", template).await.unwrap();
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(world.cloud.names(), [NAME], "existing associations keep their name");
    assert_eq!(world.set("app/db").await.unwrap()["external_name"], "apps/app/db");
    assert_eq!(world.cloud.names(), ["apps/app/db"]);
    // The old name is free again.
    world.post("sync/destinations/in-mem/d1", json!({})).await.unwrap();
    assert_eq!(world.set("app/db").await.unwrap()["external_name"], NAME);
    assert_eq!(world.cloud.names(), [NAME]);
}

#[tokio::test(start_paused = true)]
async fn new_tags_reach_what_is_delivered_already() {
    use crate::testing::Look;
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    let tags = json!({ "custom_tags": { "team": "blue" } });
    world.post("sync/destinations/in-mem/d1", tags).await.unwrap();
    sleep(MOMENT).await;
    let tags = world.cloud.tags(NAME).await;
    assert_eq!(tags.get("team").map(String::as_str), Some("blue"));
    assert_eq!(tags.get("hashicorp:vault").map(String::as_str), Some(""));
    assert_eq!(world.cloud.versions(NAME).await, 1);
}

#[tokio::test(start_paused = true)]
async fn purge_removes_everything_and_then_the_destination() {
    let world = World::new().await;
    for secret in ["a", "b", "c"] {
        world.write(secret, json!({ "v": 1 })).await.unwrap();
        world.set(secret).await.unwrap();
    }
    let delete =
        |input| world.call(bailee_sdk::Operation::Delete, "sync/destinations/in-mem/d1", input);
    assert!(delete(json!({})).await.is_err());
    delete(json!({ "purge": true })).await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(world.cloud.names(), Vec::<String>::new());
    assert!(world.get("sync/destinations/in-mem/d1").await.is_err());
    delete(json!({})).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_purge_goes_on_after_a_crash() {
    let world = World::new().await;
    for secret in ["a", "b", "c"] {
        world.write(secret, json!({ "v": 1 })).await.unwrap();
        world.set(secret).await.unwrap();
    }
    world.cloud.set_latency(Duration::from_secs(60));
    let path = "sync/destinations/in-mem/d1";
    let purge = json!({ "purge": true });
    world.call(bailee_sdk::Operation::Delete, path, purge).await.unwrap();
    let input = json!({ "mount": "kv", "secret_name": "a" });
    let refused = world.post(&format!("{path}/associations/set"), input).await.unwrap_err();
    assert!(refused.to_string().contains("purge in progress"));
    world.kill().await;
    assert!(world.get(path).await.unwrap()["purge_initiated_at"].is_string());
    world.cloud.set_latency(Duration::ZERO);
    world.start();
    sleep(MOMENT).await;
    assert!(world.get(path).await.is_err());
    assert_eq!(world.cloud.names(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_is_asked_for_again_tries_again() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    let path = "sync/destinations/in-mem/d1";
    let delete = |input| world.call(bailee_sdk::Operation::Delete, path, input);
    world.cloud.fail([Fault::Refuse(Error::new(Failure::Forbidden, "no right to delete"))]);
    delete(json!({ "purge": true })).await.unwrap();
    world.settle().await;
    assert_eq!(world.get(path).await.unwrap()["purge_error"], "no right to delete");
    delete(json!({ "purge": true })).await.unwrap();
    world.settle().await;
    assert!(world.get(path).await.is_err(), "it is gone");
    assert_eq!(world.cloud.names(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_fails_says_why_and_blocks_nothing() {
    let world = World::new().await;
    world.write("a", json!({ "v": 1 })).await.unwrap();
    world.set("a").await.unwrap();
    world.cloud.fail([Fault::Refuse(Error::forbidden("in-mem:Delete", "no right to delete"))]);
    let delete =
        |input| world.call(bailee_sdk::Operation::Delete, "sync/destinations/in-mem/d1", input);
    delete(json!({ "purge": "true" })).await.unwrap();
    sleep(MOMENT).await;
    let shown = world.get("sync/destinations/in-mem/d1").await.unwrap();
    assert_eq!(shown["purge_error"], "no right to delete");
    assert_eq!(world.set("a").await.unwrap()["sync_status"], "SYNCED");
    world.cloud.fail([Fault::Refuse(Error::forbidden("in-mem:Delete", "no right to delete"))]);
    delete(json!({ "purge": true, "force_delete": true })).await.unwrap();
    sleep(MOMENT).await;
    assert!(world.get("sync/destinations/in-mem/d1").await.is_err());
    assert_eq!(world.cloud.names().len(), 1, "what could not be removed is left behind");
}
