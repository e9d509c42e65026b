//! The devices and audited headers at rest, and their coming and going.

use super::{
    AuditDevice, Broker, Trace,
    broker::Enabled,
    file::OwnFiles,
    hash::Hasher,
    headers::Audited,
    options::{Described, Style},
};
use crate::{event, handle, mount};
use bailee_barrier::{Barrier, View};
use bailee_crypto::{Clock, random};
use bailee_sdk::{Error, Namespace, Operation};
use futures_util::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use serde_json::Map;
use std::{collections::BTreeMap, fmt, io, path::PathBuf, sync::Arc, time::SystemTime};

/// Devices that can be enabled.
const DEVICES_MAX: usize = 32;
/// Bytes of a device's description and options together.
const DEVICE_BYTES_MAX: usize = 64 << 10;
/// All devices, in one value: they are few and change together with nothing else.
const DEVICES: &str = "devices";
/// The audited headers, once they have been changed.
const HEADERS: &str = "headers";
/// The path in the line that tries a device.
const TEST_PATH: &str = "sys/audit/test";

/// A device as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeviceEntry {
    /// Its name, with a final `/`.
    pub(super) path: String,
    /// `file`, `socket` or `syslog`.
    pub(super) kind: String,
    /// What its owner says about it.
    pub(super) description: String,
    /// As given.
    pub(super) options: BTreeMap<String, String>,
    /// As given; means nothing on one cluster.
    pub(super) local: bool,
    /// New each time it is enabled: the key of its codes is made from it.
    uuid: String,
}

/// What is wished for.
pub(super) struct Wanted {
    pub(super) path: String,
    pub(super) kind: String,
    pub(super) description: String,
    pub(super) options: BTreeMap<String, String>,
    pub(super) local: bool,
}

/// The devices and audited headers at rest.
pub(crate) struct AuditStore {
    barrier: Arc<Barrier>,
    broker: Arc<Broker>,
    clock: Arc<dyn Clock>,
    own: OwnFiles,
    /// Held while devices or headers change: what is stored and what serves change together.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl AuditStore {
    /// Reads what is stored and starts the devices. One that cannot be opened now is there all the
    /// same: it fails, and is tried again with each line.
    pub(crate) async fn load(
        barrier: Arc<Barrier>,
        broker: Arc<Broker>,
        clock: Arc<dyn Clock>,
        own: &[PathBuf],
    ) -> Result<AuditStore, Error> {
        let own = Arc::new(own.to_vec());
        let store = AuditStore { barrier, broker, clock, own, changing: Arc::default() };
        let view = store.view();
        for entry in devices(&view).await? {
            store.broker.add(store.started(&entry));
        }
        if let Some(headers) = view.get::<Audited>(HEADERS).await? {
            store.broker.set_headers(headers);
        }
        Ok(store)
    }

    /// All devices, sorted by path.
    pub(super) async fn list(&self) -> Result<Vec<DeviceEntry>, Error> {
        devices(&self.view()).await
    }

    /// Enables a device, once it has taken a test line. It serves from here on.
    pub(super) async fn enable(&self, wanted: Wanted) -> Result<(), Error> {
        let path = mount::clean_path(&wanted.path)?;
        let described = Described::parse(&wanted.kind, &wanted.options)?;
        let alone = self.changing.clone().lock_owned().await;
        let view = self.view();
        let mut entries = devices(&view).await?;
        let is_taken = |known: &str| known.starts_with(&path) || path.starts_with(known);
        if entries.iter().any(|entry| is_taken(&entry.path)) || self.broker.find(&path).is_some() {
            return Err(Error::invalid("path already in use: invalid configuration"));
        }
        if entries.len() >= DEVICES_MAX {
            return Err(Error::invalid(format!("there are {DEVICES_MAX} audit devices already")));
        }
        let Wanted { kind, description, options, local, .. } = wanted;
        let uuid = random::uuid().to_string();
        let entry = DeviceEntry { path, kind, description, options, local, uuid: uuid.clone() };
        entry.check_size()?;
        let enabled = self.try_out(&entry, &described).await?;
        entries.push(entry);
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        self.put_devices(&view, &entries).await?;
        let broker = self.broker.clone();
        // A task of its own: a client that goes away must not leave a stored device unused.
        let work = tokio::spawn(async move {
            let outcome = view.commit().await;
            // A commit that failed may have landed: what is stored must serve.
            let is_stored = match (&outcome, devices(&view).await) {
                (Ok(_), _) => true,
                (Err(_), Ok(entries)) => entries.iter().any(|entry| entry.uuid == uuid),
                (Err(_), Err(_)) => false,
            };
            if is_stored {
                broker.add(enabled);
            }
            drop(alone);
            if is_stored { Ok(()) } else { outcome.map(drop) }
        });
        work.await.map_err(Error::internal)??;
        Ok(())
    }

