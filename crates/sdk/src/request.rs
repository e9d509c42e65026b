//! What a handler is given and what it gives back.

use crate::{Error, Lease, Operation, Pieces, View, change};
use bailee_crypto::Sensitive;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

/// One call of one endpoint.
pub struct Request<I> {
    /// The typed input: body, query and what the path names.
    pub input: I,
    /// What is asked; create is given as update.
    pub operation: Operation,
    /// The path relative to the mount.
    pub path: String,
    /// Who asks; nobody on unauthenticated paths.
    pub caller: Option<Arc<Caller>>,
    /// When the request was admitted.
    pub now: SystemTime,
    /// The namespace it is served in.
    pub namespace: Arc<Namespace>,
    /// The mount it is served by.
    pub mount: Arc<Mount>,
    /// All secrets mounts of the namespace, as of now.
    pub mounts: Mounts,
    /// This mount's storage; lands in one batch when the handler succeeds.
    pub view: View,
    /// Secrets that this request changes, told to sync in the same batch.
    pub changes: Changes,
    /// Where the client is, if it came over the network.
    pub remote: Option<IpAddr>,
    /// Headers of the request that the mount asked for (`passthrough_request_headers`).
    pub headers: Headers,
    /// The longest life that the mount lets a lease have.
    pub lease_max: Duration,
}

/// Some headers of a request, names in lower case.
#[derive(Clone, Debug, Default)]
pub struct Headers(pub Arc<Vec<(String, String)>>);

impl Headers {
    /// The values of a header; `name` is in lower case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl<I> Request<I> {
    /// The same request with another input.
    pub fn with_input<J>(self, input: J) -> Request<J> {
        self.replace_input(input).1
    }

    /// The input, and the request without it.
    pub fn take_input(self) -> (I, Request<()>) {
        self.replace_input(())
    }

    fn replace_input<J>(self, input: J) -> (I, Request<J>) {
        let rest = Request {
            input,
            operation: self.operation,
            path: self.path,
            caller: self.caller,
            now: self.now,
            namespace: self.namespace,
            mount: self.mount,
            mounts: self.mounts,
            view: self.view,
            changes: self.changes,
            remote: self.remote,
            headers: self.headers,
            lease_max: self.lease_max,
        };
        (self.input, rest)
    }

    /// Notes that the secret at `path` of this mount gets another value, or none, with this batch.
    pub fn changed(&self, path: &str) {
        self.changes.add(path);
    }
}

/// Paths of secrets that a request changes.
#[derive(Clone, Debug, Default)]
pub struct Changes(Arc<Mutex<Vec<String>>>);

impl Changes {
    /// Adds a path relative to the mount.
    pub fn add(&self, path: &str) {
        self.0.lock().push(path.to_owned());
    }

    /// Takes all noted paths; the kernel turns them into [`change::Change`] notes of the batch.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

/// A namespace. The root namespace has the id `root` and the empty path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Stable id, part of every stored key.
    pub id: String,
    /// Path from the root with a final `/`; empty for the root.
    pub path: String,
}

impl Namespace {
    /// The root namespace.
    pub fn root() -> Namespace {
        Namespace { id: "root".to_owned(), path: String::new() }
    }

    /// Whether it is the root namespace.
    pub fn is_root(&self) -> bool {
        self.id == "root"
    }

    /// The storage prefix of everything that belongs to it.
    pub fn prefix(&self) -> String {
        format!("n/{}/", self.id)
    }
}

/// A mounted engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted, with a final `/`; auth methods start with `auth/`.
    pub path: String,
    /// Stable id, part of every stored key.
    pub uuid: String,
    /// Public handle, such as `kv_1a2b3c4d`.
    pub accessor: String,
    /// The engine's kind, such as `kv`.
    pub kind: String,
    /// What it was mounted with, such as `version` = `2`.
    pub options: BTreeMap<String, String>,
}

impl Mount {
    /// The storage prefix of its data.
    pub fn prefix(&self, namespace: &Namespace) -> String {
        format!("{}mount/{}/", namespace.prefix(), self.uuid)
    }

    /// Whether it is a versioned KV store.
    pub fn is_versioned_kv(&self) -> bool {
        self.kind == "kv" && self.options.get("version").is_some_and(|version| version == "2")
    }
}

/// The secrets mounts of a namespace at one moment.
#[derive(Clone, Debug, Default)]
pub struct Mounts(pub Arc<Vec<Arc<Mount>>>);

impl Mounts {
    /// The mount at this path, with or without the final `/`.
    pub fn at(&self, path: &str) -> Option<&Arc<Mount>> {
        let path = path.trim_end_matches('/');
        self.0.iter().find(|mount| mount.path.trim_end_matches('/') == path)
    }

