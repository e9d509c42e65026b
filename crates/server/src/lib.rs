//! HTTP in front of the kernel.
//!
//! A connection is accepted and bounded in `listener.rs`, a request is routed in `routes.rs`, read
//! and answered in `wire.rs`. What must work while sealed (init, unseal, health) is in `open.rs`.
//!
//! **Invariant:** HTTP, the JSON envelope and status codes are known here and nowhere else.
//! **Invariant:** nothing here decides who may do what; it knows neither storage nor engines.

mod body;
mod cors;
mod event;
mod input;
pub mod limits;
mod listener;
mod open;
mod paths;
mod routes;
mod silence;
mod snapshot;
mod status;
pub mod tls;
mod wire;

pub use listener::{BindError, Listen, Server};
