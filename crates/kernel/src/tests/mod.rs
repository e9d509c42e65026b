//! The kernel as a whole, through its public face, with engines of its own making.

mod auditing;
mod devices;
mod engine;
mod faults;
mod identity;
mod keyholders;
mod lifecycle;
mod logins;
mod mounts;
mod namespaces;
mod oidc;
mod pipeline;
mod quotas;
mod snapshot;
mod world;
mod wrapping;

pub(crate) use world::{Recorder, settings};
