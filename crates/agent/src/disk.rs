//! The encrypted file that carries secrets over a restart.
//!
//! It is written only where an operator asks for it and gives a key: one of systemd's credentials, or a file that
//! only its owner reads. AES-256-GCM over the whole content; the key is derived from the operator's bytes.
//!
//! ```text
//! bailee-agent-cache-2\n   nonce, ciphertext, tag
//! ```

use crate::{
    event,
    manager::{Fetched, Lease, Material, Newest, Wanted, Which},
    private_file::{self, Rule},
    store::{
        Store,
        keepsake::{Keepsake, Known, Memory},
    },
};
use bailee_client::Pass;
use bailee_crypto::{
    Sensitive,
    aead::AeadKey,
    clock::{from_millis, to_millis},
    mac,
};
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use zeroize::{Zeroize, Zeroizing};

/// How the file begins.
const MAGIC: &[u8] = b"bailee-agent-cache-2\n";
/// The fewest bytes of a key.
pub const KEY_BYTES_MIN: usize = 32;
/// The most bytes of a key file.
const KEY_BYTES_MAX: u64 = 4_096;
/// The largest cache that is read or written.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Changes within this time are written together.
const WRITE_AFTER: Duration = Duration::from_secs(1);
/// The longest time after which ages are written again.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// An encrypted cache.
pub struct DiskCache {
    path: PathBuf,
    key: AeadKey,
    leases: bool,
    /// Held while it is this agent that writes the file.
    lock: Mutex<Option<File>>,
    /// How often a store was looked at, and the newest look that is on the disk.
    looks: AtomicU64,
    written: Mutex<u64>,
}

/// What is written.
#[derive(Serialize, Deserialize)]
struct Content {
    secrets: Vec<Record>,
    places: Vec<RecordedPlace>,
}

/// What is written of a place.
#[derive(Serialize, Deserialize)]
struct RecordedPlace {
    manager: String,
    place: String,
    newest: Vec<RecordedNewest>,
    pass: Option<RecordedPass>,
}

/// A token, with milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct RecordedPass {
    token: String,
    renew_at: Option<u64>,
    ends_at: Option<u64>,
    renewable: bool,
}

#[derive(Serialize, Deserialize)]
struct RecordedLease {
    id: String,
    milliseconds: u64,
    renewable: bool,
}

#[derive(Serialize, Deserialize)]
struct RecordedNewest {
    id: String,
    version: String,
    created: u64,
}

/// What is written of a secret.
#[derive(Serialize, Deserialize)]
struct Record {
    manager: String,
    place: String,
    wanted: String,
    which: RecordedVersion,
    id: String,
    name: String,
    version: String,
    stages: Vec<String>,
    created: Option<u64>,
    at: u64,
    text: Option<String>,
    binary: Option<String>,
    versioned: bool,
    lease: Option<RecordedLease>,
}

#[derive(Serialize, Deserialize)]
enum RecordedVersion {
    Current,
    Stage(String),
    Id(String),
    IdAtStage { id: String, stage: String },
}

impl DiskCache {
    /// A cache in this file, under the key in that one, which `rule` says who may have.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the key file.
    pub fn new(path: &Path, key_file: &Path, rule: Rule) -> Result<DiskCache, String> {
        let bytes = private_file::read(key_file, KEY_BYTES_MAX, rule)?;
        DiskCache::under(path, &bytes)
            .ok_or_else(|| format!("{} holds less than {KEY_BYTES_MIN} bytes", key_file.display()))
    }

    fn under(path: &Path, key: &Sensitive<Vec<u8>>) -> Option<DiskCache> {
        let bytes = key.expose();
        if bytes.len() < KEY_BYTES_MIN {
            return None;
        }
        let key = AeadKey::new(&mac::derive(bytes, &[b"bailee agent cache"]));
        let (path, lock, written) = (path.to_owned(), Mutex::default(), Mutex::default());
        Some(DiskCache { path, key, leases: false, lock, looks: AtomicU64::new(0), written })
    }

