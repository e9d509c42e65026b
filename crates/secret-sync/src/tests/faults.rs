//! Whatever fails in between, the destination ends at the newest value and never goes back.

use super::world::{Faulty, NAME, World};
use crate::{
    Settings, Tenure,
    destination::Ownership,
    failure::{Error, Failure},
    testing::{FakeCloud, Fault, service::Call},
};
use bailee_sdk::{Clock, testing::TestClock};
use bailee_storage::memory::Memory;
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// What a user does, one after another; every step may fail.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write(u64),
    DeleteNewest,
    Set,
    Remove,
    Pause,
}

async fn act(world: &World, act: Act) -> bool {
    match act {
        Act::Write(value) => world.write("app/db", json!({ "v": value })).await.is_ok(),
        Act::DeleteNewest => world.delete_newest("app/db").await.is_ok(),
        Act::Set => world.set("app/db").await.is_ok(),
        Act::Remove => world.remove("app/db").await.is_ok(),
        Act::Pause => {
            sleep(Duration::from_millis(20)).await;
            true
        }
    }
}

fn lost() -> Fault {
    Fault::LoseReply
}

fn throttled() -> Fault {
    let error = Error::new(Failure::Throttled, "slow down").after(Duration::from_secs(2));
    Fault::Refuse(error)
}

/// Storage that has what tests begin with.
async fn prepared(clock: &Arc<dyn Clock>) -> (Arc<Memory>, Arc<FakeCloud>) {
    let disk = Arc::new(Memory::default());
    let cloud: Arc<FakeCloud> = Arc::default();
    let world = World::on(disk.clone(), cloud.clone(), clock.clone()).await;
    world.ready().await;
    world.stop().await;
    (disk, cloud)
}

/// Lets a healthy server run until nothing is left to do, and compares.
async fn converges(disk: Arc<Memory>, cloud: Arc<FakeCloud>, clock: Arc<dyn Clock>, case: &str) {
    cloud.heal();
    let world = World::on(disk, cloud.clone(), clock).await;
    sleep(Duration::from_secs(700)).await;
    let entry = world.entry("app/db").await;
    let held = world.held("app/db").await;
    if entry.is_null() {
        assert_eq!(cloud.text(NAME), None, "dissociated: {case}");
    } else {
        assert_eq!(cloud.text(NAME), held, "{case}: {entry}");
        let status = if held.is_some() { "SYNCED" } else { "UNSYNCED" };
        assert_eq!(entry["sync_status"], status, "{case}: {entry}");
    }
    world.stop().await;
}

/// In each run of writes without deletions, values never go back.
fn never_goes_back(cloud: &FakeCloud, case: &str) {
    let mut newest = 0;
    for (_, text) in cloud.history() {
        let Some(text) = text else {
            newest = 0;
            continue;
        };
        let value = serde_json::from_str::<Value>(&text).unwrap()["v"].as_u64().unwrap();
        assert!(value >= newest, "{value} after {newest}: {case}");
        newest = value;
    }
}

#[tokio::test(start_paused = true)]
async fn converges_whichever_commit_fails() {
    let acts = [
        Act::Write(1),
        Act::Set,
        Act::Write(2),
        Act::Pause,
        Act::Write(3),
        Act::Write(4),
        Act::Pause,
    ];
    let mut cut_short = 0;
    for (survive, applies) in (1..25).flat_map(|survive| [(survive, false), (survive, true)]) {
        for faults in [vec![], vec![lost(); 2], vec![throttled(), lost()]] {
            let case = format!("survive={survive} applies={applies} faults={}", faults.len());
            let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
            let (disk, cloud) = prepared(&clock).await;
            cloud.fail(faults);
            let faulty = Faulty { inner: disk.clone(), left: AtomicU64::new(survive), applies };
            let before = World::on(Arc::new(faulty), cloud.clone(), clock.clone()).await;
            let mut acknowledged = 0;
            for next in acts {
                if act(&before, next).await {
                    if let Act::Write(value) = next {
                        acknowledged = value;
                    }
                } else {
                    cut_short += 1;
                }
            }
            before.kill().await;
            converges(disk.clone(), cloud.clone(), clock.clone(), &case).await;
            never_goes_back(&cloud, &case);
            let after = World::on(disk, cloud, clock).await;
            let held = after.held("app/db").await.map_or(0, |text| {
                serde_json::from_str::<Value>(&text).unwrap()["v"].as_u64().unwrap()
            });
            assert!(held >= acknowledged, "an acknowledged write is missing: {case}");
            after.stop().await;
        }
    }
    assert!(cut_short > 50, "storage failed in the middle: {cut_short}");
}

