//! Objects that were left behind at a destination whose deletion was forced: what nobody removes any
//! more is told until somebody has taken note.

use crate::{
    association::{Association, Object, Problem},
    store::{Store, decode},
};
use bailee_storage::Error;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

/// An object that was left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Orphan {
    /// Type of the destination that is no more.
    pub(crate) destination_type: String,
    /// Its name.
    pub(crate) destination_name: String,
    /// The object's name at the destination.
    pub(crate) external_name: String,
    /// Path of the mount whose secret it is.
    pub(crate) mount: String,
    /// The secret it is of.
    pub(crate) secret_name: String,
    /// The key of the secret, where each key was an object.
    pub(crate) sub_key: Option<String>,
    /// Why it could not be removed.
    pub(crate) problem: Option<Problem>,
    /// When it was given up, in milliseconds since 1970.
    pub(crate) since: u64,
}

impl Orphan {
    pub(crate) fn of(association: &Association, object: &Object, since: u64) -> Orphan {
        let problem = object.state.problem.as_ref().or(association.state.problem.as_ref());
        Orphan {
            destination_type: association.destination_type.clone(),
            destination_name: association.destination_name.clone(),
            external_name: object.name.clone(),
            mount: association.mount_path.clone(),
            secret_name: association.secret_name.clone(),
            sub_key: object.sub_key.clone(),
            problem: problem.cloned(),
            since,
        }
    }
}

impl Store {
    /// Remembers what is left behind; once for each name at the destination.
    pub(crate) fn put_orphan(&self, destination: &str, orphan: &Orphan) {
        let code = self.view.names("external").id(&orphan.external_name);
        self.view.put(&format!("orphan/{destination}/{code}"), orphan);
    }

    /// What was left behind at a destination, or, without its code, at all of the namespace.
    pub(crate) async fn orphans(
        &self,
        destination: Option<&str>,
    ) -> Result<Vec<(String, Orphan)>, Error> {
        let prefix = destination.map_or("orphan/".to_owned(), |id| format!("orphan/{id}/"));
        let mut found = Vec::new();
        let mut entries = self.view.scan(&prefix);
        while let Some(entry) = entries.next().await {
            let (key, bytes) = entry?;
            let orphan = decode(&key, &bytes)?;
            found.push((key, orphan));
        }
        Ok(found)
    }
}
