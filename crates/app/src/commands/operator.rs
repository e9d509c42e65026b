//! `operator`: bringing a server up and closing it.

use super::status;
use crate::{
    arguments,
    context::Context,
    failure::{Failure, REFUSED, USAGE},
    output::{Order, cell},
};
use bailee_client::{Method, Outgoing};
use bailee_crypto::Sensitive;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Initializes, unseals and seals the server, and rotates its keys.
#[derive(Subcommand, Debug)]
pub(crate) enum Operator {
    Init(Init),
    Unseal(Unseal),
    Seal(Seal),
    KeyStatus(KeyStatus),
    Rotate(Rotate),
}

/// Initializes the server: makes its keys and the first root token, and shows them once.
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// Number of keys that are made.
    #[arg(long, value_name = "N", default_value_t = 5)]
    key_shares: u32,
    /// Number of keys that are needed to unseal.
    #[arg(long, value_name = "N", default_value_t = 3)]
    key_threshold: u32,
    /// Only tell whether it is initialized: exit code 0 when it is, 2 when not.
    #[arg(long)]
    status: bool,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Gives the server one of its keys. It unseals when it has enough of them.
#[derive(Args, Debug)]
pub(crate) struct Unseal {
    /// Forget the keys that were given so far.
    #[arg(long)]
    reset: bool,
    /// The key; asked for when absent, read from standard input when `-`.
    #[arg(value_name = "KEY")]
    key: Vec<String>,
}

/// Seals the server: it forgets its keys and answers nothing until it is unsealed.
#[derive(Args, Debug)]
pub(crate) struct Seal {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Shows since when the newest encryption key is in use, and how often it was used.
#[derive(Args, Debug)]
pub(crate) struct KeyStatus {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Makes a new encryption key for what is written from now on.
#[derive(Args, Debug)]
pub(crate) struct Rotate {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Operator {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Operator::Init(arguments) if arguments.status => arguments.status(context).await,
            Operator::Init(arguments) => arguments.run(context).await,
            Operator::Unseal(arguments) => arguments.run(context).await,
            Operator::Seal(arguments) => arguments.run(context).await,
            Operator::KeyStatus(KeyStatus { rest }) => {
                let [] = arguments::exactly::<0>(&rest)?;
                show_key_status(context).await
            }
            Operator::Rotate(Rotate { rest }) => {
                let [] = arguments::exactly::<0>(&rest)?;
                let outgoing = Outgoing::new(Method::Put, "sys/rotate");
                context.send("Error rotating key", outgoing).await?;
                if context.output.is_table() {
                    context.output.line("Success! Rotated key\n")?;
                }
                show_key_status(context).await
            }
        }
    }
}

impl Init {
    async fn status(self, context: &mut Context) -> Result<(), Failure> {
        let asked = Outgoing::new(Method::Get, "sys/init");
        let response = context.attempt(asked).await?.map_err(|error| {
            let failure = context.failure("Error checking init status", &error);
            Failure { exit: USAGE, ..failure }
        })?;
        let initialized = response.json().get("initialized").and_then(Value::as_bool);
        let initialized = initialized.unwrap_or(false);
        if context.output.is_table() {
            let not = if initialized { "" } else { "not " };
            context.output.line(&format!("Vault is {not}initialized"))?;
        } else {
            let status = json!({ "Initialized": initialized });
            context.output.document(&status, &Order::SORTED)?;
        }
        if initialized { Ok(()) } else { Err(Failure::shown(REFUSED)) }
    }

    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let (shares, threshold) = (self.key_shares, self.key_threshold);
        let body = json!({ "secret_shares": shares, "secret_threshold": threshold });
        let outgoing = Outgoing::new(Method::Put, "sys/init").json(&body);
        let response = context.attempt(outgoing).await?;
        let response = response.map_err(|error| context.failure("Error initializing", &error))?;
        let made = response.json();
        if !context.output.is_table() {
            return context.output.document(&document(&made, shares, threshold), &ORDER);
        }
        for (position, key) in texts(&made, "keys_base64").enumerate() {
            context.output.line(&format!("Unseal Key {}: {key}", position + 1))?;
        }
        let root = made.get("root_token").and_then(Value::as_str).unwrap_or_default();
        context.output.line(&format!("\nInitial Root Token: {root}\n"))?;
        context.output.line(&format!(
            "The server is initialized with {shares} keys, {threshold} of which unseal it. This is the\n\
             only time they are shown: give each to a different person, and keep the root\n\
             token apart from them. After every start, and after `operator seal`, the server\n\
             waits for {threshold} of the keys (`operator unseal`) before it answers. Fewer than\n\
             that, and nobody can read what it holds, ever."
        ))
    }
}

const ORDER: Order = Order {
    first: &[
        "unseal_keys_b64",
        "unseal_keys_hex",
        "unseal_shares",
        "unseal_threshold",
        "recovery_keys_b64",
        "recovery_keys_hex",
        "recovery_keys_shares",
        "recovery_keys_threshold",
        "root_token",
    ],
    inside: &[],
};

