//! What a request says of a source.

use crate::paths::destinations::given::{Entries, Given};
use bailee_sdk::field::{CommaList, Flag, Integer};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// A source as it is written.
#[derive(Deserialize, JsonSchema)]
pub(in crate::paths) struct WriteSource {
    /// Name of the source; a part of the marks of what it delivers.
    pub(super) name: String,
    /// Type of the source: `vault`, `openbao` and `bailee`, which are the same, or `aws-sm`.
    #[serde(rename = "type", default)]
    pub(super) kind: Given<String>,
    /// Where the server is, such as `https://vault.example:8200`.
    #[serde(default)]
    pub(super) address: Given<String>,
    /// Authorities to trust beside the machine's, as PEM text.
    #[serde(default)]
    pub(super) ca_cert: Given<String>,
    /// The name that the server's certificate must bear, where it is not the host of the address.
    #[serde(default)]
    pub(super) tls_server_name: Given<String>,
    /// Namespace of the server.
    #[serde(default)]
    pub(super) namespace: Given<String>,
    /// How to log in: `token`, `approle`, `jwt`, or `aws` with the credentials of this machine.
    #[serde(default)]
    pub(super) auth: Given<String>,
    /// Where the auth method is mounted; its own name when absent.
    #[serde(default)]
    pub(super) auth_mount: Given<String>,
    /// Role of the auth methods `jwt` and `aws`.
    #[serde(default)]
    pub(super) auth_role: Given<String>,
    /// Region whose STS the auth method `aws` asks.
    #[serde(default)]
    pub(super) auth_region: Given<String>,
    /// What the server demands in the header X-Vault-AWS-IAM-Server-ID.
    #[serde(default)]
    pub(super) auth_header_value: Given<String>,
    /// Token for the server.
    #[serde(default)]
    pub(super) token: Given<String>,
    /// Id of the role of AppRole.
    #[serde(default)]
    pub(super) role_id: Given<String>,
    /// Secret id of AppRole.
    #[serde(default)]
    pub(super) secret_id: Given<String>,
    /// Token of the auth method `jwt`.
    #[serde(default)]
    pub(super) jwt: Given<String>,
    /// Region of AWS; for `aws-sm`.
    #[serde(default)]
    pub(super) region: Given<String>,
    /// ARN of a role to take on; for `aws-sm`.
    #[serde(default)]
    pub(super) role_arn: Given<String>,
    /// Identifier that the role's trust asks for; for `aws-sm`.
    #[serde(default)]
    pub(super) external_id: Given<String>,
    /// Access key of AWS; for `aws-sm`.
    #[serde(default)]
    pub(super) access_key_id: Given<String>,
    /// Secret of the access key; for `aws-sm`.
    #[serde(default)]
    pub(super) secret_access_key: Given<String>,
    /// How names begin of secrets that are taken; for `aws-sm`.
    #[serde(default)]
    pub(super) source_prefix: Given<String>,
    /// KV engines that are taken whole.
    #[serde(default)]
    pub(super) mounts: Given<CommaList>,
    /// Folders of KV engines that are not taken whole, each as `mount:folder`.
    #[serde(default)]
    pub(super) folders: Given<CommaList>,
    /// Versions of KV engines, 1 or 2, where the server shall not be asked.
    #[serde(default)]
    pub(super) mount_versions: Given<Entries>,
    /// The destination, as `aws-sm/name`.
    #[serde(default)]
    pub(super) destination: Given<String>,
    /// How all names at the destination begin; the path follows.
    #[serde(default)]
    pub(super) prefix: Given<String>,
    /// Template of the names at the destination, instead of `prefix`.
    #[serde(default)]
    pub(super) names: Given<String>,
    /// How a change is seen: `version`, the default, `updated` or `hash`.
    #[serde(default)]
    pub(super) compare: Given<String>,
    /// What is done with secrets of others that have a name we want: `refuse`, the default, `adopt` or
    /// `overwrite`.
    #[serde(default)]
    pub(super) ownership: Given<String>,
    /// What is done about changes of others: `repair`, the default, or `report`.
    #[serde(default)]
    pub(super) drift: Given<String>,
    /// What becomes of what the source has no more: `keep`, the default, `orphan`, `schedule` or
    /// `delete`.
    #[serde(default)]
    pub(super) deletion: Given<String>,
    /// Days for which what was removed can be restored, 7 to 30; only with `deletion` `schedule`.
    #[serde(default)]
    pub(super) recovery_window_days: Given<Integer>,
    /// The share of what was delivered that one run may remove, such as `0.25` or `25%`, the default.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) deletion_share_max: Given<Value>,
    /// Tags beside those of the destination.
    #[serde(default)]
    pub(super) custom_tags: Given<Entries>,
    /// When runs begin by themselves: `cron(…)`, `rate(…)`, five fields of cron, or an interval; only
    /// when asked for where absent.
    #[serde(default)]
    pub(super) schedule: Given<String>,
    /// Whether nothing runs.
    #[serde(default)]
    pub(super) paused: Given<Flag>,
    /// Lifts the limits on addresses and ports of the source.
    #[serde(default)]
    pub(super) disable_strict_networking: Given<Flag>,
    /// IPv4 ranges that are permitted although they are special, such as `10.0.0.0/8`.
    #[serde(default)]
    pub(super) allowed_ipv4_addresses: Given<CommaList>,
    /// IPv6 ranges that are permitted although they are special, such as `fd00::/8`.
    #[serde(default)]
    pub(super) allowed_ipv6_addresses: Given<CommaList>,
    /// Permitted ports; 80 and 443 when there are none.
    #[serde(default)]
    pub(super) allowed_ports: Given<CommaList>,
}

impl WriteSource {
    /// A text of a source, taken out.
    pub(super) fn text(&mut self, name: &str) -> Given<String> {
        let text = match name {
            "address" => &mut self.address,
            "ca_cert" => &mut self.ca_cert,
            "tls_server_name" => &mut self.tls_server_name,
            "namespace" => &mut self.namespace,
            "auth" => &mut self.auth,
            "auth_mount" => &mut self.auth_mount,
            "auth_role" => &mut self.auth_role,
            "auth_region" => &mut self.auth_region,
            "auth_header_value" => &mut self.auth_header_value,
            "token" => &mut self.token,
            "role_id" => &mut self.role_id,
            "secret_id" => &mut self.secret_id,
            "jwt" => &mut self.jwt,
            "region" => &mut self.region,
            "role_arn" => &mut self.role_arn,
            "external_id" => &mut self.external_id,
            "access_key_id" => &mut self.access_key_id,
            "secret_access_key" => &mut self.secret_access_key,
            "source_prefix" => &mut self.source_prefix,
            _ => return Given::Absent,
        };
        std::mem::take(text)
    }
}
