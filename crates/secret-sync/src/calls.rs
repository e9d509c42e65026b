//! Every call of a destination waits for its turn and is counted, whoever makes it.

use crate::{
    budget::{Budget, Call},
    destination::{Checked, Cursor, Delivery, Destination, Names, Note, Receipt, Removal, Survey},
    estimate::{Calls, Change, Prices},
    event,
    failure::Error,
    limits::Limits,
};
use async_trait::async_trait;
use std::{future::Future, sync::Arc};

/// A destination within its budget.
pub(crate) struct Budgeted {
    inner: Arc<dyn Destination>,
    kind: String,
    budget: Arc<Budget>,
}

impl Budgeted {
    pub(crate) fn new(inner: Arc<dyn Destination>, kind: &str, budget: Arc<Budget>) -> Budgeted {
        Budgeted { inner, kind: kind.to_owned(), budget }
    }

    async fn call<T>(
        &self,
        call: Call,
        what: &'static str,
        made: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let turn = self.budget.turn(call).await;
        let result = made.await;
        event::called(&self.kind, what, turn.took(), result.as_ref().err());
        turn.ended(result.as_ref().err());
        result
    }
}

#[async_trait]
impl Destination for Budgeted {
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
        self.call(Call::Look, "check", self.inner.check()).await
    }

    async fn survey(&self, names: &Names, after: Option<Cursor>) -> Result<Survey, Error> {
        let (call, what) = match names {
            Names::Ours | Names::Below(_) => (Call::List, "list"),
            Names::These(_) => (Call::Look, "look"),
        };
        self.call(call, what, self.inner.survey(names, after)).await
    }

    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        self.call(Call::Write, "put", self.inner.put(delivery)).await
    }

    fn notes(&self) -> Vec<Note> {
        self.inner.notes()
    }

    async fn delete(&self, removal: &Removal) -> Result<(), Error> {
        self.call(Call::Write, "delete", self.inner.delete(removal)).await
    }
}
