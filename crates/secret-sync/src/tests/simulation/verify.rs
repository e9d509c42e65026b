//! What must hold after quiet.

use super::{
    account::{Account, Books, Foreign, KIND, Tampered},
    model::{Heads, Model, Part},
    strangers::STRANGERS_MARK,
};
use crate::{
    association::{Association, Object},
    destination::{Deletion, Ownership},
    registry::Drift,
    store::Store,
    tags::{MARK_TAG, OWNERSHIP_TAG},
    testing::service::{Call, Effect, Object as Remote},
    tests::world::World,
};
use bailee_sdk::change;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long a session takes at most to write down what came of a call.
const WRITTEN_DOWN_WITHIN: Duration = Duration::from_secs(30);

/// What does not hold.
pub(super) type Wrong = Vec<String>;

/// Compares destinations, ledger and statuses with the model.
pub(super) async fn compare(
    world: &World,
    model: &Model,
    accounts: &BTreeMap<&'static str, std::sync::Arc<Account>>,
) -> Wrong {
    let mut wrong = Wrong::new();
    let store = Store::open(&world.barrier, &world.namespace);
    let mut dirty = store.dirty_destinations().await.expect("storage works");
    // A deletion that stopped rests until somebody asks for it again.
    let stopped = model.destinations.iter().filter(|(_, stored)| stored.purging.is_some());
    let stopped: Vec<String> = stopped.map(|(name, _)| store.destination_id(KIND, name)).collect();
    dirty.retain(|id| !stopped.contains(id));
    if !dirty.is_empty() {
        wrong.push(format!("dirty marks are left: {dirty:?}"));
    }
    let notes = change::waiting(&store.view, &world.namespace, "", 100).await;
    if !notes.expect("storage works").is_empty() {
        wrong.push("change notes are left".to_owned());
    }
    for (name, account) in accounts {
        let id = store.destination_id(KIND, name);
        let ledger = store.associations(&id).await.expect("storage works");
        let ledger: Vec<Association> = ledger.into_iter().map(|(_, found)| found).collect();
        let reserved = store.view.list(&format!("external/{id}/"), "", 1000).await;
        let reserved: BTreeSet<String> = reserved.expect("storage works").into_iter().collect();
        let code = |object: &Object| store.view.names("external").id(&object.name);
        let begun = ledger.iter().flat_map(|association| {
            let begun = association.objects.iter().filter(|object| object.begun);
            begun.map(|object| (association.secret_name.as_str(), object))
        });
        let begun: Vec<(&str, &Object)> = begun.collect();
        let expected: BTreeSet<String> = begun.iter().map(|(_, object)| code(object)).collect();
        if reserved != expected || expected.len() != begun.len() {
            wrong.push(format!("{name}: names reserved are not those delivered: {begun:?}"));
        }
        let (lines, parts) = (lines(world, name).await, model.parts(name));
        let mut here = Here { name, model, account, parts, begun, lines, excused: BTreeSet::new() };
        here.excuse();
        wrong.extend(here.compare());
    }
    wrong
}

async fn lines(world: &World, name: &str) -> Map<String, Value> {
    let shown = world.get(&format!("sync/destinations/{KIND}/{name}/associations")).await;
    let lines = shown.ok().map(|shown| shown["associated_secrets"].clone());
    lines.and_then(|lines| lines.as_object().cloned()).unwrap_or_default()
}

/// One destination.
struct Here<'a> {
    name: &'a str,
    model: &'a Model,
    account: &'a Account,
    parts: Vec<Part>,
    /// Paths of secrets and what the ledger has of them.
    begun: Vec<(&'a str, &'a Object)>,
    lines: Map<String, Value>,
    /// Names under which something may stay.
    excused: BTreeSet<&'a str>,
}

