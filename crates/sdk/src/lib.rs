//! What an engine is: all that the author of a secrets engine or auth method must read.
//!
//! An engine declares [`Path`]s; each operation names its input type and its code. Routing,
//! validation, help, OpenAPI and the list of endpoints to test come from that declaration. Handlers
//! get a [`Request`] and give a [`Reply`]; what they write through `request.view` lands in one batch
//! after they return, or not at all.
//!
//! **Invariant:** nothing here knows tokens, HTTP or another engine.

pub mod change;
pub mod cidr;
pub mod engine;
pub mod error;
pub mod field;
pub mod help;
pub mod intent;
pub mod openapi;
pub mod path;
pub mod request;
pub mod stream;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use bailee_barrier::{Names, View};
pub use bailee_crypto::{Clock, Sensitive};
pub use cidr::Cidr;
pub use engine::{Engine, EngineKind, Issuer, Lease, LeaseRenewal, Setup, Term};
pub use error::{Code, Error};
pub use field::Nothing;
pub use path::{Endpoint, Operation, Path, typed};
pub use request::{
    Body, Caller, Headers, Json, Login, LoginAlias, Mount, Mounts, Namespace, Reply, Request,
    TokenType,
};
pub use stream::Pieces;
