//! What is made outside is told before, and undone when its request never finished.

use super::world::{HOUR, Mood, World, refused};
use crate::{intents::Reach, token::tests::world::Fault};
use bailee_sdk::intent::{GATE, ROLL_BACK_AFTER, Stored};
use std::{sync::Arc, time::Duration};

#[tokio::test]
async fn a_request_that_finishes_leaves_a_lease_and_no_intent() {
    let world = World::new().await;
    let (id, loan) = world.borrow("bank/made/a", HOUR, &world.root).await.unwrap();
    assert_eq!(world.intents().await, 0);
    world.clock.advance(ROLL_BACK_AFTER);
    world.undo(Reach::Due).await.unwrap();
    assert!(world.is_out(&loan));
    world.write("sys/leases/revoke", serde_json::json!({ "lease_id": id })).await.unwrap();
    assert!(!world.is_out(&loan));
}

#[tokio::test]
async fn a_request_that_fails_is_undone_when_it_is_old_and_not_before() {
    let mut world = World::new().await;
    world.borrow("bank/made/broken", HOUR, &world.root).await.unwrap_err();
    assert_eq!((world.intents().await, world.ledger.out.lock().len()), (1, 1));
    world.restart().await;
    world.undo(Reach::Due).await.unwrap();
    assert_eq!(world.ledger.out.lock().len(), 1, "it may be under way");
    world.clock.advance(ROLL_BACK_AFTER);
    world.undo(Reach::Due).await.unwrap();
    assert_eq!((world.intents().await, world.ledger.out.lock().len()), (0, 0));
}

#[tokio::test]
async fn wherever_storage_breaks_nothing_is_made_that_nobody_has() {
    for writes in 0..6 {
        for lost in [false, true] {
            let world = World::new().await;
            let mut before = writes;
            world.backend.fail(move || {
                before -= 1;
                (before == -1).then_some(if lost { Fault::After } else { Fault::Before })
            });
            let borrowed = world.borrow("bank/made/a", HOUR, &world.root).await;
            world.backend.fail(|| None);
            world.clock.advance(ROLL_BACK_AFTER);
            world.undo(Reach::Due).await.unwrap();
            assert_eq!(world.intents().await, 0);
            let leases = world.list("sys/leases/lookup/bank/made/a/").await;
            let leases = leases.map_or(0, |keys| keys.as_array().unwrap().len());
            let out = world.ledger.out.lock().len();
            assert_eq!(out, leases, "{writes} {lost} {borrowed:?}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_undone_waits_longer_each_time_and_keeps_the_mount() {
    let world = World::new().await;
    world.borrow("bank/made/broken", HOUR, &world.root).await.unwrap_err();
    world.mood(Mood::Refuses);
    world.clock.advance(ROLL_BACK_AFTER);
    world.undo(Reach::Due).await.unwrap();
    world.mood(Mood::Works);
    world.undo(Reach::Due).await.unwrap();
    assert_eq!(world.intents().await, 1, "it is tried again later");
    world.mood(Mood::Refuses);
    let (_, text) = refused(world.delete("sys/mounts/bank").await);
    assert!(text.contains("the lender is away") && text.contains("stays as it is"), "{text}");
    world.mood(Mood::Works);
    world.delete("sys/mounts/bank").await.unwrap();
    assert!(world.ledger.out.lock().is_empty(), "undone before the mount went");
}

#[tokio::test]
async fn an_operator_can_give_up_what_cannot_be_undone() {
    let world = World::new().await;
    world.borrow("bank/made/broken", HOUR, &world.root).await.unwrap_err();
    world.mood(Mood::Refuses);
    world.write("sys/leases/revoke-force/bank", serde_json::json!({})).await.unwrap();
    assert_eq!(world.intents().await, 0);
    world.delete("sys/mounts/bank").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mount_that_goes_away_while_it_is_asked_leaves_nothing() {
    for round in 0..50 {
        let world = Arc::new(World::new().await);
        let asked = (0..8).map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                drop(world.borrow("bank/made/a", HOUR, &world.root).await);
            })
        });
        let asked: Vec<_> = asked.collect();
        tokio::time::sleep(Duration::from_micros(round * 40)).await;
        let gone = world.delete("sys/mounts/bank").await;
        for one in asked {
            one.await.unwrap();
        }
        if gone.is_err() {
            world.delete("sys/mounts/bank").await.unwrap();
        }
        assert!(world.ledger.out.lock().is_empty(), "round {round}");
        assert_eq!(world.intents().await, 0, "round {round}");
    }
}

#[tokio::test]
async fn many_that_wait_keep_none_out_that_is_due() {
    let world = World::new().await;
    let places = world.kernel.registry.places();
    let bank = places.at("").unwrap().find("bank/x").unwrap().0.clone();
    let view = world.kernel.barrier.view(&bank.prefix);
    for number in 0..1000 {
        let waits = Stored {
            made: 0,
            due: u64::MAX,
            tries: 1,
            failure: None,
            body: serde_json::Value::Null,
        };
        view.put(&format!("{GATE}/{number:016x}"), &waits);
        view.commit().await.unwrap();
    }
    world.borrow("bank/made/broken", HOUR, &world.root).await.unwrap_err();
    world.clock.advance(ROLL_BACK_AFTER);
    world.undo(Reach::Due).await.unwrap();
    assert!(world.ledger.out.lock().is_empty());
    assert_eq!(world.intents().await, 1000);
}
