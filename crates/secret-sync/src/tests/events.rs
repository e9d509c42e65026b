//! What listeners hear.

use super::world::World;
use crate::{failure::Error as SyncError, testing::Fault};
use bailee_sdk::{Body, Code, Operation, Pieces};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

async fn listen(world: &World, wanted: Value) -> Pieces {
    let reply = world.reply(Operation::Read, "sync/events", wanted).await.unwrap();
    let Body::Stream { content_type, mut pieces } = reply.body else { panic!("no stream") };
    assert_eq!(content_type, "application/x-ndjson");
    let first = next(&mut pieces).await;
    assert_eq!(first["event"], "keep_alive", "something is said at once");
    pieces
}

async fn next(pieces: &mut Pieces) -> Value {
    let piece = pieces.next().await.expect("the session goes on");
    assert_eq!(piece.last(), Some(&b'\n'));
    serde_json::from_slice(&piece).unwrap()
}

/// The next event that is no keep-alive.
async fn heard(pieces: &mut Pieces) -> Value {
    loop {
        let event = next(pieces).await;
        if event["event"] != "keep_alive" {
            return event;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn deliveries_failures_repairs_and_removals_are_heard_as_they_happen() {
    let world = World::new().await;
    let mut all = listen(&world, json!({})).await;
    let errors = json!({ "status": "CLIENT_SIDE_ERROR", "type": "in-mem", "name": "d1" });
    let mut errors = listen(&world, errors).await;
    let mut elsewhere = listen(&world, json!({ "mount": "old" })).await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    let event = heard(&mut all).await;
    assert_eq!(event["event"], "delivered");
    assert_eq!(event["secret_name"], "app/db");
    assert_eq!(event["external_name"], super::world::NAME);
    assert_eq!(event["status"], "SYNCED");
    assert_eq!((&event["type"], &event["name"]), (&json!("in-mem"), &json!("d1")));
    assert_eq!(event["accessor"], "kv_1234");
    world.cloud.fail([Fault::Refuse(SyncError::forbidden("x:Put", "may not write"))]);
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    let event = heard(&mut errors).await;
    assert_eq!(event["event"], "failed");
    assert_eq!(event["error"]["class"], "forbidden");
    assert_eq!(event["error"]["missing_permission"], "x:Put");
    assert_eq!(heard(&mut all).await, event);
    world.set("app/db").await.unwrap();
    assert_eq!(heard(&mut all).await["event"], "delivered");
    world.cloud.lose(super::world::NAME);
    world.post("sync/destinations/in-mem/d1/sync", json!({})).await.unwrap();
    assert_eq!(heard(&mut all).await["event"], "drift_repaired");
    world.remove("app/db").await.unwrap();
    let event = heard(&mut all).await;
    assert_eq!((&event["event"], &event["status"]), (&json!("removed"), &json!("UNSYNCED")));
    // A purge is heard once, without names of secrets.
    world.set("app/db").await.unwrap();
    assert_eq!(heard(&mut all).await["event"], "delivered");
    let purge = json!({ "purge": true });
    world.call(Operation::Delete, "sync/destinations/in-mem/d1", purge).await.unwrap();
    assert_eq!(heard(&mut all).await["event"], "removed");
    let event = heard(&mut all).await;
    assert_eq!(event["event"], "purged");
    assert_eq!(event.get("secret_name"), None);
    // The listener of another mount has heard nothing of all that.
    assert_eq!(next(&mut elsewhere).await["event"], "keep_alive");
}

#[tokio::test(start_paused = true)]
async fn secrets_that_the_caller_may_not_read_are_only_counted() {
    let world = World::new().await;
    for secret in ["app/db", "app/web"] {
        world.write(secret, json!({ "v": 1 })).await.unwrap();
    }
    *world.readable.lock() = Some("kv/data/app/web".to_owned());
    let mut some = listen(&world, json!({})).await;
    *world.readable.lock() = None;
    world.set("app/db").await.unwrap();
    world.set("app/web").await.unwrap();
    let event = heard(&mut some).await;
    assert_eq!(event["secret_name"], "app/web");
    let hidden = heard(&mut some).await;
    assert_eq!((&hidden["event"], &hidden["count"]), (&json!("hidden"), &json!(1)));
    assert_eq!(hidden.as_object().unwrap().len(), 3, "{hidden}");
}

#[tokio::test(start_paused = true)]
async fn the_holder_of_a_name_is_kept_from_whoever_may_not_read_it() {
    let world = World::new().await;
    for secret in ["app/a b", "app/a*b"] {
        world.write(secret, json!({ "v": 1 })).await.unwrap();
    }
    world.set("app/a b").await.unwrap();
    *world.readable.lock() = Some("kv/data/app/a*b".to_owned());
    let mut some = listen(&world, json!({})).await;
    world.set("app/a*b").await.unwrap();
    let event = heard(&mut some).await;
    assert_eq!(event["error"]["class"], "name_taken", "{event}");
    assert!(!event.to_string().contains("a b"), "{event}");
    // The same of a plan, which knows how the last attempt failed.
    let plan = world.post("sync/destinations/in-mem/d1/plan", json!({})).await.unwrap();
    assert_eq!(plan["summary"]["failing"], 1, "{plan}");
    assert!(plan.to_string().contains("another secret has the name"), "{plan}");
    assert!(!plan.to_string().contains("a b"), "{plan}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_listener_holds_up_nobody_and_is_told_what_it_missed() {
    let world = World::new().await;
    let mut slow = listen(&world, json!({})).await;
    let board = world.sync.board().unwrap();
    for _ in 0..5_000 {
        board.feed.tell(|| {
            let now = world.clock.now();
            let destination = ("in-mem", "d1");
            vec![crate::feed::Event::of_destination("purged", &world.namespace, destination, now)]
        });
    }
    let missed = next(&mut slow).await;
    assert_eq!((&missed["event"], &missed["count"]), (&json!("missed"), &json!(5_000 - 4_096)));
    assert_eq!(next(&mut slow).await["event"], "purged");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_is_kept_alive_and_ends_with_the_session() {
    let world = World::new().await;
    let mut pieces = listen(&world, json!({})).await;
    let start = tokio::time::Instant::now();
    assert_eq!(next(&mut pieces).await["event"], "keep_alive");
    assert_eq!(start.elapsed(), Duration::from_secs(15));
    world.stop().await;
    assert!(pieces.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn wrong_filters_and_too_many_listeners_are_refused() {
    let world = World::new().await;
    let ask = |wanted| world.reply(Operation::Read, "sync/events", wanted);
    let error = ask(json!({ "status": "GOOD" })).await.unwrap_err();
    assert!(error.to_string().contains("CLIENT_SIDE_ERROR"), "{error}");
    assert_eq!(ask(json!({ "type": "nope" })).await.unwrap_err().code, Code::NotFound);
    let mut listeners = Vec::new();
    for _ in 0..16 {
        listeners.push(ask(json!({})).await.unwrap());
    }
    let refused = ask(json!({})).await.unwrap_err();
    assert_eq!(refused.code, Code::RateLimited);
    assert!(refused.to_string().contains("this client has 16 listeners"), "{refused}");
    listeners.pop();
    ask(json!({})).await.unwrap();
}
