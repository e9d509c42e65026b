//! The evaluator against a small model: written from the rules of precedence alone, slow and plain.

use super::super::{
    Acl, Facts, Needs,
    explain::{Question, explain},
    judge,
    parse::{self, Policy},
};
use bailee_sdk::Operation;
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};
use std::{cmp::Ordering, sync::Arc, time::Duration};

/// A rule as a writer thinks of it.
#[derive(Clone, Debug)]
struct Said {
    path: String,
    capabilities: Vec<&'static str>,
    allowed: Vec<(&'static str, Vec<Value>)>,
    denied: Vec<(&'static str, Vec<Value>)>,
    required: Vec<&'static str>,
    min: Option<u64>,
    max: Option<u64>,
}

/// A request as a client thinks of it.
#[derive(Clone, Debug)]
struct Asked {
    operation: Operation,
    path: String,
    sudo: bool,
    input: Vec<(&'static str, Value)>,
    wrap: Option<u64>,
}

const SEGMENTS: [&str; 4] = ["a", "b", "ab", "c"];
const NAMES: [&str; 3] = ["x", "Y", "z"];
const CAPABILITIES: [&str; 9] =
    ["deny", "create", "read", "update", "patch", "delete", "list", "scan", "sudo"];
const OPERATIONS: [Operation; 7] = super::super::explain::OPERATIONS;

fn a_value() -> impl Strategy<Value = Value> {
    let values = vec![json!("a"), json!("ab"), json!("b"), json!(true), json!(5), json!("a*")];
    select(values)
}

fn a_pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => select(SEGMENTS.to_vec()).prop_map(str::to_owned),
        2 => Just("+".to_owned()),
        1 => Just("{{identity.entity.id}}".to_owned()),
        1 => Just("{{identity.entity.name}}".to_owned()),
    ];
    let end = select(vec!["", "", "/", "/*", "*"]);
    (vec(segment, 1..4), end, option::weighted(0.1, Just("/")))
        .prop_map(|(segments, end, start)| {
            format!("{}{}{end}", start.unwrap_or_default(), segments.join("/"))
        })
        .prop_filter("'+*' is refused when it is written", |pattern| !pattern.contains("+*"))
}

fn some_lists() -> impl Strategy<Value = Vec<(&'static str, Vec<Value>)>> {
    let name = prop_oneof![6 => select(NAMES.to_vec()), 1 => Just("*")];
    prop_oneof![3 => Just(Vec::new()), 1 => vec((name, vec(a_value(), 0..3)), 0..3)]
}

prop_compose! {
    fn a_rule()(
        path in a_pattern(),
        capabilities in vec(select(CAPABILITIES[1..].to_vec()), 0..4),
        deny in prop::bool::weighted(0.1),
        allowed in some_lists(),
        denied in some_lists(),
        required in prop_oneof![4 => Just(Vec::new()), 1 => vec(select(NAMES.to_vec()), 0..2)],
        min in option::weighted(0.1, 1..4_u64),
        more in option::weighted(0.1, 0..3_u64),
    ) -> Said {
        let capabilities = if deny { [vec!["deny"], capabilities].concat() } else { capabilities };
        let max = more.map(|more| min.unwrap_or(1) + more);
        Said { path, capabilities, allowed, denied, required, min, max }
    }
}

prop_compose! {
    fn a_request()(
        operation in select(OPERATIONS.to_vec()),
        segments in vec(select(SEGMENTS.to_vec()), 1..5),
        slash in prop::bool::weighted(0.2),
        sudo in prop::bool::weighted(0.1),
        input in vec((select(NAMES.to_vec()), prop_oneof![
            4 => a_value(),
            1 => vec(a_value(), 0..3).prop_map(Value::Array),
        ]), 0..3),
        wrap in option::weighted(0.3, 1..6_u64),
    ) -> Asked {
        let end = if slash || operation.is_listing() { "/" } else { "" };
        Asked { operation, path: format!("{}{end}", segments.join("/")), sudo, input, wrap }
    }
}

fn some_facts() -> impl Strategy<Value = (Option<&'static str>, Option<&'static str>)> {
    let value = select(vec!["a", "b", "*", "+", ""]);
    (option::of(value.clone()), option::of(value))
}

/// The rule as HCL.
fn written(rule: &Said) -> String {
    let lists = |name: &str, lists: &[(&str, Vec<Value>)]| {
        if lists.is_empty() {
            return String::new();
        }
        let lines: String =
            lists.iter().map(|(name, values)| format!("{name:?} = {}\n", json!(values))).collect();
        format!("{name} = {{\n{lines}}}\n")
    };
    let span = |name: &str, seconds: Option<u64>| {
        seconds.map(|seconds| format!("{name} = \"{seconds}s\"\n")).unwrap_or_default()
    };
    format!(
        "path {:?} {{\ncapabilities = {}\n{}{}required_parameters = {}\n{}{}}}\n",
        rule.path,
        json!(rule.capabilities),
        lists("allowed_parameters", &rule.allowed),
        lists("denied_parameters", &rule.denied),
        json!(rule.required),
        span("min_wrapping_ttl", rule.min),
        span("max_wrapping_ttl", rule.max),
    )
}

/// The pattern for a caller; none when the rule is not for them.
fn pattern_for(rule: &Said, facts: (Option<&str>, Option<&str>)) -> Option<String> {
    let denies = rule.capabilities.contains(&"deny");
    let mut path = rule.path.clone();
    for (template, value) in
        [("{{identity.entity.id}}", facts.0), ("{{identity.entity.name}}", facts.1)]
    {
        if !path.contains(template) {
            continue;
        }
        let value = value?;
        if !denies && matches!(value, "*" | "+" | "") {
            return None;
        }
        path = path.replace(template, value);
    }
    let path = path.strip_prefix('/').unwrap_or(&path);
    // A name made it malformed: a denial then holds for all it may have meant.
    match path.split_once("+*") {
        Some((head, _)) if denies => Some(format!("{}*", head.trim_end_matches('+'))),
        _ => Some(path.to_owned()),
    }
}

/// Whether a pattern matches: segment by segment, a last star takes any rest.
fn fits(pattern: &str, path: &str) -> bool {
    let (stem, star) = match pattern.strip_suffix('*') {
        Some(stem) => (stem, true),
        None => (pattern, false),
    };
    let wanted: Vec<&str> = stem.split('/').collect();
    let given: Vec<&str> = path.split('/').collect();
    if given.len() < wanted.len() || !star && given.len() != wanted.len() {
        return false;
    }
    wanted.iter().zip(&given).enumerate().all(|(at, (wanted, given))| {
        if star && at + 1 == wanted_len(stem) {
            given.starts_with(wanted)
        } else {
            *wanted == "+" || wanted == given
        }
    })
}

fn wanted_len(stem: &str) -> usize {
    stem.split('/').count()
}

/// Which of two patterns has the lower priority, by the list in the documentation.
fn lower(one: &str, other: &str) -> Ordering {
    let first = |pattern: &str| {
        let plus = pattern.split('/').scan(0, |at, segment| {
            let here = *at;
            *at += segment.len() + 1;
            Some((here, segment))
        });
        let plus = plus.filter(|(_, segment)| *segment == "+").map(|(at, _)| at).next();
        let star = pattern.ends_with('*').then(|| pattern.len() - 1);
        plus.into_iter().chain(star).min().unwrap_or(usize::MAX)
    };
    let pluses = |pattern: &str| pattern.split('/').filter(|segment| *segment == "+").count();
    first(one)
        .cmp(&first(other))
        .then(other.ends_with('*').cmp(&one.ends_with('*')))
        .then(pluses(other).cmp(&pluses(one)))
        .then(one.len().cmp(&other.len()))
        .then(one.cmp(other))
}

fn is_exact(pattern: &str) -> bool {
    !pattern.ends_with('*') && !pattern.split('/').any(|segment| segment == "+")
}

/// The pattern that decides about a path.
fn winner<'a>(patterns: &'a [(String, &Said)], path: &str) -> Option<&'a str> {
    let fitting = patterns.iter().map(|(pattern, _)| pattern.as_str());
    fitting.filter(|pattern| fits(pattern, path)).max_by(|one, other| lower(one, other))
}

