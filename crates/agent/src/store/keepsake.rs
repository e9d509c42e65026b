//! What outlives the agent: the store's content, for the encrypted file and back.

use super::{Key, Store, slot::Slot};
use crate::manager::{Fetched, Newest, Wanted};
use std::{sync::Arc, time::SystemTime};

/// All that outlives the agent.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The secrets.
    pub secrets: Vec<Keepsake>,
    /// What is known of places.
    pub places: Vec<Known>,
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
    /// When it was fetched.
    pub at: SystemTime,
}

impl Store {
    /// All that is to outlive the agent. Leases are left out: they belong to this run.
    pub fn memory(&self) -> Memory {
        let places = self.places.values().map(|place| Known {
            manager: place.name.to_string(),
            place: place.manager.place(),
            newest: place.manager.newest(),
        });
        let known = places.filter(|known| !known.newest.is_empty()).collect();
        Memory { secrets: self.keepsakes(), places: known }
    }

    fn keepsakes(&self) -> Vec<Keepsake> {
        let slots: Vec<Arc<Slot>> = {
            let slots = self.slots.lock();
            slots
                .iter()
                .filter(|(key, slot)| **key == slot.key)
                .map(|(_, slot)| slot.clone())
                .collect()
        };
        slots.iter().filter_map(|slot| self.keepsake(slot)).collect()
    }

    fn keepsake(&self, slot: &Slot) -> Option<Keepsake> {
        let held = slot.held().filter(|held| held.fetched.lease.is_none())?;
        Some(Keepsake {
            manager: slot.key.manager.to_string(),
            place: self.place(&slot.key.manager).ok()?.manager.place(),
            wanted: slot.key.wanted.clone(),
            fetched: held.fetched.clone(),
            at: held.at,
        })
    }

    /// Takes back what an earlier run kept. It serves while its place is away, and is fetched anew where it is
    /// there. Gives how many secrets were taken; what belongs to another place, or is too old, is not.
    pub fn restore(&self, memory: Memory) -> usize {
        let now = self.clock.now();
        let mut taken = 0;
        for known in memory.places {
            if let Ok(place) = self.place(&known.manager)
                && place.manager.place() == known.place
            {
                place.manager.remember(known.newest);
            }
        }
        for keepsake in memory.secrets {
            let Ok(place) = self.place(&keepsake.manager).cloned() else { continue };
            let age = now.duration_since(keepsake.at).unwrap_or_default();
            if place.manager.place() != keepsake.place || age > place.patience.stale_max {
                continue;
            }
            let Ok(wanted) = place.manager.normal(&keepsake.wanted) else { continue };
            let for_good =
                Wanted { id: keepsake.fetched.id.clone(), version: wanted.version.clone() };
            let for_good = Key { manager: place.name.clone(), wanted: for_good };
            let slot = self.slot(&place, wanted);
            // By its ARN it is found in an outage, too, whatever it was asked for by.
            if let Some(other) = self.share(for_good, &slot) {
                other.restore(keepsake.fetched.clone(), keepsake.at, age);
            }
            slot.restore(keepsake.fetched, keepsake.at, age);
            place.due.notify_one();
            taken += 1;
        }
        taken
    }
}
