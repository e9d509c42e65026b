//! The contract of a destination. One value is one configured destination; it sees names and
//! prepared bytes, never requests, storage or policy.

use crate::{
    estimate::{self, Calls, Change, Prices},
    failure::Error,
    limits::Limits,
    source::Payload,
    tags::{MARK_TAG, OWNERSHIP_TAG, OwnerMark},
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::RangeInclusive};

/// A place secrets are delivered to.
#[async_trait]
pub trait Destination: Send + Sync + 'static {
    /// Largest value, tags or not, request rate.
    fn limits(&self) -> &Limits;

    /// How objects are kept beside their value and tags, such as the key that encrypts them and the
    /// regions they are copied to; one text, in which only this destination reads. An object that was
    /// delivered under another text is put anew, with [`Extent::Aspects`] where its value is there.
    fn placement(&self) -> &str {
        ""
    }

    /// What its calls are counted by at the provider, such as an account and a region. Destinations
    /// that name the same share one budget; without a name each has its own.
    fn budget_key(&self) -> Option<String> {
        None
    }

    /// The calls that a change takes, as far as that can be told beforehand.
    fn calls_of(&self, change: &Change<'_>) -> Calls {
        estimate::one_each(change)
    }

    /// What it takes money for, if anything.
    fn prices(&self) -> Option<Prices> {
        None
    }

    /// Whether the credentials are good and what they permit, without changing anything.
    async fn check(&self) -> Result<Checked, Error>;

    /// What is there: names, marks, the destination's own version. Never values. With
    /// [`Names::Ours`] a page of everything that carries our mark, and with [`Names::Below`] of
    /// everything whose name begins so, which may lag behind the truth; with [`Names::These`] exactly
    /// those that exist.
    async fn survey(&self, names: &Names, after: Option<Cursor>) -> Result<Survey, Error>;

    /// Creates, updates, or restores what is scheduled for deletion. Idempotent under retry: the
    /// same delivery twice leaves one version. Where what was delivered before has gone and something
    /// else has the name, `ownership` decides.
    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error>;

    /// Permissions that were found missing and are not necessary, where no receipt could say so.
    fn notes(&self) -> Vec<Note> {
        Vec::new()
    }

    /// Removes what the ledger proves to be ours. What is gone already is removed, also where somebody
    /// else has the name by now.
    async fn delete(&self, removal: &Removal) -> Result<(), Error>;
}

/// One object to be removed.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Its name at the destination.
    pub name: String,
    /// What was delivered under it, which goes without a look: the object of that identity, where it has
    /// one, and no other. `None` where it is not known what is there, as a delivery or a removal was
    /// begun and never confirmed: then what is there is judged by `Removal::finds`.
    pub delivered: Option<Delivered>,
    /// The identity of what was delivered last, as far as it is known.
    pub identity: Option<String>,
    /// Whether a delivery was begun since then, and may have been done.
    pub written: bool,
    /// Whether its removal was begun before, and may have been done.
    pub repeated: bool,
    /// The mark by which it is known to be ours.
    pub mark: OwnerMark,
    /// How it goes.
    pub how: Deletion,
}

/// What a look found where something is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// It is ours and goes.
    Ours,
    /// Nothing of ours is there any more.
    Nothing,
    /// It cannot be told whose it is.
    Unclear,
}

impl Removal {
    /// Whose what has the name is. Of what carries no mark only the identity tells: whether it is what was
    /// delivered, or something that came after it and is not ours, if nothing of ours was sent since.
    pub(crate) fn finds(&self, found: &Remote) -> Leftover {
        let known = self.identity.as_ref().zip(found.identity.as_ref());
        let is_same = known.map(|(ours, theirs)| ours == theirs);
        // An earlier attempt may have taken the marks away.
        let released = self.repeated && self.how == Deletion::Retain;
        match found.owner(&self.mark) {
            Owner::Us => Leftover::Ours,
            Owner::Other | Owner::Twin | Owner::Sibling => Leftover::Nothing,
            Owner::Nobody if released => Leftover::Nothing,
            Owner::Vault | Owner::Nobody => match is_same {
                Some(true) if !self.repeated => Leftover::Ours,
                Some(false) if !self.written => Leftover::Nothing,
                Some(_) | None => Leftover::Unclear,
            },
        }
    }
}

/// What a check of a destination found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Facts about who we are there, such as `account` and `arn`; never secret.
    pub identity: BTreeMap<String, String>,
    /// Permissions that are not necessary and missing, and what they would add.
    pub notes: Vec<Note>,
}

/// One object to be delivered.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its name at the destination.
    pub name: String,
    /// The value.
    pub payload: Payload,
    /// Stands for this delivery; UUID-shaped. It was used before for this name by the directly
    /// preceding call at most, so a destination that knows it already holds this very value.
    pub token: String,
    /// Tags it shall carry, the ownership marks included.
    pub tags: BTreeMap<String, String>,
    /// What was delivered under that name before, if anything.
    pub previous: Option<Delivered>,
    /// How much of it is to be written.
    pub extent: Extent,
    /// What is done with an object that has that name and is not known to be ours.
    pub ownership: Ownership,
    /// The mark by which an object is known to be ours; one of the tags, where there are tags.
    pub mark: OwnerMark,
}

