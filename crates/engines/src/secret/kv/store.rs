//! What is stored of a secret, and where.

use super::{
    SECRET_BYTES_MAX, VERSIONS_DEFAULT, VERSIONS_MAX, attribution::Attributions, config::Config,
    input::DeleteAfter,
};
use crate::time::time_text;
use bailee_crypto::clock::{from_millis, to_millis};
use bailee_sdk::{Code, Error, Names, View};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::SystemTime};
use zeroize::Zeroizing;

/// Segments of a path at most.
const DEPTH_MAX: usize = 256;
/// Times a version is looked for whose value is not there: once, unless writers are busy.
const LOOKS_MAX: usize = 16;

/// A secret's entry in the tree of names. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) created: u64,
    pub(super) updated: u64,
    /// Number of the newest version; 0 before the first.
    pub(super) current: u64,
    /// Number of the oldest version once older ones were pruned; 0 before.
    pub(super) oldest: u64,
    /// 0 for what the mount says.
    pub(super) max_versions: u64,
    pub(super) cas_required: bool,
    pub(super) delete_after: DeleteAfter,
    pub(super) custom: BTreeMap<String, String>,
    pub(super) versions: BTreeMap<u64, Version>,
}

/// What the entry knows of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) created: u64,
    /// When it is or was deleted; it lives until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deleted: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) destroyed: bool,
}

impl Version {
    pub(super) fn is_alive(&self, now: SystemTime) -> bool {
        !self.destroyed && self.deleted.is_none_or(|at| from_millis(at) > now)
    }
}

impl Entry {
    pub(super) fn new(now: SystemTime) -> Entry {
        let now = to_millis(now);
        Entry { created: now, updated: now, ..Entry::default() }
    }

    /// The whole history of a secret of a store without versions.
    pub(super) fn single(now: SystemTime) -> Entry {
        let first = Version { created: to_millis(now), ..Version::default() };
        Entry { current: 1, versions: BTreeMap::from([(1, first)]), ..Entry::new(now) }
    }

    /// A version by the number a client gives: zero and less for the newest.
    pub(super) fn version(&self, asked: i64) -> Option<(u64, &Version)> {
        let number = u64::try_from(asked).ok().filter(|number| *number > 0).unwrap_or(self.current);
        Some((number, self.versions.get(&number)?))
    }

    /// Adds a version; gives its number and those of the versions that are no longer kept.
    pub(super) fn add_version(&mut self, config: &Config, now: SystemTime) -> (u64, Vec<u64>) {
        let lives = DeleteAfter::combined(config.delete_after, self.delete_after);
        let created = to_millis(now);
        let deleted = lives.map(|lives| {
            created.saturating_add(u64::try_from(lives.as_millis()).unwrap_or(u64::MAX))
        });
        self.current += 1;
        self.updated = created;
        self.versions.insert(self.current, Version { created, deleted, destroyed: false });
        let kept = match (self.max_versions, config.max_versions) {
            (0, 0) => VERSIONS_DEFAULT,
            (0, mount) => mount,
            (key, _) => key,
        };
        let mut pruned = Vec::new();
        while self.versions.len() as u64 > kept.min(VERSIONS_MAX) {
            pruned.extend(self.versions.pop_first().map(|(number, _)| number));
        }
        if let (false, Some(oldest)) = (pruned.is_empty(), self.versions.keys().next()) {
            self.oldest = *oldest;
        }
        (self.current, pruned)
    }

    /// A version's metadata as clients see it.
    pub(super) fn shown<'a>(&'a self, number: u64, version: &Version) -> Shown<'a> {
        Shown {
            created_time: time_text(version.created),
            custom_metadata: self.shown_custom(),
            deletion_time: version.deleted.map(time_text).unwrap_or_default(),
            destroyed: version.destroyed,
            version: number,
        }
    }

    pub(super) fn shown_custom(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.custom).filter(|custom| !custom.is_empty())
    }
}

/// The metadata of one version in replies.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    created_time: String,
    custom_metadata: Option<&'a BTreeMap<String, String>>,
    deletion_time: String,
    destroyed: bool,
    version: u64,
}

/// The tree of a mount's secrets.
pub(super) fn names(view: &View) -> Names {
    view.names("secret")
}

/// Where one secret is kept.
pub(super) struct Place<'a> {
    view: &'a View,
    names: Names,
    path: &'a str,
    id: String,
}

