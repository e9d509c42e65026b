//! The configuration file, in HCL or JSON. Files written for Vault are read as they are: what has
//! no meaning here is taken and reported, what nobody knows is refused.

use super::{
    Aws, Config, LEASE_TTL, Listener, Storage, Sync,
    reader::{Block, Faults},
};
use bailee_cloud::EgressRules;
use bailee_notation::hcl;
use bailee_server::tls::TlsFiles;
use std::{path::PathBuf, time::Duration};

/// Settings of other servers that have no effect here.
const WITHOUT_EFFECT: &[&str] = &[
    "administrative_namespace_path",
    "allow_audit_log_prefixing",
    "cache_size",
    "cluster_cipher_suites",
    "detect_deadlocks",
    "disable_cache",
    "disable_clustering",
    "disable_performance_standby",
    "disable_printable_check",
    "disable_sealwrap",
    "disable_sentinel_trace",
    "enable_response_header_hostname",
    "enable_response_header_raft_node_id",
    "enable_ui",
    "experiments",
    "feature_flags",
    "imprecise_lease_role_tracking",
    "introspection_endpoint",
    "license_path",
    "log_file",
    "log_requests_level",
    "log_rotate_bytes",
    "log_rotate_duration",
    "log_rotate_max_files",
    "plugin_directory",
    "plugin_file_permissions",
    "plugin_file_uid",
    "plugin_tmpdir",
    "raw_storage_endpoint",
    "reporting",
    "service_registration",
    "telemetry",
    "ui",
    "user_lockout",
];
const WITHOUT_EFFECT_STORAGE: &[&str] = &[
    "autopilot_reconcile_interval",
    "autopilot_update_interval",
    "autopilot_upgrade_version",
    "autopilot_redundancy_zone",
    "max_entry_size",
    "max_mount_and_namespace_table_entry_size",
    "max_transaction_size",
    "non_voter",
    "performance_multiplier",
    "raft_log_verifier_enabled",
    "raft_wal",
    "retry_join",
    "retry_join_as_non_voter",
    "snapshot_interval",
    "snapshot_threshold",
    "trailing_logs",
];
const WITHOUT_EFFECT_LISTENER: &[&str] = &[
    "agent_api",
    "chroot_namespace",
    "cluster_address",
    "custom_response_headers",
    "disable_replication_status_endpoints",
    "disable_request_limiter",
    "disable_unauthed_rekey_endpoints",
    "http_idle_timeout",
    "http_read_header_timeout",
    "http_read_timeout",
    "http_write_timeout",
    "inflight_requests_logging",
    "max_json_array_element_count",
    "max_json_depth",
    "max_json_object_entry_count",
    "max_json_string_value_length",
    "max_request_duration",
    "max_request_size",
    "profiling",
    "proxy_protocol_authorized_addrs",
    "proxy_protocol_behavior",
    "redact_addresses",
    "redact_cluster_name",
    "redact_version",
    "telemetry",
    "tls_cipher_suites",
    "tls_prefer_server_cipher_suites",
    "x_forwarded_for_authorized_addrs",
    "x_forwarded_for_hop_skips",
    "x_forwarded_for_reject_not_authorized",
    "x_forwarded_for_reject_not_present",
];

/// Reads a configuration; all that is wrong with it is reported at once.
pub fn parse(text: &str) -> Result<Config, Faults> {
    let mut faults = Faults::default();
    let body = match hcl::parse(text) {
        Ok(body) => body,
        Err(error) => {
            faults.add_overall(error);
            return Err(faults);
        }
    };
    let mut file = Block::new("the configuration", 1, body);
    let mut without_effect = file.ignored(WITHOUT_EFFECT);
    let Stored { storage, storage_type, node_id } =
        storage(&mut file, &mut without_effect, &mut faults);
    let listeners = listeners(&mut file, &mut without_effect, &mut faults);
    seal(&mut file, &mut faults);
    let default_lease_ttl = file.duration("default_lease_ttl", &mut faults);
    let max_lease_ttl = file.duration("max_lease_ttl", &mut faults);
    let config = Config {
        storage,
        storage_type,
        node_id,
        cluster_addr: file.text("cluster_addr", &mut faults),
        listeners,
        api_addr: file.text("api_addr", &mut faults),
        cluster_name: file.text("cluster_name", &mut faults),
        lock_memory: !file.flag("disable_mlock", &mut faults).unwrap_or(false),
        default_lease_ttl: default_lease_ttl.unwrap_or(LEASE_TTL),
        max_lease_ttl: max_lease_ttl.unwrap_or(LEASE_TTL),
        log_level: log_level(&mut file, &mut faults),
        log_json: log_json(&mut file, &mut faults),
        pid_file: file.text("pid_file", &mut faults).map(PathBuf::from),
        files: Vec::new(),
        sync: sync(&mut file, &mut faults),
        aws: aws(&mut file, &mut faults),
        without_effect,
    };
    file.finish(&mut faults);
    if config.default_lease_ttl > config.max_lease_ttl {
        faults.add_overall("default_lease_ttl must not exceed max_lease_ttl");
    }
    if faults.is_empty() { Ok(config) } else { Err(faults) }
}

