//! The configuration file. What nobody knows is refused, with its line.

use super::{Auth, Configuration, Destination, Notified, Source, Vault, sample};
use crate::config::reader::{Block, Faults};
use bailee_notation::{hcl, schedule::Schedule, yaml};
use bailee_sdk::Sensitive;
use bailee_secret_sync::{
    destination::{Ownership, RECOVERY_DAYS_DEFAULT},
    notice::Runs,
    pull::{
        Spec,
        sources::vault::Part,
        spec::Removals,
        words::{compare, days, drift, ownership, removals, share},
    },
    registry::{Details, Drift, Network},
};
use std::path::PathBuf;

/// Names that stand for a server that speaks Vault's API.
const VAULTS: [&str; 3] = ["vault", "openbao", "bailee"];
const AWS: &str = "aws-sm";
/// Where Kubernetes puts the token of a service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Details of AWS that are texts.
const AWS_DETAILS: [&str; 4] = ["region", "role_arn", "external_id", "kms_key_id"];

/// Reads a configuration; all that is wrong with it is told at once.
///
/// # Errors
/// Each fault with its line and field.
pub fn parse(text: &str, is_yaml: bool) -> Result<Configuration, Faults> {
    let mut faults = Faults::default();
    let body = if is_yaml { yaml::parse(text) } else { hcl::parse(text) };
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            faults.add_overall(error);
            return Err(faults);
        }
    };
    let file = Block::new("the configuration", 1, body);
    let read = match sample::is_sample(&file) {
        true => sample::read(file, &mut faults),
        false => own(file, &mut faults),
    };
    match read {
        Some(configuration) if faults.is_empty() => Ok(configuration),
        _ => Err(faults),
    }
}

fn own(mut file: Block, faults: &mut Faults) -> Option<Configuration> {
    let spec = spec(&mut file, faults);
    let source = source(&mut file, faults);
    let destination = destination(&mut file, faults);
    let connection_secret = file.text("connection_secret", faults);
    let configuration_kms_key_id = file.text("configuration_kms_key_id", faults);
    let content_hash_key_file = file.text("content_hash_key_file", faults).map(PathBuf::from);
    let schedule = file
        .read("schedule", faults, |text| Schedule::parse(text).map_err(|error| error.to_string()));
    let notify = notified(&mut file, faults);
    let listen = file.address("listen", faults);
    let healthy_for = file.duration("healthy_for", faults);
    let lock_file = file.text("lock_file", faults).map(PathBuf::from);
    file.finish(faults);
    let (spec, source, destination) = (spec?, source?, destination?);
    Some(Configuration {
        spec,
        source,
        destination,
        connection_secret,
        configuration_kms_key_id,
        content_hash_key_file,
        notify,
        schedule,
        listen,
        healthy_for,
        lock_file,
        without_effect: Vec::new(),
    })
}

fn spec(file: &mut Block, faults: &mut Faults) -> Option<Spec> {
    let prefix = file.read("prefix", faults, |text| {
        let prefix = text.trim_end_matches('/');
        let usable = !prefix.is_empty() && !prefix.contains("{{");
        usable.then(|| prefix.to_owned()).ok_or_else(|| {
            "want how all names begin, such as \"apps\"; for a template give names".to_owned()
        })
    });
    let names = file.text("names", faults);
    let name = file.text("name", faults);
    let mut spec = match (prefix, names) {
        (Some(prefix), None) => Spec::below(name.unwrap_or_else(|| prefix.clone()), &prefix),
        (None, Some(template)) => {
            let name = name.unwrap_or_else(|| "replication".to_owned());
            Spec { template, ..Spec::below(name, "") }
        }
        (Some(_), Some(_)) => {
            faults.add_overall("prefix and names exclude each other");
            return None;
        }
        (None, None) => {
            faults.add_overall(
                "prefix is missing: how all names at the destination begin, such as \"apps\"",
            );
            return None;
        }
    };
    spec.compare = file.read("compare", faults, compare).unwrap_or_default();
    spec.ownership = file.read("ownership", faults, ownership).unwrap_or(Ownership::Refuse);
    spec.drift = file.read("drift", faults, drift).unwrap_or(Drift::Repair);
    spec.adopts_sample = file.flag("adopt_sample", faults).unwrap_or(false);
    if let Some(share) = file.read("deletion_share_max", faults, share) {
        spec.deletion_share_max = share;
    }
    let days = file.read("recovery_window_days", faults, days);
    let has_days = days.is_some();
    let days = days.unwrap_or(RECOVERY_DAYS_DEFAULT);
    spec.removals = file.read("deletion", faults, |text| removals(text, days)).unwrap_or_default();
    if has_days && !matches!(spec.removals, Removals::Schedule { .. }) {
        faults.add_overall("recovery_window_days goes with deletion = \"schedule\" alone");
    }
    spec.custom_tags = file.map("custom_tags", faults);
    Some(spec)
}

