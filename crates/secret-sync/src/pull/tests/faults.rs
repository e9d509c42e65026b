//! What goes wrong in the middle is right after the next run, and told.

use super::world::{LAG, World, down, names};
use crate::{
    failure::{Error, Failure},
    pull::report::{Outcome, Stage},
    testing::Fault,
};

async fn world(count: usize) -> World {
    let world = World::new();
    for number in 0..count {
        world.source.write(&format!("{number:02}"), "1");
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_sealed_in_the_middle_stops_the_run_and_the_next_goes_on() {
    let world = world(40).await;
    world.source.fail_reading_after(10, down());
    let results = world.run().await;
    assert_eq!((results.created.len(), results.failed.len()), (10, 30));
    let told = &results.failed[29].message;
    assert!(told.contains("the server is sealed"), "{told}");
    // Once it is known, nobody keeps asking.
    assert!(world.source.take_reads() <= 10 + 16);
    world.source.heal();
    assert_eq!(world.run().await.created.len(), 30);
    world.assert_equal();
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_secret_keeps_no_other_back_and_a_source_that_breaks_everywhere_is_left() {
    for versionless in [false, true] {
        let world = world(100).await;
        if versionless {
            world.source.forget_versions();
        }
        world.source.break_at("00");
        let results = world.run().await;
        assert_eq!((results.created.len(), results.failed.len()), (99, 1));
        assert!(results.failed[0].name.ends_with("/00"), "{results:?}");
        world.source.heal();
        for number in 0..100 {
            world.source.write(&format!("{number:02}"), "2");
            world.source.break_at(&format!("{number:02}"));
        }
        world.source.take_reads();
        assert!(!world.report().await.is_ok());
        assert!(world.source.take_reads() < 60);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ended_in_the_middle_is_told_as_that() {
    let world = world(3).await;
    let error = Error::new(Failure::Unauthenticated, "login: it has expired");
    world.source.fail_reading_after(1, error);
    let results = world.run().await;
    assert_eq!(results.failed[0].failure, Failure::Unauthenticated);
    world.source.heal();
    world.run().await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_listed_changes_nothing() {
    let world = world(3).await;
    world.run().await;
    world.source.fail_listing(Some(down()));
    let Outcome::NotBegun(failure) = world.report().await.outcome else { panic!("it ran") };
    assert_eq!((failure.stage, failure.failure), (Stage::Source, Failure::Unavailable));
    world.source.heal();
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn throttling_slows_down_and_loses_nothing() {
    let world = world(60).await;
    let throttled = || Fault::Refuse(Error::new(Failure::Throttled, "slow down"));
    world.cloud.fail((0..40).map(|_| throttled()));
    let results = world.run().await;
    assert_eq!((results.created.len(), results.failed.len()), (60, 0));
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn replies_that_are_lost_make_no_second_version() {
    let world = world(30).await;
    world.cloud.fail((0..20).map(|_| Fault::LoseReply));
    assert_eq!(world.run().await.failed, []);
    for number in 0..30 {
        world.source.write(&format!("{number:02}"), "2");
    }
    world.cloud.fail((0..20).map(|_| Fault::LoseReply));
    assert_eq!(world.run().await.failed, []);
    world.assert_equal();
    for number in 0..30 {
        assert_eq!(world.versions(&format!("p/{number:02}")).await, 2, "{number}");
    }
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lags_behind_costs_no_version() {
    let world = world(5).await;
    world.cloud.set_lag(LAG);
    for value in ["1", "2"] {
        if value == "2" {
            tokio::time::advance(LAG * 2).await;
            for number in 0..5 {
                world.source.write(&format!("{number:02}"), value);
            }
        }
        for _ in 0..3 {
            let results = world.run().await;
            assert_eq!(results.failed, []);
            world.assert_equal();
        }
    }
    for number in 0..5 {
        assert_eq!(world.versions(&format!("p/{number:02}")).await, 2, "{number}");
    }
    tokio::time::advance(LAG * 2).await;
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_too_large_is_told_and_the_others_arrive() {
    let world = world(2).await;
    world.source.write("large", &"x".repeat(65_537));
    world.source.write("fits", &"x".repeat(65_536));
    let results = world.run().await;
    assert_eq!(results.created, names(&["p/00", "p/01", "p/fits"]));
    assert_eq!(results.failed.len(), 1);
    let failed = &results.failed[0];
    assert_eq!((failed.name.as_str(), failed.failure), ("p/large", Failure::TooLarge));
    assert!(failed.message.contains("65537"), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_killed_at_any_moment_is_finished_by_the_next() {
    // Each step of the way takes a second, so that a run can be cut off between any two of them.
    for seconds in 0..8 {
        let world = world(6).await;
        world.run().await;
        world.cloud.set_latency(std::time::Duration::from_millis(900));
        for number in 0..6 {
            world.source.write(&format!("{number:02}"), "2");
        }
        let killed = std::time::Duration::from_millis(seconds * 300);
        tokio::time::timeout(killed, world.report()).await.ok();
        world.cloud.set_latency(std::time::Duration::ZERO);
        assert_eq!(world.run().await.failed, []);
        world.assert_equal();
        for number in 0..6 {
            assert_eq!(world.versions(&format!("p/{number:02}")).await, 2, "{number}");
        }
        world.settles().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_run_of_ten_thousand_uses_the_budget_of_aws_whole() {
    let world = World::new();
    for number in 0..10_000 {
        world.source.write(&format!("{number:05}"), "1");
    }
    world.cloud.set_latency(std::time::Duration::from_millis(80));
    let start = tokio::time::Instant::now();
    assert_eq!(world.run().await.created.len(), 10_000);
    // Fifty a second.
    let took = start.elapsed().as_secs_f64();
    assert!((198.0..210.0).contains(&took), "{took}");
}
