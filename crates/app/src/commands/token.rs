//! `token`: tokens and what they may do.

use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Order, Secret},
    value,
};
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Creates, looks up, renews and revokes tokens.
#[derive(Subcommand, Debug)]
pub(crate) enum Token {
    Create(Box<Create>),
    Lookup(Lookup),
    Renew(Renew),
    Revoke(Revoke),
    Capabilities(Capabilities),
}

/// Shows what this machine would use.
#[derive(Subcommand, Debug)]
pub(crate) enum Print {
    /// Shows the token that commands use.
    Token,
}

/// Creates a token, as a child of the one in use.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The token's own text; made up by default.
    #[arg(long, value_name = "TEXT")]
    id: Option<String>,
    /// A name that audit and lookups show.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// How long it lasts.
    #[arg(long, value_name = "DURATION", value_parser = value::ttl)]
    ttl: Option<String>,
    /// How long it lasts at most, however often it is renewed.
    #[arg(long, value_name = "DURATION", value_parser = value::ttl)]
    explicit_max_ttl: Option<String>,
    /// Each renewal makes it last this long, without an end.
    #[arg(long, value_name = "DURATION", value_parser = value::ttl)]
    period: Option<String>,
    /// Whether it can be renewed.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    renewable: Option<bool>,
    /// Make it nobody's child: it outlives the token in use.
    #[arg(long)]
    orphan: bool,
    /// Leave out the default policy.
    #[arg(long)]
    no_default_policy: bool,
    /// How many requests it is good for.
    #[arg(long, value_name = "N")]
    use_limit: Option<u64>,
    /// service or batch.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// A note that is kept with it; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::pair)]
    metadata: Vec<(String, String)>,
    /// A policy it has; may be repeated.
    #[arg(long, value_name = "NAME")]
    policy: Vec<String>,
    /// The token role it is created by.
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// The entity alias it belongs to, with a role.
    #[arg(long, value_name = "NAME")]
    entity_alias: Option<String>,
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Shows a token; the one in use when none is given.
#[derive(Args, Debug)]
pub(crate) struct Lookup {
    /// The argument is an accessor.
    #[arg(long)]
    accessor: bool,
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    #[arg(value_name = "TOKEN | ACCESSOR")]
    arguments: Vec<String>,
}

/// Renews a token; the one in use when none is given.
#[derive(Args, Debug)]
pub(crate) struct Renew {
    /// The argument is an accessor.
    #[arg(long)]
    accessor: bool,
    /// How long it shall last from now on.
    #[arg(long, alias = "i", value_name = "DURATION", value_parser = value::ttl)]
    increment: Option<String>,
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    #[arg(value_name = "TOKEN | ACCESSOR")]
    arguments: Vec<String>,
}

/// Revokes a token and its children.
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The argument is an accessor.
    #[arg(long)]
    accessor: bool,
    /// Revoke the token in use.
    #[arg(long = "self")]
    own: bool,
    /// orphan: its children live on; path: all tokens made below this path.
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    #[arg(value_name = "TOKEN | ACCESSOR | PATH")]
    arguments: Vec<String>,
}

/// Shows what a token may do at a path; the one in use when none is given.
#[derive(Args, Debug)]
pub(crate) struct Capabilities {
    /// The first argument is an accessor.
    #[arg(long)]
    accessor: bool,
    #[arg(value_name = "[TOKEN | ACCESSOR] PATH")]
    arguments: Vec<String>,
}

impl Token {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Token::Create(arguments) => arguments.run(context).await,
            Token::Lookup(arguments) => arguments.run(context).await,
            Token::Renew(arguments) => arguments.run(context).await,
            Token::Revoke(arguments) => arguments.run(context).await,
            Token::Capabilities(arguments) => arguments.run(context).await,
        }
    }
}

impl Print {
    /// Runs the command.
    pub(crate) fn run(self, context: &mut Context) -> Result<(), Failure> {
        let Print::Token = self;
        let token = context.client().settings().token.clone().unwrap_or_default();
        context.output.line(token.expose())
    }
}

