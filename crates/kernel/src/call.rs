//! A request as it enters the kernel, and the answer as it leaves.

use bailee_crypto::Sensitive;
use bailee_sdk::{Headers, Json, Operation, Pieces, request::Issued};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

/// A request, free of HTTP.
pub struct Call {
    /// Unique id, shown to the client and in audit lines.
    pub id: String,
    /// The namespace named beside the path; empty for none.
    pub namespace: String,
    /// The path behind `/v1/`; it may start with the path of a namespace. A list ends in `/`.
    pub path: String,
    /// What is asked; a write is an update until the kernel finds that it creates.
    pub operation: Operation,
    /// Body and query.
    pub input: Map<String, Value>,
    /// The client's token.
    pub token: Option<Sensitive<String>>,
    /// How long a wrapped answer is to be kept, when the client asks for one.
    pub wrap_ttl: Option<Duration>,
    /// Where the client is.
    pub remote: Option<SocketAddr>,
    /// Headers that someone asked for: audit, or the mount.
    pub headers: Headers,
}

/// Not even its field names are shown: input is secret.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({} {})", self.operation.name(), self.id)
    }
}

/// What a request came to.
#[derive(Debug)]
pub struct Answer {
    /// The request's id.
    pub id: String,
    /// What is answered.
    pub content: Content,
    /// The lease under which it holds.
    pub leased: Option<Leased>,
    /// A token that was made or renewed.
    pub auth: Option<Box<Issued>>,
    /// Sentences for the user that are not errors.
    pub warnings: Vec<String>,
    /// The token under which the answer was put away: then there is nothing else to show.
    pub wrapped: Option<Box<Wrapped>>,
    /// Answered as "not found" although there is data to show.
    pub missing: bool,
    /// Answered as "accepted": what was asked is done later.
    pub accepted: bool,
    /// A document of its own type that says what is wrong with the request.
    pub refused: bool,
    /// The kind of the mount that answered, such as `kv` or `system`.
    pub mount_kind: String,
    /// Old clients read the data at the top level as well.
    pub data_at_top: bool,
}

impl Answer {
    /// An answer without content.
    pub(crate) fn empty(id: &str, mount_kind: &str) -> Answer {
        Answer {
            id: id.to_owned(),
            content: Content::Empty,
            leased: None,
            auth: None,
            warnings: Vec::new(),
            wrapped: None,
            missing: false,
            accepted: false,
            refused: false,
            mount_kind: mount_kind.to_owned(),
            data_at_top: false,
        }
    }

    /// Whether it holds only as long as a lease that is kept.
    pub(crate) fn has_lease(&self) -> bool {
        self.leased.as_ref().is_some_and(|leased| !leased.id.is_empty())
    }

    /// Whether there is something to say beside that it is done.
    pub fn says_something(&self) -> bool {
        !matches!(self.content, Content::Empty)
            || self.auth.is_some()
            || self.leased.is_some()
            || self.wrapped.is_some()
            || !self.warnings.is_empty()
    }
}

/// What is answered.
#[derive(Debug)]
pub enum Content {
    /// Done, nothing to say.
    Empty,
    /// A JSON object.
    Data(Json),
    /// Another answer, to be given as text in the field `response`: old clients unwrap so.
    Answer(Box<Answer>),
    /// A document of its own type, outside the envelope.
    Raw {
        /// Its media type.
        content_type: &'static str,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A document of its own type that goes on.
    Stream {
        /// Its media type.
        content_type: &'static str,
        /// Its pieces, as they are made.
        pieces: Pieces,
    },
}

/// The token under which an answer was put away.
#[derive(Clone, Debug)]
pub struct Wrapped {
    /// The token, good for one use.
    pub token: Sensitive<String>,
    /// Its public handle.
    pub accessor: String,
    /// How long the answer is kept.
    pub ttl: Duration,
    /// Since when.
    pub created: SystemTime,
    /// The path of the request that was answered.
    pub path: String,
    /// The handle of what is inside, when it has one; empty otherwise.
    pub accessor_inside: String,
}

/// The lease of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leased {
    /// Its id; empty for a time span without a lease, as KV v1 gives.
    pub id: String,
    /// How long it holds.
    pub ttl: Duration,
    /// Whether it can be prolonged.
    pub renewable: bool,
}
