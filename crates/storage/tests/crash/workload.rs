//! What the child does until it is killed, and how its storage must look afterwards.
//!
//! Each lane commits batches one after another, each guarded by the one before. The state after
//! batch `n` of a lane is known exactly, so anything lost or torn shows.

use bailee_storage::{Backend, Batch, Expect, Write, embedded::Embedded};
use futures_util::future::join_all;
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) const LANES: u32 = 8;
/// Older pairs are deleted, so that pages are freed and used again.
const PAIRS_KEPT: u32 = 20;
/// Keeps a record small while checkpoints, which go by the clock, happen within it.
const PAUSE: Duration = Duration::from_millis(4);

/// The number of the last batch acknowledged, by lane.
pub(crate) type Acknowledged = BTreeMap<u32, u32>;

/// Commits for ever.
pub(crate) async fn run(folder: &Path, acks: &Path) {
    let storage = Arc::new(Embedded::open(folder).expect("the child opens its storage"));
    let acks = OpenOptions::new().append(true).create(true).open(acks).expect("the acks open");
    let acks = Arc::new(Mutex::new(acks));
    let lanes = (0..LANES).map(|lane| {
        let (storage, acks) = (Arc::clone(&storage), Arc::clone(&acks));
        tokio::spawn(async move { run_lane(&storage, lane, &acks).await })
    });
    for lane in join_all(lanes).await {
        lane.expect("a lane runs until the process is killed");
    }
}

async fn run_lane(storage: &Embedded, lane: u32, acks: &Mutex<File>) {
    let tip = storage.get(&tip_key(lane)).await.expect("the tip is read");
    let mut number = tip.as_ref().map_or(0, |tip| parse(&tip.bytes));
    let mut guard = match tip {
        None => Expect::Absent(tip_key(lane)),
        Some(tip) => Expect::At(tip_key(lane), tip.revision),
    };
    loop {
        number += 1;
        let batch = Batch { expects: vec![guard], writes: writes(lane, number) };
        let revision = storage.commit(&batch).await.expect("the batch lands");
        guard = Expect::At(tip_key(lane), revision);
        let mut ack = lane.to_le_bytes().to_vec();
        ack.extend(number.to_le_bytes());
        acks.lock().expect("no lane panics").write_all(&ack).expect("the ack is written");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads what the child acknowledged; an ack that is not whole was not given.
pub(crate) fn acknowledged(bytes: &[u8]) -> Acknowledged {
    let mut last = Acknowledged::new();
    for ack in bytes.as_chunks::<8>().0 {
        let [l0, l1, l2, l3, n0, n1, n2, n3] = *ack;
        last.insert(u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([n0, n1, n2, n3]));
    }
    last
}

pub(crate) fn acknowledged_in(path: &Path) -> Acknowledged {
    acknowledged(&fs::read(path).unwrap_or_default())
}

/// Opens the folder and checks that each lane is exactly as after some batch, not before the last
/// acknowledged one; then that the storage still takes writes and reads back the same once more.
pub(crate) async fn check(folder: &Path, acknowledged: &Acknowledged) -> Result<(), String> {
    for round in 0..2 {
        let storage = Embedded::open(folder).map_err(|error| format!("does not open: {error}"))?;
        for lane in 0..LANES {
            let acked = acknowledged.get(&lane).copied().unwrap_or(0);
            check_lane(&storage, lane, acked).await?;
        }
        let write = Write::Put("after".to_owned(), vec![round]);
        let batch = Batch { expects: Vec::new(), writes: vec![write] };
        storage.commit(&batch).await.map_err(|error| format!("takes no writes: {error}"))?;
        storage.close().await;
    }
    Ok(())
}

async fn check_lane(storage: &Embedded, lane: u32, acked: u32) -> Result<(), String> {
    let read = async |key: String| {
        storage.get(&key).await.map_err(|error| format!("{key} does not read: {error}"))
    };
    let last = read(tip_key(lane)).await?.map_or(0, |tip| parse(&tip.bytes));
    if last < acked {
        return Err(format!("lane {lane}: batch {acked} was acknowledged, {last} is there"));
    }
    let kept: Vec<String> =
        (first_kept(last)..=last).map(|number| format!("{number:08}")).collect();
    for side in ["left", "right"] {
        let prefix = format!("lane/{lane}/{side}/");
        let found = storage
            .list(&prefix, "", usize::MAX)
            .await
            .map_err(|error| format!("{prefix} does not list: {error}"))?;
        if found != kept {
            return Err(format!("lane {lane} at {last}: {side} has {found:?}"));
        }
        for number in first_kept(last)..=last {
            let entry = read(pair_key(lane, side, number)).await?;
            if entry.is_none_or(|entry| entry.bytes != value(lane, number)) {
                return Err(format!("lane {lane} at {last}: {side} {number} is not as written"));
            }
        }
    }
    Ok(())
}

fn writes(lane: u32, number: u32) -> Vec<Write> {
    let mut writes = vec![Write::Put(tip_key(lane), number.to_string().into_bytes())];
    for side in ["left", "right"] {
        writes.push(Write::Put(pair_key(lane, side, number), value(lane, number)));
        if number > PAIRS_KEPT {
            writes.push(Write::Delete(pair_key(lane, side, number - PAIRS_KEPT)));
        }
    }
    writes
}

fn first_kept(last: u32) -> u32 {
    (last + 1).saturating_sub(PAIRS_KEPT).max(1)
}

fn tip_key(lane: u32) -> String {
    format!("lane/{lane}/tip")
}

fn pair_key(lane: u32, side: &str, number: u32) -> String {
    format!("lane/{lane}/{side}/{number:08}")
}

/// Of many sizes, some of them over a page.
fn value(lane: u32, number: u32) -> Vec<u8> {
    let size = match number % 16 {
        0 => 9000,
        some => 100 + some * 61,
    };
    (0..size)
        .map(|at| (at.wrapping_mul(31) ^ lane.wrapping_mul(97) ^ number).to_le_bytes()[0])
        .collect()
}

fn parse(bytes: &[u8]) -> u32 {
    String::from_utf8_lossy(bytes).parse().expect("a tip is a number")
}
