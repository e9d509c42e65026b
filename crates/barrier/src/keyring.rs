//! The keys that seal storage: one per term, and the one from which name keys come.

use bailee_crypto::{
    aead::AeadKey,
    clock::{Clock, SystemClock, to_millis},
    mac::{self, MacKey},
    random,
};
use bailee_storage::Error;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Where the keyring is kept, sealed under the root key.
pub const KEYRING_KEY: &str = "core/keyring";

/// Where the root key is kept, sealed under the keyring: for rotations, which nobody gives shares for.
pub(crate) const ROOT_KEY: &str = "core/root-key";

/// Where it is kept how much the active key has sealed.
pub(crate) const USAGE_KEY: &str = "core/key-usage";
/// Sealings that are counted in storage before they happen: so many a crash may count twice.
pub(crate) const USAGE_STEP: u64 = 1 << 20;

/// First byte of everything sealed: the format of what follows it.
const FORMAT: u8 = 1;
/// Format byte and term.
const HEADER_BYTES: usize = 5;

/// The key that opens the keyring; what a seal guards.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RootKey([u8; 32]);

impl RootKey {
    /// A new random root key.
    pub fn generate() -> RootKey {
        RootKey(random::array())
    }

    /// The root key with these bytes; `None` unless there are 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<RootKey> {
        bytes.try_into().ok().map(RootKey)
    }

    /// The bytes, to be split into shares.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(..)")
    }
}

/// What `sys/key-status` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Number of the active key, from 1.
    pub term: u32,
    /// When it was made, in milliseconds since 1970.
    pub installed_at: u64,
    /// Values it has sealed, as far as is known.
    pub encryptions: u64,
    /// Values it has sealed at most, those counted that a process may not have come to.
    pub encryptions_max: u64,
}

/// How much a key has sealed, as it is stored: coarse, and never too little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) term: u32,
    /// Values it had sealed when this was written.
    pub(crate) sealed: u64,
    /// Values it may have sealed when this is read.
    pub(crate) reserved: u64,
}

struct Term {
    bytes: Zeroizing<[u8; 32]>,
    key: AeadKey,
    installed_at: u64,
    /// Values this process sealed with it.
    encryptions: AtomicU64,
    /// What was sealed with it before.
    before: Usage,
}

impl Term {
    fn new(bytes: [u8; 32], installed_at: u64) -> Term {
        let key = AeadKey::new(&bytes);
        let (encryptions, before) = (AtomicU64::new(0), Usage::default());
        Term { bytes: Zeroizing::new(bytes), key, installed_at, encryptions, before }
    }

    fn total(&self, before: u64) -> u64 {
        self.encryptions.load(Ordering::Relaxed).saturating_add(before)
    }
}

pub(crate) struct Keyring {
    terms: BTreeMap<u32, Term>,
    active: u32,
    name_root: Zeroizing<[u8; 32]>,
}

/// The keyring as it is stored. Its fields are secret: it lives for a moment.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Stored {
    name_root: [u8; 32],
    terms: Vec<StoredTerm>,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct StoredTerm {
    term: u32,
    key: [u8; 32],
    installed_at: u64,
}

impl Keyring {
    pub(crate) fn generate() -> Keyring {
        let first = Term::new(random::array(), to_millis(SystemClock.now()));
        let name_root = Zeroizing::new(random::array());
        Keyring { terms: BTreeMap::from([(1, first)]), active: 1, name_root }
    }

    /// The keyring with one more term, which becomes the active one.
    pub(crate) fn rotated(&self) -> Result<Keyring, Error> {
        self.check()?;
        let mut terms: BTreeMap<u32, Term> = self
            .terms
            .iter()
            .map(|(number, term)| (*number, Term::new(*term.bytes, term.installed_at)))
            .collect();
        let active = self.active + 1;
        terms.insert(active, Term::new(random::array(), to_millis(SystemClock.now())));
        Ok(Keyring { terms, active, name_root: self.name_root.clone() })
    }

