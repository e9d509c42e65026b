//! Acting on a comparison: material is read for what must change only, then written; removals come last.

use super::{
    Known,
    compare::{Due, Put},
    keys::Keys,
    ledger::{CONTENT_TAG, DELIVERED_TAG, ORPHAN_TAG, is_other},
    patience::{Failing, patiently, wait},
    report::{FailedSecret, Results},
    source::Source,
    spec::{Compare, Removals, Spec},
    target::Target,
};
use crate::{
    association::Object,
    destination::{
        Deletion, Delivered, Delivery, Extent, Names, Note, Owner, Receipt, Remote, Removal,
    },
    failure::{Error, Failure},
    source::Payload,
    work::{previous, too_large},
};
use bailee_crypto::Clock;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use std::{collections::BTreeSet, pin::pin, time::Duration};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Time for what is under way when the time of a run is over.
const GRACE: Duration = Duration::from_secs(2);

/// One run, acting.
pub(super) struct Acting<'a> {
    spec: &'a Spec,
    keys: &'a Keys,
    source: &'a dyn Source,
    target: &'a Target,
    clock: &'a dyn Clock,
    /// When nothing more is begun.
    ends: Option<Instant>,
    /// Why nothing more is tried.
    stopped: Mutex<Option<Error>>,
    /// How the source does.
    failing: Mutex<Failing>,
    /// What could not be done beside the deliveries, for lack of a permission.
    notes: Mutex<BTreeSet<String>>,
}

/// Why a secret is not as it shall be.
enum Unfinished {
    /// The time was over.
    NotDone,
    /// It failed.
    Failed(Error),
}

impl From<Error> for Unfinished {
    fn from(error: Error) -> Unfinished {
        Unfinished::Failed(error)
    }
}

/// What became of one secret.
enum Effect {
    Created,
    Updated,
    Adopted,
    Aspects,
    Orphaned,
    Scheduled,
    Deleted,
    /// It needed nothing after all.
    Nothing,
}