    /// The same, in which leases and what they hang on are written, too, so that the next run goes on with them.
    #[must_use]
    pub fn with_leases(mut self, leases: bool) -> DiskCache {
        self.leases = leases;
        self
    }

    /// Whether leases are written.
    pub fn has_leases(&self) -> bool {
        self.leases
    }

    /// What an earlier run left; nothing where there is no file. Where another agent has the file, leases and what they
    /// hang on stay with that one.
    ///
    /// # Errors
    /// The file cannot be read, or was not written under this key.
    pub fn load(&self) -> Result<Memory, String> {
        let memory = self.read()?;
        if self.is_mine() {
            return Ok(memory);
        }
        event::cache_of_another(&self.path);
        Ok(memory.without_leases())
    }

    /// Whether no other agent writes the file; from then on none does.
    fn is_mine(&self) -> bool {
        let mut lock = self.lock.lock();
        if lock.is_some() {
            return true;
        }
        let mut path = self.path.as_os_str().to_owned();
        path.push(".lock");
        // Where it cannot be made, the file cannot be written, which is told then.
        let Ok(file) = private_file::shared(Path::new(&path)) else { return true };
        match file.try_lock() {
            Ok(()) => *lock = Some(file),
            Err(TryLockError::WouldBlock) => return false,
            // This file system has no locks.
            Err(TryLockError::Error(_)) => {}
        }
        true
    }

    fn read(&self) -> Result<Memory, String> {
        let shown = self.path.display();
        let length = match fs::metadata(&self.path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
            Err(error) => return Err(format!("{shown} cannot be read: {error}")),
        };
        if length > FILE_BYTES_MAX {
            return Err(format!("{shown} is longer than {FILE_BYTES_MAX} bytes"));
        }
        let bytes =
            fs::read(&self.path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        let sealed = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| format!("{shown} is no cache of an agent of this version"))?;
        let plain = self
            .key
            .open(MAGIC, sealed)
            .map_err(|_| format!("{shown} was not written under this key, or is damaged"))?;
        let content: Content = serde_json::from_slice(&plain)
            .map_err(|_| format!("{shown} holds something else than a cache"))?;
        Ok(content.memory())
    }

    /// Writes what is kept, in place of what was written before.
    ///
    /// # Errors
    /// The file is as it was.
    pub fn save(&self, memory: &Memory) -> io::Result<()> {
        let content = Content::of(memory);
        let mut plain = Zeroizing::new(Vec::with_capacity(content.room()));
        serde_json::to_writer(&mut *plain, &content)?;
        let mut sealed = MAGIC.to_vec();
        self.key.seal(MAGIC, &plain, &mut sealed);
        private_file::replace(&self.path, &sealed)
    }

    /// Writes what a store keeps whenever it changes, for ever. A full disk is told and tried again.
    pub async fn keep(self: Arc<Self>, store: Arc<Store>) {
        let mut changes = store.changes();
        changes.mark_unchanged();
        loop {
            let changed = async {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(WRITE_AFTER).await;
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(WRITE_EVERY) => {}
            }
            self.write(&store).await;
        }
    }

    /// Writes once, as when the agent ends; says whether all is on the disk. What another agent writes is left to it.
    pub async fn write(self: &Arc<Self>, store: &Arc<Store>) -> bool {
        if !self.is_mine() {
            return false;
        }
        let look = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
        let (cache, memory) = (self.clone(), store.memory(self.leases).await);
        match tokio::task::spawn_blocking(move || cache.save_look(look, &memory)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                event::cache_not_written(&self.path, &error);
                false
            }
            Err(_) => false,
        }
    }

    /// Nothing older comes after what is newer, as where somebody is still writing when the agent ends.
    fn save_look(&self, look: u64, memory: &Memory) -> io::Result<()> {
        let mut written = self.written.lock();
        if *written < look {
            self.save(memory)?;
            *written = look;
        }
        Ok(())
    }
}

