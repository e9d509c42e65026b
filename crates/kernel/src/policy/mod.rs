//! Policies: what callers may do to which paths.
//!
//! Texts are parsed when they are written (`parse`), joined into one set of rules per caller
//! (`compile`), and asked on each request (`evaluate`), without storage and without a clock.

mod builtin;
mod compile;
mod evaluate;
mod parameters;
mod parse;
mod paths;
mod store;
mod template;

pub(crate) use compile::Acl;
pub(crate) use evaluate::Verdict;
pub(crate) use paths::{PolicyPaths, Rights, full_rights, rights};
pub(crate) use store::PolicyStore;
pub(crate) use template::{Alias as FactsAlias, Facts, Group as FactsGroup};

#[cfg(test)]
mod tests;
