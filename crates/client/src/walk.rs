//! All secrets of a KV mount below a folder, with what is known of each: by as few requests as the
//! server allows.
//!
//! OpenBao and bailee give a whole tree with its metadata in one answer. Where they may not, or the
//! server cannot, folders are listed one by one, and what a list does not tell is asked for each.

use crate::{Error, Method, Outgoing, Response, Session, kv::KvMount};
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
    time::SystemTime,
};

/// Requests that run at once.
const REQUESTS_AT_ONCE: usize = 32;
/// Secrets in one answer, where the server gives a list in parts.
const PAGE: usize = 5_000;
/// Secrets and folders that are walked through at most.
const ENTRIES_MAX: usize = 500_000;
/// Names and metadata of one walk, in bytes: ten times what that many secrets usually have.
const KEPT_BYTES_MAX: usize = 256 << 20;
/// Places where the server may fail before it is the server that fails.
const BROKEN_MAX: usize = 16;

/// What the metadata of a secret say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct KvMetadata {
    /// The newest version.
    #[serde(default)]
    pub current_version: u64,
    /// When the secret was made.
    #[serde(default)]
    pub created_time: String,
    /// When anything about it changed last.
    #[serde(default)]
    pub updated_time: String,
    /// Its versions with their numbers: a list, as a map takes a kilobyte for the one version that most have.
    #[serde(default, deserialize_with = "numbered")]
    pub versions: Vec<(u64, KvVersion)>,
}

/// What the metadata say of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct KvVersion {
    /// When it was written.
    #[serde(default)]
    pub created_time: String,
    /// When it was, or will be, deleted; empty for never.
    #[serde(default)]
    pub deletion_time: String,
    /// Whether its value is gone for good.
    #[serde(default)]
    pub destroyed: bool,
}

impl KvMetadata {
    /// The newest version that lives. Where the server does not tell of versions, the newest one.
    pub fn newest_live(&self, now: SystemTime) -> Option<u64> {
        if self.versions.is_empty() {
            return Some(self.current_version).filter(|version| *version > 0);
        }
        let living = self.versions.iter().filter(|(_, version)| version.lives(now));
        living.map(|(number, _)| *number).max()
    }
}

/// Versions by number, as servers write them; what has no number is left out.
fn numbered<'d, D: Deserializer<'d>>(map: D) -> Result<Vec<(u64, KvVersion)>, D::Error> {
    struct Versions;
    impl<'d> Visitor<'d> for Versions {
        type Value = Vec<(u64, KvVersion)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("versions by number")
        }

        fn visit_map<M: MapAccess<'d>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut versions = Vec::new();
            while let Some((number, version)) = map.next_entry::<String, KvVersion>()? {
                if let Ok(number) = number.parse() {
                    versions.push((number, version));
                }
            }
            versions.shrink_to_fit();
            Ok(versions)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
    }
    map.deserialize_any(Versions)
}

impl KvMetadata {
    fn bytes(&self) -> usize {
        let of_version = |(_, version): &(u64, KvVersion)| {
            version.created_time.len() + version.deletion_time.len()
        };
        let times = self.created_time.len() + self.updated_time.len();
        times + self.versions.iter().map(of_version).sum::<usize>()
    }
}

impl KvVersion {
    fn lives(&self, now: SystemTime) -> bool {
        let ends: Option<jiff::Timestamp> = self.deletion_time.parse().ok();
        !self.destroyed && ends.is_none_or(|end| SystemTime::from(end) > now)
    }
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Walked {
    /// Paths below the mount, with their metadata where they were told.
    pub secrets: BTreeMap<String, Option<KvMetadata>>,
    /// Folders and secrets below the mount that could not be looked into.
    pub failed: Vec<(String, Error)>,
}

impl Walked {
    /// What concerns one place alone is put aside; any other failure is one of the whole walk.
    fn put_aside(&mut self, path: String, error: Error) -> Result<(), Error> {
        match error.status() {
            Some(500) => {
                let broken = self.failed.iter().filter(|(_, error)| error.status() == Some(500));
                if broken.count() >= BROKEN_MAX {
                    return Err(error);
                }
            }
            Some(status) if status < 429 => {}
            Some(_) | None => return Err(error),
        }
        self.failed.push((path, error));
        Ok(())
    }
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    key_info: BTreeMap<String, KvMetadata>,
}

impl Listed {
    /// What is kept of it, in bytes.
    fn bytes(&self, folder: &str) -> usize {
        let names: usize = self.keys.iter().map(|key| folder.len() + key.len()).sum();
        names + self.key_info.iter().map(|(key, it)| key.len() + it.bytes()).sum::<usize>()
    }
}

/// A list that is to be asked for: a folder, and the name after which a further part begins.
#[derive(Debug)]
struct Asked {
    folder: String,
    after: Option<String>,
}

/// How lists are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// All below in one answer, with metadata.
    ScanDetails,
    /// Each folder, with metadata.
    ListDetails,
    /// All below in one answer, names only.
    Scan,
    /// Each folder, names only.
    List,
}