#[tokio::test(start_paused = true)]
async fn converges_whichever_commit_of_a_removal_fails() {
    let acts = [
        Act::Write(1),
        Act::Write(2),
        Act::Set,
        Act::DeleteNewest,
        Act::Pause,
        Act::Remove,
        Act::Set,
        Act::DeleteNewest,
        Act::Pause,
        Act::Remove,
    ];
    for (survive, applies) in (1..37).flat_map(|survive| [(survive, false), (survive, true)]) {
        for faults in [vec![], vec![lost(); 4]] {
            let case = format!("survive={survive} applies={applies} faults={}", faults.len());
            let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
            let (disk, cloud) = prepared(&clock).await;
            cloud.fail(faults);
            let left = AtomicU64::new(survive);
            let faulty = Faulty { inner: disk.clone(), left, applies };
            let before = World::on(Arc::new(faulty), cloud.clone(), clock.clone()).await;
            for next in acts {
                act(&before, next).await;
            }
            before.kill().await;
            converges(disk, cloud, clock, &case).await;
        }
    }
}

/// Any acts, any faults of the destination, killed at any moment, several times over.
#[test]
fn converges_after_any_history() {
    let acts = prop_oneof![
        6 => Just(0u8),
        2 => Just(1),
        3 => Just(2),
        1 => Just(3),
        3 => Just(4),
    ];
    let lives = proptest::collection::vec(
        (proptest::collection::vec(acts, 1..10), proptest::collection::vec(0..4u8, 0..6)),
        1..4,
    );
    // The same histories every time: a failure must be one that others see too.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::with_cases(60), rng);
    let outcome = runner.run(&lives, |lives| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(any_history(lives));
        Ok(())
    });
    outcome.unwrap();
}

