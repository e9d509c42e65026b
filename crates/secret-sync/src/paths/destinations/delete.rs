//! Deleting a destination, alone or with its associations.

use super::DeleteDestination;
use crate::{
    board::{LaneKey, PurgeKey},
    paths::Paths,
    registry::{Purge, StoredDestination},
    store::Store,
};
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Body, Error, Reply, Request};
use std::{sync::Arc, time::SystemTime};

impl Paths {
    pub(in crate::paths) async fn delete_destination(
        self: Arc<Self>,
        request: Request<DeleteDestination>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let DeleteDestination { kind, name, purge, force_delete } = &request.input;
        let kind = self.kind(kind)?;
        let id = store.destination_id(kind.name, name);
        store.lock_destination(&id).await;
        let Some((mut destination, _)) = store.destination(kind.name, name).await? else {
            return Ok(Reply::empty());
        };
        self.free_of_sources(&store, &destination).await?;
        if !store.has_associations(&id).await? {
            store.delete_destination(kind.name, name).await?;
            // Should the deletion not be committed, it is built again.
            self.sync.registry.forget(&request.namespace, &id);
            if let Some(board) = self.board() {
                // Nothing rests any more, should one of that name be made again.
                board.resume(&LaneKey::new(&request.namespace, &id));
            }
            return Ok(Reply::empty());
        }
        let force = force_delete.0;
        if !purge.0 && !force {
            return Err(Error::invalid(format!(
                "destination {}/{name} has associated secrets: remove them first, or delete it \
                 with purge=true to remove them with it",
                kind.name
            )));
        }
        self.may_purge(&store).await?;
        begin(&mut destination, force, request.now);
        store.put_destination(&destination).await?;
        let key = PurgeKey {
            namespace: request.namespace.clone(),
            kind: kind.name.to_owned(),
            name: name.clone(),
        };
        let board = self.board();
        let orphans = force.then(|| {
            format!(
                "secrets that cannot be removed are left behind at the destination and listed at \
                 sys/sync/orphans/{}/{name}",
                kind.name
            )
        });
        let reply = Reply::from(Body::After(Box::pin(async move {
            if let Some(board) = board {
                board.kick_purge(key);
            }
            Ok(Reply::empty())
        })));
        Ok(orphans.into_iter().fold(reply, Reply::warn))
    }

    /// What a source delivers to does not go away under it.
    async fn free_of_sources(
        &self,
        store: &Store,
        destination: &StoredDestination,
    ) -> Result<(), Error> {
        let StoredDestination { kind, name, .. } = destination;
        let sources = store.sources_of(kind, name).await?;
        if sources.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "destination {kind}/{name} is what these sources deliver to: {}; delete them, or give \
             them another destination, first",
            sources.join(", ")
        )))
    }

    /// Nothing is removed while nothing goes out.
    async fn may_purge(&self, store: &Store) -> Result<(), Error> {
        if store.config().await?.disabled {
            return Err(Error::invalid(
                "secrets sync is disabled: enable it in sys/sync/config before a purge",
            ));
        }
        if self.is_held(store).await? {
            return Err(Error::invalid(
                "secrets sync is held since storage was restored: take over with a write to \
                 sys/sync/takeover before a purge",
            ));
        }
        Ok(())
    }
}

/// Begins a purge; one that runs goes on, and may be forced from now on.
fn begin(destination: &mut StoredDestination, force: bool, now: SystemTime) {
    match &mut destination.purge {
        Some(running) if running.error.is_none() => running.force |= force,
        purge => *purge = Some(Purge { initiated_at: to_millis(now), force, error: None }),
    }
}
