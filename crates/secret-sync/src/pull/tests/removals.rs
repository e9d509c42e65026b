//! What becomes of secrets that the source has no more.

use super::world::{World, foreign, names};
use crate::{
    failure::Failure,
    pull::{
        report::{Outcome, Stage},
        spec::Removals,
    },
};

async fn world(removals: Removals) -> World {
    let mut world = World::new();
    world.spec.removals = removals;
    world.spec.deletion_share_max = 0.5;
    for path in ["a", "b", "c", "d"] {
        world.source.write(path, "1");
    }
    // Somebody else's, below the same prefix.
    world.cloud.meddle(&foreign("p/theirs", "x", &[("version", "1")]));
    world.run().await;
    world
}

#[tokio::test(start_paused = true)]
async fn kept_secrets_stay_as_they_are() {
    let world = world(Removals::Keep).await;
    world.source.remove("a");
    world.settles().await;
    assert!(world.cloud.text("p/a").is_some());
}

#[tokio::test(start_paused = true)]
async fn orphans_are_tagged_once_and_are_none_when_their_source_comes_back() {
    let world = world(Removals::Orphan).await;
    world.source.remove("a");
    world.source.delete("b");
    assert_eq!(world.run().await.orphaned, names(&["p/a", "p/b"]));
    assert_eq!(world.tag("p/a", "bailee:orphan").await.as_deref(), Some("2027-01-15"));
    assert_eq!(world.cloud.text("p/a").as_deref(), Some("1"));
    world.settles().await;
    world.source.write("a", "2");
    assert_eq!(world.run().await.updated, names(&["p/a"]));
    assert_eq!(world.tag("p/a", "bailee:orphan").await, None);
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn scheduled_deletions_are_taken_back_when_their_source_comes_back() {
    let world = world(Removals::Schedule { days: 7 }).await;
    world.source.remove("a");
    assert_eq!(world.run().await.scheduled, names(&["p/a"]));
    assert_eq!(world.cloud.text("p/a"), None);
    world.settles().await;
    world.source.write("a", "again");
    let results = world.run().await;
    assert_eq!((results.updated, results.failed), (names(&["p/a"]), Vec::new()));
    assert_eq!(world.cloud.text("p/a").as_deref(), Some("again"));
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn deleted_is_what_is_ours_and_nothing_else() {
    let world = world(Removals::Delete).await;
    world.source.remove("a");
    world.source.delete("b");
    assert_eq!(world.run().await.deleted, names(&["p/a", "p/b"]));
    assert_eq!(world.cloud.names(), names(&["p/c", "p/d", "p/theirs"]));
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_would_remove_too_much_changes_nothing() {
    for removals in [Removals::Delete, Removals::Schedule { days: 30 }, Removals::Orphan] {
        let mut world = world(removals).await;
        for path in ["a", "b", "c"] {
            world.source.remove(path);
        }
        world.source.write("d", "2");
        let attempts = world.cloud.attempts();
        let Outcome::NotBegun(failure) = world.report().await.outcome else { panic!("it ran") };
        assert_eq!((failure.stage, failure.failure), (Stage::Guard, Failure::Invalid));
        assert!(failure.message.contains("3 of 4"), "{failure}");
        assert_eq!(world.cloud.attempts(), attempts);
        assert!(world.replication().await.plan().await.is_err());
        world.spec.deletion_share_max = 1.0;
        assert_eq!(world.run().await.updated, names(&["p/d"]));
        world.settles().await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_nothing_may_be_removed_not_even_one_is() {
    let mut world = world(Removals::Delete).await;
    world.spec.deletion_share_max = 0.0;
    world.source.remove("a");
    let Outcome::NotBegun(failure) = world.report().await.outcome else { panic!("it ran") };
    assert_eq!(failure.stage, Stage::Guard);
    // Of a few, one may go, however small its share.
    world.spec.deletion_share_max = 0.1;
    assert_eq!(world.run().await.deleted, names(&["p/a"]));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_shows_nothing_at_all_is_not_believed() {
    let mut world = World::new();
    world.spec.removals = Removals::Delete;
    world.source.write("a", "1");
    world.run().await;
    world.source.remove("a");
    let Outcome::NotBegun(failure) = world.report().await.outcome else { panic!("it ran") };
    assert_eq!(failure.stage, Stage::Guard);
}

#[tokio::test(start_paused = true)]
async fn where_a_part_of_the_source_is_hidden_nothing_is_taken_for_gone() {
    let world = world(Removals::Delete).await;
    world.source.remove("a");
    world.source.delete("b");
    world.source.deny("kv/team/");
    let results = world.run().await;
    // That one is known to have no live version.
    assert_eq!(results.deleted, names(&["p/b"]));
    assert_eq!(results.failed[0].name, "kv/team/");
    assert_eq!(results.notes.len(), 1);
    world.source.heal();
    assert_eq!(world.run().await.deleted, names(&["p/a"]));
}

#[tokio::test(start_paused = true)]
async fn what_a_stale_list_shows_is_looked_at_before_it_goes() {
    let world = world(Removals::Delete).await;
    world.cloud.set_lag(super::world::LAG);
    world.source.remove("a");
    // Somebody takes it over meanwhile.
    world.cloud.retag("p/a", |tags| {
        tags.remove(crate::tags::MARK_TAG);
    });
    let results = world.run().await;
    assert_eq!((results.deleted.len(), results.failed.len()), (0, 0));
    assert_eq!(world.cloud.text("p/a").as_deref(), Some("1"));
}
