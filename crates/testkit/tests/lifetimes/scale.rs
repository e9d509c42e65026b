//! Many leases end at once, and IAM takes only so many calls a second.

use super::world::{HOUR, World};
use bailee_sdk::{
    Operation,
    testing::{Dice, is_alone, resident},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const COUNT: usize = if cfg!(feature = "slow-tests") { 10_000 } else { 400 };
/// Calls a second that IAM takes, all operations together, and how many it takes at once.
const BUDGET: f64 = 20.0;
const BURST: f64 = 20.0;
/// Calls that take a user away: of its key, its policy, and itself.
const CALLS_EACH: usize = 3;
/// The time that a call takes each way at most, in milliseconds.
const WAY_MAX: u64 = 100;
/// What may be added while leases go away, however many there are.
const GROWTH_BYTES_MAX: usize = 16 << 20;
/// Users that are made at once, before anything is measured.
const AT_ONCE: usize = 64;

/// What the end of all leases took.
#[derive(Debug)]
struct Figures {
    seconds: f64,
    /// The part of IAM's budget that was used for calls that were needed.
    used: f64,
    /// Calls that IAM refused, for each one that it took.
    refused: f64,
    grown_mib: usize,
}

#[test]
fn many_leases_end_within_the_budget_of_iam_in_steady_memory() {
    if !is_alone("scale::many_leases_end_within_the_budget_of_iam_in_steady_memory") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
    for (how, figures) in runtime.block_on(measured()) {
        let Figures { seconds, used, refused, grown_mib } = figures;
        println!(
            "{COUNT} leases, {how}: {seconds} s, {:.1} % of the budget used, {:.1} % of calls refused, \
             {grown_mib} MiB grown",
            used * 100.0,
            refused * 100.0
        );
        assert!(figures.used >= 0.9, "{how}: {figures:?}");
        assert!(figures.refused <= 0.25, "{how}: {figures:?}");
        assert!(figures.grown_mib <= GROWTH_BYTES_MAX >> 20, "{how}: {figures:?}");
    }
}

async fn measured() -> Vec<(&'static str, Figures)> {
    let world = World::new(Dice::new(1), WAY_MAX).await;
    let role = json!({ "credential_type": "iam_user", "policy_document": super::world::EC2 });
    world.write("aws/roles/plain", role).await.unwrap();
    world.write("aws/config/root", json!({ "wait_until_usable": false })).await.unwrap();
    let lease = json!({ "lease": "24h", "lease_max": "24h" });
    world.write("aws/config/lease", lease).await.unwrap();
    borrow(&world).await;
    let path = "sys/leases/revoke-prefix/aws/creds/plain";
    let by_prefix = end(&world, world.write(path, json!({ "sync": false }))).await;
    borrow(&world).await;
    sleep(23 * HOUR).await;
    assert_eq!(world.users().len(), COUNT);
    let by_time = end(&world, sleep_until_due(&world)).await;
    vec![("revoked by their prefix", by_prefix), ("at their time", by_time)]
}

async fn borrow(world: &World) {
    let borrowing = (0..COUNT).map(|_| async {
        let asked = world.call(Operation::Read, "aws/creds/plain", Value::Null, &world.root);
        asked.await.unwrap();
    });
    stream::iter(borrowing).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    assert_eq!(world.users().len(), COUNT);
}

/// Sleeps until the first lease is over; the others follow as fast as they were given out.
async fn sleep_until_due(world: &World) {
    let records = world.stored("lease/id/").await;
    let ends = records.iter().map(|(_, record)| record["expires"].as_u64().unwrap());
    let now = bailee_crypto::clock::to_millis(world.now());
    sleep(Duration::from_millis(ends.min().unwrap().saturating_sub(now))).await;
}

/// From the moment at which leases begin to end until no user is left.
async fn end<T>(world: &World, begin: impl Future<Output = T>) -> Figures {
    let aws = world.aws();
    let calls = || aws.call_counts().values().sum::<u64>();
    let refused = || aws.call_counts().keys().map(|name| aws.faults_fired(name)).sum::<u64>();
    aws.limit_rate(&["iam:*"], BUDGET, BURST);
    let (calls_before, refused_before, before) = (calls(), refused(), resident());
    begin.await;
    let (began, mut most) = (Instant::now(), before);
    while !world.users().is_empty() {
        sleep(Duration::from_millis(500)).await;
        most = most.max(resident());
        assert!(began.elapsed() < 24 * HOUR, "{} users are left", world.users().len());
    }
    let seconds = began.elapsed().as_secs_f64();
    let refused = (refused() - refused_before) as f64;
    let taken = (calls() - calls_before) as f64 - refused;
    // Until storage says so, too.
    sleep(Duration::from_secs(5)).await;
    assert!(world.stored("lease/").await.is_empty());
    aws.clear_faults();
    let needed = (COUNT * CALLS_EACH) as f64;
    Figures {
        seconds,
        used: needed / (BUDGET * seconds + BURST),
        refused: refused / taken,
        grown_mib: (most - before) >> 20,
    }
}
