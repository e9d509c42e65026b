//! What outlives the agent: the store's content, for the encrypted file and back.

use super::{Key, Store, slot::Slot};
use crate::manager::{Fetched, Newest, Wanted};
use bailee_client::Pass;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How far a clock is set back by those who keep it right.
const CLOCK_STEP_MAX: Duration = Duration::from_secs(5);

/// All that outlives the agent.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The secrets.
    pub secrets: Vec<Keepsake>,
    /// What is known of places.
    pub places: Vec<Known>,
}

impl Memory {
    /// The same without leases and what they hang on.
    pub(crate) fn without_leases(mut self) -> Memory {
        self.secrets.retain(|secret| secret.fetched.lease.is_none());
        self.places.iter_mut().for_each(|known| known.pass = None);
        self
    }
}

/// What is known of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The manager's name in the configuration.
    pub manager: String,
    /// What its place was.
    pub place: String,
    /// The newest versions that it gave, also of secrets that are not kept.
    pub newest: Vec<Newest>,
    /// What the leases of its secrets hang on.
    pub pass: Option<Pass>,
}

/// A secret with all that is needed to serve it after a restart.
#[derive(Clone, Debug)]
pub struct Keepsake {
    /// The manager's name in the configuration.
    pub manager: String,
    /// What its place was: what another identity fetched is not taken back.
    pub place: String,
    /// As it was asked for.
    pub wanted: Wanted,
    /// As it was fetched.
    pub fetched: Fetched,
    /// When it was fetched, or its lease was renewed.
    pub at: SystemTime,
}

impl Store {
    /// All that is to outlive the agent. Leases, and what they hang on, only where `leases` says so: else they belong
    /// to this run.
    pub async fn memory(&self, leases: bool) -> Memory {
        let mut memory = Memory { secrets: self.keepsakes(leases), places: Vec::new() };
        for place in self.places.values() {
            let pass = if leases { place.manager.pass().await } else { None };
            let newest = place.manager.newest();
            if pass.is_some() || !newest.is_empty() {
                let (manager, place) = (place.name.to_string(), place.manager.place());
                memory.places.push(Known { manager, place, newest, pass });
            }
        }
        memory
    }

    fn keepsakes(&self, leases: bool) -> Vec<Keepsake> {
        let slots: Vec<Arc<Slot>> = {
            let slots = self.slots.lock();
            slots
                .iter()
                .filter(|(key, slot)| **key == slot.key)
                .map(|(_, slot)| slot.clone())
                .collect()
        };
        slots.iter().filter_map(|slot| self.keepsake(slot, leases)).collect()
    }

    fn keepsake(&self, slot: &Slot, leases: bool) -> Option<Keepsake> {
        let held = slot.held().filter(|held| leases || held.fetched.lease.is_none())?;
        Some(Keepsake {
            manager: slot.key.manager.to_string(),
            place: self.place(&slot.key.manager).ok()?.manager.place(),
            wanted: slot.key.wanted.clone(),
            fetched: held.fetched.clone(),
            at: held.at,
        })
    }

    /// Takes back what an earlier run kept. It serves while its place is away, and is fetched anew where it is
    /// there. A lease is gone on with while it holds. Gives how many secrets were taken; what belongs to another place,
    /// or is too old, is not.
    pub async fn restore(&self, memory: Memory) -> usize {
        let now = self.clock.now();
        let mut taken = 0;
        for known in memory.places {
            if let Ok(place) = self.place(&known.manager)
                && place.manager.place() == known.place
            {
                place.manager.remember(known.newest);
                if let Some(pass) = known.pass {
                    place.manager.resume(pass).await;
                }
            }
        }
        for keepsake in memory.secrets {
            let Ok(place) = self.place(&keepsake.manager).cloned() else { continue };
            // Where the clock was set back meanwhile nobody knows how old it is.
            let age = now.duration_since(keepsake.at);
            let known = match &age {
                Ok(age) => Some(*age),
                Err(ahead) => (ahead.duration() <= CLOCK_STEP_MAX).then_some(Duration::ZERO),
            };
            let age = known.unwrap_or_default();
            let lease = keepsake.fetched.lease.as_ref();
            // What its lease made is taken away when that is over.
            let lasts = lease.map_or(place.patience.stale_max, |lease| lease.duration);
            if place.manager.place() != keepsake.place || age > lasts {
                continue;
            }
            let Ok(wanted) = place.manager.normal(&keepsake.wanted) else { continue };
            let for_good =
                Wanted { id: keepsake.fetched.id.clone(), version: wanted.version.clone() };
            let for_good = Key { manager: place.name.clone(), wanted: for_good };
            let slot = self.slot(&place, wanted);
            // By its ARN it is found in an outage, too, whatever it was asked for by.
            if let Some(other) = self.share(for_good, &slot) {
                other.restore(keepsake.fetched.clone(), keepsake.at, known);
            }
            slot.restore(keepsake.fetched, keepsake.at, known);
            place.due.notify_one();
            taken += 1;
        }
        taken
    }
}
