//! A service in memory, as strict as AWS Secrets Manager about tokens, scheduled deletions and tags;
//! it remembers who did what.

use crate::{
    destination::{Cursor, Remote, Survey},
    failure::{Error, Failure},
    tags::OWNERSHIP_TAG,
};
use std::{collections::BTreeMap, ops::Bound, time::Duration};
use tokio::time::Instant;

/// The largest value in bytes.
const VALUE_BYTES_MAX: usize = 65_536;
/// Objects on one page of a list.
const PAGE: usize = 100;
const DAY: Duration = Duration::from_secs(86_400);

/// What stands between a name and an identity; no name has it.
const BEFORE_IDENTITY: &str = "#";

/// Where calls about an object go: those that give its identity reach nothing else.
pub fn place(name: &str, identity: Option<&str>) -> String {
    identity.map_or(name.to_owned(), |identity| format!("{name}{BEFORE_IDENTITY}{identity}"))
}

/// A call of the service. Where it names an object, the identity may stand behind the name: see
/// [`place`].
#[derive(Clone, Debug)]
pub enum Call {
    /// Makes an object.
    Create {
        /// Its name.
        name: String,
        /// The id of its first version.
        token: String,
        /// Its value.
        bytes: Vec<u8>,
        /// Its tags.
        tags: BTreeMap<String, String>,
    },
    /// Makes a version.
    Update {
        /// The object.
        name: String,
        /// The id of the version.
        token: String,
        /// The value.
        bytes: Vec<u8>,
    },
    /// Removes an object, at once or after that many days.
    Delete {
        /// The object.
        name: String,
        /// For how long it can be restored.
        days: Option<u32>,
    },
    /// Brings back what is scheduled for deletion.
    Restore {
        /// The object.
        name: String,
    },
    /// Sets tags.
    Tag {
        /// The object.
        name: String,
        /// The tags.
        tags: BTreeMap<String, String>,
    },
    /// Removes tags.
    Untag {
        /// The object.
        name: String,
        /// Their keys.
        keys: Vec<String>,
    },
    /// Shows an object as it is now.
    Describe {
        /// The object.
        name: String,
    },
    /// Shows a page of what carries the mark of secrets sync, as it was some time ago.
    List {
        /// The last name of the page before.
        after: Option<String>,
        /// Instead, everything whose name begins so.
        below: Option<String>,
    },
}

impl Call {
    /// The name of the object it is about.
    pub fn name(&self) -> Option<&str> {
        self.place().map(|(name, _)| name)
    }

    /// The same about whatever has the name.
    fn by_name(&self) -> Call {
        let mut call = self.clone();
        match &mut call {
            Call::Create { name, .. }
            | Call::Update { name, .. }
            | Call::Delete { name, .. }
            | Call::Restore { name }
            | Call::Tag { name, .. }
            | Call::Untag { name, .. }
            | Call::Describe { name } => {
                if let Some((plain, _)) = name.split_once(BEFORE_IDENTITY) {
                    *name = plain.to_owned();
                }
            }
            Call::List { .. } => {}
        }
        call
    }

    /// That name, and the identity where the call is about that object alone.
    fn place(&self) -> Option<(&str, Option<&str>)> {
        match self {
            Call::Create { name, .. }
            | Call::Update { name, .. }
            | Call::Delete { name, .. }
            | Call::Restore { name }
            | Call::Tag { name, .. }
            | Call::Untag { name, .. }
            | Call::Describe { name } => Some(match name.split_once(BEFORE_IDENTITY) {
                Some((name, identity)) => (name, Some(identity)),
                None => (name, None),
            }),
            Call::List { .. } => None,
        }
    }

    /// Whether it only looks.
    pub fn looks(&self) -> bool {
        matches!(self, Call::Describe { .. } | Call::List { .. })
    }

    /// The operation.
    pub fn operation(&self) -> &'static str {
        match self {
            Call::Create { .. } => "Create",
            Call::Update { .. } => "Update",
            Call::Delete { .. } => "Delete",
            Call::Restore { .. } => "Restore",
            Call::Tag { .. } => "Tag",
            Call::Untag { .. } => "Untag",
            Call::Describe { .. } => "Describe",
            Call::List { .. } => "List",
        }
    }
}

