//! `sync plan`: what would happen at a destination, before it does.

use super::{Target, destination, status, text};
use crate::{
    arguments,
    context::Context,
    failure::{Failure, USAGE},
    output::{Order, Table},
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Exit code where something is to be done, or cannot be done.
const CHANGES: u8 = 2;

/// Settings of a destination that a plan takes; it tries no other credentials and addresses.
const SETTINGS: [&str; 10] = [
    "secret_name_template",
    "granularity",
    "ownership",
    "deletion",
    "recovery_window_days",
    "drift",
    "custom_tags",
    "tags_to_remove",
    "kms_key_id",
    "replica_regions",
];

/// Shows what would be created, updated and removed at a destination. Nothing is written.
///
/// With settings as KEY=VALUE, what they would change; with -associate and -dissociate, what
/// associating and dissociating those secrets would do: MOUNT/SECRET, or MOUNT/PREFIX* for all secrets
/// that begin so. The exit code is 0 when nothing is to be done, 1 for an error, and 2 when there is
/// something to do, or something that cannot be done.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// A secret that would be associated; may be repeated.
    #[arg(long, value_name = "MOUNT/SECRET")]
    associate: Vec<String>,
    /// A secret that would be dissociated; may be repeated.
    #[arg(long, value_name = "MOUNT/SECRET")]
    dissociate: Vec<String>,
    #[arg(value_name = "TYPE/NAME KEY=VALUE…")]
    arguments: Vec<String>,
}

impl Plan {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let plan = self.ask(context).await.map_err(as_error)?;
        if context.output.is_table() {
            show(context, &plan).map_err(as_error)?;
        } else {
            context.output.document(&plan, &Order::SORTED).map_err(as_error)?;
        }
        let summary = plan.get("summary").cloned().unwrap_or_default();
        let all = ["create", "update", "delete", "adopt", "refuse", "failing"];
        if all.iter().any(|action| number(&summary, action) > 0.0) {
            return Err(Failure::shown(CHANGES));
        }
        Ok(())
    }

    /// All pages of the plan as one.
    async fn ask(&self, context: &mut Context) -> Result<Value, Failure> {
        let (target, given) = arguments::first(&self.arguments)?;
        let target = Target::parse(target)?;
        let mut body = destination::body(given, &mut context.input)?;
        if let Some(other) = body.keys().find(|name| !SETTINGS.contains(&name.as_str())) {
            return Err(Failure::usage(format!(
                "{other:?} cannot be planned: a plan takes {}",
                SETTINGS.join(", ")
            )));
        }
        if !self.associate.is_empty() || !self.dissociate.is_empty() {
            let mounts: Vec<String> = status::mounts(context).await?.into_values().collect();
            for (field, paths) in [("associate", &self.associate), ("dissociate", &self.dissociate)]
            {
                let secrets = paths.iter().map(|path| secret(path, &mounts));
                body.insert(field.to_owned(), secrets.collect::<Result<Value, Failure>>()?);
            }
        }
        let mut whole: Option<Value> = None;
        loop {
            let path = format!("{}/plan", target.path());
            let outgoing = Outgoing::new(Method::Put, path).json(&Value::Object(body.clone()));
            let attempt = format!("Error planning {target}");
            let found = context.find(&attempt, outgoing).await?.ok_or_else(|| target.missing())?;
            let page = Value::Object(found.data().cloned().unwrap_or_default());
            let next = text(&page, "next").to_owned();
            let plan = match whole.take() {
                None => page,
                Some(before) => merged(before, page),
            };
            if next.is_empty() {
                return Ok(plan);
            }
            whole = Some(plan);
            body.insert("after".to_owned(), json!(next));
        }
    }
}

/// Exit codes of a plan tell changes from errors.
fn as_error(failure: Failure) -> Failure {
    Failure { exit: if failure.message.is_empty() { failure.exit } else { USAGE }, ..failure }
}

