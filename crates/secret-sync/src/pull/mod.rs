//! Secrets that pass through: what another server keeps is brought to a destination, by the plan and the
//! deliveries of push.
//!
//! `source` says what there is, `compare` decides purely what is to be done, `act` does it. A run keeps
//! nothing of its own: the ledger is read back from the tags of what earlier runs delivered (`ledger`).
//! What a run was doing when it was killed, the next one finishes, and two runs at once do the same.

mod act;
mod compare;
pub mod connection;
mod forecast;
pub(crate) mod guarded;
mod keys;
mod ledger;
mod patience;
pub mod report;
pub mod source;
pub mod sources;
pub mod spec;
pub mod target;
#[cfg(test)]
pub(crate) mod tests;
pub mod words;

pub use forecast::Forecast;
pub use keys::Keys;
pub use spec::Spec;
pub use target::{Place, Target};

use crate::{
    destination::{Cursor, Names, Survey},
    failure::{Error, Failure},
};
use act::Acting;
use bailee_crypto::{Clock, random};
use compare::{Comparing, Comparison, Put};
use futures_util::StreamExt;
use patience::{Failing, patiently};
use report::{FailedSecret, Outcome, Results, RunReport, SetupFailure, Stage};
use source::{Listing, Revision, Source};
use std::{collections::BTreeSet, fmt, sync::Arc};
use tokio::time::Instant;

/// Secrets that are read at once where a source tells no versions.
const READS_AT_ONCE: usize = 32;

/// One configured replication.
pub struct Replication {
    spec: Spec,
    keys: Keys,
    source: Arc<dyn Source>,
    target: Target,
    clock: Arc<dyn Clock>,
}

/// What a run knows before it acts.
struct Known {
    listing: Listing,
    comparison: Comparison,
}

impl Replication {
    /// Puts one together; nothing is called.
    pub fn new(
        spec: Spec,
        keys: Keys,
        source: Arc<dyn Source>,
        target: Target,
        clock: Arc<dyn Clock>,
    ) -> Replication {
        Replication { spec, keys, source, target, clock }
    }

    /// No more runs: a token that a login got is given back, as far as the source can be told.
    pub async fn leave(&self) {
        self.source.leave().await;
    }

    /// What a run would do now. Nothing is written.
    pub async fn plan(&self) -> Result<Forecast, SetupFailure> {
        let known = self.look().await?;
        let equal = self.equal(&known).await?;
        Ok(forecast::forecast(&self.spec, &self.keys, &self.target, &known, &equal))
    }

    /// Brings the destination to what the source has.
    pub async fn run(&self) -> RunReport {
        self.run_until(None).await
    }

    /// The same, where nothing more is begun after a moment. What was done until then is told.
    pub async fn run_until(&self, ends: Option<Instant>) -> RunReport {
        let started_at = self.clock.now();
        let looked = match ends {
            None => self.look().await,
            Some(at) => {
                let looked = tokio::time::timeout_at(at, self.look()).await;
                looked.unwrap_or_else(|_| Err(SetupFailure::time_is_over()))
            }
        };
        let outcome = match looked {
            Ok(known) => Outcome::Done(self.act(&known, ends).await),
            Err(failure) => Outcome::NotBegun(failure),
        };
        self.report(started_at, outcome).await
    }

    /// The report of a run that ended here.
    pub async fn report(&self, started_at: std::time::SystemTime, outcome: Outcome) -> RunReport {
        let mut report = RunReport {
            replication: self.spec.name.clone(),
            run: random::uuid().to_string(),
            started_at,
            ended_at: self.clock.now(),
            account: self.target.account.clone(),
            region: self.target.region.clone(),
            outcome,
        };
        if !report.is_ok() && report.account.is_empty() {
            report.account = self.target.ask_account().await;
        }
        report
    }

    async fn look(&self) -> Result<Known, SetupFailure> {
        let at = |stage| move |error| SetupFailure::new(stage, error);
        let mut listing = self.source.list().await.map_err(|error| match error.failure {
            Failure::Unauthenticated => SetupFailure::new(Stage::Login, error),
            _ => SetupFailure::new(Stage::Source, error),
        })?;
        // Before any value is read: a destination that shows nothing gets nothing.
        let first = self.page(None).await.map_err(at(Stage::Destination))?;
        self.read_untold(&mut listing).await?;
        let comparison = self.survey(&listing, first).await.map_err(at(Stage::Destination))?;
        comparison.guard(&self.spec, &listing)?;
        Ok(Known { listing, comparison })
    }

    /// Compares what the source has with what the destination shows, page by page.
    async fn survey(&self, listing: &Listing, first: Survey) -> Result<Comparison, Error> {
        let mut comparing = Comparing::new(&self.spec, &self.keys, &self.target, listing);
        let mut page = first;
        loop {
            for (name, remote) in page.objects {
                comparing.take(name, remote);
            }
            let Some(after) = page.next else { return Ok(comparing.finish()) };
            page = self.page(Some(after)).await?;
        }
    }

