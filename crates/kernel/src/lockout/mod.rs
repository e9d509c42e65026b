//! Locking out users whose logins fail again and again.
//!
//! A user that the auth method knows is locked in storage, so that neither a restart nor sealing
//! opens the door. What is only counted, and names that nobody has, are kept in memory, in two
//! bounded lists: names that are made up fill no storage and push out no count of a real user.
//! To the outside both look the same.
//!
//! **Invariant:** between two successes at most `threshold` proofs of one user are looked at, however
//! many come at once: as soon as one has failed, they come one after another.

mod paths;
mod rule;

pub(crate) use paths::LockoutPaths;

use crate::{Answer, Call, event, registry::Mounted, target::Target};
use bailee_barrier::{Barrier, View};
use bailee_crypto::{
    Clock,
    clock::{from_millis, to_millis},
};
use bailee_sdk::{Code, Error, Namespace};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::StreamExt;
use lru::LruCache;
use parking_lot::Mutex;
use rule::Rule;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fmt,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Users that exist and have failed, counted at once; the one that failed longest ago goes first.
const KNOWN_MAX: usize = 100_000;
/// Names that nobody has, counted at once.
const UNKNOWN_MAX: usize = 50_000;
/// Permits of a gate: who takes all of them is alone.
const GATE_PERMITS: u32 = 32;
/// Entries that one batch of a pass removes.
const SWEPT_AT_ONCE: usize = 100;

/// Who is locked out, and who may be soon.
pub(crate) struct Lockout {
    barrier: Arc<Barrier>,
    clock: Arc<dyn Clock>,
    tallies: Mutex<Tallies>,
    gates: Arc<Gates>,
}

/// The gates of users who are logging in.
type Gates = Mutex<HashMap<User, Arc<Semaphore>>>;

/// A code of namespace, mount and name.
type User = [u8; 32];

struct Tallies {
    known: LruCache<User, Tally>,
    unknown: LruCache<User, Tally>,
}

#[derive(Clone, Copy)]
struct Tally {
    failures: u64,
    last: SystemTime,
}

/// A user who is locked out, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Locked {
    /// The name under which the method knows the user.
    alias: String,
    /// When it was locked out, in milliseconds since 1970.
    since: u64,
    /// For how long, in milliseconds.
    duration: u64,
}

/// A login that is being tried; others of the same user may have to wait.
pub(crate) struct Attempt {
    user: User,
    alias: String,
    key: String,
    rule: Rule,
    _turn: Turn,
}

/// A place in the gate of a user. The last one to leave closes it.
struct Turn {
    gates: Arc<Gates>,
    user: User,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.permit = None;
        let mut gates = self.gates.lock();
        if gates.get(&self.user).is_some_and(|gate| Arc::strong_count(gate) == 1) {
            gates.remove(&self.user);
        }
    }
}

impl Lockout {
    pub(crate) fn new(barrier: Arc<Barrier>, clock: Arc<dyn Clock>) -> Arc<Lockout> {
        let list = |max| LruCache::new(NonZeroUsize::new(max).expect("not zero"));
        let tallies = Tallies { known: list(KNOWN_MAX), unknown: list(UNKNOWN_MAX) };
        let (tallies, gates) = (Mutex::new(tallies), Arc::default());
        Arc::new(Lockout { barrier, clock, tallies, gates })
    }

    /// Lets a login begin, unless its user is locked out. `None` for what is no login, and where the
    /// mount locks nobody out.
    pub(crate) async fn enter(
        &self,
        call: &Call,
        target: &Target,
    ) -> Result<Option<Attempt>, Error> {
        let declared = target.declared();
        let Some(alias) = declared.login_alias_of(&call.input, &target.captures) else {
            return Ok(None);
        };
        let config = target.mounted.entry.config.user_lockout_config.as_ref();
        let Some(rule) = Rule::of(config) else { return Ok(None) };
        let (namespace, mounted) = (&target.place.namespace, &target.mounted);
        let alias = alias.to_lowercase();
        let (user, key) = self.place(namespace, mounted, &alias);
        let turn = self.wait(&user, &rule).await?;
        if self.is_locked(&user, &key, &rule).await? {
            event::login_while_locked();
            return Err(Error::permission_denied());
        }
        Ok(Some(Attempt { user, alias, key, rule, _turn: turn }))
    }