/// Mount and secret of a path; where the mounts are not to be seen, the first part is the mount.
fn secret(path: &str, mounts: &[String]) -> Result<Value, Failure> {
    let path = path.trim_start_matches('/');
    let of_mount = mounts.iter().filter_map(|mount| {
        let rest = path.strip_prefix(mount.as_str())?;
        Some((mount.trim_end_matches('/'), rest))
    });
    let longest = of_mount.max_by_key(|(mount, _)| mount.len());
    let parts = longest.or_else(|| path.split_once('/')).filter(|(_, name)| !name.is_empty());
    let (mount, name) = parts.ok_or_else(|| {
        Failure::usage(format!("{path:?} is no secret: give MOUNT/SECRET, such as secret/app/db"))
    })?;
    Ok(json!({ "mount": mount, "secret_name": name }))
}

/// Two pages as one: lists go on, figures add up, words are those of the page that says more.
fn merged(mut before: Value, page: Value) -> Value {
    let (Some(all), Value::Object(page)) = (before.as_object_mut(), page) else { return before };
    for (name, value) in page {
        match (all.get_mut(&name), value) {
            (Some(Value::Array(all)), Value::Array(more)) if name != "notes" => all.extend(more),
            (Some(Value::Number(_)), Value::Number(more)) if name != "objects_max" => {
                let sum = number(&Value::Object(all.clone()), &name) + more.as_f64().unwrap_or(0.0);
                all.insert(name, figure(sum));
            }
            (Some(known @ Value::Object(_)), more @ Value::Object(_)) if name != "prices" => {
                *known = merged(known.take(), more);
            }
            (Some(Value::String(known)), _) if name == "survey" && known != "full" => {}
            (_, value) => {
                all.insert(name, value);
            }
        }
    }
    before
}

/// A whole number as one.
fn figure(number: f64) -> Value {
    if number.fract() == 0.0 {
        json!(number as u64)
    } else {
        json!((number * 100.0).round() / 100.0)
    }
}

fn number(document: &Value, name: &str) -> f64 {
    document.get(name).and_then(Value::as_f64).unwrap_or(0.0)
}

fn show(context: &mut Context, plan: &Value) -> Result<(), Failure> {
    let mut rows = plan.get("rows").and_then(Value::as_array).cloned().unwrap_or_default();
    // The server tells them in an order of its own.
    rows.sort_by_cached_key(|row| (subject(row), text(row, "external_name").to_owned()));
    if !rows.is_empty() {
        let mut table = Table::new(&["Action", "Secret", "External name", "Bytes", "Why"]);
        for row in &rows {
            let bytes = row.get("bytes").map(Value::to_string).unwrap_or_default();
            let external = text(row, "external_name").to_owned();
            table.row([text(row, "action").to_owned(), subject(row), external, bytes, why(row)]);
        }
        context.output.table(&table)?;
        context.output.line("")?;
    }
    for line in sentences(plan, &rows) {
        context.output.line(&line)?;
    }
    context.output.line(&summary(plan))?;
    if let Some(line) = estimate(plan) {
        context.output.line(&line)?;
    }
    Ok(())
}

fn subject(row: &Value) -> String {
    let secret = format!("{}{}", text(row, "mount"), text(row, "secret_name"));
    match text(row, "sub_key") {
        "" => secret,
        key => format!("{secret} [{key}]"),
    }
}

fn why(row: &Value) -> String {
    let reason = text(row, "reason").replace('_', " ");
    match text(row, "drift") {
        "" => reason,
        drift => format!("{reason}: {drift}"),
    }
}