impl<'a> Place<'a> {
    pub(super) fn of(view: &'a View, path: &'a str) -> Result<Place<'a>, Error> {
        if path.is_empty() || path.ends_with('/') {
            return Err(Error::invalid("the path of a secret must end in a name, not in '/'"));
        }
        if path.split('/').count() > DEPTH_MAX {
            let message = format!("the path of a secret has at most {DEPTH_MAX} segments");
            return Err(Error::invalid(message));
        }
        let names = names(view);
        let id = names.id(path);
        Ok(Place { view, names, path, id })
    }

    pub(super) fn path(&self) -> &str {
        self.path
    }

    /// Keeps other requests from changing the secret until this one is done.
    pub(super) async fn lock(&self) {
        self.view.lock(&format!("secret/{}", self.id)).await;
    }

    pub(super) async fn entry(&self) -> Result<Option<Entry>, Error> {
        Ok(self.names.get(self.path).await?)
    }

    pub(super) async fn put_entry(&self, entry: &Entry) -> Result<(), Error> {
        Ok(self.names.put(self.path, entry).await?)
    }

    /// Removes the entry, and what is kept beside it.
    pub(super) async fn delete_entry(&self) -> Result<(), Error> {
        self.names.delete(self.path).await?;
        self.view.delete(&self.attributions_key());
        Ok(())
    }

    /// Who changed it.
    pub(super) async fn attributions(&self) -> Result<Attributions, Error> {
        Ok(self.view.get(&self.attributions_key()).await?.unwrap_or_default())
    }

    pub(super) fn put_attributions(&self, json: Zeroizing<Vec<u8>>) {
        self.view.put_bytes(&self.attributions_key(), json);
    }

    fn attributions_key(&self) -> String {
        format!("by/{}", self.id)
    }

    /// The JSON of a version.
    pub(super) async fn value(&self, number: u64) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        Ok(self.view.get_bytes(&self.value_key(number)).await?)
    }

    pub(super) fn put_value(&self, number: u64, json: Zeroizing<Vec<u8>>) -> Result<(), Error> {
        if json.len() > SECRET_BYTES_MAX {
            return Err(Error::new(
                Code::TooLarge,
                format!(
                    "the secret takes {} bytes of JSON, more than the limit of 1 MiB \
                     ({SECRET_BYTES_MAX} bytes)",
                    json.len()
                ),
            ));
        }
        self.view.put_bytes(&self.value_key(number), json);
        Ok(())
    }

    pub(super) fn delete_value(&self, number: u64) {
        self.view.delete(&self.value_key(number));
    }

    fn value_key(&self, number: u64) -> String {
        format!("version/{}/{number}", self.id)
    }
}

/// A version that was found, with its value while it lives.
pub(super) struct Found {
    pub(super) entry: Entry,
    pub(super) number: u64,
    pub(super) value: Option<Zeroizing<Vec<u8>>>,
}

impl Found {
    /// Its metadata as clients see it.
    pub(super) fn shown(&self) -> Shown<'_> {
        let version = self.entry.versions.get(&self.number).cloned().unwrap_or_default();
        self.entry.shown(self.number, &version)
    }
}

/// Looks a version up; zero and less for the newest. `None` when there is none of that number.
pub(super) async fn find(
    place: &Place<'_>,
    asked: i64,
    now: SystemTime,
) -> Result<Option<Found>, Error> {
    for _ in 0..LOOKS_MAX {
        let Some(entry) = place.entry().await? else { return Ok(None) };
        let Some((number, version)) = entry.version(asked) else { return Ok(None) };
        if !version.is_alive(now) {
            return Ok(Some(Found { entry, number, value: None }));
        }
        if let Some(value) = place.value(number).await? {
            return Ok(Some(Found { entry, number, value: Some(value) }));
        }
        // A request that pruned, destroyed or removed it came between the two reads.
    }
    Err(Error::internal("a version has no value"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    /// What storage holds since the first release. A new form is added beside it, never instead.
    #[test]
    fn what_is_stored_keeps_its_form() {
        let stored = json!({
            "created": 1_700_000_000_000_u64,
            "updated": 1_700_000_000_001_u64,
            "current": 3,
            "oldest": 2,
            "max_versions": 2,
            "cas_required": true,
            "delete_after": -1,
            "custom": { "owner": "ops" },
            "versions": {
                "2": { "created": 1_700_000_000_000_u64, "deleted": 7, "destroyed": true },
                "3": { "created": 1_700_000_000_001_u64 },
            },
        });
        let entry: Entry = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(entry.delete_after, DeleteAfter::Never);
        assert_eq!(entry.versions.get(&2).unwrap().deleted, Some(7));
        assert_eq!(serde_json::to_value(&entry).unwrap(), stored);
        let config = json!({ "max_versions": 4, "cas_required": false, "delete_after": 30_000 });
        let parsed: Config = serde_json::from_value(config.clone()).unwrap();
        assert_eq!(parsed.delete_after, DeleteAfter::After(Duration::from_secs(30)));
        assert_eq!(serde_json::to_value(&parsed).unwrap(), config);
    }
}
