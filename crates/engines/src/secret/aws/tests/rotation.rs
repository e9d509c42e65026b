//! The engine's own key, replaced by itself.

use super::{World, iam::Faults};
use bailee_sdk::intent::ROLL_BACK_AFTER;
use serde_json::json;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// A mount whose key is replaced every hour.
async fn world() -> World {
    let world = World::new().await;
    world.write("config/root", json!({ "rotation_period": "1h" })).await.unwrap();
    world
}

impl World {
    fn keys(&self) -> Vec<String> {
        self.iam.state.lock().users["root-user"].keys.keys().cloned().collect()
    }

    async fn stored(&self) -> String {
        self.read("config/root").await.unwrap()["access_key"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn the_key_is_replaced_at_its_time_and_the_old_one_goes() {
    let world = world().await;
    world.mount.tick().await.unwrap();
    assert_eq!(world.keys(), ["AKIAROOT"]);
    tokio::time::sleep(HOUR).await;
    world.mount.tick().await.unwrap();
    let first = world.stored().await;
    assert_ne!(first, "AKIAROOT");
    assert_eq!(world.keys(), std::slice::from_ref(&first));
    world.read("creds/ci").await.unwrap();
    tokio::time::sleep(HOUR - MINUTE).await;
    world.mount.tick().await.unwrap();
    assert_eq!(world.stored().await, first);
    tokio::time::sleep(MINUTE).await;
    world.mount.tick().await.unwrap();
    assert_ne!(world.stored().await, first);
    let shown = world.read("config/root").await.unwrap();
    assert_eq!(shown["rotation_period"], 3600);
    assert_eq!(shown["rotation_error"], "");
    assert!(shown["last_rotation"].is_string() && shown["next_rotation"].is_string(), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_names_the_times_and_what_is_disabled_waits() {
    let world = World::new().await;
    // The test begins at 22:13.
    let schedule = json!({ "rotation_schedule": "0 23 * * *", "rotation_window": "2h" });
    world.write("config/root", schedule).await.unwrap();
    let shown = world.read("config/root").await.unwrap();
    assert_eq!(shown["next_rotation"], "2023-11-14T23:00:00Z");
    assert_eq!((&shown["rotation_window"], &shown["rotation_period"]), (&json!(7200), &json!(0)));
    world.write("config/root", json!({ "disable_automated_rotation": true })).await.unwrap();
    tokio::time::sleep(HOUR).await;
    world.mount.tick().await.unwrap();
    assert_eq!(world.keys(), ["AKIAROOT"]);
    world.write("config/root", json!({ "disable_automated_rotation": false })).await.unwrap();
    tokio::time::sleep(24 * HOUR).await;
    world.mount.tick().await.unwrap();
    assert_ne!(world.keys(), ["AKIAROOT"]);
    let other = json!({ "rotation_schedule": "", "rotation_window": 0, "rotation_period": "1h" });
    world.write("config/root", other).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_fails_is_told_and_tried_again() {
    let world = world().await;
    world.iam.state.lock().denied.insert("CreateAccessKey");
    tokio::time::sleep(HOUR).await;
    let error = world.mount.tick().await.unwrap_err().to_string();
    assert!(error.contains("Error creating access keys: AccessDenied"), "{error}");
    let shown = world.read("config/root").await.unwrap();
    assert_eq!(shown["rotation_error"], error);
    assert_eq!(shown["access_key"], "AKIAROOT");
    world.mount.tick().await.unwrap();
    world.iam.state.lock().denied.clear();
    world.mount.tick().await.unwrap();
    assert_eq!(world.keys(), ["AKIAROOT"], "it is not tried before its pause is over");
    tokio::time::sleep(MINUTE).await;
    world.mount.tick().await.unwrap();
    assert_eq!(world.keys(), [world.stored().await]);
    assert_eq!(world.read("config/root").await.unwrap()["rotation_error"], "");
}

#[tokio::test(start_paused = true)]
async fn the_old_key_goes_later_when_it_cannot_now() {
    let world = world().await;
    tokio::time::sleep(HOUR).await;
    world.iam.state.lock().denied.insert("DeleteAccessKey");
    world.mount.tick().await.unwrap_err();
    assert_eq!(world.keys().len(), 2);
    assert_eq!(world.read("config/root").await.unwrap()["former_access_key"], "AKIAROOT");
    let new = world.stored().await;
    world.read("config/root").await.unwrap();
    let other = json!({ "access_key": "AKIAOTHER", "secret_key": "s" });
    let reply = world.write("config/root", other).await.unwrap();
    assert!(reply.warnings[0].contains("the former key AKIAROOT"), "{:?}", reply.warnings);
    let back = json!({ "access_key": new, "secret_key": "s" });
    world.write("config/root", back).await.unwrap();
    world.iam.state.lock().denied.clear();
    world.mount.tick().await.unwrap();
    assert_eq!(world.keys(), [new]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_loses_no_key_and_leaves_one() {
    for crash in (0..2600).step_by(65) {
        let world = world().await;
        tokio::time::sleep(HOUR).await;
        let turn = tokio::time::timeout(Duration::from_millis(crash), world.mount.tick()).await;
        let world = World { mount: world.mount.restarted().await, ..world };
        assert!(world.keys().contains(&world.stored().await), "{crash} ms, {}", turn.is_ok());
        // What the crash left is undone or done, in turns as the kernel gives them.
        for _ in 0..3 {
            tokio::time::sleep(ROLL_BACK_AFTER).await;
            world.mount.roll_back().await;
            world.mount.tick().await.ok();
        }
        assert_eq!(world.mount.roll_back().await, 0);
        assert_eq!(world.keys(), [world.stored().await], "{crash} ms");
        assert_ne!(world.keys(), ["AKIAROOT"], "{crash} ms");
        world.read("creds/ci").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn undoing_a_rotation_leaves_a_namesake_of_another_account_alone() {
    let world = world().await;
    tokio::time::sleep(HOUR).await;
    // Long enough to make the key, too short to see it work.
    let turn = tokio::time::timeout(Duration::from_millis(900), world.mount.tick()).await;
    assert!(turn.is_err() && world.keys().len() == 2, "{:?}", world.keys());
    let world = World { mount: world.mount.restarted().await, ..world };
    world.iam.state.lock().users.get_mut("root-user").unwrap().id = "AIDAOTHER".to_owned();
    tokio::time::sleep(ROLL_BACK_AFTER).await;
    assert_eq!(world.mount.roll_back().await, 0);
    assert_eq!(world.keys().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_and_whenever_it_crashes_one_key_is_left_and_it_is_the_stored_one() {
    for seed in 1..150 {
        let mut world = world().await;
        world.iam.seed(seed);
        world.iam.state.lock().faults = Faults { throttled: 60, away: 60, reply_lost: 120 };
        for _ in 0..4 {
            tokio::time::sleep(HOUR).await;
            let crash = Duration::from_millis(world.iam.below(6000));
            tokio::time::timeout(crash, world.mount.tick()).await.ok();
            world.mount = world.mount.restarted().await;
            tokio::time::sleep(Duration::from_secs(world.iam.below(400))).await;
            world.mount.roll_back().await;
            let keys = world.keys();
            assert!(keys.contains(&world.stored().await), "seed {seed}: {keys:?}");
        }
        world.iam.state.lock().faults = Faults::default();
        for _ in 0..3 {
            tokio::time::sleep(HOUR).await;
            world.mount.roll_back().await;
            world.mount.tick().await.ok();
        }
        assert_eq!(world.mount.roll_back().await, 0, "seed {seed}");
        assert_eq!(world.keys(), [world.stored().await], "seed {seed}");
        assert_eq!(world.read("config/root").await.unwrap()["rotation_error"], "", "seed {seed}");
    }
}
