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
}

impl System {
    async fn describe(self: Arc<Self>, request: Request<Describe>) -> Result<Reply, Error> {
        let generic = request.input.generic_mount_paths.0;
        // Who has no token sees what every server has, and no mount of this one.
        let mut mounts = vec![
            ("sys/".to_owned(), self.clone().paths()),
            ("auth/token/".to_owned(), self.token.paths.clone()),
        ];
        if let Some(rights) = self.rights(&request).await? {
            let places = self.registry.places();
            let place = places.with_id(&request.namespace.id).ok_or_else(Error::not_found)?;
            for mounted in place.mounts.values() {
                let path = &mounted.entry.path;
                if let (Some(served), true) = (&mounted.served, rights.touch(path)) {
                    mounts.push((path.clone(), served.paths.clone()));
                }
            }
        }
        let document = openapi::document(self.settings.version, &mounts, generic);
        let bytes = document.to_string().into_bytes();
        Ok(Body::Raw { content_type: "application/json", bytes }.into())
    }
}
