//! Lists: the names of secrets, of one folder or of all below it, and what is known of each.

use super::{
    Kv, metadata,
    store::{Entry, Place, names},
};
use crate::listing::{self, Page};
use bailee_sdk::{
    Error, Names, Operation, Reply, Request,
    field::{Flag, Integer},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, json};
use std::{sync::Arc, time::SystemTime};

/// Names that are looked through at once for those that are alive.
const PART: usize = 10_000;
/// What a list with details may take, in bytes.
const DETAILS_BYTES_MAX: usize = 32 << 20;

/// Which names to list.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListMetadata {
    /// Path of the secret, or of a folder to list.
    #[serde(default)]
    path: String,
    /// Name after which the list begins.
    #[serde(default)]
    after: String,
    /// Names to give at most; 0 for all.
    #[serde(default)]
    limit: Integer,
    /// Whether to leave out secrets whose newest version is deleted or destroyed.
    #[serde(default)]
    exclude_deleted: Flag,
}

pub(super) async fn list(_: Arc<Kv>, request: Request<ListMetadata>) -> Result<Reply, Error> {
    let ListMetadata { path, after, limit, exclude_deleted } = &request.input;
    let folder = Folder::of(&request, path);
    let page = Page::new(after, *limit);
    Reply::keys(&if exclude_deleted.0 {
        folder.alive(&page, request.now).await?
    } else {
        folder.page(&page).await?
    })
}

/// Which secrets to list with what is known of them.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListDetails {
    /// Path of the folder.
    #[serde(default)]
    path: String,
    /// Name after which the list begins.
    #[serde(default)]
    after: String,
    /// Names to give at most; 0 for all.
    #[serde(default)]
    limit: Integer,
}

pub(super) async fn details(_: Arc<Kv>, request: Request<ListDetails>) -> Result<Reply, Error> {
    let ListDetails { path, after, limit } = &request.input;
    let folder = Folder::of(&request, path);
    let keys = folder.page(&Page::new(after, *limit)).await?;
    if keys.is_empty() {
        return Err(Error::not_found());
    }
    let mut info = Map::new();
    let mut bytes = 0;
    for key in keys.iter().filter(|key| !key.ends_with('/')) {
        let path = format!("{}{key}", folder.path);
        let place = Place::of(&request.view, &path)?;
        // One that was removed since the list was read has no details.
        let Some(shown) = metadata::shown(&place).await? else { continue };
        bytes += shown.to_string().len();
        if bytes > DETAILS_BYTES_MAX {
            return Err(Error::invalid(format!(
                "this list takes more than {DETAILS_BYTES_MAX} bytes: ask for a part of it with \
                 \"limit\", and for the next with \"after\""
            )));
        }
        info.insert(key.clone(), shown);
    }
    Ok(Reply::data(&json!({ "keys": keys, "key_info": info })))
}

/// The names in a folder, or in all folders below it too.
struct Folder {
    names: Names,
    /// Empty, or ending in `/`.
    path: String,
    scans: bool,
}

impl Folder {
    fn of<I>(request: &Request<I>, path: &str) -> Folder {
        let scans = request.operation == Operation::Scan;
        Folder { names: names(&request.view), path: listing::folder(path), scans }
    }

    async fn page(&self, page: &Page<'_>) -> Result<Vec<String>, Error> {
        if self.scans {
            listing::scan(&self.names, &self.path, page).await
        } else {
            Ok(self.names.list(&self.path, page.after, page.limit).await?)
        }
    }

    async fn alive(&self, page: &Page<'_>, now: SystemTime) -> Result<Vec<String>, Error> {
        let mut alive = Vec::new();
        let mut after = page.after.to_owned();
        loop {
            let part = self.page(&Page { after: &after, limit: PART }).await?;
            let Some(last) = part.last() else { return Ok(alive) };
            last.clone_into(&mut after);
            for name in part {
                if name.ends_with('/') || self.is_alive(&name, now).await? {
                    alive.push(name);
                }
                if alive.len() == page.limit {
                    return Ok(alive);
                }
            }
        }
    }

    /// A secret without any version has nothing that was deleted.
    async fn is_alive(&self, name: &str, now: SystemTime) -> Result<bool, Error> {
        let entry: Option<Entry> = self.names.get(&format!("{}{name}", self.path)).await?;
        Ok(entry
            .is_some_and(|entry| entry.version(0).is_none_or(|(_, newest)| newest.is_alive(now))))
    }
}
