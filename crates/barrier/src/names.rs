//! Names at rest: paths that users chose, of which storage shows only codes.
//!
//! A path is a chain of nodes. A node's storage key is `<tree>/<parent's id>/<own id>`, its id an
//! HMAC over the parent's id and the segment; the segment itself is sealed in the value. A folder
//! has a node of its own while something is in it.

use crate::{
    View,
    view::{decode, encode},
};
use bailee_crypto::{mac::MacKey, random};
use bailee_storage::{Error, Revision, Write};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use std::{num::NonZeroUsize, sync::Arc};
use zeroize::Zeroizing;

/// Segments a path may have.
pub const NAMED_DEPTH_MAX: usize = 256;

/// Folders whose sorted names are kept.
const LISTINGS_MAX: usize = 512;
/// A folder whose names take more bytes than this is read anew each time.
const LISTING_BYTES_MAX: usize = 2 << 20;
/// Bytes that all kept names take together.
const LISTINGS_BYTES_MAX: usize = 64 << 20;
/// Bytes of an id: enough that no two names of a folder ever share one.
const ID_BYTES: usize = 16;
const LEAF: u8 = 1;
const FOLDER: u8 = 2;

/// The named values of one tree of one place.
#[derive(Clone, Debug)]
pub struct Names {
    view: View,
    tree: String,
    key: Arc<MacKey>,
}

/// A path's nodes: the folders from the outermost, then the leaf.
struct Nodes {
    folders: Vec<Node>,
    leaf: Node,
}

struct Node {
    /// Storage key, without the view's prefix.
    key: String,
    id: [u8; ID_BYTES],
    segment: String,
}

impl Names {
    pub(crate) fn new(view: View, tree: &str) -> Names {
        let key = view.barrier().name_key(view.prefix());
        Names { view, tree: tree.to_owned(), key }
    }

    /// A code for a path, of letters, digits, `-` and `_`: for keys of what belongs to it. The same
    /// in every tree of the place.
    pub fn id(&self, path: &str) -> String {
        let id = path
            .split('/')
            .fold([0; ID_BYTES], |parent, segment| self.child_id(&parent, FOLDER, segment));
        text(&self.child_id(&id, LEAF, ""))
    }

