//! `replicate connect`: writes the connection secret.

use super::What;
use crate::{
    arguments,
    config::ServerEnvironment,
    context::Context,
    failure::Failure,
    replicate::{self, Source},
};
use bailee_crypto::{Clock, SystemClock};
use bailee_secret_sync::pull::connection::Connection;
use clap::Args;
use std::sync::Arc;

/// Writes the secret in AWS that says where the source is, with the token for it.
///
/// Address and token are those of the common flags and the environment, as for every command. The key
/// that replication marks its secrets with is made with it, and kept when it is there.
#[derive(Args, Debug)]
pub(crate) struct Connect {
    #[command(flatten)]
    what: What,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Connect {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let configuration = self.what.configuration(context)?;
        let Some(name) = replicate::connection_name(&configuration) else {
            return Err(Failure::usage(
                "no name: give -connection-secret, or connection_secret in the configuration",
            ));
        };
        let settings = context.client().settings().clone();
        let address = match &configuration.source {
            Source::Vault(vault) => vault.address.clone(),
            Source::Aws { .. } => {
                return Err(Failure::usage("a source in AWS needs no connection secret"));
            }
        };
        let connection = Connection {
            address: address.unwrap_or_else(|| settings.address.to_string()),
            token: settings.token.clone(),
            content_hash_key: None,
        };
        if connection.token.is_none() {
            return Err(Failure::usage("no token: set VAULT_TOKEN, or log in first"));
        }
        let address = connection.address.clone();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let place = replicate::place(&configuration, &ServerEnvironment::read(), &clock);
        let place = place.map_err(|failure| Failure::usage(failure.to_string()))?;
        let own = configuration.configuration_kms_key_id.as_deref();
        let key = configuration.destination.details.text("kms_key_id");
        let written = connection.write(&place, name, own.or(key.as_deref()), own).await;
        let is_new = written
            .map_err(|error| Failure::refused(format!("Error writing {name:?}: {error}")))?;
        let what = if is_new { "made" } else { "updated" };
        context
            .output
            .line(&format!("Success! The connection secret {name} is {what}: {address}"))?;
        Ok(())
    }
}