/// What the storage's block says.
struct Stored {
    storage: Storage,
    storage_type: String,
    node_id: Option<String>,
}

impl Stored {
    /// For a file with faults, which nothing is started from.
    fn faulty() -> Stored {
        Stored { storage: Storage::Memory, storage_type: String::new(), node_id: None }
    }
}

fn storage(file: &mut Block, ignored: &mut Vec<String>, faults: &mut Faults) -> Stored {
    for (kind, block) in file.blocks("ha_storage", faults) {
        faults.add(
            block.line,
            format_args!("ha_storage {kind:?}: storage for several nodes is not built yet"),
        );
    }
    let mut blocks = file.blocks("storage", faults);
    blocks.extend(file.blocks("backend", faults));
    if blocks.len() > 1 {
        faults.add_overall("storage may be given only once");
    }
    let Some((kind, mut block)) = blocks.into_iter().next() else {
        faults.add_overall("storage is missing; for one machine: storage \"embedded\" { path = \"/var/lib/bailee\" }");
        return Stored::faulty();
    };
    let storage = match kind.as_str() {
        "embedded" | "raft" | "file" => match block.text("path", faults) {
            Some(path) if !path.is_empty() => Storage::Embedded { path: path.into() },
            _ => {
                faults.add(
                    block.line,
                    format_args!("{} needs path: the folder to keep data in", block.name),
                );
                Storage::Memory
            }
        },
        "inmem" => Storage::Memory,
        _ => {
            let known = "known are \"embedded\" (also as \"raft\" or \"file\") and \"inmem\"";
            faults.add(block.line, format_args!("unknown storage {kind:?}; {known}"));
            return Stored::faulty();
        }
    };
    let node_id = block.text("node_id", faults).filter(|id| !id.is_empty());
    ignored.extend(block.ignored(WITHOUT_EFFECT_STORAGE));
    block.finish(faults);
    Stored { storage, storage_type: kind, node_id }
}

fn listeners(file: &mut Block, ignored: &mut Vec<String>, faults: &mut Faults) -> Vec<Listener> {
    let mut found = Vec::new();
    for (kind, mut block) in file.blocks("listener", faults) {
        if kind != "tcp" {
            faults.add(block.line, format_args!("unknown listener {kind:?}; known is \"tcp\""));
            continue;
        }
        let address = block.address("address", faults);
        let address = address.unwrap_or_else(|| ([127, 0, 0, 1], 8200).into());
        let tls = tls(&mut block, faults);
        found.push(Listener { address, tls });
        ignored.extend(block.ignored(WITHOUT_EFFECT_LISTENER));
        block.finish(faults);
    }
    if found.is_empty() && faults.is_empty() {
        faults.add_overall(
            "listener is missing; for example: listener \"tcp\" { address = \"127.0.0.1:8200\" }",
        );
    }
    found
}

fn tls(block: &mut Block, faults: &mut Faults) -> Option<TlsFiles> {
    let disabled = block.flag("tls_disable", faults).unwrap_or(false);
    let certificate = block.text("tls_cert_file", faults).map(PathBuf::from);
    let key = block.text("tls_key_file", faults).map(PathBuf::from);
    let client_authorities = block.text("tls_client_ca_file", faults).map(PathBuf::from);
    let required = block.flag("tls_require_and_verify_client_cert", faults).unwrap_or(false);
    let without_clients = block.flag("tls_disable_client_certs", faults).unwrap_or(false);
    let only_tls13 = match block.text("tls_min_version", faults).as_deref() {
        None | Some("tls12") => false,
        Some("tls13") => true,
        Some(other) => {
            faults.add(
                block.line,
                format_args!("tls_min_version {other:?}: known are \"tls12\" and \"tls13\""),
            );
            false
        }
    };
    match block.text("tls_max_version", faults).as_deref() {
        None | Some("tls13") => {}
        Some(other) => {
            faults.add(
                block.line,
                format_args!("tls_max_version {other:?}: only \"tls13\" is possible"),
            );
        }
    }
    if disabled {
        return None;
    }
    let (Some(certificate), Some(key)) = (certificate, key) else {
        let text = "needs tls_cert_file and tls_key_file, or tls_disable = true";
        faults.add(block.line, format_args!("{} {text}", block.name));
        return None;
    };
    let client_authorities = client_authorities.filter(|_| !without_clients);
    let require_client_certificate = required && !without_clients;
    Some(TlsFiles { certificate, key, client_authorities, require_client_certificate, only_tls13 })
}