    /// The value under a path.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        Ok(self.get_at(path).await?.map(|(value, _)| value))
    }

    /// The value under a path and the commit that wrote it; no revision for a write of this unit.
    pub async fn get_at<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<(T, Option<Revision>)>, Error> {
        let key = self.nodes(path)?.leaf.key;
        match self.view.get_bytes_at(&key).await? {
            Some((bytes, revision)) => {
                let (_, value) = split(&key, &bytes)?;
                Ok(Some((decode(&key, value)?, revision)))
            }
            None => Ok(None),
        }
    }

    /// The commit conflicts unless the path was last written at `revision`.
    pub fn expect(&self, path: &str, revision: Revision) -> Result<(), Error> {
        self.view.expect(&self.nodes(path)?.leaf.key, revision);
        Ok(())
    }

    /// Stores a value under a path when the unit commits. The commit conflicts when the path had a
    /// value and someone else changes or removes it meanwhile.
    pub async fn put<T: Serialize>(&self, path: &str, value: &T) -> Result<(), Error> {
        let nodes = self.nodes(path)?;
        match self.view.get_bytes_at(&nodes.leaf.key).await? {
            // Its folders are there as long as it is: if it is removed meanwhile, this conflicts.
            Some((_, Some(revision))) => self.view.expect(&nodes.leaf.key, revision),
            Some((_, None)) => {}
            // Written also where they exist: a concurrent removal of the last name beside this one
            // then finds the folder changed and conflicts.
            None => {
                for folder in &nodes.folders {
                    self.view.put_bytes(&folder.key, joined(FOLDER, &folder.segment, b""));
                }
            }
        }
        let bytes = joined(LEAF, &nodes.leaf.segment, &encode(value));
        self.view.put_bytes(&nodes.leaf.key, bytes);
        Ok(())
    }

    /// Removes a path when the unit commits, and the folders it leaves empty. The commit conflicts
    /// when something arrives in such a folder meanwhile. Returns whether it was there.
    pub async fn delete(&self, path: &str) -> Result<bool, Error> {
        let nodes = self.nodes(path)?;
        // Two removals that each leave the other's name would leave an empty folder.
        for folder in &nodes.folders {
            self.view.lock(&folder.key).await;
        }
        if self.view.get_bytes(&nodes.leaf.key).await?.is_none() {
            return Ok(false);
        }
        self.view.delete(&nodes.leaf.key);
        for folder in nodes.folders.iter().rev() {
            // Read before its children are: what arrives after this makes the commit conflict.
            let found = self.view.get_bytes_at(&folder.key).await?;
            if self.has_children(&folder.id).await? {
                break;
            }
            if let Some((_, Some(revision))) = found {
                self.view.expect(&folder.key, revision);
            }
            self.view.delete(&folder.key);
        }
        Ok(true)
    }

    /// Sorted names directly in a folder (empty, or ending in `/`) after `after`, at most `limit`;
    /// folders end in `/`. Writes of this unit do not show.
    pub async fn list(
        &self,
        folder: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let names = self.all_names(folder).await?;
        let from = names.partition_point(|name| name.as_str() <= after);
        Ok(names.iter().skip(from).take(limit).cloned().collect())
    }

    async fn all_names(&self, folder: &str) -> Result<Arc<Vec<String>>, Error> {
        let id = self.folder_id(folder)?;
        let children = self.children_key(&id);
        let place = self.view.place(&children);
        let listings = &self.view.barrier().listings;
        let ticket = match listings.look_up(&place) {
            Ok(names) => return Ok(names),
            Err(ticket) => ticket,
        };
        let mut names = Vec::new();
        let mut entries = self.view.scan(&children);
        while let Some(entry) = entries.next().await {
            let (key, bytes) = entry?;
            names.push(split(&key, &bytes)?.0);
        }
        names.sort_unstable();
        let names = Arc::new(names);
        listings.keep(&place, ticket, &names);
        Ok(names)
    }

    async fn has_children(&self, id: &[u8; ID_BYTES]) -> Result<bool, Error> {
        let children = self.children_key(id);
        let pending = self.view.pending_under(&self.view.place(&children));
        if pending.iter().any(|(_, put)| *put) {
            return Ok(true);
        }
        // One more than this unit removes: if storage has that many, one remains.
        let stored = self.view.list(&children, "", pending.len() + 1).await?;
        Ok(stored.iter().any(|child| {
            let place = self.view.place(&format!("{children}{child}"));
            !pending.iter().any(|(key, _)| *key == place)
        }))
    }

    fn nodes(&self, path: &str) -> Result<Nodes, Error> {
        let mut segments: Vec<&str> = path.split('/').collect();
        if segments.len() > NAMED_DEPTH_MAX {
            let bytes = segments.len();
            return Err(Error::TooLarge { what: "path depth", bytes, max: NAMED_DEPTH_MAX });
        }
        let last = segments.pop().unwrap_or_default();
        let mut parent = [0; ID_BYTES];
        let mut folders = Vec::with_capacity(segments.len());
        for segment in segments {
            let node = self.node(&parent, FOLDER, segment);
            parent = node.id;
            folders.push(node);
        }
        Ok(Nodes { folders, leaf: self.node(&parent, LEAF, last) })
    }

    fn node(&self, parent: &[u8; ID_BYTES], kind: u8, segment: &str) -> Node {
        let id = self.child_id(parent, kind, segment);
        let key = format!("{}{}", self.children_key(parent), text(&id));
        let shown = if kind == FOLDER { format!("{segment}/") } else { segment.to_owned() };
        Node { key, id, segment: shown }
    }

    fn folder_id(&self, folder: &str) -> Result<[u8; ID_BYTES], Error> {
        let Some(path) = folder.strip_suffix('/') else { return Ok([0; ID_BYTES]) };
        if path.split('/').count() > NAMED_DEPTH_MAX {
            let bytes = path.split('/').count();
            return Err(Error::TooLarge { what: "path depth", bytes, max: NAMED_DEPTH_MAX });
        }
        Ok(path
            .split('/')
            .fold([0; ID_BYTES], |parent, segment| self.child_id(&parent, FOLDER, segment)))
    }

    fn child_id(&self, parent: &[u8; ID_BYTES], kind: u8, segment: &str) -> [u8; ID_BYTES] {
        let code = self.key.sign(&[parent, &[kind], segment.as_bytes()]);
        let mut id = [0; ID_BYTES];
        id.iter_mut().zip(code).for_each(|(to, from)| *to = from);
        id
    }

    fn children_key(&self, parent: &[u8; ID_BYTES]) -> String {
        format!("{}/{}/", self.tree, text(parent))
    }
}

