//! `sys/internal/specs/openapi`: a description of all that is served, for programs.

use super::System;
use bailee_sdk::{Body, Engine, Error, Operation, Path, Reply, Request, field::Flag, openapi};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    vec![
        Path::new("internal/specs/openapi")
            .on(
                Operation::Read,
                system,
                "Describe all endpoints of the mounts of this namespace.",
                System::describe,
            )
            .on(
                Operation::Update,
                system,
                "Describe all endpoints of the mounts of this namespace.",
                System::describe,
            )
            .unauthenticated(),
    ]
}

#[derive(Deserialize, JsonSchema)]
struct Describe {
    /// Names mounts by a parameter instead of their path.
    #[serde(default)]
    generic_mount_paths: Flag,
    /// Kept as given: the document is the same for all readers.
    #[serde(default, rename = "context")]
    _context: Option<String>,
}

impl System {
    async fn describe(self: Arc<Self>, request: Request<Describe>) -> Result<Reply, Error> {
        let generic = request.input.generic_mount_paths.0;
        let Some(rights) = self.rights(&request).await? else {
            // Anyone can ask for this as often as they like: it is made once. Neither what every
            // server has nor where it is ever changes.
            let made = || self.document(&self.everywhere(), generic);
            return Ok(raw(self.public_document.get_or_init(made).clone()));
        };
        let mut mounts = self.everywhere();
        let places = self.registry.places();
        let place = places.with_id(&request.namespace.id).ok_or_else(Error::not_found)?;
        for mounted in place.mounts.values() {
            let path = &mounted.entry.path;
            if let (Some(served), true) = (&mounted.served, rights.touch(path)) {
                mounts.push((path.clone(), served.paths.clone()));
            }
        }
        Ok(raw(self.document(&mounts, generic)))
    }

    /// What who has no token sees, too: what every server has, and no mount of this one.
    fn everywhere(self: &Arc<Self>) -> Vec<(String, Vec<Path>)> {
        let own = ("sys/".to_owned(), self.clone().paths());
        let builtin = self.builtin.iter();
        let builtin = builtin.map(|(path, served)| ((*path).to_owned(), served.paths.clone()));
        std::iter::once(own).chain(builtin).collect()
    }

    fn document(&self, mounts: &[(String, Vec<Path>)], generic: bool) -> Vec<u8> {
        openapi::document(self.settings.version, mounts, generic).to_string().into_bytes()
    }
}

fn raw(bytes: Vec<u8>) -> Reply {
    Body::Raw { content_type: "application/json", bytes }.into()
}