impl std::fmt::Debug for DiskCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DiskCache({})", self.path.display())
    }
}

impl Content {
    fn of(memory: &Memory) -> Content {
        let newest = |newest: &Newest| RecordedNewest {
            id: newest.id.clone(),
            version: newest.version.clone(),
            created: to_millis(newest.created),
        };
        let places = memory.places.iter().map(|known| RecordedPlace {
            manager: known.manager.clone(),
            place: known.place.clone(),
            newest: known.newest.iter().map(newest).collect(),
            pass: known.pass.as_ref().map(|pass| RecordedPass {
                token: pass.token.expose().clone(),
                renew_at: pass.renew_at.map(to_millis),
                ends_at: pass.ends_at.map(to_millis),
                renewable: pass.renewable,
            }),
        });
        let places = places.collect();
        Content { secrets: memory.secrets.iter().map(Record::of).collect(), places }
    }

    fn memory(self) -> Memory {
        let newest = |newest: RecordedNewest| Newest {
            id: newest.id,
            version: newest.version,
            created: from_millis(newest.created),
        };
        let places = self.places.into_iter().map(|place| Known {
            manager: place.manager,
            place: place.place,
            newest: place.newest.into_iter().map(newest).collect(),
            pass: place.pass.map(|mut pass| Pass {
                token: Sensitive::new(std::mem::take(&mut pass.token)),
                renew_at: pass.renew_at.map(from_millis),
                ends_at: pass.ends_at.map(from_millis),
                renewable: pass.renewable,
            }),
        });
        let places = places.collect();
        Memory { secrets: self.secrets.into_iter().filter_map(Record::keepsake).collect(), places }
    }

    /// Bytes that it takes at most, so that its buffer does not grow and leave copies behind.
    fn room(&self) -> usize {
        let secrets = self.secrets.iter().map(|record| {
            let value = record.text.as_ref().or(record.binary.as_ref()).map_or(0, String::len);
            // A control character is written as six.
            let lease = record.lease.as_ref().map_or(0, |lease| lease.id.len());
            value * 6 + record.id.len() * 12 + (record.place.len() + lease) * 6 + 1_024
        });
        let places = self.places.iter().map(|place| {
            let newest = place.newest.iter();
            let newest = newest.map(|one| (one.id.len() + one.version.len()) * 6 + 128);
            let pass = place.pass.as_ref().map_or(0, |pass| pass.token.len());
            (place.manager.len() + place.place.len() + pass) * 6 + 512 + newest.sum::<usize>()
        });
        secrets.sum::<usize>() + places.sum::<usize>() + 64
    }
}

impl Record {
    fn of(keepsake: &Keepsake) -> Record {
        let fetched = &keepsake.fetched;
        let (text, binary) = match &fetched.material {
            Material::Text(text) => (Some(text.expose().clone()), None),
            Material::Binary(bytes) => (None, Some(BASE64.encode(bytes.expose()))),
        };
        Record {
            manager: keepsake.manager.clone(),
            place: keepsake.place.clone(),
            wanted: keepsake.wanted.id.clone(),
            which: match keepsake.wanted.version.clone() {
                Which::Current => RecordedVersion::Current,
                Which::Stage(stage) => RecordedVersion::Stage(stage),
                Which::Id(id) => RecordedVersion::Id(id),
                Which::IdAtStage { id, stage } => RecordedVersion::IdAtStage { id, stage },
            },
            id: fetched.id.clone(),
            name: fetched.name.clone(),
            version: fetched.version.clone(),
            stages: fetched.stages.clone(),
            created: fetched.created.map(to_millis),
            at: to_millis(keepsake.at),
            text,
            binary,
            versioned: fetched.versioned,
            lease: fetched.lease.as_ref().map(|lease| RecordedLease {
                id: lease.id.clone(),
                milliseconds: u64::try_from(lease.duration.as_millis()).unwrap_or(u64::MAX),
                renewable: lease.renewable,
            }),
        }
    }

