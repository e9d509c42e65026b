//! Why a set of policies permits something, or does not. Pure.

use super::{
    Acl, Asked, Facts, Needs,
    compile::{Grant, pattern},
    evaluate::capability,
    parameters,
    parse::{Capabilities, Policy, Rule},
    template,
};
use bailee_notation::glob::Pattern;
use bailee_sdk::Operation;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// What is asked about.
pub(crate) struct Question<'a> {
    /// The path as the policies name it.
    pub(crate) path: &'a str,
    /// The same for lists: it ends in `/`.
    pub(crate) list_path: &'a str,
    /// The operations; empty for all.
    pub(crate) operations: &'a [Operation],
    /// Parameters of the request, if they are to be held against the rules.
    pub(crate) input: Option<&'a Map<String, Value>>,
    /// For how long the answer is to be wrapped.
    pub(crate) wrap_ttl: Option<Duration>,
    /// What the endpoint of an operation asks of the rules.
    pub(crate) needs: &'a (dyn Fn(Operation) -> Needs + Sync),
}

impl<'a> Question<'a> {
    /// It for one operation. Lists are asked with a slash at the end of their path.
    fn asked(&'a self, operation: Operation) -> Asked<'a> {
        let path = if operation.is_listing() { self.list_path } else { self.path };
        let (input, wrap_ttl) = (self.input, self.wrap_ttl);
        Asked { operation, path, needs: (self.needs)(operation), input, wrap_ttl }
    }
}

/// The operations, in the order in which they are told.
pub(crate) const OPERATIONS: [Operation; 7] = [
    Operation::Create,
    Operation::Read,
    Operation::Update,
    Operation::Patch,
    Operation::Delete,
    Operation::List,
    Operation::Scan,
];

/// A rule that matches, and whose it is.
struct Match<'a> {
    policy: &'a str,
    rule: &'a Rule,
    pattern: Pattern,
    /// Whether it matches only the path without its last slash.
    bare: bool,
}

/// What these policies say about the question.
pub(crate) fn explain(
    policies: &[(String, Arc<Policy>)],
    facts: &Facts,
    question: &Question<'_>,
) -> Map<String, Value> {
    let acl = Acl::compile(policies.iter().map(|(name, policy)| (name.as_str(), &**policy)), facts);
    let asked = if question.operations.is_empty() { &OPERATIONS } else { question.operations };
    let mut operations = Map::new();
    let mut rules = Map::new();
    for operation in asked {
        let asked = question.asked(*operation);
        let winner = acl.deciding(asked.path, operation.is_listing());
        let problem = problem(&acl, winner, &asked);
        let allowed = problem.is_none();
        let reason = problem.unwrap_or_else(|| format!("granted by {}", granting(winner, &asked)));
        let rule = winner.map(|(pattern, _)| pattern.as_str());
        let told = json!({ "allowed": allowed, "reason": reason, "rule": rule });
        operations.insert(operation.name().to_owned(), told);
        if let Some((pattern, grant)) = winner {
            rules.entry(pattern.as_str()).or_insert_with(|| {
                let matches = matches(policies, facts, asked.path);
                decided(pattern, grant, &matches, operation.is_listing())
            });
        }
    }
    let mut told = Map::new();
    told.insert("capabilities".to_owned(), json!(acl.capabilities(question.path)));
    told.insert("operations".to_owned(), Value::Object(operations));
    told.insert("rules".to_owned(), Value::Object(rules));
    told.insert("left_out".to_owned(), left_out(policies, facts));
    told
}

/// Every rule that matches the path, or the path without its last slash.
fn matches<'a>(policies: &'a [(String, Arc<Policy>)], facts: &Facts, path: &str) -> Vec<Match<'a>> {
    let bare = path.strip_suffix('/');
    let mut found = Vec::new();
    for (name, policy) in policies {
        for rule in &policy.rules {
            let Some(pattern) = pattern(rule, facts) else { continue };
            let whole = pattern.matches(path);
            if whole || bare.is_some_and(|bare| pattern.matches(bare)) {
                found.push(Match { policy: name, rule, pattern, bare: !whole });
            }
        }
    }
    found
}

/// A rule that decides: what it says, who wrote it, and why no other rule decides.
fn decided(winner: &Pattern, grant: &Grant, matches: &[Match<'_>], is_list: bool) -> Value {
    let from: Vec<Value> =
        matches.iter().filter(|one| one.pattern == *winner).map(Match::shown).collect();
    let others = matches.iter().filter(|one| one.pattern != *winner && (is_list || !one.bare));
    let outranked: Vec<Value> = others
        .map(|one| {
            let mut shown = one.shown();
            if let Value::Object(fields) = &mut shown {
                fields.insert("because".to_owned(), because(winner, one).into());
            }
            shown
        })
        .collect();
    let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs());
    json!({
        "capabilities": grant.capabilities.names(),
        "allowed_parameters": grant.allowed_parameters,
        "denied_parameters": grant.denied_parameters,
        "required_parameters": grant.required_parameters,
        "min_wrapping_ttl": seconds(grant.min_wrapping_ttl),
        "max_wrapping_ttl": seconds(grant.max_wrapping_ttl),
        "from": from,
        "outranked": outranked,
    })
}

