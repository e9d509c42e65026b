//! Memory of this process (`in-mem`): to try sync without a cloud.
//!
//! What is delivered is nowhere to be read, and is gone when the server stops or is sealed; a survey
//! then shows nothing, and what was delivered is delivered again. A deletion is never scheduled, as
//! nothing could be restored.

use super::ownership::{may_write, unclear};
use crate::{
    destination::{
        Checked, Cursor, Deletion, Delivery, Destination, Extent, Leftover, Names, Receipt, Remote,
        Removal, Survey,
    },
    failure::{Error, Failure},
    limits::Limits,
    naming::{Granularity, NameRule},
    registry::DestinationKind,
    tags::{MARK_TAG, OWNERSHIP_TAG, TagRule},
};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
};
use zeroize::Zeroizing;

/// What one destination keeps altogether.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// What an object takes beside its value, roughly.
const OBJECT_BYTES: usize = 1024;
/// Objects on one page of a survey.
const PAGE: usize = 1000;

/// The kind. Its destinations share nothing but the memory they are in.
pub(crate) fn kind() -> DestinationKind {
    // Held by those who use them: with the last of them, sealing wipes what was delivered.
    let kept: Mutex<HashMap<(String, String), Weak<Objects>>> = Mutex::default();
    DestinationKind {
        name: "in-mem",
        template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}",
        key_template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}/{{ .SecretKey }}",
        granularity: Granularity::SecretPath,
        names: NameRule { punctuation: "/_+=.@-", replacement: '-', characters_max: 512 },
        tags: Some(TagRule {
            tags_max: 50,
            key_characters_max: 128,
            value_characters_max: 256,
            punctuation: "_.:/=+-@",
            reserved_prefix: "",
        }),
        details: &[],
        build: Arc::new(move |blueprint| {
            let key = (blueprint.namespace.id.clone(), blueprint.name.clone());
            let mut kept = kept.lock();
            kept.retain(|_, objects| objects.strong_count() > 0);
            let objects = kept.get(&key).and_then(Weak::upgrade).unwrap_or_default();
            kept.insert(key, Arc::downgrade(&objects));
            let destination: Arc<dyn Destination> =
                Arc::new(InMemory { objects, limits: limits() });
            Box::pin(async move { Ok(destination) })
        }),
    }
}

/// Memory takes what comes.
fn limits() -> Limits {
    Limits {
        payload_bytes_max: 1 << 20,
        tags: true,
        writes_per_second: 10_000,
        lists_per_second: 10_000,
        concurrency: 16,
        versions_per_day: None,
    }
}

/// Objects by name.
type Objects = Mutex<Kept>;

#[derive(Default)]
struct Kept {
    by_name: BTreeMap<String, Object>,
    bytes: usize,
}

struct Object {
    version_id: String,
    value: Zeroizing<Vec<u8>>,
    tags: BTreeMap<String, String>,
    /// How often it was written.
    versions: usize,
}

impl Object {
    fn remote(&self) -> Remote {
        Remote {
            version_id: Some(self.version_id.clone()),
            identity: None,
            tags: Some(self.tags.clone()),
            deleting: false,
            placement: None,
        }
    }
}

/// What an object takes, roughly.
fn size(name: &str, value: &[u8]) -> usize {
    name.len() + value.len() + OBJECT_BYTES
}

struct InMemory {
    objects: Arc<Objects>,
    limits: Limits,
}

#[async_trait]
impl Destination for InMemory {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn check(&self) -> Result<Checked, Error> {
        Ok(Checked::default())
    }