/// What goes wrong, what is broken, and what keeps the plan from coming true.
fn sentences(plan: &Value, rows: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows {
        let problem = text(row, "problem");
        if problem.is_empty() {
            continue;
        }
        let mut line = format!("! {}: {problem}.", subject(row));
        if !text(row, "next_action").is_empty() {
            line.push_str(&format!(" What to do: {}.", text(row, "next_action")));
        }
        lines.push(line);
    }
    for limit in plan.get("limits").and_then(Value::as_array).into_iter().flatten() {
        let name = text(limit, "external_name");
        let (bound, value, max) =
            (text(limit, "limit"), number(limit, "value"), number(limit, "max"));
        // That is of an answer: of the whole plan it is told below.
        if bound == "secrets" {
            continue;
        }
        lines.push(format!("! {name}: {} {value}, at most {max}.", bound.replace('_', " ")));
    }
    let estimate = plan.get("estimate").cloned().unwrap_or_default();
    let (objects, max) = (number(&estimate, "objects"), number(&estimate, "objects_max"));
    if max > 0.0 && objects > max {
        lines.push(format!("! The account would hold {objects} secrets and more, at most {max}."));
    }
    for note in plan.get("notes").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("Note: {}.", note.as_str().unwrap_or_default()));
    }
    match text(plan, "survey") {
        "not permitted" => lines.push(format!(
            "Note: the destination could not be looked at: that takes {}.",
            text(plan, "missing_permission")
        )),
        "failed" => lines.push(format!(
            "Note: the destination could not be looked at: {}.",
            text(plan, "survey_error")
        )),
        "partial" => lines.push("Note: not all of the destination was looked at.".to_owned()),
        _ => {}
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

fn summary(plan: &Value) -> String {
    let summary = plan.get("summary").cloned().unwrap_or_default();
    let counted = [
        ("create", "to create"),
        ("update", "to update"),
        ("adopt", "to adopt"),
        ("delete", "to delete"),
        ("refuse", "refused"),
        ("failing", "failing"),
        ("hidden", "hidden, as the token may not read them"),
    ];
    let counted = counted.iter().filter(|(field, _)| number(&summary, field) > 0.0);
    let mut parts: Vec<String> =
        counted.map(|(field, words)| format!("{} {words}", number(&summary, field))).collect();
    if parts.is_empty() {
        parts.push("nothing to do".to_owned());
    }
    parts.push(format!("{} unchanged", number(&summary, "unchanged")));
    format!("Plan: {}.", parts.join(", "))
}

fn counted(number: f64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1.0 { one } else { many })
}

