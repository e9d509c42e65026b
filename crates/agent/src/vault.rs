//! A server that speaks Vault's API, as one token in one namespace.

use crate::{
    failure::{Cause, Failure},
    manager::{Fetched, Lease, Material, SecretManager, Wanted, Which},
};
use async_trait::async_trait;
use bailee_client::{Error, Method, Outgoing, Pass, Response, Session, kv::KvMount};
use bailee_crypto::Sensitive;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{json, value::RawValue};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Requests that run at once.
const REQUESTS_AT_ONCE: usize = 16;
/// When the agent's token is seen to again after it could not be renewed.
const TEND_AGAIN: Duration = Duration::from_secs(5);
/// How long the token is waited for while it is renewed.
const PASS_WAIT_MAX: Duration = Duration::from_millis(500);
/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 1_024;
/// How long it is believed which mount serves a path, and whether that keeps versions.
const MOUNT_KEPT: Duration = Duration::from_secs(300);
/// Mounts of which that is remembered.
const MOUNTS_MAX: usize = 1_000;

/// Vault, OpenBao or bailee.
#[derive(Debug)]
pub struct VaultManager {
    session: Arc<Session>,
    identity: String,
    /// What mounts are, and when they said so: by their paths with a slash at the end, or by the path of a secret
    /// where nobody says.
    mounts: Mutex<BTreeMap<String, (KvMount, Instant)>>,
    /// The token as it was last seen.
    pass: Mutex<Option<Pass>>,
}

impl VaultManager {
    /// The server behind a session. `identity` says as whom, such as `approle orders`; no secret is in it.
    pub fn new(session: Arc<Session>, identity: impl Into<String>) -> VaultManager {
        let (mounts, pass) = (Mutex::default(), Mutex::default());
        VaultManager { session, identity: identity.into(), mounts, pass }
    }

    async fn read(&self, wanted: &Wanted) -> Result<Fetched, Failure> {
        let response = match self.session.send(question(&wanted.id, &wanted.version)).await {
            Ok(response) => response,
            Err(error) => return self.read_at_data(wanted, error).await,
        };
        let mut fetched = fetched(wanted, &response)?;
        if version_of(&fetched).is_some() {
            fetched.versioned = self.is_versioned(&wanted.id).await?;
        }
        Ok(with_version(fetched))
    }

    /// Who leaves out the `data/` of a versioned engine means what is below it. Policies permit that path and
    /// not the one that was asked for, so that a denial may mean it, too.
    async fn read_at_data(&self, wanted: &Wanted, error: Error) -> Result<Fetched, Failure> {
        let refused = failed(&wanted.id, &error);
        if !matches!(error.status(), Some(403 | 404)) {
            return Err(refused);
        }
        let mount = match self.ask_for_mount(&wanted.id).await {
            Ok(mount) => mount,
            // Who may not ask about the mount is told what was refused first. Where the server went away between
            // the two requests, nobody said that the secret is gone.
            Err(failure) => {
                return Err(if is_answer(failure.cause) { refused } else { failure });
            }
        };
        if !mount.versioned || is_at_data(&mount, &wanted.id) {
            return Err(refused);
        }
        let outgoing = question(&mount.api_path("data", &wanted.id), &wanted.version);
        let response = self.session.send(outgoing).await;
        let fetched = fetched(wanted, &response.map_err(|error| failed(&wanted.id, &error))?)?;
        Ok(with_version(Fetched { versioned: true, ..fetched }))
    }

    /// Whether what looks like the answer of a versioned engine is one. A secret of another engine may look like
    /// that, too, so it is the mount's word that counts.
    async fn is_versioned(&self, path: &str) -> Result<bool, Failure> {
        let known = self.known_mount(path);
        let mount = match known {
            Some((mount, true)) => mount,
            None | Some((_, false)) => match (self.ask_for_mount(path).await, known) {
                (Ok(mount), _) => mount,
                // Who may not ask about the mount has to go by the looks. A gateway that does not let the question
                // through has no page there.
                (Err(failure), _) if is_answer(failure.cause) || failure.status == Some(404) => {
                    let seeming = KvMount { path: String::new(), versioned: true };
                    self.note_mount(path, seeming.clone());
                    seeming
                }
                // The secret is here: what its mount was a while ago is better than none.
                (Err(_), Some((mount, _))) => mount,
                (Err(failure), None) => return Err(failure),
            },
        };
        Ok(mount.versioned && (mount.path.is_empty() || is_at_data(&mount, path)))
    }

    /// The mount that served a path, and whether that was not long ago.
    fn known_mount(&self, path: &str) -> Option<(KvMount, bool)> {
        let mounts = self.mounts.lock();
        let serves =
            |known: &str| known == path || (known.ends_with('/') && path.starts_with(known));
        let (_, (mount, since)) = mounts.iter().rfind(|(known, _)| serves(known))?;
        Some((mount.clone(), since.elapsed() < MOUNT_KEPT))
    }

