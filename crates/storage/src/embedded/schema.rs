//! Connections and what they find in the file: its tuning, its marks, its tables.

use super::failure::from_engine;
use crate::Error;
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use std::{path::Path, time::Duration};

/// Bytes `bale`, which tell our file from another program's.
const APPLICATION: i32 = 0x6261_6c65;
/// The newest layout this code reads, and the one it writes.
const FORMAT: i64 = 1;
/// How long to wait for a program outside, such as the `sqlite3` shell, to let go.
const BUSY_WAIT: Duration = Duration::from_secs(5);

// A rowid table and not `WITHOUT ROWID`: values then stay out of the tree of keys, so listing reads
// keys alone and a secret of 1 KiB fits a page. The revision precedes the value so that checking
// an expectation reads no overflow page.
const LAYOUT: &str = "
    CREATE TABLE format (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        version INTEGER NOT NULL,
        revision_ceiling INTEGER NOT NULL
    );
    CREATE TABLE entries (
        k BLOB PRIMARY KEY NOT NULL,
        revision INTEGER NOT NULL,
        v BLOB NOT NULL
    );
";

/// What a connection is for. Page caches add up to 16 MiB: 4 + 4 × 2 + 16 × 1/4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Checkpointer,
    PointReader,
    SnapshotReader,
}

pub(super) const POINT_READERS: usize = 4;
pub(super) const SNAPSHOT_READERS_MAX: usize = 16;

impl Role {
    fn cache_kib(self) -> u32 {
        match self {
            Role::Writer => 4096,
            Role::PointReader => 2048,
            Role::SnapshotReader => 256,
            Role::Checkpointer => 0,
        }
    }

    fn reads_only(self) -> bool {
        matches!(self, Role::PointReader | Role::SnapshotReader)
    }
}

/// Opens the file, which exists.
pub(super) fn connect(database: &Path, role: Role) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    // The writer folds the log in when it ends, and after a failed flush nobody may.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Checkpoints run on their own thread; 20 000 pages (80 MiB) is the brake should it fall behind.
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA mmap_size = 0;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -{};
         PRAGMA wal_autocheckpoint = {};
         PRAGMA query_only = {};",
        role.cache_kib(),
        if role == Role::Writer { 20_000 } else { 0 },
        if role.reads_only() { "ON" } else { "OFF" },
    ))?;
    Ok(connection)
}

/// Readies the file for use and says from which revision on new ones may be given.
///
/// A new file gets its layout. The log of the last run is folded in and emptied: bytes that a
/// failed flush may have left in memory only are thus written and flushed again before anything
/// is built on them.
pub(super) fn prepare(connection: &mut Connection, database: &Path) -> Result<i64, Error> {
    let failed =
        |error: rusqlite::Error| from_engine(&format!("open {}", database.display()), &error);
    let application: i32 =
        connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(failed)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    match (application, tables) {
        (APPLICATION, _) => {}
        (0, 0) => create(connection).map_err(failed)?,
        _ => {
            return Err(Error::Unavailable(format!(
                "{} is a database of another program; set the storage path to an empty folder",
                database.display()
            )));
        }
    }
    let (version, ceiling): (i64, i64) = connection
        .query_row("SELECT version, revision_ceiling FROM format", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(failed)?;
    if version > FORMAT {
        return Err(Error::Unavailable(format!(
            "{} has format {version} and this version knows formats up to {FORMAT}; \
             start the newer version that wrote it",
            database.display()
        )));
    }
    journal(connection).map_err(failed)?;
    let busy: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(failed)?;
    if busy != 0 {
        return Err(Error::Unavailable(format!(
            "{} is being read by another program",
            database.display()
        )));
    }
    Ok(ceiling)
}

fn create(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    connection.execute_batch("PRAGMA page_size = 4096;")?;
    journal(connection)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(LAYOUT)?;
    transaction.execute("INSERT INTO format VALUES (1, ?1, 0)", [FORMAT])?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.commit()
}

/// Sets the write-ahead log, which some network file systems cannot hold.
fn journal(connection: &Connection) -> Result<(), rusqlite::Error> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode == "wal" {
        // A log that grew during a long scan is cut back when it starts over.
        return connection.execute_batch("PRAGMA journal_size_limit = 134217728;");
    }
    Err(rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
        Some("the file system cannot hold a write-ahead log".to_owned()),
    ))
}
