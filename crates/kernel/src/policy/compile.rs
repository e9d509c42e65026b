//! Rules of several policies joined into one set. Pure.

use super::{
    parameters::{self, Values},
    parse::{Capabilities, Policy, Rule},
    template::{self, Facts},
};
use bailee_notation::glob::{Pattern, PatternSet};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The rights of a caller in one namespace.
#[derive(Debug, PartialEq)]
pub(crate) struct Acl {
    pub(crate) root: bool,
    pub(crate) rules: PatternSet<Grant>,
}

/// What all policies together say about one pattern.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Grant {
    /// Nothing but `DENY` when a policy denies.
    pub(crate) capabilities: Capabilities,
    pub(crate) allowed_parameters: BTreeMap<String, Values>,
    pub(crate) denied_parameters: BTreeMap<String, Values>,
    pub(crate) required_parameters: Vec<String>,
    pub(crate) min_wrapping_ttl: Option<Duration>,
    pub(crate) max_wrapping_ttl: Option<Duration>,
    /// What each policy gives.
    pub(crate) sources: Vec<(Arc<str>, Capabilities)>,
}

impl Acl {
    /// All rights.
    pub(crate) fn root() -> Acl {
        Acl { root: true, rules: PatternSet::new([], |_, _| {}) }
    }

    /// Joins policies, given with their names. A rule whose templates stand for nothing is left out.
    pub(crate) fn compile<'a>(
        policies: impl IntoIterator<Item = (&'a str, &'a Policy)>,
        facts: &Facts,
    ) -> Acl {
        let mut grants = Vec::new();
        for (name, policy) in policies {
            let name: Arc<str> = name.into();
            for rule in &policy.rules {
                let pattern = pattern(rule, facts);
                grants.extend(pattern.map(|pattern| (pattern, Grant::of(rule, name.clone()))));
            }
        }
        Acl { root: false, rules: PatternSet::new(grants, Grant::join) }
    }
}

impl Grant {
    fn of(rule: &Rule, policy: Arc<str>) -> Grant {
        if rule.capabilities.has(Capabilities::DENY) || rule.unmet.is_some() {
            return Grant::denial(policy);
        }
        Grant {
            capabilities: rule.capabilities,
            allowed_parameters: rule.allowed_parameters.clone(),
            denied_parameters: rule.denied_parameters.clone(),
            required_parameters: rule.required_parameters.clone(),
            min_wrapping_ttl: rule.min_wrapping_ttl,
            max_wrapping_ttl: rule.max_wrapping_ttl,
            sources: vec![(policy, rule.capabilities)],
        }
    }

    fn denial(policy: Arc<str>) -> Grant {
        let capabilities = Capabilities::DENY;
        Grant { capabilities, sources: vec![(policy, capabilities)], ..Grant::default() }
    }

    pub(crate) fn denies(&self) -> bool {
        self.capabilities.has(Capabilities::DENY)
    }

    /// Adds what another rule says about the same pattern. A denial wins; capabilities add up; lists
    /// of parameters too, so that a policy without lists does not lift those of another; of
    /// wrapping limits the shorter holds.
    fn join(&mut self, other: Grant) {
        if self.denies() {
            return;
        }
        if other.denies() {
            *self = other;
            return;
        }
        self.capabilities = self.capabilities.with(other.capabilities);
        for (name, values) in other.allowed_parameters {
            parameters::join(&mut self.allowed_parameters, &name, values);
        }
        for (name, values) in other.denied_parameters {
            parameters::join(&mut self.denied_parameters, &name, values);
        }
        self.required_parameters.extend(other.required_parameters);
        self.min_wrapping_ttl = shorter(self.min_wrapping_ttl, other.min_wrapping_ttl);
        self.max_wrapping_ttl = shorter(self.max_wrapping_ttl, other.max_wrapping_ttl);
        self.sources.extend(other.sources);
    }
}

/// The pattern of a rule for whom the facts tell of; `None` when it is not for them.
pub(super) fn pattern(rule: &Rule, facts: &Facts) -> Option<Pattern> {
    if !template::is_templated(&rule.path) {
        return Pattern::parse(&rule.path).ok();
    }
    let denies = rule.capabilities.has(Capabilities::DENY);
    let path = template::expand(&rule.path, facts, denies)?;
    match Pattern::parse(&path) {
        Ok(pattern) => Some(pattern),
        // A name made the pattern malformed: a denial then holds for all it may have meant.
        Err(_) if denies => {
            let head = path.split("+*").next().unwrap_or_default();
            Pattern::parse(&format!("{}*", head.trim_end_matches('+'))).ok()
        }
        Err(_) => None,
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}
