//! Policies: what callers may do to which paths.
//!
//! Texts are parsed when they are written (`parse`), joined into one set of rules per caller
//! (`compile`), and asked on each request (`evaluate`), without storage and without a clock.

mod compile;
mod evaluate;
mod paths;
mod store;

pub(crate) use compile::{Alias, Facts, Group};
pub(crate) use evaluate::{Acl, Verdict};
pub(crate) use paths::PolicyPaths;
pub(crate) use store::PolicyStore;