/// Calls and time where there is something to do, and what a month costs then.
fn estimate(plan: &Value) -> Option<String> {
    let estimate = plan.get("estimate")?;
    let calls: BTreeMap<&String, &Value> =
        estimate.get("api_calls").and_then(Value::as_object).map(Map::iter)?.collect();
    let mut parts = Vec::new();
    if !calls.is_empty() {
        let listed: Vec<String> =
            calls.iter().map(|(call, times)| format!("{times} {call}")).collect();
        let seconds = number(estimate, "seconds");
        parts.push(format!("{}, in about {seconds} s", listed.join(", ")));
    }
    if let Some(cost) = estimate.get("monthly_cost_usd") {
        let objects = number(estimate, "objects");
        let total = number(cost, "total");
        let objects = counted(objects, "object costs", "objects cost");
        let then = if calls.is_empty() { "" } else { " then" };
        parts.push(format!("{objects} about ${total:.2} a month{then}"));
    }
    let clients = number(estimate, "new_clients");
    if clients > 0.0 {
        let clients = counted(clients, "secret is", "secrets are");
        parts.push(format!("{clients} synced for the first time"));
    }
    (!parts.is_empty()).then(|| format!("Estimate: {}.", parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    fn page(create: u64, row: &Value, next: Option<&str>) -> Value {
        json!({"data": {
            "type": "aws-sm", "name": "m", "survey": "full", "rows": [row], "limits": [],
            "notes": [], "next": next,
            "summary": {"create": create, "update": 0, "delete": 0, "adopt": 0, "refuse": 0,
                "failing": 0, "hidden": 0, "unchanged": 3},
            "estimate": {"api_calls": {"CreateSecret": create}, "seconds": 0.1, "objects": 4,
                "new_clients": 1, "objects_max": 7, "monthly_cost_usd": {"secrets": 1.6, "total": 1.62}},
        }})
    }

    fn plan(associate: &[&str]) -> Plan {
        let associate = associate.iter().map(|&path| path.to_owned()).collect();
        let arguments = vec!["aws-sm/m".to_owned()];
        Plan { associate, dissociate: Vec::new(), arguments }
    }

    #[tokio::test]
    async fn pages_are_shown_as_one_plan_and_changes_end_with_two() {
        let row = |name: &str| {
            json!({"action": "create", "reason": "new", "mount": "secret/", "secret_name": name,
                "external_name": format!("x/{name}"), "bytes": 12})
        };
        let answers =
            vec![(200, page(1, &row("a"), Some("code"))), (200, page(1, &row("b"), None))];
        let (mut context, out, _, asked) = testing::context(Format::Table, answers).await;
        let end = plan(&[]).run(&mut context).await.unwrap_err();
        assert_eq!(end, Failure::shown(2));
        let text = out.text();
        assert!(text.contains("create    secret/a    x/a              12       new"), "{text}");
        assert!(text.contains("Plan: 2 to create, 6 unchanged."), "{text}");
        let estimate = "Estimate: 2 CreateSecret, in about 0.2 s; 8 objects cost about $3.24 a month \
                        then; 2 secrets are synced for the first time.";
        assert!(text.contains(estimate), "{text}");
        assert!(text.contains("! The account would hold 8 secrets and more, at most 7."), "{text}");
        drop(asked);
    }

    #[tokio::test]
    async fn nothing_to_do_ends_well_and_a_refusal_with_one() {
        let mut nothing = page(0, &json!({}), None);
        nothing["data"]["rows"] = json!([]);
        nothing["data"]["estimate"]["api_calls"] = json!({});
        let (mut context, out, ..) = testing::context(Format::Table, vec![(200, nothing)]).await;
        plan(&[]).run(&mut context).await.unwrap();
        assert!(out.text().starts_with("Plan: nothing to do, 3 unchanged."), "{}", out.text());
        let refused = json!({"errors": ["permission denied"]});
        let (mut context, ..) = testing::context(Format::Table, vec![(403, refused)]).await;
        assert_eq!(plan(&[]).run(&mut context).await.unwrap_err().exit, 1);
    }

    #[tokio::test]
    async fn other_addresses_and_credentials_are_not_planned() {
        let (mut context, ..) = testing::context(Format::Table, Vec::new()).await;
        let mut plan = plan(&[]);
        plan.arguments.push("region=eu-west-1".to_owned());
        let end = plan.run(&mut context).await.unwrap_err();
        assert_eq!(end.exit, 1);
        assert!(end.message.starts_with("\"region\" cannot be planned"), "{end:?}");
    }

    #[test]
    fn secrets_are_found_in_the_longest_mount() {
        let mounts = ["team/".to_owned(), "team/kv/".to_owned()];
        let expected = json!({ "mount": "team/kv", "secret_name": "app/*" });
        assert_eq!(secret("team/kv/app/*", &mounts).unwrap(), expected);
        let expected = json!({ "mount": "secret", "secret_name": "app/db" });
        assert_eq!(secret("secret/app/db", &[]).unwrap(), expected);
        assert_eq!(secret("secret", &mounts).unwrap_err().exit, 1);
    }

    #[test]
    fn what_goes_wrong_is_said_in_sentences() {
        let row = json!({"action": "failing", "reason": "too_large", "mount": "kv/",
            "secret_name": "big", "sub_key": "k", "problem": "the value is 70000 bytes",
            "next_action": "make the value smaller"});
        let document = json!({"survey": "not permitted", "missing_permission": "p:Describe",
            "limits": [{"external_name": "x", "limit": "value_bytes", "value": 70000, "max": 65536}],
            "notes": ["the destination is paused"]});
        let lines = sentences(&document, &[row]);
        assert_eq!(
            lines[0],
            "! kv/big [k]: the value is 70000 bytes. What to do: make the value smaller."
        );
        assert_eq!(lines[1], "! x: value bytes 70000, at most 65536.");
        assert_eq!(lines[2], "Note: the destination is paused.");
        assert!(lines[3].contains("p:Describe"), "{lines:?}");
    }
}
