//! A source in memory, and a replication between it and a fake cloud.

use crate::{
    Settings,
    failure::{Error, Failure},
    pull::{
        Keys, Place, Replication, Spec, Target,
        report::{Outcome, Results, RunReport},
        source::{Listed, Listing, Revision, Source, Version},
    },
    registry::{Details, Network},
    source::Payload,
    testing::{FakeCloud, Look},
};
use async_trait::async_trait;
use bailee_crypto::{Clock, Sensitive, clock::from_millis};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

/// A secret of the source.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) version: u64,
    pub(super) created: u64,
    pub(super) updated: u64,
    pub(super) value: String,
    pub(super) gone: bool,
}

#[derive(Debug, Default)]
struct Inside {
    secrets: BTreeMap<String, Held>,
    failed: Vec<(String, Error)>,
    listing: Option<Error>,
    reading: Option<(usize, Error)>,
    broken: BTreeSet<String>,
    reads: usize,
    moment: u64,
    versionless: bool,
}

/// A source in memory; it counts what it is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeSource(Arc<Mutex<Inside>>);

impl FakeSource {
    /// Writes a new version.
    pub(crate) fn write(&self, path: &str, value: &str) {
        let mut inside = self.0.lock();
        inside.moment += 1;
        let moment = inside.moment;
        let held = inside.secrets.entry(path.to_owned()).or_default();
        if held.version == 0 {
            held.created = moment;
        }
        held.version += 1;
        held.updated = moment;
        held.gone = false;
        held.value = value.to_owned();
    }

    /// Removes it with all versions.
    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().secrets.remove(path);
    }

    /// Its versions are deleted.
    pub(crate) fn delete(&self, path: &str) {
        if let Some(held) = self.0.lock().secrets.get_mut(path) {
            held.gone = true;
        }
    }

    /// A folder cannot be looked into.
    pub(crate) fn deny(&self, path: &str) {
        let error = Error::new(Failure::Forbidden, "permission denied");
        self.0.lock().failed.push((path.to_owned(), error));
    }

    /// It cannot be listed at all.
    pub(crate) fn fail_listing(&self, error: Option<Error>) {
        self.0.lock().listing = error;
    }

    /// Reads fail after so many.
    pub(crate) fn fail_reading_after(&self, reads: usize, error: Error) {
        self.0.lock().reading = Some((reads, error));
    }

    /// The source fails at this one.
    pub(crate) fn break_at(&self, path: &str) {
        self.0.lock().broken.insert(path.to_owned());
    }

    pub(crate) fn heal(&self) {
        let mut inside = self.0.lock();
        inside.broken.clear();
        (inside.reading, inside.listing) = (None, None);
        inside.failed.clear();
    }

    pub(crate) fn forget_versions(&self) {
        self.0.lock().versionless = true;
    }

    /// How often material was read since the last time.
    pub(crate) fn take_reads(&self) -> usize {
        std::mem::take(&mut self.0.lock().reads)
    }

    pub(super) fn secrets(&self) -> BTreeMap<String, Held> {
        self.0.lock().secrets.clone()
    }
}

#[async_trait]
impl Source for FakeSource {
    async fn list(&self) -> Result<Listing, Error> {
        let inside = self.0.lock();
        if let Some(error) = &inside.listing {
            return Err(error.clone());
        }
        let listed = |(path, held): (&String, &Held)| Listed {
            mount: "kv/".to_owned(),
            path: path.clone(),
            revision: match (inside.versionless, held.gone) {
                (true, _) => Revision::Untold,
                (false, true) => Revision::Gone,
                (false, false) => Revision::Version(Version {
                    label: held.version.to_string(),
                    created: format!("created {}", held.created),
                    updated: format!("updated {}", held.updated),
                }),
            },
        };
        let secrets = inside.secrets.iter().map(listed).collect();
        Ok(Listing { secrets, failed: inside.failed.clone() })
    }

