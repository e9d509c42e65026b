//! `policy explain`: what someone may do to a path, and which rule says so.

use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Secret, Table},
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Map, Value, json};

/// Explains what someone may do to a path of the API, rule by rule; by default the token in use.
///
/// A list's path ends in `/`.
#[derive(Args, Debug, Default)]
pub(crate) struct Explain {
    /// Ask about the token with this accessor.
    #[arg(long, value_name = "ACCESSOR")]
    accessor: Option<String>,
    /// Ask about this entity.
    #[arg(long, value_name = "ID")]
    entity_id: Option<String>,
    /// Ask about whoever has these policies, and no others; may be repeated.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    policy: Vec<String>,
    /// Ask about these operations only: create, read, update, patch, delete, list, scan.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    operation: Vec<String>,
    /// Show instead which policies and tokens have rights on the path.
    #[arg(long)]
    who: bool,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

impl Explain {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let mut body = Map::from_iter([("path".to_owned(), Value::from(path.as_str()))]);
        let mut add = |name: &str, value: Value| body.insert(name.to_owned(), value);
        if !self.operation.is_empty() {
            add("operations", json!(self.operation));
        }
        match (&self.accessor, &self.entity_id, self.policy.as_slice()) {
            _ if self.who => add("who", true.into()),
            (Some(accessor), None, []) => add("accessor", accessor.as_str().into()),
            (None, Some(entity), []) => add("entity_id", entity.as_str().into()),
            (None, None, [_, ..]) => add("policies", json!(self.policy)),
            (None, None, []) => add("accessor", own_accessor(context).await?),
            _ => {
                return Err(Failure::usage("-accessor, -entity-id and -policy exclude each other"));
            }
        };
        let outgoing = Outgoing::new(Method::Put, "sys/policies/explain");
        let outgoing = outgoing.json(&Value::Object(body));
        let told = context.send(&format!("Error explaining {path}"), outgoing).await?;
        if !context.output.is_table() {
            return context.output.secret(&told, None);
        }
        let data = told.data().cloned().unwrap_or_default();
        if self.who { show_who(context, &data) } else { show_why(context, &data) }?;
        context.output.warnings(&told)
    }
}

async fn own_accessor(context: &mut Context) -> Result<Value, Failure> {
    let outgoing = Outgoing::new(Method::Get, "auth/token/lookup-self");
    let own: Secret = context.send("Error looking up token", outgoing).await?;
    Ok(own.data().and_then(|data| data.get("accessor")).cloned().unwrap_or_default())
}

fn show_why(context: &mut Context, data: &Map<String, Value>) -> Result<(), Failure> {
    let mut table = Table::new(&["Operation", "Allowed", "Reason"]);
    for (operation, told) in fields(data, "operations") {
        let allowed = told.get("allowed").and_then(Value::as_bool).unwrap_or(false);
        table.row([operation.clone(), allowed.to_string(), text(told, "reason").to_owned()]);
    }
    context.output.table(&table)?;
    for (pattern, rule) in fields(data, "rules") {
        context
            .output
            .line(&format!("\nRule {pattern:?} gives: {}", listed(rule, "capabilities")))?;
        for from in items(rule, "from") {
            context.output.line(&format!("  from {}", written(from)))?;
        }
        for other in items(rule, "outranked") {
            let because = text(other, "because");
            context.output.line(&format!("  not from {}: {because}", written(other)))?;
        }
    }
    Ok(())
}

fn show_who(context: &mut Context, data: &Map<String, Value>) -> Result<(), Failure> {
    let mut policies = Table::new(&["Policy", "Capabilities", "Rule", "Line"]);
    for (name, told) in fields(data, "policies") {
        let line = told.get("line").map(ToString::to_string).unwrap_or_default();
        let rule = text(told, "rule").to_owned();
        policies.row([name.clone(), listed(told, "capabilities"), rule, line]);
    }
    context.output.table(&policies)?;
    context.output.line("")?;
    let mut tokens = Table::new(&["Accessor", "Display Name", "Policies", "Capabilities"]);
    for token in data.get("tokens").and_then(Value::as_array).into_iter().flatten() {
        let (accessor, name) = (text(token, "accessor"), text(token, "display_name"));
        let lists = [listed(token, "policies"), listed(token, "capabilities")];
        tokens.row([accessor.to_owned(), name.to_owned()].into_iter().chain(lists));
    }
    context.output.table(&tokens)?;
    if data.get("complete").and_then(Value::as_bool) == Some(false) {
        context.output.warn("There are more policies or tokens than were looked at.")?;
    }
    Ok(())
}

/// A rule as its author wrote it: policy, line, path, rights.
fn written(rule: &Value) -> String {
    let line = rule.get("line").map(ToString::to_string).unwrap_or_default();
    let (policy, path) = (text(rule, "policy"), text(rule, "path"));
    format!("policy {policy}, line {line}, {path:?}: {}", listed(rule, "capabilities"))
}

fn fields<'a>(
    data: &'a Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    data.get(name).and_then(Value::as_object).into_iter().flatten()
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn listed(value: &Value, name: &str) -> String {
    items(value, name).filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    #[tokio::test]
    async fn the_token_in_use_is_asked_about_when_nobody_is_named() {
        let rule = json!({"policy": "p", "path": "a/*", "line": 3, "capabilities": ["read"]});
        let told = json!({"data": {
            "operations": {"read": {"allowed": true, "reason": "granted by p", "rule": "a/*"}},
            "rules": {"a/*": {"capabilities": ["read"], "from": [rule], "outranked": []}},
        }});
        let answers = vec![(200, json!({"data": {"accessor": "acc"}})), (200, told)];
        let (mut context, out, _, asked) = testing::context(Format::Table, answers).await;
        let explain = Explain { arguments: vec!["a/b".to_owned()], ..Explain::default() };
        explain.run(&mut context).await.unwrap();
        let expected = "PUT /v1/sys/policies/explain {\"accessor\":\"acc\",\"path\":\"a/b\"}\n";
        assert!(asked.text().ends_with(expected), "{}", asked.text());
        let expected = "read         true       granted by p\n\n\
            Rule \"a/*\" gives: read\n  from policy p, line 3, \"a/*\": read\n";
        assert!(out.text().ends_with(expected), "{}", out.text());
    }

    #[tokio::test]
    async fn only_one_can_be_asked_about() {
        let (mut context, ..) = testing::context(Format::Table, Vec::new()).await;
        let explain = Explain {
            accessor: Some("a".to_owned()),
            policy: vec!["p".to_owned()],
            arguments: vec!["a/b".to_owned()],
            ..Explain::default()
        };
        assert_eq!(explain.run(&mut context).await.unwrap_err().exit, 1);
    }
}