    async fn survey(&self, names: &Names, after: Option<Cursor>) -> Result<Survey, Error> {
        let objects = &self.objects.lock().by_name;
        let shown = |(name, object): (&String, &Object)| (name.clone(), object.remote());
        Ok(match names {
            Names::These(names) => {
                let found = names.iter().filter_map(|name| objects.get_key_value(name));
                Survey { objects: found.map(shown).collect(), next: None }
            }
            Names::Ours | Names::Below(_) => {
                let begin = after.map_or(String::new(), |after| after.0);
                let asked = |(name, object): &(&String, &Object)| match names {
                    Names::Below(start) => name.starts_with(start),
                    Names::Ours | Names::These(_) => object.remote().marked(),
                };
                let ours = objects.range(begin..).filter(asked);
                let mut ours = ours.peekable();
                let page = ours.by_ref().take(PAGE).map(shown).collect();
                let next = ours.peek().map(|(name, _)| Cursor((*name).clone()));
                Survey { objects: page, next }
            }
        })
    }

    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        let mut kept = self.objects.lock();
        let found = kept.by_name.get(&delivery.name);
        if let Some(found) = found.filter(|_| delivery.previous.is_none()) {
            may_write(delivery, found.remote().owner(&delivery.mark))?;
        }
        let value = &delivery.payload.bytes;
        let before = found.map_or(0, |found| size(&delivery.name, &found.value));
        let bytes = kept.bytes - before + size(&delivery.name, value);
        if bytes > KEPT_BYTES_MAX {
            return Err(Error::new(
                Failure::Quota,
                format!("a destination in memory keeps at most {} MiB", KEPT_BYTES_MAX >> 20),
            ));
        }
        kept.bytes = bytes;
        let object = kept.by_name.entry(delivery.name.clone()).or_insert_with(|| Object {
            version_id: String::new(),
            value: Zeroizing::default(),
            tags: BTreeMap::new(),
            versions: 0,
        });
        object.tags.clone_from(&delivery.tags);
        // Aspects alone make no version, and a repeated delivery makes none either.
        let is_there = delivery.extent == Extent::Aspects && object.versions > 0;
        if !is_there && object.version_id != delivery.token {
            object.version_id.clone_from(&delivery.token);
            object.value.clone_from(value);
            object.versions += 1;
        }
        Ok(Receipt { version_id: object.version_id.clone(), ..Receipt::default() })
    }

    async fn delete(&self, removal: &Removal) -> Result<(), Error> {
        let mut kept = self.objects.lock();
        let Some(object) = kept.by_name.get_mut(&removal.name) else { return Ok(()) };
        let found = removal.finds(&object.remote());
        match (&removal.delivered, found) {
            (Some(_), _) | (None, Leftover::Ours) => {}
            (None, Leftover::Nothing) => return Ok(()),
            (None, Leftover::Unclear) => return Err(unclear(removal)),
        }
        match removal.how {
            Deletion::Delete | Deletion::Schedule { .. } => {
                kept.bytes -= size(&removal.name, &object.value);
                kept.by_name.remove(&removal.name);
            }
            Deletion::Retain => {
                object.tags.remove(OWNERSHIP_TAG);
                object.tags.remove(MARK_TAG);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Settings,
        registry::{Blueprint, Details, Surroundings},
        testing::{Look, check_destination},
    };
    use bailee_cloud::EgressRules;
    use bailee_crypto::SystemClock;
    use bailee_sdk::Namespace;

    #[async_trait]
    impl Look for InMemory {
        async fn value(&self, name: &str) -> Option<Vec<u8>> {
            self.objects.lock().by_name.get(name).map(|object| object.value.to_vec())
        }

        async fn versions(&self, name: &str) -> usize {
            self.objects.lock().by_name.get(name).map_or(0, |object| object.versions)
        }

        async fn tags(&self, name: &str) -> BTreeMap<String, String> {
            self.objects
                .lock()
                .by_name
                .get(name)
                .map(|object| object.tags.clone())
                .unwrap_or_default()
        }
    }

    #[tokio::test]
    async fn memory_keeps_the_destination_contract() {
        let memory = InMemory { objects: Arc::default(), limits: limits() };
        check_destination(&memory, &memory).await;
    }

    #[tokio::test]
    async fn objects_outlive_a_new_configuration_and_not_their_last_user() {
        let kind = kind();
        let surroundings = Arc::new(Surroundings::new(Settings::default(), Arc::new(SystemClock)));
        let build = async |name: &str| {
            let blueprint = Blueprint {
                details: Details::default(),
                rules: EgressRules::default(),
                namespace: Namespace::root(),
                kind: "in-mem".to_owned(),
                name: name.to_owned(),
                template: None,
                surroundings: surroundings.clone(),
            };
            (kind.build)(blueprint).await.unwrap()
        };
        let count = async |destination: &Arc<dyn Destination>| {
            let names = Names::These(vec!["contract/twice".to_owned()]);
            destination.survey(&names, None).await.unwrap().objects.len()
        };
        let first = build("a").await;
        first.put(&crate::testing::sample("contract/twice")).await.unwrap();
        let second = build("a").await;
        drop(first);
        assert_eq!(count(&second).await, 1);
        assert_eq!(count(&build("b").await).await, 0);
        drop(second);
        assert_eq!(count(&build("a").await).await, 0);
    }
}
