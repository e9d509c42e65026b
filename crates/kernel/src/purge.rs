//! Removing what a disabled mount or a deleted namespace has stored, in bounded batches. A pass that
//! is cut short is finished by the next.

use crate::{
    identity::IdentityStore,
    lockout, mount,
    registry::{self, Registry},
    token::TokenStore,
};
use bailee_barrier::Barrier;
use bailee_sdk::{Error, Mount, Namespace};
use futures_util::StreamExt;
use std::{collections::BTreeMap, sync::Arc};

/// Keys that one batch removes.
const BATCH_KEYS_MAX: usize = 100;

/// Removes all that is marked for removal.
pub(crate) async fn pass(
    barrier: &Arc<Barrier>,
    registry: &Registry,
    tokens: &TokenStore,
    identity: &IdentityStore,
) -> Result<(), Error> {
    let places = registry.places();
    for entry in places.deleting() {
        let namespace = Namespace { id: entry.id.clone(), path: entry.path.clone() };
        // Mounts first: without them no request that is still under way can add anything.
        prefix(barrier, &format!("{}sys/", namespace.prefix())).await?;
        prefix(barrier, &namespace.prefix()).await?;
        let view = barrier.view("");
        registry::remove_namespace(&view, &entry.id);
        view.commit().await?;
        registry.mark_namespaces();
    }
    for place in places.iter() {
        for uuid in &place.disabling {
            let stored = Mount {
                path: String::new(),
                uuid: uuid.clone(),
                accessor: String::new(),
                kind: String::new(),
                options: BTreeMap::new(),
            };
            // Its logins are dead since it serves no more.
            tokens.revoke_logins(&place.namespace, uuid).await?;
            prefix(barrier, &stored.prefix(&place.namespace)).await?;
            prefix(barrier, &lockout::folder(&place.namespace, uuid)).await?;
            identity.forget_mount(&place.namespace, uuid).await?;
            let view = barrier.view("");
            mount::remove(&view, &place.namespace, uuid);
            view.commit().await?;
            registry.mark_mounts(&place.namespace);
        }
    }
    registry.refresh().await
}

/// Removes every key under a prefix.
async fn prefix(barrier: &Arc<Barrier>, prefix: &str) -> Result<(), Error> {
    loop {
        let view = barrier.view("");
        let mut entries = barrier.backend().scan(prefix, "").take(BATCH_KEYS_MAX);
        let mut found = 0;
        while let Some(entry) = entries.next().await {
            view.delete(&entry?.0);
            found += 1;
        }
        if found == 0 {
            return Ok(());
        }
        view.commit().await?;
    }
}