fn seal(file: &mut Block, faults: &mut Faults) {
    for (kind, block) in file.blocks("seal", faults) {
        if kind != "shamir" {
            faults.add(block.line, format_args!("seal {kind:?}: only \"shamir\" is built yet"));
        }
        block.finish(faults);
    }
}

fn log_level(file: &mut Block, faults: &mut Faults) -> String {
    match file.text("log_level", faults).map(|level| level.to_lowercase()).as_deref() {
        None | Some("") => "info".to_owned(),
        Some(level @ ("trace" | "debug" | "info" | "warn" | "error")) => level.to_owned(),
        Some("warning") => "warn".to_owned(),
        Some("err") => "error".to_owned(),
        Some(other) => {
            faults.add_overall(format_args!(
                "log_level {other:?}: known are trace, debug, info, warn, error"
            ));
            "info".to_owned()
        }
    }
}

fn log_json(file: &mut Block, faults: &mut Faults) -> bool {
    match file.text("log_format", faults).as_deref() {
        None | Some("" | "standard") => false,
        Some("json") => true,
        Some(other) => {
            faults.add_overall(format_args!("log_format {other:?}: known are standard and json"));
            false
        }
    }
}

fn aws(file: &mut Block, faults: &mut Faults) -> Aws {
    let Some(mut block) = file.block("aws", faults) else { return Aws::default() };
    let ambient_credentials = block.flag("ambient_credentials", faults).unwrap_or(false);
    let open = block.flag("disable_strict_networking", faults).unwrap_or(false);
    let ipv4 = block.texts("allowed_ipv4_addresses", faults);
    let ipv6 = block.texts("allowed_ipv6_addresses", faults);
    let ports = block.texts("allowed_ports", faults);
    let rules = EgressRules::parse(open, &ipv4, &ipv6, &ports).unwrap_or_else(|error| {
        faults.add(block.line, error.to_string());
        EgressRules::default()
    });
    block.finish(faults);
    Aws { ambient_credentials, rules }
}

fn sync(file: &mut Block, faults: &mut Faults) -> Sync {
    /// Comparing everything more often than this only costs money at the cloud.
    const INTERVAL_MIN: Duration = Duration::from_secs(10);
    let mut sync = Sync::default();
    let Some(mut block) = file.block("sync", faults) else { return sync };
    sync.ambient_credentials = block.flag("ambient_credentials", faults).unwrap_or(false);
    if let Some(interval) = block.duration("reconcile_interval", faults) {
        if interval < INTERVAL_MIN {
            faults.add(block.line, "reconcile_interval must be at least 10s");
        }
        sync.reconcile_interval = interval;
    }
    block.finish(faults);
    sync
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_written_for_vault_starts_unchanged() {
        let config = parse(
            r#"
            ui = true
            disable_mlock = true
            cluster_addr = "https://127.0.0.1:8201"
            api_addr     = "https://127.0.0.1:8200"
            storage "raft" {
              path    = "/opt/vault/data"
              node_id = "node1"
            }
            listener "tcp" {
              address     = "0.0.0.0:8200"
              tls_disable = "true"
            }
            telemetry { prometheus_retention_time = "30s" }
            "#,
        )
        .unwrap();
        assert_eq!(config.storage, Storage::Embedded { path: "/opt/vault/data".into() });
        assert_eq!(config.listeners[0].address.port(), 8200);
        assert!(!config.lock_memory);
        assert_eq!(config.without_effect.len(), 2);
        assert_eq!(config.node_id.as_deref(), Some("node1"));
        assert_eq!(config.cluster_addr.as_deref(), Some("https://127.0.0.1:8201"));
        assert_eq!(config.storage_type, "raft");
    }

    #[test]
    fn the_json_form_says_the_same() {
        let config = parse(
            r#"{"storage": {"file": {"path": "/data"}},
                "listener": [{"tcp": {"address": "127.0.0.1:8200", "tls_disable": 1}}],
                "sync": {"ambient_credentials": true}}"#,
        )
        .unwrap();
        assert_eq!(config.storage, Storage::Embedded { path: "/data".into() });
        assert!(config.sync.ambient_credentials);
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_named_with_their_line() {
        let faults = parse(
            "storage \"inmem\" {}\nlistener \"tcp\" {\n  tls_disable = true\n  adress = \"x\"\n}\n\
             max_lease_ttl = [1]\nfoo = 1\n",
        )
        .unwrap_err()
        .to_string();
        assert!(faults.contains("line 4: unknown key \"adress\" in listener \"tcp\""), "{faults}");
        assert!(faults.contains("line 6: max_lease_ttl must be a duration"), "{faults}");
        assert!(faults.contains("line 7: unknown key \"foo\""), "{faults}");
    }

    #[test]
    fn a_listener_without_certificate_says_what_to_do() {
        let faults = parse("storage \"inmem\" {}\nlistener \"tcp\" {}\n").unwrap_err().to_string();
        assert!(faults.contains("tls_cert_file"), "{faults}");
    }
}
