//! The text of a policy, checked.

use super::{
    parameters::{self, Values},
    template,
};
use bailee_notation::{
    duration,
    glob::Pattern,
    hcl::{self, Block, Body, Item, Spanned, Value},
};
use std::{collections::BTreeMap, time::Duration};

/// A policy, parsed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) rules: Vec<Rule>,
}

impl Policy {
    /// What its writer should know: rules with a condition that cannot be met here.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let unmet = self.rules.iter().filter_map(|rule| Some((rule, rule.unmet?)));
        unmet
            .map(|(rule, key)| {
                format!(
                    "path {:?}: {key} cannot be enforced by this server; the path is denied to all \
                     who have this policy, since without it the rule would grant more than is meant",
                    rule.path
                )
            })
            .collect()
    }

    /// Whether what it says depends on who asks.
    pub(crate) fn is_templated(&self) -> bool {
        self.rules.iter().any(|rule| template::is_templated(&rule.path))
    }
}

/// What a policy says about one path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    /// A pattern, perhaps with templates.
    pub(crate) path: String,
    pub(crate) capabilities: Capabilities,
    pub(crate) allowed_parameters: BTreeMap<String, Values>,
    pub(crate) denied_parameters: BTreeMap<String, Values>,
    /// Lower case.
    pub(crate) required_parameters: Vec<String>,
    pub(crate) min_wrapping_ttl: Option<Duration>,
    pub(crate) max_wrapping_ttl: Option<Duration>,
    /// The line of the text it begins on.
    pub(crate) line: u32,
    /// A condition it sets that cannot be met here: it then grants nothing.
    pub(crate) unmet: Option<&'static str>,
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities(u16);

impl Capabilities {
    pub(crate) const DENY: Capabilities = Capabilities(1);
    pub(crate) const CREATE: Capabilities = Capabilities(1 << 1);
    pub(crate) const READ: Capabilities = Capabilities(1 << 2);
    pub(crate) const UPDATE: Capabilities = Capabilities(1 << 3);
    pub(crate) const PATCH: Capabilities = Capabilities(1 << 4);
    pub(crate) const DELETE: Capabilities = Capabilities(1 << 5);
    pub(crate) const LIST: Capabilities = Capabilities(1 << 6);
    pub(crate) const SUDO: Capabilities = Capabilities(1 << 7);
    pub(crate) const SUBSCRIBE: Capabilities = Capabilities(1 << 8);
    pub(crate) const RECOVER: Capabilities = Capabilities(1 << 9);
    pub(crate) const SCAN: Capabilities = Capabilities(1 << 10);

    /// All of them by name, in the order of the alphabet.
    pub(crate) const NAMED: [(&'static str, Capabilities); 11] = [
        ("create", Capabilities::CREATE),
        ("delete", Capabilities::DELETE),
        ("deny", Capabilities::DENY),
        ("list", Capabilities::LIST),
        ("patch", Capabilities::PATCH),
        ("read", Capabilities::READ),
        ("recover", Capabilities::RECOVER),
        ("scan", Capabilities::SCAN),
        ("subscribe", Capabilities::SUBSCRIBE),
        ("sudo", Capabilities::SUDO),
        ("update", Capabilities::UPDATE),
    ];

    pub(crate) fn with(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 | other.0)
    }

    pub(crate) fn has(self, other: Capabilities) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of those that are in it, in the order of the alphabet.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let held = Capabilities::NAMED.iter().filter(|(_, one)| self.has(*one));
        held.map(|(name, _)| *name).collect()
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn named(name: &str) -> Option<Capabilities> {
        Capabilities::NAMED.iter().find(|(known, _)| *known == name).map(|(_, one)| *one)
    }

