//! Storage that ends with the process: `storage "inmem"`, and most tests.

use crate::{Backend, Batch, Change, Entry, Error, Expect, Revision, Write, check_sizes};
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use parking_lot::RwLock;
use std::{collections::BTreeMap, ops::Bound};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::broadcast,
};
use tokio_stream::wrappers::BroadcastStream;

/// Changes a slow receiver may be behind before it must read anew.
const CHANGES_MAX: usize = 1024;

/// Keeps everything in a sorted map.
#[derive(Debug)]
pub struct Memory {
    state: RwLock<State>,
    changes: broadcast::Sender<Change>,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    entries: BTreeMap<String, Entry>,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { state: RwLock::default(), changes: broadcast::Sender::new(CHANGES_MAX) }
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

    fn children(&self, prefix: &str, after: &str, limit: usize) -> Vec<String> {
        let mut children = Vec::new();
        let mut from = Bound::Included(prefix.to_owned());
        // Each round jumps over the whole subtree of the child it found.
        while children.len() < limit {
            let next = self.entries.range((from.clone(), Bound::Unbounded)).next();
            let Some(rest) = next.and_then(|(key, _)| key.strip_prefix(prefix)) else { break };
            let child = match rest.split_once('/') {
                Some((folder, _)) => format!("{folder}/"),
                None => rest.to_owned(),
            };
            from = if child.ends_with('/') {
                // '0' follows '/' in byte order: the first key behind the subtree.
                Bound::Included(format!("{prefix}{}0", child.trim_end_matches('/')))
            } else {
                Bound::Excluded(format!("{prefix}{child}"))
            };
            if child.as_str() > after {
                children.push(child);
            }
        }
        children
    }
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
        stream::once(async move {
            let state = self.state.read();
            let found: Vec<_> = state
                .entries
                .range(prefix.clone()..)
                .take_while(|(key, _)| key.starts_with(&prefix))
                .filter(|(key, _)| key.as_str() > after.as_str())
                .map(|(key, entry)| Ok((key.clone(), entry.clone())))
                .collect();
            stream::iter(found)
        })
        .flatten()
        .boxed()
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, Error> {
        check_sizes(batch)?;
        let mut state = self.state.write();
        if !batch.expects.iter().all(|expect| state.holds(expect)) {
            return Err(Error::Conflict);
        }
        state.revision += 1;
        let revision = Revision(state.revision);
        let mut keys = Vec::with_capacity(batch.writes.len());
        for write in &batch.writes {
            match write {
                Write::Put(key, bytes) => {
                    state.entries.insert(key.clone(), Entry { bytes: bytes.clone(), revision });
                    keys.push(key.clone());
                }
                Write::Delete(key) => {
                    state.entries.remove(key);
                    keys.push(key.clone());
                }
            }
        }
        drop(state);
        // Nobody listening is fine.
        self.changes.send(Change { revision, keys }).ok();
        Ok(revision)
    }

    fn changes(&self) -> BoxStream<'static, Result<Change, Error>> {
        BroadcastStream::new(self.changes.subscribe())
            .map(|change| change.map_err(|_| Error::Unavailable("changes were missed".to_owned())))
            .boxed()
    }

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
}
