//! A destination in memory that fails on command.

use super::{
    Look, protocol,
    protocol::Wire,
    service::{Answer, Call, Service},
};
use crate::{
    destination::{Checked, Cursor, Delivery, Destination, Names, Receipt, Removal, Survey},
    failure::{Error, Failure},
    limits::Limits,
    registry::DestinationKind,
};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Who calls where there is one server only.
const US: u32 = 1;

/// A destination in memory.
#[derive(Debug, Default)]
pub struct FakeCloud {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    service: Service,
    faults: VecDeque<Fault>,
    latency: Duration,
    survey_latency: Duration,
    attempts: usize,
    surveys: usize,
    /// The operation whose next reply is lost.
    loses: Option<&'static str>,
    /// The operation that is not permitted.
    forbidden: Option<&'static str>,
    running: usize,
    most_running: usize,
}

/// What goes wrong with one call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing does.
    None,
    /// The call fails and has no effect.
    Refuse(Error),
    /// The call has its effect, and its reply is lost.
    LoseReply,
}

impl FakeCloud {
    /// A destination with these bounds.
    pub fn with_limits(limits: Limits) -> FakeCloud {
        FakeCloud { limits, ..FakeCloud::default() }
    }

    /// A kind, `in-mem`, whose every destination is this one; names and tags are as AWS has them.
    pub fn kind(self: &Arc<FakeCloud>) -> DestinationKind {
        let cloud = self.clone();
        DestinationKind {
            name: "in-mem",
            details: &[],
            build: Arc::new(move |_| {
                let cloud: Arc<dyn Destination> = Arc::new(Shared(cloud.clone()));
                Box::pin(async move { Ok(cloud) })
            }),
            ..crate::destinations::aws_secrets_manager::kind()
        }
    }

    /// What goes wrong with the next calls that change something, one after another.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().faults.extend(faults);
    }

    /// The next call of that operation has its effect, and its reply is lost.
    pub fn lose_reply_of(&self, operation: &'static str) {
        self.state.lock().loses = Some(operation);
    }

    /// Calls of that operation are not permitted until [`FakeCloud::heal`].
    pub fn forbid(&self, operation: &'static str) {
        self.state.lock().forbidden = Some(operation);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.forbidden = None;
    }

    /// How long each call takes.
    pub fn set_latency(&self, latency: Duration) {
        self.state.lock().latency = latency;
    }

    /// How long each survey takes.
    pub fn set_survey_latency(&self, latency: Duration) {
        self.state.lock().survey_latency = latency;
    }

    /// The current value of an object, as text; `None` also where it is scheduled for deletion.
    pub fn text(&self, name: &str) -> Option<String> {
        let state = self.state.lock();
        let object = state.service.object(name).filter(|object| object.goes_at.is_none())?;
        Some(String::from_utf8_lossy(object.value()).into_owned())
    }

    /// Names of all objects but those that are scheduled for deletion.
    pub fn names(&self) -> Vec<String> {
        let state = self.state.lock();
        let staying = state.service.objects().iter().filter(|(_, object)| object.goes_at.is_none());
        staying.map(|(name, _)| name.clone()).collect()
    }

    /// What arrived of us, in order: name, and text or a removal.
    pub fn history(&self) -> Vec<(String, Option<String>)> {
        let text = |bytes: &[u8]| Some(String::from_utf8_lossy(bytes).into_owned());
        let state = self.state.lock();
        let ours = state.service.effects().iter().filter(|effect| effect.by == US);
        let arrived = ours.filter_map(|effect| match &effect.call {
            Call::Create { name, bytes, .. } | Call::Update { name, bytes, .. } => {
                Some((name.clone(), text(bytes)))
            }
            Call::Delete { name, .. } => Some((name.clone(), None)),
            _ => None,
        });
        arrived.collect()
    }

    /// Does something as somebody who is not us.
    pub fn meddle(&self, call: &Call) -> Answer {
        self.state.lock().service.apply(0, call).expect("the call is well-formed")
    }

    /// How old lists are.
    pub fn set_lag(&self, lag: Duration) {
        self.state.lock().service.lag = lag;
    }

    /// Calls that tried to change something.
    pub fn attempts(&self) -> usize {
        self.state.lock().attempts
    }

    /// Calls that only looked: pages of lists, and looks at single objects.
    pub fn surveys(&self) -> usize {
        self.state.lock().surveys
    }

    /// Changes an object's tags behind everyone's back.
    pub fn retag(&self, name: &str, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        let object = self.state.lock().service.object(name).cloned();
        let Some(object) = object else { return };
        let mut tags = object.tags.clone();
        change(&mut tags);
        let name = name.to_owned();
        let gone = object.tags.into_keys().filter(|key| !tags.contains_key(key));
        self.meddle(&Call::Untag { name: name.clone(), keys: gone.collect() });
        self.meddle(&Call::Tag { name, tags });
    }

    /// The most calls that ran at once.
    pub fn most_running(&self) -> usize {
        self.state.lock().most_running
    }

    /// Removes an object behind everyone's back.
    pub fn lose(&self, name: &str) {
        self.meddle(&Call::Delete { name: name.to_owned(), days: None });
    }

    async fn change<T>(
        &self,
        effect: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let latency = {
            let mut state = self.state.lock();
            state.attempts += 1;
            state.running += 1;
            state.most_running = state.most_running.max(state.running);
            state.latency
        };
        let running = RunningCall(self);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        drop(running);
        let fault = self.state.lock().faults.pop_front();
        match fault.unwrap_or(Fault::None) {
            Fault::None => effect.await,
            Fault::Refuse(error) => Err(error),
            Fault::LoseReply => {
                effect.await?;
                Err(Error::new(Failure::Unavailable, "the reply was lost").uncertain())
            }
        }
    }
}

