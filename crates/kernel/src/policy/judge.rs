//! Judging a request: the rule for its path decides, and no rule for the same thing under another
//! spelling of its path is evaded. Pure.

use super::{Acl, compile::Grant, evaluate::Verdict};
use bailee_notation::glob::Pattern;
use bailee_sdk::{Operation, Path};
use serde_json::{Map, Value};
use std::{cmp::Ordering, time::Duration};

/// What an endpoint asks of the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Whether the rule must give `sudo`, too.
    pub(crate) sudo: bool,
    /// Segments of the path before those whose case does not matter; none where it always does.
    pub(crate) caseless_after: Option<usize>,
}

/// A request as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) operation: Operation,
    /// The path as the policies name it; lists end in `/`.
    pub(crate) path: &'a str,
    /// What its endpoint asks for.
    pub(crate) needs: Needs,
    /// Its parameters.
    pub(crate) input: Option<&'a Map<String, Value>>,
    /// For how long the answer is to be wrapped.
    pub(crate) wrap_ttl: Option<Duration>,
}

impl Needs {
    /// Those of a declared path. `mount`: where its mount is, as the policies name it.
    pub(crate) fn of(declared: &Path, mount: &str) -> Needs {
        let fixed = mount.matches('/').count();
        Needs { sudo: declared.sudo, caseless_after: declared.ignores_case.then_some(fixed) }
    }
}

impl Acl {
    /// Whether a request is permitted, and by which policies.
    pub(crate) fn judge(&self, asked: &Asked<'_>) -> Verdict {
        let Asked { operation, path, needs, input, wrap_ttl } = *asked;
        let verdict = self.check(operation, path, needs.sudo, input, wrap_ttl);
        if verdict.allowed && self.evaded(asked).is_some() {
            return Verdict::default();
        }
        verdict
    }

    /// The rule that refuses a request although the one for its path permits it.
    pub(super) fn evaded(&self, asked: &Asked<'_>) -> Option<&Pattern> {
        if self.is_root() {
            return None;
        }
        self.denial_without_slash(asked).or_else(|| self.other_case(asked))
    }

    /// Many endpoints serve a path with a slash at its end like the one without: a denial of that
    /// holds for both.
    fn denial_without_slash(&self, asked: &Asked<'_>) -> Option<&Pattern> {
        let bare = if asked.operation.is_listing() { None } else { asked.path.strip_suffix('/') };
        let (pattern, grant) = self.deciding(bare?, false)?;
        grant.denies().then_some(pattern)
    }

    /// Where the case of a name does not matter, the closest of the rules for all its spellings must
    /// permit as well. Of two that are equally close, one of which is for the spelling in use, the
    /// other one counts only if it denies.
    fn other_case(&self, asked: &Asked<'_>) -> Option<&Pattern> {
        let fixed = asked.needs.caseless_after?;
        let is_list = asked.operation.is_listing();
        let (decider, _) = self.deciding(asked.path, is_list)?;
        let own = folded_pattern(decider, fixed)?;
        let path = folded(asked.path, fixed);
        let bare = if is_list { path.strip_suffix('/') } else { None };
        let same: Vec<(Pattern, &Pattern, &Grant)> = self
            .rules
            .iter()
            .filter(|(pattern, _)| *pattern != decider)
            .filter_map(|(pattern, grant)| Some((folded_pattern(pattern, fixed)?, pattern, grant)))
            .filter(|(pattern, ..)| {
                pattern.matches(&path) || bare.is_some_and(|bare| pattern.matches(bare))
            })
            .collect();
        let closest = same.iter().map(|(pattern, ..)| pattern).chain([&own]);
        let closest = closest.max_by(|one, other| one.precedence(other))?;
        let permits = |grant: &Grant| {
            let Asked { operation, needs, input, wrap_ttl, .. } = *asked;
            let is_equal = closest.precedence(&own) == Ordering::Equal;
            if is_equal {
                !grant.denies()
            } else {
                grant.permits(operation, needs.sudo, input, wrap_ttl)
            }
        };
        let mut equal = same.iter().filter(|(pattern, ..)| pattern == closest);
        equal.find(|(_, _, grant)| !permits(grant)).map(|(_, pattern, _)| *pattern)
    }
}

fn folded_pattern(pattern: &Pattern, fixed: usize) -> Option<Pattern> {
    Pattern::parse(&folded(pattern.as_str(), fixed)).ok()
}

/// A path or pattern in lower case, but for its first segments.
fn folded(text: &str, fixed: usize) -> String {
    let lower = |(at, segment): (usize, &str)| {
        if at < fixed { segment.to_owned() } else { segment.to_lowercase() }
    };
    text.split('/').enumerate().map(lower).collect::<Vec<_>>().join("/")
}
