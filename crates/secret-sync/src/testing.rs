//! The contract of destinations as a suite, and a destination in memory that fails on command.

use crate::{
    destination::{
        Checked, Cursor, Deletion, Delivered, Delivery, Destination, Extent, Names, Ownership,
        Receipt, Remote, Removal, Survey,
    },
    failure::{Error, Failure},
    limits::Limits,
    naming::{Granularity, NameRule},
    registry::DestinationKind,
    source::Payload,
    tags::{MARK_TAG, OWNERSHIP_TAG, OwnerMark, TagRule, marked},
};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Duration,
};
use zeroize::Zeroizing;

/// Looks at a destination past its contract: what a user of it would find there.
#[async_trait]
pub trait Look: Send + Sync {
    /// The current value.
    async fn value(&self, name: &str) -> Option<Vec<u8>>;
    /// How many versions were made.
    async fn versions(&self, name: &str) -> usize;
    /// The tags.
    async fn tags(&self, name: &str) -> BTreeMap<String, String>;
}

/// Objects in a page of a list.
const PAGE: usize = 100;

/// A destination in memory.
#[derive(Debug)]
pub struct FakeCloud {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    faults: VecDeque<Fault>,
    latency: Duration,
    survey_latency: Duration,
    /// What arrived, in order: name, and bytes or a removal.
    history: Vec<(String, Option<Vec<u8>>)>,
    attempts: usize,
    surveys: usize,
    running: usize,
    most_running: usize,
}

#[derive(Clone, Debug, Default)]
struct Object {
    versions: Vec<(String, Vec<u8>)>,
    tags: BTreeMap<String, String>,
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

impl Default for FakeCloud {
    fn default() -> FakeCloud {
        FakeCloud { limits: Limits::default(), state: Mutex::default() }
    }
}

impl FakeCloud {
    /// A destination with these bounds.
    pub fn with_limits(limits: Limits) -> FakeCloud {
        FakeCloud { limits, ..FakeCloud::default() }
    }

