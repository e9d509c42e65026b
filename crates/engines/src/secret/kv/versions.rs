//! `delete/`, `undelete/` and `destroy/`: some versions of a secret.

use super::{
    Kv,
    attribution::{self, Done},
    input::VersionNumbers,
    store::{Place, Version},
};
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Error, Reply, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{sync::Arc, time::SystemTime};

/// Versions of a secret.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SomeVersions {
    /// Path of the secret.
    path: String,
    /// Numbers of the versions.
    #[serde(default)]
    versions: VersionNumbers,
}

pub(super) async fn delete(_: Arc<Kv>, request: Request<SomeVersions>) -> Result<Reply, Error> {
    check_named(&request, "No version number provided")?;
    change(&request, "delete", |version, now| {
        let alive = version.is_alive(now);
        if alive {
            version.deleted = Some(to_millis(now));
        }
        alive
    })
    .await
}

pub(super) async fn undelete(_: Arc<Kv>, request: Request<SomeVersions>) -> Result<Reply, Error> {
    check_named(&request, "No version number provided")?;
    let restore = |version: &mut Version, _| !version.destroyed && version.deleted.take().is_some();
    change(&request, "undelete", restore).await
}

pub(super) async fn destroy(_: Arc<Kv>, request: Request<SomeVersions>) -> Result<Reply, Error> {
    check_named(&request, "no version number provided")?;
    let destroy = |version: &mut Version, _| !std::mem::replace(&mut version.destroyed, true);
    change(&request, "destroy", destroy).await
}

fn check_named(request: &Request<SomeVersions>, message: &str) -> Result<(), Error> {
    if request.input.versions.0.is_empty() { Err(Error::invalid(message)) } else { Ok(()) }
}

/// Applies a change, which tells whether it did something, to the versions that exist of those
/// named; the values of destroyed ones go with it.
async fn change(
    request: &Request<SomeVersions>,
    operation: &str,
    change: impl Fn(&mut Version, SystemTime) -> bool,
) -> Result<Reply, Error> {
    let place = Place::of(&request.view, &request.input.path)?;
    place.lock().await;
    let Some(mut entry) = place.entry().await? else { return Ok(Reply::empty()) };
    let mut changed = Vec::new();
    for number in &request.input.versions.0 {
        if let Some(version) = entry.versions.get_mut(number)
            && change(version, request.now)
        {
            changed.push(*number);
            if version.destroyed {
                place.delete_value(*number);
            }
        }
    }
    if !changed.is_empty() {
        entry.updated = to_millis(request.now);
        place.put_entry(&entry).await?;
        let done = match operation {
            "delete" => Done::Deleted(&changed),
            "undelete" => Done::Restored(&changed),
            _ => Done::Other,
        };
        attribution::note(request, &place, operation, done).await?;
        request.changed(&request.input.path);
    }
    Ok(Reply::empty())
}
