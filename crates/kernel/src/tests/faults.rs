//! What an answer said is so after a restart, wherever storage broke.

use super::world::{World, core, refused};
use crate::Initialize;
use bailee_sdk::Code;
use bailee_storage::{
    Backend,
    memory::Memory,
    testing::{Faulty, LastCommit},
};
use futures_util::StreamExt;
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// A world on storage that can be broken. The restarted one is on what is left.
async fn breakable() -> (World, Arc<Faulty>) {
    let faulty = Arc::new(Faulty::new(Arc::new(Memory::default())));
    (World::with(faulty.clone(), Vec::new()).await, faulty)
}

const FATES: [LastCommit; 2] = [LastCommit::Lost, LastCommit::Landed];

#[tokio::test(start_paused = true)]
async fn an_init_whose_end_is_unknown_waits_for_the_storage_rather_than_lose_the_shares() {
    for last in FATES {
        let faulty = Arc::new(Faulty::new(Arc::new(Memory::default())));
        faulty.go_down_after(0, last);
        let broken: Arc<dyn Backend> = faulty.clone();
        let first = core(&broken, Vec::new());
        let heal = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            faulty.heal();
        });
        let made = first.initialize(Initialize { shares: 1, threshold: 1 }).await;
        heal.await.unwrap();
        match last {
            LastCommit::Lost => assert!(made.is_err()),
            LastCommit::Landed => {
                let made = made.unwrap();
                assert!(!first.unseal(&made.keys[0]).await.unwrap().sealed);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_init_that_is_cut_short_left_nothing_or_told_nothing() {
    for last in FATES {
        let memory: Arc<dyn Backend> = Arc::new(Memory::default());
        let faulty = Arc::new(Faulty::new(memory.clone()));
        faulty.go_down_after(0, last);
        let broken: Arc<dyn Backend> = faulty.clone();
        let first = core(&broken, Vec::new());
        assert!(first.initialize(Initialize { shares: 1, threshold: 1 }).await.is_err());
        let after = core(&memory, Vec::new());
        assert_eq!(after.is_initialized().await.unwrap(), last == LastCommit::Landed);
        if last == LastCommit::Lost {
            let made = after.initialize(Initialize { shares: 1, threshold: 1 }).await.unwrap();
            assert!(!after.unseal(&made.keys[0]).await.unwrap().sealed);
        }
    }
}

#[tokio::test]
async fn a_write_that_was_answered_is_there_and_one_that_failed_is_whole_or_absent() {
    for (commits, last) in (0..4).flat_map(|commits| FATES.map(|last| (commits, last))) {
        let (world, faulty) = breakable().await;
        faulty.go_down_after(commits, last);
        let mut answered = Vec::new();
        for number in 0..5 {
            let path = format!("boxes/box/folder/{number}");
            let input = r#"{"value":1,"tell":true}"#;
            answered.push(world.write(&path, input).await.is_ok());
        }
        faulty.heal();
        let world = world.restart().await;
        let mut there = Vec::new();
        for number in 0..5 {
            there.push(world.read(&format!("boxes/box/folder/{number}")).await.is_ok());
        }
        for (answered, there) in answered.iter().zip(&there) {
            assert!(!answered || *there, "an answered write is lost");
        }
        let commits = usize::try_from(commits).unwrap();
        let landed = commits + usize::from(last == LastCommit::Landed);
        assert_eq!(there.iter().filter(|there| **there).count(), landed);
        let session = world.core.sessions().borrow().clone().unwrap();
        let view = session.barrier().view("");
        let root = bailee_sdk::Namespace::root();
        let notes = bailee_sdk::change::waiting(&view, &root, "", 10).await.unwrap();
        assert_eq!(notes.len(), landed);
        if landed > 0 {
            assert_eq!(
                world.list("boxes/boxes/folder/").await.unwrap().as_array().unwrap().len(),
                landed
            );
        }
    }
}

#[tokio::test]
async fn a_server_that_goes_on_after_a_fault_agrees_with_its_storage() {
    for last in FATES {
        let (world, faulty) = breakable().await;
        faulty.go_down_after(0, last);
        assert!(world.write("sys/mounts/new", r#"{"type":"boxes"}"#).await.is_err());
        // Until the mounts could be read anew, nothing is answered.
        assert_eq!(refused(world.read("sys/mounts").await).0, Code::Internal);
        faulty.heal();
        let here = world.read("sys/mounts").await.unwrap();
        let landed = here.as_object().unwrap().contains_key("new/");
        assert_eq!(landed, last == LastCommit::Landed);
        let there = world.restart().await.read("sys/mounts").await.unwrap();
        assert_eq!(here, there);
    }
}

#[tokio::test]
async fn an_unmount_that_is_cut_short_is_finished_after_the_next_unseal() {
    for (commits, last) in (0..5).flat_map(|commits| FATES.map(|last| (commits, last))) {
        let (world, faulty) = breakable().await;
        for number in 0..120 {
            let path = format!("boxes/box/{number}");
            world.write(&path, r#"{"value":1}"#).await.unwrap();
        }
        let uuid = world.read("sys/mounts/boxes").await.unwrap()["uuid"].clone();
        let uuid = uuid.as_str().unwrap();
        faulty.go_down_after(commits, last);
        let answered = world.delete("sys/mounts/boxes").await.is_ok();
        faulty.heal();
        let world = world.restart().await;
        let mounted = world.read("sys/mounts/boxes").await.is_ok();
        assert!(!(answered && mounted));
        assert_eq!(mounted, commits == 0 && last == LastCommit::Lost);
        if mounted {
            assert_eq!(world.read("boxes/box/7").await.unwrap(), json!({ "value": 1 }));
            continue;
        }
        for round in 0.. {
            let entries = world.backend.scan("", "").collect::<Vec<_>>().await;
            let left = |entry: &Result<(String, _), _>| entry.as_ref().unwrap().0.contains(uuid);
            if !entries.iter().any(left) {
                break;
            }
            assert!(round < 100_000, "what the mount held is still there");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_namespace_is_made_whole_or_not_at_all() {
    for last in FATES {
        let (world, faulty) = breakable().await;
        faulty.go_down_after(0, last);
        assert!(world.write("sys/namespaces/a", "{}").await.is_err());
        faulty.heal();
        let world = world.restart().await;
        let made = world.read("sys/namespaces/a").await.is_ok();
        assert_eq!(made, last == LastCommit::Landed);
        if made {
            world.write("a/sys/mounts/boxes", r#"{"type":"boxes"}"#).await.unwrap();
        } else {
            world.write("sys/namespaces/a", "{}").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_namespace_whose_deletion_is_cut_short_is_gone_after_the_next_unseal() {
    for (commits, last) in (0..6).flat_map(|commits| FATES.map(|last| (commits, last))) {
        let (world, faulty) = breakable().await;
        world.write("sys/namespaces/a", "{}").await.unwrap();
        world.write("a/sys/mounts/boxes", r#"{"type":"boxes"}"#).await.unwrap();
        for number in 0..120 {
            world.write(&format!("a/boxes/box/{number}"), r#"{"value":1}"#).await.unwrap();
        }
        let id = world.read("sys/namespaces/a").await.unwrap()["id"].clone();
        let inside = format!("n/{}/", id.as_str().unwrap());
        faulty.go_down_after(commits, last);
        let answered = world.delete("sys/namespaces/a").await.is_ok();
        faulty.heal();
        let world = world.restart().await;
        let there = world.read("sys/namespaces/a").await.is_ok();
        assert!(!(answered && there));
        assert_eq!(there, commits == 0 && last == LastCommit::Lost);
        if there {
            world.read("a/boxes/box/7").await.unwrap();
            continue;
        }
        for round in 0.. {
            if world.backend.scan(&inside, "").count().await == 0 {
                break;
            }
            assert!(round < 100_000, "what the namespace held is still there");
            tokio::task::yield_now().await;
        }
        world.write("sys/namespaces/a", "{}").await.unwrap();
    }
}

#[tokio::test]
async fn unsealing_on_broken_storage_fails_and_can_be_repeated() {
    let (world, faulty) = breakable().await;
    world.core.shut_down().await;
    world.core.unseal(&world.keys[0]).await.unwrap();
    faulty.go_down();
    assert!(world.core.unseal(&world.keys[1]).await.is_err());
    assert!(world.core.seal_status().await.unwrap().sealed);
    assert!(world.core.health().await.initialized);
    faulty.heal();
    world.unseal().await;
    world.read("sys/mounts").await.unwrap();
}

#[tokio::test]
async fn faults_at_random_never_make_an_answer_false() {
    for seed in 0..12 {
        let (world, faulty) = breakable().await;
        faulty.fail_randomly(seed, 10);
        let mut known: std::collections::BTreeMap<u64, Option<u64>> = Default::default();
        for step in 0..60 {
            let name = step % 5;
            let path = format!("boxes/box/f/{name}");
            if step % 7 == 3 {
                let outcome = world.delete(&path).await;
                if outcome.is_ok() {
                    known.insert(name, None)
                } else {
                    known.remove(&name)
                };
            } else {
                let input = format!(r#"{{"value":{step},"tell":true}}"#);
                let outcome = world.write(&path, &input).await;
                if outcome.is_ok() {
                    known.insert(name, Some(step))
                } else {
                    known.remove(&name)
                };
            }
        }
        faulty.heal();
        for world in [&world.restart().await, &world] {
            for (name, value) in &known {
                let read = world.read(&format!("boxes/box/f/{name}")).await;
                match value {
                    Some(value) => assert_eq!(read.unwrap(), json!({ "value": value }), "{seed}"),
                    None => assert_eq!(refused(read).0, Code::NotFound, "{seed}"),
                }
            }
        }
    }
}
