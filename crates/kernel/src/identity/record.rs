//! What is stored of entities and groups, and the limits of it.

use bailee_barrier::Revision;
use bailee_sdk::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bytes of the name of an entity, a group or an alias.
pub(crate) const NAME_BYTES_MAX: usize = 1024;
/// Entries of a map of metadata.
const METADATA_MAX: usize = 64;
/// Bytes of the name of an entry.
const METADATA_NAME_BYTES_MAX: usize = 128;
/// Bytes of the value of an entry.
const METADATA_VALUE_BYTES_MAX: usize = 512;
/// Policies that an entity or a group has itself.
const POLICIES_MAX: usize = 1024;

/// Someone, however they log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entity {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Its own policies, sorted.
    pub(crate) policies: Vec<String>,
    /// Its tokens are refused and nobody logs in as it.
    pub(crate) disabled: bool,
    /// Milliseconds since 1970.
    pub(crate) created: u64,
    pub(crate) updated: u64,
    /// Ids of the entities that became part of it.
    pub(crate) merged: Vec<String>,
    /// The names under which auth methods know it: at most one for each mount.
    pub(crate) aliases: Vec<Alias>,
}

/// The name under which an auth method knows an entity, or its source knows a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alias {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Stable id of the mount.
    pub(crate) mount: String,
    pub(crate) accessor: String,
    /// Whether the mount was made local.
    pub(crate) local: bool,
    /// What the auth method said at the last login.
    pub(crate) metadata: BTreeMap<String, String>,
    /// What an operator said.
    pub(crate) custom_metadata: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub(crate) created: u64,
    pub(crate) updated: u64,
    /// Entities it belonged to before they were merged.
    pub(crate) merged_from: Vec<String>,
}

/// Entities and groups that share policies. Who belongs to it is stored beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Whether an auth method tells who belongs to it.
    pub(crate) external: bool,
    pub(crate) policies: Vec<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub(crate) created: u64,
    pub(crate) updated: u64,
    /// Counts its changes.
    pub(crate) modify_index: u64,
    /// The name under which the auth method knows an external group.
    pub(crate) alias: Option<Alias>,
}

/// Where the name of an alias leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AliasOwner {
    /// Id of the alias.
    pub(crate) alias: String,
    /// Id of the entity or group.
    pub(crate) owner: String,
}

/// What was read, and the commit that wrote it; none for what is new.
#[derive(Clone, Debug)]
pub(crate) struct Stored<T> {
    pub(crate) value: T,
    pub(crate) revision: Option<Revision>,
}

impl<T> Stored<T> {
    /// What is not stored yet.
    pub(crate) fn new(value: T) -> Stored<T> {
        Stored { value, revision: None }
    }
}

impl Entity {
    /// Its alias at a mount.
    pub(crate) fn alias_at(&self, mount: &str) -> Option<&Alias> {
        self.aliases.iter().find(|alias| alias.mount == mount)
    }

    /// Its alias with this id.
    pub(crate) fn alias_mut(&mut self, id: &str) -> Option<&mut Alias> {
        self.aliases.iter_mut().find(|alias| alias.id == id)
    }
}

/// Whether a text can be one of the ids that are made here; others name nothing.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// A name as it may be stored.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::invalid(format!("{what} name must not be empty")));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{what} name has {} bytes, at most {NAME_BYTES_MAX} are possible",
            name.len()
        )));
    }
    Ok(())
}

/// Metadata as it may be stored.
pub(crate) fn check_metadata(field: &str, entries: &BTreeMap<String, String>) -> Result<(), Error> {
    if entries.len() > METADATA_MAX {
        return Err(Error::invalid(format!(
            "invalid {field}: {} entries, at most {METADATA_MAX} are possible",
            entries.len()
        )));
    }
    for (name, value) in entries {
        if name.is_empty() {
            return Err(Error::invalid(format!("invalid {field}: a key must not be empty")));
        }
        if name.len() > METADATA_NAME_BYTES_MAX {
            return Err(Error::invalid(format!(
                "invalid {field}: a key is longer than {METADATA_NAME_BYTES_MAX} bytes"
            )));
        }
        if value.len() > METADATA_VALUE_BYTES_MAX {
            return Err(Error::invalid(format!(
                "invalid {field}: a value is longer than {METADATA_VALUE_BYTES_MAX} bytes"
            )));
        }
    }
    Ok(())
}

/// Names of policies as they are stored: lower case, sorted, each once; `root` cannot be given.
pub(crate) fn clean_policies(names: Vec<String>) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = names.iter().map(|name| name.trim().to_lowercase()).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    if names.iter().any(|name| name == "root") {
        return Err(Error::invalid("policies cannot contain root"));
    }
    if names.len() > POLICIES_MAX {
        return Err(Error::invalid(format!(
            "'policies' has {} names, at most {POLICIES_MAX} are possible",
            names.len()
        )));
    }
    if names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
        return Err(Error::invalid(format!(
            "'policies' has a name of more than {NAME_BYTES_MAX} bytes"
        )));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_made_here_is_an_id() {
        assert!(is_id("0a1b2c3d-0000-4000-8000-000000000000"));
        for text in ["", "nope", "../../0a1b2c3d-0000-4000-8000-00000000", "0a1b2c3d/0000"] {
            assert!(!is_id(text), "{text}");
        }
    }

    #[test]
    fn metadata_is_bounded_in_number_and_bytes() {
        let many = |count: usize| (0..count).map(|n| (n.to_string(), String::new())).collect();
        assert!(check_metadata("metadata", &many(METADATA_MAX)).is_ok());
        assert!(check_metadata("metadata", &many(METADATA_MAX + 1)).is_err());
        let one = |name: usize, value: usize| [("n".repeat(name), "v".repeat(value))].into();
        assert!(check_metadata("metadata", &one(128, 512)).is_ok());
        for (name, value) in [(0, 1), (129, 1), (1, 513)] {
            assert!(check_metadata("metadata", &one(name, value)).is_err());
        }
    }

    #[test]
    fn policies_are_sorted_and_root_is_none_of_them() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(clean_policies(names(&["b", "A", "", "a"])).unwrap(), ["a", "b"]);
        assert!(clean_policies(names(&["a", "ROOT"])).is_err());
    }
}