    /// The mount with this id.
    pub fn with_uuid(&self, uuid: &str) -> Option<&Arc<Mount>> {
        self.0.iter().find(|mount| mount.uuid == uuid)
    }
}

/// Who asks, as far as an engine may know.
#[derive(Clone)]
pub struct Caller {
    /// Name for logs and lists, such as `token` or `approle-ci`.
    pub display_name: String,
    /// Accessor of the token; empty for the system itself.
    pub accessor: String,
    /// A stable code for the token, from which it cannot be found.
    pub token_id: String,
    /// The entity behind it, when there is one.
    pub entity_id: Option<String>,
    /// Names of the policies that apply.
    pub policies: Vec<String>,
    /// Whether the caller may do this to a full path of the namespace, mount included.
    pub may: Permission,
}

/// Answers whether an operation on a full path is permitted.
pub type Permission = Arc<dyn Fn(Operation, &str) -> bool + Send + Sync>;

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({})", self.display_name)
    }
}

/// A JSON object as bytes, wiped when dropped: what was stored is passed on without being parsed.
#[derive(Clone)]
pub struct Json(Zeroizing<Vec<u8>>);

impl Json {
    /// The JSON form of a value.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Json {
        Json(Zeroizing::new(serde_json::to_vec(value).expect("replies always encode")))
    }

    /// Bytes that are JSON already.
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Json {
        Json(bytes)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

/// The answer of a handler.
#[derive(Debug)]
pub struct Reply {
    /// What is answered.
    pub body: Body,
    /// Sentences for the user that are not errors.
    pub warnings: Vec<String>,
    /// Answered as "not found" although there is data to show, as for a deleted version.
    pub missing: bool,
    /// Answered as "accepted": what was asked is done later.
    pub accepted: bool,
    /// A document of its own type that says what is wrong with the request.
    pub refused: bool,
}

/// What is answered.
pub enum Body {
    /// Done, nothing to say.
    Empty,
    /// A JSON object, given under `data`.
    Data(Json),
    /// A JSON object that holds for a time.
    Lease(Json, Lease),
    /// A token is to be made; the kernel makes it.
    Login(Box<Login>),
    /// A token was made or prolonged. Only the kernel's own token engine answers so.
    Token(Box<Issued>),
    /// A document of its own type, outside the envelope.
    Raw {
        /// Its media type.
        content_type: &'static str,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A document of its own type that goes on until the client, its token or the session ends.
    Stream {
        /// Its media type.
        content_type: &'static str,
        /// Its pieces, as they are made.
        pieces: Pieces,
    },
    /// A lease was prolonged. Only the kernel's own engine of leases answers so.
    Prolonged {
        /// Its id.
        lease_id: String,
        /// How long it lasts from now on.
        ttl: Duration,
        /// Whether it can be prolonged again.
        renewable: bool,
    },
    /// An answer that was put away under a wrapping token. Only the kernel's own engines answer so.
    Kept(Box<Kept>),
    /// Answered after the batch has landed: to wait, within a bound, for what it sets off.
    After(Pin<Box<dyn Future<Output = Result<Reply, Error>> + Send>>),
}

/// An answer that was put away under a wrapping token.
pub struct Kept {
    /// The answer, as the kernel stored it.
    pub bytes: Zeroizing<Vec<u8>>,
    /// How it is given out.
    pub give: Give,
    /// The wrapping token that is spent with this, if the request itself has not spent it.
    pub spent: Option<String>,
}

/// How an answer that was put away is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Give {
    /// As it was.
    Plain,
    /// As text in a field of another answer, which is what old clients read.
    AsText,
    /// Put away anew, under another token.
    Wrapped,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Body::Empty => "Empty",
            Body::Data(_) => "Data",
            Body::Lease(..) => "Lease",
            Body::Login(_) => "Login",
            Body::Token(_) => "Token",
            Body::Raw { .. } => "Raw",
            Body::Stream { .. } => "Stream",
            Body::Prolonged { .. } => "Prolonged",
            Body::Kept(_) => "Kept",
            Body::After(_) => "After",
        })
    }
}

impl From<Body> for Reply {
    fn from(body: Body) -> Reply {
        Reply { body, warnings: Vec::new(), missing: false, accepted: false, refused: false }
    }
}

impl Reply {
    /// Done, nothing to say.
    pub fn empty() -> Reply {
        Body::Empty.into()
    }

    /// A value that serializes to a JSON object.
    pub fn data<T: Serialize + ?Sized>(value: &T) -> Reply {
        Body::Data(Json::of(value)).into()
    }

