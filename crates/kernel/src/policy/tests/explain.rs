//! Explanations of what policies say.

use super::super::{
    Facts, Needs,
    explain::{Question, explain, grants},
    parse,
};
use bailee_sdk::Operation;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

fn told(texts: &[(&str, &str)], question: &Question<'_>) -> Value {
    let policies: Vec<_> = texts
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Arc::new(parse::parse(text).unwrap())))
        .collect();
    Value::Object(explain(&policies, &Facts::default(), question))
}

fn about(path: &str) -> Question<'_> {
    let needs = &|_| Needs::default();
    Question { path, list_path: path, operations: &[], input: None, wrap_ttl: None, needs }
}

const WIDE: &str = "path \"kv/data/*\" { capabilities = [\"read\", \"list\"] }";
const NARROW: &str = "# first\npath \"kv/+/app\" { capabilities = [\"update\"] }";

#[test]
fn the_deciding_rule_and_those_it_outranks_are_told_with_their_lines() {
    let told = told(&[("wide", WIDE), ("narrow", NARROW)], &about("kv/data/app"));
    assert_eq!(told["capabilities"], json!(["list", "read"]));
    assert_eq!(told["operations"]["read"]["allowed"], true);
    assert_eq!(told["operations"]["read"]["reason"], "granted by wide");
    let refused = told["operations"]["update"]["reason"].as_str().unwrap();
    assert_eq!(refused, "the rule for \"kv/data/*\" decides and does not grant update");
    let rule = &told["rules"]["kv/data/*"];
    assert_eq!(rule["from"][0]["policy"], "wide");
    assert_eq!(rule["outranked"][0]["policy"], "narrow");
    assert_eq!(rule["outranked"][0]["line"], 2);
    assert_eq!(rule["outranked"][0]["because"], "its first wildcard comes earlier");
}

#[test]
fn a_denial_names_the_policy_and_no_rule_is_said_to_be_none() {
    let deny = "path \"kv/data/app\" { capabilities = [\"deny\"] }";
    let told_app = told(&[("wide", WIDE), ("shut", deny)], &about("kv/data/app"));
    assert_eq!(told_app["operations"]["read"]["reason"], "denied by shut for \"kv/data/app\"");
    assert_eq!(
        told_app["rules"]["kv/data/app"]["outranked"][0]["because"],
        "an exact path outranks a pattern"
    );
    let told_other = told(&[("wide", WIDE)], &about("other"));
    assert_eq!(told_other["operations"]["read"]["reason"], "no rule matches this path");
    assert_eq!(told_other["operations"]["read"]["rule"], Value::Null);
}

#[test]
fn refused_parameters_and_wrapping_are_named() {
    let text = "path \"a\" { capabilities = [\"update\"] required_parameters = [\"must\"]\n\
                denied_parameters = { bad = [] } }";
    let input = json!({ "bad": 1, "fine": 2 });
    let mut question = about("a");
    question.operations = &[Operation::Update];
    question.input = input.as_object();
    let reason = told(&[("p", text)], &question)["operations"]["update"]["reason"].clone();
    assert_eq!(reason, "the rule for \"a\" refuses the parameters: must, bad");
    let text = "path \"a\" { capabilities = [\"read\"] min_wrapping_ttl = \"1m\" }";
    let reason = |wrap_ttl| {
        let question = Question { operations: &[Operation::Read], wrap_ttl, ..about("a") };
        told(&[("p", text)], &question)["operations"]["read"]["reason"].clone()
    };
    assert!(reason(None).as_str().unwrap().contains("wrapped"));
    assert_eq!(reason(Some(Duration::from_secs(60))), "granted by p");
}

#[test]
fn rules_for_others_are_told_as_left_out() {
    let text = "path \"a/{{identity.entity.id}}\" { capabilities = [\"read\"] }";
    let told = told(&[("p", text)], &about("a/b"));
    assert_eq!(told["left_out"][0]["path"], "a/{{identity.entity.id}}");
}

#[test]
fn one_policy_alone_tells_what_it_gives() {
    let policy = parse::parse(WIDE).unwrap();
    let given = grants("wide", &policy, "kv/data/x").unwrap();
    assert_eq!(given, json!({ "capabilities": ["list", "read"], "rule": "kv/data/*", "line": 1 }));
    assert_eq!(grants("wide", &policy, "other"), None);
}