/// What the service answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The version that is there now, and the identity of the object.
    Version(String, String),
    /// It is done.
    Done,
    /// The name, or for an update the token, is in use.
    Exists,
    /// There is no such object.
    Missing,
    /// It is scheduled for deletion, or a deletion is not done yet.
    Deleting,
    /// What is there.
    Found(Option<Remote>),
    /// A page of a list.
    Page(Survey),
}

/// Who calls; 0 is somebody who is no server of ours.
pub type Author = u32;

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Ids and values, newest last.
    pub versions: Vec<(String, Vec<u8>)>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// What tells it from others that have its name at another time.
    pub identity: String,
    /// When it goes, where it is scheduled for deletion.
    pub goes_at: Option<Instant>,
    /// Who made it.
    pub maker: Author,
    /// Who wrote its newest value.
    pub writer: Author,
}

impl Object {
    /// The newest value.
    pub fn value(&self) -> &[u8] {
        self.versions.last().map_or(&[], |(_, bytes)| bytes)
    }

    fn remote(&self) -> Remote {
        Remote {
            version_id: self.versions.last().map(|(id, _)| id.clone()),
            identity: Some(self.identity.clone()),
            tags: Some(self.tags.clone()),
            deleting: self.goes_at.is_some(),
            placement: None,
        }
    }
}

/// A change that took place.
#[derive(Clone, Debug)]
pub struct Effect {
    /// When.
    pub at: Instant,
    /// Who called.
    pub by: Author,
    /// The call.
    pub call: Call,
    /// The object as it was before.
    pub before: Option<Object>,
}

/// The service.
#[derive(Debug, Default)]
pub struct Service {
    objects: BTreeMap<String, Object>,
    /// What was shown of an object since when, for lists that lag.
    shown: BTreeMap<String, Vec<(Instant, Option<Remote>)>>,
    /// Names whose forced deletion is not done yet, and when it is.
    lingering: BTreeMap<String, Instant>,
    /// When the next deletion ends, or earlier.
    next_end: Option<Instant>,
    effects: Vec<Effect>,
    /// How many objects were made.
    made: u64,
    /// How long a name cannot be used after a forced deletion.
    pub linger: Duration,
    /// How old a list is.
    pub lag: Duration,
}

impl Service {
    /// An object as it is now.
    pub fn object(&self, name: &str) -> Option<&Object> {
        self.objects.get(name)
    }

    /// All objects.
    pub fn objects(&self) -> &BTreeMap<String, Object> {
        &self.objects
    }

    /// All changes that took place, in order.
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// Does what a call asks for.
    pub fn apply(&mut self, by: Author, call: &Call) -> Result<Answer, Error> {
        let now = Instant::now();
        self.end_deletions(now);
        if let Some((name, Some(identity))) = call.place()
            && self.objects.get(name).is_none_or(|object| object.identity != identity)
        {
            return Ok(Answer::Missing);
        }
        let call = &call.by_name();
        let before = call.name().filter(|_| !call.looks());
        let before = before.and_then(|name| self.objects.get(name)).cloned();
        let answer = self.answer(by, call, now)?;
        let after = call.name().and_then(|name| self.objects.get(name));
        let changed = !call.looks() && before.as_ref() != after;
        if let Some(name) = call.name().filter(|_| changed) {
            let shown = after.map(Object::remote);
            self.shown.entry(name.to_owned()).or_default().push((now, shown));
            self.effects.push(Effect { at: now, by, call: call.clone(), before });
        }
        Ok(answer)
    }

    fn end_deletions(&mut self, now: Instant) {
        if self.next_end.is_none_or(|at| at > now) {
            return;
        }
        self.objects.retain(|_, object| object.goes_at.is_none_or(|at| at > now));
        self.lingering.retain(|_, until| *until > now);
        let going = self.objects.values().filter_map(|object| object.goes_at);
        self.next_end = going.chain(self.lingering.values().copied()).min();
    }

