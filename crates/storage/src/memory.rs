//! Storage that ends with the process: `storage "inmem"`, and most tests.

use crate::{
    Backend, Batch, Change, Entries, Entry, Error, Expect, Revision, Write, check_entry,
    check_sizes, feed::Feed,
};
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use parking_lot::RwLock;
use std::{collections::BTreeMap, ops::Bound};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Keeps everything in a sorted map.
#[derive(Debug, Default)]
pub struct Memory {
    state: RwLock<State>,
    feed: Feed,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    entries: BTreeMap<String, Entry>,
}

#[async_trait]
impl Backend for Memory {
    fn kind(&self) -> &'static str {
        "inmem"
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        Ok(self.state.read().entries.get(key).cloned())
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, Error> {
        Ok(self.state.read().children(prefix, after, limit))
    }

    fn scan(&self, prefix: &str, after: &str) -> BoxStream<'_, Result<(String, Entry), Error>> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        stream::once(async move { stream::iter(self.state.read().entries_under(&prefix, &after)) })
            .flatten()
            .map(Ok)
            .boxed()
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, Error> {
        check_sizes(batch)?;
        let mut state = self.state.write();
        if !batch.expects.iter().all(|expect| state.holds(expect)) {
            return Err(Error::Conflict);
        }
        let revision = state.apply(&batch.writes);
        // Told under the lock, so that changes come in the order of the commits.
        self.feed.tell(Change { revision, keys: batch.keys() });
        Ok(revision)
    }

    fn changes(&self) -> BoxStream<'static, Result<Change, Error>> {
        self.feed.listen()
    }

    /// Writes each entry as a line of `<key bytes> <value bytes> <revision>`, the key, the value.
    async fn backup(&self, into: &mut (dyn AsyncWrite + Send + Unpin)) -> Result<(), Error> {
        let copy = self.state.read().entries.clone();
        for (key, entry) in copy {
            let line = format!("{} {} {}\n", key.len(), entry.bytes.len(), entry.revision.0);
            for part in [line.as_bytes(), key.as_bytes(), &entry.bytes] {
                into.write_all(part)
                    .await
                    .map_err(|error| Error::Unavailable(error.to_string()))?;
            }
        }
        into.flush().await.map_err(|error| Error::Unavailable(error.to_string()))
    }

    async fn restore(&self, mut entries: Entries<'_>) -> Result<Revision, Error> {
        let mut writes = Vec::new();
        while let Some((key, bytes)) = entries.try_next().await? {
            check_entry(&key, bytes.len())?;
            writes.push(Write::Put(key, bytes));
        }
        let mut state = self.state.write();
        state.entries.clear();
        Ok(state.apply(&writes))
    }
}

impl State {
    fn holds(&self, expect: &Expect) -> bool {
        match expect {
            Expect::Absent(key) => !self.entries.contains_key(key),
            Expect::At(key, revision) => {
                self.entries.get(key).is_some_and(|entry| entry.revision == *revision)
            }
        }
    }

    fn apply(&mut self, writes: &[Write]) -> Revision {
        self.revision += 1;
        let revision = Revision(self.revision);
        for write in writes {
            match write {
                Write::Put(key, bytes) => {
                    self.entries.insert(key.clone(), Entry { bytes: bytes.clone(), revision });
                }
                Write::Delete(key) => {
                    self.entries.remove(key);
                }
            }
        }
        revision
    }

    fn children(&self, prefix: &str, after: &str, limit: usize) -> Vec<String> {
        let mut children = Vec::new();
        let start = format!("{prefix}{after}");
        let mut from =
            if after.is_empty() { Bound::Included(start) } else { Bound::Excluded(start) };
        // Each round jumps over the whole subtree of the child it found.
        while children.len() < limit {
            let next = self.entries.range((from, Bound::Unbounded)).next();
            let Some(rest) = next.and_then(|(key, _)| key.strip_prefix(prefix)) else { break };
            let child = match rest.split_once('/') {
                Some((folder, _)) => {
                    // '0' follows '/' in byte order: the first key behind the subtree.
                    from = Bound::Included(format!("{prefix}{folder}0"));
                    format!("{folder}/")
                }
                None => {
                    from = Bound::Excluded(format!("{prefix}{rest}"));
                    rest.to_owned()
                }
            };
            if child.as_str() > after {
                children.push(child);
            }
        }
        children
    }

    fn entries_under(&self, prefix: &str, after: &str) -> Vec<(String, Entry)> {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        self.entries
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_keeps_the_backend_contract() {
        crate::testing::check_backend(&Memory::default()).await;
    }
}
