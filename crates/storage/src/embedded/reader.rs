//! Connections that read: a few for single keys, and those on which a snapshot is held.

use super::{
    failure::{from_engine, unavailable},
    folder::Folder,
    schema::{POINT_READERS, Role, SNAPSHOT_READERS_MAX, connect},
};
use crate::{Entry, Error, Revision};
use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OptionalExtension, Row};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

const SNAPSHOTS_IDLE_MAX: usize = 4;
/// How long a new snapshot waits for an old one to end when all are taken.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Readers {
    folder: Arc<Folder>,
    points: Vec<Mutex<Connection>>,
    next: AtomicUsize,
    idle: Mutex<Vec<Connection>>,
    snapshots: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(folder: Arc<Folder>) -> Result<Readers, Error> {
        let points = (0..POINT_READERS)
            .map(|_| connect(&folder.database(), Role::PointReader).map(Mutex::new))
            .collect::<Result<_, _>>()
            .map_err(|error| from_engine("open a read connection", &error))?;
        Ok(Readers {
            folder,
            points,
            next: AtomicUsize::new(0),
            idle: Mutex::default(),
            snapshots: Arc::new(Semaphore::new(SNAPSHOT_READERS_MAX)),
        })
    }

    /// Reads one key on the calling thread: some microseconds when the page is in memory.
    pub(super) fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let connection = self.point();
        connection
            .prepare_cached("SELECT revision, v FROM entries WHERE k = ?1")
            .and_then(|mut statement| {
                statement.query_row([key.as_bytes()], |row| entry(row, 0)).optional()
            })
            .map_err(|error| from_engine("read", &error))
    }

    /// A connection that nobody uses, or else the next in turn.
    fn point(&self) -> MutexGuard<'_, Connection> {
        let start = self.next.fetch_add(1, Ordering::Relaxed) % POINT_READERS;
        let (behind, ahead) = self.points.split_at(start);
        let mut in_turn = ahead.iter().chain(behind);
        in_turn
            .clone()
            .find_map(Mutex::try_lock)
            .unwrap_or_else(|| in_turn.next().expect("there is at least one point reader").lock())
    }

    /// A connection whose reads all see the state that the first of them finds.
    pub(super) async fn snapshot(self: &Arc<Self>) -> Result<Snapshot, Error> {
        let permit = match Arc::clone(&self.snapshots).try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits) => self.wait_for_permit().await?,
            Err(TryAcquireError::Closed) => return Err(unavailable("read", "storage is closed")),
        };
        let idle = self.idle.lock().pop();
        let connection = idle
            .map_or_else(|| connect(&self.folder.database(), Role::SnapshotReader), Ok)
            .and_then(|connection| begin(&connection).map(|()| connection))
            .map_err(|error| from_engine("begin a snapshot", &error))?;
        Ok(Snapshot { connection: Some(connection), readers: Arc::clone(self), _permit: permit })
    }

    async fn wait_for_permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        let wait = Arc::clone(&self.snapshots).acquire_owned();
        match tokio::time::timeout(SNAPSHOT_WAIT, wait).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(unavailable("read", "storage is closed")),
            Err(_) => Err(unavailable(
                "read",
                format!("{SNAPSHOT_READERS_MAX} scans are open and none has ended for 30 s"),
            )),
        }
    }
}

/// One consistent state of the file. Dropping it gives the connection back.
#[derive(Debug)]
pub(super) struct Snapshot {
    connection: Option<Connection>,
    readers: Arc<Readers>,
    /// Held, not read: bounds the snapshots.
    _permit: OwnedSemaphorePermit,
}

impl Snapshot {
    pub(super) fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("the connection is taken on drop only")
    }

    /// Runs `work` where it may take long without holding other tasks up.
    pub(super) async fn aside<T: Send + 'static>(
        self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<(Snapshot, T), Error> {
        let work = move || work(self.connection()).map(|done| (self, done));
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done.map_err(|error| from_engine("read", &error)),
            Err(error) => Err(unavailable("read", error)),
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let ended = connection.is_autocommit() || end(&connection).is_ok();
        let mut idle = self.readers.idle.lock();
        if ended && idle.len() < SNAPSHOTS_IDLE_MAX {
            idle.push(connection);
        }
    }
}

fn begin(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("BEGIN")?.execute([]).map(|_| ())
}

fn end(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("ROLLBACK")?.execute([]).map(|_| ())
}

/// The entry in the columns `revision, v` from `first` on.
pub(super) fn entry(row: &Row<'_>, first: usize) -> Result<Entry, rusqlite::Error> {
    let revision: i64 = row.get(first)?;
    let bytes = row.get_ref(first + 1)?.as_blob()?.to_vec();
    Ok(Entry { bytes, revision: Revision(revision.cast_unsigned()) })
}
