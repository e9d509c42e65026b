//! Where sync keeps what it knows. Per namespace, below `n/<id>/sync/`:
//!
//! ```text
//! destination/…                     named tree: <type>/<name>  →  StoredDestination
//! association/<destination>/<secret>  Association
//! of-secret/<secret>/<destination>    index: who wants to know of a change
//! external/<destination>/<name>       Claim: which secret, and key, has a name at the destination
//! waits/<destination>/<name>/<secret> index: secrets that would have that name
//! dirty/<destination>/<secret>        Mark: the destination may be behind
//! survey/<destination>                Surveyed: when we last looked for changes of others
//! orphan/<destination>/<name>         Orphan: left behind by a forced deletion
//! ```
//!
//! `<destination>`, `<secret>` and `<name>` are codes: names that users chose are in no key.

use crate::{association::Association, registry::StoredDestination};
use bailee_barrier::{Barrier, Opened, Revision};
use bailee_sdk::{Namespace, View};
use bailee_storage::Error;
use futures_util::{StreamExt, stream::BoxStream};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Entries of an index that are read at once.
const PAGE: usize = 256;

/// A mark: the destination may be behind the secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// When it was made, in milliseconds since 1970.
    pub(crate) since: u64,
}

/// Who has a name at a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// The code of the secret.
    pub(crate) secret: String,
    /// The key of the secret, where each key is an object.
    pub(crate) sub_key: Option<String>,
}

/// What the last survey of a destination came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Surveyed {
    /// When it began, in milliseconds since 1970.
    pub(crate) at: u64,
    /// Objects of ours that were looked at.
    pub(crate) looked: u64,
    /// Objects that were not as we left them.
    pub(crate) drifted: u64,
}

/// What is served for all namespaces; kept in the root one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flags {
    /// Whether secrets sync was activated.
    pub(crate) activated: bool,
}

/// `sys/sync/config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    /// Whether nothing is to be delivered or removed.
    pub(crate) disabled: bool,
    /// Objects of all destinations that are held in memory; what does not fit waits in storage.
    pub(crate) queue_capacity: i64,
}

impl Default for Config {
    fn default() -> Config {
        Config { disabled: false, queue_capacity: 1_000_000 }
    }
}

/// One namespace's place, within one unit of work.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) view: View,
}

impl Store {
    /// A new unit of work on a namespace's place.
    pub(crate) fn open(barrier: &Arc<Barrier>, namespace: &Namespace) -> Store {
        Store { view: barrier.view(&place(namespace)) }
    }

    /// A namespace's place in the unit of work of `view`.
    pub(crate) fn within(view: &View, namespace: &Namespace) -> Store {
        Store { view: view.at(&place(namespace)) }
    }

    /// The code that stands for a destination.
    pub(crate) fn destination_id(&self, kind: &str, name: &str) -> String {
        self.view.names("destination").id(&format!("{kind}/{name}"))
    }

    /// The code that stands for a secret.
    pub(crate) fn secret_id(&self, mount: &str, path: &str) -> String {
        self.view.names("secret").id(&format!("{mount}/{path}"))
    }

    pub(crate) async fn flags(&self) -> Result<Flags, Error> {
        Ok(self.root().get("flags").await?.unwrap_or_default())
    }

    pub(crate) fn put_flags(&self, flags: Flags) {
        self.root().put("flags", &flags);
    }

    pub(crate) async fn config(&self) -> Result<Config, Error> {
        Ok(self.root().get("config").await?.unwrap_or_default())
    }

    pub(crate) fn put_config(&self, config: Config) {
        self.root().put("config", &config);
    }

    fn root(&self) -> View {
        self.view.at(&place(&Namespace::root()))
    }

    pub(crate) async fn destination(
        &self,
        kind: &str,
        name: &str,
    ) -> Result<Option<(StoredDestination, Option<Revision>)>, Error> {
        self.view.names("destination").get_at(&format!("{kind}/{name}")).await
    }

    pub(crate) async fn put_destination(
        &self,
        destination: &StoredDestination,
    ) -> Result<(), Error> {
        let path = format!("{}/{}", destination.kind, destination.name);
        self.view.names("destination").put(&path, destination).await
    }

    pub(crate) async fn delete_destination(&self, kind: &str, name: &str) -> Result<bool, Error> {
        self.view.delete(&format!("survey/{}", self.destination_id(kind, name)));
        self.view.names("destination").delete(&format!("{kind}/{name}")).await
    }

    /// What the last survey of a destination came to, if there was one.
    pub(crate) async fn surveyed(&self, destination: &str) -> Result<Option<Surveyed>, Error> {
        self.view.get(&format!("survey/{destination}")).await
    }

    pub(crate) fn put_surveyed(&self, destination: &str, surveyed: Surveyed) {
        self.view.put(&format!("survey/{destination}"), &surveyed);
    }

