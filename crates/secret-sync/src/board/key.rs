//! What the board knows objects and destinations by.

use bailee_sdk::Namespace;
use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// An association: a secret at a destination, by their codes.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) destination: Arc<str>,
    pub(crate) secret: Arc<str>,
}

impl Key {
    pub(crate) fn new(namespace: &Arc<Namespace>, destination: &str, secret: &str) -> Key {
        Key { namespace: namespace.clone(), destination: destination.into(), secret: secret.into() }
    }

    fn parts(&self) -> (&str, &str, &str) {
        (&self.namespace.id, &self.destination, &self.secret)
    }

    pub(super) fn lane(&self) -> LaneKey {
        LaneKey { namespace: self.namespace.clone(), destination: self.destination.clone() }
    }
}

/// A destination.
#[derive(Clone, Debug)]
pub(crate) struct LaneKey {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) destination: Arc<str>,
}

impl LaneKey {
    pub(crate) fn new(namespace: &Arc<Namespace>, destination: &str) -> LaneKey {
        LaneKey { namespace: namespace.clone(), destination: destination.into() }
    }

    fn parts(&self) -> (&str, &str) {
        (&self.namespace.id, &self.destination)
    }
}

impl PartialEq for LaneKey {
    fn eq(&self, other: &LaneKey) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for LaneKey {}

impl PartialOrd for LaneKey {
    fn partial_cmp(&self, other: &LaneKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LaneKey {
    fn cmp(&self, other: &LaneKey) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl fmt::Display for Key {
    /// Codes only: it goes into logs and audit lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.destination, self.secret)
    }
}

/// A destination that is being deleted with its associations.
#[derive(Clone, Debug)]
pub(crate) struct PurgeKey {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl PurgeKey {
    fn parts(&self) -> (&str, &str, &str) {
        (&self.namespace.id, &self.kind, &self.name)
    }
}

impl PartialEq for PurgeKey {
    fn eq(&self, other: &PurgeKey) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for PurgeKey {}

impl PartialOrd for PurgeKey {
    fn partial_cmp(&self, other: &PurgeKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PurgeKey {
    fn cmp(&self, other: &PurgeKey) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}