impl<'a> Acting<'a> {
    pub(super) fn new(
        spec: &'a Spec,
        keys: &'a Keys,
        source: &'a dyn Source,
        target: &'a Target,
        clock: &'a dyn Clock,
        ends: Option<Instant>,
    ) -> Acting<'a> {
        let (stopped, failing, notes) = (Mutex::default(), Mutex::default(), Mutex::default());
        Acting { spec, keys, source, target, clock, ends, stopped, failing, notes }
    }

    /// Deliveries first, so that no reader finds nothing while a name changes; then removals.
    pub(super) async fn deliver(&self, known: &Known) -> Results {
        let (comparison, mut results) = (&known.comparison, Results::default());
        let at_once = self.target.destination().limits().concurrency.max(1);
        let mut left = comparison.names();
        // By their places: with borrowed items the whole run could not move between threads.
        let puts = futures_util::stream::iter(0..comparison.puts.len()).map(|at| async move {
            let due = comparison.puts.get(at)?;
            Some((due.name.as_str(), self.put(known, due).await))
        });
        self.follow(puts.buffer_unordered(at_once), &mut left, &mut results).await;
        let removals =
            futures_util::stream::iter(0..comparison.removals.len()).map(|at| async move {
                let object = comparison.removals.get(at)?;
                Some((object.name.as_str(), self.remove(object).await))
            });
        self.follow(removals.buffer_unordered(at_once), &mut left, &mut results).await;
        // What was under way when the time was over may have arrived: the next run sees it.
        results.not_done.extend(left.into_iter().map(str::to_owned));
        results.notes.extend(std::mem::take(&mut *self.notes.lock()));
        results
    }

    /// Takes down what becomes of each, for as long as there is time.
    async fn follow<'n>(
        &self,
        outcomes: impl Stream<Item = Option<(&'n str, Result<Effect, Unfinished>)>>,
        left: &mut BTreeSet<&'n str>,
        results: &mut Results,
    ) {
        let mut outcomes = pin!(outcomes);
        loop {
            let next = match self.ends {
                None => outcomes.next().await,
                Some(at) => {
                    let next = tokio::time::timeout_at(at + GRACE, outcomes.next()).await;
                    next.unwrap_or_default()
                }
            };
            let Some(next) = next else { return };
            let Some((name, outcome)) = next else { continue };
            match outcome {
                Ok(effect) => results.add(name, Ok(effect)),
                Err(Unfinished::Failed(error)) => results.add(name, Err(error)),
                Err(Unfinished::NotDone) => continue,
            }
            left.remove(name);
        }
    }

    async fn put(&self, known: &Known, due: &Due) -> Result<Effect, Unfinished> {
        self.going_on()?;
        let Known { listing, comparison } = known;
        let whole = comparison.put(self.spec, self.keys, self.target, listing, due);
        let Some(put) = &whole else { return Ok(Effect::Nothing) };
        let mut delivery = self.delivery(put);
        if delivery.extent == Extent::Aspects {
            if let Some(previous) = &mut delivery.previous {
                self.look_up_placement(&put.entry.desired.name, previous).await?;
            }
            match self.tried(&delivery).await {
                Ok(()) => return Ok(Effect::Aspects),
                // It went meanwhile, and has no value to be made anew with: that is read.
                Err(Unfinished::Failed(error)) if error.failure == Failure::Invalid => {}
                Err(unfinished) => return Err(unfinished),
            }
        }
        let Some(secret) = known.listing.secrets.get(put.at) else { return Ok(Effect::Nothing) };
        let read = self.source.read(secret).await;
        let Some(payload) = read.map_err(|error| self.heed_source(error))? else {
            return Ok(Effect::Nothing);
        };
        if let Some(error) = too_large(self.target.configured(), payload.bytes.len()) {
            return Err(error.into());
        }
        delivery.payload = payload;
        let effect = self.complete(put, &mut delivery);
        if let (Extent::Value, Some(previous)) = (delivery.extent, &mut delivery.previous) {
            self.look_up_placement(&put.entry.desired.name, previous).await?;
        }
        self.tried(&delivery).await?;
        Ok(effect)
    }

    fn delivery(&self, put: &Put) -> Delivery {
        let desired = &put.entry.desired;
        let object = put.entry.object.as_ref();
        Delivery {
            name: desired.name.clone(),
            payload: Payload { bytes: Zeroizing::default(), version: 0, expires_at: None },
            token: put.entry.token.clone(),
            tags: desired.tags.clone(),
            previous: object.and_then(|object| previous(object, desired, put.why)),
            extent: if put.why.is_aspect() { Extent::Aspects } else { Extent::Value },
            ownership: self.spec.ownership,
            mark: desired.mark.clone(),
        }
    }

    /// What is known only with the value: its digest, and whether it has to be written at all.
    fn complete(&self, put: &Put, delivery: &mut Delivery) -> Effect {
        if self.spec.compare == Compare::Hash {
            let digest = self.keys.content(&delivery.name, &delivery.payload.bytes);
            let is_equal = put.may_be_equal() && put.digest_there() == Some(&digest);
            delivery.tags.insert(CONTENT_TAG.to_owned(), digest);
            if is_equal {
                delivery.extent = Extent::Aspects;
                return Effect::Aspects;
            }
        }
        delivery.extent = Extent::Value;
        delivery.tags.insert(DELIVERED_TAG.to_owned(), put.entry.token.clone());
        match (put.adopts, &put.entry.object) {
            (true, _) => Effect::Adopted,
            (false, Some(_)) => Effect::Updated,
            (false, None) => Effect::Created,
        }
    }

    /// A key or replicas that are to change have to be known: no list shows them.
    async fn look_up_placement(&self, name: &str, previous: &mut Delivered) -> Result<(), Error> {
        if !is_other(previous) {
            return Ok(());
        }
        let found = match self.look(name).await {
            Ok(found) => found,
            Err(error) if error.failure == Failure::Forbidden => None,
            Err(error) => return Err(error),
        };
        previous.placement = found.and_then(|found| found.placement).unwrap_or_default();
        Ok(())
    }

    async fn look(&self, name: &str) -> Result<Option<Remote>, Error> {
        let names = Names::These(vec![name.to_owned()]);
        let survey = patiently(|| self.target.destination().survey(&names, None)).await;
        survey.map(|mut survey| survey.objects.remove(name)).map_err(|error| self.heed(error))
    }

    async fn tried(&self, delivery: &Delivery) -> Result<(), Unfinished> {
        let Receipt { notes, .. } = self.again(|| self.target.destination().put(delivery)).await?;
        self.notes.lock().extend(notes.iter().map(note));
        Ok(())
    }

    /// Tries until it is done or no more can be hoped for in this run.
    async fn again<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Unfinished>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut attempts = 0;
        loop {
            self.going_on()?;
            let error = match call().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            attempts += 1;
            let Some(wait) = wait(&error, attempts) else { return Err(self.heed(error).into()) };
            tokio::time::sleep(wait).await;
        }
    }

    async fn remove(&self, object: &Object) -> Result<Effect, Unfinished> {
        self.going_on()?;
        let name = &object.name;
        let Some(delivered) = &object.delivered else { return Ok(Effect::Nothing) };
        let mark = self.keys.mark(name);
        // A list may be minutes old; what goes is looked at first, where that is permitted.
        let mut delivered = delivered.clone();
        match self.look(name).await {
            Ok(Some(found)) if !found.deleting && found.owner(&mark) == Owner::Us => {
                delivered.placement = found.placement.unwrap_or_default();
                delivered.identity = found.identity;
            }
            Ok(_) => return Ok(Effect::Nothing),
            Err(error) if error.failure == Failure::Forbidden => {
                delivered.placement = String::new();
            }
            Err(error) => return Err(error.into()),
        }
        let (how, effect) = match self.spec.removals {
            Removals::Keep => return Ok(Effect::Nothing),
            Removals::Orphan => return self.orphan(name, delivered).await,
            Removals::Schedule { days } => (Deletion::Schedule { days }, Effect::Scheduled),
            Removals::Delete => (Deletion::Delete, Effect::Deleted),
        };
        let removal = Removal {
            name: name.clone(),
            identity: delivered.identity.clone(),
            delivered: Some(delivered),
            written: false,
            repeated: false,
            mark,
            how,
        };
        self.again(|| self.target.destination().delete(&removal)).await?;
        Ok(effect)
    }

    async fn orphan(&self, name: &str, delivered: Delivered) -> Result<Effect, Unfinished> {
        let since = jiff::Timestamp::try_from(self.clock.now()).unwrap_or_default();
        let mut tags = delivered.tags.clone();
        tags.insert(ORPHAN_TAG.to_owned(), since.strftime("%Y-%m-%d").to_string());
        let delivery = Delivery {
            name: name.to_owned(),
            // Tags alone are written, and the secret was just seen there.
            payload: Payload { bytes: Zeroizing::default(), version: 0, expires_at: None },
            token: String::new(),
            tags,
            previous: Some(Delivered {
                placement: self.target.destination().placement().to_owned(),
                ..delivered
            }),
            extent: Extent::Aspects,
            ownership: self.spec.ownership,
            mark: self.keys.mark(name),
        };
        self.tried(&delivery).await?;
        Ok(Effect::Orphaned)
    }

    fn going_on(&self) -> Result<(), Unfinished> {
        if let Some(error) = &*self.stopped.lock() {
            let message = format!("not tried, because before it: {}", error.message);
            return Err(Error { message, ..error.clone() }.into());
        }
        match self.ends {
            Some(at) if Instant::now() >= at => Err(Unfinished::NotDone),
            Some(_) | None => Ok(()),
        }
    }

    /// Where one secret after another cannot be read, the source is what fails.
    fn heed_source(&self, error: Error) -> Error {
        if self.failing.lock().is_all(&error) && error.failure != Failure::Throttled {
            self.stopped.lock().get_or_insert_with(|| error.clone());
        }
        error
    }

    /// What concerns a whole side stops the run: the next one goes on from there.
    fn heed(&self, error: Error) -> Error {
        let stops = match error.failure {
            Failure::Throttled => false,
            failure => failure.is_general(),
        };
        if stops {
            self.stopped.lock().get_or_insert_with(|| error.clone());
        }
        error
    }
}