    fn answer(&mut self, by: Author, call: &Call, now: Instant) -> Result<Answer, Error> {
        match call {
            Call::Create { name, token, bytes, tags } => {
                check_value(bytes)?;
                Ok(self.create(by, name, token, bytes, tags))
            }
            Call::Update { name, token, bytes } => {
                check_value(bytes)?;
                Ok(self.change(name, |object| {
                    if object.versions.iter().any(|(id, _)| id == token) {
                        return Answer::Exists;
                    }
                    object.versions.push((token.clone(), bytes.clone()));
                    object.writer = by;
                    Answer::Version(token.clone(), object.identity.clone())
                }))
            }
            Call::Delete { name, days: Some(days) } => {
                let goes_at = now + DAY * *days;
                self.next_end = self.next_end.into_iter().chain([goes_at]).min();
                Ok(self.change(name, |object| {
                    object.goes_at = Some(goes_at);
                    Answer::Done
                }))
            }
            Call::Delete { name, days: None } => {
                if self.objects.remove(name).is_some() && !self.linger.is_zero() {
                    let until = now + self.linger;
                    self.next_end = self.next_end.into_iter().chain([until]).min();
                    self.lingering.insert(name.clone(), until);
                }
                Ok(Answer::Done)
            }
            Call::Restore { name } => {
                if self.lingering.contains_key(name) {
                    return Ok(Answer::Deleting);
                }
                let Some(object) = self.objects.get_mut(name) else { return Ok(Answer::Missing) };
                object.goes_at = None;
                Ok(Answer::Done)
            }
            Call::Tag { name, tags } => Ok(self.change(name, |object| {
                object.tags.extend(tags.clone());
                Answer::Done
            })),
            Call::Untag { name, keys } => Ok(self.change(name, |object| {
                object.tags.retain(|key, _| !keys.contains(key));
                Answer::Done
            })),
            Call::Describe { name } => {
                Ok(Answer::Found(self.objects.get(name).map(Object::remote)))
            }
            Call::List { after, below } => {
                Ok(Answer::Page(self.list(after.as_deref(), below.as_deref(), now)))
            }
        }
    }

    fn create(
        &mut self,
        by: Author,
        name: &str,
        token: &str,
        bytes: &[u8],
        tags: &BTreeMap<String, String>,
    ) -> Answer {
        if self.lingering.contains_key(name) {
            return Answer::Deleting;
        }
        let version = (token.to_owned(), bytes.to_vec());
        match self.objects.get(name) {
            Some(object) if object.goes_at.is_some() => Answer::Deleting,
            // The same again is ignored.
            Some(object) if object.versions.contains(&version) => {
                Answer::Version(token.to_owned(), object.identity.clone())
            }
            Some(_) => Answer::Exists,
            None => {
                self.made += 1;
                let (versions, tags, identity) =
                    (vec![version], tags.clone(), self.made.to_string());
                let object =
                    Object { versions, tags, identity, goes_at: None, maker: by, writer: by };
                let made = Answer::Version(token.to_owned(), object.identity.clone());
                self.objects.insert(name.to_owned(), object);
                made
            }
        }
    }

    /// What is not there, or on its way out, cannot be changed.
    fn change(&mut self, name: &str, change: impl FnOnce(&mut Object) -> Answer) -> Answer {
        match self.objects.get_mut(name) {
            None => Answer::Missing,
            Some(object) if object.goes_at.is_some() => Answer::Deleting,
            Some(object) => change(object),
        }
    }

    fn list(&self, after: Option<&str>, below: Option<&str>, now: Instant) -> Survey {
        let as_of = now.checked_sub(self.lag).unwrap_or(now);
        let mut objects = BTreeMap::new();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (name, shown) in self.shown.range::<str, _>((from, Bound::Unbounded)) {
            let known = shown.iter().rev().find(|(since, _)| *since <= as_of);
            let Some((_, Some(remote))) = known else { continue };
            let marked = remote.tags.as_ref().is_some_and(|tags| tags.contains_key(OWNERSHIP_TAG));
            if !below.map_or(marked, |start| name.starts_with(start)) {
                continue;
            }
            if objects.len() == PAGE {
                let last = objects.last_key_value().map(|(name, _): (&String, _)| name.clone());
                return Survey { objects, next: last.map(Cursor) };
            }
            objects.insert(name.clone(), remote.clone());
        }
        Survey { objects, next: None }
    }
}

