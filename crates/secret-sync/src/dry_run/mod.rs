//! What passes would do, found out without doing it: secrets are read, names made and plans drawn up by
//! the code that delivers. Only reads happen, at this server and at the destination.

mod draft;
mod look;
mod rows;

pub(crate) use look::Extent;
pub(crate) use rows::{Broken, Row, Summary};

use crate::{
    association::Association,
    board::Key,
    epoch::Epoch,
    estimate::Calls,
    registry::Configured,
    store::Store,
    work::{Foreseen, Worker},
};
use bailee_sdk::{Mounts, Namespace};
use bailee_storage::Error;
use futures_util::{StreamExt, future::BoxFuture, stream};
use std::sync::Arc;
use tokio::time::Instant;

/// Secrets, and objects they become, that one page of a plan is about.
pub(crate) const PAGE_MAX: usize = 10_000;
/// Secrets that are read at once.
const READS_RUNNING_MAX: usize = 16;

/// An association as it is, or would be.
pub(crate) struct Subject {
    /// The code of the secret.
    pub(crate) secret: String,
    /// The association.
    pub(crate) association: Association,
}

/// Whether whoever asks may read a secret: path of the mount, path in it.
pub(crate) type MayRead<'a> = &'a (dyn Fn(&str, &str) -> bool + Send + Sync);

/// Everything a dry run works with.
pub(crate) struct DryRun<'a> {
    pub(crate) worker: Worker,
    pub(crate) store: Store,
    pub(crate) namespace: Arc<Namespace>,
    /// The code of the destination.
    pub(crate) destination: String,
    pub(crate) configured: &'a Configured,
    pub(crate) epoch: Epoch,
    pub(crate) mounts: Mounts,
    /// Most tags an object may carry.
    pub(crate) tags_max: Option<usize>,
    pub(crate) may_read: MayRead<'a>,
}

/// What would happen.
#[derive(Default)]
pub(crate) struct Forecast {
    /// What becomes of each object that does not stay as it is.
    pub(crate) rows: Vec<Row>,
    pub(crate) summary: Summary,
    /// Bounds of the destination that something breaks.
    pub(crate) limits: Vec<Broken>,
    /// Calls by kind.
    pub(crate) calls: Calls,
    /// Deliveries and removals.
    pub(crate) changes: u64,
    /// Objects there afterwards.
    pub(crate) objects: u64,
    /// How far the destination was looked at.
    pub(crate) looked: Extent,
    /// Of how many subjects this is, from the first on.
    pub(crate) covered: usize,
}

impl DryRun<'_> {
    /// What would happen to these, as far as that is found out before `deadline`.
    pub(crate) async fn of(
        &self,
        subjects: Vec<Subject>,
        deadline: Instant,
    ) -> Result<Forecast, Error> {
        let mut foreseen: Vec<Foreseen> = Vec::new();
        let mut objects = 0;
        let mut reads: Vec<BoxFuture<'_, Foreseen>> = Vec::with_capacity(subjects.len());
        for Subject { secret, association } in subjects {
            let key = Key::new(&self.namespace, &self.destination, &secret);
            let read = self.worker.foresee(key, association, self.configured, &self.epoch);
            reads.push(Box::pin(read));
        }
        let mut reads = stream::iter(reads).buffered(READS_RUNNING_MAX);
        while let Some(one) = reads.next().await {
            objects += one.objects.len() + one.failed.len() + one.association.objects.len();
            foreseen.push(one);
            if objects >= PAGE_MAX || Instant::now() >= deadline {
                break;
            }
        }
        drop(reads);
        let look = self.look(&foreseen, deadline).await;
        let covered = foreseen.len();
        let drafts = self.drafts(foreseen, &look).await?;
        let mut forecast = Forecast { covered, looked: look.extent.clone(), ..Forecast::default() };
        for draft in &drafts {
            self.tell(draft, &look, &mut forecast);
        }
        Ok(forecast)
    }
}
