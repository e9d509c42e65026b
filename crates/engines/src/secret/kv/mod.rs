//! The key-value stores: version 2, whose secrets have versions, and version 1 without them.
//!
//! A secret is an entry in the tree of names, which knows its versions, and one value for each
//! version that is not destroyed. Entry and values change in one batch. A read takes the entry and
//! one value, whose bytes are passed on as they were stored. Version 1 stores the same for a secret
//! of one version, so that a mount can be tuned from 1 to 2 without anything to convert.

mod attribution;
mod config;
mod data;
mod input;
mod list;
mod metadata;
mod store;
mod subkeys;
mod unversioned;
mod version1;
mod versions;

use bailee_sdk::{
    Engine, EngineKind, Error,
    Operation::{Delete, List, Patch, Read, Scan, Update},
    Path, Setup,
    engine::Class,
};
use std::sync::Arc;

/// Versions of a secret that are kept unless key or mount say otherwise.
pub const VERSIONS_DEFAULT: u64 = 10;
/// Versions that can be kept at most: the entry that lists them is read with every secret.
pub const VERSIONS_MAX: u64 = 4096;
/// Largest secret, in bytes of its JSON.
pub const SECRET_BYTES_MAX: usize = 1 << 20;

/// The kind `kv`.
pub fn kind() -> EngineKind {
    EngineKind { name: "kv", class: Class::Secret, make: Arc::new(make) }
}

/// The kind `generic`: the name that version 1 had when there was no other.
pub fn generic() -> EngineKind {
    EngineKind { name: "generic", class: Class::Secret, make: Arc::new(make_generic) }
}

/// The versioned key-value store.
#[derive(Debug)]
pub struct Kv;

fn make(setup: &Setup) -> Result<Arc<dyn Engine>, Error> {
    match setup.options.get("version").map(String::as_str) {
        Some("2") => Ok(Arc::new(Kv)),
        None | Some("" | "1") => Ok(Arc::new(version1::KvV1)),
        Some(_) => Err(Error::invalid("option \"version\" of a kv mount must be 1 or 2")),
    }
}

fn make_generic(setup: &Setup) -> Result<Arc<dyn Engine>, Error> {
    match setup.options.get("version").map(String::as_str) {
        None | Some("" | "1") => Ok(Arc::new(version1::KvV1)),
        Some(_) => Err(Error::invalid(
            "a generic mount is always of version 1; mount the type kv with the option version=2",
        )),
    }
}

impl Engine for Kv {
    fn paths(self: Arc<Kv>) -> Vec<Path> {
        vec![
            Path::new("config").on(Read, &self, "Read the mount's settings", config::read).on(
                Update,
                &self,
                "Change the mount's settings",
                config::write,
            ),
            Path::new("data/{path...}")
                .leaves_only()
                .on(Read, &self, "Read a version of a secret", data::read)
                .on(Update, &self, "Write a new version of a secret", data::write)
                .on(Patch, &self, "Merge fields into the newest version of a secret", data::patch)
                .on(Delete, &self, "Delete the newest version, restorably", data::delete)
                .exists(&self, data::exists),
            Path::new("metadata/{path...?}")
                .on(Read, &self, "Read the settings and versions of a secret", metadata::read)
                .on(Update, &self, "Change the settings of a secret", metadata::write)
                .on(Patch, &self, "Merge into the settings of a secret", metadata::patch)
                .on(Delete, &self, "Remove a secret with all its versions", metadata::delete)
                .on(List, &self, "List the names in a folder", list::list)
                .on(Scan, &self, "List the paths of all secrets below a folder", list::list)
                .exists(&self, data::exists),
            Path::new("detailed-metadata/{path...?}")
                .on(List, &self, "List a folder with what is known of each secret", list::details)
                .on(
                    Scan,
                    &self,
                    "List all secrets below a folder with what is known of each",
                    list::details,
                ),
            Path::new("delete/{path...}").leaves_only().on(
                Update,
                &self,
                "Delete versions so that they can be restored",
                versions::delete,
            ),
            Path::new("undelete/{path...}").leaves_only().on(
                Update,
                &self,
                "Restore deleted versions",
                versions::undelete,
            ),
            Path::new("destroy/{path...}").leaves_only().on(
                Update,
                &self,
                "Remove the values of versions for ever",
                versions::destroy,
            ),
            Path::new("subkeys/{path...}").leaves_only().on(
                Read,
                &self,
                "Read the names in a secret without their values",
                subkeys::read,
            ),
            Path::new("{path...?}")
                .hidden()
                .on(Read, &self, "Explain the paths of a versioned store", unversioned::explain)
                .on(Update, &self, "Explain the paths of a versioned store", unversioned::explain)
                .on(Patch, &self, "Explain the paths of a versioned store", unversioned::explain)
                .on(Delete, &self, "Explain the paths of a versioned store", unversioned::explain)
                .on(List, &self, "Explain the paths of a versioned store", unversioned::explain)
                .on(Scan, &self, "Explain the paths of a versioned store", unversioned::explain),
        ]
    }
}
