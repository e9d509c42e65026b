//! Policies: what callers may do to which paths.
//!
//! Texts are parsed when they are written (`parse`), joined into one set of rules per caller
//! (`compile`), and asked on each request (`evaluate`), without storage and without a clock.

mod builtin;
mod compile;
mod evaluate;
mod explain;
mod explain_paths;
mod judge;
mod parameters;
mod parse;
mod password;
mod password_paths;
mod paths;
mod store;
mod subject;
mod template;

pub(crate) use compile::Acl;
pub(crate) use evaluate::Verdict;
pub(crate) use explain_paths::ExplainPaths;
pub(crate) use judge::{Asked, Needs};
pub(crate) use password_paths::PasswordPaths;
pub(crate) use paths::{PolicyPaths, Rights, full_rights, rights};
pub(crate) use store::PolicyStore;
pub(crate) use template::{Alias as FactsAlias, Facts, Group as FactsGroup};

#[cfg(test)]
mod tests;
