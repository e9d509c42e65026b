//! Sources inside a server: when runs begin, what ends them, and whose a secret is.

use super::{
    epochs::restored,
    world::{World, barrier},
};
use crate::{
    Settings, Tenure,
    pull::tests::FakeSource,
    testing::{FakeCloud, Look},
};
use bailee_sdk::{Clock, Operation, testing::TestClock};
use bailee_storage::memory::Memory;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{sync::watch, time::Instant};

pub(super) const PATH: &str = "sync/sources/x";

/// A server with the destination `in-mem/d1`, and a source in memory that stands in for all.
pub(super) async fn world() -> (World, FakeSource) {
    let world = World::new().await;
    let source = stand_in(&world);
    (world, source)
}

fn stand_in(world: &World) -> FakeSource {
    let source = FakeSource::default();
    let surroundings = &world.sync.registry.surroundings;
    *surroundings.stand_in.write() = Some(Arc::new(source.clone()));
    source
}

pub(super) fn fields(more: Value) -> Value {
    let mut fields = json!({
        "type": "vault",
        "address": "https://vault.example",
        "token": "canary-token",
        "mounts": "kv",
        "destination": "in-mem/d1",
        "prefix": "p",
    });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

async fn status(world: &World) -> Value {
    world.get(&format!("{PATH}/status")).await.unwrap()
}

/// How the run that somebody asks for goes.
async fn ran(world: &World) -> Value {
    world.post(&format!("{PATH}/run"), json!({})).await.unwrap();
    for _ in 0..60 {
        world.settle().await;
        let status = status(world).await;
        if status["running"] == false {
            return status["last_run"].clone();
        }
    }
    panic!("the run does not end");
}

#[tokio::test(start_paused = true)]
async fn a_source_runs_at_once_and_again_by_its_schedule() {
    let (world, source) = world().await;
    source.write("a", "1");
    world.post(PATH, fields(json!({ "schedule": "rate(30 minutes)" }))).await.unwrap();
    world.settle().await;
    assert_eq!(world.cloud.text("p/a").as_deref(), Some("1"));
    assert_eq!(world.cloud.tags("p/a").await["version"], "1");
    let first = status(&world).await;
    assert_eq!(first["last_run"]["outcome"], "succeeded", "{first}");
    assert_eq!(first["last_run"]["created"], 1, "{first}");
    assert_eq!(first["last_success"], first["last_run"]["ended_at"], "{first}");
    let at = |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let wait = at(&first["next_run"]) - at(&first["last_run"]["started_at"]);
    assert_eq!(wait.get_seconds(), 1800, "{first}");

    source.write("a", "2");
    tokio::time::sleep(Duration::from_secs(1700)).await;
    assert_eq!(world.cloud.text("p/a").as_deref(), Some("1"), "it waits");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.cloud.text("p/a").as_deref(), Some("2"));
    assert_eq!(world.cloud.tags("p/a").await["version"], "2");
    assert_eq!(status(&world).await["last_run"]["updated"], 1);

    // A server that was down for long runs once, not once for each time that it missed.
    world.stop().await;
    source.write("a", "3");
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    world.start();
    world.settle().await;
    assert_eq!(world.cloud.text("p/a").as_deref(), Some("3"));
    let lines = world.local.lines.lock().clone();
    let of_source = |what: &str| {
        let line = (what.to_owned(), "sync/sources/x".to_owned(), "sys/sync/sources/x".to_owned());
        lines.iter().filter(|found| **found == line).count()
    };
    assert_eq!((of_source("deliver"), of_source("delivered")), (3, 3), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_schedule_a_source_runs_when_somebody_asks_and_one_run_at_a_time() {
    let (world, source) = world().await;
    source.write("a", "1");
    world.post(PATH, fields(json!({}))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(world.cloud.names().is_empty());
    assert_eq!(status(&world).await["next_run"], Value::Null);
    assert_eq!(ran(&world).await["created"], 1);

    // Asked for while one is under way, another one follows.
    world.cloud.set_latency(Duration::from_secs(5));
    source.write("b", "1");
    world.post(&format!("{PATH}/run"), json!({})).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let running = status(&world).await;
    assert_eq!(running["running"], true, "{running}");
    assert!(running["running_since"].is_string(), "{running}");
    source.write("b", "2");
    world.post(&format!("{PATH}/run"), json!({})).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.cloud.text("p/b").as_deref(), Some("2"));
    assert_eq!(world.cloud.most_running(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_what_a_run_would_do_and_changes_nothing() {
    let (world, source) = world().await;
    source.write("a", "1");
    world.post(PATH, fields(json!({ "paused": true }))).await.unwrap();
    let planned = world.post(&format!("{PATH}/plan"), json!({})).await.unwrap();
    let row = json!({ "action": "create", "reason": "new", "name": "p/a", "path": "kv/a" });
    assert_eq!(planned["changes"], json!([row]), "{planned}");
    assert_eq!((&planned["total_changes"], &planned["unchanged"]), (&json!(1), &json!(0)));
    assert!(world.cloud.names().is_empty());
    assert_eq!(source.take_reads(), 0);
    source.fail_listing(Some(crate::failure::Error::new(
        crate::failure::Failure::Unavailable,
        "the server is sealed",
    )));
    let told = world.post(&format!("{PATH}/plan"), json!({})).await.unwrap_err();
    assert!(told.to_string().contains("source: the server is sealed"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_while_anything_on_the_way_rests() {
    let (world, source) = world().await;
    source.write("a", "1");
    world.post(PATH, fields(json!({ "paused": true, "schedule": "5m" }))).await.unwrap();
    let refused = world.post(&format!("{PATH}/run"), json!({})).await.unwrap_err();
    assert!(refused.to_string().contains("paused"), "{refused}");
    let pause = |what: &'static str| world.post(what, json!({}));
    let rests = async |what: &str| {
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(world.cloud.names().is_empty(), "{what}");
        let status = status(&world).await;
        assert!(status["rests"].to_string().contains(what), "{status}");
    };
    rests("the source is paused").await;
    pause("sync/destinations/in-mem/d1/pause").await.unwrap();
    world.call(Operation::Patch, PATH, json!({ "paused": false })).await.unwrap();
    rests("is paused").await;
    world.post("sync/config", json!({ "disabled": true })).await.unwrap();
    pause("sync/destinations/in-mem/d1/resume").await.unwrap();
    rests("disabled").await;
    world.post("sync/config", json!({ "disabled": false })).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.cloud.text("p/a").as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_a_run_that_is_under_way() {
    let (world, source) = world().await;
    world.cloud.set_latency(Duration::from_secs(60));
    for at in 0..200 {
        source.write(&format!("s{at}"), "1");
    }
    world.post(PATH, fields(json!({ "schedule": "1h" }))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(status(&world).await["running"], true);
    world.call(Operation::Patch, PATH, json!({ "paused": true })).await.unwrap();
    world.settle().await;
    assert_eq!(status(&world).await["running"], false);
    let before = world.cloud.names().len();
    assert!(before < 200, "{before}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(world.cloud.names().len() <= before + 16, "what was under way may have landed");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_sealing_cut_off_goes_on_after_the_next_start() {
    let (world, source) = world().await;
    for at in 0..60 {
        source.write(&format!("s{at}"), "1");
    }
    world.cloud.set_latency(Duration::from_secs(5));
    world.post(PATH, fields(json!({ "schedule": "1h" }))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    let started = Instant::now();
    world.stop().await;
    assert!(started.elapsed() <= Duration::from_secs(3), "{:?}", started.elapsed());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = world.cloud.names().len();
    assert!((1..60).contains(&before), "{before}");
    assert_eq!(status(&world).await["last_run"], Value::Null);
    world.cloud.set_latency(Duration::ZERO);
    world.start();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.cloud.names().len(), 60);
    for name in world.cloud.names() {
        assert_eq!(world.cloud.versions(&name).await, 1, "{name}");
    }
    assert_eq!(status(&world).await["last_run"]["outcome"], "succeeded");
}

#[tokio::test(start_paused = true)]
async fn where_no_audit_device_writes_nothing_is_delivered() {
    let (world, source) = world().await;
    source.write("a", "1");
    *world.local.audit_fails.lock() = true;
    world.post(PATH, fields(json!({}))).await.unwrap();
    world.post(&format!("{PATH}/run"), json!({})).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(world.cloud.names().is_empty());
    let last = status(&world).await["last_run"].clone();
    assert_eq!((&last["outcome"], &last["failed"]), (&json!("failed"), &json!(1)), "{last}");
    assert!(last["failures"].to_string().contains("no audit device"), "{last}");
    *world.local.audit_fails.lock() = false;
    assert_eq!(ran(&world).await["created"], 1);
}

#[tokio::test(start_paused = true)]
async fn failures_are_kept_to_a_bound_and_the_next_run_mends_them() {
    let (world, source) = world().await;
    for at in 0..150 {
        source.write(&format!("s{at}"), "1");
    }
    world.cloud.forbid("Create");
    world.post(PATH, fields(json!({}))).await.unwrap();
    let last = ran(&world).await;
    assert_eq!((&last["outcome"], &last["failed"]), (&json!("failed"), &json!(150)), "{last}");
    assert_eq!(last["failures"].as_array().unwrap().len(), 100, "{last}");
    world.cloud.heal();
    let mended = ran(&world).await;
    assert_eq!((&mended["outcome"], &mended["created"]), (&json!("succeeded"), &json!(150)));
}

#[tokio::test(start_paused = true)]
async fn neither_a_source_nor_an_association_takes_what_the_other_keeps() {
    let (world, source) = world().await;
    // The association delivers kv/app as p/app, the source its own.
    world
        .post(
            "sync/destinations/in-mem/d1",
            json!({
                "secret_name_template": "p/{{ .SecretPath }}", "ownership": "overwrite",
            }),
        )
        .await
        .unwrap();
    world.write("app", json!({ "whose": "association" })).await.unwrap();
    world.set("app").await.unwrap();
    source.write("app", "the source's");
    source.write("own", "the source's");
    world
        .post(PATH, fields(json!({ "ownership": "overwrite", "deletion": "delete" })))
        .await
        .unwrap();
    let last = ran(&world).await;
    assert_eq!((&last["created"], &last["failed"]), (&json!(1), &json!(1)), "{last}");
    assert!(last["failures"].to_string().contains("p/app"), "{last}");
    assert!(world.cloud.text("p/app").unwrap().contains("association"));

    // And the other way round, though the destination overwrites what others made.
    world.write("own", json!({ "whose": "association" })).await.unwrap();
    let set = world.set("own").await.unwrap();
    assert_eq!(set["error"]["class"], "not_ours", "{set}");
    assert_eq!(world.cloud.text("p/own").as_deref(), Some("the source's"));
    world.remove("own").await.unwrap();
    world.settle().await;
    assert_eq!(world.cloud.text("p/own").as_deref(), Some("the source's"));

    // Two sources are apart, too.
    let other = "sync/sources/y";
    world.post(other, fields(json!({ "ownership": "overwrite" }))).await.unwrap();
    world.post(&format!("{other}/run"), json!({})).await.unwrap();
    world.settle().await;
    let last = world.get(&format!("{other}/status")).await.unwrap()["last_run"].clone();
    assert_eq!(last["failed"], 2, "{last}");

    // What a run removes is what it delivered.
    source.remove("own");
    source.remove("app");
    source.write("new", "1");
    assert_eq!(ran(&world).await["deleted"], 1);
    assert_eq!(world.cloud.names(), ["p/app", "p/new"]);
}

#[tokio::test(start_paused = true)]
async fn of_two_servers_with_the_same_keys_the_one_that_took_over_goes_on() {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
    let (cloud, memory) = (Arc::new(FakeCloud::default()), Arc::new(Memory::default()));
    let on = async |memory: Arc<Memory>| {
        let barrier = barrier(memory).await.unwrap();
        World::with(barrier, cloud.clone(), Settings::default(), clock.clone())
    };
    let original = on(memory.clone()).await;
    original.ready().await;
    let source = stand_in(&original);
    source.write("a", "1");
    original.post(PATH, fields(json!({ "ownership": "overwrite" }))).await.unwrap();
    assert_eq!(ran(&original).await["created"], 1);
    let copy = on(restored(&memory).await).await;
    stand_in(&copy).write("a", "the copy's");
    copy.post(&format!("{PATH}/run"), json!({})).await.unwrap();
    copy.settle().await;
    assert_eq!(cloud.text("p/a").as_deref(), Some("1"), "the copy is held");
    copy.post("sync/takeover", json!({})).await.unwrap();
    assert_eq!(ran(&copy).await["outcome"], "succeeded");
    assert_eq!(cloud.text("p/a").as_deref(), Some("the copy's"));
    source.write("a", "2");
    let last = ran(&original).await;
    assert_eq!(last["failed"], 1, "{last}");
    assert_eq!(cloud.text("p/a").as_deref(), Some("the copy's"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_deposed_makes_no_more_calls() {
    let end = watch::Sender::new(Instant::now() + Duration::from_secs(3600));
    let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
    let cloud = Arc::new(FakeCloud::default());
    let barrier = barrier(Arc::new(Memory::default())).await.unwrap();
    let (kind, tenure) = (cloud.kind(), Tenure::until(end.subscribe()));
    let world = World::of_kind(barrier, cloud, kind, Settings::default(), clock, tenure);
    world.ready().await;
    let source = stand_in(&world);
    source.write("a", "1");
    world.post(PATH, fields(json!({}))).await.unwrap();
    end.send_replace(Instant::now());
    world.post(&format!("{PATH}/run"), json!({})).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(world.cloud.names().is_empty());
    assert_eq!(status(&world).await["last_run"]["failed"], 1);
}

/// A clock that can be wrong.
#[derive(Debug, Default)]
struct Wrong {
    right: TestClock,
    ahead_seconds: AtomicU64,
}

impl Clock for Wrong {
    fn now(&self) -> SystemTime {
        self.right.now() + Duration::from_secs(self.ahead_seconds.load(Ordering::Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_put_back_does_not_keep_a_source_waiting() {
    for schedule in ["30m", "cron(0/30 * * * ? *)"] {
        let clock = Arc::new(Wrong::default());
        clock.ahead_seconds.store(365 * 24 * 3600, Ordering::Relaxed);
        let world = World::on(Arc::new(Memory::default()), Arc::default(), clock.clone()).await;
        world.ready().await;
        let source = stand_in(&world);
        source.write("a", "1");
        world.post(PATH, fields(json!({ "schedule": schedule }))).await.unwrap();
        world.settle().await;
        assert_eq!(world.cloud.text("p/a").as_deref(), Some("1"));
        clock.ahead_seconds.store(0, Ordering::Relaxed);
        source.write("a", "2");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(world.cloud.text("p/a").as_deref(), Some("2"), "{schedule}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_does_not_go_on_to_where_its_destination_was_before() {
    let (world, source) = world().await;
    for at in 0..60 {
        source.write(&format!("s{at}"), "1");
    }
    world.cloud.set_latency(Duration::from_secs(5));
    world.post(PATH, fields(json!({ "schedule": "1h" }))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    let before = world.cloud.names().len();
    assert!(before < 60);
    let network = json!({ "allowed_ports": "443" });
    world.call(Operation::Patch, "sync/destinations/in-mem/d1", network).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let last = status(&world).await["last_run"].clone();
    assert_eq!(last["outcome"], "failed", "{last}");
    assert!(last.to_string().contains("the destination was changed"), "{last}");
    assert!(world.cloud.names().len() <= before + 16, "what was under way may have landed");
    world.cloud.set_latency(Duration::ZERO);
    assert_eq!(ran(&world).await["outcome"], "succeeded");
    assert_eq!(world.cloud.names().len(), 60);
}