    async fn read(&self, secret: &Listed) -> Result<Option<Payload>, Error> {
        let mut inside = self.0.lock();
        inside.reads += 1;
        match &mut inside.reading {
            Some((0, error)) => return Err(error.clone()),
            Some((left, _)) => *left -= 1,
            None => {}
        }
        if inside.broken.contains(&secret.path) {
            return Err(Error::new(Failure::Unknown, "internal error"));
        }
        Ok(inside.secrets.get(&secret.path).filter(|held| !held.gone).map(|held| Payload {
            bytes: Zeroizing::new(held.value.clone().into_bytes()),
            version: held.version,
            expires_at: None,
        }))
    }
}

/// A clock that stands.
#[derive(Debug)]
pub(super) struct Standing;

impl Clock for Standing {
    fn now(&self) -> SystemTime {
        from_millis(1_800_000_000_000)
    }
}

/// A source, a cloud, and what is to be done between them.
pub(super) struct World {
    pub(super) source: FakeSource,
    pub(super) cloud: Arc<FakeCloud>,
    pub(super) spec: Spec,
    pub(super) key: Option<&'static str>,
}

impl World {
    pub(super) fn new() -> World {
        let mut spec = Spec::below("main", "p");
        spec.reserved.insert("p/vault-connection-secret".to_owned());
        let (source, cloud) = (FakeSource::default(), Arc::new(FakeCloud::default()));
        World { source, cloud, spec, key: Some("key") }
    }

    pub(super) async fn replication(&self) -> Replication {
        let clock: Arc<dyn Clock> = Arc::new(Standing);
        let place = Place {
            details: Details::default(),
            network: Network::default(),
            settings: Settings::default(),
            clock: clock.clone(),
        };
        let target = Target::of(self.cloud.kind(), &place).await.unwrap();
        let key = self.key.map(Sensitive::from);
        let keys = Keys::new(key.as_ref(), &self.spec.name, &target.place());
        let mut spec = self.spec.clone();
        spec.check(&target).unwrap();
        Replication::new(spec, keys, Arc::new(self.source.clone()), target, clock)
    }

    pub(super) async fn report(&self) -> RunReport {
        Box::pin(self.replication().await.run()).await
    }

    /// A run that goes through all secrets.
    pub(super) async fn run(&self) -> Results {
        match self.report().await.outcome {
            Outcome::Done(results) => results,
            Outcome::NotBegun(failure) => panic!("{failure}"),
        }
    }

    /// A run that has nothing to do, and reads nothing.
    pub(super) async fn settles(&self) {
        self.source.take_reads();
        let attempts = self.cloud.attempts();
        let results = Box::pin(self.run()).await;
        let unchanged = results.unchanged;
        assert_eq!(results, Results { unchanged, ..Results::default() });
        assert_eq!(self.cloud.attempts(), attempts);
        assert_eq!(self.source.take_reads(), 0);
        let forecast = Box::pin(async { self.replication().await.plan().await });
        assert!(forecast.await.unwrap().is_quiet());
    }

    /// What is live at the source, under its names, is what the cloud holds.
    pub(super) fn assert_equal(&self) {
        let live = self.source.secrets();
        let live = live.iter().filter(|(_, held)| !held.gone);
        let wanted: BTreeMap<String, String> =
            live.map(|(path, held)| (format!("p/{path}"), held.value.clone())).collect();
        let found = self.cloud.names().into_iter();
        let found: BTreeMap<String, String> = found
            .filter(|name| name.starts_with("p/") && !self.spec.reserved.contains(name))
            .map(|name| (name.clone(), self.cloud.text(&name).unwrap()))
            .collect();
        assert_eq!(found, wanted);
    }

    pub(super) async fn tag(&self, name: &str, key: &str) -> Option<String> {
        self.cloud.tags(name).await.remove(key)
    }

    pub(super) async fn versions(&self, name: &str) -> usize {
        self.cloud.versions(name).await
    }
}

/// What somebody else puts there.
pub(super) fn foreign(
    name: &str,
    value: &str,
    tags: &[(&str, &str)],
) -> crate::testing::service::Call {
    crate::testing::service::Call::Create {
        name: name.to_owned(),
        token: format!("somebody's, of {name}, with its 32 characters"),
        bytes: value.as_bytes().to_vec(),
        tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    }
}

pub(super) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

pub(super) fn down() -> Error {
    Error::new(Failure::Unavailable, "the server is sealed")
}

/// Longer than any list lags behind.
pub(super) const LAG: Duration = Duration::from_secs(300);
