//! The life of a request, and the state it needs.
//!
//! Start at `handle.rs`: one function, read from top to bottom.
//!
//! **Invariant:** the kernel knows neither HTTP nor JSON envelopes; `server` translates.
//! **Invariant:** it names no engine; the binary hands it the list of kinds.
//! **Invariant:** no function below `state.rs` asks whether the barrier is sealed.

mod call;

pub use call::{Answer, Auth, Call, Content, Leased};
