//! `operator init`: the keys and the first root token, shown once.

use super::pgp::{pgp_key, pgp_keys};
use crate::{
    arguments,
    context::Context,
    failure::{Failure, REFUSED, USAGE},
    output::Order,
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Map, Value, json};

/// Initializes the server: makes its keys and the first root token, and shows them once.
#[derive(Args, Debug, Default)]
pub(crate) struct Init {
    /// Number of keys that are made.
    #[arg(long, value_name = "N", default_value_t = 5)]
    key_shares: u32,
    /// Number of keys that are needed to unseal.
    #[arg(long, value_name = "N", default_value_t = 3)]
    key_threshold: u32,
    /// Files of PGP keys that encrypt the keys, one for each, separated by commas.
    #[arg(long, value_name = "FILE,…", value_delimiter = ',')]
    pgp_keys: Vec<String>,
    /// File of a PGP key that encrypts the root token.
    #[arg(long, value_name = "FILE")]
    root_token_pgp_key: Option<String>,
    /// Only tell whether it is initialized: exit code 0 when it is, 2 when not.
    #[arg(long)]
    pub(super) status: bool,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Init {
    pub(super) async fn status(self, context: &mut Context) -> Result<(), Failure> {
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

    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let (shares, threshold) = (self.key_shares, self.key_threshold);
        let mut body = Map::new();
        body.insert("secret_shares".to_owned(), shares.into());
        body.insert("secret_threshold".to_owned(), threshold.into());
        if !self.pgp_keys.is_empty() {
            body.insert("pgp_keys".to_owned(), pgp_keys(&self.pgp_keys)?.into());
        }
        if let Some(file) = &self.root_token_pgp_key {
            body.insert("root_token_pgp_key".to_owned(), pgp_key(file)?.into());
        }
        let outgoing = Outgoing::new(Method::Put, "sys/init").json(&body.into());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    #[tokio::test]
    async fn keys_and_token_are_shown_once_and_json_carries_them_for_scripts() {
        let made = json!({"keys": ["aa"], "keys_base64": ["qg=="], "root_token": "hvs.r"});
        let init = || Init { key_shares: 1, key_threshold: 1, ..Init::default() };
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
    async fn an_uninitialized_server_exits_with_2() {
        let (mut context, out, ..) =
            testing::context(Format::Table, vec![(200, json!({"initialized": false}))]).await;
        let init = Init { status: true, ..Init::default() };
        assert_eq!(init.status(&mut context).await, Err(Failure::shown(2)));
        assert_eq!(out.text(), "Vault is not initialized\n");
    }
}