    /// One page of what the destination shows.
    async fn page(&self, after: Option<Cursor>) -> Result<Survey, Error> {
        let names = Names::Below(self.spec.fixed_start(&self.target));
        patiently(|| self.target.destination().survey(&names, after.clone())).await
    }

    /// Where a source does not tell versions, the content itself says whether it changed.
    async fn read_untold(&self, listing: &mut Listing) -> Result<(), SetupFailure> {
        let untold: Vec<usize> = (0..listing.secrets.len())
            .filter(|at| {
                listing.secrets.get(*at).is_some_and(|secret| secret.revision == Revision::Untold)
            })
            .collect();
        let digests = !untold.is_empty() || self.spec.compare == spec::Compare::Hash;
        if !digests {
            return Ok(());
        }
        if !self.keys.are_secret() {
            return Err(SetupFailure {
                stage: Stage::Configuration,
                failure: Failure::Invalid,
                message: "contents are compared by a keyed digest, asked for or because the source has no versions: \
                          put contentHashKey into the connection secret"
                    .to_owned(),
            });
        }
        let secrets = &listing.secrets;
        let reads = futures_util::stream::iter(untold).map(|at| async move {
            let Some(secret) = secrets.get(at) else { return (at, Ok(Revision::Gone)) };
            let read = self.source.read(secret).await;
            let revision = read.map(|payload| match payload {
                Some(payload) => {
                    Revision::Content(self.keys.content(&secret.full_path(), &payload.bytes))
                }
                None => Revision::Gone,
            });
            (at, revision)
        });
        let mut reads = reads.buffer_unordered(READS_AT_ONCE);
        let (mut read, mut failing) = (Vec::new(), Failing::default());
        while let Some((at, revision)) = reads.next().await {
            if let Err(error) = &revision
                && failing.is_all(error)
            {
                return Err(SetupFailure::new(Stage::Source, error.clone()));
            }
            read.push((at, revision));
        }
        drop(reads);
        for (at, revision) in read {
            let Some(secret) = listing.secrets.get_mut(at) else { continue };
            match revision {
                Ok(revision) => secret.revision = revision,
                Err(error) => listing.failed.push((secret.full_path(), error)),
            }
        }
        listing.secrets.retain(|secret| secret.revision != Revision::Untold);
        Ok(())
    }

    /// Where values are compared by their digest, only reading tells which of those that may have
    /// changed are there already.
    async fn equal<'k>(&self, known: &'k Known) -> Result<BTreeSet<&'k str>, SetupFailure> {
        let Known { listing, comparison } = known;
        let hashed = self.spec.compare == spec::Compare::Hash;
        let unsure = if hashed { comparison.puts.len() } else { 0 };
        let reads = futures_util::stream::iter(0..unsure).map(|at| async move {
            let Some(due) = comparison.puts.get(at) else { return Ok(None) };
            let whole = comparison.put(&self.spec, &self.keys, &self.target, listing, due);
            let Some(put) = whole.filter(Put::may_be_equal) else { return Ok(None) };
            let name = due.name.as_str();
            let Some(secret) = listing.secrets.get(put.at) else { return Ok(None) };
            match self.source.read(secret).await {
                Ok(Some(payload)) => {
                    let digest = self.keys.content(name, &payload.bytes);
                    Ok((put.digest_there() == Some(&digest)).then_some(name))
                }
                Ok(None) => Ok(None),
                Err(error) if error.failure.is_general() => {
                    Err(SetupFailure::new(Stage::Source, error))
                }
                // That it cannot be read, a run tells.
                Err(_) => Ok(None),
            }
        });
        let read: Vec<_> = reads.buffer_unordered(READS_AT_ONCE).collect().await;
        read.into_iter().filter_map(Result::transpose).collect()
    }

    async fn act(&self, known: &Known, ends: Option<Instant>) -> Results {
        let (source, clock) = (&*self.source, &*self.clock);
        let acting = Acting::new(&self.spec, &self.keys, source, &self.target, clock, ends);
        let mut results = acting.deliver(known).await;
        let comparison = &known.comparison;
        results.unchanged += comparison.unchanged;
        results.failed.extend(comparison.failed.iter().cloned());
        for (path, error) in &known.listing.failed {
            results.failed.push(FailedSecret {
                name: path.clone(),
                failure: error.failure,
                message: error.message.clone(),
            });
        }
        results.notes.extend(comparison.notes.iter().cloned());
        results.notes.extend(self.target.notes());
        results.sort();
        results
    }
}

impl fmt::Debug for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replication({})", self.spec.name)
    }
}
