//! Answers that are kept, bounded in number and bytes.

use super::{
    effect::Effect,
    kind::Kind,
    login,
    question::{Key, Token, mark},
};
use bailee_crypto::mac::MacKey;
use bytes::Bytes;
use http::HeaderValue;
use lru::LruCache;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroUsize,
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// Tokens whose maker is remembered.
const CHILDREN_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("10,000 is not zero");
/// Bytes of an answer that is kept, at most.
pub(crate) const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The share of a lease's duration for which its answer serves, unless the lease is renewed.
const LEASE_SHARE: f64 = 0.9;

/// An answer that is kept.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) body: Bytes,
    pub(crate) media: Option<HeaderValue>,
    pub(crate) kind: Kind,
    /// Namespace and path.
    pub(crate) path: String,
    /// The namespace alone, for the renewal.
    pub(crate) namespace: String,
    /// The token that its lease is renewed with; of a login the one that it gave.
    pub(crate) token: Token,
    /// The code of that token; of the agent's, as it was then.
    pub(crate) mark: Key,
    /// When it was fetched.
    pub(crate) fetched_at: Instant,
    /// When its lease was last renewed, or made.
    pub(crate) renewed_at: Instant,
    /// Whether it must be asked for again although its time is not over.
    pub(crate) doubted: bool,
}

/// How good a kept answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It answers.
    Fresh,
    /// It answers while the server is away.
    Stale,
    /// It is a login that the server has to take again before it answers.
    Asked,
    /// It is over.
    Over,
}

/// The answers.
pub(crate) struct Cache {
    pub(crate) mac: MacKey,
    inner: Mutex<Inner>,
    bytes_max: usize,
    ttl: Duration,
    stale_max: Duration,
    flights: Mutex<HashMap<Key, watch::Receiver<()>>>,
}

struct Inner {
    kept: LruCache<Key, Kept>,
    bytes: usize,
    /// Counts what was thrown away: an answer that was on its way meanwhile is not kept.
    thrown: u64,
    makers: LruCache<Key, Key>,
}

/// The right to fetch an answer, which others wait for.
pub(crate) struct Flight<'a> {
    cache: &'a Cache,
    key: Key,
    /// Dropped with the flight, which wakes those who wait.
    _landed: watch::Sender<()>,
}

impl Kept {
    /// The path within its namespace.
    fn own_path(&self) -> &str {
        let path = self.path.strip_prefix(&self.namespace).unwrap_or(&self.path);
        path.trim_start_matches('/')
    }

    fn state(&self, now: Instant, ttl: Duration, stale_max: Duration) -> State {
        let age = |since| now.saturating_duration_since(since);
        match &self.kind {
            Kind::Leased { duration, .. } => {
                if age(self.renewed_at) >= duration.mul_f64(LEASE_SHARE) {
                    State::Over
                } else {
                    State::Fresh
                }
            }
            Kind::Login { duration, .. }
                if age(self.renewed_at) >= duration.mul_f64(LEASE_SHARE) =>
            {
                State::Over
            }
            Kind::Login { taken_at, .. } => match taken_at {
                Some(at) if age(*at) < ttl && !self.doubted => State::Fresh,
                Some(at) if age(*at) < ttl.saturating_add(stale_max) => State::Stale,
                _ => State::Asked,
            },
            Kind::Kv if age(self.fetched_at) < ttl && !self.doubted => State::Fresh,
            Kind::Kv if age(self.fetched_at) < ttl.saturating_add(stale_max) => State::Stale,
            Kind::Kv => State::Over,
        }
    }
}

impl Cache {
    /// An empty one, whose key ends with it. Without a time to live secrets of KV engines are not kept.
    pub(crate) fn new(
        entries_max: NonZeroUsize,
        bytes_max: usize,
        ttl: Duration,
        stale_max: Duration,
    ) -> Cache {
        let inner = Inner {
            kept: LruCache::new(entries_max),
            bytes: 0,
            thrown: 0,
            makers: LruCache::new(CHILDREN_MAX),
        };
        Cache {
            mac: MacKey::new(&bailee_crypto::random::bytes(32)),
            inner: Mutex::new(inner),
            bytes_max,
            ttl,
            stale_max,
            flights: Mutex::default(),
        }
    }

