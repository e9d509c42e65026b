//! The life of a request, and the state it needs.
//!
//! Start at `handle.rs`: one function, read from top to bottom.
//!
//! **Invariant:** the kernel knows neither HTTP nor JSON envelopes; `server` translates.
//! **Invariant:** it names no engine; the binary hands it the list of kinds.
//! **Invariant:** no function below `state.rs` asks whether the barrier is sealed.

mod activity;
mod answer;
mod audit;
mod call;
mod cubbyhole;
mod event;
mod handle;
mod headers;
mod help;
mod identity;
mod intents;
mod kernel;
mod keyholders;
mod lease;
mod lockout;
mod mount;
mod policy;
mod purge;
mod quota;
mod registry;
mod running;
mod session;
mod snapshot;
mod state;
mod status;
mod streaming;
mod system;
mod target;
mod tick;
mod token;
mod wrapping;

#[cfg(test)]
mod tests;

pub use audit::AuditDevice;
pub use call::{Answer, Call, Content, Leased, Wrapped};
pub use identity::Workload;
pub use keyholders::WrittenShares;
pub use quota::{Allowance, Limited};
pub use session::Session;
pub use snapshot::SNAPSHOT_BYTES_MAX;
pub use state::{Core, Initialize, Initialized, Node, Parts, Restore, Settings, SnapshotBytes};
pub use status::{Health, Leader, SealStatus};
pub use system::{Cors, Host, LogLevel, PageHeaders};
