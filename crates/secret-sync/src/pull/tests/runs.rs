//! What runs do when nothing goes wrong.

use super::world::{World, foreign, names};
use crate::{
    destination::Ownership,
    failure::Failure,
    pull::{report::Results, spec::Compare},
    registry::Drift,
    testing::{Look, service::Call},
};
use std::collections::BTreeMap;

#[tokio::test(start_paused = true)]
async fn secrets_are_made_updated_and_then_left_alone() {
    let world = World::new();
    world.source.write("a", "1");
    world.source.write("team/b", "1");
    let results = world.run().await;
    assert_eq!(results.created, names(&["p/a", "p/team/b"]));
    assert_eq!(world.tag("p/a", "version").await.as_deref(), Some("1"));
    world.settles().await;

    world.source.write("a", "2");
    assert_eq!(world.run().await.updated, names(&["p/a"]));
    assert_eq!(world.source.take_reads(), 1);
    assert_eq!(world.tag("p/a", "version").await.as_deref(), Some("2"));
    assert_eq!((world.versions("p/a").await, world.versions("p/team/b").await), (2, 1));
    world.assert_equal();
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_was_removed_and_made_again_is_seen_although_its_version_is_the_same() {
    for compare in [Compare::Version, Compare::Updated, Compare::Hash] {
        let mut world = World::new();
        world.spec.compare = compare;
        world.source.write("a", "1");
        world.run().await;
        world.source.remove("a");
        world.source.write("a", "other");
        assert_eq!(world.run().await.updated, names(&["p/a"]), "{compare:?}");
        world.assert_equal();
        world.settles().await;
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_unchanged_secrets_take_a_hundred_and_one_lists_and_no_material() {
    let world = World::new();
    world.cloud.meddle(&foreign("p/vault-connection-secret", "{}", &[]));
    world.cloud.meddle(&foreign("q/other", "{}", &[]));
    for number in 0..10_000 {
        world.source.write(&format!("{number:05}"), "v");
    }
    assert_eq!(world.run().await.created.len(), 10_000);
    assert_eq!(world.source.take_reads(), 10_000);
    let before = (world.cloud.surveys(), world.cloud.attempts());
    let results = world.run().await;
    assert_eq!(results, Results { unchanged: 10_000, ..Results::default() });
    assert_eq!(world.cloud.surveys() - before.0, 101);
    assert_eq!((world.cloud.attempts(), world.source.take_reads()), (before.1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_others_changed_is_undone_once_and_under_another_token() {
    let world = World::new();
    world.source.write("a", "1");
    world.run().await;
    for _ in 0..3 {
        world.cloud.meddle(&Call::Update {
            name: "p/a".to_owned(),
            token: format!("somebody's {:032}", world.versions("p/a").await),
            bytes: b"x".to_vec(),
        });
        assert_eq!(world.run().await.updated, names(&["p/a"]));
        world.assert_equal();
        world.settles().await;
    }
    world.cloud.lose("p/a");
    assert_eq!(world.run().await.created, names(&["p/a"]));
    world.assert_equal();
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_comes_back_is_written_again() {
    let world = World::new();
    for value in ["1", "2", "1", "2", "1"] {
        world.source.write("a", value);
        world.run().await;
        world.assert_equal();
    }
    assert_eq!(world.versions("p/a").await, 5);
}

#[tokio::test(start_paused = true)]
async fn tags_that_changed_are_written_without_a_new_version() {
    let mut world = World::new();
    world.source.write("a", "1");
    world.run().await;
    world.spec.custom_tags = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
    world.source.take_reads();
    assert_eq!(world.run().await.aspects, names(&["p/a"]));
    assert_eq!(world.source.take_reads(), 0);
    assert_eq!(world.tag("p/a", "team").await.as_deref(), Some("blue"));
    assert_eq!(world.versions("p/a").await, 1);
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn tags_that_are_wanted_no_more_go_and_those_of_others_stay() {
    let mut world = World::new();
    let tags = |tags: &[(&str, &str)]| {
        tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    world.spec.custom_tags = tags(&[("team", "blue"), ("tier", "gold"), ("mine", "ours")]);
    world.source.write("a", "1");
    world.run().await;
    world.cloud.retag("p/a", |tags| {
        tags.insert("theirs".to_owned(), "x".to_owned());
        // Somebody made this one theirs.
        tags.insert("mine".to_owned(), "theirs".to_owned());
    });
    world.source.take_reads();
    world.spec.custom_tags = tags(&[("team", "red")]);
    assert_eq!(world.run().await.aspects, names(&["p/a"]));
    let found = world.cloud.tags("p/a").await;
    assert_eq!(found.get("team").map(String::as_str), Some("red"));
    assert_eq!(found.get("theirs").map(String::as_str), Some("x"));
    assert_eq!(found.get("mine").map(String::as_str), Some("theirs"));
    assert!(!found.contains_key("tier"));
    world.settles().await;
    world.spec.custom_tags.clear();
    assert_eq!(world.run().await.aspects, names(&["p/a"]));
    let found = world.cloud.tags("p/a").await;
    assert!(!found.contains_key("team") && !found.contains_key("bailee:custom"));
    assert!(found.contains_key("theirs") && found.contains_key("mine"));
    assert_eq!((world.source.take_reads(), world.versions("p/a").await), (0, 1));
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn changes_of_others_that_stay_are_told() {
    let mut world = World::new();
    world.source.write("a", "1");
    world.source.write("b", "1");
    world.run().await;
    world.spec.drift = Drift::Report;
    world.cloud.meddle(&Call::Update {
        name: "p/a".to_owned(),
        token: "somebody's, with its 32 characters".to_owned(),
        bytes: b"x".to_vec(),
    });
    let results = world.run().await;
    assert_eq!((results.unchanged, results.updated.len()), (2, 0));
    let told = "1 secrets were changed by others and stay so, as drift = \"report\" asks: p/a";
    assert_eq!(results.notes, [told]);
    let planned = Box::pin(async { world.replication().await.plan().await }).await.unwrap();
    assert_eq!(planned.notes, [told]);
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_others_is_left_alone_unless_it_may_be_taken_over() {
    for (ownership, refused) in
        [(Ownership::Refuse, true), (Ownership::Adopt, false), (Ownership::Overwrite, false)]
    {
        let mut world = World::new();
        world.spec.ownership = ownership;
        world.cloud.meddle(&foreign("p/a", "theirs", &[]));
        world.source.write("a", "ours");
        let results = world.run().await;
        if refused {
            assert_eq!(results.failed.len(), 1);
            assert_eq!(results.failed[0].failure, Failure::NotOurs);
            assert_eq!(world.cloud.text("p/a").as_deref(), Some("theirs"));
        } else {
            assert_eq!(results.adopted, names(&["p/a"]));
            world.assert_equal();
            world.settles().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_replication_delivered_is_not_adopted() {
    let mut world = World::new();
    world.source.write("a", "1");
    world.run().await;
    world.spec.name = "second".to_owned();
    world.spec.ownership = Ownership::Adopt;
    world.source.write("a", "2");
    let results = world.run().await;
    assert_eq!(results.failed[0].failure, Failure::NotOurs);
    assert_eq!(world.cloud.text("p/a").as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_later_takes_over_what_was_marked_without_one() {
    let mut world = World::new();
    world.key = None;
    world.source.write("a", "1");
    world.run().await;
    world.settles().await;
    world.key = Some("key");
    assert_eq!(world.run().await.adopted, names(&["p/a"]));
    world.settles().await;
    // From then on the open mark says nothing.
    world.key = None;
    assert_eq!(world.run().await.failed[0].failure, Failure::NotOurs);
}

#[tokio::test(start_paused = true)]
async fn the_connection_secret_is_never_written_and_never_adopted() {
    let mut world = World::new();
    world.spec.ownership = Ownership::Overwrite;
    world.spec.adopts_sample = true;
    let connection = "p/vault-connection-secret";
    world.cloud.meddle(&foreign(connection, "connection", &[("version", "1")]));
    world.source.write("vault-connection-secret", "evil");
    let results = world.run().await;
    assert_eq!(results.failed[0].name, connection);
    assert_eq!(world.cloud.text(connection).as_deref(), Some("connection"));
    assert_eq!(world.versions(connection).await, 1);
}

#[tokio::test(start_paused = true)]
async fn two_secrets_of_one_name_are_told_apart() {
    let world = World::new();
    world.source.write("a b", "1");
    world.source.write("a-b", "2");
    let results = world.run().await;
    assert_eq!(results.created, names(&["p/a-b"]));
    assert_eq!(world.cloud.text("p/a-b").as_deref(), Some("1"));
    let failed = &results.failed[0];
    assert_eq!((failed.name.as_str(), failed.failure), ("kv/a-b", Failure::NameTaken));
    assert!(failed.message.contains("kv/a b"), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn two_runs_at_once_do_no_more_than_one() {
    let world = World::new();
    for number in 0..20 {
        world.source.write(&format!("{number}"), "1");
    }
    let twice = async || tokio::join!(world.report(), world.report());
    Box::pin(twice()).await;
    world.assert_equal();
    for number in 0..20 {
        world.source.write(&format!("{number}"), "2");
    }
    let (one, other) = Box::pin(twice()).await;
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    world.assert_equal();
    for number in 0..20 {
        assert_eq!(world.versions(&format!("p/{number}")).await, 2, "{number}");
    }
    world.settles().await;
}