fn check_value(bytes: &[u8]) -> Result<(), Error> {
    if bytes.is_empty() || bytes.len() > VALUE_BYTES_MAX {
        return Err(Error::new(Failure::Invalid, "a value has 1 to 65536 bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(token: &str, value: &str) -> Call {
        Call::Create {
            name: "a".to_owned(),
            token: token.to_owned(),
            bytes: value.as_bytes().to_vec(),
            tags: BTreeMap::from([(OWNERSHIP_TAG.to_owned(), String::new())]),
        }
    }

    fn update(token: &str, value: &str) -> Call {
        let bytes = value.as_bytes().to_vec();
        Call::Update { name: "a".to_owned(), token: token.to_owned(), bytes }
    }

    fn name() -> String {
        "a".to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_good_once() {
        let mut service = Service::default();
        let mut apply = |call: &Call| service.apply(1, call).unwrap();
        let first = Answer::Version("t1".to_owned(), "1".to_owned());
        assert_eq!(apply(&create("t1", "x")), first);
        assert_eq!(apply(&create("t1", "x")), first, "the same again");
        assert_eq!(apply(&create("t1", "y")), Answer::Exists);
        assert_eq!(apply(&update("t1", "x")), Answer::Exists, "an update's token is new");
        let second = Answer::Version("t2".to_owned(), "1".to_owned());
        assert_eq!(apply(&update("t2", "y")), second);
        assert_eq!(service.effects().len(), 2);
        assert!(service.apply(1, &update("t3", "")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_replaced_an_object_is_another_one() {
        let mut service = Service::default();
        let mut apply = |by, call: &Call| service.apply(by, call).unwrap();
        let Answer::Version(_, first) = apply(1, &create("t1", "x")) else { panic!("it is new") };
        let at = place("a", Some(&first));
        let about_first = [
            Call::Update { name: at.clone(), token: "t3".to_owned(), bytes: b"z".to_vec() },
            Call::Untag { name: at.clone(), keys: vec![OWNERSHIP_TAG.to_owned()] },
            Call::Delete { name: at, days: None },
        ];
        apply(0, &Call::Delete { name: name(), days: None });
        apply(0, &create("t2", "y"));
        for call in &about_first {
            assert_eq!(apply(1, call), Answer::Missing);
        }
        let object = service.object("a").unwrap();
        assert_eq!((object.value(), object.tags.len(), object.maker), (&b"y"[..], 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_scheduled_can_be_restored_and_nothing_else() {
        let mut service = Service::default();
        service.apply(1, &create("t1", "x")).unwrap();
        service.apply(0, &Call::Delete { name: name(), days: Some(7) }).unwrap();
        for call in [create("t2", "y"), update("t2", "y")] {
            assert_eq!(service.apply(1, &call), Ok(Answer::Deleting));
        }
        service.apply(1, &Call::Restore { name: name() }).unwrap();
        assert_eq!(service.object("a").unwrap().value(), b"x");
        service.apply(0, &Call::Delete { name: name(), days: Some(7) }).unwrap();
        tokio::time::advance(DAY * 7).await;
        assert_eq!(service.apply(1, &update("t2", "y")), Ok(Answer::Missing));
    }

    #[tokio::test(start_paused = true)]
    async fn lists_lag_and_a_look_does_not() {
        let mut service = Service { lag: Duration::from_secs(60), ..Service::default() };
        service.apply(1, &create("t1", "x")).unwrap();
        let list = Call::List { after: None, below: None };
        let empty = Answer::Page(Survey::default());
        assert_eq!(service.apply(1, &list), Ok(empty.clone()));
        let described = service.apply(1, &Call::Describe { name: name() }).unwrap();
        assert!(matches!(described, Answer::Found(Some(_))));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_ne!(service.apply(1, &list), Ok(empty));
    }

    #[tokio::test(start_paused = true)]
    async fn a_forced_deletion_takes_its_time() {
        let mut service = Service { linger: Duration::from_secs(2), ..Service::default() };
        service.apply(1, &create("t1", "x")).unwrap();
        service.apply(1, &Call::Delete { name: name(), days: None }).unwrap();
        assert_eq!(service.apply(1, &create("t2", "y")), Ok(Answer::Deleting));
        tokio::time::advance(Duration::from_secs(3)).await;
        let made = Answer::Version("t2".to_owned(), "2".to_owned());
        assert_eq!(service.apply(1, &create("t2", "y")), Ok(made));
    }
}
