//! Leases: what engines gave out for a time, and its end.
//!
//! **Invariant:** a lease is in storage from the batch that answers with it until the batch that
//! follows its revocation. No lease is lost, whatever fails in between.
//! **Invariant:** what the engine cannot take back is kept, shown with the reason and tried again,
//! less and less often, until it succeeds or an operator gives it up.
//!
//! A lease ends at its time, with the token that asked for it, when it is revoked, and with its mount.

mod gate;
mod lane;
mod listing;
mod mark;
mod pace;
mod paths;
mod record;
mod revoke;
mod store;
mod token_lease;

pub(crate) use listing::Ended;
pub(crate) use mark::end_with_token;
pub(crate) use paths::LeasePaths;
pub(crate) use store::{Asked, LeaseStore, no_engine};

#[cfg(test)]
mod tests;