/// Sorted names of folders that were listed, until something in them changes.
#[derive(Default)]
pub(crate) struct Listings(Mutex<Kept>);

struct Kept {
    listings: lru::LruCache<String, Listing>,
    /// What the names take together.
    bytes: usize,
}

enum Listing {
    /// Someone reads the folder; what it reads counts only while the ticket is here.
    Reading(u64),
    /// The names, and the bytes they take.
    Known(Arc<Vec<String>>, usize),
}

impl Default for Kept {
    fn default() -> Kept {
        let size = NonZeroUsize::new(LISTINGS_MAX).expect("not zero");
        Kept { listings: lru::LruCache::new(size), bytes: 0 }
    }
}

impl Kept {
    fn put(&mut self, place: &str, listing: Listing) {
        self.bytes += listing.bytes();
        if let Some((_, gone)) = self.listings.push(place.to_owned(), listing) {
            self.bytes -= gone.bytes();
        }
        while self.bytes > LISTINGS_BYTES_MAX
            && let Some((_, gone)) = self.listings.pop_lru()
        {
            self.bytes -= gone.bytes();
        }
    }

    fn pop(&mut self, place: &str) {
        if let Some(gone) = self.listings.pop(place) {
            self.bytes -= gone.bytes();
        }
    }
}

impl Listing {
    fn bytes(&self) -> usize {
        match self {
            Listing::Reading(_) => 0,
            Listing::Known(_, bytes) => *bytes,
        }
    }
}

impl Listings {
    /// The names, or a ticket under which they may be kept once read.
    fn look_up(&self, place: &str) -> Result<Arc<Vec<String>>, u64> {
        let mut kept = self.0.lock();
        if let Some(Listing::Known(names, _)) = kept.listings.get(place) {
            return Ok(names.clone());
        }
        let ticket = u64::from_le_bytes(random::array());
        kept.put(place, Listing::Reading(ticket));
        Err(ticket)
    }

    fn keep(&self, place: &str, ticket: u64, names: &Arc<Vec<String>>) {
        let bytes = names.iter().map(|name| name.len() + size_of::<String>()).sum();
        let mut kept = self.0.lock();
        match kept.listings.peek(place) {
            Some(Listing::Reading(current)) if *current == ticket => {}
            _ => return,
        }
        if bytes > LISTING_BYTES_MAX {
            kept.pop(place);
        } else {
            kept.put(place, Listing::Known(names.clone(), bytes));
        }
    }

    pub(crate) fn clear(&self) {
        *self.0.lock() = Kept::default();
    }

    /// Forgets the folders in which these writes put or removed something.
    pub(crate) fn forget(&self, writes: &[Write]) {
        let mut kept = self.0.lock();
        if kept.listings.is_empty() {
            return;
        }
        for write in writes {
            let (Write::Put(key, _) | Write::Delete(key)) = write;
            if let Some(end) = key.rfind('/') {
                kept.pop(key.get(..=end).unwrap_or_default());
            }
        }
    }
}

pub(crate) fn join(prefix: &str, key: &str) -> String {
    let mut place = String::with_capacity(prefix.len() + key.len());
    place.push_str(prefix);
    place.push_str(key);
    place
}

fn text(id: &[u8; ID_BYTES]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(id)
}

/// A node's value: kind, length of the name, name, and what the leaf holds.
fn joined(kind: u8, name: &str, value: &[u8]) -> Zeroizing<Vec<u8>> {
    let length = u32::try_from(name.len()).expect("names are far shorter than 4 GiB");
    let mut bytes = Zeroizing::new(Vec::with_capacity(5 + name.len() + value.len()));
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(value);
    bytes
}

fn split<'a>(key: &str, bytes: &'a [u8]) -> Result<(String, &'a [u8]), Error> {
    let parts = || {
        let (header, rest) = bytes.split_first_chunk::<5>()?;
        let [_, length @ ..] = *header;
        let (name, value) = rest.split_at_checked(u32::from_be_bytes(length).try_into().ok()?)?;
        Some((std::str::from_utf8(name).ok()?.to_owned(), value))
    };
    parts().ok_or_else(|| Error::Corrupt(format!("entry {key} is not a named value")))
}

#[cfg(test)]
mod tests;
