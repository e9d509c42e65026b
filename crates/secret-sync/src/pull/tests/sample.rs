//! The published Lambda sample: what it means to do, and taking over what it did.

use super::world::{World, foreign, names};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The sample's logic as its page describes it: absent is created, another version is updated, equal is
/// left alone; one tag, `version`; nothing is ever removed.
#[derive(Default)]
struct Model {
    secrets: BTreeMap<String, (String, u64)>,
}

impl Model {
    /// Names that were created and updated.
    fn run(&mut self, world: &World) -> (Vec<String>, Vec<String>) {
        let (mut created, mut updated) = (Vec::new(), Vec::new());
        for (path, held) in world.source.secrets() {
            let name = format!("p/{path}");
            match self.secrets.get(&name) {
                None => created.push(name.clone()),
                Some((_, version)) if *version != held.version => updated.push(name.clone()),
                Some(_) => continue,
            }
            self.secrets.insert(name, (held.value, held.version));
        }
        (created, updated)
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write(u8, u8),
    Remove(u8),
    Run,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (0..5u8, any::<u8>()).prop_map(|(path, value)| Change::Write(path, value)),
        1 => (0..5u8).prop_map(Change::Remove),
        3 => Just(Change::Run),
    ];
    proptest::collection::vec(change, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_is_created_updated_and_tagged_as_by_the_sample(changes in changes()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (world, mut model) = (World::new(), Model::default());
            let mut recreated = false;
            for change in changes.iter().chain([&Change::Run]) {
                match change {
                    Change::Write(path, value) => {
                        recreated |= model.secrets.contains_key(&format!("p/{path}"))
                            && !world.source.secrets().contains_key(&path.to_string());
                        world.source.write(&path.to_string(), &value.to_string());
                    }
                    Change::Remove(path) => world.source.remove(&path.to_string()),
                    // Of a secret that was removed and made again the sample may miss the change.
                    Change::Run if recreated => return Ok(()),
                    Change::Run => {
                        let (created, updated) = model.run(&world);
                        let results = world.run().await;
                        prop_assert_eq!(&results.created, &created);
                        prop_assert_eq!(&results.updated, &updated);
                        prop_assert!(results.failed.is_empty() && results.aspects.is_empty());
                    }
                }
            }
            for (name, (value, version)) in &model.secrets {
                let text = world.cloud.text(name);
                prop_assert_eq!(text.as_deref(), Some(value.as_str()));
                let tag = world.tag(name, "version").await;
                prop_assert_eq!(tag, Some(version.to_string()));
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_sample_made_is_taken_over_where_that_is_asked_for() {
    for adopts in [true, false] {
        let mut world = World::new();
        world.spec.adopts_sample = adopts;
        for (name, tag) in [("p/a", "1"), ("p/b", "1"), ("p/c", "x"), ("p/old", "7")] {
            world.cloud.meddle(&foreign(name, "old", &[("version", tag)]));
        }
        for path in ["a", "b", "c"] {
            world.source.write(path, "new");
        }
        world.source.write("b", "newer");
        let results = world.run().await;
        let failed: Vec<&str> = results.failed.iter().map(|one| one.name.as_str()).collect();
        if adopts {
            // A tag that is no version of KV was not the sample's.
            assert_eq!((results.adopted, failed), (names(&["p/a", "p/b"]), vec!["p/c"]));
            assert_eq!(world.cloud.text("p/b").as_deref(), Some("newer"));
            assert_eq!(world.tag("p/b", "version").await.as_deref(), Some("2"));
        } else {
            assert_eq!(failed, ["p/a", "p/b", "p/c"]);
        }
        // What the source does not have stays untouched: it is not ours.
        assert_eq!(world.cloud.text("p/old").as_deref(), Some("old"));
        assert_eq!(world.tag("p/old", "bailee:owner").await, None);
    }
}
