//! Which server this is, where several have the same keys.
//!
//! A snapshot restored elsewhere, or brought back here, holds the keys and the ledger of the server it
//! was taken from. So that two servers do not fight over the same objects, sync of restored storage is
//! held until an operator says that this server takes over; from then on it marks what it owns with
//! another epoch, and the server it was taken from leaves alone what it sees marked so.

use crate::{store::place, tags::OwnerMark};
use bailee_barrier::{Barrier, RESTORE_KEY, View};
use bailee_crypto::random;
use bailee_sdk::Namespace;
use bailee_storage::Error;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes of an epoch's name before they become hexadecimal.
const ID_BYTES: usize = 6;
/// Hexadecimal digits of a mark's code: 128 bits.
const CODE_DIGITS: usize = 32;
/// What codes of marks are for.
const MARK_PURPOSE: &str = "sync-owner";
/// Former epochs that are remembered.
const FORMER_MAX: usize = 16;

/// The epoch of this storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Epoch {
    /// Its name; not secret.
    pub(crate) id: String,
    /// Epochs that were taken over, newest first.
    pub(crate) former: Vec<String>,
    /// The restoration this epoch knows of.
    restored: Option<String>,
    /// Whether storage was restored since, so that nothing is delivered.
    pub(crate) held: bool,
}

impl Epoch {
    /// The epoch in the unit of work of `view`; `None` before the first start of sync.
    pub(crate) async fn read(view: &View) -> Result<Option<Epoch>, Error> {
        place_of(view).get("epoch").await
    }

    /// The epoch at the start of a session: made when there is none, held when storage was restored.
    pub(crate) async fn begin(barrier: &Arc<Barrier>) -> Result<Epoch, Error> {
        let restored = restoration(barrier).await?;
        let view = barrier.view(&place(&Namespace::root()));
        view.lock("epoch").await;
        let before: Option<Epoch> = view.get("epoch").await?;
        let epoch = match before.clone() {
            None => Epoch { id: name(), former: Vec::new(), restored, held: false },
            Some(epoch) => Epoch { held: epoch.held || epoch.restored != restored, ..epoch },
        };
        if before.as_ref() != Some(&epoch) {
            view.put("epoch", &epoch);
            view.commit().await?;
        }
        Ok(epoch)
    }

    /// The epoch after this server has taken over what it was restored from.
    pub(crate) async fn take_over(view: &View) -> Result<Epoch, Error> {
        let restored = restoration(view.barrier()).await?;
        let place = place_of(view);
        place.lock("epoch").await;
        let before: Option<Epoch> = place.get("epoch").await?;
        let former =
            before.into_iter().flat_map(|before| std::iter::once(before.id).chain(before.former));
        let former = former.take(FORMER_MAX).collect();
        let epoch = Epoch { id: name(), former, restored, held: false };
        place.put("epoch", &epoch);
        Ok(epoch)
    }

    /// The mark of an object.
    pub(crate) fn mark(
        &self,
        barrier: &Barrier,
        namespace: &Namespace,
        (kind, destination): (&str, &str),
        object: &str,
    ) -> OwnerMark {
        let subject = format!("{}/{kind}/{destination}/{object}", namespace.id);
        let mut code = hex::encode(barrier.fingerprint(MARK_PURPOSE, subject.as_bytes()));
        code.truncate(CODE_DIGITS);
        OwnerMark { epoch: self.id.clone(), code, former: self.former.clone() }
    }
}

async fn restoration(barrier: &Arc<Barrier>) -> Result<Option<String>, Error> {
    Ok(barrier.backend().get(RESTORE_KEY).await?.map(|entry| hex::encode(entry.bytes)))
}

fn place_of(view: &View) -> View {
    view.at(&place(&Namespace::root()))
}

fn name() -> String {
    hex::encode(random::array::<ID_BYTES>())
}
