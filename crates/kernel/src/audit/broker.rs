//! Lines to all devices at once.

use super::{
    AuditDevice, Audited, Trace,
    entry::{self, Around},
    hash::Hasher,
    options::Style,
};
use crate::{Answer, Call, event};
use arc_swap::ArcSwap;
use bailee_barrier::Barrier;
use bailee_sdk::Error;
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};
use zeroize::Zeroizing;

/// A device and how it shows things.
pub(super) struct Enabled {
    pub(super) device: Arc<dyn AuditDevice>,
    pub(super) hasher: Hasher,
}

/// Writes lines to every device.
pub(crate) struct Broker {
    devices: ArcSwap<Vec<Arc<Enabled>>>,
    headers: ArcSwap<Audited>,
    /// The version of all engines.
    version: String,
}

impl Broker {
    /// With the devices that the program brings, each with its own key for codes.
    pub(crate) fn new(
        barrier: &Barrier,
        devices: &[Arc<dyn AuditDevice>],
        version: &str,
    ) -> Broker {
        let enabled = |device: &Arc<dyn AuditDevice>| {
            let key = barrier.fingerprint("audit device", device.name().as_bytes());
            let hasher = Hasher::new(&key, Style::default());
            Arc::new(Enabled { device: device.clone(), hasher })
        };
        let devices = devices.iter().map(enabled).collect();
        Broker {
            devices: ArcSwap::from_pointee(devices),
            headers: ArcSwap::default(),
            version: format!("v{version}+builtin"),
        }
    }

    /// The line before the effect. An error means that the request must not go on.
    pub(crate) async fn request(
        &self,
        trace: &Trace,
        call: &Call,
        refusal: Option<&Error>,
    ) -> Result<(), Error> {
        self.write(trace, |around, hasher| entry::request(trace, call, refusal, around, hasher))
            .await
    }

    /// The line on the way out. An error means that the answer must not leave.
    pub(crate) async fn response(
        &self,
        trace: &Trace,
        call: &Call,
        outcome: &Result<Answer, Error>,
    ) -> Result<(), Error> {
        self.write(trace, |around, hasher| entry::response(trace, call, outcome, around, hasher))
            .await
    }

    /// A line for an effect of the system outside.
    pub(crate) async fn effect(
        &self,
        trace: &Trace,
        call: &Call,
        what: &str,
        detail: &Map<String, Value>,
    ) -> Result<(), Error> {
        self.write(trace, |around, hasher| entry::effect(trace, call, what, detail, around, hasher))
            .await
    }

    /// The audited headers, if there is a line in which they could appear.
    pub(crate) fn headers(&self) -> Option<Arc<Audited>> {
        if self.devices.load().is_empty() {
            return None;
        }
        Some(self.headers.load_full())
    }

    /// The audited headers.
    pub(super) fn all_headers(&self) -> Arc<Audited> {
        self.headers.load_full()
    }

    pub(super) fn set_headers(&self, headers: Audited) {
        self.headers.store(Arc::new(headers));
    }

    /// The line that tries a device.
    pub(super) fn test_line(
        &self,
        trace: &Trace,
        call: &Call,
        hasher: &Hasher,
    ) -> Zeroizing<Vec<u8>> {
        let audited = self.headers.load();
        let around = Around { audited: &audited, version: &self.version };
        entry::request(trace, call, None, &around, hasher)
    }

    /// The device with this name.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Enabled>> {
        self.devices.load().iter().find(|enabled| enabled.device.name() == name).cloned()
    }

    pub(super) fn add(&self, enabled: Enabled) {
        let enabled = Arc::new(enabled);
        self.devices.rcu(|devices| {
            let mut devices = Vec::clone(devices);
            devices.push(enabled.clone());
            devices
        });
    }

    pub(super) fn remove(&self, name: &str) {
        self.devices.rcu(|devices| {
            let kept = devices.iter().filter(|enabled| enabled.device.name() != name);
            kept.cloned().collect::<Vec<_>>()
        });
    }

    /// Opens all places anew, after files were moved away.
    pub(crate) fn reopen(&self) {
        for enabled in self.devices.load().iter() {
            enabled.device.reopen();
        }
    }

    /// At least one device must take the line, if there are any. All that work are waited for, so
    /// that none of them lags behind the answer; one that fails delays nobody.
    async fn write(
        &self,
        trace: &Trace,
        line: impl Fn(&Around<'_>, &Hasher) -> Zeroizing<Vec<u8>>,
    ) -> Result<(), Error> {
        let devices = self.devices.load_full();
        if devices.is_empty() {
            return Ok(());
        }
        let audited = self.headers.load_full();
        let around = Around { audited: &audited, version: &self.version };
        let mut well = 0;
        let mut waiting = FuturesUnordered::new();
        for enabled in devices.iter() {
            let is_well = !enabled.device.is_ailing();
            well += usize::from(is_well);
            let handed = enabled.device.write(trace.time, &line(&around, &enabled.hasher));
            waiting.push(async move { (enabled, is_well, handed.await) });
        }
        let mut written = false;
        while let Some((enabled, is_well, outcome)) = waiting.next().await {
            well -= usize::from(is_well);
            match outcome {
                Ok(()) => written = true,
                Err(error) => event::audit_failed(enabled.device.name(), &error),
            }
            if written && well == 0 {
                break;
            }
        }
        if written {
            return Ok(());
        }
        Err(Error::internal("no audit device could record the request"))
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({} devices)", self.devices.load().len())
    }
}
