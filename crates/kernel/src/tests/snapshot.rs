//! Everything replaced by a snapshot, wherever storage breaks.

use super::world::{World, call, core};
use bailee_barrier::RESTORE_KEY;
use bailee_sdk::{Code, Error, Operation};
use bailee_storage::{
    Backend,
    memory::Memory,
    testing::{Faulty, LastCommit},
};
use serde_json::json;
use std::sync::Arc;

impl World {
    async fn save(&self) -> Vec<u8> {
        let asked = call(Operation::Read, "sys/storage/raft/snapshot", "{}", Some(&self.root));
        let mut pieces = self.core.save(asked).await.unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.recv().await {
            bytes.extend_from_slice(&piece.unwrap());
        }
        bytes
    }

    async fn restore(&self, snapshot: &[u8], force: bool) -> Result<(), Error> {
        let path = if force { "snapshot-force" } else { "snapshot" };
        let path = format!("sys/storage/raft/{path}");
        let asked = call(Operation::Update, &path, "{}", Some(&self.root));
        let mut restore = self.core.restore(asked, force).await?;
        for piece in snapshot.chunks(1000) {
            restore.write(piece).await?;
        }
        restore.finish().await
    }
}

#[tokio::test]
async fn each_restore_leaves_a_fresh_mark() {
    let world = World::new().await;
    let snapshot = world.save().await;
    let mark = async || world.backend.get(RESTORE_KEY).await.unwrap().map(|entry| entry.bytes);
    assert_eq!(mark().await, None);
    world.restore(&snapshot, false).await.unwrap();
    let first = mark().await.unwrap();
    let again = world.save().await;
    world.restore(&again, false).await.unwrap();
    assert_ne!(mark().await.unwrap(), first);
}

/// Each takes as much room on the disk as all that is stored.
#[tokio::test]
async fn only_some_snapshots_are_made_or_received_at_one_time() {
    let world = World::new().await;
    let path = "sys/storage/raft/snapshot";
    let asked = |operation| call(operation, path, "{}", Some(&world.root));
    let one = world.core.restore(asked(Operation::Update), false).await.unwrap();
    let two = world.core.restore(asked(Operation::Update), false).await.unwrap();
    for _ in 0..3 {
        let error = world.core.save(asked(Operation::Read)).await.unwrap_err();
        assert_eq!(error.code, Code::RateLimited);
    }
    drop(one);
    world.save().await;
    drop(two);
    // Those who may not are refused as ever, and take no room.
    for _ in 0..3 {
        let asked = call(Operation::Update, path, "{}", None);
        assert_eq!(
            world.core.restore(asked, false).await.unwrap_err().code,
            Code::PermissionDenied
        );
    }
    let snapshot = world.save().await;
    world.restore(&snapshot, false).await.unwrap();
}

/// The count of what a key has sealed went back with the rest.
#[tokio::test]
async fn whoever_opens_a_restored_storage_first_makes_a_new_key() {
    let term =
        |core: &crate::Core| core.sessions().borrow().as_ref().unwrap().barrier().key_status().term;
    let world = World::new().await;
    let snapshot = world.save().await;
    assert_eq!(term(&world.core), 1);
    world.restore(&snapshot, false).await.unwrap();
    assert_eq!(term(&world.core), 2);
    world.restore(&snapshot, true).await.unwrap();
    world.unseal().await;
    assert_eq!(term(&world.core), 2);
    world.core.shut_down().await;
    world.unseal().await;
    assert_eq!(term(&world.core), 2, "once is enough");
    // A server that ended as soon as the restore had landed.
    world.restore(&snapshot, true).await.unwrap();
    let other = core(&world.backend, Vec::new());
    for key in &world.keys[..2] {
        other.unseal(key).await.unwrap();
    }
    assert_eq!(term(&other), 2);
}

#[tokio::test]
async fn a_snapshot_from_before_a_change_of_shares_needs_force_and_the_old_shares() {
    let world = World::new().await;
    world.write("boxes/box/a", r#"{"value":1}"#).await.unwrap();
    let snapshot = world.save().await;
    let session = world.core.sessions().borrow().clone().unwrap();
    let new = bailee_barrier::RootKey::generate();
    session.barrier().rekey(&new, Vec::new()).await.unwrap();
    drop(session);
    let error = world.restore(&snapshot, false).await.unwrap_err().to_string();
    assert!(error.contains("snapshot-force"), "{error}");
    world.restore(&snapshot, true).await.unwrap();
    assert!(world.core.seal_status().await.unwrap().sealed);
    world.unseal().await;
    assert_eq!(world.read("boxes/box/a").await.unwrap(), json!({ "value": 1 }));
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_fails_goes_on_with_what_is_stored() {
    for last in [LastCommit::Lost, LastCommit::Landed] {
        let memory: Arc<dyn Backend> = Arc::new(Memory::default());
        let faulty = Arc::new(Faulty::new(memory.clone()));
        let world = World::with(faulty.clone(), Vec::new()).await;
        world.write("boxes/box/a", r#"{"value":1}"#).await.unwrap();
        let snapshot = world.save().await;
        world.write("boxes/box/a", r#"{"value":2}"#).await.unwrap();
        faulty.go_down_after(0, last);
        assert!(world.restore(&snapshot, false).await.is_err());
        faulty.heal();
        let wanted = if last == LastCommit::Landed { 1 } else { 2 };
        // Storage did not answer for long: it is sealed, and opens with the shares.
        assert!(world.core.seal_status().await.unwrap().sealed);
        world.unseal().await;
        assert_eq!(world.read("boxes/box/a").await.unwrap(), json!({ "value": wanted }));
        // A refusal that says that nothing landed: it goes on at once.
        faulty.fill();
        assert!(world.restore(&snapshot, false).await.is_err());
        assert_eq!(world.read("boxes/box/a").await.unwrap(), json!({ "value": wanted }));
        faulty.heal();
        let other = core(&memory, Vec::new());
        for key in &world.keys[..2] {
            other.unseal(key).await.unwrap();
        }
        assert!(!other.seal_status().await.unwrap().sealed);
    }
}