fn document(made: &Map<String, Value>, shares: u32, threshold: u32) -> Value {
    let list = |name| made.get(name).cloned().unwrap_or_else(|| json!([]));
    json!({
        "unseal_keys_b64": list("keys_base64"),
        "unseal_keys_hex": list("keys"),
        "unseal_shares": shares,
        "unseal_threshold": threshold,
        "recovery_keys_b64": list("recovery_keys_base64"),
        "recovery_keys_hex": list("recovery_keys"),
        "recovery_keys_shares": 0,
        "recovery_keys_threshold": 0,
        "root_token": made.get("root_token").cloned().unwrap_or_default(),
    })
}

fn texts<'a>(document: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a str> {
    let list = document.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

impl Unseal {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let key = arguments::optional(&self.key)?.map(String::as_str);
        let body = match key {
            _ if self.reset => json!({ "reset": true }),
            Some(key) if key != "-" => json!({ "key": key.trim() }),
            Some(_) | None => json!({ "key": hidden(context)?.expose() }),
        };
        let outgoing = Outgoing::new(Method::Put, "sys/unseal").json(&body);
        let response = context.attempt(outgoing).await?;
        let response = response.map_err(|error| context.failure("Error unsealing", &error))?;
        let mut status = response.json();
        status.entry("ha_enabled").or_insert(false.into());
        status::show(context, status)
    }
}

fn hidden(context: &mut Context) -> Result<Sensitive<String>, Failure> {
    let key = context.input.hidden("Unseal Key")?;
    if key.expose().is_empty() {
        return Err(Failure::usage("no unseal key was given: type it, or give it as the argument"));
    }
    Ok(key)
}

impl Seal {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        context.send("Error sealing", Outgoing::new(Method::Put, "sys/seal")).await?;
        context.output.line("Success! Vault is sealed.")
    }
}

async fn show_key_status(context: &mut Context) -> Result<(), Failure> {
    let outgoing = Outgoing::new(Method::Get, "sys/key-status");
    let found = context.send("Error reading key status", outgoing).await?;
    let data = found.data().cloned().unwrap_or_default();
    if !context.output.is_table() {
        const ORDER: Order = Order { first: &["term", "install_time", "encryptions"], inside: &[] };
        return context.output.document(&Value::Object(data), &ORDER);
    }
    let text = |name: &str| cell(name, data.get(name).unwrap_or(&Value::Null));
    context.output.line(&format!("Key Term            {}", text("term")))?;
    context.output.line(&format!("Install Time        {}", text("install_time")))?;
    context.output.line(&format!("Encryption Count    {}", text("encryptions")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    #[tokio::test]
    async fn keys_and_token_are_shown_once_and_json_carries_them_for_scripts() {
        let made = json!({"keys": ["aa"], "keys_base64": ["qg=="], "root_token": "hvs.r"});
        let init = || Init { key_shares: 1, key_threshold: 1, status: false, rest: Vec::new() };
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![(200, made.clone())]).await;
        init().run(&mut context).await.unwrap();
        assert!(out.text().starts_with("Unseal Key 1: qg==\n\nInitial Root Token: hvs.r\n\n"));
        assert!(
            asked
                .text()
                .starts_with(r#"PUT /v1/sys/init {"secret_shares":1,"secret_threshold":1}"#)
        );
        let (mut context, out, ..) = testing::context(Format::Json, vec![(200, made)]).await;
        init().run(&mut context).await.unwrap();
        let document: Value = serde_json::from_str(&out.text()).unwrap();
        assert_eq!(document["unseal_keys_b64"], json!(["qg=="]));
        assert_eq!(document["root_token"], "hvs.r");
    }

    #[tokio::test]
    async fn a_rotation_shows_the_new_key() {
        let status = json!({"data": {"term": 2, "install_time": "t", "encryptions": 7}});
        let answers = vec![(204, Value::Null), (200, status)];
        let (mut context, out, _, asked) = testing::context(Format::Table, answers).await;
        Operator::Rotate(Rotate { rest: Vec::new() }).run(&mut context).await.unwrap();
        assert_eq!(asked.text(), "PUT /v1/sys/rotate\nGET /v1/sys/key-status\n");
        let expected = "Success! Rotated key\n\nKey Term            2\n\
            Install Time        t\nEncryption Count    7\n";
        assert_eq!(out.text(), expected);
    }

    #[tokio::test]
    async fn an_uninitialized_server_exits_with_2() {
        let (mut context, out, ..) =
            testing::context(Format::Table, vec![(200, json!({"initialized": false}))]).await;
        let init = Init { key_shares: 5, key_threshold: 3, status: true, rest: Vec::new() };
        assert_eq!(init.status(&mut context).await, Err(Failure::shown(2)));
        assert_eq!(out.text(), "Vault is not initialized\n");
    }
}
