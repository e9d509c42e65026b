//! What was fetched, kept as long as it may serve.
//!
//! A secret is fetched once for all who wait for it, again when its time is over, and served old where its place is
//! away. [`Store::keep_fresh`] fetches ahead of time, many at once, so that applications rarely wait.

mod close;
pub mod keepsake;
mod place;
mod refresh;
mod slot;
pub mod status;
#[cfg(test)]
mod tests;

pub use place::{Patience, Place};
pub use slot::Held;

use crate::{
    event,
    failure::{Cause, Failure},
    manager::{Fetched, Wanted},
};
use bailee_crypto::Clock;
use lru::LruCache;
use parking_lot::Mutex;
use slot::Slot;
use std::{collections::BTreeMap, fmt, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// How long somebody who could be served something old waits for something new.
pub const REFRESH_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a failure answers for a secret that was never fetched, before its place is asked again.
pub const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// Entries that are kept unless somebody says otherwise.
pub const ENTRIES_DEFAULT: usize = 1_000;
/// The most entries that somebody may ask for.
pub const ENTRIES_MAX: usize = 100_000;

/// Whether what is kept will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// What was fetched within the place's time of refreshing.
    Kept,
    /// The place is asked now. Where it is away, what is kept serves all the same.
    Now,
}

/// What is fetched from all places, bounded.
pub struct Store {
    places: BTreeMap<String, Arc<Place>>,
    /// By place, id and version; what is not used goes first. Several ids may share a slot.
    slots: Mutex<LruCache<Key, Arc<Slot>>>,
    clock: Arc<dyn Clock>,
    changes: watch::Sender<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The manager's name in the configuration; one manager is one place and identity.
    pub(crate) manager: Arc<str>,
    pub(crate) wanted: Wanted,
}

impl Store {
    /// An empty store of at most so many entries.
    pub fn new(
        places: impl IntoIterator<Item = Place>,
        entries_max: NonZeroUsize,
        clock: Arc<dyn Clock>,
    ) -> Store {
        let places = places.into_iter().map(|place| (place.name.to_string(), Arc::new(place)));
        Store {
            places: places.collect(),
            slots: Mutex::new(LruCache::new(entries_max)),
            clock,
            changes: watch::Sender::new(0),
        }
    }

    /// Counts up whenever a value that is kept becomes another one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The names of the places.
    pub fn places(&self) -> impl Iterator<Item = &Arc<Place>> {
        self.places.values()
    }

