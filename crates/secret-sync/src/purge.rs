//! Deleting a destination together with its associations: each is removed like any other, then the
//! destination goes.

use crate::{
    association::{Association, Problem},
    board::{Key, LaneKey, PurgeKey, Urgency},
    event,
    feed::Event,
    orphan::Orphan,
    pass::Pass,
    store::{Mark, Store},
};
use bailee_crypto::clock::to_millis;
use bailee_sdk::Namespace;
use bailee_storage::Error;
use futures_util::StreamExt;
use std::sync::Arc;

/// Associations that are marked in one batch.
const BATCH: usize = 100;

/// Finds the deletions that were begun in a namespace. A destination that cannot be read hides no
/// other one; the first failure is told at the end.
pub(crate) async fn find(
    pass: &Pass,
    store: &Store,
    namespace: &Arc<Namespace>,
) -> Result<(), Error> {
    let mut outcome = Ok(());
    for folder in store.destination_names("").await? {
        let kind = folder.trim_end_matches('/').to_owned();
        for name in store.destination_names(&folder).await? {
            let found = match store.destination(&kind, &name).await {
                Ok(found) => found,
                Err(error) => {
                    outcome = outcome.and(Err(error));
                    continue;
                }
            };
            if found.is_some_and(|(destination, _)| destination.is_purging()) {
                pass.board.kick_purge(PurgeKey {
                    namespace: namespace.clone(),
                    kind: kind.clone(),
                    name,
                });
            }
        }
    }
    outcome
}

/// Carries a deletion on. A failure is found again by the next sweep.
pub(crate) async fn carry_on(pass: &Pass, key: &PurgeKey) {
    if let Err(error) = step(pass, key).await {
        event::storage_failed("delete a destination", &error);
    }
}

async fn step(pass: &Pass, key: &PurgeKey) -> Result<(), Error> {
    let store = Store::open(&pass.barrier, &key.namespace);
    if store.config().await?.disabled {
        return Ok(());
    }
    let id = store.destination_id(&key.kind, &key.name);
    store.lock_destination(&id).await;
    let Some((mut destination, _)) = store.destination(&key.kind, &key.name).await? else {
        return Ok(());
    };
    let Some(purge) = destination.purge.as_mut().filter(|purge| purge.error.is_none()) else {
        return Ok(());
    };
    let lane = LaneKey::new(&key.namespace, &id);
    pass.board.resume(&lane);
    // While removals are under way there is nothing new to see: the last one asks again.
    if pass.board.busy(&lane) > 1 {
        return Ok(());
    }
    // Of a time that lies ahead since the clock was put back nothing follows.
    let asked_at = Some(purge.initiated_at).filter(|at| *at <= to_millis(pass.clock.now()));
    let force = purge.force;
    let left = look_through(&store, &id, asked_at.unwrap_or_default(), force).await?;
    if left.is_empty {
        store.delete_destination(&key.kind, &key.name).await?;
        store.view.commit().await?;
        pass.registry.forget(&key.namespace, &id);
        event::purge_ended(&key.kind, &key.name, false);
        tell(pass, key, None);
        return Ok(());
    }
    if !left.unmarked.is_empty() {
        return mark(pass, key, &id, &left.unmarked).await;
    }
    if force {
        return leave_behind(pass, key, &id, &left.stuck).await;
    }
    if let Some(problem) = left.problem {
        let problem = Some(problem);
        purge.error = problem.as_ref().map(|problem| problem.message.clone());
        store.put_destination(&destination).await?;
        store.view.commit().await?;
        event::purge_ended(&key.kind, &key.name, true);
        tell(pass, key, problem.as_ref());
    }
    Ok(())
}

/// Why a purge failed holds names of secrets, so that only its class is told to all who listen.
fn tell(pass: &Pass, key: &PurgeKey, problem: Option<&Problem>) {
    pass.board.feed.tell(|| {
        let destination = (&*key.kind, &*key.name);
        let what = if problem.is_some() { "purge_failed" } else { "purged" };
        let event = Event::of_destination(what, &key.namespace, destination, pass.clock.now());
        let class = problem.map(|problem| problem.failure.name());
        let detail = class.map(|class| ("error", serde_json::json!({ "class": class })));
        vec![Event { detail, ..event }]
    });
}

/// What is left of a destination's associations, by their codes.
#[derive(Default)]
struct Left {
    is_empty: bool,
    /// Those whose removal has yet to be asked for.
    unmarked: Vec<String>,
    /// Those whose removal failed.
    stuck: Vec<String>,
    /// Why the first of them did.
    problem: Option<Problem>,
}

/// Goes through the associations one by one: there may be many.
async fn look_through(
    store: &Store,
    id: &str,
    initiated_at: u64,
    force: bool,
) -> Result<Left, Error> {
    let mut left = Left { is_empty: true, ..Left::default() };
    let mut associations = store.associations_after(id, "");
    while let Some(entry) = associations.next().await {
        let (secret, association) = entry?;
        left.is_empty = false;
        if !association.removing || association.failed_before(initiated_at) {
            left.unmarked.push(secret);
        } else if is_stuck(&association, force) {
            left.stuck.push(secret);
            left.problem = left.problem.or_else(|| association.problems().next().cloned());
        }
    }
    Ok(left)
}

/// Whether a removal failed for good; when the deletion is forced, one failure is enough.
fn is_stuck(association: &Association, force: bool) -> bool {
    association.problems().any(|problem| force || !problem.failure.passes())
}

async fn mark(pass: &Pass, key: &PurgeKey, id: &str, unmarked: &[String]) -> Result<(), Error> {
    let mark = Mark { since: to_millis(pass.clock.now()) };
    for batch in unmarked.chunks(BATCH) {
        let store = Store::open(&pass.barrier, &key.namespace);
        for secret in batch {
            store.lock_association(id, secret).await;
            let Some((mut association, read_at)) = store.association(id, secret).await? else {
                continue;
            };
            association.removing = true;
            association.state.problem = None;
            for object in &mut association.objects {
                object.state.problem = None;
            }
            store.update_association(id, secret, &association, read_at);
            store.mark_dirty(id, secret, mark);
        }
        store.view.commit().await?;
        for secret in batch {
            pass.board.kick(Key::new(&key.namespace, id, secret), Urgency::Change);
        }
    }
    Ok(())
}

/// Forgets associations whose objects cannot be removed.
async fn leave_behind(
    pass: &Pass,
    key: &PurgeKey,
    id: &str,
    stuck: &[String],
) -> Result<(), Error> {
    let mark = Mark { since: to_millis(pass.clock.now()) };
    for batch in stuck.chunks(BATCH) {
        let store = Store::open(&pass.barrier, &key.namespace);
        let mut found = Vec::with_capacity(batch.len());
        for secret in batch {
            store.lock_association(id, secret).await;
            let association = store.association(id, secret).await?;
            found.extend(association.map(|(association, read_at)| (secret, association, read_at)));
        }
        // All at once, in their order, as everybody locks names.
        let objects = found.iter().flat_map(|(_, association, _)| &association.objects);
        let names: Vec<&str> = objects.map(|object| object.name.as_str()).collect();
        store.lock_names(id, &names).await;
        for (secret, association, read_at) in &found {
            for object in &association.objects {
                if object.begun {
                    store.put_orphan(id, &Orphan::of(association, object, mark.since));
                }
                store.release_name(id, &object.name, secret, mark).await?;
            }
            store.delete_association(id, secret, *read_at);
        }
        store.view.commit().await?;
    }
    if !stuck.is_empty() {
        // The destination itself may be free to go now.
        pass.board.kick_purge(key.clone());
    }
    Ok(())
}
