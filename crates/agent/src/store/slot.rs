//! One secret as it is kept.

use super::{
    Key, Patience,
    place::{jittered, pause_after},
};
use crate::{failure::Failure, manager::Fetched};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// The share of its lease for which a secret serves.
const LEASE_SERVES: f64 = 0.95;
/// The share of it after which it is renewed, or another is fetched.
const LEASE_AHEAD: f64 = 2.0 / 3.0;

/// A secret that is kept.
#[derive(Debug)]
pub struct Held {
    /// As it was fetched.
    pub fetched: Fetched,
    /// When it was fetched, by the wall clock: for people, and for the next run.
    pub at: SystemTime,
    /// The same by the clock that nobody sets, which is what its age is counted by.
    since: Instant,
    /// How old it was then: what an earlier run fetched is old already.
    age: Duration,
    shown: OnceLock<Shown>,
}

/// A secret in the form that a listener gives, made once, and never printed.
struct Shown(Bytes);

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
    fresh_until: Option<Instant>,
    /// When it is fetched ahead of that.
    refresh_at: Option<Instant>,
    failed: Option<Failed>,
    pinned: bool,
    /// Whether somebody asked for it since it was fetched.
    used: bool,
}

/// Failures since the last success.
#[derive(Debug)]
struct Failed {
    failure: Failure,
    at: Instant,
    /// When it is tried again ahead of time.
    again_at: Instant,
    count: u32,
}

impl Held {
    fn new(fetched: Fetched, at: SystemTime, since: Instant, age: Duration) -> Held {
        Held { fetched, at, since, age, shown: OnceLock::new() }
    }

    /// The form that a listener gives, made by the first who asks for it.
    pub(crate) fn shown(&self, make: impl FnOnce(&Fetched) -> Bytes) -> Bytes {
        self.shown.get_or_init(|| Shown(make(&self.fetched))).0.clone()
    }

    /// How old the value is.
    pub fn age(&self) -> Duration {
        self.age_at(Instant::now())
    }

    pub(crate) fn age_at(&self, now: Instant) -> Duration {
        self.age.saturating_add(now.saturating_duration_since(self.since))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(..)")
    }
}

