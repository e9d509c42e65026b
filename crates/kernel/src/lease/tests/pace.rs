//! Many at once, and an engine that cannot keep up.

use super::world::{HOUR, Mood, SLOW, World};
use serde_json::json;
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::Instant;

#[tokio::test]
async fn a_budget_is_used_and_hardly_exceeded() {
    const LEASES: u64 = 600;
    const RATE: u64 = 10;
    let world = World::new().await;
    for _ in 0..LEASES {
        world.borrow("bank/loans/a", HOUR, &world.root).await.unwrap();
    }
    world.mood(Mood::Throttles(RATE));
    world.clock.advance(HOUR);
    let start = world.now();
    while !world.ledger.out.lock().is_empty() {
        world.kernel.leases.pass(world.now()).await.unwrap();
        world.clock.advance(Duration::from_millis(500));
    }
    let took = world.now().duration_since(start).unwrap().as_secs_f64();
    let ideal = LEASES as f64 / RATE as f64;
    assert!(took <= ideal / 0.9, "{took} s for what can be done in {ideal} s");
    let calls = world.ledger.calls.load(Ordering::SeqCst);
    assert!(calls < LEASES * 2, "{calls} calls for {LEASES} leases");
    assert!(world.lease_keys().await.is_empty());
}

#[tokio::test]
async fn a_throttled_lease_does_not_become_irrevocable() {
    let world = World::new().await;
    world.borrow("bank/loans/a", HOUR, &world.root).await.unwrap();
    world.mood(Mood::Throttles(0));
    world.clock.advance(HOUR);
    for _ in 0..50 {
        world.pass().await;
        world.clock.advance(Duration::from_secs(61));
    }
    let input = json!({ "type": "irrevocable" });
    let read = bailee_sdk::Operation::Read;
    let counted = world.call(read, "sys/leases/count", input, &world.root).await.unwrap();
    assert_eq!(super::world::data(&counted)["lease_count"], 0);
    world.mood(Mood::Works);
    world.pass().await;
    assert!(world.ledger.out.lock().is_empty());
}

/// More mounts than are worked on at once, each with more to take back than it gets done in its turn.
#[tokio::test(start_paused = true)]
async fn slow_mounts_in_every_place_hold_up_no_other_for_longer_than_a_turn() {
    const SLOW_MOUNTS: usize = 66;
    const LEASES: usize = 20;
    let world = World::new().await;
    for number in 0..SLOW_MOUNTS {
        world.mount(&format!("slow{number}")).await.unwrap();
        for _ in 0..LEASES {
            let path = format!("slow{number}/loans/slow");
            world.borrow(&path, HOUR, &world.root).await.unwrap();
        }
    }
    let ttl = HOUR * 2;
    let (_, quick) = world.borrow("bank/loans/a", ttl, &world.root).await.unwrap();
    world.clock.advance(HOUR);
    let revoking = tokio::spawn(world.kernel.leases.clone().run());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.ledger.calls.load(Ordering::SeqCst) >= 64, "every place is taken");
    world.clock.advance(HOUR);
    world.kernel.leases.wake.notify_one();
    let start = Instant::now();
    while world.is_out(&quick) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(start.elapsed() <= SLOW + Duration::from_secs(5), "it waits for all the others");
    }
    let left = world.ledger.out.lock().len();
    assert!(left > SLOW_MOUNTS * LEASES / 2, "the others were far from done: {left}");
    revoking.abort();
}

#[tokio::test(start_paused = true)]
async fn leases_that_are_given_up_wait_little_for_an_engine_that_is_away() {
    let world = World::new().await;
    for _ in 0..200 {
        world.borrow("bank/loans/stuck", HOUR, &world.root).await.unwrap();
    }
    let (_, other) = world.borrow("bank/loans/z", HOUR, &world.root).await.unwrap();
    let start = Instant::now();
    world.write("sys/leases/revoke-force/bank", json!({})).await.unwrap();
    let took = start.elapsed();
    // Those that begin before eight have failed are waited for as long as any, the others for two seconds.
    assert!(took <= Duration::from_secs(140), "{took:?}");
    assert!(!world.is_out(&other), "what can be taken back is");
    assert!(world.lease_keys().await.is_empty());
}
