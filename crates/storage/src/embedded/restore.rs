//! Everything replaced at once.

use super::{failure::from_engine, writer::Writer};
use crate::{Error, Revision, event};
use rusqlite::{TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

/// Entries that come together, and pieces that may wait: a few MiB in all.
pub(super) const PIECE_BYTES: usize = 1 << 20;
pub(super) const PIECES_MAX: usize = 2;

/// What a restore brings, piece by piece. When the sender goes before the end nothing is changed.
#[derive(Debug)]
pub(super) enum Piece {
    Entries(Vec<(String, Vec<u8>)>),
    End,
}

/// A restore and where its outcome goes.
#[derive(Debug)]
pub(super) struct Restoring {
    pub(super) pieces: mpsc::Receiver<Piece>,
    pub(super) answer: oneshot::Sender<Result<Revision, Error>>,
}

impl Writer {
    /// Runs on the writing thread, so nothing else is written meanwhile.
    pub(super) fn restore(&mut self, restoring: Restoring) {
        let Restoring { mut pieces, answer } = restoring;
        let ceiling = self.ceiling;
        let mut committing = false;
        let outcome = self.health.check().and_then(|()| {
            self.replace(&mut pieces, &mut committing)
                .map_err(|error| self.failed(&error, committing, ceiling))
        });
        let outcome = outcome.and_then(|revision| revision.ok_or_else(given_up));
        self.checkpointer.written();
        // Nobody waiting is fine: it has landed or not all the same.
        answer.send(outcome).ok();
    }

    /// One transaction; `None` when the pieces end too early.
    fn replace(
        &mut self,
        pieces: &mut mpsc::Receiver<Piece>,
        committing: &mut bool,
    ) -> Result<Option<Revision>, rusqlite::Error> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM entries", [])?;
        self.revision += 1;
        loop {
            match pieces.blocking_recv() {
                None => return Ok(None),
                Some(Piece::End) => break,
                Some(Piece::Entries(entries)) => {
                    let mut insert = transaction.prepare_cached(
                        "INSERT INTO entries (k, revision, v) VALUES (?1, ?2, ?3)",
                    )?;
                    for (key, bytes) in entries {
                        insert.execute(params![key.as_bytes(), self.revision, bytes])?;
                    }
                }
            }
        }
        self.ceiling = Writer::reserve(&transaction, self.revision, self.ceiling)?;
        *committing = true;
        transaction.commit()?;
        Ok(Some(Revision(self.revision.cast_unsigned())))
    }

    /// What a failed transaction means, and whether writes may go on after it.
    pub(super) fn failed(
        &mut self,
        error: &rusqlite::Error,
        committing: bool,
        ceiling: i64,
    ) -> Error {
        self.ceiling = ceiling;
        let meaning = from_engine("commit", error);
        self.health.consider(error, &meaning);
        // A full disk refuses the commit record, so it is known not to have landed. Any other
        // failure of a commit leaves that open.
        if committing && error.sqlite_error_code() != Some(rusqlite::ErrorCode::DiskFull) {
            self.health.stop_writes(&meaning);
        }
        if !self.connection.is_autocommit() && self.connection.execute_batch("ROLLBACK").is_err() {
            self.health.stop_writes(&meaning);
        }
        meaning
    }
}

fn given_up() -> Error {
    event::restore_given_up();
    Error::Unavailable("the entries to restore ended early; nothing was changed".to_owned())
}