async fn any_history(lives: Vec<(Vec<u8>, Vec<u8>)>) {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
    let (disk, cloud) = prepared(&clock).await;
    let case = format!("{lives:?}");
    let mut value = 0;
    let mut deleted = false;
    for (acts, faults) in lives {
        let faults = faults.into_iter().map(|fault| match fault {
            0 => Fault::None,
            1 => lost(),
            2 => throttled(),
            _ => Fault::Refuse(Error::new(Failure::Unavailable, "down")),
        });
        cloud.fail(faults);
        let world = Arc::new(World::on(disk.clone(), cloud.clone(), clock.clone()).await);
        for next in acts {
            value += 1;
            let next = match next {
                0 => Act::Write(value),
                1 => Act::DeleteNewest,
                2 => Act::Set,
                3 => Act::Remove,
                _ => Act::Pause,
            };
            deleted |= matches!(next, Act::DeleteNewest);
            // A request in the background, so that acts meet.
            let world = world.clone();
            let running = tokio::spawn(async move { act(&world, next).await });
            sleep(Duration::from_millis(value % 3)).await;
            drop(running);
        }
        world.kill().await;
    }
    // Requests of the last life that still wait give up.
    sleep(Duration::from_secs(10)).await;
    converges(disk, cloud.clone(), clock, &case).await;
    if !deleted {
        never_goes_back(&cloud, &case);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_during_a_delivery_stays_dirty() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.cloud.set_latency(Duration::from_millis(100));
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    // The delivery of 2 runs, having read it.
    world.write("app/db", json!({ "v": 3 })).await.unwrap();
    sleep(Duration::from_millis(60)).await;
    assert_eq!(world.cloud.text(NAME).unwrap(), json!({ "v": 2 }).to_string());
    assert_eq!(world.entry("app/db").await["sync_status"], "PENDING");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(world.cloud.text(NAME).unwrap(), json!({ "v": 3 }).to_string());
    assert_eq!(world.entry("app/db").await["sync_status"], "SYNCED");
}

#[tokio::test(start_paused = true)]
async fn an_association_whose_first_delivery_is_uncertain_can_still_be_removed() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.cloud.fail([lost()]);
    let entry = world.set("app/db").await.unwrap();
    assert_eq!(entry["sync_status"], "EXTERNAL_SERVICE_ERROR");
    assert!(world.cloud.text(NAME).is_some());
    // It goes at once, and counts as gone when nothing that was sent can land any more.
    let entry = world.remove("app/db").await.unwrap();
    assert_eq!(entry["sync_status"], "PENDING");
    assert!(entry["waiting"]["message"].as_str().unwrap().contains("removed"), "{entry}");
    assert_eq!(world.cloud.text(NAME), None);
    sleep(Duration::from_secs(11)).await;
    let left = world.get("sync/destinations/in-mem/d1/associations").await.unwrap();
    assert_eq!(left["associated_secrets"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn what_is_set_again_or_fails_does_not_say_that_it_waits() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.cloud.fail([lost()]);
    world.set("app/db").await.unwrap();
    world.remove("app/db").await.unwrap();
    world.cloud.fail([Fault::Refuse(Error::forbidden("x:Create", "no creation here"))]);
    let entry = world.set("app/db").await.unwrap();
    assert_eq!(entry["error"]["class"], "forbidden", "{entry}");
    assert!(entry.get("waiting").is_none(), "{entry}");
}

#[tokio::test(start_paused = true)]
async fn tags_are_set_again_where_it_is_not_known_which_of_them_are_there() {
    let world = World::new().await;
    let team = |name: &str| BTreeMap::from([("team".to_owned(), name.to_owned())]);
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.configure(|stored| stored.custom_tags = team("blue")).await;
    world.set("app/db").await.unwrap();
    world.configure(|stored| stored.custom_tags = team("red")).await;
    world.cloud.lose_reply_of("Tag");
    let entry = world.set("app/db").await.unwrap();
    assert_eq!(entry["sync_status"], "EXTERNAL_SERVICE_ERROR", "{entry}");
    // As the ledger has them: what was lost set others.
    world.configure(|stored| stored.custom_tags = team("blue")).await;
    let entry = world.set("app/db").await.unwrap();
    assert_eq!(entry["sync_status"], "SYNCED", "{entry}");
    let mut shown = None;
    world.cloud.retag(NAME, |tags| shown = tags.get("team").cloned());
    assert_eq!(shown.as_deref(), Some("blue"));
}

/// A clock that can be put back.
#[derive(Debug, Default)]
struct PutBack {
    clock: TestClock,
    by: AtomicU64,
}

impl Clock for PutBack {
    fn now(&self) -> SystemTime {
        self.clock.now() - Duration::from_secs(self.by.load(Ordering::SeqCst))
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_ends_in_time_though_the_clock_was_put_back() {
    let clock = Arc::new(PutBack::default());
    let world = World::on(Arc::new(Memory::default()), Arc::default(), clock.clone()).await;
    world.ready().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.cloud.fail([lost()]);
    world.set("app/db").await.unwrap();
    clock.by.store(7_200, Ordering::SeqCst);
    world.remove("app/db").await.unwrap();
    sleep(Duration::from_secs(30)).await;
    assert!(world.lines().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_is_given_up_before_it_could_land_after_the_end_of_the_lease() {
    let (cloud, clock) = (Arc::<FakeCloud>::default(), Arc::new(TestClock::default()));
    let lease = watch::Sender::new(Instant::now() + Duration::from_secs(100));
    let barrier = super::world::barrier(Arc::new(Memory::default())).await.unwrap();
    let (kind, tenure) = (cloud.kind(), Tenure::until(lease.subscribe()));
    let world =
        World::of_kind(barrier, cloud.clone(), kind, Settings::default(), clock.clone(), tenure);
    world.ready().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    // Not renewed any more: what is under way then has 30 seconds to land, and nothing begins.
    lease.send_replace(Instant::now() + Duration::from_secs(40));
    cloud.set_latency(Duration::from_secs(60));
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(Duration::from_secs(100)).await;
    assert_eq!(cloud.attempts(), 2);
    world.remove("app/db").await.unwrap();
    sleep(Duration::from_secs(400)).await;
    assert_eq!(cloud.attempts(), 2, "nor is anything removed");
    assert_eq!(cloud.text(NAME).unwrap(), r#"{"v":1}"#);
}

/// A removal of which the reply was lost, and somebody who took the name right after it.
async fn succeeded() -> World {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.cloud.lose_reply_of("Delete");
    world.remove("app/db").await.unwrap();
    assert_eq!(world.cloud.text(NAME), None);
    let (name, token) = (NAME.to_owned(), "a-stranger-".repeat(4));
    let (bytes, tags) = (b"a stranger's".to_vec(), BTreeMap::new());
    world.cloud.meddle(&Call::Create { name, token, bytes, tags });
    world
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_may_have_been_done_does_not_take_what_came_after_it() {
    let world = succeeded().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.cloud.text(NAME).as_deref(), Some("a stranger's"));
    assert!(world.lines().await.is_empty(), "what was delivered is gone: nothing is left to do");
}

#[tokio::test(start_paused = true)]
async fn what_came_after_a_removal_is_written_only_where_the_policy_says_so() {
    for (ownership, held) in
        [(Ownership::Refuse, "a stranger's"), (Ownership::Overwrite, r#"{"v":1}"#)]
    {
        let world = succeeded().await;
        world.configure(|stored| stored.ownership = ownership).await;
        // The first call of the delivery is lost as well: it is no less a stranger's then.
        let lost = Error::new(Failure::Unavailable, "no answer").uncertain();
        world.cloud.fail([Fault::Refuse(lost)]);
        world.set("app/db").await.unwrap();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.cloud.text(NAME).as_deref(), Some(held), "{ownership:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_a_note_or_a_mark_whichever_commit_fails() {
    for (survive, applies) in (1..5).flat_map(|survive| [(survive, false), (survive, true)]) {
        let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
        let (disk, cloud) = prepared(&clock).await;
        let world = World::on(disk.clone(), cloud, clock.clone()).await;
        world.set("app/db").await.unwrap();
        world.stop().await;
        world.write("app/db", json!({ "v": 1 })).await.unwrap();
        let faulty = Faulty { inner: disk, left: AtomicU64::new(survive), applies };
        let broken = super::world::barrier(Arc::new(faulty)).await.unwrap();
        // Whether it fails does not matter: what is left behind does.
        crate::dirty::spread(&broken, &world.namespace, clock.now(), drop).await.ok();
        let store = crate::store::Store::open(&world.barrier, &world.namespace);
        let notes = bailee_sdk::change::waiting(&store.view, &world.namespace, "", 9).await;
        let waits = notes.unwrap().len() + store.dirty_destinations().await.unwrap().len();
        assert_eq!(waits, 1, "survive={survive} applies={applies}");
    }
}
