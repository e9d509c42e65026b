//! Many at once, and an engine that cannot keep up.

use super::world::{HOUR, Mood, World};
use serde_json::json;
use std::{sync::atomic::Ordering, time::Duration};

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
