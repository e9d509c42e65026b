//! The contract of a mountable engine.

use crate::{Error, Login, Path, Sensitive, View};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A mountable secrets engine or auth method. One value serves all mounts with the same options;
/// what it keeps per mount is behind `request.view`.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// All it serves. Routing, help, OpenAPI and the ACL test come from here.
    fn paths(self: Arc<Self>) -> Vec<Path>;

    /// Prolongs what a lease stands for: how long it is to last now. The kernel cuts it to what the
    /// mount allows. What it writes lands with the renewal.
    async fn renew(
        &self,
        _view: &View,
        _lease: &Lease,
        _renewal: &LeaseRenewal,
    ) -> Result<Term, Error> {
        Err(Error::invalid("lease is not renewable"))
    }

    /// Takes back what a lease stands for. Called again until it succeeds, also after it did: what is
    /// gone already is done. What it writes lands with the removal of the lease. An error with
    /// [`crate::Code::RateLimited`] makes the kernel wait and go slower on this mount; any other
    /// counts against the lease.
    async fn revoke(&self, _view: &View, _lease: &Lease) -> Result<(), Error> {
        Ok(())
    }

    /// Asked when a token that this auth method made is to be prolonged: what a login would give
    /// now, or why it may not go on. `None`: as it was.
    async fn renew_login(&self, _view: &View, _renewal: &Renewal) -> Result<Option<Login>, Error> {
        Ok(None)
    }

    /// Undoes an outside effect whose request never finished ([`crate::intent`]). Called again until it
    /// succeeds, also after it did: what is gone already is done. What it writes lands with the removal
    /// of the intent.
    async fn roll_back(&self, _view: &View, _intent: &Value) -> Result<(), Error> {
        Ok(())
    }

    /// Periodic work of one mount, about once a minute. What it writes lands when it returns.
    async fn tick(&self, _view: &View, _now: SystemTime) -> Result<(), Error> {
        Ok(())
    }
}

/// Whether an engine keeps secrets or proves who a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Mounted by `sys/mounts`.
    Secret,
    /// Mounted by `sys/auth`, below `auth/`.
    Auth,
}

/// Says who a mount is, to services that trust this server's tokens.
#[async_trait]
pub trait Issuer: Send + Sync + 'static {
    /// A signed token about the mount whose storage is below `prefix` ([`View::prefix`]). An error
    /// with [`crate::Code::InvalidRequest`] says what somebody has to change first.
    async fn token(
        &self,
        prefix: &str,
        audience: &str,
        ttl: Duration,
    ) -> Result<Sensitive<String>, Error>;
}

/// What an engine is made with.
#[derive(Clone)]
pub struct Setup {
    /// The options of the mounts that share the engine.
    pub options: BTreeMap<String, String>,
    /// Signs for them.
    pub issuer: Arc<dyn Issuer>,
}

/// Makes an engine.
pub type MakeEngine = Arc<dyn Fn(&Setup) -> Result<Arc<dyn Engine>, Error> + Send + Sync>;

/// A kind of engine that can be mounted.
#[derive(Clone)]
pub struct EngineKind {
    /// The type users name, such as `kv`.
    pub name: &'static str,
    /// Secrets engine or auth method.
    pub class: Class,
    /// Makes the engine; an error names the option that is wrong.
    pub make: MakeEngine,
}

impl fmt::Debug for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineKind({})", self.name)
    }
}

/// A token of an auth method that is to be prolonged.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// What the method kept with the token ([`Login::internal`]).
    pub internal: Option<Sensitive<String>>,
    /// The metadata of the login.
    pub metadata: BTreeMap<String, String>,
    /// Policies that the token has itself, sorted, `default` included.
    pub policies: Vec<String>,
    /// When it is asked.
    pub now: SystemTime,
}

/// A lease that is to be prolonged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRenewal {
    /// How long it is to last from now on; zero when the client leaves it to the engine.
    pub increment: Duration,
    /// When the lease was given out.
    pub issued: SystemTime,
    /// When it is asked.
    pub now: SystemTime,
}

/// How long a lease is to last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// From now on; zero for the mount's default.
    pub ttl: Duration,
    /// Longest life since it was given out; zero for the mount's maximum.
    pub max_ttl: Duration,
}

/// What an engine gave out for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// How long it lasts; the kernel applies the mount's default and maximum.
    pub ttl: Duration,
    /// Whether it can be prolonged.
    pub renewable: bool,
    /// What the engine needs to renew or revoke it.
    pub data: Value,
}