/// A permission that is missing and not necessary, as a sentence.
pub(super) fn note(note: &Note) -> String {
    format!("{} {}", note.missing_permission, note.message)
}

impl Results {
    fn add(&mut self, name: &str, outcome: Result<Effect, Error>) {
        let names = match outcome {
            Ok(Effect::Created) => &mut self.created,
            Ok(Effect::Updated) => &mut self.updated,
            Ok(Effect::Adopted) => &mut self.adopted,
            Ok(Effect::Aspects) => &mut self.aspects,
            Ok(Effect::Orphaned) => &mut self.orphaned,
            Ok(Effect::Scheduled) => &mut self.scheduled,
            Ok(Effect::Deleted) => &mut self.deleted,
            Ok(Effect::Nothing) => {
                self.unchanged += 1;
                return;
            }
            Err(Error { failure, message, missing_permission, .. }) => {
                let message = match missing_permission {
                    Some(permission) if !message.contains(&permission) => {
                        format!("{message} (missing permission: {permission})")
                    }
                    _ => message,
                };
                self.failed.push(FailedSecret { name: name.to_owned(), failure, message });
                return;
            }
        };
        names.push(name.to_owned());
    }

    pub(super) fn sort(&mut self) {
        for names in [
            &mut self.created,
            &mut self.updated,
            &mut self.adopted,
            &mut self.aspects,
            &mut self.orphaned,
            &mut self.scheduled,
            &mut self.deleted,
            &mut self.not_done,
        ] {
            names.sort_unstable();
        }
        self.failed.sort_by(|one, other| one.name.cmp(&other.name));
    }
}