fn source(file: &mut Block, faults: &mut Faults) -> Option<Source> {
    let mut blocks = file.blocks("source", faults);
    if blocks.len() != 1 {
        faults.add_overall("want one source, such as source \"vault\" { mounts = [\"apps\"] }");
        return None;
    }
    let (kind, mut block) = blocks.remove(0);
    let source = match kind.as_str() {
        AWS => {
            let start = block.text("prefix", faults).unwrap_or_default();
            let (details, network) = aws(&mut block, faults);
            Some(Source::Aws { details, network, start })
        }
        kind if VAULTS.contains(&kind) => vault(&mut block, faults),
        _ => {
            let known = "known are vault, openbao, bailee and aws-sm";
            faults.add(block.line, format_args!("unknown source {kind:?}: {known}"));
            return None;
        }
    };
    block.finish(faults);
    source
}

fn vault(block: &mut Block, faults: &mut Faults) -> Option<Source> {
    let mut parts: Vec<Part> = block
        .texts("mounts", faults)
        .into_iter()
        .map(|mount| Part { mount, folders: vec![String::new()], version: None })
        .collect();
    for (mount, mut inner) in block.blocks("mount", faults) {
        let mut folders = inner.texts("folders", faults);
        if folders.is_empty() {
            folders.push(String::new());
        }
        let folders = folders.iter().map(|folder| as_folder(folder)).collect();
        let version = inner.read("version", faults, |text| match text {
            "1" => Ok(1),
            "2" => Ok(2),
            _ => Err(format!("want 1 or 2, not {text:?}")),
        });
        inner.finish(faults);
        parts.push(Part { mount, folders, version });
    }
    if parts.is_empty() {
        faults.add(block.line, format_args!("{} needs mounts: the KV engines to read", block.name));
    }
    Some(Source::Vault(Box::new(Vault { parts, ..server(block, faults) })))
}

/// How a server is reached and entered; which parts of it are read is said elsewhere.
pub(crate) fn server(block: &mut Block, faults: &mut Faults) -> Vault {
    let path =
        |block: &mut Block, name, faults: &mut Faults| block.text(name, faults).map(PathBuf::from);
    let certificate = (path(block, "client_cert", faults), path(block, "client_key", faults));
    let client_certificate = match certificate {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            faults.add(block.line, "client_cert and client_key go together");
            None
        }
    };
    let address = block.read("address", faults, |text| {
        let parsed = text.parse::<bailee_client::Address>();
        parsed.map(|_| text.to_owned()).map_err(|error| error.to_string())
    });
    Vault {
        client: None,
        address,
        namespace: block.text("namespace", faults).unwrap_or_default(),
        parts: Vec::new(),
        ca_cert: path(block, "ca_cert", faults),
        client_certificate,
        tls_server_name: block.text("tls_server_name", faults),
        auth: auth(block, faults),
        token: None,
    }
}

/// A folder as it is listed: empty, or ending in `/`.
pub(crate) fn as_folder(text: &str) -> String {
    match text.trim_matches('/') {
        "" => String::new(),
        folder => format!("{folder}/"),
    }
}