fn text_fits(glob: &str, text: &str) -> bool {
    match (glob.strip_prefix('*'), glob.strip_suffix('*')) {
        (_, Some(start)) => text.starts_with(start),
        (Some(end), None) => text.ends_with(end),
        (None, None) => glob == text,
    }
}

fn value_fits(one: &Value, value: &Value, numbers: bool) -> bool {
    match (one, value) {
        (Value::String(glob), Value::String(text)) => text_fits(glob, text),
        (Value::Number(_), _) | (_, Value::Number(_)) if !numbers => false,
        _ => one == value,
    }
}

/// What the documentation says about a request.
fn permits(policies: &[Vec<Said>], facts: (Option<&str>, Option<&str>), asked: &Asked) -> bool {
    let patterns: Vec<(String, &Said)> = policies
        .iter()
        .flatten()
        .filter_map(|rule| Some((pattern_for(rule, facts)?, rule)))
        .collect();
    let bare = asked.path.strip_suffix('/').filter(|_| asked.operation.is_listing());
    let decides = match (winner(&patterns, &asked.path), bare) {
        (Some(pattern), _) if is_exact(pattern) => Some(pattern),
        (found, Some(bare)) => match winner(&patterns, bare) {
            Some(pattern) if is_exact(pattern) => Some(pattern),
            below => found.or(below),
        },
        (found, None) => found,
    };
    let Some(decides) = decides else { return false };
    let rules: Vec<&Said> =
        patterns.iter().filter(|(pattern, _)| pattern == decides).map(|(_, rule)| *rule).collect();
    let says = |name: &str| rules.iter().any(|rule| rule.capabilities.contains(&name));
    if says("deny") || !says(asked.operation.name()) || asked.sudo && !says("sudo") {
        return false;
    }
    let min = rules.iter().filter_map(|rule| rule.min).min();
    let max = rules.iter().filter_map(|rule| rule.max).min();
    if min.is_some() || max.is_some() {
        let Some(wrap) = asked.wrap else { return false };
        if min.is_some_and(|min| wrap < min) || max.is_some_and(|max| wrap > max) {
            return false;
        }
    }
    matches!(asked.operation, Operation::Delete | Operation::List | Operation::Scan)
        || parameters_fit(&rules, asked)
}

