//! Giving back what places lent, when the agent ends.

use super::{Place, Store};
use crate::{event, manager::Lease};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::timeout;

/// How long the leases of a place are given back.
const LEASES_TIME_MAX: Duration = Duration::from_secs(10);
/// How long it is taken leave of a place after that.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(5);

impl Store {
    /// Gives back all leases, and then what the agent came in with, as when it ends; for a quarter of a minute at
    /// most. Each place by itself: one that does not answer keeps nothing of another. What cannot be given back ends
    /// by itself.
    pub async fn close(&self) {
        let closed = self.places.values().map(|place| self.close_place(place));
        futures_util::future::join_all(closed).await;
    }

    async fn close_place(&self, place: &Place) {
        let leases = self.leases_of(place);
        let revoking = async {
            for lease in leases.values() {
                if let Err(failure) = place.manager.revoke(lease).await {
                    event::lease_not_given_back(place, &failure);
                }
            }
        };
        if timeout(LEASES_TIME_MAX, revoking).await.is_err() {
            event::not_given_back_in_time(place, "leases");
        }
        if timeout(LEAVE_TIME_MAX, place.manager.leave()).await.is_err() {
            event::not_given_back_in_time(place, "the token");
        }
    }

    fn leases_of(&self, place: &Place) -> BTreeMap<String, Lease> {
        let slots = self.slots.lock();
        let mine = slots.iter().filter(|(key, _)| key.manager == place.name);
        let leases = mine.filter_map(|(_, slot)| slot.held()?.fetched.lease.clone());
        leases.filter(|lease| !lease.id.is_empty()).map(|lease| (lease.id.clone(), lease)).collect()
    }
}
