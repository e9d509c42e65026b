//! `operator unseal`, `operator seal`: opening a server and closing it.

use super::share;
use crate::{arguments, commands::status, context::Context, failure::Failure};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::json;

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

impl Unseal {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let key = arguments::optional(&self.key)?.map(String::as_str);
        let body = match key {
            _ if self.reset => json!({ "reset": true }),
            Some(key) if key != "-" => json!({ "key": key.trim() }),
            Some(_) | None => json!({ "key": share::hidden(context)?.expose() }),
        };
        let outgoing = Outgoing::new(Method::Put, "sys/unseal").json(&body);
        let response = context.attempt(outgoing).await?;
        let response = response.map_err(|error| context.failure("Error unsealing", &error))?;
        let mut status = response.json();
        status.entry("ha_enabled").or_insert(false.into());
        status::show(context, status)
    }
}

impl Seal {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        context.send("Error sealing", Outgoing::new(Method::Put, "sys/seal")).await?;
        context.output.line("Success! Vault is sealed.")
    }
}
