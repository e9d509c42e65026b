//! The destination as runs of a source see it: what is written or removed there is recorded before and
//! after, as long as this server leads, and only where nothing else of this server has the name.

use crate::{
    Tenure,
    destination::{Checked, Cursor, Delivery, Destination, Names, Note, Receipt, Removal, Survey},
    epoch::Epoch,
    estimate::{Calls, Change, Prices},
    event,
    failure::{Error, Failure},
    limits::Limits,
    registry::{Configured, StoredDestination},
    source::LocalSource,
    store::Store,
    work::{holder, taken},
};
use async_trait::async_trait;
use bailee_barrier::Barrier;
use bailee_sdk::Namespace;
use serde_json::{Map, Value, json};
use std::{future::Future, sync::Arc};
use tokio::sync::watch;

/// A destination whose calls that have an effect are recorded.
pub(super) struct Recorded {
    pub(super) inner: Arc<dyn Destination>,
    pub(super) barrier: Arc<Barrier>,
    pub(super) local: Arc<dyn LocalSource>,
    pub(super) tenure: Tenure,
    pub(super) namespace: Arc<Namespace>,
    /// Name of the source.
    pub(super) source: String,
    pub(super) destination_type: String,
    pub(super) destination_name: String,
    /// What the destination was made of.
    pub(super) made_of: Arc<Configured>,
    /// Whether this server falls silent.
    pub(super) stopped: watch::Receiver<bool>,
}

/// Whether two states of a destination are the same place, reached in the same way.
fn leads_alike(one: &StoredDestination, other: &StoredDestination) -> bool {
    one.details == other.details && one.network == other.network
}

impl Recorded {
    /// Whether something may be done under a name now.
    async fn may_act(&self, name: &str) -> Result<(), Error> {
        let refused = |message: &str| Err(Error::new(Failure::Refused, message));
        if *self.stopped.borrow() {
            return refused("this server is being sealed, or stops");
        }
        let store = Store::open(&self.barrier, &self.namespace);
        if store.config().await?.disabled {
            return refused("secrets sync was disabled");
        }
        if Epoch::read(&store.view).await?.is_none_or(|epoch| epoch.held) {
            return refused("secrets sync is held since storage was restored");
        }
        let (kind, destination) = (&self.destination_type, &self.destination_name);
        match store.destination(kind, destination).await? {
            Some((stored, _)) if stored.paused || stored.is_purging() => {
                return refused("the destination was paused, or is being deleted");
            }
            Some((stored, _)) if !leads_alike(&stored, &self.made_of.stored) => {
                return refused(
                    "the destination was changed: the next run goes to where it is now",
                );
            }
            Some(_) => {}
            None => return refused("the destination was deleted"),
        }
        let id = store.destination_id(kind, destination);
        match store.claim_of_name(&id, name).await? {
            Some(claim) => Err(taken(name, &holder(&store, &id, &claim).await?)),
            None => Ok(()),
        }
    }

    /// Makes a call that has an effect.
    async fn effect<T>(
        &self,
        (before, after): (&'static str, &'static str),
        name: &str,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        self.may_act(name).await?;
        let mut detail = Map::from_iter([
            ("destination_type".to_owned(), json!(self.destination_type)),
            ("destination_name".to_owned(), json!(self.destination_name)),
            ("external_name".to_owned(), json!(name)),
        ]);
        self.audit(before, &detail).await?;
        let result = self.tenure.during(call).await;
        let mut what = after;
        if let Err(error) = &result {
            detail.insert("failure".to_owned(), json!(error.failure.name()));
            what = "failed";
        }
        if self.audit(what, &detail).await.is_err() {
            event::source_audit_failed(&self.namespace.id, &self.source);
        }
        result
    }

    async fn audit(&self, what: &str, detail: &Map<String, Value>) -> Result<(), Error> {
        let caller = format!("sync/sources/{}", self.source);
        let path = format!("sys/sync/sources/{}", self.source);
        self.local.audit(&caller, &self.namespace, what, &path, detail).await
    }
}

#[async_trait]
impl Destination for Recorded {
    fn limits(&self) -> &Limits {
        self.inner.limits()
    }

    fn placement(&self) -> &str {
        self.inner.placement()
    }

    fn budget_key(&self) -> Option<String> {
        self.inner.budget_key()
    }

    fn calls_of(&self, change: &Change<'_>) -> Calls {
        self.inner.calls_of(change)
    }

    fn prices(&self) -> Option<Prices> {
        self.inner.prices()
    }

    async fn check(&self) -> Result<Checked, Error> {
        self.inner.check().await
    }

    async fn survey(&self, names: &Names, after: Option<Cursor>) -> Result<Survey, Error> {
        self.inner.survey(names, after).await
    }

    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        let call = self.inner.put(delivery);
        self.effect(("deliver", "delivered"), &delivery.name, call).await
    }

    fn notes(&self) -> Vec<Note> {
        self.inner.notes()
    }

    async fn delete(&self, removal: &Removal) -> Result<(), Error> {
        let call = self.inner.delete(removal);
        self.effect(("remove", "removed"), &removal.name, call).await
    }
}