impl Create {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let path = match &self.role {
            Some(role) => format!("auth/token/create/{role}"),
            None if self.orphan => "auth/token/create-orphan".to_owned(),
            None => "auth/token/create".to_owned(),
        };
        let outgoing = Outgoing::new(Method::Post, path).json(&self.body());
        let made = context.send("Error creating token", outgoing).await?;
        context.output.secret(&made, self.field.as_deref())
    }

    fn body(&self) -> Value {
        let mut body = Map::new();
        let texts = [
            ("id", &self.id),
            ("display_name", &self.display_name),
            ("ttl", &self.ttl),
            ("explicit_max_ttl", &self.explicit_max_ttl),
            ("period", &self.period),
            ("type", &self.kind),
            ("entity_alias", &self.entity_alias),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                body.insert(name.to_owned(), text.as_str().into());
            }
        }
        let mut add = |name: &str, value: Value| body.insert(name.to_owned(), value);
        if !self.policy.is_empty() {
            add("policies", json!(self.policy));
        }
        if !self.metadata.is_empty() {
            let notes =
                self.metadata.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
            add("meta", Value::Object(notes.collect()));
        }
        if let Some(limit) = self.use_limit {
            add("num_uses", limit.into());
        }
        if let Some(renewable) = self.renewable {
            add("renewable", renewable.into());
        }
        if self.no_default_policy {
            add("no_default_policy", true.into());
        }
        Value::Object(body)
    }
}

/// A token as the argument, or from standard input when it is `-`.
fn given(context: &mut Context, argument: &str) -> Result<String, Failure> {
    match argument {
        "-" => Ok(context.input.hidden("Token")?.expose().clone()),
        text => Ok(text.trim().to_owned()),
    }
}

impl Lookup {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let argument = arguments::optional(&self.arguments)?;
        let outgoing = match argument {
            None if self.accessor => {
                return Err(Failure::usage(
                    "Not enough arguments with -accessor (expected 1, got 0)",
                ));
            }
            None => Outgoing::new(Method::Get, "auth/token/lookup-self"),
            Some(accessor) if self.accessor => {
                let body = json!({ "accessor": accessor });
                Outgoing::new(Method::Post, "auth/token/lookup-accessor").json(&body)
            }
            Some(token) => {
                let body = json!({ "token": given(context, token)? });
                Outgoing::new(Method::Post, "auth/token/lookup").json(&body)
            }
        };
        let found = context.send("Error looking up token", outgoing).await?;
        context.output.secret(&found, self.field.as_deref())
    }
}

impl Renew {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let argument = arguments::optional(&self.arguments)?;
        let mut body = Map::new();
        let path = match argument {
            None if self.accessor => {
                return Err(Failure::usage(
                    "Not enough arguments with -accessor (expected 1, got 0)",
                ));
            }
            None => "auth/token/renew-self",
            Some(accessor) if self.accessor => {
                body.insert("accessor".to_owned(), accessor.as_str().into());
                "auth/token/renew-accessor"
            }
            Some(token) => {
                body.insert("token".to_owned(), given(context, token)?.into());
                "auth/token/renew"
            }
        };
        if let Some(increment) = &self.increment {
            body.insert("increment".to_owned(), increment.as_str().into());
        }
        let outgoing = Outgoing::new(Method::Put, path).json(&Value::Object(body));
        let renewed = context.send("Error renewing token", outgoing).await?;
        context.output.secret(&renewed, self.field.as_deref())
    }
}