impl State {
    /// Says how long a value serves from now on, and when it is fetched again ahead of that, so that nobody
    /// waits. A lease is renewed when two thirds of it are over.
    fn schedule(&mut self, fetched: &Fetched, now: Instant, patience: &Patience) {
        let (serves, ahead) = match &fetched.lease {
            Some(lease) if !lease.duration.is_zero() => {
                (lease.duration.mul_f64(LEASE_SERVES), lease.duration.mul_f64(LEASE_AHEAD))
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
    pub(crate) fn fresh(&self, now: Instant) -> Option<Arc<Held>> {
        let mut state = self.state.lock();
        state.used = true;
        state.fresh_until.filter(|until| now < *until)?;
        state.held.clone()
    }

    /// What is held, where it was fetched after that time.
    pub(crate) fn fetched_since(&self, asked_at: Instant) -> Option<Arc<Held>> {
        let held = self.state.lock().held.clone()?;
        (held.age.is_zero() && held.since > asked_at).then_some(held)
    }

    /// What is held, where it is not too old to serve at all.
    pub(crate) fn stale(&self, now: Instant, stale_max: Duration) -> Option<Arc<Held>> {
        let held = self.state.lock().held.clone()?;
        (held.age_at(now) <= stale_max).then_some(held)
    }

    /// Whether what is held is fresh; nobody asks for it.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.state.lock().fresh_until.is_some_and(|until| now < until)
    }

    /// Why it could not be fetched, where nothing came after that.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.state.lock().failed.as_ref().map(|failed| failed.failure.clone())
    }

    /// What is held, however old.
    pub(crate) fn held(&self) -> Option<Arc<Held>> {
        self.state.lock().held.clone()
    }

    /// The last failure, where it is no older than that and nothing came after it.
    pub(crate) fn failed_since(&self, now: Instant, age_max: Duration) -> Option<Failure> {
        let state = self.state.lock();
        let failed = state.failed.as_ref()?;
        let is_young = now.saturating_duration_since(failed.at) < age_max;
        is_young.then(|| failed.failure.clone())
    }

    /// The last failure, while the secret is left alone for it.
    pub(crate) fn left_alone(&self, now: Instant) -> Option<Failure> {
        let state = self.state.lock();
        let failed = state.failed.as_ref().filter(|failed| now < failed.again_at)?;
        Some(failed.failure.clone())
    }

    /// Notes a failure; says whether it is another one than the last.
    pub(crate) fn failed(&self, now: Instant, failure: &Failure) -> bool {
        let mut state = self.state.lock();
        let is_news = state.failed.as_ref().is_none_or(|failed| failed.failure != *failure);
        let count = state.failed.as_ref().map_or(0, |failed| failed.count);
        let again_at = now + pause_after(count, failure);
        let count = count.saturating_add(1);
        state.failed = Some(Failed { failure: failure.clone(), at: now, again_at, count });
        is_news
    }

    /// Makes a value without a lease due for fetching.
    pub(crate) fn make_due(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.held.as_ref().is_some_and(|held| held.fetched.lease.is_none()) {
            state.refresh_at = Some(now);
            state.failed = None;
            state.used = true;
        }
    }

    /// What is under a lease serves no longer than it takes to fetch it anew, or while its place is away.
    pub(crate) fn end_lease(&self, now: Instant) {
        let mut state = self.state.lock();
        let Some(held) = state.held.clone() else { return };
        let mut fetched = held.fetched.clone();
        let Some(lease) = &mut fetched.lease else { return };
        lease.renewable = false;
        (state.fresh_until, state.refresh_at, state.failed) = (None, Some(now), None);
        state.held = Some(Arc::new(Held::new(fetched, held.at, held.since, held.age)));
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
        (now, at): (Instant, SystemTime),
        patience: &Patience,
    ) -> (Arc<Held>, bool) {
        let mut state = self.state.lock();
        let same =
            state.held.as_ref().is_some_and(|held| held.fetched.material == fetched.material);
        let held = Arc::new(Held::new(fetched, at, now, Duration::ZERO));
        state.schedule(&held.fetched, now, patience);
        state.used = false;
        state.held = Some(held.clone());
        (held, !same)
    }

    /// Keeps a value whose lease was renewed for so long.
    pub(crate) fn renewed(
        &self,
        duration: Duration,
        (now, at): (Instant, SystemTime),
        patience: &Patience,
    ) {
        let mut state = self.state.lock();
        let Some(held) = state.held.clone() else { return };
        let mut fetched = held.fetched.clone();
        if let Some(lease) = &mut fetched.lease {
            lease.duration = duration;
        }
        state.schedule(&fetched, now, patience);
        state.held = Some(Arc::new(Held::new(fetched, at, now, Duration::ZERO)));
    }

    /// Takes back what an earlier run kept; it serves as something old until it is fetched. What is under a lease is
    /// no better when it is fetched anew: the lease is renewed at once, which shows whether it is there still; one that
    /// cannot be renewed serves as long as it would have, or until another is made where nobody knows its age.
    pub(crate) fn restore(&self, fetched: Fetched, at: SystemTime, known: Option<Duration>) {
        let mut state = self.state.lock();
        state.used |= fetched.lease.is_none();
        if state.held.is_some() {
            return;
        }
        let since = Instant::now();
        state.refresh_at = Some(since);
        let age = known.unwrap_or_default();
        if let Some(lease) = fetched.lease.as_ref().filter(|lease| !lease.renewable)
            && known.is_some()
        {
            let left = |share| lease.duration.mul_f64(share).saturating_sub(age);
            state.fresh_until = Some(since + left(LEASE_SERVES));
            state.refresh_at = Some(since + left(LEASE_AHEAD));
        }
        state.held = Some(Arc::new(Held::new(fetched, at, since, age)));
    }

    /// Whether no output stands on it, and nobody asked for it since it was fetched.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        !state.pinned && !state.used
    }

    /// Leaves it to grow old until somebody asks for it.
    pub(crate) fn rest(&self) {
        let mut state = self.state.lock();
        (state.refresh_at, state.failed) = (None, None);
    }

    /// When it is to be fetched ahead of time: what outputs stand on, and what somebody asked for since it was
    /// fetched last. Leases are renewed however long ago somebody asked: an application asks once.
    pub(crate) fn due(&self) -> Due {
        let state = self.state.lock();
        let lease = state.held.as_ref().and_then(|held| held.fetched.lease.as_ref());
        if !state.pinned && !state.used && !lease.is_some_and(|lease| lease.renewable) {
            return Due::Never;
        }
        match (&state.failed, state.refresh_at) {
            (Some(failed), _) => Due::At(failed.again_at),
            (None, Some(at)) => Due::At(at),
            (None, None) if state.pinned => Due::Now,
            (None, None) => Due::Never,
        }
    }
}

/// When something is to be fetched ahead of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Never,
    Now,
    At(Instant),
}

impl Due {
    pub(crate) fn is_over(self, now: Instant) -> bool {
        match self {
            Due::Never => false,
            Due::Now => true,
            Due::At(at) => at <= now,
        }
    }

    /// The time until then.
    pub(crate) fn wait(self, now: Instant) -> Option<Duration> {
        match self {
            Due::Never => None,
            Due::Now => Some(Duration::ZERO),
            Due::At(at) => Some(at.saturating_duration_since(now)),
        }
    }
}
