//! Fetching ahead of time, many at once.

use super::{Key, Place, Store, slot::Slot};
use crate::{
    event,
    failure::{Cause, Failure},
    manager::{Fetched, Lease, Wanted, Which},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Secrets that are fetched before it is looked whether the place is still there.
const FETCHED_AT_ONCE: usize = 100;
/// Time for so many.
const FETCH_TIME_MAX: Duration = Duration::from_secs(30);
/// The shortest time between two looks at what is due.
const LOOK_TIME_MIN: Duration = Duration::from_millis(100);
/// The longest time between two looks.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);
/// The share of its first duration below which a renewed lease is near its end for good.
const RENEWED_SHARE_MIN: f64 = 0.5;

impl Store {
    /// Fetches what is due, for ever: run it beside everything else, and drop it to end.
    /// Each place by itself: one that does not answer keeps no lease of another from being renewed.
    pub async fn keep_fresh(&self) {
        let kept = self.places.values().map(|place| self.keep_place_fresh(place));
        futures_util::future::join_all(kept).await;
    }

    async fn keep_place_fresh(&self, place: &Arc<Place>) {
        loop {
            let tended = self.tend_and_refresh(place).await.unwrap_or(LOOK_TIME_MAX);
            let pause = self.pause(place).min(tended.max(LOOK_TIME_MIN));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = place.due.notified() => tokio::time::sleep(LOOK_TIME_MIN).await,
            }
        }
    }

    /// Fetches all that is due now, once; gives when a place is to be tended again.
    pub async fn refresh_due(&self) -> Option<Duration> {
        let refreshed = self.places.values().map(|place| self.tend_and_refresh(place));
        futures_util::future::join_all(refreshed).await.into_iter().flatten().min()
    }

    async fn tend_and_refresh(&self, place: &Arc<Place>) -> Option<Duration> {
        let tended = place.manager.tend().await;
        self.heed_new_token(place).await;
        self.refresh_place(place).await;
        tended
    }

    /// Leases end with the token that they were made with. Where the agent goes on with another one, what is under a
    /// lease is fetched anew: renewed by the other token, it would end with the first all the same.
    async fn heed_new_token(&self, place: &Arc<Place>) {
        let Some(pass) = place.manager.pass().await else { return };
        let before = place.hangs_on.lock().replace(pass.token.clone());
        if before.is_none_or(|before| before == pass.token) {
            return;
        }
        event::token_replaced(place);
        let now = Instant::now();
        let slots = self.slots.lock();
        let mine = slots.iter().filter(|(key, _)| key.manager == place.name);
        mine.for_each(|(_, slot)| slot.end_lease(now));
    }

    /// Has everything that is kept without a lease fetched anew at the next look.
    pub fn refresh_soon(&self) {
        let now = Instant::now();
        self.slots.lock().iter().for_each(|(_, slot)| slot.make_due(now));
        for place in self.places.values() {
            *place.tagged_at.lock() = None;
            place.due.notify_one();
        }
    }

    async fn refresh_place(&self, place: &Arc<Place>) {
        let now = Instant::now();
        if place.pause(now).is_some() {
            return;
        }
        self.refresh_tagged(place, now).await;
        let due = self.due_of(place, now);
        for chunk in due.chunks(FETCHED_AT_ONCE) {
            if place.pause(Instant::now()).is_some() {
                return;
            }
            let mut anew = Vec::with_capacity(chunk.len());
            // Held while they are fetched, so that nobody fetches the same beside: it may be made at each call.
            let mut ours = Vec::with_capacity(chunk.len());
            for slot in chunk {
                let Ok(guard) = slot.fetching.try_lock() else { continue };
                if !slot.due().is_over(Instant::now()) {
                    continue;
                }
                match self.renew(place, slot).await {
                    Ok(true) => {}
                    // Whoever took it holds it still, maybe; but nobody waits for another one.
                    Err(failure) if slot.is_idle() => drop(slot.failed(Instant::now(), &failure)),
                    Ok(false) if slot.is_idle() => slot.rest(),
                    Ok(false) | Err(_) => {
                        anew.push(slot.clone());
                        ours.push(guard);
                    }
                }
            }
            self.fetch_all(place, &anew).await;
        }
    }

    async fn fetch_all(&self, place: &Arc<Place>, slots: &[Arc<Slot>]) {
        if slots.is_empty() {
            return;
        }
        let wanted: Vec<Wanted> = slots.iter().map(|slot| slot.key.wanted.clone()).collect();
        let fetching = place.manager.fetch_many(&wanted);
        let fetched = tokio::time::timeout(FETCH_TIME_MAX, fetching).await.unwrap_or_else(|_| {
            let seconds = FETCH_TIME_MAX.as_secs();
            let late = Failure::new(Cause::Unavailable, format!("no answer within {seconds} s"));
            vec![Err(late); wanted.len()]
        });
        for (slot, fetched) in slots.iter().zip(fetched) {
            self.taken(place, slot, fetched);
        }
    }

    /// Takes an answer that nobody waits for.
    fn taken(&self, place: &Arc<Place>, slot: &Arc<Slot>, fetched: Result<Fetched, Failure>) {
        match fetched {
            Ok(fetched) => {
                place.answered(Instant::now());
                event::fetched(place);
                self.put(place, slot, fetched);
            }
            Err(failure) => self.refused(place, slot, &failure),
        }
    }

    /// Renews the lease of a secret, where it has one that has not come to its end.
    async fn renew(&self, place: &Arc<Place>, slot: &Arc<Slot>) -> Result<bool, Failure> {
        let renewed = self.renewed(place, slot).await;
        if let Err(failure) = &renewed {
            event::failed(place, slot.key.id(), failure, true);
        }
        renewed
    }

    pub(super) async fn renewed(
        &self,
        place: &Arc<Place>,
        slot: &Arc<Slot>,
    ) -> Result<bool, Failure> {
        let Some(held) = slot.held() else { return Ok(false) };
        let Some(lease) = held.fetched.lease.as_ref().filter(|lease| lease.renewable) else {
            return Ok(false);
        };
        let now = Instant::now();
        if held.age_at(now) >= lease.duration {
            return Ok(false);
        }
        let duration = place.manager.renew(lease).await?;
        if lasts(lease, duration) {
            place.answered(now);
            slot.renewed(duration, (now, self.clock.now()), &place.patience);
            return Ok(true);
        }
        Ok(false)
    }

    /// Fetches the secrets that carry the tags of the configuration.
    async fn refresh_tagged(&self, place: &Arc<Place>, now: Instant) {
        // Before what they brought grows old.
        let every = place.patience.refresh.mul_f64(0.7);
        let fetched_at = *place.tagged_at.lock();
        let due = fetched_at.is_none_or(|at| now.saturating_duration_since(at) >= every);
        if place.tagged.is_empty() || !due {
            return;
        }
        for tags in &place.tagged {
            match place.manager.fetch_tagged(tags).await {
                Ok(found) => {
                    place.answered(now);
                    for fetched in found {
                        // Tags are looked for in the caller's own account, where the name says as much as the
                        // ARN, by which it is found, too.
                        let wanted = Wanted { id: fetched.name.clone(), version: Which::Current };
                        let wanted = place.manager.normal(&wanted).unwrap_or(wanted);
                        let slot = self.slot(place, wanted);
                        event::fetched(place);
                        self.put(place, &slot, fetched);
                    }
                }
                Err(failure) => {
                    place.failed(now, &failure);
                    event::failed(place, "secrets by tag", &failure, true);
                    return;
                }
            }
        }
        *place.tagged_at.lock() = Some(now);
    }

    fn due_of(&self, place: &Place, now: Instant) -> Vec<Arc<Slot>> {
        let slots = self.slots.lock();
        let mut seen = BTreeSet::new();
        let mine = slots.iter().filter(|(key, _)| key.manager == place.name);
        // Several ids of one secret share a slot.
        let due = mine.filter(|(_, slot)| slot.due().is_over(now));
        due.filter(|(_, slot)| seen.insert(slot.key.clone()))
            .map(|(_, slot)| slot.clone())
            .collect()
    }

    /// The time until something of a place is due.
    fn pause(&self, place: &Place) -> Duration {
        let now = Instant::now();
        let slots = self.slots.lock();
        let away = place.pause(now).unwrap_or_default();
        let mine = slots.iter().filter(|(key, _)| key.manager == place.name);
        let due = mine.filter_map(|(_, slot)| Some(slot.due().wait(now)?.max(away)));
        due.min().unwrap_or(LOOK_TIME_MAX).clamp(LOOK_TIME_MIN, LOOK_TIME_MAX)
    }
}

/// Whether a renewed lease holds long enough to go on with it.
fn lasts(lease: &Lease, renewed: Duration) -> bool {
    renewed.as_secs_f64() >= lease.duration.as_secs_f64() * RENEWED_SHARE_MIN
}

impl Key {
    /// What it asks for, without the place.
    pub(crate) fn id(&self) -> &str {
        &self.wanted.id
    }
}
