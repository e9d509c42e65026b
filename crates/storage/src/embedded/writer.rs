//! The one thread that writes. Batches that wait together share a transaction and its flush.

use super::{
    checkpoint::Checkpointer,
    failure::{Health, again, from_engine},
    folder::Folder,
    restore::Restoring,
};
use crate::{Batch, Change, Error, Expect, Revision, Write, event, feed::Feed};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::{sync::Arc, time::Instant};
use tokio::sync::{mpsc, oneshot};

const GROUP_BATCHES_MAX: usize = 256;
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Revisions reserved by one write of the ceiling, so that most commits do not touch it. Those
/// unused when the process ends are skipped: a revision is never given twice.
const REVISIONS_RESERVED: i64 = 1 << 20;

/// A batch and where its outcome goes. Once queued it runs, whether or not someone still waits.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) batch: Batch,
    pub(super) answer: oneshot::Sender<Result<Revision, Error>>,
}

/// What waits for the writer.
#[derive(Debug)]
pub(super) enum Order {
    Commit(Job),
    Restore(Restoring),
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) jobs: mpsc::Receiver<Order>,
    pub(super) connection: Connection,
    pub(super) checkpointer: Checkpointer,
    pub(super) health: Arc<Health>,
    pub(super) feed: Feed,
    pub(super) folder: Arc<Folder>,
    /// The last revision given.
    pub(super) revision: i64,
    /// The last revision that the file allows to give.
    pub(super) ceiling: i64,
}

type Outcome = Result<Revision, Error>;

impl Writer {
    /// Runs until every sender is gone and the queue is empty.
    pub(super) fn run(mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let restoring = match first {
                Order::Restore(restoring) => Some(restoring),
                Order::Commit(first) => {
                    let (group, restoring) = self.gather(first);
                    self.land(group);
                    restoring
                }
            };
            if let Some(restoring) = restoring {
                self.restore(restoring);
            }
        }
        self.finish();
    }

    /// Takes what waits already, up to the limits of a group; a restore ends the group.
    fn gather(&mut self, first: Job) -> (Vec<Job>, Option<Restoring>) {
        let mut bytes = first.batch.bytes();
        let mut group = vec![first];
        while group.len() < GROUP_BATCHES_MAX && bytes < GROUP_BYTES_MAX {
            match self.jobs.try_recv() {
                Ok(Order::Commit(job)) => {
                    bytes += job.batch.bytes();
                    group.push(job);
                }
                Ok(Order::Restore(restoring)) => return (group, Some(restoring)),
                Err(_) => break,
            }
        }
        (group, None)
    }

    /// Applies a group and answers whoever waits.
    pub(super) fn land(&mut self, group: Vec<Job>) {
        let start = Instant::now();
        match self.apply(&group) {
            Ok(outcomes) => {
                self.checkpointer.written();
                let landed = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
                event::group_committed(&event::Group {
                    landed,
                    refused: outcomes.len() - landed,
                    waiting: self.jobs.len(),
                    took: start.elapsed(),
                });
                for (job, outcome) in group.into_iter().zip(outcomes) {
                    if let Ok(revision) = outcome {
                        self.feed.tell(Change { revision, keys: job.batch.keys() });
                    }
                    // Whoever asked may have gone.
                    job.answer.send(outcome).ok();
                }
            }
            // One large batch must not take the small ones beside it down.
            Err(Error::Full) if group.len() > 1 => {
                group.into_iter().for_each(|job| self.land(vec![job]));
            }
            Err(error) => {
                event::group_failed(group.len(), &error);
                for job in group {
                    job.answer.send(Err(again(&error))).ok();
                }
            }
        }
    }

    /// One transaction. Verdicts count only when it lands, as they rest on one another.
    fn apply(&mut self, group: &[Job]) -> Result<Vec<Outcome>, Error> {
        self.health.check()?;
        let ceiling = self.ceiling;
        let mut committing = false;
        let error = match self.transact(group, &mut committing) {
            Ok(outcomes) => return Ok(outcomes),
            Err(error) => error,
        };
        Err(self.failed(&error, committing, ceiling))
    }

    fn transact(
        &mut self,
        group: &[Job],
        committing: &mut bool,
    ) -> Result<Vec<Outcome>, rusqlite::Error> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(group.len());
        for job in group {
            if !hold(&transaction, &job.batch.expects)? {
                outcomes.push(Err(Error::Conflict));
                continue;
            }
            self.revision += 1;
            write(&transaction, &job.batch.writes, self.revision)?;
            outcomes.push(Ok(Revision(self.revision.cast_unsigned())));
        }
        self.ceiling = Writer::reserve(&transaction, self.revision, self.ceiling)?;
        *committing = true;
        transaction.commit()?;
        Ok(outcomes)
    }

    /// Raises the ceiling of revisions when it is reached.
    pub(super) fn reserve(
        transaction: &Transaction<'_>,
        revision: i64,
        ceiling: i64,
    ) -> Result<i64, rusqlite::Error> {
        if revision <= ceiling {
            return Ok(ceiling);
        }
        let ceiling = revision + REVISIONS_RESERVED;
        transaction
            .prepare_cached("UPDATE format SET revision_ceiling = ?1")?
            .execute([ceiling])?;
        Ok(ceiling)
    }

    fn finish(self) {
        let Writer { connection, checkpointer, health, folder, .. } = self;
        drop(checkpointer);
        // After a failed flush the log stays as it is for the next opening to judge.
        if health.check().is_ok() {
            let folded = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            if let Err(error) = folded {
                event::checkpoint_failed(&from_engine("fold the log in", &error), false);
            }
        }
        drop(connection);
        event::closed(folder.path());
    }
}

fn hold(transaction: &Transaction<'_>, expects: &[Expect]) -> Result<bool, rusqlite::Error> {
    for expect in expects {
        let (key, wanted) = match expect {
            Expect::Absent(key) => (key, None),
            Expect::At(key, revision) => (key, Some(revision.0)),
        };
        let found: Option<i64> = transaction
            .prepare_cached("SELECT revision FROM entries WHERE k = ?1")?
            .query_row([key.as_bytes()], |row| row.get(0))
            .optional()?;
        if found.map(i64::cast_unsigned) != wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write(
    transaction: &Transaction<'_>,
    writes: &[Write],
    revision: i64,
) -> Result<(), rusqlite::Error> {
    for write in writes {
        match write {
            Write::Put(key, bytes) => transaction
                .prepare_cached(
                    "INSERT INTO entries (k, revision, v) VALUES (?1, ?2, ?3)
                     ON CONFLICT (k) DO UPDATE SET revision = excluded.revision, v = excluded.v",
                )?
                .execute(params![key.as_bytes(), revision, bytes])?,
            Write::Delete(key) => transaction
                .prepare_cached("DELETE FROM entries WHERE k = ?1")?
                .execute([key.as_bytes()])?,
        };
    }
    Ok(())
}

impl Batch {
    /// What it weighs in a group.
    fn bytes(&self) -> usize {
        let bytes = |write: &Write| match write {
            Write::Put(key, bytes) => key.len() + bytes.len(),
            Write::Delete(key) => key.len(),
        };
        self.writes.iter().map(bytes).sum()
    }
}
