//! What a mount gave out ends before the mount does.

use super::System;
use crate::lease::Ended;
use bailee_sdk::{Error, Namespace};

impl System {
    /// Revokes all leases of the mount at a path, or of all mounts of a namespace when it is empty;
    /// they give out no more until the result is dropped. While one cannot be revoked the mount stays,
    /// so that what its engine needs can be mended.
    pub(super) async fn end_leases(
        &self,
        namespace: &Namespace,
        path: &str,
    ) -> Result<Ended, Error> {
        let places = self.registry.places();
        let place = places.with_id(&namespace.id).ok_or_else(Error::not_found)?;
        let is_meant = |mount: &str| path.is_empty() || mount == path;
        self.leases.end_mounts(place, is_meant).await.map_err(|error| {
            let what = if path.is_empty() { "the namespace" } else { "the mount" };
            let text = format!("{error}. Until then {what} stays as it is");
            Error { messages: vec![text], ..error }
        })
    }
}