impl Match<'_> {
    fn shown(&self) -> Value {
        json!({
            "policy": self.policy,
            "path": self.rule.path,
            "line": self.rule.line,
            "capabilities": self.rule.capabilities.names(),
            "unmet_condition": self.rule.unmet,
        })
    }
}

/// Why a rule does not decide although it matches.
fn because(winner: &Pattern, loser: &Match<'_>) -> String {
    let pattern = &loser.pattern;
    if loser.bare {
        return "a rule for the path with its slash decides about a list".to_owned();
    }
    if winner.is_exact() {
        return "an exact path outranks a pattern".to_owned();
    }
    if pattern.is_exact() {
        return "for a list the rule without the slash decides".to_owned();
    }
    let first = |pattern: &Pattern| pattern.first_wildcard();
    let plus = |pattern: &Pattern| pattern.as_str().split('/').filter(|part| *part == "+").count();
    let star = |pattern: &Pattern| pattern.as_str().ends_with('*');
    if first(pattern) != first(winner) {
        "its first wildcard comes earlier".to_owned()
    } else if star(pattern) != star(winner) {
        "it ends with *".to_owned()
    } else if plus(pattern) != plus(winner) {
        "it has more + segments".to_owned()
    } else if pattern.as_str().len() != winner.as_str().len() {
        "it is shorter".to_owned()
    } else {
        "it comes first in the order of the alphabet".to_owned()
    }
}

/// Why an operation is refused; nothing when it is permitted. Parameters that nobody named are not
/// held against the rules.
fn problem(acl: &Acl, winner: Option<(&Pattern, &Grant)>, asked: &Asked<'_>) -> Option<String> {
    let Asked { operation, needs, input, wrap_ttl, .. } = *asked;
    let Some((pattern, grant)) = winner else {
        return Some("no rule matches this path".to_owned());
    };
    let pattern = pattern.as_str();
    if grant.denies() {
        let policies: Vec<&str> = grant.sources.iter().map(|(name, _)| &**name).collect();
        return Some(format!("denied by {} for {pattern:?}", policies.join(", ")));
    }
    let missing = [capability(operation), Capabilities::SUDO]
        .into_iter()
        .zip([true, needs.sudo])
        .find(|(capability, needed)| *needed && !grant.capabilities.has(*capability));
    if let Some((capability, _)) = missing {
        let names = capability.names().join(", ");
        return Some(format!("the rule for {pattern:?} decides and does not grant {names}"));
    }
    if !grant.allows_wrapping(wrap_ttl) {
        return Some(format!(
            "the rule for {pattern:?} asks for a wrapped answer within its limits"
        ));
    }
    if let Some(input) = input.filter(|input| !grant.allows_input(operation, Some(input))) {
        let names = parameters::refused(
            &grant.required_parameters,
            &grant.denied_parameters,
            &grant.allowed_parameters,
            input,
        );
        let names = names.join(", ");
        return Some(format!("the rule for {pattern:?} refuses the parameters: {names}"));
    }
    let evaded = acl.evaded(asked)?;
    Some(format!("the rule for {:?}, which means the same path, refuses it", evaded.as_str()))
}

fn granting(winner: Option<(&Pattern, &Grant)>, asked: &Asked<'_>) -> String {
    let needed = capability(asked.operation);
    let sources = winner.into_iter().flat_map(|(_, grant)| &grant.sources);
    let names: Vec<&str> =
        sources.filter(|(_, given)| given.has(needed)).map(|(name, _)| &**name).collect();
    names.join(", ")
}

/// Rules whose templates stand for nothing here.
fn left_out(policies: &[(String, Arc<Policy>)], facts: &Facts) -> Value {
    let mut found = Vec::new();
    for (name, policy) in policies {
        for rule in &policy.rules {
            if template::is_templated(&rule.path) && pattern(rule, facts).is_none() {
                found.push(json!({ "policy": name, "path": rule.path, "line": rule.line }));
            }
        }
    }
    found.into()
}

/// What one policy alone gives on a path, with the rule that does; nothing when it gives nothing.
/// Templates count as given to nobody.
pub(crate) fn grants(name: &str, policy: &Policy, path: &str) -> Option<Value> {
    let acl = Acl::compile([(name, policy)], &Facts::default());
    let (pattern, grant) = acl.deciding(path, true)?;
    if grant.denies() || grant.capabilities.is_empty() {
        return None;
    }
    let line =
        policy.rules.iter().find(|rule| rule.path.trim_start_matches('/') == pattern.as_str());
    Some(json!({
        "capabilities": Capabilities::names(grant.capabilities),
        "rule": pattern.as_str(),
        "line": line.map(|rule| rule.line),
    }))
}
