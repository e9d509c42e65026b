//! A server that speaks Vault's API, as one token in one namespace.

use crate::{
    failure::{Cause, Failure},
    manager::{Fetched, Lease, Material, SecretManager, Wanted, Which},
};
use async_trait::async_trait;
use bailee_client::{Error, Method, Outgoing, Response, Session, kv::KvMount};
use bailee_crypto::Sensitive;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Requests that run at once.
const REQUESTS_AT_ONCE: usize = 16;
/// When the agent's token is seen to again after it could not be renewed.
const TEND_AGAIN: Duration = Duration::from_secs(5);
/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 1_024;

/// Vault, OpenBao or bailee.
#[derive(Debug)]
pub struct VaultManager {
    session: Arc<Session>,
    identity: String,
}

impl VaultManager {
    /// The server behind a session. `identity` says as whom, such as `approle orders`; no secret is in it.
    pub fn new(session: Arc<Session>, identity: impl Into<String>) -> VaultManager {
        VaultManager { session, identity: identity.into() }
    }

    async fn read(&self, wanted: &Wanted) -> Result<Fetched, Failure> {
        let response = match self.session.send(question(&wanted.id, &wanted.version)).await {
            Ok(response) => response,
            Err(error) => return self.read_at_data(wanted, error).await,
        };
        fetched(wanted, &response)
    }

    /// Who leaves out the `data/` of a versioned engine means what is below it. Policies permit that path and
    /// not the one that was asked for, so that a denial may mean it, too.
    async fn read_at_data(&self, wanted: &Wanted, error: Error) -> Result<Fetched, Failure> {
        let refused = failed(&wanted.id, &error);
        if !matches!(error.status(), Some(403 | 404)) {
            return Err(refused);
        }
        // Who may not ask about the mount is told what was refused first.
        let Ok(mount) = KvMount::found(&self.session, &wanted.id).await else {
            return Err(refused);
        };
        let api = format!("{}data/", mount.path);
        if !mount.versioned || wanted.id.starts_with(&api) {
            return Err(refused);
        }
        let outgoing = question(&mount.api_path("data", &wanted.id), &wanted.version);
        let response = self.session.send(outgoing).await;
        fetched(wanted, &response.map_err(|error| failed(&wanted.id, &error))?)
    }
}

#[async_trait]
impl SecretManager for VaultManager {
    fn place(&self) -> String {
        let settings = self.session.settings();
        format!("vault/{}/{}/{}", settings.address, settings.namespace, self.identity)
    }

    fn normal(&self, wanted: &Wanted) -> Result<Wanted, Failure> {
        let id = wanted.id.trim().trim_matches('/');
        let id = id.strip_prefix("v1/").unwrap_or(id);
        let invalid = |reason: &str| {
            Err(Failure::new(Cause::Invalid, format!("path {:?} {reason}", wanted.id)))
        };
        if id.is_empty() {
            return invalid("is empty: want one such as \"secret/data/app\"");
        }
        if id.len() > PATH_BYTES_MAX {
            return invalid("is longer than 1024 bytes");
        }
        if id.split('/').any(|part| part == "." || part == "..") || id.contains(char::is_control) {
            return invalid("holds a part that no path has");
        }
        match &wanted.version {
            Which::Current => {}
            Which::Id(number) if number.parse::<u64>().is_ok() => {}
            Which::Id(_) | Which::Stage(_) | Which::IdAtStage { .. } => {
                return invalid("has versions that are numbers, and no stages");
            }
        }
        Ok(Wanted { id: id.to_owned(), version: wanted.version.clone() })
    }

    async fn fetch(&self, wanted: &Wanted) -> Result<Fetched, Failure> {
        self.read(wanted).await
    }

    async fn fetch_many(&self, wanted: &[Wanted]) -> Vec<Result<Fetched, Failure>> {
        let reads: Vec<_> = wanted.iter().map(|wanted| self.read(wanted)).collect();
        stream::iter(reads).buffered(REQUESTS_AT_ONCE).collect().await
    }

    async fn fetch_tagged(&self, _: &BTreeMap<String, String>) -> Result<Vec<Fetched>, Failure> {
        let message = "secrets of a server have no tags: prefetch them by path";
        Err(Failure::new(Cause::Invalid, message))
    }

    async fn renew(&self, lease: &Lease) -> Result<Duration, Failure> {
        #[derive(Deserialize)]
        struct Renewed {
            lease_duration: u64,
        }
        let body = json!({ "lease_id": lease.id, "increment": lease.duration.as_secs() });
        let outgoing = Outgoing::new(Method::Put, "sys/leases/renew").json(&body);
        let response = self.session.send(outgoing).await;
        let response = response.map_err(|error| failed("sys/leases/renew", &error))?;
        let renewed: Renewed =
            serde_json::from_slice(response.bytes()).map_err(|_| unreadable("sys/leases/renew"))?;
        Ok(Duration::from_secs(renewed.lease_duration))
    }

