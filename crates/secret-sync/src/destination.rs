//! The contract of a destination. One value is one configured destination; it sees names and
//! prepared bytes, never requests, storage or policy.

use crate::{failure::Error, limits::Limits, source::Payload};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A place secrets are delivered to.
#[async_trait]
pub trait Destination: Send + Sync + 'static {
    /// Largest value, tags or not, request rate.
    fn limits(&self) -> &Limits;

    /// Whether the credentials are good, without changing anything.
    async fn check(&self) -> Result<(), Error>;

    /// What is there: names, marks, the destination's own version. Never values. With
    /// [`Names::Ours`] a page of everything that carries our mark, which may lag behind the truth;
    /// with [`Names::These`] exactly those that exist.
    async fn survey(&self, names: &Names, after: Option<Cursor>) -> Result<Survey, Error>;

    /// Creates, updates, or restores what is scheduled for deletion. Idempotent under retry: the
    /// same delivery twice leaves one version.
    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error>;

    /// Where the API takes many at once; by default one after another.
    async fn put_many(&self, deliveries: &[Delivery]) -> Vec<Result<Receipt, Error>> {
        let mut receipts = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            receipts.push(self.put(delivery).await);
        }
        receipts
    }

    /// Removes what the ledger proves to be ours. What is gone already is removed.
    async fn delete(&self, entry: &LedgerEntry, how: Deletion) -> Result<(), Error>;
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
    /// Tags it shall carry, the ownership mark included.
    pub tags: BTreeMap<String, String>,
    /// What was delivered under that name before, if anything.
    pub previous: Option<Delivered>,
    /// Whether the value is there already and only its tags differ.
    pub tags_only: bool,
}

/// What the destination answered to a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The destination's own id of the version that is now current.
    pub version_id: String,
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
    /// The version of the secret.
    pub source_version: u64,
    /// The `set` it belongs to.
    pub generation: u64,
    /// Keyed digest of the bytes.
    pub content_mark: String,
    /// Tags the object carries.
    pub tags: BTreeMap<String, String>,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// How an object is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// At once, without a way back.
    Forced,
}

/// What a survey is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Everything that carries our mark.
    Ours,
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
    /// Whether it carries our mark.
    pub marked: bool,
    /// Whether it is scheduled for deletion.
    pub deleting: bool,
}
