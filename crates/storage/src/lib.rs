//! Bytes at rest: keys, batches and revisions. What a key or a value means is known above.
//!
//! Everything that is stored goes through [`Backend`]. A backend sees ciphertext only; the names
//! that users choose do not appear in keys either. The meaning of the trait is held by the suite
//! `testing::check_backend`, which every implementation runs.

pub mod embedded;
mod event;
mod feed;
pub mod memory;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio::io::AsyncWrite;

/// Longest key in bytes that every backend takes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Largest value in bytes that every backend takes: 1 MiB of secret and the overhead of sealing it.
pub const VALUE_BYTES_MAX: usize = (1 << 20) + (64 << 10);

/// Identifies one write of one key. Grows with every commit; opaque to everyone but the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A stored value and the commit that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value, as it was given.
    pub bytes: Vec<u8>,
    /// The commit that wrote it.
    pub revision: Revision,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Stores a value under a key, new or not.
    Put(String, Vec<u8>),
    /// Removes a key; an absent key is fine.
    Delete(String),
}

/// What must hold when a batch is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key has no value.
    Absent(String),
    /// The key's value was written by this commit.
    At(String, Revision),
}

/// Changes that land together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Guards: when one does not hold, nothing is written.
    pub expects: Vec<Expect>,
    /// The changes. A key occurs at most once.
    pub writes: Vec<Write>,
}

impl Batch {
    /// The keys it puts or deletes.
    pub(crate) fn keys(&self) -> Vec<String> {
        let key = |write: &Write| match write {
            Write::Put(key, _) | Write::Delete(key) => key.clone(),
        };
        self.writes.iter().map(key).collect()
    }
}

/// Keys that one commit changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The commit.
    pub revision: Revision,
    /// Keys put or deleted.
    pub keys: Vec<String>,
}

/// Why storage did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An expectation of the batch does not hold; nothing was written.
    #[error("an expectation of the batch does not hold")]
    Conflict,
    /// A key or value over the limits of this crate; nothing was written.
    #[error("{what} of {bytes} bytes exceeds the limit of {max}")]
    TooLarge {
        /// `key` or `value`.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The disk or quota is full; nothing was written.
    #[error("storage is full")]
    Full,
    /// The backend cannot be reached or refused. The write may or may not have landed.
    #[error("storage unavailable: {0}")]
    Unavailable(String),
    /// Stored bytes are not what was written.
    #[error("stored data is corrupt: {0}")]
    Corrupt(String),
}

/// Where ciphertext is kept: memory, the embedded engine, later etcd and PostgreSQL.
///
/// Keys are UTF-8 without control characters, their parts separated by `/`. Order is by bytes.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Name shown as `storage_type`, such as `inmem`.
    fn kind(&self) -> &'static str;

    /// The value of a key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error>;

    /// Direct children of `prefix` (empty, or ending in `/`) sorted after `after`, at most `limit`.
    /// A child that has children ends in `/`; a key that is both is given twice, as `a` and `a/`.
    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, Error>;

    /// Every entry whose key starts with `prefix` and is greater than `after`, in key order, from
    /// one consistent snapshot taken when the stream is first polled.
    fn scan(&self, prefix: &str, after: &str) -> BoxStream<'_, Result<(String, Entry), Error>>;

    /// Applies every write, or none when an expectation does not hold. When it returns `Ok` the
    /// batch survives a crash of the process and of the machine. All its writes share a revision.
    async fn commit(&self, batch: &Batch) -> Result<Revision, Error>;

    /// Keys changed from now on, by any node that shares the storage; embedded engines see only
    /// their own process. A receiver that falls behind gets an error and must read anew.
    fn changes(&self) -> BoxStream<'static, Result<Change, Error>>;

    /// Writes a consistent copy while writes go on.
    async fn backup(&self, into: &mut (dyn AsyncWrite + Send + Unpin)) -> Result<(), Error>;

    /// Replaces everything by these entries, whose keys differ: all of it or, when it fails or
    /// `entries` ends in an error, nothing. All get one new revision. What anyone knows of the
    /// storage is void after it and no change is told: whoever restores sees to that first.
    async fn restore(&self, entries: Entries<'_>) -> Result<Revision, Error>;
}

/// Keys and values that take the place of all others.
pub type Entries<'a> = BoxStream<'a, Result<(String, Vec<u8>), Error>>;

/// Refuses keys and values that some backend could not take, so that all refuse alike.
pub(crate) fn check_sizes(batch: &Batch) -> Result<(), Error> {
    for write in &batch.writes {
        match write {
            Write::Put(key, bytes) => check_entry(key, bytes.len())?,
            Write::Delete(key) => check_entry(key, 0)?,
        }
    }
    Ok(())
}

/// The same for one entry.
pub(crate) fn check_entry(key: &str, bytes: usize) -> Result<(), Error> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::TooLarge { what: "key", bytes: key.len(), max: KEY_BYTES_MAX });
    }
    if bytes > VALUE_BYTES_MAX {
        return Err(Error::TooLarge { what: "value", bytes, max: VALUE_BYTES_MAX });
    }
    Ok(())
}