/// The values listed for a name in several rules; `Some(vec![])` for any.
fn listed(lists: &[&(&str, Vec<Value>)], name: &str) -> Option<Vec<Value>> {
    let of_name: Vec<&Vec<Value>> = lists
        .iter()
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, values)| values)
        .collect();
    if of_name.is_empty() {
        return None;
    }
    if of_name.iter().any(|values| values.is_empty()) {
        return Some(Vec::new());
    }
    Some(of_name.into_iter().flatten().cloned().collect())
}

fn parameters_fit(rules: &[&Said], asked: &Asked) -> bool {
    let input = input(asked);
    let given = |name: &str| input.keys().any(|key| key.eq_ignore_ascii_case(name));
    if !rules.iter().flat_map(|rule| &rule.required).all(|name| given(name)) {
        return false;
    }
    let allowed: Vec<&(&str, Vec<Value>)> = rules.iter().flat_map(|rule| &rule.allowed).collect();
    let denied: Vec<&(&str, Vec<Value>)> = rules.iter().flat_map(|rule| &rule.denied).collect();
    input.iter().all(|(name, value)| {
        let elements = value.as_array().cloned().unwrap_or_default();
        let is_denied = listed(&denied, "*").is_some()
            || listed(&denied, name).is_some_and(|values| {
                values.is_empty()
                    || values.iter().any(|one| {
                        value_fits(one, value, true)
                            || elements.iter().any(|element| value_fits(one, element, true))
                    })
            });
        let is_allowed = allowed.is_empty()
            || match listed(&allowed, name) {
                None => listed(&allowed, "*").is_some(),
                Some(values) => {
                    let any =
                        |value: &Value| values.iter().any(|one| value_fits(one, value, false));
                    values.is_empty() || any(value) || value.is_array() && elements.iter().all(any)
                }
            };
        is_allowed && !is_denied
    })
}

