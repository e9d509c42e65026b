//! What is due is revoked, each mount in a lane of its own: one that is slow, or refuses, holds up no
//! other.

use super::{
    record::{Record, due_key, id_key, parse_due, place},
    revoke::Failing,
    store::{Found, LeaseStore, Stored},
};
use crate::{audit::system_trace, event, handle};
use bailee_crypto::{
    clock::{from_millis, to_millis},
    random,
};
use bailee_sdk::{Code, Error, Namespace};
#[cfg(test)]
use futures_util::future;
use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use serde_json::Map;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// Mounts that are worked on at once.
const LANES_MAX: usize = 64;
/// How long a mount may hold its place while others wait for one.
const TURN: Duration = Duration::from_secs(30);
/// Leases that are looked up ahead of those under way.
const AHEAD: usize = 32;
/// Mounts of a namespace that are read at once.
const MOUNTS_AT_ONCE: usize = 256;
/// Longest time between two looks at what is due.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// Shortest time between two looks.
const LOOK_MIN: Duration = Duration::from_secs(1);

/// Who revokes what is due, in lines of audit.
const CALLER: &str = "leases";

/// The leases of one mount.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) mount: String,
}

/// What became of some leases of a mount.
#[derive(Debug, Default)]
struct Round {
    well: usize,
    failed: usize,
    /// The engine has more than enough to do.
    refused: bool,
}

/// What there is to do.
#[derive(Debug, Default)]
struct Due {
    lanes: Vec<Lane>,
    /// When something is due next, in milliseconds since 1970.
    next: Option<u64>,
}

impl Due {
    fn later(&mut self, due: u64) {
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }
}

/// Mounts that some lane works on.
#[derive(Debug, Default)]
pub(super) struct Busy(Mutex<HashSet<String>>);

/// Holds a mount until it is dropped.
struct Held<'a> {
    busy: &'a Busy,
    mount: &'a str,
}

impl Busy {
    /// Takes a mount, unless someone has it.
    fn hold<'a>(&'a self, mount: &'a str) -> Option<Held<'a>> {
        let is_free = self.0.lock().insert(mount.to_owned());
        is_free.then(|| Held { busy: self, mount })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.busy.0.lock().remove(self.mount);
    }
}

