//! What a destination shall hold of a secret: the whole of it, or each of its keys.

use super::{Task, Worker};
use crate::{
    association::Association,
    failure::{Error, Failure},
    naming::{Granularity, NameRule, Subject, external_name},
    plan::Desired,
    source::Payload,
    tags::marked,
};
use bailee_sdk::{Mount, Namespace};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};
use zeroize::Zeroizing;

/// Keys of one secret that become objects: all of them, and as many that they replace, fit into the
/// entry of the association.
pub(crate) const KEYS_MAX: usize = 400;
/// Room of all objects that a secret shall have in that entry.
const OBJECTS_BYTES_MAX: usize = 600 << 10;
/// What content marks are for.
const CONTENT_PURPOSE: &str = "sync-content";

/// What shall be there.
#[derive(Default)]
pub(crate) struct Wanted {
    /// Objects and their values.
    pub(crate) objects: Vec<(Desired, Payload)>,
    /// Keys for which there is no name, and the names they would have had.
    pub(crate) failed: Vec<Unnamed>,
    /// When the version dies by itself.
    pub(crate) expires_at: Option<SystemTime>,
}

/// A key without a usable name.
pub(crate) struct Unnamed {
    /// The key; `None` for a whole secret.
    pub(crate) sub_key: Option<String>,
    /// The name it would have, where there is one.
    pub(crate) name: String,
    /// Why it cannot be used.
    pub(crate) error: Error,
}

/// A part of a secret with the name it gets.
struct Part {
    sub_key: Option<String>,
    name: Result<String, String>,
    payload: Payload,
}

impl Worker {
    /// What the destination shall hold, read as the system caller of this association; `None` when
    /// nothing.
    pub(super) async fn wanted(&self, task: &Task<'_>) -> Result<Option<Wanted>, Error> {
        let association = task.association;
        if association.removing {
            return Ok(None);
        }
        let namespace = &task.key.namespace;
        let gone = || {
            let message = format!(
                "mount {} does not exist any more; what was delivered stays until the association \
                 is removed",
                association.mount_path
            );
            Error::new(Failure::SourceGone, message)
        };
        let mounts = self.local.mounts(namespace);
        let mount = mounts.with_uuid(&association.mount).ok_or_else(gone)?;
        let path = &association.secret_name;
        let payload = self.local.read(&task.caller, namespace, mount, path).await?;
        // A mount that went, or moved, while it was read says nothing about the secret.
        let mounts = self.local.mounts(namespace);
        let now = mounts.with_uuid(&association.mount).ok_or_else(gone)?;
        if now.path != mount.path {
            let message = "the mount was moved while the secret was read";
            return Err(Error::new(Failure::Internal, message));
        }
        let Some(payload) = payload else { return Ok(None) };
        let expires_at = payload.expires_at;
        let rule = &task.configured.names;
        let mut wanted = Wanted { expires_at, ..Wanted::default() };
        let mut names = BTreeMap::new();
        for part in parts(association, namespace, mount, rule, payload)? {
            match self.named(part.name, &part.sub_key, &mut names) {
                Ok(name) => {
                    let desired = self.desired(task, name, part.sub_key, &part.payload);
                    wanted.objects.push((desired, part.payload));
                }
                Err(failed) => wanted.failed.push(*failed),
            }
        }
        wanted.fits()?;
        Ok(Some(wanted))
    }

    /// The name, unless another key of the same secret has it.
    fn named(
        &self,
        name: Result<String, String>,
        sub_key: &Option<String>,
        taken: &mut BTreeMap<String, Option<String>>,
    ) -> Result<String, Box<Unnamed>> {
        let sub_key = sub_key.clone();
        let name = match name {
            Ok(name) => name,
            Err(message) => {
                let error = Error::new(Failure::Invalid, message);
                return Err(Box::new(Unnamed { sub_key, name: String::new(), error }));
            }
        };
        if let Some(holder) = taken.get(&name) {
            let holder = holder.clone().unwrap_or_default();
            let message = format!("key {holder:?} of the same secret has the name {name:?}");
            let error = Error::new(Failure::NameTaken, message);
            return Err(Box::new(Unnamed { sub_key, name, error }));
        }
        taken.insert(name.clone(), sub_key);
        Ok(name)
    }

