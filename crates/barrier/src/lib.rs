//! Bytes made secret: the only crate that holds the storage keys.
//!
//! **Invariant:** a [`Barrier`] exists only while unsealed; nothing asks whether it is sealed.
//! **Invariant:** what reaches storage through it is sealed with its place bound in, and names that
//! users chose are in no key. It knows neither requests nor mounts: a place is a string to it.

mod keyring;
mod names;
pub mod seal;
mod view;

pub use bailee_storage::{Error, Expect, Revision};
pub use keyring::{KEYRING_KEY, KeyStatus, RootKey};
pub use names::{NAMED_DEPTH_MAX, Names};
pub use view::{Opened, View};

use bailee_crypto::{mac::MacKey, random, sensitive};
use bailee_storage::{Backend, Batch, Write};
use keyring::{Keyring, ROOT_KEY, USAGE_KEY, USAGE_STEP, Usage};
use names::Listings;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::OwnedMutexGuard;
use zeroize::Zeroizing;

/// Where each restore of a snapshot leaves a fresh id, unsealed: it says nothing, and the keys may be of
/// others. Whoever acts outside on what is stored (deliveries) compares it with the one it acted on
/// last: another one means that storage went back, or is a copy of another server's.
pub const RESTORE_KEY: &str = "core/restore-id";

/// What a restore puts in the place of whatever the snapshot holds under these keys: a fresh mark of
/// it, and no count of what the key has sealed, as that went back with the rest. A count that cannot
/// be read counts as used up: whoever opens the storage next makes a new key first, wherever and
/// whenever that is.
pub fn restore_marks() -> [(String, Vec<u8>); 2] {
    let mark = random::uuid().to_string().into_bytes();
    [(RESTORE_KEY.to_owned(), mark), (USAGE_KEY.to_owned(), Vec::new())]
}

/// Places whose name key is kept ready; when there are more, it begins anew.
const NAME_KEYS_MAX: usize = 4096;

/// The open barrier. Dropping the last reference wipes its keys.
pub struct Barrier {
    backend: Arc<dyn Backend>,
    keyring: RwLock<Keyring>,
    /// Read on every request: looking one up waits for nobody.
    name_keys: RwLock<HashMap<String, Arc<MacKey>>>,
    listings: Listings,
    locks: Locks,
    /// Held while the stored keyring changes: two changes at once would lose one's keys.
    rekeying: tokio::sync::Mutex<()>,
    /// Sealings of the active key that storage counts already.
    reserved: AtomicU64,
}

impl Barrier {
    /// Makes the keys of a new storage and opens it. `beside` is written in the same batch: the
    /// seal's own configuration. Refused with a conflict when the storage has keys already.
    pub async fn create(
        backend: Arc<dyn Backend>,
        root: &RootKey,
        beside: Vec<Write>,
    ) -> Result<Arc<Barrier>, Error> {
        let first = Barrier::begin(backend, root, beside);
        first.commit().await?;
        Ok(first.barrier().clone())
    }

    /// The first unit of work of a new storage: its commit stores the new keys and `beside` together
    /// with all that was put through the view, or nothing. It is refused with a conflict when the
    /// storage has keys already.
    pub fn begin(backend: Arc<dyn Backend>, root: &RootKey, beside: Vec<Write>) -> View {
        let keyring = Keyring::generate();
        let mut plain = beside;
        let sealed = keyring.sealed(root).expect("a new keyring has a key");
        plain.push(Write::Put(KEYRING_KEY.to_owned(), sealed));
        let view = Barrier::with(backend, keyring).view("");
        view.put_bytes(ROOT_KEY, Zeroizing::new(root.expose().to_vec()));
        view.guard(Expect::Absent(KEYRING_KEY.to_owned()));
        view.put_plain(plain);
        view
    }

    /// Opens an existing storage. `None` when this is not its root key.
    pub async fn open(
        backend: Arc<dyn Backend>,
        root: &RootKey,
    ) -> Result<Option<Arc<Barrier>>, Error> {
        let Some(entry) = backend.get(KEYRING_KEY).await? else {
            return Err(Error::Corrupt("storage has no keyring".to_owned()));
        };
        let Some(mut keyring) = Keyring::open(root, &entry.bytes)? else { return Ok(None) };
        if let Some(usage) = backend.get(USAGE_KEY).await? {
            keyring.take_over(read_usage(&keyring, &usage.bytes));
        }
        Ok(Some(Barrier::with(backend, keyring)))
    }

    fn with(backend: Arc<dyn Backend>, keyring: Keyring) -> Arc<Barrier> {
        Arc::new(Barrier {
            backend,
            keyring: RwLock::new(keyring),
            name_keys: RwLock::default(),
            listings: Listings::default(),
            locks: Locks::default(),
            rekeying: tokio::sync::Mutex::default(),
            reserved: AtomicU64::new(0),
        })
    }

    /// Adds a key term that seals all new writes; older terms go on opening what they sealed.
    pub async fn rotate(&self) -> Result<KeyStatus, Error> {
        let _alone = self.rekeying.lock().await;
        // Read under the lock: a ring sealed with the root key of before would shut everyone out.
        let root = self.root_key().await?;
        let rotated = self.keyring.read().rotated()?;
        let usage = rotated.usage();
        let writes = vec![
            Write::Put(KEYRING_KEY.to_owned(), rotated.sealed(&root)?),
            Write::Put(USAGE_KEY.to_owned(), rotated.seal(USAGE_KEY, &view::encode(&usage))?),
        ];
        self.backend.commit(&Batch { expects: Vec::new(), writes }).await?;
        self.reserved.store(usage.reserved, Ordering::Relaxed);
        let status = rotated.status();
        *self.keyring.write() = rotated;
        Ok(status)
    }