#[async_trait]
impl Wire for FakeCloud {
    async fn call(&self, call: Call) -> Result<Answer, Error> {
        let mut state = self.state.lock();
        let operation = call.operation();
        if state.forbidden == Some(operation) {
            return Err(Error::forbidden(operation, format!("{operation} is forbidden")));
        }
        let answer = state.service.apply(US, &call)?;
        if state.loses == Some(call.operation()) {
            state.loses = None;
            return Err(Error::new(Failure::Unavailable, "the reply was lost").uncertain());
        }
        Ok(answer)
    }
}

struct RunningCall<'a>(&'a FakeCloud);

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        self.0.state.lock().running -= 1;
    }
}

struct Shared(Arc<FakeCloud>);

#[async_trait]
impl Destination for Shared {
    fn limits(&self) -> &Limits {
        self.0.limits()
    }

    async fn check(&self) -> Result<Checked, Error> {
        self.0.check().await
    }

    async fn survey(&self, names: &Names, after: Option<Cursor>) -> Result<Survey, Error> {
        self.0.survey(names, after).await
    }

    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        self.0.put(delivery).await
    }

    async fn delete(&self, removal: &Removal) -> Result<(), Error> {
        self.0.delete(removal).await
    }
}

#[async_trait]
impl Destination for FakeCloud {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn check(&self) -> Result<Checked, Error> {
        Ok(Checked::default())
    }

    async fn survey(&self, names: &Names, after: Option<Cursor>) -> Result<Survey, Error> {
        let latency = {
            let mut state = self.state.lock();
            state.surveys += 1;
            if state.forbidden == Some("Survey") {
                return Err(Error::forbidden("Survey", "Survey is forbidden"));
            }
            state.survey_latency
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        protocol::survey(self, names, after).await
    }

    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        self.change(protocol::deliver(self, delivery)).await
    }

    async fn delete(&self, removal: &Removal) -> Result<(), Error> {
        self.change(protocol::remove(self, removal)).await
    }
}

#[async_trait]
impl Look for FakeCloud {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.text(name).map(String::into_bytes)
    }

    async fn versions(&self, name: &str) -> usize {
        self.state.lock().service.object(name).map_or(0, |object| object.versions.len())
    }

    async fn tags(&self, name: &str) -> BTreeMap<String, String> {
        let state = self.state.lock();
        state.service.object(name).map(|object| object.tags.clone()).unwrap_or_default()
    }
}
