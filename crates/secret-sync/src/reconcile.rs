//! At the start and from time to time every association is compared with its secret, and where it
//! is permitted with what the destination shows.

use crate::{
    association::Association,
    board::{Key, Urgency},
    destination::{Names, Note, Remote},
    event,
    pass::Pass,
    plan::differs,
    registry::Configured,
    store::Store,
};
use bailee_crypto::clock::from_millis;
use bailee_sdk::Namespace;
use bailee_storage::Error;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How far a list of a destination may lag behind the truth: younger deliveries are not judged by it.
const SURVEY_LAG: Duration = Duration::from_secs(600);
/// Pages of a survey: of a hundred objects each.
const SURVEY_PAGES_MAX: usize = 10_000;

/// Wishes for work on every association; for those that the destination shows otherwise than we
/// left them, with a closer look.
pub(crate) async fn reconcile(pass: &Pass) {
    let (mut associations, mut suspects) = (0, 0);
    for namespace in pass.namespaces() {
        match of_namespace(pass, &namespace).await {
            Ok((compared, suspected)) => {
                associations += compared;
                suspects += suspected;
            }
            Err(error) => event::storage_failed("reconcile", &error),
        }
    }
    event::reconciled(associations, suspects);
}

async fn of_namespace(pass: &Pass, namespace: &Arc<Namespace>) -> Result<(usize, usize), Error> {
    let store = Store::open(&pass.barrier, namespace);
    let mut destinations: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (destination, secret) in store.association_ids().await? {
        destinations.entry(destination).or_default().push(secret);
    }
    let (mut compared, mut suspected) = (0, 0);
    for (destination, secrets) in destinations {
        let suspects = suspects(pass, &store, namespace, &destination).await?;
        compared += secrets.len();
        suspected += suspects.len();
        for secret in secrets {
            let key = Key::new(namespace, &destination, &secret);
            if suspects.contains(&secret) {
                pass.board.verify(key);
            } else {
                pass.board.kick(key, Urgency::Check);
            }
        }
    }
    Ok((compared, suspected))
}

/// Secrets that the destination shows otherwise than we left them.
async fn suspects(
    pass: &Pass,
    store: &Store,
    namespace: &Namespace,
    destination: &str,
) -> Result<BTreeSet<String>, Error> {
    let associations = store.associations(destination).await?;
    let Some((_, first)) = associations.first() else { return Ok(BTreeSet::new()) };
    let (kind, name) = (&first.destination_type, &first.destination_name);
    let configured = match pass.registry.configured(store, namespace, kind, name).await {
        Ok(Some(configured)) => configured,
        // Each association will say what is wrong with its destination.
        Ok(None) | Err(_) => return Ok(BTreeSet::new()),
    };
    let Some(found) = survey(&configured).await else { return Ok(BTreeSet::new()) };
    let now = pass.clock.now();
    let suspicious = |association: &Association| is_suspicious(association, &found, now);
    Ok(associations
        .into_iter()
        .filter(|(_, association)| suspicious(association))
        .map(|(secret, _)| secret)
        .collect())
}

fn is_suspicious(
    association: &Association,
    found: &BTreeMap<String, Remote>,
    now: SystemTime,
) -> bool {
    association.ledger.iter().any(|entry| {
        entry.delivered.as_ref().is_some_and(|delivered| {
            from_millis(delivered.at) + SURVEY_LAG <= now
                && differs(found.get(&entry.name), &delivered.version_id)
        })
    })
}

/// Everything that carries our mark; `None` where it cannot be told.
async fn survey(configured: &Configured) -> Option<BTreeMap<String, Remote>> {
    let stored = &configured.stored;
    let mut found = BTreeMap::new();
    let mut after = None;
    for _ in 0..SURVEY_PAGES_MAX {
        match configured.destination.survey(&Names::Ours, after).await {
            Ok(page) => {
                found.extend(page.objects);
                after = page.next;
                if after.is_none() {
                    configured.surveyed();
                    return Some(found);
                }
            }
            Err(error) => {
                if let Some(missing_permission) = error.missing_permission {
                    configured.wish(Note {
                        missing_permission,
                        message: "would let reconciliation see what others changed at the \
                                  destination"
                            .to_owned(),
                    });
                } else {
                    event::survey_failed(&stored.kind, &stored.name, &error);
                }
                return None;
            }
        }
    }
    None
}