    async fn ask_for_mount(&self, path: &str) -> Result<KvMount, Failure> {
        let mount = KvMount::found(&self.session, path).await;
        let mount = mount.map_err(|error| failed(path, &error))?;
        self.note_mount(&mount.path, mount.clone());
        Ok(mount)
    }

    fn note_mount(&self, at: &str, mount: KvMount) {
        let mut mounts = self.mounts.lock();
        if mounts.len() >= MOUNTS_MAX && !mounts.contains_key(at) {
            mounts.clear();
        }
        mounts.insert(at.to_owned(), (mount, Instant::now()));
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

    async fn pass(&self) -> Option<Pass> {
        // Nobody waits for somebody who waits for the server just now.
        if let Ok(pass) = tokio::time::timeout(PASS_WAIT_MAX, self.session.pass()).await {
            *self.pass.lock() = pass;
        }
        self.pass.lock().clone()
    }

    async fn resume(&self, pass: Pass) {
        self.session.resume(pass).await;
    }

    async fn leave(&self) {
        // A token that an operator gave stays.
        self.session.leave().await;
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
        version: String::new(),
        stages: Vec::new(),
        created: None,
        material: Material::Text(Arc::new(Sensitive::from(data))),
        versioned: false,
        lease,
    })
}

/// Whether a path is that of a secret's data below a mount that keeps versions.
fn is_at_data(mount: &KvMount, path: &str) -> bool {
    path.strip_prefix(&mount.path).is_some_and(|rest| rest.starts_with("data/"))
}

/// With the version that a versioned engine tells beside the secret.
fn with_version(fetched: Fetched) -> Fetched {
    let version = version_of(&fetched).filter(|_| fetched.versioned).unwrap_or_default();
    Fetched { version, ..fetched }
}

/// The version that an answer seems to tell beside a secret.
fn version_of(fetched: &Fetched) -> Option<String> {
    #[derive(Deserialize)]
    struct Versioned {
        #[serde(rename = "data")]
        _data: IgnoredAny,
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        version: u64,
    }
    let versioned: Versioned = serde_json::from_slice(fetched.material.bytes()).ok()?;
    Some(versioned.metadata.version.to_string())
}

fn unreadable(path: &str) -> Failure {
    Failure::new(Cause::Unavailable, format!("{path}: the server's answer holds no secret"))
}

