//! Rules against requests.

use super::{
    super::{Acl, Asked, Facts, Needs, parse},
    NAMES, acl,
};
use bailee_sdk::Operation;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};
use std::time::Duration;

fn passes(acl: &Acl, operation: Operation, path: &str, input: Value) -> bool {
    acl.check(operation, path, false, input.as_object(), None).allowed
}

#[test]
fn capabilities_are_those_of_the_deciding_rule() {
    let acl = acl(&[r#"
        path "kv/*" { capabilities = ["create","read","update"] }
        path "kv/secret" { capabilities = ["deny"] }
        path "kv/+/x" { capabilities = ["list","sudo"] }
        path "patchme" { capabilities = ["patch","delete"] }"#]);
    assert_eq!(acl.capabilities("kv/a"), ["create", "read", "update"]);
    assert_eq!(acl.capabilities("kv/secret"), ["deny"]);
    assert_eq!(acl.capabilities("kv/b/x"), ["list", "sudo"]);
    assert_eq!(acl.capabilities("patchme"), ["delete", "patch"]);
    assert_eq!(acl.capabilities("/patchme"), ["delete", "patch"]);
    assert_eq!(acl.capabilities("none"), ["deny"]);
    assert_eq!(Acl::root().capabilities("any"), ["root"]);
    assert!(Acl::root().check(Operation::Delete, "any", true, None, None).allowed);
}

#[test]
fn a_rule_for_one_spelling_holds_for_all_where_case_does_not_matter() {
    let judged = |rules: &str, operation, path: &str| {
        let needs = Needs { sudo: false, caseless_after: Some(1) };
        let input = None;
        acl(&[rules]).judge(&Asked { operation, path, needs, input, wrap_ttl: None }).allowed
    };
    let (read, update) = (Operation::Read, Operation::Update);
    let wide = r#"path "m/name/*" { capabilities = ["read", "update"] }"#;
    for denied in ["ann", "Ann", "aN*"] {
        let rules = format!(r#"{wide} path "m/name/{denied}" {{ capabilities = ["deny"] }}"#);
        for name in ["ann", "Ann", "ANN"] {
            assert!(!judged(&rules, read, &format!("m/name/{name}")), "{denied} {name}");
        }
        assert!(judged(&rules, read, "m/name/bob"));
    }
    // The closest rule decides, whether it denies or gives less.
    let rules = format!(r#"{wide} path "m/name/ann" {{ capabilities = ["read"] }}"#);
    assert!(judged(&rules, read, "m/name/ANN") && !judged(&rules, update, "m/name/ANN"));
    // One that is further away takes nothing from who is given one spelling.
    let rules = r#"path "m/*" { capabilities = ["read"] }
        path "m/name/Ann" { capabilities = ["update"] }"#;
    assert!(judged(rules, update, "m/name/Ann") && !judged(rules, update, "m/name/ann"));
    // The mount's own path has its case.
    let rules = r#"path "+/name/*" { capabilities = ["read"] }
        path "M/name/ann" { capabilities = ["deny"] }"#;
    assert!(judged(rules, read, "m/name/ANN") && !judged(rules, read, "M/name/ANN"));
}

#[test]
fn policies_add_up_and_a_denial_wins() {
    let reader = r#"path "kv/a" { capabilities = ["read"] }"#;
    let writer = r#"path "kv/a" { capabilities = ["update", "create"] }"#;
    let denier = r#"path "kv/a" { capabilities = ["deny"] }"#;
    let both = acl(&[reader, writer]);
    let verdict = both.check(Operation::Read, "kv/a", false, None, None);
    assert_eq!((verdict.allowed, verdict.granting), (true, vec!["a".to_owned()]));
    assert!(both.may(Operation::Create, "kv/a") && !both.may(Operation::Delete, "kv/a"));
    for texts in [[reader, denier, writer], [denier, writer, reader], [reader, writer, denier]] {
        assert_eq!(acl(&texts).capabilities("kv/a"), ["deny"]);
    }
    let same = r#"path "kv/a" { capabilities = ["read"] } path "kv/a" { capabilities = ["list"] }"#;
    assert_eq!(acl(&[same]).capabilities("kv/a"), ["list", "read"]);
    assert_eq!(acl(&[r#"path "kv/a" { }"#]).capabilities("kv/a"), ["deny"]);
}

#[test]
fn a_list_is_decided_with_the_slash_and_without() {
    for (path, listed) in [
        ("kv/metadata/team/", true),
        ("kv/metadata/team", true),
        ("kv/metadata/*", true),
        ("kv/+/team", true),
        ("kv/metadata/+", true),
        ("kv/metadata/team/*", true),
        ("kv/metadata", false),
        ("kv/metadata/team/x", false),
    ] {
        let acl = acl(&[&format!("path \"{path}\" {{ capabilities = [\"list\"] }}")]);
        assert_eq!(acl.may(Operation::List, "kv/metadata/team/"), listed, "{path}");
        assert!(!acl.may(Operation::Read, "kv/metadata/team/"));
    }
    let denied = acl(&[r#"
        path "kv/*" { capabilities = ["list"] }
        path "kv/team" { capabilities = ["deny"] }"#]);
    assert!(!denied.may(Operation::List, "kv/team/"));
}

#[test]
fn sudo_is_asked_for_beside_the_operation() {
    let acl = acl(&[r#"
        path "sys/a" { capabilities = ["read", "sudo"] }
        path "sys/b" { capabilities = ["read"] }
        path "sys/c" { capabilities = ["sudo"] }"#]);
    let check = |path| acl.check(Operation::Read, path, true, None, None).allowed;
    assert!(check("sys/a") && !check("sys/b") && !check("sys/c"));
    assert!(acl.has_sudo("sys/c") && !acl.has_sudo("sys/b"));
}

#[test]
fn parameters_and_wrapping_are_held_against_the_rule() {
    let acl = acl(&[r#"
        path "allowed" { capabilities = ["update", "read"] allowed_parameters = { "Ttl" = ["1*"] } }
        path "denied" { capabilities = ["update"] denied_parameters = { "policies" = ["root"] } }
        path "required" { capabilities = ["update", "list"] required_parameters = ["name"] }
        path "wrapped" { capabilities = ["read"] min_wrapping_ttl = "1m" max_wrapping_ttl = "1h" }"#]);
    let update = Operation::Update;
    assert!(passes(&acl, update, "allowed", json!({"ttl": "1h"})));
    assert!(passes(&acl, update, "allowed", json!({})));
    assert!(!passes(&acl, update, "allowed", json!({"ttl": "2h"})));
    assert!(!passes(&acl, update, "allowed", json!({"other": 1})));
    assert!(!passes(&acl, Operation::Read, "allowed", json!({"other": 1})));
    assert!(acl.may(update, "allowed"));
    assert!(passes(&acl, update, "denied", json!({"policies": ["dev"]})));
    assert!(!passes(&acl, update, "denied", json!({"POLICIES": ["dev", "root"]})));
    assert!(passes(&acl, update, "required", json!({"name": "x"})));
    assert!(!passes(&acl, update, "required", json!({"other": "x"})));
    assert!(!acl.check(update, "required", false, None, None).allowed);
    assert!(acl.check(Operation::List, "required", false, None, None).allowed);
    for (seconds, allowed) in
        [(None, false), (Some(59), false), (Some(60), true), (Some(3601), false)]
    {
        let wrap = seconds.map(Duration::from_secs);
        assert_eq!(acl.check(Operation::Read, "wrapped", false, None, wrap).allowed, allowed);
    }
}

#[test]
fn rules_with_templates_hold_for_whom_they_name() {
    let text = r#"
        path "kv/{{identity.entity.id}}/*" { capabilities = ["read"] }
        path "kv/*" { capabilities = ["list"] }"#;
    let policy = parse::parse(text).unwrap();
    let facts = Facts { entity_id: Some("e1".to_owned()), ..Facts::default() };
    let own = Acl::compile([("a", &policy)], &facts);
    assert!(own.may(Operation::Read, "kv/e1/x") && !own.may(Operation::Read, "kv/e2/x"));
    let nobody = Acl::compile([("a", &policy)], &Facts::default());
    assert!(!nobody.may(Operation::Read, "kv/e1/x"));
    assert!(!nobody.may(Operation::Read, "kv/{{identity.entity.id}}/x"));
    assert!(nobody.may(Operation::List, "kv/e1/x"));
}

/// The rules once more, written as the documentation tells them, and slow.
mod model {
    use super::Operation;

    pub(super) type Rule = (String, Vec<&'static str>);

    pub(super) fn matches(pattern: &str, path: &str) -> bool {
        let (stem, open) = match pattern.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (pattern, false),
        };
        let wanted: Vec<&str> = stem.split('/').collect();
        let given: Vec<&str> = path.split('/').collect();
        if given.len() < wanted.len() || (!open && given.len() != wanted.len()) {
            return false;
        }
        wanted.iter().zip(&given).enumerate().all(|(index, (wanted, given))| {
            let last = index + 1 == stem.split('/').count();
            match (open && last, *wanted) {
                (true, text) => given.starts_with(text),
                (false, "+") => true,
                (false, text) => text == *given,
            }
        })
    }

    fn first_wildcard(pattern: &str) -> usize {
        let mut position = 0;
        for segment in pattern.split('/') {
            if segment == "+" {
                return position;
            }
            position += segment.len() + 1;
        }
        if pattern.ends_with('*') { pattern.len() - 1 } else { usize::MAX }
    }

    fn is_exact(pattern: &str) -> bool {
        first_wildcard(pattern) == usize::MAX
    }

    /// The pattern of highest priority among those that match.
    fn best<'a>(rules: &'a [Rule], path: &str) -> Option<&'a str> {
        let rank = |pattern: &str| {
            (
                first_wildcard(pattern),
                !pattern.ends_with('*'),
                usize::MAX - pattern.split('/').filter(|segment| *segment == "+").count(),
                pattern.len(),
                pattern.to_owned(),
            )
        };
        let patterns = rules.iter().map(|(pattern, _)| pattern.as_str());
        patterns.filter(|pattern| matches(pattern, path)).max_by_key(|pattern| rank(pattern))
    }

    pub(super) fn allows(rules: &[Rule], operation: Operation, path: &str, sudo: bool) -> bool {
        let bare = path.strip_suffix('/').filter(|_| operation == Operation::List);
        let exact = |path: &str| best(rules, path).filter(|pattern| is_exact(pattern));
        let deciding = exact(path)
            .or_else(|| exact(bare?))
            .or_else(|| best(rules, path))
            .or_else(|| best(rules, bare?));
        let Some(deciding) = deciding else { return false };
        let given: Vec<&str> = rules
            .iter()
            .filter(|(pattern, _)| pattern == deciding)
            .flat_map(|(_, capabilities)| capabilities.iter().copied())
            .collect();
        !given.contains(&"deny")
            && given.contains(&operation.name())
            && (!sudo || given.contains(&"sudo"))
    }
}

const OPERATIONS: [Operation; 6] = [
    Operation::Create,
    Operation::Read,
    Operation::Update,
    Operation::Patch,
    Operation::Delete,
    Operation::List,
];

fn a_path() -> impl Strategy<Value = String> {
    "(a|b|ab|kv)(/(a|b|ab|kv)){0,3}/?"
}

fn a_pattern() -> impl Strategy<Value = String> {
    let exact = a_path();
    let wild = "(a|b|kv|\\+)(/(a|b|ab|\\+)){0,3}(/|/\\*|/a\\*)?";
    prop_oneof![exact, wild, "(a|kv/a|\\*|kv/\\*|a\\*)"]
        .prop_filter("refused", |path| bailee_notation::glob::Pattern::parse(path).is_ok())
}

fn a_policy() -> impl Strategy<Value = Vec<model::Rule>> {
    const NAMES: [&str; 9] =
        ["create", "read", "update", "patch", "delete", "list", "sudo", "read", "deny"];
    vec((a_pattern(), vec(select(NAMES.to_vec()), 0..4)), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_evaluator_agrees_with_the_slow_model(
        policies in vec(a_policy(), 1..5),
        paths in vec(a_path(), 1..16),
    ) {
        let texts: Vec<String> = policies.iter().map(|rules| text_of(rules)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let acl = acl(&texts);
        let rules: Vec<model::Rule> = policies.concat();
        for path in &paths {
            for operation in OPERATIONS {
                for sudo in [false, true] {
                    let verdict = acl.check(operation, path, sudo, None, None);
                    let expected = model::allows(&rules, operation, path, sudo);
                    prop_assert_eq!(verdict.allowed, expected, "{:?} {} {:?}", operation, path, texts);
                    prop_assert_eq!(verdict.granting.is_empty(), !expected);
                    prop_assert!(verdict.granting.iter().all(|name| NAMES.contains(&name.as_str())));
                }
                prop_assert_eq!(
                    acl.may(operation, path),
                    model::allows(&rules, operation, path, false)
                );
            }
        }
    }
}

fn text_of(rules: &[model::Rule]) -> String {
    let line = |(path, capabilities): &model::Rule| {
        format!("path {path:?} {{ capabilities = {capabilities:?} }}\n")
    };
    rules.iter().map(line).collect()
}