fn input(asked: &Asked) -> Map<String, Value> {
    asked.input.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn compiled(policies: &[Vec<Said>]) -> Vec<Policy> {
    let text = |rules: &Vec<Said>| rules.iter().map(written).collect::<String>();
    policies.iter().map(|rules| parse::parse(&text(rules)).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_evaluator_permits_what_the_documented_rules_permit(
        policies in vec(vec(a_rule(), 0..6), 0..4),
        facts in some_facts(),
        requests in vec(a_request(), 8),
    ) {
        let parsed = compiled(&policies);
        let known = Facts {
            entity_id: facts.0.map(str::to_owned),
            entity_name: facts.1.map(str::to_owned),
            ..Facts::default()
        };
        let acl = Acl::compile(parsed.iter().map(|policy| ("p", policy)), &known);
        for asked in &requests {
            let wrap = asked.wrap.map(Duration::from_secs);
            let fields = input(asked);
            let verdict =
                acl.check(asked.operation, &asked.path, asked.sudo, Some(&fields), wrap);
            let expected = permits(&policies, facts, asked);
            prop_assert_eq!(verdict.allowed, expected, "{:?}", asked);
            prop_assert!(!verdict.allowed || !verdict.granting.is_empty());
        }
    }

    #[test]
    fn what_is_explained_is_what_is_judged(
        policies in vec(vec(a_rule(), 0..6), 0..4),
        asked in a_request(),
        caseless_after in option::of(0_usize..2),
    ) {
        let named = |(at, policy)| (format!("p{at}"), Arc::new(policy));
        let parsed: Vec<_> = compiled(&policies).into_iter().enumerate().map(named).collect();
        let facts = Facts::default();
        let acl = Acl::compile(parsed.iter().map(|(name, policy)| (&**name, &**policy)), &facts);
        let (input, wrap_ttl) = (input(&asked), asked.wrap.map(Duration::from_secs));
        let needs = Needs { sudo: asked.sudo, caseless_after };
        let told = explain(&parsed, &facts, &Question {
            path: &asked.path,
            list_path: &asked.path,
            operations: &[asked.operation],
            input: Some(&input),
            wrap_ttl,
            needs: &|_| needs,
        });
        let (operation, path) = (asked.operation, asked.path.as_str());
        let request = judge::Asked { operation, path, needs, input: Some(&input), wrap_ttl };
        let allowed = &told["operations"][operation.name()]["allowed"];
        prop_assert_eq!(allowed, acl.judge(&request).allowed, "{:?}", told);
    }

    #[test]
    fn more_policies_never_lift_a_denial(
        policies in vec(vec(a_rule(), 0..6), 1..4),
        more in vec(a_rule(), 0..4),
        path in a_request().prop_map(|asked| asked.path),
    ) {
        let facts = Facts::default();
        let same: Vec<Said> = policies.iter().flatten().cloned().collect();
        let before = compiled(std::slice::from_ref(&same));
        let acl = Acl::compile(before.iter().map(|policy| ("p", policy)), &facts);
        let denying = acl.deciding(&path, false).filter(|(_, grant)| grant.denies());
        if let Some((pattern, _)) = denying {
            let again: Vec<Said> = more
                .into_iter()
                .map(|rule| Said { path: pattern.as_str().to_owned(), ..rule })
                .collect();
            let parsed = compiled(&[same.clone(), again]);
            let joined = Acl::compile(parsed.iter().map(|policy| ("p", policy)), &facts);
            let decides = joined.deciding(&path, false);
            prop_assert!(decides.is_some_and(|(_, grant)| grant.denies()));
        }
    }
}