fn auth(block: &mut Block, faults: &mut Faults) -> Option<Auth> {
    let mut blocks = block.blocks("auth", faults);
    if blocks.len() > 1 {
        faults.add(block.line, "auth may be given only once");
        return None;
    }
    let (kind, mut block) = blocks.pop()?;
    let mount = block.text("mount", faults).unwrap_or_else(|| kind.clone());
    let role = block.text("role", faults);
    let auth = match kind.as_str() {
        "token_file" => needed(&mut block, "path", faults).map(|path| Auth::TokenFile(path.into())),
        "approle" => needed(&mut block, "role_id", faults).map(|role_id| {
            let secret_id_file = block.text("secret_id_file", faults).map(PathBuf::from);
            Auth::AppRole { mount, role_id, secret_id_file }
        }),
        "jwt" => needed(&mut block, "jwt_file", faults).map(|file| Auth::Jwt {
            mount,
            role,
            jwt_file: file.into(),
        }),
        "kubernetes" => needed_role(role, &block, faults).map(|role| {
            let file = block.text("jwt_file", faults);
            let jwt_file = file.unwrap_or_else(|| SERVICE_ACCOUNT.to_owned()).into();
            Auth::Jwt { mount, role: Some(role), jwt_file }
        }),
        "aws" => Some(Auth::Aws {
            mount,
            role,
            region: block.text("region", faults),
            header_value: block.text("header_value", faults),
            sts_endpoint: block.text("sts_endpoint", faults),
        }),
        _ => {
            let known = "known are token_file, approle, aws, kubernetes and jwt";
            faults.add(block.line, format_args!("unknown auth {kind:?}: {known}"));
            return None;
        }
    };
    block.finish(faults);
    auth
}

fn needed_role(role: Option<String>, block: &Block, faults: &mut Faults) -> Option<String> {
    if role.is_none() {
        faults.add(block.line, format_args!("{} needs role", block.name));
    }
    role
}

fn notified(file: &mut Block, faults: &mut Faults) -> Vec<Notified> {
    let mut notified = Vec::new();
    for (kind, mut block) in file.blocks("notify", faults) {
        match kind.as_str() {
            "sns" => {
                let arn = needed(&mut block, "topic_arn", faults);
                notified.extend(arn.map(|arn| Notified::Topic { arn }));
            }
            "webhook" => {
                let url = needed(&mut block, "url", faults);
                let key_file = needed(&mut block, "key_file", faults).map(PathBuf::from);
                let runs = block.read("runs", faults, |text| match text {
                    "failed" => Ok(Runs::Failed),
                    "all" => Ok(Runs::All),
                    _ => Err(format!("want failed or all, not {text:?}")),
                });
                let runs = runs.unwrap_or_default();
                let both = url.zip(key_file);
                notified.extend(both.map(|(url, key_file)| Notified::Webhook {
                    url,
                    key_file,
                    runs,
                }));
            }
            _ => {
                let known = "known are sns and webhook";
                faults.add(block.line, format_args!("unknown notify {kind:?}: {known}"));
                continue;
            }
        }
        block.finish(faults);
    }
    notified
}

fn needed(block: &mut Block, name: &str, faults: &mut Faults) -> Option<String> {
    let found = block.text(name, faults).filter(|text| !text.is_empty());
    if found.is_none() {
        faults.add(block.line, format_args!("{} needs {name}", block.name));
    }
    found
}

fn destination(file: &mut Block, faults: &mut Faults) -> Option<Destination> {
    let mut blocks = file.blocks("destination", faults);
    if blocks.len() != 1 {
        faults.add_overall(
            "want one destination, such as destination \"aws-sm\" { region = \"eu-west-1\" }",
        );
        return None;
    }
    let (kind, mut block) = blocks.remove(0);
    if kind != AWS {
        faults.add(block.line, format_args!("unknown destination {kind:?}: known is aws-sm"));
        return None;
    }
    let (details, network) = aws(&mut block, faults);
    block.finish(faults);
    Some(Destination { kind, details, network })
}

