//! What makes a development server: initialized, unsealed, its token known.

use crate::{assemble::App, token_file};
use anyhow::{Context, Result, anyhow};
use bailee_crypto::{Sensitive, random};
use bailee_kernel::{Call, Initialize};
use bailee_sdk::{Headers, Operation};
use serde_json::{Map, Value, json};
use std::io::Write;

/// Initializes and unseals, mounts this version of kv at `secret/`, and tells the person at the
/// terminal how to go on.
pub(crate) async fn prepare(
    app: &App,
    chosen: Option<Sensitive<String>>,
    kv: Option<&str>,
    store_token: bool,
) -> Result<()> {
    let core = app.core();
    let made = core.initialize(Initialize { shares: 1, threshold: 1 }).await.map_err(told)?;
    let key = made.keys.first().context("initialization gave no key")?;
    core.unseal(key).await.map_err(told)?;
    let mut token = made.root_token;
    if let Some(chosen) = chosen {
        let input = json!({ "id": chosen.expose(), "policies": ["root"], "no_parent": true });
        call(app, &token, "auth/token/create", input).await?;
        token = chosen;
    }
    if let Some(version) = kv {
        let options = json!({ "version": version });
        let description = "key/value secret storage";
        let mount = json!({ "type": "kv", "options": options, "description": description });
        call(app, &token, "sys/mounts/secret", mount).await?;
    }
    if store_token {
        token_file::store(&token).context("the token file")?;
    }
    let address = app.addresses().first().copied().context("no listener")?;
    let key = hex::encode(key.as_slice());
    let token = token.expose();
    // Only here: whoever starts a development server is shown its keys.
    writeln!(
        std::io::stdout(),
        "\n==> This is a development server: everything is in memory and gone when it ends.\n\n\
         In another terminal:\n\n    export VAULT_ADDR='http://{address}'\n\n\
         Unseal Key: {key}\nRoot Token: {token}\n"
    )?;
    Ok(())
}

async fn call(app: &App, token: &Sensitive<String>, path: &str, input: Value) -> Result<()> {
    let Value::Object(input) = input else { return Err(anyhow!("input is an object")) };
    let call = Call {
        id: random::uuid().to_string(),
        namespace: String::new(),
        path: path.to_owned(),
        operation: Operation::Update,
        input: Map::from_iter(input),
        token: Some(token.clone()),
        wrap_ttl: None,
        remote: None,
        headers: Headers::default(),
    };
    app.core().handle(call).await.map_err(told)?;
    Ok(())
}

fn told(error: bailee_sdk::Error) -> anyhow::Error {
    anyhow!("development server: {error}")
}
