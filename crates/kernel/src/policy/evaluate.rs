//! Asking a set of rules.

use bailee_sdk::Operation;
use serde_json::{Map, Value};
use std::time::Duration;

/// The rights of a caller in one namespace.
#[derive(Debug, Default)]
pub(crate) struct Acl {
    pub(crate) root: bool,
}

/// Whether a request is permitted, and by which policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether it may go on.
    pub(crate) allowed: bool,
    /// Names of the policies that grant it.
    pub(crate) granting: Vec<String>,
}

impl Acl {
    /// Whether it holds all rights.
    pub(crate) fn is_root(&self) -> bool {
        self.root
    }

    /// Whether an operation on a path of the namespace is permitted. `sudo`: the endpoint needs it.
    pub(crate) fn check(
        &self,
        _operation: Operation,
        _path: &str,
        _sudo: bool,
        _input: Option<&Map<String, Value>>,
        _wrap_ttl: Option<Duration>,
    ) -> Verdict {
        Verdict { allowed: self.root, granting: Vec::new() }
    }

    /// What may be done to a path: sorted names, `root`, or `deny`.
    pub(crate) fn capabilities(&self, _path: &str) -> Vec<&'static str> {
        vec![if self.root { "root" } else { "deny" }]
    }

    /// Whether an operation on a path is permitted, whatever its parameters.
    pub(crate) fn may(&self, operation: Operation, path: &str) -> bool {
        self.check(operation, path, false, None, None).allowed
    }
}
