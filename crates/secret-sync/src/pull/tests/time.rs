//! Runs whose time is over in the middle.

use super::world::World;
use crate::pull::report::{Outcome, Results, Stage};
use std::time::Duration;
use tokio::time::Instant;

async fn cut(world: &World, after: Duration) -> Results {
    let ends = Instant::now() + after;
    let replication = world.replication().await;
    let report = Box::pin(replication.run_until(Some(ends))).await;
    assert!(Instant::now() <= ends + Duration::from_secs(5), "it goes on for too long");
    match report.outcome {
        Outcome::Done(results) => results,
        Outcome::NotBegun(failure) => panic!("{failure}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_time_is_over_tells_what_it_did_and_what_it_did_not() {
    let world = World::new();
    for number in 0..200 {
        world.source.write(&format!("{number:03}"), "1");
    }
    world.cloud.set_latency(Duration::from_millis(800));
    let results = cut(&world, Duration::from_secs(3)).await;
    let (done, left) = (results.created.len(), results.not_done.len());
    assert!(done > 16 && left > 100, "{done} {left}");
    assert_eq!((done + left, results.failed.len()), (200, 0));
    assert!(!results.is_whole());
    // What is told as done is there, and nothing of the rest was begun.
    let there = world.cloud.names();
    assert_eq!(there, results.created);
    world.cloud.set_latency(Duration::ZERO);
    let rest = Box::pin(world.run()).await;
    assert_eq!(rest.created, results.not_done);
    world.assert_equal();
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn what_answers_too_late_is_not_told_as_done_and_costs_no_second_version() {
    let world = World::new();
    for number in 0..8 {
        world.source.write(&format!("{number}"), "1");
    }
    world.cloud.set_latency(Duration::from_secs(30));
    let results = cut(&world, Duration::from_secs(3)).await;
    assert_eq!((results.created.len(), results.not_done.len()), (0, 8));
    tokio::time::advance(Duration::from_secs(60)).await;
    world.cloud.set_latency(Duration::ZERO);
    assert!(Box::pin(world.run()).await.is_whole());
    world.assert_equal();
    for number in 0..8 {
        assert_eq!(world.versions(&format!("p/{number}")).await, 1);
    }
    world.settles().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_time_is_over_while_it_looks_has_changed_nothing() {
    let world = World::new();
    world.source.write("a", "1");
    world.cloud.set_survey_latency(Duration::from_secs(30));
    let ends = Instant::now() + Duration::from_secs(1);
    let replication = world.replication().await;
    let report = Box::pin(replication.run_until(Some(ends))).await;
    let Outcome::NotBegun(failure) = &report.outcome else { panic!("it ran") };
    assert!(failure.stage == Stage::Time && report.is_cut_off(), "{failure}");
    assert!(report.notice_as_sample().unwrap().contains("was cut off: the time was over before"));
    assert_eq!(world.cloud.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_in_time_is_as_any_other() {
    let world = World::new();
    world.source.write("a", "1");
    let results = cut(&world, Duration::from_secs(60)).await;
    assert!(results.is_whole() && results.created.len() == 1);
}
