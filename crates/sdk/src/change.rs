//! Notes that a secret changed. They are written in the batch that changes it, and wait in storage
//! until sync has taken them up: what travels up is data, with a wake-up that says nothing.

use crate::{Mount, Namespace, View};
use bailee_barrier::{Error, Revision};
use serde::{Deserialize, Serialize};

/// A secret that got another value, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Id of the mount it is in.
    pub mount: String,
    /// Its path in the mount.
    pub path: String,
}

/// Adds a note to the unit of work of `view`. Notes of one secret are one: sync reads the newest.
pub fn note(view: &View, namespace: &Namespace, mount: &Mount, path: &str) {
    let notes = view.at(&prefix(namespace));
    let change = Change { mount: mount.uuid.clone(), path: path.to_owned() };
    let id = notes.names("by-path").id(&format!("{}/{path}", mount.uuid));
    notes.put(&format!("note/{id}"), &change);
}

/// A waiting note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Key under the prefix of the namespace's notes.
    pub key: String,
    /// When it was last written; taking it up must leave a newer one.
    pub revision: Revision,
    /// What it says.
    pub change: Change,
}

/// At most `limit` waiting notes of a namespace after the key `after`. `view` may be on any place.
pub async fn waiting(
    view: &View,
    namespace: &Namespace,
    after: &str,
    limit: usize,
) -> Result<Vec<Waiting>, Error> {
    let notes = view.at(&prefix(namespace));
    let mut found = Vec::new();
    for name in notes.list("note/", after, limit).await? {
        let key = format!("note/{name}");
        if let Some((change, Some(revision))) = notes.get_at(&key).await? {
            found.push(Waiting { key, revision, change });
        }
    }
    Ok(found)
}

/// Removes a note in the unit of work of `view`, unless it was written anew since it was read.
pub fn take_up(view: &View, namespace: &Namespace, waiting: &Waiting) {
    let notes = view.at(&prefix(namespace));
    notes.expect(&waiting.key, waiting.revision);
    notes.delete(&waiting.key);
}

fn prefix(namespace: &Namespace) -> String {
    format!("{}changes/", namespace.prefix())
}
