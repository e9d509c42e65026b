//! The embedded engine, the default: one SQLite file in a folder of its own.
//!
//! One thread writes; batches that wait together share a transaction and its flush. Reads run
//! beside it on connections of their own. Commits go to a write-ahead log that a second thread
//! folds into the file.

mod backup;
mod checkpoint;
mod failure;
mod folder;
mod reader;
mod restore;
mod schema;
mod walk;
mod writer;

use crate::{
    Backend, Batch, Change, Entries, Entry, Error, Revision, check_entry, check_sizes, event,
    feed::Feed,
};
use async_trait::async_trait;
use checkpoint::Checkpointer;
use failure::{Health, from_engine, unavailable};
use folder::Folder;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use reader::Readers;
use restore::{PIECE_BYTES, PIECES_MAX, Piece, Restoring};
use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncWrite,
    sync::{mpsc, oneshot},
};
use walk::{Listing, Scan};
use writer::{Job, Order, Writer};

/// Batches that may wait for the writer; further callers wait for room.
const QUEUE_BATCHES_MAX: usize = 1024;
/// How long opening waits for a process that is just ending.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Storage in one file of this machine.
///
/// Dropping it returns at once: what is queued still lands, and the folder is free soon after.
/// [`Embedded::close`] waits for that.
#[derive(Debug)]
pub struct Embedded {
    jobs: mpsc::Sender<Order>,
    readers: Arc<Readers>,
    feed: Feed,
    folder: Arc<Folder>,
    ended: oneshot::Receiver<()>,
}

impl Embedded {
    /// Opens the storage in a folder, making both if need be. Blocks for some milliseconds.
    ///
    /// # Errors
    /// `Unavailable` when the folder belongs to another server, is in use by another process, was
    /// written in a newer format, or cannot be made; `Corrupt` when its files do not fit together.
    pub fn open(path: &Path) -> Result<Embedded, Error> {
        Embedded::open_within(path, LOCK_WAIT)
    }

    fn open_within(path: &Path, patience: Duration) -> Result<Embedded, Error> {
        let start = Instant::now();
        let folder = Arc::new(Folder::claim(path, patience)?);
        let mut connection = schema::connect(&folder.database(), schema::Role::Writer)
            .map_err(|error| from_engine(&format!("open {}", path.display()), &error))?;
        let revision = schema::prepare(&mut connection, &folder.database())?;
        folder.flush()?;
        let health = Arc::new(Health::default());
        let checkpointer = Checkpointer::start(Arc::clone(&folder), Arc::clone(&health))?;
        let readers = Arc::new(Readers::open(Arc::clone(&folder))?);
        let (jobs, queue) = mpsc::channel(QUEUE_BATCHES_MAX);
        let feed = Feed::default();
        let writer = Writer {
            jobs: queue,
            connection,
            checkpointer,
            health,
            feed: feed.clone(),
            folder: Arc::clone(&folder),
            revision,
            ceiling: revision,
        };
        let (end, ended) = oneshot::channel();
        thread::Builder::new()
            .name("storage-write".to_owned())
            .spawn(move || {
                writer.run();
                // Dropping it would tell as much; this makes it plain.
                end.send(()).ok();
            })
            .map_err(|error| unavailable("start the writer thread", error))?;
        event::opened(path, start.elapsed());
        Ok(Embedded { jobs, readers, feed, folder, ended })
    }

    /// Ends it cleanly: what is queued lands, the log is folded in, the folder is free.
    pub async fn close(self) {
        let Embedded { jobs, readers, feed, folder, ended } = self;
        drop((jobs, readers, feed, folder));
        // An error means the thread has ended as well.
        ended.await.ok();
    }
}

#[async_trait]
impl Backend for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.readers.get(key)
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, Error> {
        let snapshot = self.readers.snapshot().await?;
        Listing::new(prefix, after, limit).run(snapshot).await
    }

    /// A scan that is longer than a page holds a connection until it ends or is dropped; at most
    /// 16 can be open, and further ones wait.
    fn scan(&self, prefix: &str, after: &str) -> BoxStream<'_, Result<(String, Entry), Error>> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        let scan = async move {
            let snapshot = self.readers.snapshot().await?;
            Ok(Scan::new(snapshot, &prefix, &after))
        };
        stream::once(scan)
            .map_ok(|scan| {
                stream::try_unfold(Some(scan), |scan| async {
                    let Some(scan) = scan else { return Ok(None) };
                    let (entries, rest) = scan.page().await?;
                    Ok::<_, Error>(Some((stream::iter(entries).map(Ok), rest)))
                })
                .try_flatten()
            })
            .try_flatten()
            .boxed()
    }

    /// Once the batch is queued it lands whole or not at all even if the caller stops waiting.
    async fn commit(&self, batch: &Batch) -> Result<Revision, Error> {
        check_sizes(batch)?;
        let (answer, outcome) = oneshot::channel();
        let gone = || unavailable("commit", "the writer thread has ended");
        let job = Job { batch: batch.clone(), answer };
        self.jobs.send(Order::Commit(job)).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    fn changes(&self) -> BoxStream<'static, Result<Change, Error>> {
        self.feed.listen()
    }

    /// Writes the database file. To restore, put it as `bailee.db` (mode 0600) into an empty
    /// folder and open that. Needs as much room in the folder as the file is large.
    async fn backup(&self, into: &mut (dyn AsyncWrite + Send + Unpin)) -> Result<(), Error> {
        let snapshot = self.readers.snapshot().await?;
        backup::run(&self.folder, snapshot, into).await
    }

    /// Needs as much room again as the entries take, until the log is folded in.
    async fn restore(&self, entries: Entries<'_>) -> Result<Revision, Error> {
        let (pieces, queue) = mpsc::channel(PIECES_MAX);
        let (answer, outcome) = oneshot::channel();
        let gone = || unavailable("restore", "the writer thread has ended");
        let restoring = Restoring { pieces: queue, answer };
        self.jobs.send(Order::Restore(restoring)).await.map_err(|_| gone())?;
        // When the writer has given up, its answer says why.
        let sent = send_pieces(entries, &pieces).await;
        drop(pieces);
        let outcome = outcome.await.map_err(|_| gone())?;
        sent.and(outcome)
    }
}

async fn send_pieces(mut entries: Entries<'_>, pieces: &mpsc::Sender<Piece>) -> Result<(), Error> {
    let (mut piece, mut bytes) = (Vec::new(), 0);
    while let Some((key, value)) = entries.try_next().await? {
        check_entry(&key, value.len())?;
        bytes += key.len() + value.len();
        piece.push((key, value));
        if bytes >= PIECE_BYTES {
            bytes = 0;
            if pieces.send(Piece::Entries(std::mem::take(&mut piece))).await.is_err() {
                return Ok(());
            }
        }
    }
    if pieces.send(Piece::Entries(piece)).await.is_ok() {
        pieces.send(Piece::End).await.ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
