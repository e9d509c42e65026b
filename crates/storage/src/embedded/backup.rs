//! A copy of the file while writes go on.

use super::{
    failure::{from_system, unavailable},
    folder::{CopyFile, Folder},
    reader::Snapshot,
};
use crate::Error;
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Pages copied before looking whether someone still wants the copy.
const STEP_PAGES: i32 = 4096;

/// Copies the state of `snapshot` into a file of the folder and from there into `into`.
pub(super) async fn run(
    folder: &Folder,
    snapshot: Snapshot,
    into: &mut (dyn AsyncWrite + Send + Unpin),
) -> Result<(), Error> {
    let copy = folder.copy()?;
    let given_up = GivenUp::default();
    let seen_by_copy = Arc::clone(&given_up.0);
    let work = move |connection: &Connection| {
        fill(connection, &copy, &seen_by_copy)?;
        Ok(copy)
    };
    // The snapshot ends here; sending may be slow.
    let copy = snapshot.aside(work).await?.1;
    let mut file = tokio::fs::File::open(copy.path())
        .await
        .map_err(|error| from_system("read the copy", &error))?;
    // The open file lives on without its name, and no crash can leave it behind.
    drop(copy);
    tokio::io::copy(&mut file, into).await.map_err(|error| unavailable("send the copy", error))?;
    into.flush().await.map_err(|error| unavailable("send the copy", error))
}

fn fill(
    source: &Connection,
    copy: &CopyFile,
    given_up: &AtomicBool,
) -> Result<(), rusqlite::Error> {
    let mut target = Connection::open(copy.path())?;
    // It is thrown away if anything fails, so it needs neither journal nor flush.
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    // A read makes the snapshot, which then holds through all steps.
    source.query_row("SELECT version FROM format", [], |_| Ok(()))?;
    let backup = Backup::new(source, &mut target)?;
    while backup.step(STEP_PAGES)? != StepResult::Done {
        if given_up.load(Ordering::Relaxed) {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_INTERRUPT),
                None,
            ));
        }
    }
    Ok(())
}

/// Tells the copying thread that the caller has gone.
#[derive(Debug, Default)]
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