    /// What is kept, and how good it is.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<(Kept, State)> {
        let mut inner = self.inner.lock();
        let kept = inner.kept.get(key)?;
        let state = kept.state(now, self.ttl, self.stale_max);
        if state == State::Over {
            inner.remove(key);
            return None;
        }
        Some((kept.clone(), state))
    }

    /// Whether an answer of this kind is kept at all.
    pub(crate) fn keeps(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Kv | Kind::Login { .. } => !self.ttl.is_zero(),
            Kind::Leased { .. } => true,
        }
    }

    /// How much was thrown away until now; an answer that is asked for now is kept only where that is the same.
    pub(crate) fn thrown(&self) -> u64 {
        self.inner.lock().thrown
    }

    /// Keeps an answer that was asked for when so much had been thrown away.
    pub(crate) fn put(&self, key: Key, kept: Kept, thrown: u64) {
        let mut inner = self.inner.lock();
        if inner.thrown != thrown || kept.body.len() > ANSWER_BYTES_MAX {
            return;
        }
        inner.remove(&key);
        inner.bytes += kept.body.len();
        if let Some((_, pushed_out)) = inner.kept.push(key, kept) {
            inner.bytes = inner.bytes.saturating_sub(pushed_out.body.len());
        }
        while inner.bytes > self.bytes_max {
            let Some((_, oldest)) = inner.kept.pop_lru() else { break };
            inner.bytes = inner.bytes.saturating_sub(oldest.body.len());
        }
    }

    /// Throws away what a change made old.
    pub(crate) fn throw(&self, effect: &Effect) {
        let mut inner = self.inner.lock();
        let marks = inner.family(&self.mac, effect);
        inner.throw(|kept| is_hit(kept, effect, &marks));
    }

    /// Has what a change may have made old asked for again; while the server is away it serves all the same.
    pub(crate) fn doubt(&self, effect: &Effect) {
        let mut inner = self.inner.lock();
        let marks = inner.family(&self.mac, effect);
        inner.thrown += 1;
        for (_, kept) in inner.kept.iter_mut() {
            kept.doubted |= is_hit(kept, effect, &marks);
        }
    }

    /// Remembers that a token made another one, which ends with it.
    pub(crate) fn made(&self, maker: &str, token: &str) {
        let (maker, token) = (mark(&self.mac, maker), mark(&self.mac, token));
        self.inner.lock().makers.push(token, maker);
    }

    /// The leases that are due for a renewal.
    pub(crate) fn due(&self, now: Instant) -> Vec<(Key, Kept)> {
        let mut inner = self.inner.lock();
        let (ttl, stale_max) = (self.ttl, self.stale_max);
        inner.throw_quietly(|kept| kept.state(now, ttl, stale_max) == State::Over);
        let due = |kept: &Kept| match kept.kind {
            Kind::Leased { duration, renewable, .. } | Kind::Login { duration, renewable, .. } => {
                let age = now.saturating_duration_since(kept.renewed_at);
                renewable && age >= duration.mul_f64(2.0 / 3.0)
            }
            Kind::Kv => false,
        };
        let kept = inner.kept.iter().filter(|(_, kept)| due(kept));
        kept.map(|(key, kept)| (*key, kept.clone())).collect()
    }

    /// Notes that a lease holds for so long from now on. A lease that is not renewable any more ends.
    pub(crate) fn renewed(&self, key: &Key, now: Instant, holds: Duration, renews: bool) {
        let mut inner = self.inner.lock();
        if let Some(kept) = inner.kept.peek_mut(key)
            && let Kind::Leased { duration, renewable, .. }
            | Kind::Login { duration, renewable, .. } = &mut kept.kind
        {
            (*duration, *renewable) = (holds, renews);
            kept.renewed_at = now;
        }
    }

    /// Notes that the server took a login again.
    pub(crate) fn taken(&self, key: &Key, now: Instant) {
        let mut inner = self.inner.lock();
        if let Some(kept) = inner.kept.peek_mut(key)
            && let Kind::Login { taken_at, .. } = &mut kept.kind
        {
            *taken_at = Some(now);
            kept.doubted = false;
        }
    }

    /// Notes that the server refused a login that it took before: it does not serve, and its token lives on with
    /// who has it.
    pub(crate) fn refused(&self, key: &Key) {
        if let Some(kept) = self.inner.lock().kept.peek_mut(key)
            && let Kind::Login { taken_at, .. } = &mut kept.kind
        {
            *taken_at = None;
        }
    }

    /// Notes that something was denied to a token: where it came out of a login, it may have ended elsewhere, and
    /// the login is asked for again before it gives the same token.
    pub(crate) fn denied(&self, token: &str) {
        let code = mark(&self.mac, token);
        for (_, kept) in self.inner.lock().kept.iter_mut() {
            kept.doubted |= matches!(kept.kind, Kind::Login { .. }) && kept.mark == code;
        }
    }

    /// Throws one answer away.
    pub(crate) fn remove(&self, key: &Key) {
        let mut inner = self.inner.lock();
        inner.thrown += 1;
        inner.remove(key);
    }

    /// Throws away what was asked for with the agent's token, as it was before it became another one.
    pub(crate) fn agent_token_is(&self, token: &str) {
        let now = mark(&self.mac, token);
        let mut inner = self.inner.lock();
        inner.throw_quietly(|kept| {
            let leased = matches!(kept.kind, Kind::Leased { .. });
            leased && matches!(kept.token, Token::Agent) && kept.mark != now
        });
    }

    /// Either the right to fetch, or the end of somebody else's fetch to wait for.
    pub(crate) fn fly(&self, key: Key) -> Result<Flight<'_>, watch::Receiver<()>> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&key) {
            return Err(flight.clone());
        }
        let (landed, flight) = watch::channel(());
        flights.insert(key, flight);
        Ok(Flight { cache: self, key, _landed: landed })
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.cache.flights.lock().remove(&self.key);
    }
}