fn aws(block: &mut Block, faults: &mut Faults) -> (Details, Network) {
    let mut details = Details::default();
    for name in AWS_DETAILS {
        if let Some(text) = block.text(name, faults) {
            details.0.insert(name.to_owned(), Sensitive::from(text));
        }
    }
    let regions = block.map("replica_regions", faults);
    if !regions.is_empty() {
        let text = serde_json::to_string(&regions).unwrap_or_default();
        details.0.insert("replica_regions".to_owned(), Sensitive::from(text));
    }
    let network = Network {
        allowed_ipv4_addresses: block.texts("allowed_ipv4_addresses", faults),
        allowed_ipv6_addresses: block.texts("allowed_ipv6_addresses", faults),
        allowed_ports: block.texts("allowed_ports", faults),
        disable_strict_networking: false,
    };
    // The operator runs this with an own configuration: it may reach what the operator reaches, unless
    // it says otherwise.
    let strict = network != Network::default();
    let network = Network { disable_strict_networking: !strict, ..network };
    if let Err(error) = network.rules() {
        faults.add(block.line, error);
    }
    (details, network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailee_secret_sync::pull::spec::Compare;

    const WHOLE: &str = r#"
name = "main"
prefix = "apps"
source "vault" {
  address = "https://vault.example:8200"
  namespace = "team"
  mounts = ["one"]
  mount "two" { folders = ["a", "b/c/"]  version = 1 }
  ca_cert = "/ca.pem"
  auth "approle" { role_id = "r"  secret_id_file = "/s" }
}
destination "aws-sm" {
  region = "eu-west-1"
  kms_key_id = "alias/x"
  replica_regions = { eu-north-1 = "" }
}
connection_secret = "apps/connection"
configuration_kms_key_id = "alias/rest"
schedule = "rate(30 minutes)"
compare = "hash"
deletion = "schedule"
recovery_window_days = 7
deletion_share_max = "10%"
ownership = "adopt"
custom_tags = { team = "blue" }
listen = "127.0.0.1:9130"
healthy_for = "2h"
"#;

    const WHOLE_YAML: &str = r#"
name: main
prefix: apps
source:
  vault:
    address: https://vault.example:8200
    namespace: team
    mounts: [one]
    mount:
      two:
        folders: [a, b/c/]
        version: 1
    ca_cert: /ca.pem
    auth:
      approle:
        role_id: r
        secret_id_file: /s
destination:
  aws-sm:
    region: eu-west-1
    kms_key_id: alias/x
    replica_regions:
      eu-north-1: ""
connection_secret: apps/connection
configuration_kms_key_id: alias/rest
schedule: rate(30 minutes)
compare: hash
deletion: schedule
recovery_window_days: 7
deletion_share_max: 10%
ownership: adopt
custom_tags:
  team: blue
listen: 127.0.0.1:9130
healthy_for: 2h
"#;

    #[test]
    fn hcl_and_yaml_say_the_same() {
        let read = parse(WHOLE, false).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", parse(WHOLE_YAML, true).unwrap()));
        assert_eq!(read.spec.template, "apps/{{ .SecretPath }}");
        assert_eq!(read.spec.removals, Removals::Schedule { days: 7 });
        assert_eq!((read.spec.deletion_share_max, read.spec.compare), (0.1, Compare::Hash));
        let Source::Vault(vault) = &read.source else { panic!("no server") };
        let part = |mount: &str, folders: &[&str], version| Part {
            mount: mount.to_owned(),
            folders: folders.iter().map(|&folder| folder.to_owned()).collect(),
            version,
        };
        assert_eq!(vault.parts, [part("one", &[""], None), part("two", &["a/", "b/c/"], Some(1))]);
        assert_eq!(read.destination.details.text("region").as_deref(), Some("eu-west-1"));
        assert!(read.destination.network.disable_strict_networking);
        assert_eq!(read.configuration_kms_key_id.as_deref(), Some("alias/rest"));
        assert_eq!(read.listen, Some("127.0.0.1:9130".parse().unwrap()));
        assert_eq!(read.healthy_for, Some(std::time::Duration::from_secs(7200)));
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_field() {
        let changed = |from: &str, to: &str| {
            assert!(WHOLE.contains(from), "{from}");
            parse(&WHOLE.replace(from, to), false).unwrap_err().to_string()
        };
        for (from, to, line, part) in [
            ("compare = \"hash\"", "compaer = \"hash\"", 20, "unknown key \"compaer\""),
            ("compare = \"hash\"", "compare = \"size\"", 20, "compare: want version"),
            ("compare = \"hash\"", "compare = [1]", 20, "compare must be a string"),
            ("rate(30 minutes)", "rate(30 fortnights)", 19, "schedule: "),
            ("rate(30 minutes)", "cron(61 * * * ? *)", 19, "schedule: minutes"),
            ("deletion = \"schedule\"", "deletion = \"shred\"", 21, "deletion: want keep"),
            ("window_days = 7", "window_days = 6", 22, "recovery_window_days: want 7 to 30"),
            ("\"10%\"", "\"110%\"", 23, "deletion_share_max: want a share"),
            ("ownership = \"adopt\"", "ownership = \"steal\"", 24, "ownership: want refuse"),
            (
                "custom_tags = { team = \"blue\" }",
                "custom_tags = [1]",
                25,
                "custom_tags must be a map",
            ),
            ("127.0.0.1:9130", "nowhere", 26, "listen must be an IP address with a port"),
            ("\"2h\"", "\"long\"", 27, "healthy_for must be a duration"),
            ("https://vault.example:8200", "vault.example:8200", 5, "address: "),
            ("namespace = \"team\"", "namespce = \"team\"", 6, "unknown key \"namespce\""),
            ("version = 1", "version = 3", 8, "version: want 1 or 2"),
            ("auth \"approle\"", "auth \"magic\"", 10, "unknown auth \"magic\""),
            ("role_id = \"r\"  ", "", 10, "needs role_id"),
            ("destination \"aws-sm\"", "destination \"ftp\"", 12, "unknown destination \"ftp\""),
            ("source \"vault\"", "source \"paper\"", 4, "unknown source \"paper\""),
            ("region = \"eu-west-1\"", "regoin = \"eu-west-1\"", 13, "unknown key \"regoin\""),
        ] {
            let told = changed(from, to);
            assert!(told.contains(&format!("line {line}: ")), "{to}: {told}");
            assert!(told.contains(part), "{to}: {told}");
        }
        let yaml = WHOLE_YAML.replace("compare: hash", "compaer: hash");
        let told = parse(&yaml, true).unwrap_err().to_string();
        assert!(told.contains("line 27: unknown key \"compaer\""), "{told}");
        let told = parse("a: [", true).unwrap_err().to_string();
        assert!(told.starts_with("line 1"), "{told}");
    }

    #[test]
    fn what_is_missing_is_told_all_at_once() {
        let told = parse("", false).unwrap_err().to_string();
        for part in ["prefix is missing", "want one source", "want one destination"] {
            assert!(told.contains(part), "{told}");
        }
        let told = parse(&WHOLE.replace("prefix = \"apps\"", "prefix = \"{{ x\""), false);
        assert!(told.unwrap_err().to_string().contains("line 3: prefix"));
    }

    const CDK: &str = r#"{
  "app": "npx ts-node bin/app.ts",
  "context": {
    "configuration": {
      "hcpvaultInboundIPCidr": "0.0.0.0/0",
      "notificationEmail": "a@example.com",
      "secretsPrefix": "hybrid",
      "deployHCPVaultOnEC2": false,
      "optionalExternalVaultAddress": "https://vault.example:8200",
      "lambdaCronSchedule": "rate(1 hour)"
    },
    "@aws-cdk/core:newStyleStackSynthesis": true
  }
}"#;

    #[test]
    fn the_file_of_the_sample_is_understood() {
        let read = parse(CDK, false).unwrap();
        assert_eq!(read.connection_secret.as_deref(), Some("hybrid/vault-connection-secret"));
        assert_eq!(read.spec.template, "hybrid/{{ .SecretPath }}");
        assert!(read.spec.adopts_sample);
        assert_eq!(read.spec.removals, Removals::Keep);
        assert_eq!(read.schedule.unwrap().as_str(), "rate(1 hour)");
        let Source::Vault(vault) = &read.source else { panic!("no server") };
        assert_eq!(vault.parts[0].mount, "hybrid");
        assert_eq!(vault.address.as_deref(), Some("https://vault.example:8200"));
        let key = read.destination.details.text("kms_key_id");
        assert_eq!(key.as_deref(), Some("alias/hybrid-encryption-key"));
        let without_effect = ["line 5: hcpvaultInboundIPCidr", "line 6: notificationEmail"];
        assert_eq!(read.without_effect, without_effect);
        // Each key may be absent, as in the sample.
        let least = parse("secretsPrefix: p\n", true).unwrap();
        assert_eq!(least.schedule.unwrap().as_str(), "cron(0,30 * * * ? *)");
        for (from, to, line, part) in [
            ("rate(1 hour)", "rate(1 hours)", 10, "lambdaCronSchedule: "),
            ("\"secretsPrefix\"", "\"secretPrefix\"", 7, "unknown key \"secretPrefix\""),
            ("\"hybrid\"", "[]", 7, "secretsPrefix must be a string"),
        ] {
            let told = parse(&CDK.replace(from, to), false).unwrap_err().to_string();
            assert!(told.contains(&format!("line {line}: ")) && told.contains(part), "{told}");
        }
    }
}
