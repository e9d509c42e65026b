//! The published Lambda sample's `cdk.json`: its six keys, read as they are.

use super::{Configuration, Destination, Source, Vault};
use crate::config::reader::{Block, Faults};
use bailee_notation::schedule::Schedule;
use bailee_sdk::Sensitive;
use bailee_secret_sync::{
    pull::{Spec, sources::vault::Part},
    registry::{Details, Network},
};

/// The sample's keys.
const KEYS: [&str; 6] = [
    "hcpvaultInboundIPCidr",
    "notificationEmail",
    "secretsPrefix",
    "deployHCPVaultOnEC2",
    "optionalExternalVaultAddress",
    "lambdaCronSchedule",
];
/// What stands beside the configuration in the sample's file, for the tool that deploys it.
const OF_THE_DEPLOYMENT: [&str; 4] = ["app", "watch", "requireApproval", "versionReporting"];
const PREFIX: &str = "hybrid-aws-secrets";
const SCHEDULE: &str = "cron(0,30 * * * ? *)";
/// The connection secret's name below the prefix.
const CONNECTION: &str = "vault-connection-secret";

/// Whether a file is the sample's.
pub(super) fn is_sample(file: &Block) -> bool {
    file.has("context") || KEYS.iter().any(|key| file.has(key))
}

/// What the sample's keys mean here.
pub(super) fn read(mut file: Block, faults: &mut Faults) -> Option<Configuration> {
    let mut without_effect = Vec::new();
    if file.has("context") {
        drop(file.ignored(&OF_THE_DEPLOYMENT));
        let mut context = file.block("context", faults)?;
        let configuration = context.block("configuration", faults);
        // Flags of the deployment tool itself.
        drop(context);
        file.finish(faults);
        let Some(configuration) = configuration else {
            faults.add_overall("context.configuration is missing");
            return None;
        };
        file = configuration;
    }
    let prefix = file.read("secretsPrefix", faults, |text| {
        let prefix = text.trim_matches('/');
        let named = !prefix.is_empty() && !prefix.contains("{{");
        named.then(|| prefix.to_owned()).ok_or_else(|| "want a name prefix".to_owned())
    });
    let prefix = prefix.unwrap_or_else(|| PREFIX.to_owned());
    let deploys = file.flag("deployHCPVaultOnEC2", faults).unwrap_or(true);
    let address = file.text("optionalExternalVaultAddress", faults);
    let schedule = file.read("lambdaCronSchedule", faults, |text| {
        Schedule::parse(text).map_err(|error| error.to_string())
    });
    let schedule = schedule.or_else(|| Schedule::parse(SCHEDULE).ok());
    for key in ["hcpvaultInboundIPCidr", "notificationEmail"] {
        let line = file.line_of(key);
        if file.text(key, faults).is_some_and(|text| !text.is_empty()) {
            without_effect.push(format!("line {line}: {key}"));
        }
    }
    file.finish(faults);
    let mut spec = Spec::below(prefix.clone(), &prefix);
    spec.adopts_sample = true;
    let mut details = Details::default();
    let key = Sensitive::from(format!("alias/{prefix}-encryption-key"));
    details.0.insert("kms_key_id".to_owned(), key);
    let network = Network { disable_strict_networking: true, ..Network::default() };
    Some(Configuration {
        spec,
        source: Source::Vault(Box::new(Vault {
            client: None,
            address: address.filter(|address| !deploys && !address.is_empty()),
            namespace: String::new(),
            parts: vec![Part {
                mount: prefix.clone(),
                folders: vec![String::new()],
                version: None,
            }],
            ca_cert: None,
            client_certificate: None,
            tls_server_name: None,
            auth: None,
            token: None,
        })),
        destination: Destination { kind: "aws-sm".to_owned(), details, network },
        connection_secret: Some(format!("{prefix}/{CONNECTION}")),
        configuration_kms_key_id: None,
        content_hash_key_file: None,
        notify: Vec::new(),
        schedule,
        listen: None,
        healthy_for: None,
        lock_file: None,
        without_effect,
    })
}
