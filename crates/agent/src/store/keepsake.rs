//! What outlives the agent: the store's content, for the encrypted file and back.

use super::{Key, Store, slot::Slot};
use crate::manager::{Fetched, Wanted};
use std::{sync::Arc, time::SystemTime};

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
    /// All that is kept and may serve after a restart. Leases are left out: they belong to this run.
    pub fn keepsakes(&self) -> Vec<Keepsake> {
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
    /// there. Gives how many were taken; what belongs to another place, or is too old, is not.
    pub fn restore(&self, keepsakes: Vec<Keepsake>) -> usize {
        let now = self.clock.now();
        let mut taken = 0;
        for keepsake in keepsakes {
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
