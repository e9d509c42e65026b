//! Who asked for what, and what came of it: a line before the effect and one on every way out.
//!
//! **Invariant:** no secret is in a line. Tokens, accessors and every text or number of input and
//! answer appear as keyed codes, with a key of each device.

mod entry;
mod file;
mod hash;

pub use file::FileDevice;

use crate::{Answer, Call, event, handle::Asker, policy::Verdict, registry::Mounted, token::Token};
use async_trait::async_trait;
use bailee_barrier::Barrier;
use bailee_sdk::{Error, Namespace, Operation};
use hash::Hasher;
use serde_json::{Map, Value};
use std::{fmt, io, sync::Arc, time::SystemTime};

/// Where audit lines go.
#[async_trait]
pub trait AuditDevice: Send + Sync {
    /// Its name among the devices, such as `file/`. The key of its codes belongs to the name.
    fn name(&self) -> &str;

    /// Writes one line, which comes without its end. When it returns the line is with the device.
    async fn write(&self, line: &[u8]) -> io::Result<()>;
}

/// What becomes known of a request on its way.
#[derive(Clone)]
pub(crate) struct Trace {
    time: SystemTime,
    operation: Operation,
    namespace: Namespace,
    path: String,
    mounted: Option<Arc<Mounted>>,
    token: Option<Arc<Token>>,
    /// Policies that the entity behind the token adds.
    identity_policies: Vec<String>,
    system: Option<String>,
    verdict: Option<Verdict>,
    last_use: Option<Arc<Token>>,
}

impl Trace {
    pub(crate) fn new(call: &Call, time: SystemTime) -> Trace {
        Trace {
            time,
            operation: call.operation,
            namespace: Namespace::root(),
            path: call.path.clone(),
            mounted: None,
            token: None,
            identity_policies: Vec::new(),
            system: None,
            verdict: None,
            last_use: None,
        }
    }

    /// The namespace is known, and the path in it.
    pub(crate) fn resolved(&mut self, namespace: &Namespace, path: &str) {
        self.namespace = namespace.clone();
        path.clone_into(&mut self.path);
    }

    /// The mount is known.
    pub(crate) fn mounted(&mut self, mounted: &Arc<Mounted>) {
        self.mounted = Some(mounted.clone());
    }

    /// The caller is known.
    pub(crate) fn asked_by(&mut self, asker: &Asker) {
        match asker {
            Asker::Nobody => {}
            Asker::Token(token, rights) => {
                self.token = Some(token.clone());
                self.identity_policies = rights.identity_policies().to_vec();
            }
            Asker::System(caller) => self.system = Some(caller.display_name.clone()),
        }
    }

    /// The right is known.
    pub(crate) fn judged(&mut self, operation: Operation, verdict: &Verdict) {
        self.operation = operation;
        self.verdict = Some(verdict.clone());
    }

    /// This request is the last that the token is good for.
    pub(crate) fn last_use(&mut self, token: &Arc<Token>) {
        self.last_use = Some(token.clone());
    }

    /// The token that ends with this request.
    pub(crate) fn last_use_of(&self) -> Option<&Arc<Token>> {
        self.last_use.as_ref()
    }
}

/// Writes lines to every device.
pub(crate) struct Broker {
    devices: Vec<(Arc<dyn AuditDevice>, Hasher)>,
}

impl Broker {
    /// The devices, each with its own key for codes.
    pub(crate) fn new(barrier: &Barrier, devices: &[Arc<dyn AuditDevice>]) -> Broker {
        let hasher = |device: &Arc<dyn AuditDevice>| {
            Hasher::new(&barrier.fingerprint("audit device", device.name().as_bytes()))
        };
        let devices = devices.iter().map(|device| (device.clone(), hasher(device))).collect();
        Broker { devices }
    }

    /// The line before the effect. An error means that the request must not go on.
    pub(crate) async fn request(
        &self,
        trace: &Trace,
        call: &Call,
        refusal: Option<&Error>,
    ) -> Result<(), Error> {
        self.write(trace, |hasher| entry::request(trace, call, refusal, hasher)).await
    }

    /// The line on the way out. An error means that the answer must not leave.
    pub(crate) async fn response(
        &self,
        trace: &Trace,
        call: &Call,
        outcome: &Result<Answer, Error>,
    ) -> Result<(), Error> {
        self.write(trace, |hasher| entry::response(trace, call, outcome, hasher)).await
    }

    /// A line for an effect of the system outside.
    pub(crate) async fn effect(
        &self,
        trace: &Trace,
        call: &Call,
        what: &str,
        detail: &Map<String, Value>,
    ) -> Result<(), Error> {
        self.write(trace, |hasher| entry::effect(trace, call, what, detail, hasher)).await
    }

    /// At least one device must take the line, if there are any.
    async fn write(&self, trace: &Trace, line: impl Fn(&Hasher) -> Value) -> Result<(), Error> {
        if self.devices.is_empty() {
            return Ok(());
        }
        let mut written = 0;
        for (device, hasher) in &self.devices {
            let line = line(hasher).to_string();
            match device.write(line.as_bytes()).await {
                Ok(()) => written += 1,
                Err(error) => event::audit_failed(device.name(), &error),
            }
        }
        if written == 0 {
            return Err(Error::internal(format!(
                "no audit device could record a request at {:?}",
                trace.mounted.as_ref().map(|mounted| mounted.mount.path.as_str())
            )));
        }
        Ok(())
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({} devices)", self.devices.len())
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({})", self.operation.name())
    }
}

/// The trace of something the system does itself.
pub(crate) fn system_trace(
    name: &str,
    namespace: &Namespace,
    call: &Call,
    time: SystemTime,
) -> Trace {
    let mut trace = Trace::new(call, time);
    trace.resolved(namespace, &call.path);
    trace.system = Some(name.to_owned());
    trace
}