    /// Types (empty folder) or names of one type (`aws-sm/`) of the destinations there are.
    pub(crate) async fn destination_names(&self, folder: &str) -> Result<Vec<String>, Error> {
        let names = self.view.names("destination");
        let mut found: Vec<String> = Vec::new();
        loop {
            let after = found.last().cloned().unwrap_or_default();
            let page = names.list(folder, &after, PAGE).await?;
            let last = page.len() < PAGE;
            found.extend(page);
            if last {
                return Ok(found);
            }
        }
    }

    /// Keeps others from changing a destination, or adding to it, until this unit has ended.
    pub(crate) async fn lock_destination(&self, id: &str) {
        self.view.lock(&format!("lock/destination/{id}")).await;
    }

    /// Keeps others from changing an association until this unit has ended.
    pub(crate) async fn lock_association(&self, destination: &str, secret: &str) {
        self.view.lock(&association_key(destination, secret)).await;
    }

    pub(crate) async fn association(
        &self,
        destination: &str,
        secret: &str,
    ) -> Result<Option<(Association, Option<Revision>)>, Error> {
        self.view.get_at(&association_key(destination, secret)).await
    }

    pub(crate) fn put_association(
        &self,
        destination: &str,
        secret: &str,
        association: &Association,
    ) {
        self.view.put(&association_key(destination, secret), association);
        self.view.put(&format!("of-secret/{secret}/{destination}"), &());
    }

    /// The same, where the association was stored before.
    pub(crate) fn update_association(
        &self,
        destination: &str,
        secret: &str,
        association: &Association,
        read_at: Option<Revision>,
    ) {
        let key = association_key(destination, secret);
        if let Some(revision) = read_at {
            self.view.expect(&key, revision);
        }
        self.view.put(&key, association);
    }

    /// Removes an association, whose names have been released.
    pub(crate) fn delete_association(
        &self,
        destination: &str,
        secret: &str,
        read_at: Option<Revision>,
    ) {
        let key = association_key(destination, secret);
        if let Some(revision) = read_at {
            self.view.expect(&key, revision);
        }
        self.view.delete(&key);
        self.view.delete(&format!("of-secret/{secret}/{destination}"));
    }

