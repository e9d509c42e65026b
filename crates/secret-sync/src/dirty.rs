//! Change notes become dirty marks: one mark per destination that wants the secret, in the batch
//! that removes the note, unless the note was written anew meanwhile.

use crate::{
    board::Key,
    store::{Mark, Store},
};
use bailee_barrier::Barrier;
use bailee_crypto::clock::to_millis;
use bailee_sdk::{
    Namespace,
    change::{self, Waiting},
};
use bailee_storage::Error;
use std::{sync::Arc, time::SystemTime};

/// Notes that are taken up in one batch.
const NOTES_MAX: usize = 256;

/// Takes up all waiting notes of a namespace, and tells of the objects that became dirty.
pub(crate) async fn spread(
    barrier: &Arc<Barrier>,
    namespace: &Arc<Namespace>,
    now: SystemTime,
    mut dirty: impl FnMut(Key),
) -> Result<(), Error> {
    let mut after = String::new();
    loop {
        let view = Store::open(barrier, namespace).view;
        let notes = change::waiting(&view, namespace, &after, NOTES_MAX).await?;
        let Some(last) = notes.last() else { return Ok(()) };
        after = last.key.strip_prefix("note/").unwrap_or(&last.key).to_owned();
        let mut parts = vec![notes.as_slice()];
        while let Some(part) = parts.pop() {
            match take_up(barrier, namespace, part, now).await {
                Ok(keys) => keys.into_iter().for_each(&mut dirty),
                // One of them was written anew: the others need not wait for it. The newer note is
                // waiting, and a wake-up for it is on its way.
                Err(Error::Conflict) if part.len() > 1 => {
                    parts.extend(<[_; 2]>::from(part.split_at(part.len() / 2)));
                }
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

async fn take_up(
    barrier: &Arc<Barrier>,
    namespace: &Arc<Namespace>,
    notes: &[Waiting],
    now: SystemTime,
) -> Result<Vec<Key>, Error> {
    let store = Store::open(barrier, namespace);
    let mark = Mark { since: to_millis(now) };
    let mut keys = Vec::new();
    for note in notes {
        change::take_up(&store.view, namespace, note);
        let secret = store.secret_id(&note.change.mount, &note.change.path);
        for destination in store.destinations_of(&secret).await? {
            store.mark_dirty(&destination, &secret, mark);
            keys.push(Key::new(namespace, &destination, &secret));
        }
    }
    store.view.commit().await?;
    Ok(keys)
}