    /// A kind, `in-mem`, whose every destination is this one.
    pub fn kind(self: &Arc<FakeCloud>) -> DestinationKind {
        let cloud = self.clone();
        DestinationKind {
            name: "in-mem",
            template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}",
            key_template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}/{{ .SecretKey }}",
            granularity: Granularity::SecretPath,
            names: NameRule { punctuation: "/_+=.@-", replacement: '-', characters_max: 512 },
            tags: Some(TagRule {
                tags_max: 50,
                key_characters_max: 127,
                value_characters_max: 255,
                punctuation: "_.:/=+-@",
                reserved_prefix: "aws:",
            }),
            details: &[],
            build: Arc::new(move |_| {
                let cloud: Arc<dyn Destination> = Arc::new(Shared(cloud.clone()));
                Box::pin(async move { Ok(cloud) })
            }),
        }
    }

    /// What goes wrong with the next calls that change something, one after another.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().faults.extend(faults);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.state.lock().faults.clear();
    }

    /// How long each call takes.
    pub fn set_latency(&self, latency: Duration) {
        self.state.lock().latency = latency;
    }

    /// How long each survey takes.
    pub fn set_survey_latency(&self, latency: Duration) {
        self.state.lock().survey_latency = latency;
    }

    /// The current value of an object, as text.
    pub fn text(&self, name: &str) -> Option<String> {
        let state = self.state.lock();
        let (_, bytes) = state.objects.get(name)?.versions.last()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Names of all objects.
    pub fn names(&self) -> Vec<String> {
        self.state.lock().objects.keys().cloned().collect()
    }

    /// What arrived, in order: name, and text or a removal.
    pub fn history(&self) -> Vec<(String, Option<String>)> {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let state = self.state.lock();
        state.history.iter().map(|(name, value)| (name.clone(), value.as_ref().map(text))).collect()
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
        if let Some(object) = self.state.lock().objects.get_mut(name) {
            change(&mut object.tags);
        }
    }

    /// The most calls that ran at once.
    pub fn most_running(&self) -> usize {
        self.state.lock().most_running
    }

    /// Removes an object behind everyone's back.
    pub fn lose(&self, name: &str) {
        self.state.lock().objects.remove(name);
    }

    async fn change<T>(&self, effect: impl FnOnce(&mut State) -> T) -> Result<T, Error> {
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
        let mut state = self.state.lock();
        match state.faults.pop_front().unwrap_or(Fault::None) {
            Fault::None => Ok(effect(&mut state)),
            Fault::Refuse(error) => Err(error),
            Fault::LoseReply => {
                effect(&mut state);
                Err(Error::new(Failure::Unavailable, "the reply was lost").uncertain())
            }
        }
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
            state.survey_latency
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let state = self.state.lock();
        let wanted = |name: &String, object: &Object| match names {
            Names::Ours => object.tags.contains_key(OWNERSHIP_TAG),
            Names::These(names) => names.contains(name),
        };
        let after = after.map(|cursor| cursor.0);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let objects: BTreeMap<String, Remote> = state
            .objects
            .range::<str, _>((from, Bound::Unbounded))
            .filter(|(name, object)| wanted(name, object))
            .take(PAGE)
            .map(|(name, object)| {
                let remote = Remote {
                    version_id: object.versions.last().map(|(id, _)| id.clone()),
                    tags: Some(object.tags.clone()),
                    deleting: false,
                };
                (name.clone(), remote)
            })
            .collect();
        let full = objects.len() == PAGE && *names == Names::Ours;
        let next = objects.keys().last().filter(|_| full).map(|last| Cursor(last.clone()));
        Ok(Survey { objects, next })
    }

    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        let version_id = self
            .change(|state| {
                let bytes = delivery.payload.bytes.to_vec();
                let object = state.objects.entry(delivery.name.clone()).or_default();
                object.tags = delivery.tags.clone();
                let current = object.versions.last().map(|(id, _)| id.clone());
                if let Some(previous) =
                    delivery.previous.as_ref().filter(|_| delivery.extent == Extent::Aspects)
                {
                    return previous.version_id.clone();
                }
                if current.as_ref() != Some(&delivery.token) {
                    object.versions.push((delivery.token.clone(), bytes.clone()));
                    state.history.push((delivery.name.clone(), Some(bytes)));
                }
                delivery.token.clone()
            })
            .await?;
        Ok(Receipt { version_id, ..Receipt::default() })
    }

    async fn delete(&self, removal: &Removal) -> Result<(), Error> {
        let Removal { name, how, .. } = removal;
        self.change(|state| match how {
            Deletion::Delete | Deletion::Schedule { .. } => {
                if state.objects.remove(name).is_some() {
                    state.history.push((name.clone(), None));
                }
            }
            Deletion::Retain => {
                if let Some(object) = state.objects.get_mut(name) {
                    object.tags.remove(OWNERSHIP_TAG);
                    object.tags.remove(MARK_TAG);
                }
            }
        })
        .await
    }
}

#[async_trait]
impl Look for FakeCloud {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.text(name).map(String::into_bytes)
    }

    async fn versions(&self, name: &str) -> usize {
        self.state.lock().objects.get(name).map_or(0, |object| object.versions.len())
    }

    async fn tags(&self, name: &str) -> BTreeMap<String, String> {
        self.state.lock().objects.get(name).map(|object| object.tags.clone()).unwrap_or_default()
    }
}

/// The contract of [`Destination`], run against every implementation on an empty destination.
///
/// # Panics
/// When the contract is broken.
pub async fn check_destination(destination: &dyn Destination, look: &dyn Look) {
    destination.check().await.expect("good credentials are accepted");
    same_delivery_twice_leaves_one_version(destination, look).await;
    updates_replace_and_deletions_are_repeatable(destination, look).await;
    tags_alone_make_no_version(destination, look).await;
    unknown_state_is_overwritten(destination, look).await;
    survey_shows_what_is_there(destination).await;
}

async fn same_delivery_twice_leaves_one_version(destination: &dyn Destination, look: &dyn Look) {
    let name = "contract/twice";
    let first = delivery(name, "{\"v\":1}", 1, None);
    let receipt = destination.put(&first).await.expect("a new object is created");
    assert_eq!(destination.put(&first).await.expect("it may be repeated"), receipt);
    assert_eq!(look.versions(name).await, 1);
    assert_eq!(look.tags(name).await, first.tags);
    let second = delivery(name, "{\"v\":2}", 2, Some(delivered(&first, &receipt)));
    let receipt = destination.put(&second).await.expect("an object is updated");
    assert_eq!(destination.put(&second).await.expect("it may be repeated"), receipt);
    assert_eq!(look.versions(name).await, 2);
    assert_eq!(look.value(name).await, Some(b"{\"v\":2}".to_vec()));
}