impl LeaseStore {
    /// Revokes what is due, until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut lanes = FuturesUnordered::new();
        let mut under_way = HashSet::new();
        // When each mount had its last turn: those that waited longest come first.
        let (mut turn, mut turns) = (0u64, HashMap::new());
        loop {
            let now = self.clock.now();
            let mut pause = LOOK_MAX;
            match self.due(now).await {
                Ok(mut due) => {
                    let next = due.next.map(from_millis);
                    let left = next.and_then(|next| next.duration_since(now).ok());
                    pause = left.unwrap_or(LOOK_MAX);
                    let waits = |lane: &Lane| !under_way.contains(&lane.mount);
                    due.lanes.retain(waits);
                    turns.retain(|mount, _| due.lanes.iter().any(|lane| lane.mount == *mount));
                    due.lanes.sort_by_key(|lane| turns.get(&lane.mount).copied());
                    for lane in due.lanes {
                        if lanes.len() >= LANES_MAX {
                            pause = LOOK_MIN;
                            break;
                        }
                        under_way.insert(lane.mount.clone());
                        lanes.push(self.drain_as(lane));
                    }
                }
                Err(error) => event::pass_failed("look at leases that end", &error),
            }
            let look = async {
                // However often it is woken, storage is not searched all the time.
                tokio::time::sleep(LOOK_MIN).await;
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(pause.min(LOOK_MAX).saturating_sub(LOOK_MIN)) => {}
                    () = self.wake.notified() => {}
                }
            };
            tokio::pin!(look);
            loop {
                tokio::select! {
                    // What is finished makes room for the next look.
                    biased;
                    Some((mount, outcome)) = lanes.next(), if !lanes.is_empty() => {
                        let (mount, outcome): (String, Result<(), Error>) = (mount, outcome);
                        under_way.remove(&mount);
                        turn += 1;
                        turns.insert(mount, turn);
                        // What else there is to do may be due at any time.
                        self.wake.notify_one();
                        if let Err(error) = outcome {
                            event::pass_failed("revocation of leases", &error);
                        }
                    }
                    () = &mut look => break,
                }
            }
        }
    }

    /// One pass over all that is due by `now`. Returns when something is due next.
    #[cfg(test)]
    pub(crate) async fn pass(&self, now: SystemTime) -> Result<Option<SystemTime>, Error> {
        let due = self.due(now).await?;
        let end = Instant::now() + LOOK_MAX;
        let lanes = due.lanes.iter().map(|lane| self.drain(lane, end));
        let outcomes = future::join_all(lanes).await;
        outcomes.into_iter().collect::<Result<(), Error>>()?;
        Ok(self.due(now).await?.next.map(from_millis))
    }

    async fn drain_as(&self, lane: Lane) -> (String, Result<(), Error>) {
        let outcome = self.drain(&lane, Instant::now() + TURN).await;
        (lane.mount, outcome)
    }

    /// The lanes in which something is due by `now`.
    async fn due(&self, now: SystemTime) -> Result<Due, Error> {
        let mut due = Due::default();
        let places = self.registry.places();
        for at in places.iter() {
            let view = self.barrier.view(&place(&at.namespace.id));
            let mut after = String::new();
            loop {
                let mounts = view.list("due/", &after, MOUNTS_AT_ONCE).await?;
                for name in &mounts {
                    let first = view.list(&format!("due/{name}"), "", 1).await?;
                    let first = first.first().and_then(|name| parse_due(name));
                    let Some((time, _)) = first else { continue };
                    let mount = name.trim_end_matches('/').to_owned();
                    match self.paces.paused(&mount, now) {
                        Some(until) => due.later(to_millis(until)),
                        None if time > to_millis(now) => due.later(time),
                        None => {
                            due.lanes.push(Lane { namespace: at.namespace.clone(), mount });
                        }
                    }
                }
                match mounts.last() {
                    Some(last) if mounts.len() == MOUNTS_AT_ONCE => after.clone_from(last),
                    _ => break,
                }
            }
        }
        Ok(due)
    }

    /// Revokes what of a mount is due, some at once, until nothing is, the engine refuses, or nothing
    /// more is to be begun. Who finds someone else at it leaves it to them.
    pub(super) async fn drain(&self, lane: &Lane, end: Instant) -> Result<(), Error> {
        let Some(_held) = self.busy.hold(&lane.mount) else { return Ok(()) };
        while Instant::now() < end {
            if self.paces.paused(&lane.mount, self.clock.now()).is_some() {
                break;
            }
            let round = self.round(lane, end).await?;
            if round.refused || round.failed > 0 && round.well == 0 {
                self.paces.refused(&lane.mount, round.well > 0, self.clock.now());
            } else if round.well + round.failed == 0 {
                break;
            }
        }
        Ok(())
    }

    /// As many at once as the engine keeps up with, each followed by the next, until no more are to be
    /// begun.
    async fn round(&self, lane: &Lane, end: Instant) -> Result<Round, Error> {
        let view = self.barrier.view(&place(&lane.namespace.id));
        let folder = format!("due/{}/", lane.mount);
        let mut round = Round::default();
        let (mut work, mut begun) = (FuturesUnordered::new(), HashSet::new());
        let mut ahead: VecDeque<(u64, String)> = VecDeque::new();
        let mut failure = None;
        loop {
            while failure.is_none() && !round.refused && Instant::now() < end {
                let width = self.paces.width(&lane.mount);
                if work.len() >= width || round.well == 0 && round.failed >= width {
                    break;
                }
                if ahead.is_empty() {
                    // Those under way stand first until they are done.
                    let names = view.list(&folder, "", begun.len() + AHEAD).await?;
                    let now = to_millis(self.clock.now());
                    let due = names.iter().filter_map(|name| parse_due(name));
                    let due = due.take_while(|(time, _)| *time <= now);
                    let due = due.map(|(time, code)| (time, code.to_owned()));
                    ahead.extend(due.filter(|entry| !begun.contains(entry)));
                }
                let Some((time, code)) = ahead.pop_front() else { break };
                begun.insert((time, code.clone()));
                work.push(async move {
                    let outcome = self.settle(&lane.lease(&code), time).await;
                    ((time, code), outcome)
                });
            }
            let Some((entry, outcome)) = work.next().await else { break };
            begun.remove(&entry);
            match outcome {
                Ok(None) => {
                    round.well += 1;
                    self.paces.went_well(&lane.mount);
                }
                Ok(Some(error)) => {
                    round.failed += 1;
                    round.refused |= error.code == Code::RateLimited;
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(round), Err)
    }

    /// Does what an entry of the order asks for; the engine's failure, if it failed.
    async fn settle(&self, at: &Found, time: u64) -> Result<Option<Error>, Error> {
        let view = self.barrier.view(&place(&at.namespace.id));
        let stored = self.read(&view, &at.namespace, &at.code).await?;
        if let Some(Stored { record, .. }) = stored.as_ref().filter(|it| it.record.due == time) {
            self.note_end(at, record).await;
            return self.revoke(at, Failing::Keeps).await;
        }
        // Another entry counts, or none. Should the lease change meanwhile, this one stays.
        match stored.map(|stored| stored.revision) {
            Some(Some(revision)) => view.expect(&id_key(&at.code), revision),
            Some(None) => {}
            None => view.expect_absent(&id_key(&at.code)),
        }
        view.delete(&due_key(&at.mount, time, &at.code));
        match view.commit().await {
            Ok(_) | Err(bailee_barrier::Error::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl LeaseStore {
    /// A line of audit before the system itself takes something back. What was given out ends also
    /// when no device can write: the broker has said so in the log.
    async fn note_end(&self, at: &Found, record: &Record) {
        let path = format!("{}{}", record.mount_path, record.path);
        let id = random::uuid().to_string();
        let call = handle::system_call(id, &at.namespace.path, &path, Map::new());
        let trace = system_trace(CALLER, &at.namespace, &call, self.clock.now());
        let mut detail = Map::new();
        detail.insert("lease_id".to_owned(), record.id(&at.namespace).into());
        self.audit.effect(&trace, &call, "revoke", &detail).await.ok();
    }
}

impl Lane {
    fn lease(&self, code: &str) -> Found {
        Found {
            namespace: self.namespace.clone(),
            mount: self.mount.clone(),
            code: code.to_owned(),
        }
    }
}
