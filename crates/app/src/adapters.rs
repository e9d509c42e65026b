//! Where kernel and sync meet: this server as the source of what is delivered.

use async_trait::async_trait;
use bailee_crypto::Clock;
use bailee_kernel::{Answer, Content, Session, Workload};
use bailee_sdk::{Code, Mount, Mounts, Namespace, Sensitive};
use bailee_secret_sync::{
    IdentityToken, LocalSource, Payload,
    failure::{Error, Failure},
};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use std::{collections::BTreeMap, sync::Arc, time::SystemTime};
use zeroize::Zeroizing;

/// This server's KV stores, read as the system and recorded like any request.
pub(crate) struct LocalSecrets {
    session: Session,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl LocalSource for LocalSecrets {
    async fn namespaces(&self) -> Result<Vec<Namespace>, Error> {
        self.session.namespaces().await.map_err(failed)
    }

    fn mounts(&self, namespace: &Namespace) -> Mounts {
        self.session.mounts(namespace)
    }

    async fn read(
        &self,
        name: &str,
        namespace: &Namespace,
        mount: &Mount,
        path: &str,
    ) -> Result<Option<Payload>, Error> {
        let newest = self.read_version(name, namespace, mount, path, None).await?;
        let Some(newest) = newest else { return Ok(None) };
        if let Some(payload) = newest.payload()? {
            return Ok(Some(payload));
        }
        // The newest version is deleted: what applications should have is the newest that lives.
        let full = format!("{}metadata/{path}", mount.path);
        let Some(history) = self.ask::<History>(name, namespace, &full, Map::new()).await? else {
            return Ok(None);
        };
        for number in history.living(self.clock.now()) {
            let older = self.read_version(name, namespace, mount, path, Some(number)).await?;
            if let Some(payload) = older.map(|older| older.payload()).transpose()?.flatten() {
                return Ok(Some(payload));
            }
        }
        Ok(None)
    }

    async fn list(
        &self,
        name: &str,
        namespace: &Namespace,
        mount: &Mount,
        folder: &str,
    ) -> Result<Vec<String>, Error> {
        let path = format!("{}metadata/{folder}", mount.path);
        match self.session.list_as_system(name, namespace, &path).await {
            Ok(Answer { content: Content::Data(json), .. }) => {
                serde_json::from_slice::<Listing>(json.bytes())
                    .map(|listing| listing.keys)
                    .map_err(|_| Error::new(Failure::Internal, "the list does not parse"))
            }
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.code == Code::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
        }
    }

    async fn identity_token(
        &self,
        namespace: &Namespace,
        wanted: &IdentityToken,
    ) -> Result<Sensitive<String>, Error> {
        let workload = Workload {
            subject: &wanted.subject,
            audience: &wanted.audience,
            key: wanted.key.as_deref(),
            ttl: wanted.ttl,
        };
        match self.session.identity_token(namespace, &workload).await {
            Ok(token) => Ok(token),
            Err(error) if error.code == Code::InvalidRequest => {
                Err(Error::new(Failure::Invalid, error.to_string()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn synced(
        &self,
        namespace: &Namespace,
        mount_path: &str,
        secrets: &[u64],
    ) -> Result<(), Error> {
        self.session.synced(namespace, mount_path, secrets).await.map_err(failed)
    }

    async fn audit(
        &self,
        name: &str,
        namespace: &Namespace,
        what: &str,
        path: &str,
        detail: &Map<String, Value>,
    ) -> Result<(), Error> {
        self.session.audit_system(name, namespace, what, path, detail).await.map_err(failed)
    }
}

impl LocalSecrets {
    pub(crate) fn new(session: Session, clock: Arc<dyn Clock>) -> LocalSecrets {
        LocalSecrets { session, clock }
    }

    async fn read_version(
        &self,
        name: &str,
        namespace: &Namespace,
        mount: &Mount,
        path: &str,
        version: Option<u64>,
    ) -> Result<Option<Version>, Error> {
        let mut input = Map::new();
        if let Some(version) = version {
            input.insert("version".to_owned(), version.into());
        }
        self.ask(name, namespace, &format!("{}data/{path}", mount.path), input).await
    }

    /// Reads a path; `None` when nothing is there. A deleted version is there, without data.
    async fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        name: &str,
        namespace: &Namespace,
        path: &str,
        input: Map<String, Value>,
    ) -> Result<Option<T>, Error> {
        match self.session.read_as_system(name, namespace, path, input).await {
            Ok(Answer { content: Content::Data(json), .. }) => serde_json::from_slice(json.bytes())
                .map(Some)
                .map_err(|_| Error::new(Failure::Internal, "the secret's answer does not parse")),
            Ok(_) => Ok(None),
            Err(error) if error.code == Code::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Names as a list answers them.
#[derive(Deserialize)]
struct Listing {
    keys: Vec<String>,
}

/// One version as `data/` answers it.
#[derive(Deserialize)]
struct Version {
    data: Option<Box<RawValue>>,
    metadata: Facts,
}

#[derive(Deserialize)]
struct Facts {
    #[serde(default)]
    version: u64,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

impl Version {
    fn payload(self) -> Result<Option<Payload>, Error> {
        let Some(data) = self.data.filter(|data| data.get() != "null") else { return Ok(None) };
        if self.metadata.destroyed {
            return Ok(None);
        }
        let expires_at = moment(&self.metadata.deletion_time)?;
        let bytes = Zeroizing::new(Box::<str>::from(data).into_string().into_bytes());
        Ok(Some(Payload { bytes, version: self.metadata.version, expires_at }))
    }
}

/// The versions as `metadata/` answers them.
#[derive(Deserialize)]
struct History {
    versions: BTreeMap<u64, Facts>,
}

impl History {
    /// Numbers of the versions that live, newest first.
    fn living(&self, now: SystemTime) -> Vec<u64> {
        let lives = |facts: &Facts| {
            let dies = moment(&facts.deletion_time).ok().flatten();
            !facts.destroyed && dies.is_none_or(|dies| dies > now)
        };
        let living = self.versions.iter().rev().filter(|(_, facts)| lives(facts));
        living.map(|(number, _)| *number).collect()
    }
}

fn moment(text: &str) -> Result<Option<SystemTime>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let moment: jiff::Timestamp = text
        .parse()
        .map_err(|_| Error::new(Failure::Internal, "the secret's deletion time does not parse"))?;
    Ok(Some(moment.into()))
}

fn failed(error: bailee_sdk::Error) -> Error {
    let failure = match error.code {
        // Sealed meanwhile, or storage is down: what is dirty stays dirty.
        Code::Sealed | Code::Standby | Code::Upstream | Code::RateLimited | Code::Conflict => {
            Failure::Unavailable
        }
        Code::InvalidRequest
        | Code::BadCredentials
        | Code::UnknownUser
        | Code::PermissionDenied
        | Code::NotFound
        | Code::Unsupported
        | Code::TooLarge
        | Code::UnsupportedMedia
        | Code::Internal => Failure::Internal,
    };
    Error::new(failure, error.to_string())
}