async fn updates_replace_and_deletions_are_repeatable(
    destination: &dyn Destination,
    look: &dyn Look,
) {
    let name = "contract/gone";
    let first = delivery(name, "{\"v\":3}", 3, None);
    let receipt = destination.put(&first).await.expect("a new object is created");
    let removal = Removal {
        name: name.to_owned(),
        delivered: Some(delivered(&first, &receipt)),
        mark: mark(name),
        how: Deletion::Delete,
    };
    for _ in 0..2 {
        destination.delete(&removal).await.expect("what is gone is removed");
        assert_eq!(look.value(name).await, None);
    }
    // The ledger may believe in an object that somebody removed.
    let again = delivery(name, "{\"v\":4}", 4, removal.delivered);
    destination.put(&again).await.expect("a lost object is created again");
    assert_eq!(look.value(name).await, Some(b"{\"v\":4}".to_vec()));
}

async fn tags_alone_make_no_version(destination: &dyn Destination, look: &dyn Look) {
    if !destination.limits().tags {
        return;
    }
    let name = "contract/tags";
    let first = delivery(name, "{\"v\":5}", 5, None);
    let receipt = destination.put(&first).await.expect("a new object is created");
    let mut second = delivery(name, "{\"v\":5}", 6, Some(delivered(&first, &receipt)));
    second.tags.insert("team".to_owned(), "blue".to_owned());
    second.extent = Extent::Aspects;
    let receipt = destination.put(&second).await.expect("tags are added");
    assert_eq!(look.tags(name).await, second.tags);
    let mut third = delivery(name, "{\"v\":5}", 7, Some(delivered(&second, &receipt)));
    third.extent = Extent::Aspects;
    destination.put(&third).await.expect("tags are removed");
    assert_eq!(look.tags(name).await, third.tags);
    assert_eq!(look.versions(name).await, 1);
}

async fn unknown_state_is_overwritten(destination: &dyn Destination, look: &dyn Look) {
    let name = "contract/unknown";
    destination.put(&delivery(name, "{\"v\":8}", 8, None)).await.expect("a new object is created");
    let second = delivery(name, "{\"v\":9}", 9, None);
    destination.put(&second).await.expect("what may or may not be there is overwritten");
    assert_eq!(look.value(name).await, Some(b"{\"v\":9}".to_vec()));
    assert_eq!(look.tags(name).await, second.tags);
}

async fn survey_shows_what_is_there(destination: &dyn Destination) {
    let name = "contract/survey";
    let put = delivery(name, "{\"v\":10}", 10, None);
    let receipt = destination.put(&put).await.expect("a new object is created");
    let names = Names::These(vec![name.to_owned(), "contract/absent".to_owned()]);
    let survey = destination.survey(&names, None).await.expect("surveys are permitted");
    let tags = destination.limits().tags.then(|| put.tags.clone());
    let remote = Remote { version_id: Some(receipt.version_id), tags, deleting: false };
    assert_eq!(survey.objects, BTreeMap::from([(name.to_owned(), remote)]));
    let ours = destination.survey(&Names::Ours, None).await.expect("surveys are permitted");
    assert!(ours.objects.contains_key(name));
}

/// A first delivery under that name.
#[cfg(test)]
pub(crate) fn sample(name: &str) -> Delivery {
    delivery(name, "{\"v\":1}", 1, None)
}

fn delivery(name: &str, text: &str, number: u64, previous: Option<Delivered>) -> Delivery {
    Delivery {
        name: name.to_owned(),
        payload: Payload {
            bytes: Zeroizing::new(text.as_bytes().to_vec()),
            version: number,
            expires_at: None,
        },
        token: format!("00000000-0000-4000-8000-{number:012}"),
        tags: marked(&BTreeMap::new(), &mark(name)),
        previous,
        extent: Extent::Value,
        ownership: Ownership::Overwrite,
        mark: mark(name),
    }
}

fn mark(name: &str) -> OwnerMark {
    OwnerMark { epoch: "e1".to_owned(), code: hex::encode(name), former: Vec::new() }
}

fn delivered(delivery: &Delivery, receipt: &Receipt) -> Delivered {
    Delivered {
        version_id: receipt.version_id.clone(),
        source_version: delivery.payload.version,
        generation: 1,
        content_mark: String::new(),
        tags: delivery.tags.clone(),
        placement: String::new(),
        at: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fake_cloud_keeps_the_destination_contract() {
        let cloud = FakeCloud::default();
        check_destination(&cloud, &cloud).await;
    }
}