    fn keepsake(mut self) -> Option<Keepsake> {
        let material = match (self.text.take(), self.binary.take()) {
            (Some(text), None) => Material::text(text),
            (None, Some(encoded)) => {
                let encoded = Zeroizing::new(encoded);
                Material::binary(BASE64.decode(encoded.as_bytes()).ok()?)
            }
            _ => return None,
        };
        let take = std::mem::take::<String>;
        let which = std::mem::replace(&mut self.which, RecordedVersion::Current);
        Some(Keepsake {
            manager: take(&mut self.manager),
            place: take(&mut self.place),
            wanted: Wanted {
                id: take(&mut self.wanted),
                version: match which {
                    RecordedVersion::Current => Which::Current,
                    RecordedVersion::Stage(stage) => Which::Stage(stage),
                    RecordedVersion::Id(id) => Which::Id(id),
                    RecordedVersion::IdAtStage { id, stage } => Which::IdAtStage { id, stage },
                },
            },
            fetched: Fetched {
                id: take(&mut self.id),
                name: take(&mut self.name),
                version: take(&mut self.version),
                stages: std::mem::take(&mut self.stages),
                created: self.created.map(from_millis),
                material,
                versioned: self.versioned,
                lease: self.lease.take().map(|lease| Lease {
                    id: lease.id,
                    duration: Duration::from_millis(lease.milliseconds),
                    renewable: lease.renewable,
                }),
            },
            at: from_millis(self.at),
        })
    }
}

