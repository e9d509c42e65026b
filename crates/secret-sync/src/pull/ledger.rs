//! The ledger of a replication, read back from what the destination shows.
//!
//! | tag | says |
//! |---|---|
//! | `version` | the version at the source, as the published Lambda sample writes it |
//! | `bailee:source` | what a change is seen by: when the secret was made, or updated, or a keyed digest |
//! | `bailee:content` | a keyed digest of the value, where values are compared |
//! | `bailee:delivered` | the destination's id of the version that was written |
//! | `bailee:placement` | stands for key and replicas |
//! | `bailee:custom` | which tags of `custom_tags` were written |
//! | `bailee:orphan` | since when the source has it no more |

use super::{
    keys::{Keys, TAG_CHARACTERS, is_same},
    source::{Revision, Version},
    spec::{Compare, Spec},
};
use crate::{
    association::Object,
    destination::{Delivered, Remote},
    plan::Desired,
    tags::{MARK_TAG, OWNERSHIP_TAG, OwnerMark, marked},
};
use bailee_crypto::hash;
use std::collections::BTreeMap;

pub(super) const VERSION_TAG: &str = "version";
pub(super) const SOURCE_TAG: &str = "bailee:source";
pub(super) const CONTENT_TAG: &str = "bailee:content";
pub(super) const DELIVERED_TAG: &str = "bailee:delivered";
pub(super) const PLACEMENT_TAG: &str = "bailee:placement";
const CUSTOM_TAG: &str = "bailee:custom";
pub(super) const ORPHAN_TAG: &str = "bailee:orphan";

/// Characters that stand for a placement.
const PLACEMENT_CHARACTERS: usize = 32;
/// Stands for a placement that is not ours as it is wanted now.
const OTHER_PLACEMENT: &str = "?";

/// Whether a tag is one of replication itself.
pub(super) fn is_own(key: &str) -> bool {
    OWN.contains(&key)
}

/// All of them; they count as tags of the secret.
pub(super) const OWN: [&str; 9] = [
    VERSION_TAG,
    SOURCE_TAG,
    CONTENT_TAG,
    DELIVERED_TAG,
    PLACEMENT_TAG,
    CUSTOM_TAG,
    ORPHAN_TAG,
    MARK_TAG,
    OWNERSHIP_TAG,
];

/// One text for the tags that users give, so that those they give no longer are known for ours.
fn custom(keys: &Keys, name: &str, tags: &BTreeMap<String, String>) -> String {
    tags.iter().map(|(key, value)| keys.tag(name, key, value)).collect()
}

/// Whether an earlier run wrote a tag.
fn wrote(written: &str, code: &str) -> bool {
    written.as_bytes().chunks(TAG_CHARACTERS).any(|one| one == code.as_bytes())
}

/// What a secret at the destination is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// We delivered it.
    Ours,
    /// We delivered it before there was a key, or the sample did: it is written anew and ours then.
    Former,
    /// Somebody else's.
    Foreign,
}

pub(super) fn standing(spec: &Spec, keys: &Keys, name: &str, remote: &Remote) -> Standing {
    let Some(tags) = &remote.tags else { return Standing::Foreign };
    let Some(found) = tags.get(MARK_TAG) else {
        let version = tags.get(VERSION_TAG).is_some_and(|text| is_number(text));
        let sample = spec.adopts_sample && version && !tags.contains_key(OWNERSHIP_TAG);
        return if sample { Standing::Former } else { Standing::Foreign };
    };
    if OwnerMark::parse(found).is_some_and(|found| keys.mark(name).covers(&found)) {
        return Standing::Ours;
    }
    let open = keys.open_mark(name).is_some_and(|mark| *found == mark.to_string());
    if open { Standing::Former } else { Standing::Foreign }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What is wanted under a name, and what is there.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) desired: Desired,
    /// What the ledger says, where it is ours or was.
    pub(super) object: Option<Object>,
    /// The token of a delivery of the value.
    pub(super) token: String,
    /// Whether the value that is there is the one that was recorded.
    pub(super) is_recorded: bool,
}

/// The version tag and the text by which a change is seen.
fn shown(compare: Compare, revision: &Revision) -> (Option<String>, String) {
    match revision {
        Revision::Version(Version { label, created, updated }) => {
            let by = match compare {
                Compare::Version | Compare::Hash => created,
                Compare::Updated => updated,
            };
            (Some(label.clone()), by.clone())
        }
        Revision::Content(digest) => (None, digest.clone()),
        Revision::Gone | Revision::Untold => (None, String::new()),
    }
}

/// One text for a version tag and what goes with it.
fn content_mark(tags: &BTreeMap<String, String>) -> String {
    let tag = |key| tags.get(key).map(String::as_str).unwrap_or_default();
    format!("{} {}", tag(VERSION_TAG), tag(SOURCE_TAG))
}

