//! The embedded engine when its process is killed, the power fails, or the disk does.
//!
//! The power cut is a model: what was flushed stays; of what was not, any sectors may. Files that
//! were made are there after their folder was flushed.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "code of tests")]

mod chance;
mod child;
mod replay;
mod workload;

use chance::Chance;
use child::{Place, Role};
use replay::{Disk, Event, Fate};
use std::{fs, process::Child, thread, time::Duration};

const KILLS: usize = 6;
const POWER_CUTS: usize = if cfg!(feature = "slow-tests") { 1500 } else { 40 };
const FATES: [Fate; 6] =
    [Fate::Random, Fate::None, Fate::Random, Fate::InOrder, Fate::All, Fate::Random];

/// Does nothing by itself: the other tests run this binary again with a role in its environment.
#[test]
fn the_child_of_the_other_tests() {
    child::main();
}

#[test]
fn acknowledged_batches_survive_sigkill_whole() {
    let place = Place::new();
    let mut chance = Chance(0x5161_1ed0);
    let mut acks = 0;
    for round in 0..KILLS {
        acks += 1 + chance.below(400);
        let child = place.start(Role::Commit);
        kill_after(child, &place, acks);
        let acknowledged = workload::acknowledged_in(&place.acks());
        let outcome = runtime().block_on(workload::check(&place.data(), &acknowledged));
        assert_eq!(outcome, Ok(()), "round {round}");
    }
}

#[test]
fn acknowledged_batches_survive_power_cuts_whole() {
    let place = Place::new();
    let child = place.start_recorded(Role::Commit);
    kill_after(child, &place, 1600);
    let record = fs::read(place.trace()).expect("the record is there");
    let events = replay::events(&record);
    let first_ack = events
        .iter()
        .position(|event| matches!(event, Event::Acknowledged(_)))
        .expect("something was acknowledged");
    assert_holds_checkpoints(&events);

    let mut chance = Chance(0x9053_e120);
    // Before the first ack as well: a half-made storage must open too.
    let mut cuts: Vec<usize> = (0..POWER_CUTS)
        .map(|number| match number % 8 {
            0 => chance.below(first_ack),
            _ => first_ack + chance.below(events.len() - first_ack),
        })
        .collect();
    cuts.sort_unstable();
    let (mut disk, mut played) = (Disk::default(), 0);
    for (number, cut) in cuts.into_iter().enumerate() {
        events[played..cut].iter().for_each(|event| disk.play(event));
        played = cut;
        let fate = FATES[number % FATES.len()];
        let folder = tempfile::tempdir().expect("a temporary folder");
        disk.cut(fate, &mut chance, folder.path());
        let acknowledged = workload::acknowledged(&disk.acks);
        let outcome = runtime().block_on(workload::check(folder.path(), &acknowledged));
        assert_eq!(outcome, Ok(()), "cut before event {cut} of {}, {fate:?}", events.len());
    }
}

#[test]
fn the_replay_sees_when_acknowledged_bytes_were_not_flushed() {
    let place = Place::new();
    let child = place.start_recorded(Role::Commit);
    kill_after(child, &place, 100);
    let record = fs::read(place.trace()).expect("the record is there");
    // As if the storage never flushed its log after the first ack.
    let mut events = replay::events(&record);
    let mut acked = false;
    events.retain(|event| {
        acked |= matches!(event, Event::Acknowledged(_));
        !(acked && matches!(event, Event::Flushed { .. }))
    });
    let mut disk = Disk::default();
    events.iter().for_each(|event| disk.play(event));
    let folder = tempfile::tempdir().expect("a temporary folder");
    disk.cut(Fate::None, &mut Chance(1), folder.path());
    let acknowledged = workload::acknowledged(&disk.acks);
    let outcome = runtime().block_on(workload::check(folder.path(), &acknowledged));
    assert!(outcome.is_err_and(|what| what.contains("was acknowledged")));
}

#[test]
fn after_a_failed_flush_no_write_is_taken_until_reopened_and_then_all_is_durable() {
    let place = place_after(Role::FailedFlush);
    let events = replay::events(&fs::read(place.trace()).expect("the record is there"));
    let (mut disk, mut chance, mut failed) = (Disk::default(), Chance(0xf5c6_a7e0), false);
    for (number, event) in events.iter().enumerate() {
        disk.play(event);
        failed |= matches!(event, Event::FlushFailed { .. });
        if failed {
            let folder = tempfile::tempdir().expect("a temporary folder");
            disk.cut(FATES[number % FATES.len()], &mut chance, folder.path());
            runtime().block_on(child::check_after_failed_flush(folder.path(), &disk.acks));
        }
    }
    assert!(failed, "a failed flush is in the record");
    assert_eq!(disk.acks, b"12");
}

#[test]
fn a_full_disk_refuses_writes_and_recovers() {
    place_after(Role::FullDisk);
}

/// Lets a child that is not killed come to its end.
fn place_after(role: Role) -> Place {
    let place = Place::new();
    place.wait_until_done(place.start_recorded(role));
    place
}

/// A record without writes to the database itself would leave half of the engine untested.
fn assert_holds_checkpoints(events: &[Event]) {
    let database = events.iter().find_map(|event| match event {
        Event::Name { file, path } if path.ends_with("bailee.db") => Some(*file),
        _ => None,
    });
    let flushes = events
        .iter()
        .filter(|event| matches!(event, Event::Flushed { file } if Some(*file) == database))
        .count();
    assert!(flushes > 4, "{flushes} flushes of the database are recorded");
}

/// Kills the child as soon as it has acknowledged so many batches.
fn kill_after(mut child: Child, place: &Place, acks: usize) {
    let given = || fs::metadata(place.acks()).map_or(0, |about| about.len() / 8);
    while given() < u64::try_from(acks).expect("few") {
        if let Some(status) = child.try_wait().expect("the child can be asked") {
            panic!("the child ended by itself: {status}");
        }
        thread::sleep(Duration::from_micros(300));
    }
    child.kill().expect("the child can be killed");
    child.wait().expect("the child ends");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
