//! Where secrets are read from: this server, through an adapter that the binary makes.

use crate::failure::Error;
use async_trait::async_trait;
use bailee_sdk::{Mounts, Namespace, Sensitive};
use serde_json::{Map, Value};
use std::{
    fmt,
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

/// The value of a secret at one version.
#[derive(Clone)]
pub struct Payload {
    /// The JSON object of the secret's data, as it was written.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The version it is.
    pub version: u64,
    /// When this version dies by itself: then the value changes without a change note.
    pub expires_at: Option<SystemTime>,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes, version {})", self.bytes.len(), self.version)
    }
}

/// What an identity token shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityToken {
    /// Who it is about, as `secrets-sync:<namespace>:<type>:<name>`.
    pub subject: String,
    /// Whom it is for.
    pub audience: String,
    /// Name of the signing key; the default one when absent.
    pub key: Option<String>,
    /// How long it holds.
    pub ttl: Duration,
}

/// This server as sync sees it.
#[async_trait]
pub trait LocalSource: Send + Sync + 'static {
    /// All namespaces, the root one included.
    async fn namespaces(&self) -> Result<Vec<Namespace>, Error>;

    /// The secrets mounts of a namespace at this moment.
    fn mounts(&self, namespace: &Namespace) -> Mounts;

    /// The newest live version of a secret, or `None` when no version lives; read as the system
    /// caller `name`, limited to that secret, and recorded. `path` is relative to the mount.
    async fn read(
        &self,
        name: &str,
        namespace: &Namespace,
        mount: &bailee_sdk::Mount,
        path: &str,
    ) -> Result<Option<Payload>, Error>;

    /// What is below a folder of a mount, which is empty or ends in `/`: names of secrets, and of
    /// folders with a final `/`. Listed as the system caller `name`, and recorded.
    async fn list(
        &self,
        name: &str,
        namespace: &Namespace,
        mount: &bailee_sdk::Mount,
        folder: &str,
    ) -> Result<Vec<String>, Error>;

    /// A signed token that says who a destination is, for clouds that trust this server's issuer.
    async fn identity_token(
        &self,
        namespace: &Namespace,
        wanted: &IdentityToken,
    ) -> Result<Sensitive<String>, Error>;

    /// These secrets of a mount, by codes that are the same each time, are kept at destinations: who
    /// counts clients counts each once a month.
    async fn synced(
        &self,
        _namespace: &Namespace,
        _mount_path: &str,
        _secrets: &[u64],
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Records what the system caller `name` is about to do outside, or has done: `what` is
    /// `deliver`, `delivered`, `remove`, `removed` or `failed`, `path` the full path of the secret.
    /// An error means that no audit device could write, and then nothing is done.
    async fn audit(
        &self,
        name: &str,
        namespace: &Namespace,
        what: &str,
        path: &str,
        detail: &Map<String, Value>,
    ) -> Result<(), Error>;
}
