//! A request as it enters the kernel, and the answer as it leaves.

use bailee_crypto::Sensitive;
use bailee_sdk::{Headers, Json, Operation, request::Issued};
use serde_json::{Map, Value};
use std::{fmt, net::SocketAddr, time::Duration};

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
    /// Answered as "not found" although there is data to show.
    pub missing: bool,
    /// The kind of the mount that answered, such as `kv` or `system`.
    pub mount_kind: String,
    /// Old clients read the data at the top level as well.
    pub data_at_top: bool,
}

/// What is answered.
#[derive(Debug)]
pub enum Content {
    /// Done, nothing to say.
    Empty,
    /// A JSON object.
    Data(Json),
    /// A document of its own type, outside the envelope.
    Raw {
        /// Its media type.
        content_type: &'static str,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// The lease of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Its id; empty for a time span without a lease, as KV v1 gives.
    pub id: String,
    /// How long it holds.
    pub ttl: Duration,
    /// Whether it can be prolonged.
    pub renewable: bool,
}