    /// Keeps others from claiming or releasing these names until this unit has ended.
    pub(crate) async fn lock_names(&self, destination: &str, names: &[&str]) {
        let mut keys: Vec<_> =
            names.iter().map(|name| self.external_key(destination, name)).collect();
        // Always in the same order, so that two units never wait for each other.
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            self.view.lock(&key).await;
        }
    }

    /// Who has a name at the destination.
    pub(crate) async fn claim_of_name(
        &self,
        destination: &str,
        name: &str,
    ) -> Result<Option<Claim>, Error> {
        self.view.get(&self.external_key(destination, name)).await
    }

    /// The code of a name at a destination.
    pub(crate) fn name_code(&self, name: &str) -> String {
        self.view.names("external").id(name)
    }

    /// A page of the codes of the names that we have at a destination.
    pub(crate) async fn claimed_page(
        &self,
        destination: &str,
        after: &str,
    ) -> Result<Vec<String>, Error> {
        self.view.list(&format!("external/{destination}/"), after, PAGE).await
    }

    /// Who has the name of that code.
    pub(crate) async fn claim_of_code(
        &self,
        destination: &str,
        code: &str,
    ) -> Result<Option<Claim>, Error> {
        self.view.get(&format!("external/{destination}/{code}")).await
    }

    pub(crate) fn claim_name(&self, destination: &str, name: &str, claim: &Claim) {
        self.view.put(&self.external_key(destination, name), claim);
    }

    /// Notes that a secret would have a name that another one has.
    pub(crate) fn await_name(&self, destination: &str, name: &str, secret: &str) {
        let code = self.view.names("external").id(name);
        self.view.put(&format!("waits/{destination}/{code}/{secret}"), &());
    }

    /// Frees a name, if it is this secret's. Whoever waits for it becomes dirty: their codes.
    pub(crate) async fn release_name(
        &self,
        destination: &str,
        name: &str,
        secret: &str,
        mark: Mark,
    ) -> Result<Vec<String>, Error> {
        let claim = self.claim_of_name(destination, name).await?;
        if claim.is_none_or(|claim| claim.secret != secret) {
            return Ok(Vec::new());
        }
        self.view.delete(&self.external_key(destination, name));
        let code = self.view.names("external").id(name);
        let waits = format!("waits/{destination}/{code}/");
        let waiting = self.children(&waits).await?;
        for other in &waiting {
            self.view.delete(&format!("{waits}{other}"));
            self.mark_dirty(destination, other, mark);
        }
        Ok(waiting)
    }

    fn external_key(&self, destination: &str, name: &str) -> String {
        // A slash in the name must not make a folder of the key.
        format!("external/{destination}/{}", self.name_code(name))
    }

    /// Secrets associated with a destination and their associations, in order of their codes.
    pub(crate) async fn associations(
        &self,
        destination: &str,
    ) -> Result<Vec<(String, Association)>, Error> {
        let prefix = format!("association/{destination}/");
        let mut found = Vec::new();
        let mut entries = self.view.scan(&prefix);
        while let Some(entry) = entries.next().await {
            let (key, bytes) = entry?;
            let secret = key.strip_prefix(&prefix).unwrap_or_default().to_owned();
            found.push((secret, decode(&key, &bytes)?));
        }
        Ok(found)
    }

    /// Codes of the secrets that are associated with a destination.
    pub(crate) async fn association_secrets(
        &self,
        destination: &str,
    ) -> Result<Vec<String>, Error> {
        self.children(&format!("association/{destination}/")).await
    }

    /// The same one by one, from the one after `secret` on; from the first one when that is empty.
    pub(crate) fn associations_after(
        &self,
        destination: &str,
        secret: &str,
    ) -> BoxStream<'_, Result<(String, Association), Error>> {
        let prefix = format!("association/{destination}/");
        let after = if secret.is_empty() { String::new() } else { format!("{prefix}{secret}") };
        let entries = self.view.scan_after(&prefix, &after);
        let read = move |entry: Result<Opened, Error>| {
            let (key, bytes) = entry?;
            let secret = key.strip_prefix(&prefix).unwrap_or_default().to_owned();
            Ok((secret, decode(&key, &bytes)?))
        };
        entries.map(read).boxed()
    }

    /// Whether anything is associated with a destination.
    pub(crate) async fn has_associations(&self, destination: &str) -> Result<bool, Error> {
        Ok(!self.view.list(&format!("association/{destination}/"), "", 1).await?.is_empty())
    }

    /// A page of the codes of a destination's associations, in their order.
    pub(crate) async fn association_page(
        &self,
        destination: &str,
        after: &str,
    ) -> Result<Vec<String>, Error> {
        self.view.list(&format!("association/{destination}/"), after, PAGE).await
    }

    /// Codes of the destinations that have associations.
    pub(crate) async fn associated_destinations(&self) -> Result<Vec<String>, Error> {
        self.folders("association/").await
    }

    /// All associations of the namespace.
    pub(crate) async fn all_associations(&self) -> Result<Vec<Association>, Error> {
        let mut found = Vec::new();
        let mut entries = self.view.scan("association/");
        while let Some(entry) = entries.next().await {
            let (key, bytes) = entry?;
            found.push(decode(&key, &bytes)?);
        }
        Ok(found)
    }

    /// Codes of the destinations for which something is marked dirty.
    pub(crate) async fn dirty_destinations(&self) -> Result<Vec<String>, Error> {
        self.folders("dirty/").await
    }

    /// A page of the codes of what is marked dirty for a destination, in their order.
    pub(crate) async fn dirty_page(
        &self,
        destination: &str,
        after: &str,
    ) -> Result<Vec<String>, Error> {
        self.view.list(&format!("dirty/{destination}/"), after, PAGE).await
    }

    /// Codes of the secrets of one destination that are marked dirty.
    pub(crate) async fn dirty_secrets(&self, destination: &str) -> Result<Vec<String>, Error> {
        self.children(&format!("dirty/{destination}/")).await
    }

    /// Codes of the destinations that a secret is associated with.
    pub(crate) async fn destinations_of(&self, secret: &str) -> Result<Vec<String>, Error> {
        self.children(&format!("of-secret/{secret}/")).await
    }

    pub(crate) fn mark_dirty(&self, destination: &str, secret: &str, mark: Mark) {
        self.view.put(&dirty_key(destination, secret), &mark);
    }

    pub(crate) async fn dirty_at(
        &self,
        destination: &str,
        secret: &str,
    ) -> Result<Option<(Mark, Revision)>, Error> {
        let found = self.view.get_at::<Mark>(&dirty_key(destination, secret)).await?;
        Ok(found.and_then(|(mark, revision)| Some((mark, revision?))))
    }

    /// Removes a mark, unless it was made anew since it was read.
    pub(crate) fn clear_dirty(&self, destination: &str, secret: &str, read_at: Revision) {
        let key = dirty_key(destination, secret);
        self.view.expect(&key, read_at);
        self.view.delete(&key);
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let mut folders = self.children(prefix).await?;
        folders.iter_mut().for_each(|folder| folder.truncate(folder.trim_end_matches('/').len()));
        Ok(folders)
    }

    async fn children(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let mut found: Vec<String> = Vec::new();
        loop {
            let after = found.last().cloned().unwrap_or_default();
            let page = self.view.list(prefix, &after, PAGE).await?;
            let last = page.len() < PAGE;
            found.extend(page);
            if last {
                return Ok(found);
            }
        }
    }
}

/// The place of a namespace in storage.
pub(crate) fn place(namespace: &Namespace) -> String {
    format!("{}sync/", namespace.prefix())
}

fn association_key(destination: &str, secret: &str) -> String {
    format!("association/{destination}/{secret}")
}

fn dirty_key(destination: &str, secret: &str) -> String {
    format!("dirty/{destination}/{secret}")
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Error> {
    // The parser's own message may quote the value.
    serde_json::from_slice(bytes).map_err(|_| Error::Corrupt(format!("entry {key} does not parse")))
}
