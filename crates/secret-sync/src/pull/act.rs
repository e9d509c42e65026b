//! Acting on a comparison: material is read for what must change only, then written; removals come last.

use super::{
    Known,
    compare::Put,
    keys::Keys,
    ledger::{CONTENT_TAG, DELIVERED_TAG, ORPHAN_TAG, is_other},
    report::{FailedSecret, Results},
    source::Source,
    spec::{Compare, Removals, Spec},
    target::Target,
};
use crate::{
    association::Object,
    destination::{Deletion, Delivered, Delivery, Extent, Names, Owner, Receipt, Remote, Removal},
    failure::{Error, Failure},
    source::Payload,
    work::{previous, too_large},
};
use bailee_crypto::Clock;
use futures_util::StreamExt;
use parking_lot::Mutex;
use std::time::Duration;
use zeroize::Zeroizing;

/// How often one call is tried.
const ATTEMPTS_MAX: u32 = 6;
/// The longest wait between two attempts: a run ends, and the next one goes on.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// One run, acting.
pub(super) struct Acting<'a> {
    spec: &'a Spec,
    keys: &'a Keys,
    source: &'a dyn Source,
    target: &'a Target,
    clock: &'a dyn Clock,
    /// Why nothing more is tried.
    stopped: Mutex<Option<Error>>,
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
    ) -> Acting<'a> {
        Acting { spec, keys, source, target, clock, stopped: Mutex::default() }
    }

    /// Deliveries first, so that no reader finds nothing while a name changes; then removals.
    pub(super) async fn deliver(&self, known: &Known) -> Results {
        let mut results = Results::default();
        let at_once = self.target.destination().limits().concurrency.max(1);
        let puts = known.comparison.puts.iter().map(|put| async move {
            (put.entry.desired.name.as_str(), self.put(known, put).await)
        });
        let mut puts = futures_util::stream::iter(puts).buffer_unordered(at_once);
        while let Some((name, outcome)) = puts.next().await {
            results.add(name, outcome);
        }
        drop(puts);
        let removals = known.comparison.removals.iter();
        let removals =
            removals.map(|object| async move { (object.name.as_str(), self.remove(object).await) });
        let mut removals = futures_util::stream::iter(removals).buffer_unordered(at_once);
        while let Some((name, outcome)) = removals.next().await {
            results.add(name, outcome);
        }
        results
    }

    async fn put(&self, known: &Known, put: &Put) -> Result<Effect, Error> {
        self.going_on()?;
        let mut delivery = self.delivery(put);
        if delivery.extent == Extent::Aspects {
            if let Some(previous) = &mut delivery.previous {
                self.look_up_placement(&put.entry.desired.name, previous).await?;
            }
            match self.tried(&delivery).await {
                Ok(_) => return Ok(Effect::Aspects),
                Err(error) if error.failure.passes() || error.failure.is_general() => {
                    return Err(error);
                }
                // It may have gone meanwhile: with its value it can be made anew.
                Err(_) => {}
            }
        }
        let Some(secret) = known.listing.secrets.get(put.at) else { return Ok(Effect::Nothing) };
        let read = self.source.read(secret).await;
        let Some(payload) = read.map_err(|error| self.heed(error))? else {
            return Ok(Effect::Nothing);
        };
        if let Some(error) = too_large(self.target.configured(), payload.bytes.len()) {
            return Err(error);
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
        let mut survey = self.target.destination().survey(&names, None).await;
        if let Err(error) = &survey
            && let Some(wait) = error.wait(1)
        {
            tokio::time::sleep(wait.min(WAIT_MAX)).await;
            survey = self.target.destination().survey(&names, None).await;
        }
        survey.map(|mut survey| survey.objects.remove(name)).map_err(|error| self.heed(error))
    }

    async fn tried(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        self.again(|| self.target.destination().put(delivery)).await
    }

    /// Tries until it is done or no more can be hoped for in this run.
    async fn again<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Error>
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
            match error.wait(attempts) {
                Some(wait) if attempts < ATTEMPTS_MAX => {
                    tokio::time::sleep(wait.min(WAIT_MAX)).await;
                }
                _ => return Err(self.heed(error)),
            }
        }
    }

    async fn remove(&self, object: &Object) -> Result<Effect, Error> {
        self.going_on()?;
        let name = &object.name;
        let Some(delivered) = &object.delivered else { return Ok(Effect::Nothing) };
        let mark = self.keys.mark(name);
        // A list may be minutes old; what goes is looked at first, where that is permitted.
        let mut delivered = delivered.clone();
        match self.look(name).await {
            Ok(Some(found)) if !found.deleting && found.owner(&mark) == Owner::Us => {
                delivered.placement = found.placement.unwrap_or_default();
            }
            Ok(_) => return Ok(Effect::Nothing),
            Err(error) if error.failure == Failure::Forbidden => {
                delivered.placement = String::new();
            }
            Err(error) => return Err(error),
        }
        let (how, effect) = match self.spec.removals {
            Removals::Keep => return Ok(Effect::Nothing),
            Removals::Orphan => return self.orphan(name, delivered).await,
            Removals::Schedule { days } => (Deletion::Schedule { days }, Effect::Scheduled),
            Removals::Delete => (Deletion::Delete, Effect::Deleted),
        };
        let (name, delivered) = (name.clone(), Some(delivered));
        let removal = Removal { name, delivered, repeated: false, mark, how };
        self.again(|| self.target.destination().delete(&removal)).await?;
        Ok(effect)
    }

    async fn orphan(&self, name: &str, delivered: Delivered) -> Result<Effect, Error> {
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

    fn going_on(&self) -> Result<(), Error> {
        match &*self.stopped.lock() {
            None => Ok(()),
            Some(error) => {
                let message = format!("not tried, because before it: {}", error.message);
                Err(Error { message, ..error.clone() })
            }
        }
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
        ] {
            names.sort_unstable();
        }
        self.failed.sort_by(|one, other| one.name.cmp(&other.name));
    }
}