    /// Notes what came of a login.
    pub(crate) async fn leave(
        &self,
        attempt: Attempt,
        outcome: &Result<Answer, Error>,
    ) -> Result<(), Error> {
        match outcome.as_ref().map_err(|error| error.code) {
            Ok(_) => {
                self.tallies.lock().forget(&attempt.user);
                Ok(())
            }
            Err(Code::BadCredentials) => self.blame(&attempt).await,
            Err(Code::UnknownUser) => {
                let now = self.clock.now();
                self.tallies.lock().unknown.add(&attempt.user, &attempt.rule, now);
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// Lets a user try again.
    pub(crate) fn unlock(
        &self,
        view: &View,
        namespace: &Namespace,
        mounted: &Mounted,
        alias: &str,
    ) {
        let (user, key) = self.place(namespace, mounted, &alias.to_lowercase());
        view.at("").delete(&key);
        self.tallies.lock().forget(&user);
    }

    /// Names of the users of a mount that are locked out, at most `limit`.
    pub(crate) async fn locked(
        &self,
        namespace: &Namespace,
        uuid: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let now = self.clock.now();
        let view = self.barrier.view(&folder(namespace, uuid));
        let mut names = Vec::new();
        let mut entries = view.scan("");
        while let Some(entry) = entries.next().await {
            let locked: Locked = serde_json::from_slice(&entry?.1).map_err(Error::internal)?;
            if locked.holds(now) && names.len() < limit {
                names.push(locked.alias);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// One idempotent pass: removes what no longer locks anyone out.
    pub(crate) async fn sweep(&self, namespace: &Namespace) -> Result<(), Error> {
        let now = self.clock.now();
        let view = self.barrier.view(&all(namespace));
        let mut over = Vec::new();
        let mut entries = view.scan("");
        while let Some(entry) = entries.next().await {
            let (key, bytes) = entry?;
            let locked: Locked = serde_json::from_slice(&bytes).map_err(Error::internal)?;
            if !locked.holds(now) {
                over.push(key);
            }
        }
        for keys in over.chunks(SWEPT_AT_ONCE) {
            let unit = view.fresh();
            for key in keys {
                // One that was locked anew meanwhile stays.
                if let Some((locked, revision)) = unit.get_at::<Locked>(key).await?
                    && !locked.holds(now)
                {
                    revision.into_iter().for_each(|revision| unit.expect(key, revision));
                    unit.delete(key);
                }
            }
            unit.commit().await?;
        }
        Ok(())
    }

    fn place(&self, namespace: &Namespace, mounted: &Mounted, alias: &str) -> (User, String) {
        let uuid = &mounted.entry.uuid;
        let text = format!("{}/{uuid}/{alias}", namespace.id);
        let user = self.barrier.fingerprint("login", text.as_bytes());
        let code = BASE64_URL_SAFE_NO_PAD.encode(user);
        (user, format!("{}{code}", folder(namespace, uuid)))
    }

    /// While nobody has failed, as many may try at once as may fail; from then on one.
    async fn wait(&self, user: &User, rule: &Rule) -> Result<Turn, Error> {
        let mut turn = Turn { gates: self.gates.clone(), user: *user, permit: None };
        let gate = self.gates.lock().entry(*user).or_insert_with(new_gate).clone();
        let width = u32::try_from(rule.threshold).unwrap_or(GATE_PERMITS).clamp(1, GATE_PERMITS);
        loop {
            let alone = self.failures(user, rule) > 0;
            let permits = if alone { GATE_PERMITS } else { GATE_PERMITS / width };
            let permit = gate.clone().acquire_many_owned(permits).await.map_err(Error::internal)?;
            if alone || self.failures(user, rule) == 0 {
                turn.permit = Some(permit);
                return Ok(turn);
            }
        }
    }

    fn failures(&self, user: &User, rule: &Rule) -> u64 {
        let now = self.clock.now();
        let tallies = self.tallies.lock();
        let lists = [&tallies.known, &tallies.unknown];
        lists.iter().map(|list| list.count(user, rule, now)).max().unwrap_or_default()
    }

    async fn is_locked(&self, user: &User, key: &str, rule: &Rule) -> Result<bool, Error> {
        if self.failures(user, rule) >= rule.threshold {
            return Ok(true);
        }
        let stored: Option<Locked> = self.barrier.view("").get(key).await?;
        Ok(stored.is_some_and(|locked| locked.holds(self.clock.now())))
    }

    async fn blame(&self, attempt: &Attempt) -> Result<(), Error> {
        let now = self.clock.now();
        let failures = self.tallies.lock().known.add(&attempt.user, &attempt.rule, now);
        if failures < attempt.rule.threshold {
            return Ok(());
        }
        // Counted in memory it is locked already, should this fail.
        let duration = u64::try_from(attempt.rule.duration.as_millis()).unwrap_or(u64::MAX);
        let locked = Locked { alias: attempt.alias.clone(), since: to_millis(now), duration };
        let view = self.barrier.view("");
        view.put(&attempt.key, &locked);
        view.commit().await?;
        event::user_locked();
        Ok(())
    }
}

impl Locked {
    fn holds(&self, now: SystemTime) -> bool {
        let gone = now.duration_since(from_millis(self.since)).unwrap_or_default();
        gone < Duration::from_millis(self.duration)
    }
}

impl Tallies {
    fn forget(&mut self, user: &User) {
        self.known.pop(user);
        self.unknown.pop(user);
    }
}

/// What is counted of users.
trait Counts {
    fn count(&self, user: &User, rule: &Rule, now: SystemTime) -> u64;
    fn add(&mut self, user: &User, rule: &Rule, now: SystemTime) -> u64;
}

impl Counts for LruCache<User, Tally> {
    /// Failures that still count.
    fn count(&self, user: &User, rule: &Rule, now: SystemTime) -> u64 {
        self.peek(user).map_or(0, |tally| tally.counted(rule, now))
    }

    /// Counts one more; how many there are now.
    fn add(&mut self, user: &User, rule: &Rule, now: SystemTime) -> u64 {
        let failures = self.count(user, rule, now).saturating_add(1);
        self.put(*user, Tally { failures, last: now });
        failures
    }
}

impl Tally {
    fn counted(&self, rule: &Rule, now: SystemTime) -> u64 {
        let gone = now.duration_since(self.last).unwrap_or_default();
        let is_lock = self.failures >= rule.threshold;
        let kept = if is_lock { rule.duration } else { rule.counter_reset };
        if gone < kept { self.failures } else { 0 }
    }
}

fn new_gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(GATE_PERMITS as usize))
}

/// Where all users of a namespace that are locked out are stored.
fn all(namespace: &Namespace) -> String {
    format!("{}lockout/", namespace.prefix())
}

/// Where those of a mount are stored.
pub(crate) fn folder(namespace: &Namespace, uuid: &str) -> String {
    format!("{}{uuid}/", all(namespace))
}

impl fmt::Debug for Lockout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lockout(..)")
    }
}