impl Inner {
    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.kept.pop(key) {
            self.bytes = self.bytes.saturating_sub(kept.body.len());
        }
    }

    fn throw(&mut self, is_hit: impl Fn(&Kept) -> bool) {
        self.thrown += 1;
        self.throw_quietly(is_hit);
    }

    fn throw_quietly(&mut self, is_hit: impl Fn(&Kept) -> bool) {
        let hit = self.kept.iter().filter(|(_, kept)| is_hit(kept));
        let hit: Vec<Key> = hit.map(|(key, _)| *key).collect();
        for key in hit {
            self.remove(&key);
        }
    }

    /// The codes of a token and of all that it made.
    fn family(&self, mac: &MacKey, effect: &Effect) -> BTreeSet<Key> {
        let Effect::Token(token) = effect else { return BTreeSet::new() };
        let mut family = BTreeSet::from([mark(mac, token.expose())]);
        loop {
            let made = self.makers.iter().filter(|(_, maker)| family.contains(*maker));
            let made: Vec<Key> = made.map(|(token, _)| *token).collect();
            let before = family.len();
            family.extend(made);
            if family.len() == before {
                return family;
            }
        }
    }
}

fn is_hit(kept: &Kept, effect: &Effect, marks: &BTreeSet<Key>) -> bool {
    let lease = match &kept.kind {
        Kind::Leased { id, .. } => Some(id),
        Kind::Kv | Kind::Login { .. } => None,
    };
    let is_login = matches!(kept.kind, Kind::Login { .. });
    match effect {
        Effect::Nothing => false,
        Effect::All => true,
        // A dynamic secret is not changed by a write to where it is made.
        Effect::Paths(paths) => lease.is_none() && paths.contains(&kept.path),
        Effect::Below(prefix) => kept.path.starts_with(prefix.as_str()),
        // A token is under a lease that is called after where it was got.
        Effect::Lease(id) if is_login => id.starts_with(kept.own_path()),
        Effect::Lease(id) => lease == Some(id),
        Effect::Leases(prefix) if is_login => {
            kept.path.contains(prefix.as_str()) || prefix.starts_with(kept.own_path())
        }
        Effect::Leases(prefix) => lease.is_some_and(|id| id.starts_with(prefix.as_str())),
        Effect::Token(_) => marks.contains(&kept.mark),
        Effect::Logins(path) => {
            is_login && login::door(&kept.path).is_some_and(|door| path.starts_with(&door.mount))
        }
    }
}
