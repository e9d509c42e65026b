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
use futures_util::{StreamExt, future, stream::FuturesUnordered};
use serde_json::Map;
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Mounts that are worked on at once.
const LANES_MAX: usize = 64;
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

impl LeaseStore {
    /// Revokes what is due, until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut busy = HashSet::new();
        let mut lanes = FuturesUnordered::new();
        loop {
            let now = self.clock.now();
            let mut pause = LOOK_MAX;
            match self.due(now).await {
                Ok(due) => {
                    let next = due.next.map(from_millis);
                    let left = next.and_then(|next| next.duration_since(now).ok());
                    pause = left.unwrap_or(LOOK_MAX);
                    for lane in due.lanes {
                        if lanes.len() >= LANES_MAX {
                            pause = LOOK_MIN;
                        } else if busy.insert(lane.mount.clone()) {
                            lanes.push(self.drain_as(lane, now));
                        }
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
                        busy.remove(&mount);
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
        let lanes = due.lanes.into_iter().map(|lane| async move { self.drain(&lane, now).await });
        let outcomes = future::join_all(lanes).await;
        outcomes.into_iter().collect::<Result<Vec<()>, Error>>()?;
        Ok(self.due(now).await?.next.map(from_millis))
    }

    async fn drain_as(&self, lane: Lane, now: SystemTime) -> (String, Result<(), Error>) {
        let outcome = self.drain(&lane, now).await;
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

    /// Revokes what of a mount is due by `now`, some at once, until nothing is or the engine refuses.
    pub(super) async fn drain(&self, lane: &Lane, now: SystemTime) -> Result<(), Error> {
        let view = self.barrier.view(&place(&lane.namespace.id));
        loop {
            if self.paces.paused(&lane.mount, self.clock.now()).is_some() {
                return Ok(());
            }
            let width = self.paces.width(&lane.mount);
            let names = view.list(&format!("due/{}/", lane.mount), "", width).await?;
            let due = names.iter().filter_map(|name| parse_due(name));
            let due = due.take_while(|(time, _)| *time <= to_millis(now));
            let found: Vec<(u64, Found)> =
                due.map(|(time, code)| (time, lane.lease(code))).collect();
            if found.is_empty() {
                return Ok(());
            }
            let work = found.iter().map(|(time, at)| self.settle(at, *time));
            let outcomes = future::join_all(work).await;
            let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, Error>>()?;
            let went_well = outcomes.iter().filter(|failure| failure.is_none()).count();
            let mut failures = outcomes.iter().flatten();
            let refused = failures.any(|error| error.code == Code::RateLimited);
            if refused || went_well == 0 {
                self.paces.refused(&lane.mount, went_well > 0, self.clock.now());
            } else if went_well == found.len() {
                self.paces.went_well(&lane.mount);
            }
        }
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
