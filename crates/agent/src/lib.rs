//! The agent beside an application: it fetches credentials from where they are kept, keeps them through
//! outages, and hands them over as the application wants them.
//!
//! `manager` says what a place that keeps secrets can do; `aws` and `vault` are such places. `store` keeps what
//! was fetched, refreshes it, and serves it while its place is away. `connection` puts the properties of a
//! connection together. `outputs` and `listeners` hand over.
//!
//! **Invariant:** it knows no server code.

pub mod aws;
pub mod connection;
pub mod disk;
mod event;
pub mod failure;
pub mod listeners;
pub mod manager;
#[cfg(test)]
mod outage_tests;
pub mod outputs;
pub mod private_file;
pub mod store;
#[cfg(test)]
mod testing;
pub mod vault;

pub use failure::{Cause, Failure};
pub use manager::{Fetched, Material, SecretManager, Wanted};
pub use store::{Freshness, Held, Store};