/// What is wanted under a name, seen together with what is there.
pub(super) fn entry(
    spec: &Spec,
    keys: &Keys,
    placement: &str,
    name: &str,
    revision: &Revision,
    remote: Option<(&Remote, Standing)>,
) -> Entry {
    let mark = keys.mark(name);
    let mut tags = marked(&spec.custom_tags, &mark);
    let (version, by) = shown(spec.compare, revision);
    tags.extend(version.map(|version| (VERSION_TAG.to_owned(), version)));
    tags.insert(SOURCE_TAG.to_owned(), by);
    if !spec.custom_tags.is_empty() {
        tags.insert(CUSTOM_TAG.to_owned(), custom(keys, name, &spec.custom_tags));
    }
    if let Some(digest) = placement_digest(placement) {
        tags.insert(PLACEMENT_TAG.to_owned(), digest);
    }
    let wanted = content_mark(&tags);
    let there = remote.filter(|(_, standing)| *standing != Standing::Foreign);
    let there =
        there.and_then(|(remote, standing)| Some((remote, standing, remote.tags.as_ref()?)));
    let current = there.and_then(|(remote, ..)| remote.version_id.as_deref()).unwrap_or_default();
    let recorded = there.and_then(|(_, _, tags)| tags.get(DELIVERED_TAG)).map(String::as_str);
    let base = recorded.unwrap_or(current);
    let token = keys.token(name, base, &wanted);
    let is_recorded = recorded.is_some_and(|recorded| is_same(recorded, current));
    // The value landed, and the run was cut off before it wrote the tags.
    let has_landed = !is_recorded && !current.is_empty() && is_same(&token, current);
    // Whoever writes the value writes this tag with it.
    let delivered_tag = match (recorded, has_landed) {
        (_, true) => current,
        (Some(recorded), false) => recorded,
        (None, false) => &token,
    };
    tags.insert(DELIVERED_TAG.to_owned(), delivered_tag.to_owned());
    let digests = spec.compare == Compare::Hash;
    let carried = there.and_then(|(_, _, found)| found.get(CONTENT_TAG)).filter(|_| digests);
    tags.extend(carried.map(|digest| (CONTENT_TAG.to_owned(), digest.clone())));
    let desired = Desired {
        name: name.to_owned(),
        sub_key: None,
        source_version: 0,
        generation: 0,
        content_mark: wanted.clone(),
        tags,
        placement: placement.to_owned(),
        mark,
    };
    let object = there.map(|(_, standing, found)| {
        let mut delivered = recorded_state(keys, &desired, found, placement);
        delivered.identity = there.and_then(|(remote, ..)| remote.identity.clone());
        delivered.version_id = match is_recorded || has_landed {
            true => current.to_owned(),
            false => base.to_owned(),
        };
        if has_landed {
            delivered.content_mark = wanted.clone();
        }
        if standing == Standing::Former {
            // Nothing is known of its value: it is written anew.
            delivered.content_mark = String::new();
            delivered.version_id = current.to_owned();
            delivered.tags.remove(MARK_TAG);
        }
        Object { begun: true, delivered: Some(delivered), ..Object::new(None, name) }
    });
    Entry { desired, object, token, is_recorded }
}

/// What the tags of a secret say of its last delivery.
fn recorded_state(
    keys: &Keys,
    desired: &Desired,
    found: &BTreeMap<String, String>,
    placement: &str,
) -> Delivered {
    let written = found.get(CUSTOM_TAG).map(String::as_str).unwrap_or_default();
    let known = |key: &str, value: &str| {
        is_own(key)
            || desired.tags.contains_key(key)
            || wrote(written, &keys.tag(&desired.name, key, value))
    };
    let tags = found.iter().filter(|(key, value)| known(key, value));
    let as_wanted = found.get(PLACEMENT_TAG) == placement_digest(placement).as_ref();
    Delivered {
        version_id: String::new(),
        identity: None,
        source_version: 0,
        generation: 0,
        content_mark: content_mark(found),
        tags: tags.map(|(key, value)| (key.clone(), value.clone())).collect(),
        placement: if as_wanted { placement } else { OTHER_PLACEMENT }.to_owned(),
        at: 0,
    }
}

/// What is ours, and the source has no more.
pub(super) fn leaving(name: &str, remote: &Remote) -> Object {
    let found = remote.tags.clone().unwrap_or_default();
    let delivered = Delivered {
        version_id: remote.version_id.clone().unwrap_or_default(),
        identity: remote.identity.clone(),
        source_version: 0,
        generation: 0,
        content_mark: content_mark(&found),
        tags: found.into_iter().filter(|(key, _)| is_own(key)).collect(),
        placement: OTHER_PLACEMENT.to_owned(),
        at: 0,
    };
    Object { begun: true, delivered: Some(delivered), ..Object::new(None, name) }
}

/// Whether a placement is another one than wanted: how it is has to be looked up.
pub(super) fn is_other(delivered: &Delivered) -> bool {
    delivered.placement == OTHER_PLACEMENT
}

fn placement_digest(placement: &str) -> Option<String> {
    let digest = hex::encode(hash::sha256(placement.as_bytes()));
    (!placement.is_empty()).then(|| digest.chars().take(PLACEMENT_CHARACTERS).collect())
}