    fn desired(
        &self,
        task: &Task<'_>,
        name: String,
        sub_key: Option<String>,
        payload: &Payload,
    ) -> Desired {
        let destination = &task.configured.destination;
        let mark = task.mark(&self.barrier, &name);
        Desired {
            source_version: payload.version,
            generation: task.association.generation,
            content_mark: hex::encode(self.barrier.fingerprint(CONTENT_PURPOSE, &payload.bytes)),
            tags: if destination.limits().tags {
                marked(&task.configured.stored.custom_tags, &mark)
            } else {
                BTreeMap::new()
            },
            placement: destination.placement().to_owned(),
            mark,
            name,
            sub_key,
        }
    }
}

/// The objects that a secret becomes.
fn parts(
    association: &Association,
    namespace: &Namespace,
    mount: &Mount,
    rule: &NameRule,
    payload: Payload,
) -> Result<Vec<Part>, Error> {
    let name = |key: Option<&str>| {
        let subject = Subject {
            destination_type: &association.destination_type,
            destination_name: &association.destination_name,
            namespace,
            mount,
            secret: &association.secret_name,
            key,
        };
        external_name(&association.template, rule, &subject)
    };
    match association.granularity {
        Granularity::SecretPath => Ok(vec![Part { sub_key: None, name: name(None), payload }]),
        Granularity::SecretKey => {
            let parts = values(&payload)?.into_iter().map(|(key, bytes)| {
                let payload =
                    Payload { bytes, version: payload.version, expires_at: payload.expires_at };
                Part { name: name(Some(&key)), sub_key: Some(key), payload }
            });
            Ok(parts.collect())
        }
    }
}

/// A key of a secret and its value.
pub(crate) type KeyValue = (String, Zeroizing<Vec<u8>>);

/// The keys of a secret and their values: texts as they are, everything else as JSON.
pub(crate) fn values(payload: &Payload) -> Result<Vec<KeyValue>, Error> {
    let unreadable = || Error::new(Failure::Internal, "the secret is not a JSON object");
    let keys: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_slice(&payload.bytes).map_err(|_| unreadable())?;
    if keys.len() > KEYS_MAX {
        let message = format!(
            "the secret has {} keys, at most {KEYS_MAX} become objects: divide it, or deliver it \
             whole with granularity secret-path",
            keys.len()
        );
        return Err(Error::new(Failure::Invalid, message));
    }
    keys.into_iter()
        .map(|(key, value)| {
            let text = value.get();
            let bytes = if text.starts_with('"') {
                let mut reader = serde_json::Deserializer::from_str(text);
                String::deserialize(&mut reader).map_err(|_| unreadable())?.into_bytes()
            } else {
                text.as_bytes().to_vec()
            };
            Ok((key.into_owned(), Zeroizing::new(bytes)))
        })
        .collect()
}

impl Wanted {
    /// An error where there would be no room to keep account of all objects.
    fn fits(&self) -> Result<(), Error> {
        let size = |(desired, _): &(Desired, Payload)| desired.bytes();
        let (keys, bytes) = (self.objects.len(), self.objects.iter().map(size).sum::<usize>());
        if bytes <= OBJECTS_BYTES_MAX {
            return Ok(());
        }
        let message = format!(
            "the names and tags of {keys} keys take {bytes} bytes in the account of what is \
             delivered, at most {OBJECTS_BYTES_MAX} fit: use fewer or shorter custom_tags, divide \
             the secret, or deliver it whole with granularity secret-path"
        );
        Err(Error::new(Failure::Invalid, message))
    }

    /// Keys for which no name is known: what was delivered of them stays.
    pub(crate) fn unnamed(&self) -> BTreeSet<Option<String>> {
        self.failed.iter().map(|failed| failed.sub_key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_delivered_as_they_are_and_the_rest_as_json() {
        let json = br#"{"a":"x\ny","n":1.50,"o":{"b":[1, 2]},"t":true,"z":null,"e":""}"#;
        let payload =
            Payload { bytes: Zeroizing::new(json.to_vec()), version: 1, expires_at: None };
        let found = values(&payload).unwrap();
        let text = |bytes: &Zeroizing<Vec<u8>>| String::from_utf8(bytes.to_vec()).unwrap();
        let found: Vec<(String, String)> =
            found.iter().map(|(key, bytes)| (key.clone(), text(bytes))).collect();
        let expected = [
            ("a", "x\ny"),
            ("e", ""),
            ("n", "1.50"),
            ("o", r#"{"b":[1, 2]}"#),
            ("t", "true"),
            ("z", "null"),
        ];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
