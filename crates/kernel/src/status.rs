//! What the server tells about itself without a token.

use serde::Serialize;

/// What `sys/seal-status` and `sys/unseal` answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SealStatus {
    /// The seal's type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether the storage has keys.
    pub initialized: bool,
    /// Whether requests are refused.
    pub sealed: bool,
    /// Shares needed.
    #[serde(rename = "t")]
    pub threshold: u8,
    /// Shares there are.
    #[serde(rename = "n")]
    pub shares: u8,
    /// Shares given.
    pub progress: usize,
    /// Names the collection of shares; empty before the first.
    pub nonce: String,
    /// The version of the API that is spoken.
    pub version: &'static str,
    /// When the server was built.
    pub build_date: &'static str,
    /// Whether the seal is being changed.
    pub migration: bool,
    /// The cluster's name, while unsealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// The cluster's id, while unsealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Whether shares are for recovery only.
    pub recovery_seal: bool,
    /// The kind of storage, as the configuration calls it.
    pub storage_type: String,
    /// Whether the node was taken out of its cluster.
    pub removed_from_cluster: bool,
}

/// What `sys/health` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether the storage has keys.
    pub initialized: bool,
    /// Whether requests are refused.
    pub sealed: bool,
    /// Whether another node is active; also said of a sealed node.
    pub standby: bool,
    /// Always false: there are no such nodes here.
    pub performance_standby: bool,
    /// `disabled`, or `unknown` while sealed.
    pub replication_performance_mode: &'static str,
    /// `disabled`, or `unknown` while sealed.
    pub replication_dr_mode: &'static str,
    /// Seconds since 1970.
    pub server_time_utc: u64,
    /// The version of the API that is spoken.
    pub version: &'static str,
    /// Always false.
    pub enterprise: bool,
    /// The cluster's name, while unsealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// The cluster's id, while unsealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Time to the active node in milliseconds; 0 on itself.
    pub echo_duration_ms: u64,
    /// Difference of clocks to the active node in milliseconds; 0 on itself.
    pub clock_skew_ms: u64,
    /// Always 0.
    pub replication_primary_canary_age_ms: u64,
    /// Whether the node was taken out of its cluster.
    pub removed_from_cluster: bool,
}

/// What `sys/leader` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leader {
    /// Whether several nodes share the storage.
    pub ha_enabled: bool,
    /// Whether this node is the active one.
    pub is_self: bool,
    /// Since when, as RFC 3339.
    pub active_time: String,
    /// Where clients reach the active node; empty for one node.
    pub leader_address: String,
    /// Where other nodes reach it; empty for one node.
    pub leader_cluster_address: String,
    /// Always false.
    pub performance_standby: bool,
    /// Always 0.
    pub performance_standby_last_remote_wal: u64,
}
