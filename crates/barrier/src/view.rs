//! One unit of work on one place.

use crate::{Barrier, Names, names};
use bailee_storage::{Batch, Error, Expect, Revision, Write};
use futures_util::{StreamExt, stream::BoxStream};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt, sync::Arc};
use tokio::sync::OwnedMutexGuard;
use zeroize::Zeroizing;

/// A window on the keys under one prefix. Reads see the unit's own writes; nothing reaches storage
/// before [`View::commit`]. Views made by [`View::at`] and clones share the unit.
#[derive(Clone)]
pub struct View {
    barrier: Arc<Barrier>,
    prefix: Arc<str>,
    unit: Arc<Unit>,
}

/// A key, and what was sealed under it.
pub type Opened = (String, Zeroizing<Vec<u8>>);

/// What one unit of work has gathered.
struct Unit {
    barrier: Arc<Barrier>,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    writes: BTreeMap<String, Option<Zeroizing<Vec<u8>>>>,
    /// Written as they are: what must be read before there is a key.
    plain: Vec<Write>,
    expects: Vec<Expect>,
    locks: BTreeMap<String, OwnedMutexGuard<()>>,
    /// Run when the commit is over.
    after: Vec<After>,
}

type After = Box<dyn FnOnce() + Send>;

impl View {
    pub(crate) fn new(barrier: Arc<Barrier>, prefix: &str) -> View {
        let unit = Unit { barrier: barrier.clone(), pending: Mutex::default() };
        View { barrier, prefix: prefix.into(), unit: Arc::new(unit) }
    }

    /// Another place in the same unit of work. The kernel and sync call it; engines stay in theirs.
    pub fn at(&self, prefix: &str) -> View {
        View { prefix: prefix.into(), ..self.clone() }
    }

    /// A new, empty unit of work on the same place.
    pub fn fresh(&self) -> View {
        View::new(self.barrier.clone(), &self.prefix)
    }

    /// A new, empty unit of work on the same place that is to land before this one, under what this
    /// one expects by now.
    pub fn ahead(&self) -> View {
        let ahead = self.fresh();
        ahead.unit.pending.lock().expects.clone_from(&self.unit.pending.lock().expects);
        ahead
    }

    /// The barrier it looks through.
    pub fn barrier(&self) -> &Arc<Barrier> {
        &self.barrier
    }

    /// The prefix of its place, which ends in `/`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The names that users chose, hidden in storage, kept under `tree`.
    pub fn names(&self, tree: &str) -> Names {
        Names::new(self.clone(), tree)
    }

