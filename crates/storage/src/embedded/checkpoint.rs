//! Folds the log into the file, away from the path of commits.

use super::{
    failure::{Health, from_engine, unavailable},
    folder::Folder,
    schema::{Role, connect},
};
use crate::{Error, event};
use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use std::{sync::Arc, thread, time::Duration};

/// The log is folded in at most this often.
const INTERVAL: Duration = Duration::from_millis(100);

/// A thread that runs until the value is dropped; dropping waits for a checkpoint under way.
#[derive(Debug)]
pub(super) struct Checkpointer {
    signal: Arc<Signal>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    written: bool,
    stopping: bool,
}

impl Checkpointer {
    pub(super) fn start(folder: Arc<Folder>, health: Arc<Health>) -> Result<Checkpointer, Error> {
        let connection = connect(&folder.database(), Role::Checkpointer)
            .map_err(|error| from_engine("open the checkpoint connection", &error))?;
        let signal = Arc::new(Signal::default());
        let of_thread = Arc::clone(&signal);
        let thread = thread::Builder::new()
            .name("storage-fold".to_owned())
            .spawn(move || run(&connection, &of_thread, &folder, &health))
            .map_err(|error| unavailable("start the checkpoint thread", error))?;
        Ok(Checkpointer { signal, thread: Some(thread) })
    }

    /// There is something to fold in.
    pub(super) fn written(&self) {
        let mut state = self.signal.state.lock();
        if !state.written {
            state.written = true;
            self.signal.changed.notify_all();
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.signal.state.lock().stopping = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread itself.
            thread.join().ok();
        }
    }
}

fn run(connection: &Connection, signal: &Signal, folder: &Folder, health: &Health) {
    // A full disk fails each attempt; one line in the log is enough.
    let mut reported = false;
    while signal.wait() {
        if health.check().is_err() {
            return;
        }
        match passive(connection) {
            Ok(true) => reported = false,
            // A scan keeps the rest from being folded in: try again.
            Ok(false) => signal.state.lock().written = true,
            Err(error) => {
                let meaning = from_engine("fold the log in", &error);
                event::checkpoint_failed(&meaning, reported);
                reported = true;
                health.consider(&error, &meaning);
                signal.state.lock().written = true;
            }
        }
        let (database, log) = folder.sizes();
        event::file_sizes(database, log);
    }
}

impl Signal {
    /// Waits for a write and then for the interval; false when the end has come.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while !state.written && !state.stopping {
            self.changed.wait(&mut state);
        }
        // Spurious wake-ups only shorten the interval.
        if !state.stopping {
            self.changed.wait_for(&mut state, INTERVAL);
        }
        state.written = false;
        !state.stopping
    }
}

/// Folds in what no reader holds back; false when pages are left.
fn passive(connection: &Connection) -> Result<bool, rusqlite::Error> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (busy, in_log, folded): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(busy == 0 && in_log == folded)
    })
}
