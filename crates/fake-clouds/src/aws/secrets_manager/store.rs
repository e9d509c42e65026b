//! What Secrets Manager remembers: secrets, their versions, and how each is found.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use serde_json::{Value, json};

use crate::aws::clock::{DAY_MS, Millis, seconds};
use crate::aws::iam::store::Document;
use crate::aws::wire::Failure;

pub(crate) const CURRENT: &str = "AWSCURRENT";
pub(crate) const PREVIOUS: &str = "AWSPREVIOUS";
pub(crate) const PENDING: &str = "AWSPENDING";

/// Staging labels that the versions of a secret may carry together.
pub(crate) const LABELS_MAX: usize = 20;

/// Where a secret is: names are unique in an account and region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Text(String),
    Binary(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) payload: Payload,
    pub(crate) stages: BTreeSet<String>,
    pub(crate) created: Millis,
    pub(crate) accessed: Option<Millis>,
    /// ARN of the key it is encrypted with; `None` is the account's default key.
    pub(crate) key_arn: Option<String>,
}

/// A deletion that waits for its date.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deletion {
    pub(crate) asked: Millis,
    pub(crate) due: Millis,
}

#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) key_arn: Option<String>,
    /// Why replication failed; `None` while in sync.
    pub(crate) failure: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Secret {
    pub(crate) place: Place,
    pub(crate) arn: String,
    pub(crate) order: u64,
    pub(crate) description: Option<String>,
    pub(crate) key_arn: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) versions: Vec<Version>,
    pub(crate) creation_token: String,
    pub(crate) created: Millis,
    pub(crate) changed: Millis,
    pub(crate) accessed: Option<Millis>,
    pub(crate) deletion: Option<Deletion>,
    pub(crate) policy: Option<Document>,
    pub(crate) replicas: BTreeMap<String, Replica>,
    /// `Some` in a replica: the region of the secret it follows.
    pub(crate) primary_region: Option<String>,
}

impl Secret {
    pub(crate) fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    pub(crate) fn version_mut(&mut self, id: &str) -> Option<&mut Version> {
        self.versions.iter_mut().find(|version| version.id == id)
    }