impl Here<'_> {
    /// Something stays under a name that was begun and not confirmed where it does not carry our
    /// mark, so that nobody can tell whose it is; under a former name as long as not everything that
    /// replaces it is there; under the former name of a key that gets no other one; and where a ledger
    /// of before a restoration is all that says it is ours.
    fn excuse(&mut self) {
        let books = self.account.books();
        let excused = self.begun.iter().filter(|(secret, object)| {
            let there = books.service.object(&object.name);
            let unmarked = there.is_some_and(|there| !there.tags.contains_key(MARK_TAG));
            let unfinished = self.is_unfinished(secret);
            let doubtful = unmarked || self.is_blocked(&books, &object.name);
            let mut parts = self.parts.iter().filter(|part| part.secret == *secret);
            let nameless = parts.any(|part| part.loses && part.key == object.sub_key.as_deref());
            let unwanted = self.parts.iter().all(|part| part.name != object.name);
            let of_before = self.model.restored && unmarked && unwanted;
            let unconfirmed = object.delivered.is_none() || object.may_be_written();
            (unconfirmed && doubtful) || (object.leaving && unfinished) || nameless || of_before
        });
        let excused = excused.map(|(_, object)| object.name.as_str()).collect();
        drop(books);
        self.excused = excused;
    }

    /// Whether not everything of a secret is there.
    fn is_unfinished(&self, secret: &str) -> bool {
        let mut parts = self.parts.iter().filter(|part| part.secret == secret);
        parts.any(|part| self.status(part).as_deref() != Some("SYNCED"))
    }

    fn compare(&self) -> Wrong {
        let books = self.account.books();
        let mut wrong: Wrong = books.breaches.clone();
        let mut names: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
        for part in &self.parts {
            names.entry(&part.name).or_default().push(part);
        }
        for (name, wanting) in &names {
            wrong.extend(self.wanted(&books, name, wanting));
        }
        for (name, object) in books.service.objects() {
            if !names.contains_key(name.as_str()) {
                wrong.extend(self.unwanted(&books, name, object));
            }
        }
        for (name, foreign) in &books.foreign {
            if let Foreign::Made(as_made) = foreign
                && books.service.object(name) != Some(as_made)
            {
                wrong.push(format!("{name:?} is not ours and is not as it was"));
            }
        }
        wrong.extend(self.ledger(&books, &names));
        wrong.extend(self.secrets_without_parts(&books));
        wrong.iter().map(|wrong| format!("{}: {wrong}", self.name)).collect()
    }

    fn options(&self) -> &super::model::Options {
        &self.model.destinations[self.name].options
    }

    /// Whether what is there is not to be written by us.
    fn is_blocked(&self, books: &Books, name: &str) -> bool {
        let there = books.service.object(name);
        // What lost its mark and was then scheduled for deletion cannot be told from a stranger's.
        let nameless = there
            .is_some_and(|there| there.goes_at.is_some() && !there.tags.contains_key(MARK_TAG));
        let unmarked = there.is_some_and(|there| !there.tags.contains_key(MARK_TAG));
        match (books.foreign.get(name), self.options().ownership) {
            (None, Ownership::Refuse) => nameless || (self.model.restored && unmarked),
            (None, _) | (Some(_), Ownership::Overwrite) => false,
            (Some(Foreign::Released), ownership) => ownership == Ownership::Refuse,
            (Some(Foreign::Made(object)), Ownership::Adopt) => object.tags.contains_key(MARK_TAG),
            (Some(Foreign::Made(_)), Ownership::Refuse) => true,
        }
    }

    /// Whether what is under a name we want is a stranger's and shall be so.
    fn stays_a_strangers(&self, books: &Books, name: &str) -> bool {
        let Some(Foreign::Made(object)) = books.foreign.get(name) else { return false };
        let marked = object.tags.contains_key(MARK_TAG);
        // What another server marked is fought for by nobody: a new value goes over it, no repair does.
        let known = self.begun.iter().any(|(_, object)| object.name == name);
        let left = known && (marked || self.options().drift != Drift::Repair);
        left || self.is_blocked(books, name)
    }

    /// Whether the status of a part says that its name is somebody else's, which nobody finds who does
    /// not look.
    fn tells(&self, part: &Part) -> bool {
        let drift = self.line(part).and_then(|line| line["drift"]["kind"].as_str());
        let class = self.class(part);
        let unseen =
            self.options().drift == Drift::Off && self.status(part).as_deref() == Some("SYNCED");
        drift.is_some() || unseen || matches!(class.as_deref(), Some("not_ours" | "name_taken"))
    }

    /// The same of a name that is to go.
    fn tells_former(&self, secret: &str, object: &Object) -> bool {
        let Some(line) = self.lines.get(&line_of(secret, object.sub_key.as_deref())) else {
            return false;
        };
        let former = line["former_names"].as_array().into_iter().flatten();
        let mut shown = former.chain([line]).filter(|shown| shown["external_name"] == object.name);
        shown.any(|shown| shown["error"]["class"] == "not_ours")
    }

    fn wanted(&self, books: &Books, name: &str, wanting: &[&Part]) -> Wrong {
        let mut wrong = Wrong::new();
        let Tampered { value, tags, contested } =
            books.tampered.get(name).copied().unwrap_or_default();
        let left_alone = self.options().drift != Drift::Repair;
        if contested {
            return wrong;
        }
        if self.stays_a_strangers(books, name) {
            let untold = wanting.iter().filter(|part| !self.tells(part));
            return untold.map(|part| format!("{part:?} is a stranger's, untold")).collect();
        }
        if self.excused.contains(name) {
            return wrong;
        }
        if self.is_blocked(books, name) {
            let ours = self
                .begun
                .iter()
                .any(|(_, object)| object.name == name && object.delivered.is_some());
            if ours && value && left_alone {
                // Nothing of it was tried since.
                return wrong;
            }
            let told = |part: &&&Part| {
                let class = self.class(part);
                !matches!(class.as_deref(), Some("not_ours" | "name_taken"))
            };
            let untold = wanting.iter().filter(told);
            return untold.map(|part| format!("{part:?} is blocked and does not say so")).collect();
        }
        let object = books.service.object(name).filter(|object| object.goes_at.is_none());
        let holds = |part: &&&Part| object.is_some_and(|object| object.value() == part.bytes);
        if !(value && left_alone) {
            match object {
                None => wrong.push(format!("{name:?} is missing: {wanting:?}")),
                Some(object) if !wanting.iter().any(|part| holds(&part)) => {
                    let value = String::from_utf8_lossy(object.value());
                    wrong.push(format!("{name:?} holds {value}: {wanting:?}"));
                }
                Some(object) if !(tags && left_alone) => {
                    wrong.extend(self.tags(books, name, object))
                }
                Some(_) => {}
            }
        }
        let synced: Vec<&&Part> =
            wanting.iter().filter(|part| self.status(part).as_deref() == Some("SYNCED")).collect();
        if synced.len() != 1 {
            let shown: Vec<_> = wanting.iter().map(|part| self.line(part)).collect();
            wrong.push(format!("{name:?}: {} are SYNCED: {shown:?}", synced.len()));
        }
        let lost = !(value && left_alone) && synced.iter().any(|part| !holds(part));
        if lost || synced.iter().any(|part| part.loses) {
            wrong.push(format!("{name:?}: the wrong one says SYNCED: {synced:?}"));
        }
        for part in wanting.iter().filter(|part| self.status(part).as_deref() != Some("SYNCED")) {
            if self.class(part).as_deref() != Some("name_taken") {
                wrong.push(format!("{part:?} says {:?}", self.line(part)));
            }
        }
        wrong
    }

    fn tags(&self, books: &Books, name: &str, object: &Remote) -> Option<String> {
        let custom = &self.options().tags;
        let mut rest = object.tags.clone();
        rest.retain(|key, value| custom.get(key) != Some(value));
        // What others put there beside ours is not ours to remove.
        rest.remove("owner");
        if books.unanswered.contains(name) || cut_short(books.service.effects(), name) {
            // Tags of a creation whose answer was lost are in no ledger when they are taken away.
            rest.retain(|key, _| !["team", "cost"].contains(&key.as_str()));
        }
        let marks =
            [rest.remove(OWNERSHIP_TAG).as_deref() == Some(""), rest.remove(MARK_TAG).is_some()];
        let all = custom.iter().all(|(key, value)| object.tags.get(key) == Some(value));
        let right = marks == [true, true] && all && rest.is_empty();
        (!right).then(|| format!("{name:?} has tags {:?}, not {custom:?}", object.tags))
    }

    fn unwanted(&self, books: &Books, name: &str, object: &Remote) -> Option<String> {
        let left = books.left_behind.iter().any(|left| left == name);
        // What a delivery that was never confirmed went over stays with whoever has marked it.
        let of_another = object.tags.get(MARK_TAG).is_some_and(|mark| mark == STRANGERS_MARK);
        let contested =
            of_another || books.tampered.get(name).is_some_and(|tampered| tampered.contested);
        let tolerated =
            books.foreign.contains_key(name) || left || contested || self.excused.contains(name);
        if tolerated || object.goes_at.is_some() {
            return None;
        }
        let retained =
            self.options().deletion == Deletion::Retain && !object.tags.contains_key(OWNERSHIP_TAG);
        (!retained).then(|| format!("{name:?} is left over"))
    }

    fn ledger(&self, books: &Books, names: &BTreeMap<&str, Vec<&Part>>) -> Wrong {
        let mut wrong = Wrong::new();
        for (secret, object) in &self.begun {
            let (name, is_wanted) = (&object.name, names.contains_key(object.name.as_str()));
            let is_strangers = matches!(books.foreign.get(name), Some(Foreign::Made(_)));
            // A former name whose time has not come is not looked at.
            let waits = object.leaving && self.is_unfinished(secret);
            if is_strangers && !is_wanted && !waits && !self.tells_former(secret, object) {
                wrong.push(format!("{name:?} is a stranger's and stays in the ledger, untold"));
            }
            let tampered = books.tampered.get(&object.name).copied().unwrap_or_default();
            if tampered.contested || self.excused.contains(object.name.as_str()) {
                continue;
            }
            if self.is_blocked(books, &object.name) || self.stays_a_strangers(books, &object.name) {
                // It is known from before it was a stranger's.
                continue;
            }
            if !names.contains_key(object.name.as_str()) {
                wrong.push(format!("the ledger has {:?}", object.name));
            }
            let there = books.service.object(&object.name);
            let there = there.and_then(|there| there.versions.last()).map(|(id, _)| id);
            let known = object.delivered.as_ref().map(|delivered| &delivered.version_id);
            if there != known && !tampered.value {
                wrong.push(format!("{:?}: the ledger has {known:?}, not {there:?}", object.name));
            }
        }
        let begun: BTreeSet<&str> =
            self.begun.iter().map(|(_, object)| object.name.as_str()).collect();
        for name in names.keys().filter(|name| !begun.contains(**name)) {
            let contested = books.tampered.get(*name).is_some_and(|tampered| tampered.contested);
            if !self.is_blocked(books, name) && !contested {
                wrong.push(format!("the ledger lacks {name:?}"));
            }
        }
        wrong
    }

    fn secrets_without_parts(&self, books: &Books) -> Wrong {
        let parts = &self.parts;
        let mut wrong = Wrong::new();
        let associations = &self.model.destinations[self.name].associations;
        let with: BTreeSet<&str> = parts.iter().map(|part| part.secret).collect();
        for secret in associations.keys().filter(|secret| !with.contains(**secret)) {
            let status = self.lines.get(&format!("kv_1234/{secret}"));
            if self.is_excused(secret) {
                continue;
            }
            if status.is_none_or(|line| line["sync_status"] != "UNSYNCED") {
                wrong.push(format!("{secret:?} has no version and says {status:?}"));
            }
        }
        let mut expected: BTreeSet<String> = parts.iter().map(key).collect();
        let empty = associations.keys().filter(|secret| !with.contains(**secret));
        let empty = empty.filter(|secret| !self.is_excused(secret));
        expected.extend(empty.map(|secret| format!("kv_1234/{secret}")));
        let left = |line: &Value| {
            let name = line["external_name"].as_str().unwrap_or_default();
            let contested = books.tampered.get(name).is_some_and(|tampered| tampered.contested);
            // A part that had the name before a stranger and another part of the secret is shown.
            let refused = line["error"]["class"] == "not_ours" && books.foreign.contains_key(name);
            // The name that a whole secret would have, beside keys of it that cannot go.
            let secret = line["secret_name"].as_str().unwrap_or_default();
            let bare = line["sync_status"] == "UNSYNCED" && self.is_excused(secret);
            let former = line["former_names"].as_array().into_iter().flatten();
            let mut former = former.filter_map(|former| former["external_name"].as_str());
            let former = former.any(|former| self.excused.contains(former));
            self.excused.contains(name) || former || contested || refused || bare
        };
        let shown = self.lines.iter().filter(|(key, line)| expected.contains(*key) || !left(line));
        let shown: BTreeSet<String> = shown.map(|(key, _)| key.clone()).collect();
        if shown != expected {
            wrong.push(format!("shown are {shown:?}, not {expected:?}"));
        }
        wrong
    }

    /// Whether something of a secret may stay.
    fn is_excused(&self, secret: &str) -> bool {
        let mut left = self.begun.iter().filter(|(of, _)| *of == secret);
        left.any(|(_, object)| self.excused.contains(object.name.as_str()))
    }

    fn line(&self, part: &Part) -> Option<&Value> {
        self.lines.get(&key(part))
    }

    fn status(&self, part: &Part) -> Option<String> {
        self.line(part)?["sync_status"].as_str().map(str::to_owned)
    }

    fn class(&self, part: &Part) -> Option<String> {
        self.line(part)?["error"]["class"].as_str().map(str::to_owned)
    }
}