impl Delivery {
    /// The same as it updates what has the name already and is not what was delivered last: with a token
    /// of its own. Else a creation that is tried again would find its token used by the update, and be
    /// taken for done, tags and all. Of its tags nothing is known; where it is ours, those that we may
    /// have left there go.
    #[must_use]
    pub fn over_what_exists(&self, is_ours: bool) -> Delivery {
        let mut token = self.token.clone();
        let first = token.pop().and_then(|digit| digit.to_digit(16)).unwrap_or_default();
        token.extend(char::from_digit(first ^ 8, 16));
        let mut previous = self.previous.clone().filter(|_| is_ours);
        if let Some(previous) = &mut previous {
            previous.tags.retain(|key, _| !self.tags.contains_key(key));
        }
        Delivery { token, previous, ..self.clone() }
    }
}

/// How much of an object is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The value, and what belongs to it.
    Value,
    /// The value is there already: tags and placement only, so that no version is made.
    Aspects,
}

/// What is done with an object that has the name we want and is not known to be ours.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// It is overwritten, as Vault does: the last write wins.
    #[default]
    Overwrite,
    /// It is taken over unless it carries the mark of another server.
    Adopt,
    /// It is left alone.
    Refuse,
}

/// What the destination answered to a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The destination's own id of the version that is now current.
    pub version_id: String,
    /// What tells the object from others that have its name at another time; see
    /// [`Delivered::identity`].
    pub identity: Option<String>,
    /// Tags that should have gone and are still there.
    pub tags_left: Vec<String>,
    /// What could not be done beside the delivery itself, for lack of a permission.
    pub notes: Vec<Note>,
}

/// A permission that is not necessary, and what it would add.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// The permission, as the destination names it.
    pub missing_permission: String,
    /// What it would add.
    pub message: String,
}

/// What was delivered under one name. The proof that the object is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The name at the destination.
    pub name: String,
    /// What is there as far as we know; `None` when a delivery was begun and never confirmed.
    pub delivered: Option<Delivered>,
}

/// A confirmed delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The destination's own id of the version.
    pub version_id: String,
    /// What tells the object from others that have its name at another time, in the destination's own
    /// words: who removes an object and makes one of the same name makes another. Calls about what was
    /// delivered go to that object alone. `None` where the destination has nothing of the kind, or it is
    /// not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The version of the secret.
    pub source_version: u64,
    /// The `set` it belongs to.
    pub generation: u64,
    /// Keyed digest of the bytes.
    pub content_mark: String,
    /// Tags the object carries.
    pub tags: BTreeMap<String, String>,
    /// The placement it has; see [`Destination::placement`].
    #[serde(default)]
    pub placement: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

impl Delivered {
    /// Whether it was delivered by a server that this one has taken over from.
    pub(crate) fn is_taken_over(&self, epoch: &str) -> bool {
        let mark = self.tags.get(MARK_TAG).and_then(|text| OwnerMark::parse(text));
        mark.is_some_and(|mark| mark.epoch != epoch)
    }
}

/// Days for which what was scheduled for deletion can be restored.
pub const RECOVERY_DAYS: RangeInclusive<u32> = 7..=30;
/// The same where nobody says otherwise.
pub const RECOVERY_DAYS_DEFAULT: u32 = 30;

/// How an object is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletion {
    /// At once, without a way back.
    #[default]
    Delete,
    /// So that it can be restored for that many days; at once where the destination knows no such
    /// thing.
    Schedule {
        /// Days.
        days: u32,
    },
    /// It stays, without our marks where they can be taken away.
    Retain,
}

/// What a survey is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Everything that carries our mark.
    Ours,
    /// Everything whose name begins with this, marked or not; everything at all where it is empty.
    Below(String),
    /// These names.
    These(Vec<String>),
}

/// Where the next page of a survey begins; opaque to everyone but the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

/// A page of what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Objects found.
    pub objects: BTreeMap<String, Remote>,
    /// Where the next page begins.
    pub next: Option<Cursor>,
}

/// An object as the destination shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// The destination's own id of the current version.
    pub version_id: Option<String>,
    /// Which of all objects of that name it is; see [`Delivered::identity`].
    pub identity: Option<String>,
    /// Its tags; `None` where the destination has none.
    pub tags: Option<BTreeMap<String, String>>,
    /// Whether it is scheduled for deletion.
    pub deleting: bool,
    /// Its placement, where the look that found it shows that; see [`Destination::placement`].
    pub placement: Option<String>,
}

impl Remote {
    /// Whether it carries a mark of secrets sync, of whichever server.
    pub fn marked(&self) -> bool {
        let carries = |tags: &BTreeMap<String, String>| {
            tags.contains_key(OWNERSHIP_TAG) || tags.contains_key(MARK_TAG)
        };
        self.tags.as_ref().is_some_and(carries)
    }

    /// Whose it is, as far as its marks tell.
    pub fn owner(&self, mark: &OwnerMark) -> Owner {
        let Some(tags) = &self.tags else { return Owner::Nobody };
        match tags.get(MARK_TAG).map(|text| OwnerMark::parse(text)) {
            Some(Some(found)) if mark.covers(&found) => Owner::Us,
            Some(Some(found)) if found.code == mark.code => Owner::Twin,
            Some(Some(found)) if mark.is_sibling_of(&found) => Owner::Sibling,
            Some(_) => Owner::Other,
            None if tags.contains_key(OWNERSHIP_TAG) => Owner::Vault,
            None => Owner::Nobody,
        }
    }
}

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Ours.
    Us,
    /// Of a server with our keys and another epoch: the one we were restored from, or a copy of us.
    Twin,
    /// Of this very server, which keeps it for a source, or for what a source must not touch.
    Sibling,
    /// Of another server of our kind.
    Other,
    /// Synced by a server that marks what it owns with Vault's tag alone; our own deliveries before
    /// there were keyed marks among them.
    Vault,
    /// It carries no mark.
    Nobody,
}
