use super::world::{World, call, core, refused};
use crate::{Initialize, system::rotation_pass};
use bailee_crypto::{Clock, SystemClock};
use bailee_sdk::{Code, Operation};
use bailee_storage::{Backend, memory::Memory};
use serde_json::json;
use std::{sync::Arc, time::Duration};

fn empty() -> Arc<dyn Backend> {
    Arc::new(Memory::default())
}

#[tokio::test]
async fn an_empty_storage_is_not_initialized_and_serves_nothing() {
    let core = core(&empty(), Vec::new());
    assert!(!core.is_initialized().await.unwrap());
    let status = serde_json::to_value(core.seal_status().await.unwrap()).unwrap();
    assert_eq!(
        status,
        json!({
            "type": "shamir", "initialized": false, "sealed": true, "t": 0, "n": 0, "progress": 0,
            "nonce": "", "version": "2.2.0", "build_date": "2026-01-01T00:00:00Z",
            "migration": false, "recovery_seal": false, "storage_type": "inmem",
            "removed_from_cluster": false,
        })
    );
    let health = core.health().await;
    assert!(!health.initialized && health.sealed && health.standby);
    assert_eq!(health.replication_dr_mode, "unknown");
    let outcome = core.handle(call(Operation::Read, "sys/mounts", "{}", Some("x"))).await;
    assert_eq!(refused(outcome), (Code::Sealed, "Vault is sealed".to_owned()));
    assert_eq!(refused(core.leader().await).0, Code::Sealed);
    let text = "Vault is not initialized".to_owned();
    assert_eq!(refused(core.unseal(&[1; 33]).await), (Code::InvalidRequest, text));
}

#[tokio::test]
async fn impossible_shares_are_refused_and_change_nothing() {
    let core = core(&empty(), Vec::new());
    for (shares, threshold, text) in [
        (0, 0, "invalid seal configuration: shares must be at least one"),
        (-3, 1, "invalid seal configuration: shares must be at least one"),
        (3, 5, "invalid seal configuration: threshold cannot be larger than shares"),
        (
            5,
            1,
            "invalid seal configuration: threshold must be greater than one for multiple shares",
        ),
        (256, 3, "invalid seal configuration: shares must be less than 256"),
    ] {
        let outcome = core.initialize(Initialize { shares, threshold }).await;
        assert_eq!(refused(outcome), (Code::InvalidRequest, text.to_owned()));
    }
    assert!(!core.is_initialized().await.unwrap());
}

#[tokio::test]
async fn shares_open_the_storage_and_the_root_token_works() {
    let backend = empty();
    let core = core(&backend, Vec::new());
    let made = core.initialize(Initialize { shares: 5, threshold: 3 }).await.unwrap();
    assert_eq!(made.keys.len(), 5);
    assert!(made.keys.iter().all(|key| key.len() == 33));
    assert!(made.root_token.expose().starts_with("hvs."));
    let again = core.initialize(Initialize { shares: 1, threshold: 1 }).await;
    let text = "Vault is already initialized".to_owned();
    assert_eq!(refused(again), (Code::InvalidRequest, text));
    // Another process may have done it.
    let other = super::world::core(&backend, Vec::new());
    assert!(other.is_initialized().await.unwrap());
    assert_eq!(refused(core.unseal(&[1; 15]).await).0, Code::InvalidRequest);
    assert_eq!(refused(core.unseal(&[1; 34]).await).0, Code::InvalidRequest);
    for (index, progress) in [(0, 1), (0, 1), (4, 2)] {
        let status = core.unseal(&made.keys[index]).await.unwrap();
        assert_eq!((status.progress, status.sealed, status.nonce.len()), (progress, true, 36));
    }
    assert_eq!(core.reset_unseal().await.unwrap().progress, 0);
    for key in &made.keys[1..4] {
        core.unseal(key).await.unwrap();
    }
    let status = core.seal_status().await.unwrap();
    assert!(!status.sealed);
    assert_eq!(status.cluster_name.as_deref(), Some("test"));
    assert_eq!(status.cluster_id.unwrap().len(), 36);
    assert_eq!((status.threshold, status.shares, status.progress), (3, 5, 0));
    // One more share changes nothing.
    assert!(!core.unseal(&made.keys[0]).await.unwrap().sealed);
    assert_eq!(refused(core.reset_unseal().await).1, "vault is unsealed");
    let token = made.root_token.expose();
    core.handle(call(Operation::Read, "sys/mounts", "{}", Some(token))).await.unwrap();
    assert!(core.leader().await.unwrap().is_self);
    assert!(!core.health().await.standby);
}

#[tokio::test]
async fn wrong_shares_are_refused_and_forgotten() {
    let world = World::new().await;
    world.core.shut_down().await;
    for wrong in [[7; 33], [9; 33]] {
        let outcome = world.core.unseal(&wrong).await;
        if wrong == [9; 33] {
            assert_eq!(refused(outcome).0, Code::InvalidRequest);
        }
    }
    let status = world.core.seal_status().await.unwrap();
    assert_eq!((status.progress, status.nonce.as_str()), (0, ""));
    world.unseal().await;
}

