//! At the start and from time to time every association is compared with its secret, and where it
//! is permitted with what the destination shows.

use crate::{
    association::Association,
    board::{Key, Urgency},
    destination::{Names, Note, Remote},
    epoch::Epoch,
    event,
    pass::Pass,
    plan::drift,
    registry::{Configured, Drift},
    store::Store,
};
use bailee_crypto::clock::from_millis;
use bailee_sdk::Namespace;
use bailee_storage::Error;
use futures_util::{StreamExt, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How far a list of a destination may lag behind the truth: younger deliveries are not judged by it.
const SURVEY_LAG: Duration = Duration::from_secs(600);
/// Pages of a survey: of a hundred objects each.
const SURVEY_PAGES_MAX: usize = 10_000;
/// Destinations that are surveyed at once.
const SURVEYS_MAX: usize = 8;

/// Wishes for work on every association, and when the destinations have been surveyed once more for
/// those that look otherwise than we left them. A destination that answers late, or cannot be read,
/// holds up nobody else.
pub(crate) async fn reconcile(pass: &Pass) {
    let (mut associations, mut suspected) = (0, 0);
    let mut destinations = Vec::new();
    for namespace in pass.namespaces() {
        match kick_all(pass, &namespace).await {
            Ok((kicked, found)) => {
                associations += kicked;
                let found = found.into_iter();
                destinations.extend(found.map(|destination| (namespace.clone(), destination)));
            }
            Err(error) => event::storage_failed("reconcile", &error),
        }
    }
    let surveys = destinations.into_iter().map(|(namespace, destination)| async move {
        let suspects = suspects(pass, &namespace, &destination).await?;
        for secret in &suspects {
            pass.board.verify(Key::new(&namespace, &destination, secret));
        }
        Ok::<usize, Error>(suspects.len())
    });
    let mut surveys = stream::iter(surveys).buffer_unordered(SURVEYS_MAX);
    while let Some(survey) = surveys.next().await {
        match survey {
            Ok(suspects) => suspected += suspects,
            Err(error) => event::storage_failed("survey a destination", &error),
        }
    }
    event::reconciled(associations, suspected);
}

/// Wishes for work on every association of a namespace: how many there are, and the destinations
/// they are kept at.
async fn kick_all(
    pass: &Pass,
    namespace: &Arc<Namespace>,
) -> Result<(usize, BTreeSet<String>), Error> {
    let ids = Store::open(&pass.barrier, namespace).association_ids().await?;
    for (destination, secret) in &ids {
        pass.board.kick(Key::new(namespace, destination, secret), Urgency::Check);
    }
    Ok((ids.len(), ids.into_iter().map(|(destination, _)| destination).collect()))
}

/// Secrets that the destination shows otherwise than we left them.
async fn suspects(
    pass: &Pass,
    namespace: &Namespace,
    destination: &str,
) -> Result<Vec<String>, Error> {
    let store = Store::open(&pass.barrier, namespace);
    let Some((_, first)) = store.associations(destination).await?.into_iter().next() else {
        return Ok(Vec::new());
    };
    let (kind, name) = (&first.destination_type, &first.destination_name);
    let configured = match pass.registry.configured(&store, namespace, kind, name).await {
        Ok(Some(configured)) => configured,
        // Each association will say what is wrong with its destination.
        Ok(None) | Err(_) => return Ok(Vec::new()),
    };
    let Some(found) = survey(&configured).await else { return Ok(Vec::new()) };
    // Read after the survey: what was delivered meanwhile is known to be young.
    let associations = Store::open(&pass.barrier, namespace).associations(destination).await?;
    let now = pass.clock.now();
    let Some(epoch) = Epoch::read(&store.view).await? else { return Ok(Vec::new()) };
    let mark = |association: &Association, name: &str| {
        let (kind, destination) = (&association.destination_type, &association.destination_name);
        epoch.mark(&pass.barrier, namespace, (kind, destination), name)
    };
    let repair = configured.stored.drift == Drift::Repair;
    let suspicious = |association: &Association| {
        association.objects.iter().any(|object| {
            object.delivered.as_ref().is_some_and(|delivered| {
                let mark = mark(association, &object.name);
                let seen = drift(found.get(&object.name), delivered, &mark);
                let known = seen == object.drift.map(|drift| drift.kind);
                from_millis(delivered.at) + SURVEY_LAG <= now
                    && (!known || (repair && seen.is_some()))
            })
        })
    };
    Ok(associations
        .into_iter()
        .filter(|(_, association)| suspicious(association))
        .map(|(secret, _)| secret)
        .collect())
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