impl Drop for RecordedPass {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.text.zeroize();
        self.binary.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::Freshness,
        testing::{FakeManager, store_over},
    };
    use std::os::unix::fs::PermissionsExt as _;

    fn key(folder: &Path, content: &[u8]) -> PathBuf {
        let path = folder.join("key");
        private_file::replace(&path, content).unwrap();
        path
    }

    async fn filled() -> Arc<Store> {
        let store = store_over(FakeManager::with(&[("a", "canary-one\u{1}"), ("b", "canary-two")]));
        for id in ["a", "b"] {
            store.get("m", &Wanted::current(id), Freshness::Kept).await.unwrap();
        }
        store
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_is_read_back_and_shows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let key = key(folder.path(), &[7; 32]);
        let cache = DiskCache::new(&folder.path().join("cache"), &key, Rule::OWN).unwrap();
        assert!(cache.load().unwrap().secrets.is_empty());
        let mut kept = filled().await.memory(false).await;
        let mut binary = kept.secrets[0].clone();
        binary.fetched.material = Material::binary([0, 159, 1]);
        binary.wanted.version = Which::Stage("AWSPREVIOUS".to_owned());
        binary.fetched.versioned = true;
        let duration = Duration::from_secs(90);
        binary.fetched.lease = Some(Lease { id: "l".to_owned(), duration, renewable: true });
        kept.secrets.push(binary);
        let newest = Newest {
            id: "arn:a".to_owned(),
            version: "v".to_owned(),
            created: from_millis(1_790_000_000_123),
        };
        let (manager, place) = ("m".to_owned(), "fake/here/me".to_owned());
        let pass = Pass {
            token: Sensitive::from("canary-token"),
            renew_at: Some(from_millis(1_790_000_000_000)),
            ends_at: None,
            renewable: true,
        };
        kept.places.push(Known { manager, place, newest: vec![newest], pass: Some(pass) });
        cache.save(&kept).unwrap();
        let raw = fs::read(folder.path().join("cache")).unwrap();
        assert!(!raw.windows(6).any(|part| part == b"canary"));
        let mode = fs::metadata(folder.path().join("cache")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let back = cache.load().unwrap();
        assert_eq!(back.places, kept.places);
        assert_eq!(back.secrets.len(), 3);
        for (back, kept) in back.secrets.iter().zip(&kept.secrets) {
            assert_eq!(back.fetched.material, kept.fetched.material);
            assert_eq!((&back.wanted, &back.place, back.at), (&kept.wanted, &kept.place, kept.at));
            assert_eq!(back.fetched.version, kept.fetched.version);
            assert_eq!(back.fetched.versioned, kept.fetched.versioned);
            assert_eq!(back.fetched.lease, kept.fetched.lease);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_key_and_a_damaged_file_are_told_and_open_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let cache = DiskCache::new(&path, &key(folder.path(), &[7; 32]), Rule::OWN).unwrap();
        cache.save(&filled().await.memory(false).await).unwrap();
        let other = DiskCache::new(&path, &key(folder.path(), &[8; 32]), Rule::OWN).unwrap();
        assert!(other.load().unwrap_err().contains("not written under this key"));
        let good = fs::read(&path).unwrap();
        for place in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(&path, bad).unwrap();
            assert!(cache.load().is_err(), "byte {place}");
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(cache.load().is_err());
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_short_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = key(folder.path(), &[7; 31]);
        let told = DiskCache::new(&folder.path().join("c"), &path, Rule::OWN).unwrap_err();
        assert!(told.ends_with("holds less than 32 bytes"), "{told}");
        let path = key(folder.path(), &[7; 32]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let told = DiskCache::new(&folder.path().join("c"), &path, Rule::OWN).unwrap_err();
        assert!(told.contains("has mode 0640") && told.contains("chmod 0600"), "{told}");
        assert!(DiskCache::new(&folder.path().join("c"), folder.path(), Rule::OWN).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn two_agents_do_not_go_on_with_the_same_leases() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("cache"), key(folder.path(), &[7; 32]));
        let open = || Arc::new(DiskCache::new(&path, &key, Rule::OWN).unwrap().with_leases(true));
        let (manager, duration) = (FakeManager::with(&[("a", "one")]), Duration::from_secs(90));
        let lease = Lease { id: "l".to_owned(), duration, renewable: true };
        let store = store_over(manager.clone());
        store.get("m", &Wanted::current("a"), Freshness::Kept).await.unwrap();
        manager.lease(Some(lease), Some(duration));
        manager.set("b", "two");
        store.get("m", &Wanted::current("b"), Freshness::Kept).await.unwrap();
        let first = open();
        assert!(first.load().unwrap().secrets.is_empty());
        assert!(first.write(&store).await);
        let second = open();
        let shared = second.load().unwrap();
        assert_eq!(shared.secrets.len(), 1);
        assert!(shared.secrets[0].fetched.lease.is_none() && shared.places.is_empty());
        assert!(!second.write(&store_over(manager)).await);
        drop(first);
        assert_eq!(open().load().unwrap().secrets.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_is_not_written_over_what_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let key = key(folder.path(), &[7; 32]);
        let cache = DiskCache::new(&folder.path().join("cache"), &key, Rule::OWN).unwrap();
        cache.save_look(2, &filled().await.memory(false).await).unwrap();
        cache.save_look(1, &Memory::default()).unwrap();
        assert_eq!(cache.load().unwrap().secrets.len(), 2);
        cache.save_look(3, &Memory::default()).unwrap();
        assert_eq!(cache.load().unwrap().secrets.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_is_written_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let key = key(folder.path(), &[7; 32]);
        let cache =
            Arc::new(DiskCache::new(&folder.path().join("cache"), &key, Rule::OWN).unwrap());
        let store = filled().await;
        let keeping = tokio::spawn(cache.clone().keep(store.clone()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        store.get("m", &Wanted::current("a"), Freshness::Now).await.unwrap();
        tokio::time::sleep(Duration::from_secs(61)).await;
        while cache.load().unwrap().secrets.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(cache.load().unwrap().secrets.len(), 2);
        keeping.abort();
    }
}