#[tokio::test]
async fn one_share_is_enough_when_one_was_made() {
    let core = core(&empty(), Vec::new());
    let made = core.initialize(Initialize { shares: 1, threshold: 1 }).await.unwrap();
    assert_eq!(made.keys[0].len(), 32);
    assert!(!core.unseal(&made.keys[0]).await.unwrap().sealed);
}

#[tokio::test]
async fn sealing_needs_the_right_and_ends_the_session() {
    let world = World::new().await;
    let sessions = world.core.sessions();
    assert!(sessions.borrow().is_some());
    let seal = |token| call(Operation::Update, "sys/seal", "{}", token);
    assert_eq!(refused(world.core.seal(seal(None)).await).0, Code::PermissionDenied);
    let token = world.token_with(r#"path "sys/seal" { capabilities = ["update"] }"#).await;
    let outcome = world.core.seal(seal(Some(&token))).await;
    assert_eq!(refused(outcome).1, "1 error occurred:\n\t* permission denied\n\n");
    let token = world.token_with(r#"path "sys/seal" { capabilities = ["update", "sudo"] }"#).await;
    world.core.seal(seal(Some(&token))).await.unwrap();
    assert!(world.core.seal_status().await.unwrap().sealed);
    assert!(sessions.borrow().is_none());
    assert_eq!(refused(world.read("sys/mounts").await).0, Code::Sealed);
    // Sealed already: nobody is asked.
    world.core.seal(seal(None)).await.unwrap();
    world.unseal().await;
    world.read("sys/mounts").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn sealing_wipes_the_keys_even_of_those_who_do_not_let_go() {
    let world = World::new().await;
    let session = world.core.sessions().borrow().clone().unwrap();
    let barrier = session.barrier();
    let view = barrier.view("probe/");
    view.put("a", "b");
    view.commit().await.unwrap();
    let started = tokio::time::Instant::now();
    world.core.shut_down().await;
    assert!(started.elapsed() <= Duration::from_secs(11));
    assert!(view.get::<String>("a").await.is_err());
    view.put("a", "c");
    assert!(view.commit().await.is_err());
    drop((session, view));
    let weak = Arc::downgrade(&barrier);
    drop(barrier);
    assert_eq!(weak.strong_count(), 0);
    world.unseal().await;
}

#[tokio::test]
async fn sealing_lets_go_of_everything_that_holds_keys() {
    let world = World::new().await;
    let barrier = Arc::downgrade(&world.core.sessions().borrow().as_ref().unwrap().barrier());
    world.write("sys/mounts/more", r#"{"type":"boxes"}"#).await.unwrap();
    world.core.shut_down().await;
    assert_eq!(barrier.strong_count(), 0);
}

#[tokio::test]
async fn rotation_keeps_old_values_readable_and_survives_a_restart() {
    let world = World::new().await;
    world.write("boxes/box/a", r#"{"value":1}"#).await.unwrap();
    assert_eq!(world.read("sys/key-status").await.unwrap()["term"], 1);
    world.write("sys/rotate", "{}").await.unwrap();
    world.write("boxes/box/b", r#"{"value":2}"#).await.unwrap();
    assert_eq!(world.read("sys/key-status").await.unwrap()["term"], 2);
    let world = world.restart().await;
    assert_eq!(world.read("sys/key-status").await.unwrap()["term"], 2);
    for (name, value) in [("a", 1), ("b", 2)] {
        let read = world.read(&format!("boxes/box/{name}")).await.unwrap();
        assert_eq!(read, json!({ "value": value }));
    }
}

#[tokio::test]
async fn a_key_is_replaced_before_it_has_sealed_too_much_restarts_or_not() {
    // What is counted ahead makes a limit near that reachable without a million writes.
    const MAX: u64 = (1 << 20) + 100;
    let world = World::new().await;
    let limit = json!({ "max_operations": MAX }).to_string();
    world.write("sys/rotate/config", &limit).await.unwrap();
    let pass = async |world: &World| {
        let barrier = world.core.sessions().borrow().clone().unwrap().barrier();
        rotation_pass(&barrier, SystemClock.now()).await.unwrap();
        barrier.key_status().term
    };
    assert_eq!(pass(&world).await, 1);
    for number in 0..40 {
        world.write(&format!("boxes/box/{number}"), r#"{"value":1}"#).await.unwrap();
    }
    let world = world.restart().await;
    assert_eq!(pass(&world).await, 1);
    for number in 0..100 {
        world.write(&format!("boxes/box/{number}"), r#"{"value":2}"#).await.unwrap();
    }
    assert_eq!(pass(&world).await, 2);
    assert_eq!(pass(&world.restart().await).await, 2);
}
