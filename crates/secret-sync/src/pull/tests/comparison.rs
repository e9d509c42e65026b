//! How changes are seen.

use super::world::{World, names};
use crate::{
    failure::Failure,
    pull::{
        forecast::Action,
        report::{Outcome, Stage},
        spec::Compare,
    },
};

#[tokio::test(start_paused = true)]
async fn a_new_version_with_the_same_value_is_read_and_not_written() {
    let mut world = World::new();
    world.spec.compare = Compare::Hash;
    world.source.write("a", "1");
    world.run().await;
    world.settles().await;
    world.source.write("a", "1");
    let results = world.run().await;
    assert_eq!((results.aspects, results.updated.len()), (names(&["p/a"]), 0));
    assert_eq!(world.source.take_reads(), 1);
    assert_eq!(world.versions("p/a").await, 1);
    assert_eq!(world.tag("p/a", "version").await.as_deref(), Some("2"));
    world.settles().await;
    world.source.write("a", "2");
    assert_eq!(world.run().await.updated, names(&["p/a"]));
    world.assert_equal();
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_reads_what_may_be_equal_and_says_what_a_run_does() {
    let mut world = World::new();
    world.spec.compare = Compare::Hash;
    world.source.write("equal", "1");
    world.source.write("other", "1");
    world.run().await;
    world.source.write("equal", "1");
    world.source.write("other", "2");
    let attempts = world.cloud.attempts();
    let planned = Box::pin(async { world.replication().await.plan().await }).await.unwrap();
    let rows: Vec<_> = planned.rows.iter().map(|row| (row.name.as_str(), row.action)).collect();
    assert_eq!(rows, [("p/equal", Action::Retag), ("p/other", Action::Update)]);
    assert_eq!(world.cloud.attempts(), attempts);
    let results = world.run().await;
    assert_eq!((results.aspects, results.updated), (names(&["p/equal"]), names(&["p/other"])));
}

#[tokio::test(start_paused = true)]
async fn a_source_without_versions_is_compared_by_digest() {
    let world = World::new();
    world.source.forget_versions();
    world.source.write("a", "1");
    world.source.write("b", "1");
    assert_eq!(world.run().await.created, names(&["p/a", "p/b"]));
    assert_eq!(world.tag("p/a", "version").await, None);
    // Equal values have different digests, so that nobody learns from tags that they are equal.
    assert_ne!(
        world.tag("p/a", "bailee:source").await.unwrap(),
        world.tag("p/b", "bailee:source").await.unwrap()
    );
    let attempts = world.cloud.attempts();
    assert_eq!(world.run().await.unchanged, 2);
    assert_eq!(world.cloud.attempts(), attempts);
    for value in ["2", "1", "2"] {
        world.source.write("a", value);
        assert_eq!(world.run().await.updated, names(&["p/a"]));
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_destination_shows_nothing_no_value_is_read() {
    let world = World::new();
    world.source.forget_versions();
    world.source.write("a", "1");
    world.cloud.forbid("Survey");
    let Outcome::NotBegun(failure) = world.report().await.outcome else { panic!("it ran") };
    assert_eq!((failure.stage, failure.failure), (Stage::Destination, Failure::Forbidden));
    assert_eq!(world.source.take_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn digests_need_a_key() {
    for versionless in [true, false] {
        let mut world = World::new();
        world.key = None;
        world.source.write("a", "1");
        if versionless {
            world.source.forget_versions();
        } else {
            world.spec.compare = Compare::Hash;
        }
        let Outcome::NotBegun(failure) = world.report().await.outcome else { panic!("it ran") };
        assert_eq!((failure.stage, failure.failure), (Stage::Configuration, Failure::Invalid));
        assert!(failure.message.contains("contentHashKey"), "{failure}");
        assert_eq!(world.cloud.attempts(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_way_of_comparing_can_be_changed() {
    let mut world = World::new();
    world.source.write("a", "1");
    world.run().await;
    for compare in [Compare::Updated, Compare::Hash, Compare::Version] {
        world.spec.compare = compare;
        world.run().await;
        world.assert_equal();
        world.settles().await;
    }
}