    /// What the older form `policy = "…"` stands for.
    fn of_legacy(word: &str) -> Option<Capabilities> {
        let read = Capabilities::READ.with(Capabilities::LIST);
        let write =
            read.with(Capabilities::CREATE).with(Capabilities::UPDATE).with(Capabilities::DELETE);
        match word {
            "deny" => Some(Capabilities::DENY),
            "read" => Some(read),
            "write" => Some(write),
            "sudo" => Some(write.with(Capabilities::SUDO)),
            _ => None,
        }
    }
}

/// Reads a policy in HCL or JSON; the error is what the writer reads.
pub(crate) fn parse(text: &str) -> Result<Policy, String> {
    read(text).map_err(|reason| format!("failed to parse policy: {reason}"))
}

fn read(text: &str) -> Result<Policy, String> {
    let body = hcl::parse(text).map_err(|error| placed(text, &error))?;
    let unknown = |item: &&Item| !matches!(item.key().value.as_str(), "path" | "name");
    let problems: Vec<String> =
        body.items.iter().filter(unknown).map(|item| invalid_key("", item)).collect();
    refuse(&problems)?;
    let blocks = body.labelled("path").map_err(|error| placed(text, &error))?;
    let rules = blocks.into_iter().map(rule).collect::<Result<_, _>>()?;
    Ok(Policy { rules })
}

/// As the writers of policies know it: in HCL with the place, in JSON without.
fn placed(text: &str, error: &hcl::Error) -> String {
    if text.trim_start().starts_with('{') {
        return error.message.clone();
    }
    format!("At {}:{}: {}", error.line, error.column, error.message)
}

/// Conditions that someone else must meet first, which nobody can here.
const UNMET: [&str; 2] = ["control_group", "mfa_methods"];
/// Keys of a path. The last is for events, which there are none of: it is without effect.
const KEYS: [&str; 11] = [
    "comment",
    "policy",
    "capabilities",
    "allowed_parameters",
    "denied_parameters",
    "required_parameters",
    "min_wrapping_ttl",
    "max_wrapping_ttl",
    "mfa_methods",
    "control_group",
    "subscribe_event_types",
];

fn rule(block: Block<'_>) -> Result<Rule, String> {
    let path = block.label.value.as_str();
    let place = format!("path {path:?}: ");
    let problems: Vec<String> = block
        .body
        .items
        .iter()
        .filter(|item| !KEYS.contains(&item.key().value.as_str()))
        .map(|item| invalid_key(&place, item))
        .collect();
    refuse(&problems)?;
    Pattern::parse(path).map_err(|error| error.to_string())?;
    template::check(path)
        .map_err(|reason| format!("failed to validate policy templating: {reason}"))?;
    let (min, max) = wrapping(block.body)?;
    Ok(Rule {
        path: path.to_owned(),
        capabilities: capabilities(block.body).map_err(|reason| format!("{place}{reason}"))?,
        allowed_parameters: values(block.body, "allowed_parameters", &place)?,
        denied_parameters: values(block.body, "denied_parameters", &place)?,
        required_parameters: texts(block.body, "required_parameters")
            .map_err(|reason| format!("{place}{reason}"))?
            .into_iter()
            .map(|name| name.value.to_lowercase())
            .collect(),
        min_wrapping_ttl: min,
        max_wrapping_ttl: max,
        line: block.label.line,
        unmet: UNMET.into_iter().find(|key| block.body.all(key).next().is_some()),
    })
}

fn capabilities(body: &Body) -> Result<Capabilities, String> {
    let mut all = Capabilities::default();
    for item in body.all("policy") {
        let word = item.value.value.as_str().ok_or_else(|| expected(item, "a text"))?;
        let legacy = Capabilities::of_legacy(word);
        all = all.with(legacy.ok_or_else(|| format!("invalid policy {word:?}"))?);
    }
    for name in texts(body, "capabilities")? {
        let one = Capabilities::named(&name.value);
        all = all.with(one.ok_or_else(|| format!("invalid capability {:?}", name.value))?);
    }
    Ok(all)
}