    /// A place by its name in the configuration.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn place(&self, manager: &str) -> Result<&Arc<Place>, Failure> {
        self.places.get(manager).ok_or_else(|| {
            let known: Vec<&str> = self.places.keys().map(String::as_str).collect();
            let message = format!(
                "there is no secret manager {manager:?}: the configuration has {}",
                known.join(", ")
            );
            Failure::new(Cause::Invalid, message)
        })
    }

    /// A secret, out of the store or from its place.
    ///
    /// # Errors
    /// It cannot be had, and nothing is kept that may serve.
    pub async fn get(
        &self,
        manager: &str,
        wanted: &Wanted,
        freshness: Freshness,
    ) -> Result<Arc<Held>, Failure> {
        let place = self.place(manager)?;
        let wanted = place.manager.normal(wanted)?;
        let slot = self.slot(place, wanted);
        if freshness == Freshness::Kept
            && let Some(held) = slot.fresh(Instant::now())
        {
            event::served(place, event::Served::Kept);
            return Ok(held);
        }
        if freshness == Freshness::Kept
            && let Some(settled) = self.settled(place, &slot)
        {
            return settled;
        }
        let asked_at = Instant::now();
        let _one_at_a_time = match self.turn(place, &slot).await {
            Ok(turn) => turn,
            Err(held) => {
                event::served(place, event::Served::Stale);
                return Ok(held);
            }
        };
        // Somebody else may have fetched it meanwhile.
        let since = match freshness {
            Freshness::Kept => slot.fresh(Instant::now()),
            Freshness::Now => slot.fetched_since(asked_at),
        };
        if let Some(held) = since {
            event::served(place, event::Served::Kept);
            return Ok(held);
        }
        if freshness == Freshness::Kept
            && let Some(settled) = self.settled(place, &slot)
        {
            return settled;
        }
        if freshness == Freshness::Kept
            && let Some(renewed) = self.renewed_first(place, &slot).await
        {
            return renewed;
        }
        let fetched = self.fetch(place, &slot).await;
        self.take(place, &slot, fetched)
    }

    /// What is under a lease that may hold on, as one that an earlier run left, is not made anew before that is tried.
    async fn renewed_first(
        &self,
        place: &Arc<Place>,
        slot: &Arc<Slot>,
    ) -> Option<Result<Arc<Held>, Failure>> {
        let renewing = self.renewed(place, slot);
        let renewed = tokio::time::timeout(REFRESH_WAIT_MAX, renewing).await;
        match renewed.unwrap_or_else(|_| Err(no_answer())) {
            Ok(true) => {
                event::served(place, event::Served::Kept);
                slot.held().map(Ok)
            }
            // Who cannot be reached for this cannot be for the other.
            Err(failure) if place::is_of_the_place(failure.cause) => {
                Some(self.take(place, slot, Err(failure)))
            }
            Ok(false) | Err(_) => None,
        }
    }

    /// Keeps a secret fresh from now on, whether or not somebody asks for it.
    ///
    /// # Errors
    /// The wish itself is wrong; nothing is called.
    pub fn pin(&self, manager: &str, wanted: &Wanted) -> Result<(), Failure> {
        let place = self.place(manager)?;
        let wanted = place.manager.normal(wanted)?;
        self.slot(place, wanted).pin();
        place.due.notify_one();
        Ok(())
    }

    /// Waits until nobody else fetches it. Who can be served something old does not wait for long: the other may
    /// wait for a place that does not answer.
    async fn turn<'s>(
        &self,
        place: &Place,
        slot: &'s Slot,
    ) -> Result<tokio::sync::MutexGuard<'s, ()>, Arc<Held>> {
        let stale = || slot.stale(Instant::now(), place.patience.stale_max);
        if stale().is_none() {
            return Ok(slot.fetching.lock().await);
        }
        match tokio::time::timeout(REFRESH_WAIT_MAX, slot.fetching.lock()).await {
            Ok(turn) => Ok(turn),
            Err(_) => match stale() {
                Some(held) => {
                    // Who asks next need not wait for it.
                    place.failed(Instant::now(), &no_answer());
                    Err(held)
                }
                None => Ok(slot.fetching.lock().await),
            },
        }
    }

    /// What answers without a call: the place is known to be away, or just said no.
    fn settled(&self, place: &Place, slot: &Slot) -> Option<Result<Arc<Held>, Failure>> {
        let now = Instant::now();
        if let Some(held) = slot.stale(now, place.patience.stale_max) {
            let failure = slot.left_alone(now).or_else(|| place.away(now))?;
            if failure.cause.is_outage() {
                event::served(place, event::Served::Stale);
                return Some(Ok(held));
            }
        }
        // Nothing is kept that may serve: the place is asked, away or not.
        let failure = slot.failed_since(now, FAILURE_KEPT)?;
        event::served(place, event::Served::Failed(failure.cause));
        Some(Err(failure))
    }

    async fn fetch(&self, place: &Place, slot: &Slot) -> Result<Fetched, Failure> {
        let fetching = place.manager.fetch(&slot.key.wanted);
        if slot.stale(Instant::now(), place.patience.stale_max).is_none() {
            return fetching.await;
        }
        tokio::time::timeout(REFRESH_WAIT_MAX, fetching).await.unwrap_or_else(|_| Err(no_answer()))
    }

    /// Puts an answer where it belongs and says what it means for those who wait.
    fn take(
        &self,
        place: &Arc<Place>,
        slot: &Arc<Slot>,
        fetched: Result<Fetched, Failure>,
    ) -> Result<Arc<Held>, Failure> {
        let now = Instant::now();
        match fetched {
            Ok(fetched) => {
                place.answered(now);
                event::fetched(place);
                Ok(self.put(place, slot, fetched))
            }
            Err(failure) => {
                self.refused(place, slot, &failure);
                let Some(held) = slot.stale(now, place.patience.stale_max) else {
                    event::served(place, event::Served::Failed(failure.cause));
                    return Err(failure);
                };
                event::served(place, event::Served::Stale);
                Ok(held)
            }
        }
    }

    /// Notes that a secret could not be had. What its place says is gone is let go.
    fn refused(&self, place: &Place, slot: &Slot, failure: &Failure) {
        let now = Instant::now();
        place.failed(now, failure);
        let is_news = slot.failed(now, failure);
        event::failed(place, slot.key.id(), failure, is_news);
        if !failure.cause.is_outage() && slot.forget() {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    fn put(&self, place: &Arc<Place>, slot: &Arc<Slot>, fetched: Fetched) -> Arc<Held> {
        let now = Instant::now();
        let for_good = Key {
            manager: slot.key.manager.clone(),
            wanted: Wanted { id: fetched.id.clone(), version: slot.key.wanted.version.clone() },
        };
        let times = (now, self.clock.now());
        let (held, changed) = slot.put(fetched, times, &place.patience);
        if let Some(other) = self.share(for_good, slot) {
            other.put(held.fetched.clone(), times, &place.patience);
        }
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
        place.due.notify_one();
        held
    }

    /// Names and ARNs of one secret share what is kept. Gives the slot that was there by the other name before.
    fn share(&self, for_good: Key, slot: &Arc<Slot>) -> Option<Arc<Slot>> {
        if for_good == slot.key {
            return None;
        }
        let mut slots = self.slots.lock();
        if let Some(other) = slots.get(&for_good).cloned() {
            return (!Arc::ptr_eq(&other, slot)).then_some(other);
        }
        insert(&mut slots, for_good, slot.clone());
        None
    }

    fn slot(&self, place: &Place, wanted: Wanted) -> Arc<Slot> {
        let key = Key { manager: place.name.clone(), wanted };
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(&key) {
            return slot.clone();
        }
        let slot = Arc::new(Slot::new(key.clone()));
        insert(&mut slots, key, slot.clone());
        slot
    }
}

fn no_answer() -> Failure {
    let message = format!("no answer within {} s", REFRESH_WAIT_MAX.as_secs());
    Failure::new(Cause::Unavailable, message)
}

/// Takes a slot in. What outputs stand on stays, however much else is asked for: there is more room where
/// everything is of that kind.
fn insert(slots: &mut LruCache<Key, Arc<Slot>>, key: Key, slot: Arc<Slot>) {
    if slots.len() >= slots.cap().get() {
        let unpinned = slots.iter().rev().find(|(_, slot)| !slot.is_pinned());
        match unpinned.map(|(key, _)| key.clone()) {
            Some(victim) => drop(slots.pop(&victim)),
            None => slots.resize(slots.cap().saturating_add(1)),
        }
    }
    slots.put(key, slot);
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("places", &self.places.keys()).finish_non_exhaustive()
    }
}