    /// The value of a key.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        Ok(self.get_at(key).await?.map(|(value, _)| value))
    }

    /// The value of a key and the commit that wrote it; no revision for a write of this unit.
    pub async fn get_at<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<(T, Option<Revision>)>, Error> {
        match self.get_bytes_at(key).await? {
            Some((bytes, revision)) => Ok(Some((decode(key, &bytes)?, revision))),
            None => Ok(None),
        }
    }

    /// The value of a key as bytes, wiped when dropped.
    pub async fn get_bytes(&self, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        Ok(self.get_bytes_at(key).await?.map(|(bytes, _)| bytes))
    }

    /// The value of a key as bytes, and the commit that wrote it.
    pub async fn get_bytes_at(
        &self,
        key: &str,
    ) -> Result<Option<(Zeroizing<Vec<u8>>, Option<Revision>)>, Error> {
        let place = self.place(key);
        let pending = self.unit.pending.lock().writes.get(&place).cloned();
        match pending {
            Some(write) => Ok(write.map(|bytes| (bytes, None))),
            None => match self.barrier.backend.get(&place).await? {
                Some(entry) => {
                    let bytes = self.barrier.keyring.read().unseal(&place, &entry.bytes)?;
                    Ok(Some((bytes, Some(entry.revision))))
                }
                None => Ok(None),
            },
        }
    }

    /// Direct children of `prefix` after `after`, as storage has them: writes of this unit do not
    /// show. Children that have children end in `/`.
    pub async fn list(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        self.barrier.backend.list(&self.place(prefix), after, limit).await
    }

    /// Every entry under `prefix`, opened, in key order from one snapshot; keys come without the
    /// view's own prefix. Writes of this unit do not show.
    pub fn scan(&self, prefix: &str) -> BoxStream<'_, Result<Opened, Error>> {
        self.scan_after(prefix, "")
    }

    /// The same from the key after `after` on, which begins with `prefix`; from the first one when it
    /// is empty.
    pub fn scan_after(&self, prefix: &str, after: &str) -> BoxStream<'_, Result<Opened, Error>> {
        let own = self.prefix.len();
        let after = if after.is_empty() { String::new() } else { self.place(after) };
        self.barrier
            .backend
            .scan(&self.place(prefix), &after)
            .map(move |found| {
                let (place, entry) = found?;
                let bytes = self.barrier.keyring.read().unseal(&place, &entry.bytes)?;
                Ok((place.get(own..).unwrap_or_default().to_owned(), bytes))
            })
            .boxed()
    }

    /// Stores a value when the unit commits.
    pub fn put<T: Serialize + ?Sized>(&self, key: &str, value: &T) {
        self.put_bytes(key, encode(value));
    }

    /// Stores bytes when the unit commits.
    pub fn put_bytes(&self, key: &str, bytes: Zeroizing<Vec<u8>>) {
        self.unit.pending.lock().writes.insert(self.place(key), Some(bytes));
    }

    /// Removes a key when the unit commits; an absent key is fine.
    pub fn delete(&self, key: &str) {
        self.unit.pending.lock().writes.insert(self.place(key), None);
    }

    /// The commit fails with a conflict unless the key was last written at `revision`.
    pub fn expect(&self, key: &str, revision: Revision) {
        self.guard(Expect::At(self.place(key), revision));
    }

    /// The commit fails with a conflict if the key exists by then.
    pub fn expect_absent(&self, key: &str) {
        self.guard(Expect::Absent(self.place(key)));
    }

    /// Any expectation on a full storage key: the leader's fence, for example.
    pub fn guard(&self, expect: Expect) {
        self.unit.pending.lock().expects.push(expect);
    }

    /// Runs `work` when the unit's commit is over, however it ended: what failed may have landed all
    /// the same. It is for forgetting what was known of the keys that the unit writes. A unit that
    /// is dropped without a commit runs nothing; one whose commit nobody waits for runs it.
    pub fn after_commit(&self, work: impl FnOnce() + Send + 'static) {
        self.unit.pending.lock().after.push(Box::new(work));
    }

    /// Keeps other units out of `key` until this one is committed or dropped. Taking the same key
    /// twice is fine; a handler that takes several takes them in one order everywhere.
    pub async fn lock(&self, key: &str) {
        let place = self.place(key);
        if self.unit.pending.lock().locks.contains_key(&place) {
            return;
        }
        let guard = self.barrier.locks.acquire(&place).await;
        self.unit.pending.lock().locks.insert(place, guard);
    }

    /// Whether the unit has something to write.
    pub fn is_changed(&self) -> bool {
        let pending = self.unit.pending.lock();
        !pending.writes.is_empty() || !pending.plain.is_empty()
    }

    pub(crate) fn put_plain(&self, writes: Vec<Write>) {
        self.unit.pending.lock().plain.extend(writes);
    }

    /// Applies all writes of the unit together, or none. A unit without writes costs nothing and
    /// its expectations are not checked. The unit is empty afterwards, its locks released.
    ///
    /// What is under way lands also when nobody waits for it any more: locks are held, and what was
    /// known of the keys is forgotten, when it is over and not before.
    pub async fn commit(&self) -> Result<Option<Revision>, Error> {
        let Pending { writes, plain, expects, locks, after } =
            std::mem::take(&mut *self.unit.pending.lock());
        let barrier = self.barrier.clone();
        let over = Over { after, _locks: Held { barrier: barrier.clone(), locks } };
        if writes.is_empty() && plain.is_empty() {
            return Ok(None);
        }
        let mut batch = self.seal(expects, writes)?;
        batch.writes.extend(plain);
        let landing = tokio::spawn(async move {
            let _over = over;
            // A commit that failed may have landed: its listings are not sure any more either way.
            let forget = Forget { barrier: &barrier, writes: &batch.writes };
            let outcome = barrier.backend.commit(&batch).await;
            drop(forget);
            outcome
        });
        let lost = |_| Error::Unavailable("a commit was cut short".to_owned());
        landing.await.map_err(lost)?.map(Some)
    }

    fn seal(
        &self,
        expects: Vec<Expect>,
        writes: BTreeMap<String, Option<Zeroizing<Vec<u8>>>>,
    ) -> Result<Batch, Error> {
        let keyring = self.barrier.keyring.read();
        let writes = writes
            .into_iter()
            .map(|(place, value)| match value {
                Some(bytes) => {
                    let sealed = keyring.seal(&place, &bytes)?;
                    Ok(Write::Put(place, sealed))
                }
                None => Ok(Write::Delete(place)),
            })
            .collect::<Result<_, Error>>()?;
        Ok(Batch { expects, writes })
    }

    pub(crate) fn place(&self, key: &str) -> String {
        names::join(&self.prefix, key)
    }

    /// Keys under `place` that this unit puts or deletes.
    pub(crate) fn pending_under(&self, place: &str) -> Vec<(String, bool)> {
        let pending = self.unit.pending.lock();
        pending
            .writes
            .range(place.to_owned()..)
            .take_while(|(key, _)| key.starts_with(place))
            .map(|(key, write)| (key.clone(), write.is_some()))
            .collect()
    }
}

/// Forgets the listings of folders that a commit may have changed, however it ends.
struct Forget<'a> {
    barrier: &'a Barrier,
    writes: &'a [Write],
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.barrier.listings.forget(self.writes);
    }
}

/// What waits for the end of a commit: the work first, then those who want the locks.
struct Over {
    after: Vec<After>,
    _locks: Held,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.after.drain(..).for_each(|work| work());
    }
}

/// Locks that are released when this is dropped.
struct Held {
    barrier: Arc<Barrier>,
    locks: BTreeMap<String, OwnedMutexGuard<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        for (place, guard) in std::mem::take(&mut self.locks) {
            self.barrier.locks.release(&place, guard);
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let locks = std::mem::take(&mut self.pending.lock().locks);
        drop(Held { barrier: self.barrier.clone(), locks });
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({})", self.prefix)
    }
}

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(serde_json::to_vec(value).expect("stored types always encode"))
}

pub(crate) fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Error> {
    // The parser's own message may quote the value.
    serde_json::from_slice(bytes).map_err(|_| Error::Corrupt(format!("entry {key} does not parse")))
}

#[cfg(test)]
mod tests;
