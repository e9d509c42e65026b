//! Many lives of a mount: credentials come and go, IAM fails, the server crashes. In the end every
//! user has a lease, and when all leases have ended there is no user.

use super::{World, iam::Faults};
use bailee_sdk::{Operation::Read, intent::ROLL_BACK_AFTER, testing::EngineHarness};
use parking_lot::Mutex;
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

/// Runs unless `BAILEE_SIMULATION_RUNS` says otherwise.
const RUNS: u64 = 150;
const STEPS_MAX: u64 = 14;

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the number of runs is the test command's to say")]
async fn no_user_is_without_a_lease_and_no_lease_is_lost() {
    let runs = std::env::var("BAILEE_SIMULATION_RUNS").ok().and_then(|runs| runs.parse().ok());
    for seed in 1..=runs.unwrap_or(RUNS) {
        run(seed).await;
    }
}

async fn run(seed: u64) {
    let world = World::new().await;
    let iam = &world.iam;
    iam.seed(seed);
    let mut mount = world.mount.restarted().await;
    {
        let faults =
            Faults { throttled: iam.below(200), away: iam.below(100), reply_lost: iam.below(100) };
        let delay = iam.below(12_000);
        let mut state = iam.state.lock();
        state.faults = faults;
        state.key_delay = delay;
    }
    let ending = Mutex::default();
    for _ in 0..iam.below(STEPS_MAX) {
        // Longer than a request takes, now and then: then nothing is cut short.
        let life = Duration::from_millis(iam.below(20_000));
        let crashed = tokio::time::timeout(life, step(&world, &mount, &ending)).await.is_err();
        if crashed && iam.below(2) == 0 {
            mount = mount.restarted().await;
        }
        tokio::time::sleep(Duration::from_secs(iam.below(400))).await;
    }
    iam.state.lock().faults = Faults::default();
    settle(&mount).await;
    // No user without a lease; and no lease without its user, unless it was being ended.
    let leases = mount.leases().await;
    let mut users: BTreeSet<String> = iam.made().into_iter().collect();
    for (id, lease) in &leases {
        let had = users.remove(lease.data["name"].as_str().unwrap());
        assert!(had || ending.lock().contains(id), "seed {seed}");
    }
    assert!(users.is_empty(), "seed {seed}: {users:?}");
    let records = mount.view().list("users/", "", usize::MAX).await.unwrap();
    assert_eq!(records.len(), leases.len(), "seed {seed}");
    for (id, _) in leases {
        mount.revoke(&id).await.unwrap();
    }
    assert!(iam.made().is_empty(), "seed {seed}");
}

/// One thing that happens to a mount.
async fn step(world: &World, mount: &EngineHarness, ending: &Mutex<BTreeSet<String>>) {
    let leases = mount.leases().await;
    let lease = leases.get(usize::try_from(world.iam.below(leases.len() as u64)).unwrap());
    match (world.iam.below(5), lease) {
        (0 | 1, _) | (_, None) => drop(mount.call(Read, "creds/ci", Value::Null).await),
        (2, Some((id, _))) => drop(mount.renew(id, Duration::from_secs(60)).await),
        (3, Some((id, _))) => {
            ending.lock().insert(id.clone());
            drop(mount.revoke(id).await);
        }
        _ => drop(mount.roll_back().await),
    }
}

/// Time passes until all that waits has been done.
async fn settle(mount: &EngineHarness) {
    tokio::time::sleep(ROLL_BACK_AFTER).await;
    assert_eq!(mount.roll_back().await, 0);
    mount.tick().await.unwrap();
}