/// Whether a session that made an object may have ended before it wrote that down: it did not do
/// anything any more when it should have.
fn cut_short(effects: &[Effect], name: &str) -> bool {
    let made = effects.iter().filter(|effect| {
        let Call::Create { name: made, .. } = &effect.call else { return false };
        made == name && effect.by != 0
    });
    made.into_iter().any(|made| {
        let by_maker = |effect: &&Effect| effect.by == made.by;
        let last = effects.iter().rev().find(by_maker).map_or(made.at, |effect| effect.at);
        last.duration_since(made.at) <= WRITTEN_DOWN_WITHIN
    })
}

fn key(part: &Part) -> String {
    line_of(part.secret, part.key)
}

fn line_of(secret: &str, key: Option<&str>) -> String {
    let key = key.map_or(String::new(), |key| format!("/{key}"));
    format!("kv_1234/{secret}{key}")
}

/// Of each object: whether its values came in the order in which the secret had them.
pub(super) fn order(heads: &Heads, effects: &[Effect]) -> Wrong {
    let mut wrong = Wrong::new();
    let mut places = BTreeMap::new();
    for effect in effects.iter().filter(|effect| effect.by != 0) {
        let (Call::Create { name, bytes, .. } | Call::Update { name, bytes, .. }) = &effect.call
        else {
            continue;
        };
        let text = String::from_utf8_lossy(bytes);
        let Some(part) = heads.origin(bytes) else {
            wrong.push(format!("{name:?}: nobody wrote {text}"));
            continue;
        };
        let from = places.get(&(name, part)).copied().unwrap_or(0);
        match heads.place(part, bytes, from, effect.at) {
            Some(place) => drop(places.insert((name, part), place)),
            None => wrong.push(format!("{name:?}: {text} came after a newer value")),
        }
    }
    wrong
}