    async fn tend(&self) -> Option<Duration> {
        // A token that nobody needed yet is not asked for.
        let due = self.session.renewal_due_in().await?;
        if due.is_zero() && self.session.token().await.is_err() {
            return Some(TEND_AGAIN);
        }
        self.session.renewal_due_in().await
    }

    async fn revoke(&self, lease: &Lease) -> Result<(), Failure> {
        let body = json!({ "lease_id": lease.id });
        let outgoing = Outgoing::new(Method::Put, "sys/leases/revoke").json(&body);
        let sent = self.session.send(outgoing).await;
        sent.map(drop).map_err(|error| failed("sys/leases/revoke", &error))
    }
}

fn question(path: &str, version: &Which) -> Outgoing {
    let outgoing = Outgoing::new(Method::Get, path);
    match version {
        Which::Id(number) => outgoing.query("version", number),
        Which::Current | Which::Stage(_) | Which::IdAtStage { .. } => outgoing,
    }
}

/// The answer's `data`, as it came.
fn fetched(wanted: &Wanted, response: &Response) -> Result<Fetched, Failure> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        #[serde(default)]
        lease_id: String,
        #[serde(default)]
        lease_duration: u64,
        #[serde(default)]
        renewable: bool,
    }
    let answer: Answer<'_> =
        serde_json::from_slice(response.bytes()).map_err(|_| unreadable(&wanted.id))?;
    let data = answer.data.map(RawValue::get).filter(|data| *data != "null");
    let data = data.ok_or_else(|| unreadable(&wanted.id))?;
    let lease = (!answer.lease_id.is_empty()).then(|| Lease {
        id: answer.lease_id,
        duration: Duration::from_secs(answer.lease_duration),
        renewable: answer.renewable,
    });
    Ok(Fetched {
        id: wanted.id.clone(),
        name: wanted.id.clone(),
        version: version_of(data),
        stages: Vec::new(),
        created: None,
        material: Material::Text(Arc::new(Sensitive::from(data))),
        lease,
    })
}

/// The version that a versioned engine tells beside the secret.
fn version_of(data: &str) -> String {
    #[derive(Deserialize)]
    struct Versioned {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        version: u64,
    }
    let versioned = serde_json::from_str::<Versioned>(data);
    versioned.map(|versioned| versioned.metadata.version.to_string()).unwrap_or_default()
}

fn unreadable(path: &str) -> Failure {
    Failure::new(Cause::Unavailable, format!("{path}: the server's answer holds no secret"))
}

/// A failed request as what it means for the store.
pub(crate) fn failed(path: &str, error: &Error) -> Failure {
    let told = format!("{path}: {error}");
    match error {
        Error::Login { .. } => Failure::new(Cause::Credentials, told),
        Error::Setting { .. } | Error::Forbidden { .. } => Failure::new(Cause::Invalid, told),
        Error::Connection { .. } | Error::Answer { .. } => Failure::new(Cause::Unavailable, told),
        Error::Refused { response, .. } => {
            let cause = match response.status {
                401 | 403 => Cause::Denied,
                404 => Cause::NotFound,
                429 => Cause::Throttled,
                412 | 472 | 473 | 500..=599 => Cause::Unavailable,
                _ => Cause::Invalid,
            };
            let said: Vec<String> = response.errors().iter().map(|said| one_line(said)).collect();
            let said = said.join("; ");
            let said = if said.is_empty() { "there is no secret".to_owned() } else { said };
            Failure {
                cause,
                code: String::new(),
                status: Some(response.status),
                message: format!("{path}: the server answered {}: {said}", response.status),
                retry_after: response.retry_after,
            }
        }
    }
}

/// A sentence of a server in one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailee_client::{Client, Settings, login::Login};
    use bailee_crypto::SystemClock;

    fn manager() -> VaultManager {
        let settings = Settings::new("http://127.0.0.1:8200".parse().unwrap());
        let client = Client::new(settings).unwrap();
        let session = Session::new(client, Login::Token("t".into()), Arc::new(SystemClock));
        VaultManager::new(Arc::new(session), "token")
    }

    #[test]
    fn paths_are_made_alike_and_wrong_ones_are_refused() {
        let manager = manager();
        for path in ["secret/data/app", "/secret/data/app/", " v1/secret/data/app"] {
            let normal = manager.normal(&Wanted::current(path)).unwrap();
            assert_eq!(normal.id, "secret/data/app");
        }
        for path in ["", "/", "a/../b", "a\nb", &"x".repeat(1025)] {
            let failure = manager.normal(&Wanted::current(path)).unwrap_err();
            assert_eq!(failure.cause, Cause::Invalid, "{path}");
        }
        let staged = Wanted { id: "a".to_owned(), version: Which::Stage("AWSCURRENT".to_owned()) };
        assert!(manager.normal(&staged).unwrap_err().message.contains("no stages"));
    }

    #[test]
    fn the_version_is_told_where_there_is_one() {
        assert_eq!(version_of(r#"{"data":{"a":"b"},"metadata":{"version":7}}"#), "7");
        assert_eq!(version_of(r#"{"username":"u"}"#), "");
    }
}