impl Way {
    fn method(self) -> Method {
        match self {
            Way::ScanDetails | Way::Scan => Method::Scan,
            Way::ListDetails | Way::List => Method::List,
        }
    }

    fn segment(self) -> &'static str {
        match self {
            Way::ScanDetails | Way::ListDetails => "detailed-metadata",
            Way::Scan | Way::List => "metadata",
        }
    }
}

/// Walks through a folder of a mount, which is empty or ends in `/`.
///
/// # Errors
/// The folder itself cannot be listed. What is wrong with single folders below it is in the result.
pub async fn walk(session: &Session, mount: &KvMount, folder: &str) -> Result<Walked, Error> {
    let ways = match mount.versioned {
        true => [Way::ScanDetails, Way::ListDetails, Way::List].as_slice(),
        false => [Way::Scan, Way::List].as_slice(),
    };
    let (entries, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let walker = Walker { session, mount, entries, bytes };
    let mut denied = None;
    for way in ways {
        let mut walked = match walker.tree(*way, folder).await {
            Ok(Some(walked)) => walked,
            // Nothing there, or nothing that this way shows.
            Ok(None) => {
                denied = None;
                continue;
            }
            Err(error) if matches!(error.status(), Some(400..=428 | 430..=499)) => {
                denied = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        if mount.versioned {
            walker.ask_each(&mut walked).await?;
        }
        return Ok(walked);
    }
    // The last way is the one that every server knows.
    denied.map_or(Ok(Walked::default()), Err)
}

struct Walker<'a> {
    session: &'a Session,
    mount: &'a KvMount,
    /// What the server has told, in all: it may go on for as long as it likes.
    entries: AtomicUsize,
    bytes: AtomicUsize,
}

impl Walker<'_> {
    /// Counts what the server told.
    fn count(&self, folder: &str, entries: usize, bytes: usize) -> Result<(), Error> {
        let entries = self.entries.fetch_add(entries, Ordering::Relaxed).saturating_add(entries);
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let reason = if entries > ENTRIES_MAX {
            "goes on beyond 500,000 secrets and folders: choose a smaller part"
        } else if bytes > KEPT_BYTES_MAX {
            "goes on beyond 256 MiB of names and metadata: choose a smaller part"
        } else {
            return Ok(());
        };
        let url = Outgoing::new(Method::List, folder).url(self.session.settings());
        Err(Error::Answer { method: "GET", url, reason })
    }

    /// Everything below a folder; `None` where that is not found.
    async fn tree(&self, way: Way, folder: &str) -> Result<Option<Walked>, Error> {
        let mut walked = Walked::default();
        let mut waiting = VecDeque::from([Asked { folder: folder.to_owned(), after: None }]);
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < REQUESTS_AT_ONCE
                && let Some(next) = waiting.pop_front()
            {
                running.push(async move {
                    let part = self.part(way, &next).await;
                    (next, part)
                });
            }
            let Some((asked, part)) = running.next().await else { return Ok(Some(walked)) };
            let is_top = asked.folder == folder;
            match part {
                Ok(Some(listed)) => take(way, asked, listed, &mut walked, &mut waiting),
                Ok(None) if is_top && asked.after.is_none() => return Ok(None),
                // Emptied meanwhile, or at its end.
                Ok(None) => {}
                Err(error) if is_top => return Err(error),
                Err(error) => walked.put_aside(asked.folder, error)?,
            }
        }
    }

    /// A part of one folder, or of all below it.
    async fn part(&self, way: Way, asked: &Asked) -> Result<Option<Listed>, Error> {
        let folder = &asked.folder;
        let path = self.mount.api_path(way.segment(), &format!("{}{folder}", self.mount.path));
        let mut outgoing = Outgoing::new(way.method(), format!("{}/", path.trim_end_matches('/')))
            .query("limit", PAGE.to_string());
        if let Some(after) = &asked.after {
            outgoing = outgoing.query("after", after);
        }
        let url = outgoing.url(self.session.settings());
        let part: Listed = match self.session.send(outgoing).await {
            Ok(response) => response.typed().ok_or(Error::Answer {
                method: Method::List.verb(),
                url,
                reason: "is not what this path answers",
            })?,
            // What is empty has no words for it. A mount or namespace that is gone has.
            Err(Error::Refused { response, .. })
                if response.status == 404 && response.errors().is_empty() =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.count(folder, part.keys.len(), part.bytes(folder))?;
        Ok(Some(part))
    }

    /// Asks for the metadata that no list told.
    async fn ask_each(&self, walked: &mut Walked) -> Result<(), Error> {
        let untold = walked.secrets.iter().filter(|(_, metadata)| metadata.is_none());
        let paths: Vec<String> = untold.map(|(path, _)| path.clone()).collect();
        let answers = futures_util::stream::iter(paths).map(|path| async move {
            let metadata = metadata(self.session, self.mount, &path).await;
            (path, metadata)
        });
        let mut answers = answers.buffer_unordered(REQUESTS_AT_ONCE);
        while let Some((path, metadata)) = answers.next().await {
            match metadata {
                Ok(Some(metadata)) => {
                    self.count(&path, 0, metadata.bytes())?;
                    walked.secrets.insert(path, Some(metadata));
                }
                // Removed meanwhile.
                Ok(None) => {
                    walked.secrets.remove(&path);
                }
                Err(error) => {
                    walked.secrets.remove(&path);
                    walked.put_aside(path, error)?;
                }
            }
        }
        Ok(())
    }
}

/// The metadata of one secret; `None` where there is none.
pub async fn metadata(
    session: &Session,
    mount: &KvMount,
    path: &str,
) -> Result<Option<KvMetadata>, Error> {
    let path = mount.api_path("metadata", &format!("{}{path}", mount.path));
    session.read(Outgoing::new(Method::Get, path), Response::typed).await
}

/// Sorts what a list gave into secrets, folders that are still to be listed, and what comes after it.
fn take(
    way: Way,
    asked: Asked,
    listed: Listed,
    walked: &mut Walked,
    waiting: &mut VecDeque<Asked>,
) {
    let Listed { keys, mut key_info } = listed;
    // A server without parts gives all, and all again.
    if asked.after.as_ref().is_some_and(|after| keys.contains(after)) {
        return;
    }
    let Asked { folder, .. } = asked;
    let next = keys.last().filter(|_| keys.len() == PAGE).cloned();
    for key in keys {
        let path = format!("{folder}{key}");
        // Such a name would lead elsewhere when it is asked for.
        if path.split('/').any(|part| matches!(part, "." | "..")) || key.is_empty() {
            continue;
        }
        match (key.ends_with('/'), way.method()) {
            // Everything below came with it.
            (true, Method::Scan) => {}
            (true, _) => waiting.push_back(Asked { folder: path, after: None }),
            (false, _) => drop(walked.secrets.insert(path, key_info.remove(&key))),
        }
    }
    if let Some(after) = next {
        waiting.push_back(Asked { folder, after: Some(after) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Client, Settings,
        login::Login,
        testing::{Asked, Server},
    };
    use bailee_crypto::{Sensitive, SystemClock};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn session(server: &Server) -> Session {
        let mut settings = Settings::new(server.address.parse().unwrap());
        settings.retries = 0;
        let login = Login::Token(Sensitive::from("t"));
        Session::new(Client::new(settings).unwrap(), login, Arc::new(SystemClock))
    }

    fn mount(versioned: bool) -> KvMount {
        KvMount { path: "kv/".to_owned(), versioned }
    }

    fn missing() -> (u16, Value) {
        (404, json!({"errors": []}))
    }

    /// A tree as a server without any of OpenBao's lists shows it.
    fn plain(asked: &Asked) -> (u16, Value) {
        let metadata = json!({"data": {"current_version": 3, "created_time": "c"}});
        match (asked.path.as_str(), asked.query.contains("list=true")) {
            ("/v1/auth/token/lookup-self", _) => (200, json!({"data": {"ttl": 0}})),
            ("/v1/kv/metadata/", true) => (200, json!({"data": {"keys": ["a", "b/", "x/", ".."]}})),
            ("/v1/kv/metadata/b/", true) => (200, json!({"data": {"keys": ["c", "d/"]}})),
            ("/v1/kv/metadata/b/d/", true) => (200, json!({"data": {"keys": ["e"]}})),
            ("/v1/kv/metadata/x/", true) => (403, json!({"errors": ["permission denied"]})),
            ("/v1/kv/metadata/a" | "/v1/kv/metadata/b/c", false) => (200, metadata),
            ("/v1/kv/metadata/b/d/e", false) => (403, json!({"errors": ["permission denied"]})),
            _ => missing(),
        }
    }

    #[tokio::test]
    async fn a_server_that_knows_plain_lists_only_is_walked_folder_by_folder() {
        let server = Server::start(plain).await;
        let walked = walk(&session(&server), &mount(true), "").await.unwrap();
        let known = |path: &str| walked.secrets.get(path).cloned().flatten();
        assert_eq!(walked.secrets.len(), 2);
        assert_eq!(known("a").unwrap().current_version, 3);
        assert!(known("b/c").is_some());
        let mut failed: Vec<&str> = walked.failed.iter().map(|(path, _)| path.as_str()).collect();
        failed.sort_unstable();
        assert_eq!(failed, ["b/d/e", "x/"]);
    }

    #[tokio::test]
    async fn a_server_that_gives_all_at_once_is_asked_once() {
        let server = Server::start(|asked: &Asked| {
            let scans = asked.query.contains("scan=true");
            match (asked.path.as_str(), scans) {
                ("/v1/auth/token/lookup-self", _) => (200, json!({"data": {"ttl": 0}})),
                ("/v1/kv/detailed-metadata/team/", true) => {
                    let info = json!({"a": {"current_version": 1}, "b/c": {"current_version": 2}});
                    (200, json!({"data": {"keys": ["a", "b/c"], "key_info": info}}))
                }
                _ => missing(),
            }
        })
        .await;
        let walked = walk(&session(&server), &mount(true), "team/").await.unwrap();
        assert_eq!(walked.secrets["team/b/c"].as_ref().unwrap().current_version, 2);
        assert_eq!(server.take_paths().len(), 2);
    }

    #[tokio::test]
    async fn lists_in_parts_are_put_together_and_a_server_without_parts_is_not_asked_for_ever() {
        for in_parts in [true, false] {
            let server = Server::start(move |asked: &Asked| {
                let all: Vec<String> = (0..PAGE + 7).map(|n| format!("{n:06}")).collect();
                let after = asked.query.split('&').find_map(|part| part.strip_prefix("after="));
                let rest = all.iter().filter(|key| after.is_none_or(|after| key.as_str() > after));
                let keys: Vec<&String> = match in_parts {
                    true => rest.take(PAGE).collect(),
                    false => all.iter().take(PAGE).collect(),
                };
                match (asked.path.as_str(), asked.query.contains("scan=true")) {
                    ("/v1/auth/token/lookup-self", _) => (200, json!({"data": {"ttl": 0}})),
                    ("/v1/kv/", true) => (200, json!({"data": {"keys": keys}})),
                    _ => missing(),
                }
            })
            .await;
            let walked = walk(&session(&server), &mount(false), "").await.unwrap();
            assert_eq!(walked.secrets.len(), if in_parts { PAGE + 7 } else { PAGE });
            assert_eq!(server.take_paths().len(), 3);
        }
    }

    #[tokio::test]
    async fn a_server_that_is_sealed_between_two_questions_ends_the_walk_and_one_broken_place_does_not()
     {
        for (status, ends) in [(500, false), (503, true), (473, true), (429, true)] {
            let server = Server::start(move |asked: &Asked| match asked.path.as_str() {
                "/v1/kv/metadata/b/c" => (status, json!({"errors": ["internal error"]})),
                _ => plain(asked),
            })
            .await;
            let walked = walk(&session(&server), &mount(true), "").await;
            assert_eq!(walked.is_err(), ends, "{status}");
            if let Ok(walked) = walked {
                assert!(walked.failed.iter().any(|(path, _)| path == "b/c"));
                assert!(walked.secrets.contains_key("a") && !walked.secrets.contains_key("b/c"));
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_goes_on_without_end_is_not_followed() {
        let told = std::sync::atomic::AtomicUsize::new(0);
        let server = Server::start(move |asked: &Asked| {
            let at = told.fetch_add(1, Ordering::Relaxed);
            match asked.path.as_str() {
                "/v1/auth/token/lookup-self" => (200, json!({"data": {"ttl": 0}})),
                // Pages without end.
                "/v1/kv/" if asked.query.contains("scan=true") => {
                    let keys: Vec<String> = (0..PAGE).map(|n| format!("{at:09}-{n:06}")).collect();
                    (200, json!({"data": {"keys": keys}}))
                }
                _ => missing(),
            }
        })
        .await;
        let error = walk(&session(&server), &mount(false), "").await.unwrap_err();
        assert!(error.to_string().contains("beyond 500,000"), "{error}");
        assert!(server.take_paths().len() < 110);
        let (session, mount) = (session(&server), mount(false));
        let (entries, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let walker = Walker { session: &session, mount: &mount, entries, bytes };
        let keys = vec!["a".repeat(1 << 20)];
        let long =
            Listed { keys, key_info: BTreeMap::from([("b".to_owned(), KvMetadata::default())]) };
        assert_eq!(long.bytes("c/"), (1 << 20) + 3);
        for at in 0..256 {
            assert_eq!(walker.count("", 1, long.bytes("")).is_ok(), at < 255, "{at}");
        }
    }

    #[tokio::test]
    async fn a_server_that_fails_everywhere_is_not_asked_to_the_end() {
        let server = Server::start(|asked: &Asked| {
            let keys: Vec<String> = (0..1_000).map(|n| format!("{n:06}")).collect();
            match (asked.path.as_str(), asked.query.contains("list=true")) {
                ("/v1/auth/token/lookup-self", _) => (200, json!({"data": {"ttl": 0}})),
                ("/v1/kv/metadata/", true) => (200, json!({"data": {"keys": keys}})),
                (path, false) if path.starts_with("/v1/kv/metadata/0") => {
                    (500, json!({"errors": ["internal error"]}))
                }
                _ => missing(),
            }
        })
        .await;
        assert_eq!(
            walk(&session(&server), &mount(true), "").await.unwrap_err().status(),
            Some(500)
        );
        assert!(server.take_paths().len() < 100);
    }

    #[tokio::test]
    async fn what_is_empty_is_empty_and_what_is_denied_is_an_error() {
        let server = Server::start(|asked: &Asked| match asked.path.as_str() {
            "/v1/auth/token/lookup-self" => (200, json!({"data": {"ttl": 0}})),
            path if path.starts_with("/v1/kv/") => missing(),
            _ => (403, json!({"errors": ["permission denied"]})),
        })
        .await;
        let walked = walk(&session(&server), &mount(true), "").await.unwrap();
        assert!(walked.secrets.is_empty() && walked.failed.is_empty());
        // A token that may list and not scan, and nothing to list.
        let denying = Server::start(|asked: &Asked| {
            match asked.path == "/v1/auth/token/lookup-self" || asked.query.contains("list=true") {
                true => missing(),
                false => (403, json!({"errors": ["permission denied"]})),
            }
        })
        .await;
        assert!(walk(&session(&denying), &mount(true), "").await.unwrap().secrets.is_empty());
        // A mount that is gone is not an empty one.
        let gone = Server::start(|asked: &Asked| match asked.path.as_str() {
            "/v1/auth/token/lookup-self" => (200, json!({"data": {"ttl": 0}})),
            _ => (404, json!({"errors": ["no handler for route \"kv/metadata/\". route entry not found."]})),
        })
        .await;
        for versioned in [true, false] {
            let told = walk(&session(&gone), &mount(versioned), "").await.unwrap_err();
            assert!(told.to_string().contains("no handler for route"), "{told}");
        }
        let other = KvMount { path: "other/".to_owned(), versioned: true };
        let denied = walk(&session(&server), &other, "").await.unwrap_err();
        assert_eq!(denied.status(), Some(403));
    }

    #[test]
    fn the_newest_version_that_lives_is_the_one() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
        let version = |deletion_time: &str, destroyed| KvVersion {
            created_time: String::new(),
            deletion_time: deletion_time.to_owned(),
            destroyed,
        };
        let of = |versions: Vec<(u64, KvVersion)>| {
            KvMetadata { current_version: 9, versions, ..KvMetadata::default() }.newest_live(now)
        };
        let past = "2020-01-02T03:04:05.123456789Z";
        let future = "2100-01-02T03:04:05Z";
        assert_eq!(of(vec![]), Some(9));
        assert_eq!(of(vec![(9, version("", false)), (10, version("", false))]), Some(10));
        assert_eq!(of(vec![(9, version("", false)), (10, version(past, false))]), Some(9));
        assert_eq!(of(vec![(9, version("", false)), (10, version("", true))]), Some(9));
        assert_eq!(of(vec![(9, version("", false)), (10, version(future, false))]), Some(10));
        assert_eq!(of(vec![(1, version(past, false))]), None);
    }
}