fn wrapping(body: &Body) -> Result<(Option<Duration>, Option<Duration>), String> {
    let (min, max) = (span(body, "min_wrapping_ttl")?, span(body, "max_wrapping_ttl")?);
    match (min, max) {
        (Some(min), Some(max)) if max < min => {
            Err("max_wrapping_ttl cannot be less than min_wrapping_ttl".to_owned())
        }
        limits => Ok(limits),
    }
}

/// A time span; zero is none.
fn span(body: &Body, key: &str) -> Result<Option<Duration>, String> {
    let mut found = None;
    for item in body.all(key) {
        let text = match &item.value.value {
            Value::String(text) | Value::Number(text) => text,
            Value::Bool(_) | Value::List(_) | Value::Object(_) => {
                return Err(expected(item, "a duration"));
            }
        };
        let span =
            duration::parse(text).map_err(|error| format!("error parsing {key}: {error}"))?;
        found = (!span.is_zero()).then_some(span);
    }
    Ok(found)
}

fn texts(body: &Body, key: &str) -> Result<Vec<Spanned<String>>, String> {
    let mut found = Vec::new();
    for item in body.all(key) {
        let list = item.value.value.as_list().ok_or_else(|| expected(item, "a list of texts"))?;
        for element in list {
            let text = element.value.as_str().ok_or_else(|| expected(item, "a list of texts"))?;
            found.push(Spanned {
                value: text.to_owned(),
                line: element.line,
                column: element.column,
            });
        }
    }
    Ok(found)
}

fn values(body: &Body, key: &str, place: &str) -> Result<BTreeMap<String, Values>, String> {
    let mut found: BTreeMap<String, Values> = BTreeMap::new();
    let bodies = body.unlabelled(key).map_err(|error| format!("{place}{error}"))?;
    for item in bodies.into_iter().flat_map(|body| &body.items) {
        let list = item.value.value.as_list();
        let list = list.ok_or_else(|| format!("{place}{key}: {}", expected(item, "a list")))?;
        let values = list.iter().map(|element| json(&element.value)).collect();
        parameters::join(&mut found, &item.key().value.to_lowercase(), values);
    }
    Ok(found)
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.as_str().into(),
        // What is no JSON number (hexadecimal, for example) is compared as text.
        Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()),
        Value::Bool(flag) => (*flag).into(),
        Value::List(elements) => elements.iter().map(|element| json(&element.value)).collect(),
        Value::Object(body) => serde_json::Value::Object(
            body.items
                .iter()
                .map(|item| (item.key().value.clone(), json(&item.value.value)))
                .collect(),
        ),
    }
}

fn expected(item: &Item, what: &str) -> String {
    let key = &item.key().value;
    let (line, found) = (item.value.line, item.value.value.describe());
    format!("{key} on line {line} must be {what}, not {found}")
}

fn invalid_key(place: &str, item: &Item) -> String {
    format!("{place}invalid key {:?} on line {}", item.key().value, item.key().line)
}

