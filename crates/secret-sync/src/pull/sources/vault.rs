//! Vault, OpenBao and bailee: KV engines of both versions.

use crate::{
    failure::{Error, Failure},
    pull::source::{Listed, Listing, Revision, Source, Version},
    source::Payload,
};
use async_trait::async_trait;
use bailee_client::{
    Error as ClientError, Method, Outgoing, Response, Session,
    kv::KvMount,
    walk::{KvMetadata, walk},
};
use bailee_crypto::Clock;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

/// A part of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Path of the mount.
    pub mount: String,
    /// Folders of it, each empty for all or ending in `/`.
    pub folders: Vec<String>,
    /// The version of the engine, where the server shall not be asked.
    pub version: Option<u8>,
}

/// A server that speaks Vault's API.
#[derive(Debug)]
pub struct VaultSource {
    session: Session,
    clock: Arc<dyn Clock>,
    parts: Vec<(Part, OnceCell<KvMount>)>,
}

impl VaultSource {
    /// Parts of a server.
    pub fn new(session: Session, parts: Vec<Part>, clock: Arc<dyn Clock>) -> VaultSource {
        let parts = parts.into_iter().map(|part| (part, OnceCell::new())).collect();
        VaultSource { session, clock, parts }
    }

    async fn mount(&self, part: &Part, cell: &OnceCell<KvMount>) -> Result<KvMount, Error> {
        let path = format!("{}/", part.mount.trim_matches('/'));
        let asked = cell.get_or_try_init(|| async {
            if let Some(version) = part.version {
                return Ok(KvMount { path: path.clone(), versioned: version == 2 });
            }
            KvMount::found(&self.session, &path).await
        });
        let mount = asked.await.map_err(|error| failed(&format!("mount {path}"), &error))?;
        if mount.path.trim_matches('/') != part.mount.trim_matches('/') {
            let message = format!("there is no KV engine at {path}");
            return Err(Error::new(Failure::SourceGone, message));
        }
        Ok(mount.clone())
    }

    fn revision(&self, mount: &KvMount, metadata: Option<&KvMetadata>) -> Revision {
        if !mount.versioned {
            return Revision::Untold;
        }
        let Some(metadata) = metadata else { return Revision::Gone };
        match metadata.newest_live(self.clock.now()) {
            Some(version) => Revision::Version(Version {
                label: version.to_string(),
                created: metadata.created_time.clone(),
                updated: metadata.updated_time.clone(),
            }),
            None => Revision::Gone,
        }
    }
}

#[async_trait]
impl Source for VaultSource {
    async fn list(&self) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        for (part, cell) in &self.parts {
            let mount = self.mount(part, cell).await?;
            let mut secrets = BTreeMap::new();
            for folder in &part.folders {
                let walked = walk(&self.session, &mount, folder).await;
                let walked =
                    walked.map_err(|error| failed(&format!("{}{folder}", mount.path), &error))?;
                secrets.extend(walked.secrets);
                for (path, error) in walked.failed {
                    let path = format!("{}{path}", mount.path);
                    let error = failed(&path, &error);
                    listing.failed.push((path, error));
                }
            }
            for (path, metadata) in secrets {
                let revision = self.revision(&mount, metadata.as_ref());
                listing.secrets.push(Listed { mount: mount.path.clone(), path, revision });
            }
        }
        Ok(listing)
    }

    async fn read(&self, secret: &Listed) -> Result<Option<Payload>, Error> {
        let path = secret.full_path();
        let versioned = matches!(secret.revision, Revision::Version(_));
        let mount = KvMount { path: secret.mount.clone(), versioned };
        let mut outgoing = Outgoing::new(Method::Get, mount.api_path("data", &path));
        let mut number = 0;
        if let Revision::Version(version) = &secret.revision {
            outgoing = outgoing.query("version", &version.label);
            number = version.label.parse().unwrap_or_default();
        }
        let response = match self.session.send(outgoing).await {
            Ok(response) => response,
            Err(error) if error.status() == Some(404) => return Ok(None),
            Err(error) => return Err(failed(&path, &error)),
        };
        let bytes = value(&response, versioned).ok_or_else(|| {
            Error::new(Failure::Internal, format!("{path}: the server's answer holds no secret"))
        })?;
        Ok(Some(Payload { bytes, version: number, expires_at: None }))
    }

    async fn leave(&self) {
        self.session.leave().await;
    }
}

/// The secret as compact JSON.
fn value(response: &Response, versioned: bool) -> Option<Zeroizing<Vec<u8>>> {
    #[derive(Deserialize)]
    struct Versioned {
        data: Map<String, Value>,
    }
    let data = match versioned {
        true => response.data::<Versioned>()?.data,
        false => response.data::<Map<String, Value>>()?,
    };
    Some(Zeroizing::new(serde_json::to_vec(&data).ok()?))
}

/// A failed request as what it means for a run.
fn failed(what: &str, error: &ClientError) -> Error {
    let (failure, told) = match error {
        ClientError::Login { .. } => (Failure::Unauthenticated, error.to_string()),
        ClientError::Setting { .. } => (Failure::Invalid, error.to_string()),
        ClientError::Connection { .. } => (Failure::Unavailable, error.to_string()),
        ClientError::Forbidden { .. } => (Failure::Refused, error.to_string()),
        ClientError::Answer { .. } => (Failure::Unknown, error.to_string()),
        ClientError::Refused { response, .. } => {
            let said = response.errors().join("; ");
            let status = response.status;
            let failure = match status {
                401 | 403 => Failure::Forbidden,
                429 => Failure::Throttled,
                // A single entry may be broken, and all else well.
                500 => Failure::Unknown,
                472 | 473 | 501..=599 => Failure::Unavailable,
                _ => Failure::Invalid,
            };
            (failure, format!("the source answered {status}: {said}"))
        }
    };
    Error::new(failure, format!("{what}: {told}"))
}