impl Revoke {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mode = self.mode.as_deref().unwrap_or_default();
        if self.accessor && !mode.is_empty() {
            return Err(Failure::usage(format!("Cannot use -accessor with -mode={mode}!")));
        }
        let argument = match self.arguments.as_slice() {
            [] if self.own => String::new(),
            [] => return Err(Failure::usage("Not enough arguments (expected 1 or -self, got 0)")),
            [_] if self.own => {
                return Err(Failure::usage("Too many arguments (expected 0 with -self, got 1)"));
            }
            [one] => given(context, one)?,
            more => {
                let count = more.len();
                return Err(Failure::usage(format!(
                    "Too many arguments (expected 1 or -self, got {count})"
                )));
            }
        };
        let (path, body) = match (mode, self.accessor) {
            ("", _) if self.own => ("auth/token/revoke-self".to_owned(), json!({})),
            ("", true) => {
                ("auth/token/revoke-accessor".to_owned(), json!({ "accessor": argument }))
            }
            ("", false) => ("auth/token/revoke".to_owned(), json!({ "token": argument })),
            ("orphan", _) => ("auth/token/revoke-orphan".to_owned(), json!({ "token": argument })),
            ("path", _) => (format!("sys/leases/revoke-prefix/{argument}"), json!({})),
            (other, _) => {
                return Err(Failure::usage(format!(
                    "Unknown mode {other:?}: there are orphan and path"
                )));
            }
        };
        let outgoing = Outgoing::new(Method::Put, path).json(&body);
        match context.attempt(outgoing).await? {
            Ok(_) => {}
            // An accessor of a token that is gone: the wish is fulfilled.
            Err(error) if self.accessor && gone(&error) => {}
            Err(error) => return Err(context.failure("Error revoking token", &error)),
        }
        context.output.line("Success! Revoked token (if it existed)")
    }
}

fn gone(error: &bailee_client::Error) -> bool {
    matches!(error, bailee_client::Error::Refused { response, .. }
        if response.status == 404 || response.errors().iter().any(|text| text.contains("invalid accessor")))
}

impl Capabilities {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let (endpoint, body, path) = match self.arguments.as_slice() {
            [] => return Err(Failure::usage("Not enough arguments (expected 1-2, got 0)")),
            [_] if self.accessor => {
                return Err(Failure::usage(
                    "Not enough arguments with -accessor (expected 2, got 1)",
                ));
            }
            [path] => ("sys/capabilities-self", json!({ "paths": [path] }), path),
            [accessor, path] if self.accessor => (
                "sys/capabilities-accessor",
                json!({ "accessor": accessor, "paths": [path] }),
                path,
            ),
            [token, path] => (
                "sys/capabilities",
                json!({ "token": given(context, token)?, "paths": [path] }),
                path,
            ),
            more => {
                let count = more.len();
                return Err(Failure::usage(format!(
                    "Too many arguments (expected 1-2, got {count})"
                )));
            }
        };
        let outgoing = Outgoing::new(Method::Post, endpoint).json(&body);
        let found = context.send("Error listing capabilities", outgoing).await?;
        show_capabilities(context, &found, path)
    }
}

fn show_capabilities(context: &mut Context, found: &Secret, path: &str) -> Result<(), Failure> {
    let data = found.data();
    let told = data.and_then(|data| data.get(path).or_else(|| data.get("capabilities")));
    let mut names: Vec<&str> =
        told.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    names.sort_unstable();
    if context.output.is_table() {
        return context.output.line(&names.join(", "));
    }
    context.output.document(&json!(names), &Order::SORTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    fn revoke(accessor: bool, own: bool, mode: Option<&str>, arguments: &[&str]) -> Revoke {
        let arguments = arguments.iter().map(|&text| text.to_owned()).collect();
        Revoke { accessor, own, mode: mode.map(str::to_owned), arguments }
    }

    #[tokio::test]
    async fn revocations_need_a_token_or_self() {
        let (mut context, ..) = testing::context(Format::Table, Vec::new()).await;
        let failure = revoke(false, false, None, &[]).run(&mut context).await.unwrap_err();
        assert_eq!(failure, Failure::usage("Not enough arguments (expected 1 or -self, got 0)"));
        let failure =
            revoke(true, false, Some("orphan"), &["x"]).run(&mut context).await.unwrap_err();
        assert_eq!(failure, Failure::usage("Cannot use -accessor with -mode=orphan!"));
    }

    #[tokio::test]
    async fn capabilities_are_sorted() {
        let found = json!({"data": {"capabilities": ["read", "list"], "a": ["read", "list"]}});
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![(200, found)]).await;
        let arguments = vec!["tok".to_owned(), "a".to_owned()];
        Capabilities { accessor: false, arguments }.run(&mut context).await.unwrap();
        assert_eq!(out.text(), "list, read\n");
        assert!(asked.text().starts_with("POST /v1/sys/capabilities {"), "{}", asked.text());
    }
}