    /// Seals the same keyring under another root key, in one batch with `beside`: from then on only
    /// the new one opens the storage.
    pub async fn rekey(&self, root: &RootKey, beside: Vec<Write>) -> Result<(), Error> {
        let _alone = self.rekeying.lock().await;
        let mut writes = beside;
        {
            let keyring = self.keyring.read();
            writes.push(Write::Put(KEYRING_KEY.to_owned(), keyring.sealed(root)?));
            let kept = keyring.seal(ROOT_KEY, root.expose())?;
            writes.push(Write::Put(ROOT_KEY.to_owned(), kept));
        }
        self.backend.commit(&Batch { expects: Vec::new(), writes }).await.map(|_| ())
    }

    /// Whether this is the key that opens the storage.
    pub async fn is_root_key(&self, key: &RootKey) -> Result<bool, Error> {
        let _alone = self.rekeying.lock().await;
        Ok(sensitive::equal(self.root_key().await?.expose(), key.expose()))
    }

    /// Whether a sealed keyring, of a snapshot, opens with the root key of now.
    pub async fn opens(&self, keyring: &[u8]) -> Result<bool, Error> {
        Ok(Keyring::open(&self.root_key().await?, keyring)?.is_some())
    }

    /// The key that opens the storage, for opening it again after all below was replaced.
    pub async fn root_key(&self) -> Result<RootKey, Error> {
        let missing = || Error::Corrupt("storage does not hold its root key".to_owned());
        let entry = self.backend.get(ROOT_KEY).await?.ok_or_else(missing)?;
        let bytes = self.keyring.read().unseal(ROOT_KEY, &entry.bytes)?;
        RootKey::from_bytes(&bytes).ok_or_else(missing)
    }

    /// The term in use and how much it has sealed.
    pub fn key_status(&self) -> KeyStatus {
        self.keyring.read().status()
    }

    /// Stores how much the active key has sealed and may seal until the next time, if what is stored
    /// is nearly used up: no restart forgets it. To be called once a minute or so.
    pub async fn note_usage(&self) -> Result<(), Error> {
        let _alone = self.rekeying.lock().await;
        let (usage, sealed) = {
            let keyring = self.keyring.read();
            let most = keyring.status().encryptions_max;
            if most.saturating_add(USAGE_STEP / 2) < self.reserved.load(Ordering::Relaxed) {
                return Ok(());
            }
            let usage = keyring.usage();
            (usage, keyring.seal(USAGE_KEY, &view::encode(&usage))?)
        };
        let write = Write::Put(USAGE_KEY.to_owned(), sealed);
        self.backend.commit(&Batch { expects: Vec::new(), writes: vec![write] }).await?;
        self.reserved.store(usage.reserved, Ordering::Relaxed);
        Ok(())
    }

    /// Wipes the keys and the names at hand while others still hold the barrier: whatever they do
    /// with it fails from here on.
    pub fn wipe(&self) {
        self.keyring.write().wipe();
        self.name_keys.write().clear();
        self.listings.clear();
    }

    /// The storage below, for a consistent copy of its ciphertext.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// A new unit of work on the keys under `prefix`, which ends in `/`.
    pub fn view(self: &Arc<Barrier>, prefix: &str) -> View {
        View::new(self.clone(), prefix)
    }

    /// A code over text that is stable for this storage and says nothing to whoever lacks the keys:
    /// for tokens, accessors and marks. Different purposes give unrelated codes.
    pub fn fingerprint(&self, purpose: &str, text: &[u8]) -> [u8; 32] {
        self.name_key(&format!("fingerprint:{purpose}")).sign(&[text])
    }

    /// Seals what clients carry instead of storage. It opens for the same purpose only, in this
    /// storage only, also after the active key was rotated.
    pub fn seal_carried(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        self.keyring.read().seal(&carried(purpose), plain)
    }

    /// Opens what [`Barrier::seal_carried`] sealed; `None` for anything else.
    pub fn open_carried(
        &self,
        purpose: &str,
        sealed: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        match self.keyring.read().unseal(&carried(purpose), sealed) {
            Ok(plain) => Ok(Some(plain)),
            Err(Error::Corrupt(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn name_key(&self, place: &str) -> Arc<MacKey> {
        if let Some(key) = self.name_keys.read().get(place) {
            return key.clone();
        }
        let keyring = self.keyring.read();
        let key = Arc::new(keyring.name_key(place));
        // Kept under the lock of the ring: a wipe must not be followed by a key it missed.
        let mut kept = self.name_keys.write();
        if kept.len() >= NAME_KEYS_MAX {
            kept.clear();
        }
        kept.insert(place.to_owned(), key.clone());
        key
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Barrier(..)")
    }
}

/// No storage key starts like this: what is carried opens nowhere in storage, and the reverse.
fn carried(purpose: &str) -> String {
    format!("carried:{purpose}")
}

/// A count that cannot be read counts as used up: then there is soon a new key.
fn read_usage(keyring: &Keyring, sealed: &[u8]) -> Usage {
    let read = keyring.unseal(USAGE_KEY, sealed).and_then(|text| view::decode(USAGE_KEY, &text));
    let term = keyring.status().term;
    read.unwrap_or(Usage { term, sealed: 0, reserved: u64::MAX })
}

/// One lock per key, while someone holds or wants it.
#[derive(Default)]
struct Locks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    async fn acquire(&self, key: &str) -> OwnedMutexGuard<()> {
        let lock = self.0.lock().entry(key.to_owned()).or_default().clone();
        lock.lock_owned().await
    }

    /// Forgets the lock when nobody else holds or wants it.
    fn release(&self, key: &str, guard: OwnedMutexGuard<()>) {
        let mut locks = self.0.lock();
        drop(guard);
        if locks.get(key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(key);
        }
    }
}