    pub(crate) fn staged(&self, stage: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.stages.contains(stage))
    }

    /// Moves a label to a version; `AWSPREVIOUS` follows `AWSCURRENT` by itself.
    pub(crate) fn move_label(&mut self, stage: &str, to: &str) {
        let from = self.staged(stage).map(|version| version.id.clone());
        if from.as_deref() == Some(to) {
            return;
        }
        for version in &mut self.versions {
            version.stages.remove(stage);
        }
        if let Some(version) = self.version_mut(to) {
            version.stages.insert(stage.to_owned());
        }
        if stage == CURRENT
            && let Some(from) = from
        {
            self.move_label(PREVIOUS, &from);
        }
    }

    /// Makes room for a version: beyond the quota, versions without labels that are older than a
    /// day go, oldest first.
    pub(crate) fn make_room(&mut self, versions_max: usize, now: Millis) -> Result<(), Failure> {
        while self.versions.len() >= versions_max {
            let idle =
                |version: &Version| version.stages.is_empty() && version.created < now - DAY_MS;
            let Some(at) = self.versions.iter().position(idle) else {
                return Err(Failure::new(
                    "LimitExceededException",
                    format!(
                        "You have reached the limit of {versions_max} versions of this secret."
                    ),
                ));
            };
            self.versions.remove(at);
        }
        Ok(())
    }

    /// Version identifiers with their labels, for those that have any.
    pub(crate) fn labels(&self) -> Value {
        self.versions
            .iter()
            .filter(|version| !version.stages.is_empty())
            .map(|version| (version.id.clone(), json!(version.stages)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    pub(crate) fn tags_json(&self) -> Value {
        self.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
    }

    /// The members that describing and listing share.
    pub(crate) fn summary(&self) -> Value {
        let mut summary = json!({
            "ARN": self.arn,
            "Name": self.place.name,
            "CreatedDate": seconds(self.created),
            "LastChangedDate": seconds(self.changed),
        });
        let optional = [
            ("Description", self.description.as_ref().map(|text| json!(text))),
            ("KmsKeyId", self.key_arn.as_ref().map(|arn| json!(arn))),
            ("LastAccessedDate", self.accessed.map(|at| json!(seconds(at - at % DAY_MS)))),
            ("Tags", (!self.tags.is_empty()).then(|| self.tags_json())),
            ("PrimaryRegion", self.shown_primary_region().map(|region| json!(region))),
        ];
        for (name, value) in optional {
            if let (Some(value), Some(members)) = (value, summary.as_object_mut()) {
                members.insert(name.to_owned(), value);
            }
        }
        summary
    }

    fn shown_primary_region(&self) -> Option<&String> {
        match &self.primary_region {
            Some(region) => Some(region),
            None if self.replicas.is_empty() => None,
            None => Some(&self.place.region),
        }
    }
}

/// All secrets.
#[derive(Debug, Default)]
pub(crate) struct Store {
    secrets: BTreeMap<Place, Secret>,
    /// Names by account, region and creation, so that a page of a listing costs a page.
    by_creation: BTreeMap<(String, String, u64), String>,
    /// Scheduled deletions by date.
    due: BTreeSet<(Millis, Place)>,
    /// Names still occupied by a secret that was deleted by force, until when.
    occupied: BTreeMap<Place, Millis>,
    /// Past states of secrets that changed while listings lag.
    past: BTreeMap<Place, VecDeque<(Millis, Option<Secret>)>>,
    made: u64,
}

impl Store {
    pub(crate) fn at(&self, place: &Place) -> Option<&Secret> {
        self.secrets.get(place)
    }

    pub(crate) fn at_mut(&mut self, place: &Place) -> Option<&mut Secret> {
        self.secrets.get_mut(place)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.values()
    }

    pub(crate) fn count(&self) -> usize {
        self.secrets.len()
    }

    /// The number that orders secrets by creation.
    pub(crate) fn next_order(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    pub(crate) fn insert(&mut self, secret: Secret) {
        self.remove(&secret.place);
        self.by_creation.insert(created(&secret), secret.place.name.clone());
        self.secrets.insert(secret.place.clone(), secret);
    }

    /// The secrets of an account and region in order of creation, between two of them.
    pub(crate) fn in_order(
        &self,
        account: &str,
        region: &str,
        between: (Bound<u64>, Bound<u64>),
    ) -> impl DoubleEndedIterator<Item = &Secret> {
        let key = |order: u64| (account.to_owned(), region.to_owned(), order);
        let range = (between.0.map(key), between.1.map(key));
        self.by_creation.range(range).filter_map(|((account, region, _), name)| {
            let (account, region, name) = (account.clone(), region.clone(), name.clone());
            self.secrets.get(&Place { account, region, name })
        })
    }

    pub(crate) fn remove(&mut self, place: &Place) -> Option<Secret> {
        let secret = self.secrets.remove(place)?;
        self.by_creation.remove(&created(&secret));
        if let Some(deletion) = secret.deletion {
            self.due.remove(&(deletion.due, place.clone()));
        }
        Some(secret)
    }

    /// Deletes what is due.
    pub(crate) fn settle(&mut self, now: Millis) {
        while let Some((due, place)) = self.due.first().cloned() {
            if due > now {
                break;
            }
            self.remove(&place);
            self.due.remove(&(due, place));
        }
    }

    pub(crate) fn schedule(&mut self, place: &Place, deletion: Deletion) {
        if let Some(secret) = self.secrets.get_mut(place) {
            secret.deletion = Some(deletion);
            self.due.insert((deletion.due, place.clone()));
        }
    }

    pub(crate) fn unschedule(&mut self, place: &Place) {
        if let Some(deletion) =
            self.secrets.get_mut(place).and_then(|secret| secret.deletion.take())
        {
            self.due.remove(&(deletion.due, place.clone()));
        }
    }

    pub(crate) fn occupy(&mut self, place: Place, until: Millis) {
        self.occupied.insert(place, until);
    }

    /// Whether a secret deleted by force still holds the name.
    pub(crate) fn is_occupied(&mut self, place: &Place, now: Millis) -> bool {
        match self.occupied.get(place) {
            Some(until) if *until > now => true,
            Some(_) => {
                self.occupied.remove(place);
                false
            }
            None => false,
        }
    }

    /// Finds a secret by name, ARN, or ARN without its random end.
    ///
    /// An ARN that ends in a hyphen and six letters or digits counts as complete, so a partial ARN
    /// of a secret whose name ends so does not find it.
    pub(crate) fn find(&self, account: &str, region: &str, id: &str) -> Option<&Secret> {
        let place = |account: &str, name: &str| Place {
            account: account.to_owned(),
            region: region.to_owned(),
            name: name.to_owned(),
        };
        let Some(rest) = id.strip_prefix("arn:") else {
            return self.secrets.get(&place(account, id));
        };
        let parts: Vec<&str> = rest.splitn(6, ':').collect();
        let [_, "secretsmanager", arn_region, owner, "secret", name] = parts.as_slice() else {
            return None;
        };
        if *arn_region != region {
            return None;
        }
        match name.rsplit_once('-') {
            Some((name, end))
                if end.len() == 6 && end.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                self.secrets.get(&place(owner, name)).filter(|secret| secret.arn == id)
            }
            _ => self.secrets.get(&place(owner, name)),
        }
    }

    /// Keeps the states before and after a change for listings that lag.
    pub(crate) fn remember(
        &mut self,
        place: Place,
        before: Option<Secret>,
        now: Millis,
        lag: Millis,
    ) {
        let after = self.secrets.get(&place).cloned();
        let states = self.past.entry(place).or_default();
        if states.is_empty() {
            states.push_back((Millis::MIN, before));
        }
        states.push_back((now, after));
        while states.get(1).is_some_and(|(at, _)| *at <= now - lag) {
            states.pop_front();
        }
    }

    /// Secrets as they were at a time, as far as states were remembered.
    pub(crate) fn as_of(&self, at: Millis) -> Vec<&Secret> {
        let unchanged =
            self.secrets.values().filter(|secret| !self.past.contains_key(&secret.place));
        let past = self.past.values().filter_map(|states| {
            let (_, state) = states.iter().rev().find(|(changed, _)| *changed <= at)?;
            state.as_ref()
        });
        unchanged.chain(past).collect()
    }
}

fn created(secret: &Secret) -> (String, String, u64) {
    (secret.place.account.clone(), secret.place.region.clone(), secret.order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(names: &[&str]) -> Store {
        let mut store = Store::default();
        for name in names {
            let place = Place { account: "1".into(), region: "r".into(), name: (*name).to_owned() };
            store.insert(Secret {
                arn: format!("arn:aws:secretsmanager:r:1:secret:{name}-AbCdEf"),
                place,
                order: 0,
                description: None,
                key_arn: None,
                tags: BTreeMap::new(),
                versions: Vec::new(),
                creation_token: String::new(),
                created: 0,
                changed: 0,
                accessed: None,
                deletion: None,
                policy: None,
                replicas: BTreeMap::new(),
                primary_region: None,
            });
        }
        store
    }

    #[test]
    fn a_secret_is_found_by_name_arn_and_partial_arn() {
        let store = store(&["a/b", "trap-abcdef"]);
        let found = |id: &str| store.find("1", "r", id).map(|secret| secret.place.name.as_str());
        assert_eq!(found("a/b"), Some("a/b"));
        assert_eq!(found("arn:aws:secretsmanager:r:1:secret:a/b-AbCdEf"), Some("a/b"));
        assert_eq!(found("arn:aws:secretsmanager:r:1:secret:a/b-xxxxxx"), None);
        assert_eq!(found("arn:aws:secretsmanager:r:1:secret:a/b"), Some("a/b"));
        assert_eq!(found("arn:aws:secretsmanager:other:1:secret:a/b"), None);
        assert_eq!(found("arn:aws:secretsmanager:r:2:secret:a/b"), None);
        assert_eq!(found("a/b-AbCdEf"), None);
    }

    #[test]
    fn a_name_that_ends_like_an_arn_hides_from_its_partial_arn() {
        let store = store(&["trap-abcdef"]);
        let found = |id: &str| store.find("1", "r", id).is_some();
        assert!(found("trap-abcdef"));
        assert!(found("arn:aws:secretsmanager:r:1:secret:trap-abcdef-AbCdEf"));
        assert!(!found("arn:aws:secretsmanager:r:1:secret:trap-abcdef"));
    }
}