/// A failed request as what it means for the store.
pub(crate) fn failed(path: &str, error: &Error) -> Failure {
    let told = format!("{path}: {error}");
    match error {
        // A file that a login is made with may be away for a moment, as while somebody replaces it.
        Error::Login { .. } | Error::Setting { .. } => Failure::new(Cause::Credentials, told),
        Error::Connection { .. } | Error::Answer { .. } | Error::Forbidden { .. } => {
            Failure::new(Cause::Unavailable, told)
        }
        Error::Refused { response, .. } => {
            let cause = match response.status {
                401 | 403 => Cause::Denied,
                404 if is_of_the_server(response) => Cause::NotFound,
                // Whoever stands in front of a server that is away has no page there.
                404 => Cause::Unavailable,
                429 => Cause::Throttled,
                412 | 472 | 473 | 500..=599 => Cause::Unavailable,
                // Engines say so of their own troubles, too, as of a database that is away. It does not say that
                // what was given before is gone.
                _ => Cause::Denied,
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

/// Whether a failure is an answer about the secret, and not one of a server that is away.
fn is_answer(cause: Cause) -> bool {
    matches!(cause, Cause::Denied | Cause::NotFound | Cause::Invalid)
}

/// Whether a refusal comes from a server of this API: its refusals have `errors`, what is deleted has `data`.
fn is_of_the_server(response: &Response) -> bool {
    let document = response.json();
    document.contains_key("errors") || document.contains_key("data")
}

/// A sentence of a server in one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::Freshness, testing::store_of};
    use bailee_client::{
        Client, Settings,
        login::{Login, Text},
    };
    use bailee_crypto::SystemClock;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    fn manager() -> VaultManager {
        entering("http://127.0.0.1:8200", Login::Token("t".into()))
    }

    fn entering(address: &str, login: Login) -> VaultManager {
        let mut settings = Settings::new(address.parse().unwrap());
        settings.retries = 0;
        let client = Client::new(settings).unwrap();
        let session = Session::new(client, login, Arc::new(SystemClock));
        VaultManager::new(Arc::new(session), "token")
    }

    type Answer = (u16, &'static str);
    type Script = Arc<Mutex<(Answer, Answer)>>;

    /// A server that answers secrets with the one answer, and questions about mounts with the other.
    async fn scripted(script: &Script) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let script = script.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 4_096];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let (status, body) = match *script.lock() {
                    _ if head.contains("/lookup-self") => (200, r#"{"data":{"ttl":0}}"#),
                    (_, mount) if head.contains("/sys/internal/ui/") => mount,
                    (secret, _) => secret,
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn only_the_servers_own_word_says_that_a_secret_is_gone() {
        let none = r#"{"errors":[]}"#;
        let deleted = r#"{"data":{"data":null,"metadata":{"version":2}}}"#;
        let script: Script = Arc::new(Mutex::new(((200, ""), (403, none))));
        let manager = Arc::new(entering(&scripted(&script).await, Login::Token("t".into())));
        let wanted = Wanted::current("secret/data/app");
        for (answer, cause) in [
            (((404, none), (403, none)), Cause::NotFound),
            (((404, deleted), (403, none)), Cause::NotFound),
            // A load balancer without a server behind it.
            (((404, "<h1>default backend</h1>"), (403, none)), Cause::Unavailable),
            // An engine whose database is away.
            (((400, r#"{"errors":["the database is away"]}"#), (403, none)), Cause::Denied),
            // The server goes away between the two questions.
            (((404, none), (429, none)), Cause::Throttled),
        ] {
            let store = store_of(manager.clone());
            *script.lock() = ((200, r#"{"data":{"password":"one"}}"#), (403, none));
            store.get("m", &wanted, Freshness::Now).await.unwrap();
            *script.lock() = answer;
            let again = store.get("m", &wanted, Freshness::Now).await;
            match cause {
                Cause::NotFound => assert_eq!(again.unwrap_err().cause, cause),
                _ => assert_eq!(again.unwrap().fetched.material.bytes(), br#"{"password":"one"}"#),
            }
            assert_eq!(store.place("m").unwrap().fares().failed.unwrap().1.cause, cause);
        }
    }

    #[tokio::test]
    async fn a_file_that_a_login_needs_and_is_away_is_an_outage() {
        let file = || Text::File("/nowhere/secret-id".into());
        let login = Login::AppRole {
            mount: "approle".to_owned(),
            role_id: "r".into(),
            secret_id: Some(file()),
        };
        let failure = entering("http://127.0.0.1:1", login)
            .fetch(&Wanted::current("secret/data/app"))
            .await
            .unwrap_err();
        assert_eq!(failure.cause, Cause::Credentials);
        assert!(failure.message.contains("/nowhere/secret-id"), "{}", failure.message);
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

    #[tokio::test]
    async fn whether_a_secret_is_of_a_versioned_engine_its_mount_says() {
        let looks = r#"{"data":{"data":{"data":"d","password":"p"},"metadata":{"version":7}}}"#;
        let plain = r#"{"data":{"data":"d","metadata":"m"}}"#;
        let versioned = r#"{"data":{"path":"secret/","options":{"version":"2"}}}"#;
        let unversioned = r#"{"data":{"path":"secret/","options":{"version":"1"}}}"#;
        let nothing = r#"{"errors":[]}"#;
        for (secret, path, mount, is) in [
            (looks, "secret/data/app", (200, versioned), true),
            (looks, "secret/data/app", (200, unversioned), false),
            // Another page of the engine, which happens to look the same.
            (looks, "secret/other/app", (200, versioned), false),
            (plain, "secret/data/app", (200, versioned), false),
            // Who may not ask goes by the looks.
            (looks, "secret/data/app", (403, nothing), true),
            (plain, "secret/data/app", (403, nothing), false),
            (looks, "secret/data/app", (404, "<h1>no such page</h1>"), true),
        ] {
            let script: Script = Arc::new(Mutex::new(((200, secret), mount)));
            let manager = entering(&scripted(&script).await, Login::Token("t".into()));
            let fetched = manager.fetch(&Wanted::current(path)).await.unwrap();
            assert_eq!(fetched.versioned, is, "{path} {secret} {mount:?}");
            assert_eq!(fetched.version, if is { "7" } else { "" });
            // It is asked once.
            script.lock().1 = (500, nothing);
            assert_eq!(manager.fetch(&Wanted::current(path)).await.unwrap().versioned, is);
            // What it said once counts while it cannot be asked again.
            tokio::time::pause();
            tokio::time::advance(MOUNT_KEPT).await;
            tokio::time::resume();
            assert_eq!(manager.fetch(&Wanted::current(path)).await.unwrap().versioned, is);
            // Nobody guesses while the server is away.
            let manager = entering(&scripted(&script).await, Login::Token("t".into()));
            let asked = secret == looks;
            assert_eq!(manager.fetch(&Wanted::current(path)).await.is_err(), asked);
        }
    }
}
