//! Objects that were left behind at a destination whose deletion was forced: what nobody removes any
//! more is told until somebody has taken note.

use crate::{
    association::{Association, Object, Problem},
    store::{Store, decode},
};
use bailee_storage::Error;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

/// Where they are stored.
const FOLDER: &str = "orphan/";

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

/// A part of a list of orphans.
pub(crate) struct Part {
    /// Where it begins.
    pub(crate) after: After,
    /// Orphans at most.
    pub(crate) limit: usize,
}

/// What a part of a list comes after; it need not be there.
pub(crate) enum After {
    /// Nothing.
    Beginning,
    /// Everything of the destination with this code.
    Destination(String),
    /// A name at the destination with this code.
    Name { destination: String, external_name: String },
}

impl Part {
    /// All of it.
    pub(crate) const ALL: Part = Part { after: After::Beginning, limit: usize::MAX };
}

impl Store {
    /// Remembers what is left behind; once for each name at the destination.
    pub(crate) fn put_orphan(&self, destination: &str, orphan: &Orphan) {
        self.view.put(&self.orphan_key(destination, &orphan.external_name), orphan);
    }

    /// The key of what was left behind under a name.
    fn orphan_key(&self, destination: &str, external_name: &str) -> String {
        let code = self.view.names("external").id(external_name);
        format!("{FOLDER}{destination}/{code}")
    }

    /// What was left behind at a destination, or, without its code, at all of the namespace; a part of
    /// it, and whether there is more. The order is that of codes, which says nothing and stays the same.
    pub(crate) async fn orphans(
        &self,
        destination: Option<&str>,
        part: &Part,
    ) -> Result<(Vec<(String, Orphan)>, bool), Error> {
        let prefix = destination.map_or(FOLDER.to_owned(), |id| format!("{FOLDER}{id}/"));
        let after = match &part.after {
            After::Beginning => String::new(),
            After::Name { destination, external_name } => {
                self.orphan_key(destination, external_name)
            }
            // What sorts behind everything in that folder and before the next one.
            After::Destination(id) => format!("{FOLDER}{id}0"),
        };
        let mut found = Vec::new();
        let mut entries = self.view.scan_after(&prefix, &after);
        while let Some(entry) = entries.next().await {
            if found.len() == part.limit {
                return Ok((found, true));
            }
            let (key, bytes) = entry?;
            let orphan = decode(&key, &bytes)?;
            found.push((key, orphan));
        }
        Ok((found, false))
    }
}
