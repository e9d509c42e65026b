//! Rate-limit quotas: how many requests a client may make in a time.
//!
//! Asked before anything else is known of a request, so that refusing costs little. Without quotas it
//! costs one look at an empty set.

mod check;
mod limiter;
mod paths;
mod rules;
mod store;

pub use check::Limited;
pub use limiter::Allowance;
pub(crate) use paths::QuotaPaths;
pub(crate) use store::QuotaStore;

#[cfg(test)]
mod tests;