    /// The names of a folder; an empty list is not found.
    pub fn keys(keys: &[String]) -> Result<Reply, Error> {
        if keys.is_empty() {
            return Err(Error::not_found());
        }
        Ok(Reply::data(&serde_json::json!({ "keys": keys })))
    }

    /// Answered as "not found", with what there is to show.
    #[must_use]
    pub fn as_missing(mut self) -> Reply {
        self.missing = true;
        self
    }

    /// Answered as a bad request, with a document of its own type.
    #[must_use]
    pub fn as_refused(mut self) -> Reply {
        self.refused = true;
        self
    }

    /// Answered as "accepted": what was asked is done later.
    #[must_use]
    pub fn as_accepted(mut self) -> Reply {
        self.accepted = true;
        self
    }

    /// The same with one more sentence for the user.
    #[must_use]
    pub fn warn(mut self, warning: impl Into<String>) -> Reply {
        self.warnings.push(warning.into());
        self
    }
}

/// A successful login: the token to be made.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// The user's name for logs and lists, if there is one. The kernel puts the mount's before it:
    /// `bob` of `auth/userpass/` becomes `userpass-bob`, and none becomes `userpass`.
    pub display_name: String,
    /// Policies beside `default`.
    pub policies: Vec<String>,
    /// Shown with the token.
    pub metadata: BTreeMap<String, String>,
    /// How long it lasts; zero for the mount's default.
    pub ttl: Duration,
    /// Longest life, renewals included; zero for the mount's maximum.
    pub max_ttl: Duration,
    /// Longest life, renewals included, that is shown with the token and binds periodic tokens too;
    /// zero for none.
    pub explicit_max_ttl: Duration,
    /// Renewable for ever, each time for this long.
    pub period: Option<Duration>,
    /// Uses it is good for; zero for no limit.
    pub num_uses: u64,
    /// Whether it can be renewed.
    pub renewable: bool,
    /// Whether `default` is left out.
    pub no_default_policy: bool,
    /// Addresses from which the token can be used: CIDR blocks; empty for all.
    pub bound_cidrs: Vec<String>,
    /// Which kind of token is wished for; the mount may decide otherwise.
    pub token_type: TokenType,
    /// Who the method says this is; the kernel finds or makes the entity behind it.
    pub alias: Option<LoginAlias>,
    /// Names of groups at the method's source; external groups with such an alias are joined.
    pub group_aliases: Vec<String>,
    /// A secret that only the method itself reads back on renewal.
    pub internal: Option<Sensitive<String>>,
}

/// The name under which an auth method knows a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginAlias {
    /// The name, unique in the mount.
    pub name: String,
    /// What the method knows of the user; kept with the alias.
    pub metadata: BTreeMap<String, String>,
}

/// The kind of token that a login or role asks for, in the words of `token_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenType {
    /// What the mount says, else a service token.
    #[default]
    Default,
    /// A service token unless the mount says otherwise.
    DefaultService,
    /// A batch token unless the mount says otherwise.
    DefaultBatch,
    /// Stored, renewable and revocable.
    Service,
    /// Sealed into its own text, stored nowhere.
    Batch,
}

/// A token as its owner sees it when it is made or prolonged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Issued {
    /// The token; empty when it is not known, as when it was renewed by its accessor.
    #[serde(serialize_with = "exposed")]
    pub client_token: Sensitive<String>,
    /// Its public handle.
    pub accessor: String,
    /// All policies that apply.
    pub policies: Vec<String>,
    /// Policies of the token itself.
    pub token_policies: Vec<String>,
    /// Policies of the entity behind it.
    pub identity_policies: Vec<String>,
    /// Shown with the token.
    pub metadata: BTreeMap<String, String>,
    /// How long it lasts from now on; zero for ever.
    pub ttl: Duration,
    /// Whether it can be prolonged.
    pub renewable: bool,
    /// The entity behind it; empty for none.
    pub entity_id: String,
    /// `service` or `batch`.
    #[serde(deserialize_with = "token_type")]
    pub token_type: Word,
    /// Whether it outlives the token that made it.
    pub orphan: bool,
    /// Uses it is good for; 0 for no limit.
    pub num_uses: u64,
}

/// One of a few words that the server knows.
pub type Word = &'static str;

/// For storage alone: what was issued may be kept for whoever holds a wrapping token.
fn exposed<S: Serializer>(secret: &Sensitive<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn token_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "service" => Ok("service"),
        "batch" => Ok("batch"),
        _ => Err(serde::de::Error::custom("unknown type of token")),
    }
}

/// Writes the notes of changed secrets into the request's batch.
pub fn note_changes<I>(request: &Request<I>) {
    for path in request.changes.take() {
        change::note(&request.view, &request.namespace, &request.mount, &path);
    }
}