    /// The ring as it is stored. A wiped one would take the place of the keys: it is refused.
    pub(crate) fn sealed(&self, root: &RootKey) -> Result<Vec<u8>, Error> {
        self.check()?;
        let stored = Stored {
            name_root: *self.name_root,
            terms: self
                .terms
                .iter()
                .map(|(term, kept)| StoredTerm {
                    term: *term,
                    key: *kept.bytes,
                    installed_at: kept.installed_at,
                })
                .collect(),
        };
        let plain = Zeroizing::new(serde_json::to_vec(&stored).expect("numbers always encode"));
        let mut sealed = vec![FORMAT];
        AeadKey::new(root.expose()).seal(KEYRING_KEY.as_bytes(), &plain, &mut sealed);
        Ok(sealed)
    }

    /// `None` when `root` is not the key it was sealed with.
    pub(crate) fn open(root: &RootKey, sealed: &[u8]) -> Result<Option<Keyring>, Error> {
        let Some((&FORMAT, sealed)) = sealed.split_first() else {
            return Err(Error::Corrupt("unknown format of the keyring".to_owned()));
        };
        let Ok(plain) = AeadKey::new(root.expose()).open(KEYRING_KEY.as_bytes(), sealed) else {
            return Ok(None);
        };
        let stored: Stored = serde_json::from_slice(&plain)
            .map_err(|_| Error::Corrupt("the keyring does not parse".to_owned()))?;
        let terms: BTreeMap<u32, Term> = stored
            .terms
            .iter()
            .map(|term| (term.term, Term::new(term.key, term.installed_at)))
            .collect();
        let Some(active) = terms.keys().next_back().copied() else {
            return Err(Error::Corrupt("the keyring is empty".to_owned()));
        };
        Ok(Some(Keyring { terms, active, name_root: Zeroizing::new(stored.name_root) }))
    }

    /// Forgets every key. The ring neither seals nor opens anything after that.
    pub(crate) fn wipe(&mut self) {
        self.terms.clear();
        self.name_root = Zeroizing::new(random::array());
    }

    fn check(&self) -> Result<(), Error> {
        if self.terms.is_empty() { Err(wiped()) } else { Ok(()) }
    }

    pub(crate) fn status(&self) -> KeyStatus {
        let term = self.terms.get(&self.active);
        KeyStatus {
            term: self.active,
            installed_at: term.map_or(0, |term| term.installed_at),
            encryptions: term.map_or(0, |term| term.total(term.before.sealed)),
            encryptions_max: term.map_or(0, |term| term.total(term.before.reserved)),
        }
    }

    /// Takes over what earlier processes sealed with the active key.
    pub(crate) fn take_over(&mut self, usage: Usage) {
        let term = self.terms.get_mut(&self.active).filter(|_| usage.term == self.active);
        if let Some(term) = term {
            term.before = usage;
        }
    }

    /// What to store now, so that the next process knows enough.
    pub(crate) fn usage(&self) -> Usage {
        let status = self.status();
        let reserved = status.encryptions_max.saturating_add(USAGE_STEP);
        Usage { term: status.term, sealed: status.encryptions, reserved }
    }

    pub(crate) fn name_key(&self, place: &str) -> MacKey {
        MacKey::new(
            mac::derive(self.name_root.as_slice(), &[b"names", place.as_bytes()]).as_slice(),
        )
    }

    /// Seals a value for the storage key `place`, so that it opens nowhere else.
    pub(crate) fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let term = self.terms.get(&self.active).ok_or_else(wiped)?;
        term.encryptions.fetch_add(1, Ordering::Relaxed);
        let mut sealed = Vec::with_capacity(HEADER_BYTES + plain.len() + 32);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&self.active.to_be_bytes());
        term.key.seal(place.as_bytes(), plain, &mut sealed);
        Ok(sealed)
    }

    pub(crate) fn unseal(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.check()?;
        let corrupt = |what: &str| Error::Corrupt(format!("{what} at {place}"));
        let (header, text) =
            sealed.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| corrupt("short entry"))?;
        let [FORMAT, term @ ..] = *header else { return Err(corrupt("unknown format")) };
        let term =
            self.terms.get(&u32::from_be_bytes(term)).ok_or_else(|| corrupt("unknown key term"))?;
        term.key.open(place.as_bytes(), text).map_err(|_| corrupt("entry not authentic"))
    }
}

fn wiped() -> Error {
    Error::Unavailable("the keys are wiped".to_owned())
}

#[cfg(test)]
mod tests;
