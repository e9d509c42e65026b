//! `replicate`: secrets of another server, brought to where they are used.

mod connect;
mod package;
mod plan;
mod policy;
mod run;
mod serve;

use crate::{
    context::Context,
    failure::Failure,
    replicate::{self, Configuration, Destination, Source, Vault},
};
use bailee_crypto::Sensitive;
use bailee_secret_sync::{
    destination::RECOVERY_DAYS_DEFAULT,
    pull::{Spec, sources::vault::Part, words},
    registry::{Details, Network},
};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Times a request to the source is tried again.
const RETRIES: u32 = 3;

/// Brings secrets of a Vault, OpenBao or bailee to AWS Secrets Manager, and keeps them up to date.
///
/// What is done is said by a file (-config), or by flags; then the source is the server of the common
/// flags. The file of the published Lambda sample, `cdk.json`, is understood. In this order:
/// `replicate connect`, `replicate plan`, `replicate run`, `replicate serve`.
#[derive(Subcommand, Debug)]
pub(crate) enum Replicate {
    Plan(plan::Plan),
    Run(run::Run),
    Serve(serve::Serve),
    Connect(connect::Connect),
    Package(package::Package),
    Policy(policy::Policy),
}

/// What is replicated.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct What {
    /// Configuration file: HCL or JSON, or YAML when its name ends in .yaml or .yml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// KV engine to read; may be repeated. Without -config.
    #[arg(long, value_name = "PATH")]
    mount: Vec<String>,
    /// How names at the destination begin; the first -mount when absent.
    #[arg(long, value_name = "NAME")]
    prefix: Option<String>,
    /// Region of AWS; that of this machine when absent.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Secret in AWS that says where the source is, with the token for it.
    #[arg(long, value_name = "NAME")]
    connection_secret: Option<String>,
    /// How a change is seen: version, updated or hash.
    #[arg(long, value_name = "HOW", value_parser = words::compare)]
    compare: Option<bailee_secret_sync::pull::spec::Compare>,
    /// What becomes of what the source has no more: keep, orphan, schedule or delete.
    #[arg(long, value_name = "HOW", value_parser = removals)]
    deletion: Option<bailee_secret_sync::pull::spec::Removals>,
}

fn removals(text: &str) -> Result<bailee_secret_sync::pull::spec::Removals, String> {
    words::removals(text, RECOVERY_DAYS_DEFAULT)
}

impl Replicate {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Replicate::Plan(arguments) => arguments.run(context).await,
            Replicate::Run(arguments) => arguments.run(context).await,
            Replicate::Serve(arguments) => arguments.run(context).await,
            Replicate::Connect(arguments) => arguments.run(context).await,
            Replicate::Package(arguments) => arguments.run(context).await,
            Replicate::Policy(arguments) => arguments.run(context).await,
        }
    }
}

impl What {
    /// The configuration that file or flags give.
    fn configuration(&self, context: &mut Context) -> Result<Configuration, Failure> {
        let Some(path) = &self.config else { return self.of_flags(context) };
        let flags = !self.mount.is_empty()
            || self.prefix.is_some()
            || self.region.is_some()
            || self.connection_secret.is_some()
            || self.compare.is_some()
            || self.deletion.is_some();
        if flags {
            return Err(Failure::usage(
                "-config and the flags for single settings exclude each other",
            ));
        }
        let mut read = replicate::read(path).map_err(|faults| {
            Failure::usage(format!("Error reading {}:\n{faults}", path.display()))
        })?;
        if let (Source::Vault(vault), None) = (&mut read.source, &read.connection_secret) {
            let settings = context.client().settings();
            vault.token = settings.token.clone();
            vault.address.get_or_insert_with(|| settings.address.to_string());
        }
        for setting in &read.without_effect {
            context.output.warn(&format!("{}: {setting} has no effect here", path.display()))?;
        }
        Ok(read)
    }

    fn of_flags(&self, context: &Context) -> Result<Configuration, Failure> {
        let Some(first) = self.mount.first() else {
            return Err(Failure::usage("give -config, or -mount: the KV engine to read"));
        };
        let prefix = self.prefix.as_deref().unwrap_or(first).trim_matches('/').to_owned();
        let mut spec = Spec::below(prefix.clone(), &prefix);
        spec.compare = self.compare.unwrap_or_default();
        spec.removals = self.deletion.unwrap_or_default();
        let mut details = Details::default();
        if let Some(region) = &self.region {
            details.0.insert("region".to_owned(), Sensitive::from(region.as_str()));
        }
        let part = |mount: &String| Part {
            mount: mount.trim_matches('/').to_owned(),
            folders: vec![String::new()],
            version: None,
        };
        // With a connection secret the address and the token are not ours to say.
        let mut client = context.client().settings().clone();
        client.retries = RETRIES;
        let vault = Vault {
            namespace: client.namespace.clone(),
            client: self.connection_secret.is_none().then_some(client),
            address: None,
            parts: self.mount.iter().map(part).collect(),
            ca_cert: None,
            client_certificate: None,
            tls_server_name: None,
            auth: None,
            token: None,
        };
        let network = Network { disable_strict_networking: true, ..Network::default() };
        Ok(Configuration {
            spec,
            source: Source::Vault(Box::new(vault)),
            destination: Destination { kind: "aws-sm".to_owned(), details, network },
            connection_secret: self.connection_secret.clone(),
            configuration_kms_key_id: None,
            content_hash_key_file: None,
            notify: Vec::new(),
            schedule: None,
            listen: None,
            healthy_for: None,
            lock_file: None,
            without_effect: Vec::new(),
        })
    }
}