/// Several problems in the form that clients know.
pub(super) fn refuse(problems: &[String]) -> Result<(), String> {
    if problems.is_empty() {
        return Ok(());
    }
    let noun = if problems.len() == 1 { "error" } else { "errors" };
    let lines: String = problems.iter().map(|problem| format!("\t* {problem}\n")).collect();
    Err(format!("{} {noun} occurred:\n{lines}\n", problems.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let error = parse(text).unwrap_err();
        error.strip_prefix("failed to parse policy: ").unwrap().to_owned()
    }

    fn only(text: &str) -> Rule {
        let mut rules = parse(text).unwrap().rules;
        assert_eq!(rules.len(), 1);
        rules.remove(0)
    }

    #[test]
    fn every_form_of_a_rule_is_read() {
        let rule = only(
            r#"path "a/+/b*" {
                capabilities = ["read", "sudo"]
                allowed_parameters = { "Name" = ["x*", 1, true], "*" = [] }
                denied_parameters { other = [] }
                required_parameters = ["Name"]
                min_wrapping_ttl = "10s"
                max_wrapping_ttl = 3600
            }"#,
        );
        assert_eq!(rule.path, "a/+/b*");
        assert_eq!(rule.capabilities, Capabilities::READ.with(Capabilities::SUDO));
        assert_eq!(rule.allowed_parameters["name"].len(), 3);
        assert!(rule.allowed_parameters["*"].is_empty());
        assert!(rule.denied_parameters["other"].is_empty());
        assert_eq!(rule.required_parameters, ["name"]);
        assert_eq!(rule.min_wrapping_ttl, Some(Duration::from_secs(10)));
        assert_eq!(rule.max_wrapping_ttl, Some(Duration::from_secs(3600)));
        let json = only(r#"{"path":{"a/+/b*":{"capabilities":["read"]}}}"#);
        assert_eq!(json.capabilities, Capabilities::READ);
        assert!(only(r#"path "a" { policy = "write" }"#).capabilities.has(Capabilities::DELETE));
        assert!(only(r#"path "a" { policy = "deny" }"#).capabilities.has(Capabilities::DENY));
        assert!(parse("# nothing").unwrap().rules.is_empty());
        assert!(only("path secret { }").capabilities.is_empty());
    }

    #[test]
    fn a_condition_that_nobody_can_meet_is_noted_and_told() {
        for condition in ["mfa_methods = [\"x\"]", "control_group = { ttl = \"1h\" }"] {
            let text = format!("path \"a\" {{ capabilities = [\"read\"]\n{condition} }}");
            assert!(only(&text).unmet.is_some());
            let warnings = parse(&text).unwrap().warnings();
            assert!(warnings[0].contains("cannot be enforced"), "{warnings:?}");
        }
        assert!(parse("path \"a\" { capabilities = [\"read\"] }").unwrap().warnings().is_empty());
    }

    #[test]
    fn refusals_name_the_path_and_what_is_wrong() {
        for (text, expected) in [
            (r#"path "a" { capabilities = ["fly"] }"#, r#"path "a": invalid capability "fly""#),
            (r#"path "a" { policy = "wreck" }"#, r#"path "a": invalid policy "wreck""#),
            (
                r#"path "a" { capabilities = "read" }"#,
                r#"path "a": capabilities on line 1 must be a list of texts, not a string"#,
            ),
            (
                "\npath \"a\" { capabilites = [\"read\"] }",
                "1 error occurred:\n\t* path \"a\": invalid key \"capabilites\" on line 2\n\n",
            ),
            (
                r#"paths "a" { capabilities = ["read"] }"#,
                "1 error occurred:\n\t* invalid key \"paths\" on line 1\n\n",
            ),
            (
                r#"path "a/+*" { capabilities = ["read"] }"#,
                r#"path "a/+*": invalid use of wildcards ('+*' is forbidden)"#,
            ),
            (
                r#"path "a" { min_wrapping_ttl = "x" }"#,
                r#"error parsing min_wrapping_ttl: time: invalid duration "x""#,
            ),
            (
                r#"path "a" { min_wrapping_ttl = "2h" max_wrapping_ttl = "1h" }"#,
                "max_wrapping_ttl cannot be less than min_wrapping_ttl",
            ),
            (
                r#"path "a/{{identity.entity.id" { capabilities = ["read"] }"#,
                "failed to validate policy templating: unbalanced templating characters",
            ),
        ] {
            assert_eq!(refusal(text), expected, "{text}");
        }
        assert_eq!(
            refusal("path \"a\" { capabilities = [\"read\""),
            "At 1:34: error parsing list, expected comma or list end, got: EOF"
        );
        assert_eq!(refusal("{{{{"), "expected: STRING got: LBRACE");
        assert_eq!(refusal("5"), "At 1:1: expected: IDENT | STRING | ASSIGN | LBRACE got: NUMBER");
    }
}