    /// Disables a device; an unknown one is fine.
    pub(super) async fn disable(&self, path: &str) -> Result<(), Error> {
        let path = mount::clean_path(path)?;
        let alone = self.changing.clone().lock_owned().await;
        let view = self.view();
        let mut entries = devices(&view).await?;
        entries.retain(|entry| entry.path != path);
        self.put_devices(&view, &entries).await?;
        let broker = self.broker.clone();
        let work = tokio::spawn(async move {
            view.commit().await?;
            broker.remove(&path);
            drop(alone);
            Ok::<_, bailee_barrier::Error>(())
        });
        work.await.map_err(Error::internal)??;
        Ok(())
    }

    /// The code that a device shows for a text.
    pub(super) fn hash(&self, path: &str, text: &str) -> Result<String, Error> {
        let path = format!("{}/", path.trim_matches('/'));
        match self.broker.find(&path) {
            Some(enabled) => Ok(enabled.hasher.code(text)),
            None => Err(Error::invalid(format!("unknown audit backend {path:?}"))),
        }
    }

    /// The audited headers.
    pub(super) fn headers(&self) -> Arc<Audited> {
        self.broker.all_headers()
    }

    /// Changes the audited headers.
    pub(super) async fn change_headers(
        &self,
        change: impl FnOnce(&mut Audited) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let alone = self.changing.clone().lock_owned().await;
        let mut headers = Audited::clone(&self.broker.all_headers());
        change(&mut headers)?;
        let view = self.view();
        view.put(HEADERS, &headers);
        let broker = self.broker.clone();
        let work = tokio::spawn(async move {
            view.commit().await?;
            broker.set_headers(headers);
            drop(alone);
            Ok::<_, bailee_barrier::Error>(())
        });
        work.await.map_err(Error::internal)??;
        Ok(())
    }

    /// A device that was enabled earlier. What this server cannot make of it is there as well, and
    /// fails: nothing may pass unrecorded because of it.
    fn started(&self, entry: &DeviceEntry) -> Enabled {
        let described = Described::parse(&entry.kind, &entry.options);
        let style = described.as_ref().map(|described| described.style).unwrap_or_default();
        let started = described
            .map_err(io::Error::other)
            .and_then(|described| described.start(&entry.path, self.own.clone()));
        let device: Arc<dyn AuditDevice> = match started {
            Ok(outlet) => Arc::new(outlet),
            Err(error) => {
                event::audit_device_fails(&entry.path, &error);
                Arc::new(Unusable { name: entry.path.clone(), reason: error.to_string() })
            }
        };
        self.enabled(entry, style, device)
    }

    /// Starts a device and has it take a line.
    async fn try_out(&self, entry: &DeviceEntry, described: &Described) -> Result<Enabled, Error> {
        let started = described.start(&entry.path, self.own.clone());
        let device = Arc::new(started.map_err(Error::internal)?);
        let enabled = self.enabled(entry, described.style, device);
        if described.skip_test {
            return Ok(enabled);
        }
        let id = random::uuid().to_string();
        let mut call = handle::system_call(id, "", TEST_PATH, Map::new());
        call.operation = Operation::Update;
        let now = self.clock.now();
        let line = self.broker.test_line(&Trace::new(&call, now), &call, &enabled.hasher);
        match enabled.device.write(now, &line).await {
            Ok(()) => Ok(enabled),
            Err(error) => Err(Error::invalid(error.to_string())),
        }
    }

    fn enabled(&self, entry: &DeviceEntry, style: Style, device: Arc<dyn AuditDevice>) -> Enabled {
        let key = self.barrier.fingerprint("audit device salt", entry.uuid.as_bytes());
        Enabled { device, hasher: Hasher::new(&key, style) }
    }

    /// Stores the devices when the unit commits, if they are still what was read.
    async fn put_devices(&self, view: &View, entries: &[DeviceEntry]) -> Result<(), Error> {
        match view.get_at::<Vec<DeviceEntry>>(DEVICES).await? {
            Some((_, Some(revision))) => view.expect(DEVICES, revision),
            _ => view.expect_absent(DEVICES),
        }
        view.put(DEVICES, entries);
        Ok(())
    }

    fn view(&self) -> View {
        self.barrier.view(&format!("{}audit/", Namespace::root().prefix()))
    }
}

/// A stored device that cannot be started.
struct Unusable {
    name: String,
    reason: String,
}

impl AuditDevice for Unusable {
    fn name(&self) -> &str {
        &self.name
    }

    fn write(&self, _time: SystemTime, _line: &[u8]) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Err(io::Error::other(self.reason.clone()))).boxed()
    }

    fn is_ailing(&self) -> bool {
        true
    }
}

impl DeviceEntry {
    fn check_size(&self) -> Result<(), Error> {
        let options = self.options.iter().map(|(name, value)| name.len() + value.len());
        if self.description.len() + options.sum::<usize>() > DEVICE_BYTES_MAX {
            return Err(Error::invalid(format!(
                "description and options are longer than {DEVICE_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }
}

async fn devices(view: &View) -> Result<Vec<DeviceEntry>, Error> {
    Ok(view.get(DEVICES).await?.unwrap_or_default())
}

impl fmt::Debug for AuditStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditStore(..)")
    }
}
