//! One secret as it is kept.

use super::{Key, Patience, place::jittered};
use crate::{failure::Failure, manager::Fetched};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A secret that is kept.
#[derive(Debug)]
pub struct Held {
    /// As it was fetched.
    pub fetched: Fetched,
    /// When it was fetched, or found unchanged.
    pub at: SystemTime,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) key: Key,
    /// Held by the one who fetches.
    pub(crate) fetching: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Arc<Held>>,
    /// Until when what is held is fresh.
    fresh_until: Option<SystemTime>,
    /// When it is fetched ahead of that.
    refresh_at: Option<SystemTime>,
    failed: Option<(SystemTime, Failure)>,
    pinned: bool,
    /// Whether somebody asked for it since it was fetched.
    used: bool,
}

impl State {
    /// Says how long a value serves from now on, and when it is fetched again ahead of that, so that nobody
    /// waits. A lease is renewed when two thirds of it are over.
    fn schedule(&mut self, fetched: &Fetched, now: SystemTime, patience: &Patience) {
        let (serves, ahead) = match &fetched.lease {
            Some(lease) if !lease.duration.is_zero() => {
                (lease.duration.mul_f64(0.95), lease.duration.mul_f64(2.0 / 3.0))
            }
            _ => (patience.refresh, jittered(patience.refresh).mul_f64(0.95)),
        };
        self.fresh_until = Some(now + serves);
        self.refresh_at = Some(now + ahead);
        self.failed = None;
    }
}

impl Slot {
    pub(crate) fn new(key: Key) -> Slot {
        Slot { key, fetching: tokio::sync::Mutex::default(), state: Mutex::default() }
    }

    pub(crate) fn pin(&self) {
        self.state.lock().pinned = true;
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.state.lock().pinned
    }

    /// What is held, where it is fresh.
    pub(crate) fn fresh(&self, now: SystemTime) -> Option<Arc<Held>> {
        let mut state = self.state.lock();
        state.used = true;
        state.fresh_until.filter(|until| now < *until)?;
        // A clock that was put back says nothing of how old it is.
        state.held.clone().filter(|held| held.at <= now)
    }

    /// What is held, where it was fetched at that time or later.
    pub(crate) fn fetched_since(&self, asked_at: SystemTime) -> Option<Arc<Held>> {
        self.state.lock().held.clone().filter(|held| held.at > asked_at)
    }

    /// What is held, where it is not too old to serve at all.
    pub(crate) fn stale(&self, now: SystemTime, stale_max: Duration) -> Option<Arc<Held>> {
        let held = self.state.lock().held.clone()?;
        let age = now.duration_since(held.at).unwrap_or_default();
        (age <= stale_max).then_some(held)
    }

    /// Whether what is held is fresh; nobody asks for it.
    pub(crate) fn is_fresh(&self, now: SystemTime) -> bool {
        self.state.lock().fresh_until.is_some_and(|until| now < until)
    }

    /// Why it could not be fetched, where nothing came after that.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.state.lock().failed.as_ref().map(|(_, failure)| failure.clone())
    }

    /// What is held, however old.
    pub(crate) fn held(&self) -> Option<Arc<Held>> {
        self.state.lock().held.clone()
    }

    /// The last failure, where it is no older than that and nothing came after it.
    pub(crate) fn failed_since(&self, now: SystemTime, age_max: Duration) -> Option<Failure> {
        let state = self.state.lock();
        let (at, failure) = state.failed.as_ref()?;
        let age = now.duration_since(*at).unwrap_or(age_max);
        (age < age_max).then(|| failure.clone())
    }

    pub(crate) fn failed(&self, now: SystemTime, failure: &Failure) {
        let mut state = self.state.lock();
        state.failed = Some((now, failure.clone()));
    }

    /// Lets go of a value that is gone at its place; says whether there was one.
    pub(crate) fn forget(&self) -> bool {
        let mut state = self.state.lock();
        state.fresh_until = None;
        state.refresh_at = None;
        state.held.take().is_some()
    }

    /// Keeps what was fetched; says whether the value is another one than before.
    pub(crate) fn put(
        &self,
        fetched: Fetched,
        now: SystemTime,
        patience: &Patience,
    ) -> (Arc<Held>, bool) {
        let mut state = self.state.lock();
        let same =
            state.held.as_ref().is_some_and(|held| held.fetched.material == fetched.material);
        let held = Arc::new(Held { fetched, at: now });
        state.schedule(&held.fetched, now, patience);
        state.used = false;
        state.held = Some(held.clone());
        (held, !same)
    }

    /// Keeps a value whose lease was renewed for so long.
    pub(crate) fn renewed(&self, duration: Duration, now: SystemTime, patience: &Patience) {
        let mut state = self.state.lock();
        let Some(held) = state.held.clone() else { return };
        let mut fetched = held.fetched.clone();
        if let Some(lease) = &mut fetched.lease {
            lease.duration = duration;
        }
        state.schedule(&fetched, now, patience);
        state.held = Some(Arc::new(Held { fetched, at: now }));
    }

    /// Takes back what an earlier run of the agent kept; it serves as something old until it is fetched.
    pub(crate) fn restore(&self, fetched: Fetched, at: SystemTime) {
        let mut state = self.state.lock();
        state.used = true;
        if state.held.is_none() {
            state.refresh_at = Some(at);
            state.held = Some(Arc::new(Held { fetched, at }));
        }
    }

    /// When it is to be fetched ahead of time: what outputs stand on, and what somebody asked for since it was
    /// fetched last.
    pub(crate) fn due_at(&self) -> Option<SystemTime> {
        let state = self.state.lock();
        if !state.pinned && !state.used {
            return None;
        }
        match (&state.held, &state.failed) {
            (_, Some((at, _))) => Some(*at + super::FAILURE_KEPT),
            (Some(_), None) => state.refresh_at,
            (None, None) if state.pinned => Some(SystemTime::UNIX_EPOCH),
            (None, None) => None,
        }
    }
}
