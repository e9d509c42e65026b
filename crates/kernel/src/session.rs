//! One time between unsealing and sealing, for those who work beside requests.

use crate::{
    Answer, Call,
    audit::{self, Trace},
    handle::{self, Admitted, Asker},
    identity::{self, Workload},
    kernel::Kernel,
};
use bailee_barrier::Barrier;
use bailee_crypto::random;
use bailee_sdk::{Error, Mounts, Namespace, Operation, Sensitive};
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};
use tokio::sync::watch;

/// The open storage and what it serves. Whoever holds one drops it when [`crate::Core::sessions`]
/// says that it is over: the keys live as long as it does.
#[derive(Clone)]
pub struct Session {
    kernel: Arc<Kernel>,
}

impl Session {
    pub(crate) fn new(kernel: Arc<Kernel>) -> Session {
        Session { kernel }
    }

    /// The open barrier.
    pub fn barrier(&self) -> Arc<Barrier> {
        self.kernel.barrier.clone()
    }

    /// Woken after each batch that notes changed secrets, and when mounts change.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.kernel.changed.subscribe()
    }

    /// All namespaces, the root first.
    pub async fn namespaces(&self) -> Result<Vec<Namespace>, Error> {
        self.kernel.registry.refresh().await?;
        let places = self.kernel.registry.places();
        Ok(places.iter().map(|place| (*place.namespace).clone()).collect())
    }

    /// The secrets mounts of a namespace as of now; none when it is gone.
    pub fn mounts(&self, namespace: &Namespace) -> Mounts {
        let places = self.kernel.registry.places();
        places.with_id(&namespace.id).map(|place| place.secrets.clone()).unwrap_or_default()
    }

    /// Reads exactly this path as the system caller `name`: routed and audited like any request,
    /// without a token. `input` is what would stand in the query. Not found when nothing is there.
    pub async fn read_as_system(
        &self,
        name: &str,
        namespace: &Namespace,
        path: &str,
        input: Map<String, Value>,
    ) -> Result<Answer, Error> {
        self.ask_as_system(name, namespace, Operation::Read, path, input).await
    }

    /// The same for a list.
    pub async fn list_as_system(
        &self,
        name: &str,
        namespace: &Namespace,
        path: &str,
    ) -> Result<Answer, Error> {
        self.ask_as_system(name, namespace, Operation::List, path, Map::new()).await
    }

    async fn ask_as_system(
        &self,
        name: &str,
        namespace: &Namespace,
        operation: Operation,
        path: &str,
        input: Map<String, Value>,
    ) -> Result<Answer, Error> {
        let kernel = &self.kernel;
        let id = random::uuid().to_string();
        let call = Call { operation, ..handle::system_call(id, &namespace.path, path, input) };
        let mut trace = audit::system_trace(name, namespace, &call, kernel.clock.now());
        let admitted = self.admit(name, namespace, operation, path, &mut trace).await;
        kernel.audit.request(&trace, &call, admitted.as_ref().err()).await?;
        let outcome = match admitted {
            Ok(admitted) => kernel.run(&call, admitted).await,
            Err(refusal) => Err(refusal),
        };
        kernel.audit.response(&trace, &call, &outcome).await?;
        outcome
    }

    /// These secrets of a KV mount, by codes that are the same each time, are kept at clouds: they
    /// count as clients of this month, where clients are counted.
    pub async fn synced(
        &self,
        namespace: &Namespace,
        mount_path: &str,
        secrets: &[u64],
    ) -> Result<(), Error> {
        self.kernel.activity.synced(namespace, mount_path, secrets).await
    }

    /// An audit line of the system for an effect outside, such as a delivery. Fails when no device
    /// can write: then the effect must not happen.
    pub async fn audit_system(
        &self,
        name: &str,
        namespace: &Namespace,
        what: &str,
        path: &str,
        detail: &Map<String, Value>,
    ) -> Result<(), Error> {
        let id = random::uuid().to_string();
        let call = handle::system_call(id, &namespace.path, path, Map::new());
        let trace = audit::system_trace(name, namespace, &call, self.kernel.clock.now());
        self.kernel.audit.effect(&trace, &call, what, detail).await
    }

    /// A token that says who a workload of this server is, for services that trust the issuer
    /// `identity/oidc/secrets-sync` of the namespace.
    pub async fn identity_token(
        &self,
        namespace: &Namespace,
        workload: &Workload<'_>,
    ) -> Result<Sensitive<String>, Error> {
        let Kernel { policies, settings, clock, .. } = &*self.kernel;
        let api_addr = settings.api_addr.as_deref();
        identity::sign_workload(policies.identity(), namespace, api_addr, workload, clock.now())
            .await
    }

    async fn admit(
        &self,
        name: &str,
        namespace: &Namespace,
        operation: Operation,
        path: &str,
        trace: &mut Trace,
    ) -> Result<Admitted, Error> {
        self.kernel.registry.refresh().await?;
        let places = self.kernel.registry.places();
        let place = places.with_id(&namespace.id).ok_or_else(Error::not_found)?;
        if let Some((mounted, _)) = place.find(path) {
            trace.mounted(mounted);
        }
        let target = self.kernel.find(place, path, operation)?;
        let asker = Asker::System(handle::system_caller(name, operation, path));
        Ok(Admitted { target, asker, now: self.kernel.clock.now(), existed: None })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}
