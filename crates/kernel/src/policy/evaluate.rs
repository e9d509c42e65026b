//! Asking a set of rules: no storage, no clock, no locks.

use super::{
    compile::{Acl, Grant},
    parameters,
    parse::Capabilities,
};
use bailee_notation::glob::Pattern;
use bailee_sdk::Operation;
use serde_json::{Map, Value};
use std::time::Duration;

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

    /// Whether an operation on a path of the namespace is permitted; lists end in `/`. `sudo`: the
    /// endpoint needs it. `input` and `wrap_ttl` are held against the rule's limits.
    pub(crate) fn check(
        &self,
        operation: Operation,
        path: &str,
        sudo: bool,
        input: Option<&Map<String, Value>>,
        wrap_ttl: Option<Duration>,
    ) -> Verdict {
        if self.root {
            return Verdict { allowed: true, granting: vec!["root".to_owned()] };
        }
        match self.grant(path, operation.is_listing()) {
            Some(grant) if grant.permits(operation, sudo, input, wrap_ttl) => {
                let needed = capability(operation);
                let sources = grant.sources.iter().filter(|(_, given)| given.has(needed));
                Verdict {
                    allowed: true,
                    granting: sources.map(|(name, _)| name.to_string()).collect(),
                }
            }
            _ => Verdict::default(),
        }
    }

    /// Whether an operation on a path is permitted, whatever its parameters.
    pub(crate) fn may(&self, operation: Operation, path: &str) -> bool {
        let grant = || self.grant(path, operation.is_listing());
        self.root || grant().is_some_and(|grant| grant.capabilities.has(capability(operation)))
    }

    /// Whether `sudo` is given on a path.
    pub(crate) fn has_sudo(&self, path: &str) -> bool {
        let grant = || self.grant(path, false);
        self.root || grant().is_some_and(|grant| grant.capabilities.has(Capabilities::SUDO))
    }

    /// What may be done to a path: sorted names, `root`, or `deny`.
    pub(crate) fn capabilities(&self, path: &str) -> Vec<&'static str> {
        if self.root {
            return vec!["root"];
        }
        match self.grant(path.strip_prefix('/').unwrap_or(path), true) {
            Some(grant) if !grant.denies() && !grant.capabilities.is_empty() => {
                grant.capabilities.names()
            }
            _ => vec!["deny"],
        }
    }

    fn grant(&self, path: &str, is_list: bool) -> Option<&Grant> {
        self.deciding(path, is_list).map(|(_, grant)| grant)
    }

    /// The rule that decides about a path. A list is also decided by the rule for the path without
    /// its last slash: an exact one first, a pattern when nothing matches with the slash.
    pub(super) fn deciding(&self, path: &str, is_list: bool) -> Option<(&Pattern, &Grant)> {
        let found = self.rules.find(path);
        let bare = if is_list { path.strip_suffix('/') } else { None };
        let Some(bare) = bare else { return found };
        match found {
            Some((pattern, _)) if pattern.is_exact() => found,
            _ => match self.rules.find(bare) {
                Some((pattern, grant)) if pattern.is_exact() => Some((pattern, grant)),
                below => found.or(below),
            },
        }
    }
}

impl Grant {
    /// Whether it gives what an operation needs and its limits are kept.
    pub(super) fn permits(
        &self,
        operation: Operation,
        sudo: bool,
        input: Option<&Map<String, Value>>,
        wrap_ttl: Option<Duration>,
    ) -> bool {
        let needed = capability(operation);
        let needed = if sudo { needed.with(Capabilities::SUDO) } else { needed };
        self.capabilities.has(needed)
            && self.allows_wrapping(wrap_ttl)
            && self.allows_input(operation, input)
    }

    pub(super) fn allows_wrapping(&self, wrap_ttl: Option<Duration>) -> bool {
        let asked = wrap_ttl.unwrap_or_default();
        match (self.min_wrapping_ttl, self.max_wrapping_ttl) {
            (None, None) => true,
            (min, max) => {
                !asked.is_zero()
                    && min.is_none_or(|min| min <= asked)
                    && max.is_none_or(|max| asked <= max)
            }
        }
    }

    pub(super) fn allows_input(
        &self,
        operation: Operation,
        input: Option<&Map<String, Value>>,
    ) -> bool {
        match operation {
            Operation::Delete | Operation::List | Operation::Scan => return true,
            Operation::Create | Operation::Read | Operation::Update | Operation::Patch => {}
        }
        let Some(input) = input else { return self.required_parameters.is_empty() };
        parameters::all_there(&self.required_parameters, input)
            && !parameters::some_denied(&self.denied_parameters, input)
            && parameters::all_allowed(&self.allowed_parameters, input)
    }
}

pub(super) fn capability(operation: Operation) -> Capabilities {
    match operation {
        Operation::Create => Capabilities::CREATE,
        Operation::Read => Capabilities::READ,
        Operation::Update => Capabilities::UPDATE,
        Operation::Patch => Capabilities::PATCH,
        Operation::Delete => Capabilities::DELETE,
        Operation::List => Capabilities::LIST,
        Operation::Scan => Capabilities::SCAN,
    }
}
