//! What is told about the nodes of the cluster: there is one, and it is active.
//!
//! Clients made for several nodes ask `sys/ha-status` and `sys/storage/raft`; they are told what is
//! so for one node, in the words they know.

use super::{Nothing, System};
use bailee_notation::duration;
use bailee_sdk::{
    Error, Operation, Path, Reply, Request,
    field::{Flag, Integer, Ttl},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// Where the wishes for an autopilot are kept: they are shown again, and have nothing to act on.
const PLACE: &str = "core/";
const KEY: &str = "autopilot";

#[derive(Deserialize, JsonSchema)]
struct Peer {
    /// Id of the node.
    #[serde(default)]
    server_id: String,
}

/// Wishes for an autopilot, as they are kept. Times are seconds.
#[derive(Serialize, Deserialize)]
struct Autopilot {
    cleanup_dead_servers: bool,
    dead_server_last_contact_threshold: u64,
    disable_upgrade_migration: bool,
    last_contact_threshold: u64,
    max_trailing_logs: i64,
    min_quorum: i64,
    server_stabilization_time: u64,
}

#[derive(Deserialize, JsonSchema)]
struct AutopilotChange {
    /// Whether nodes that are gone are removed.
    #[serde(default)]
    cleanup_dead_servers: Option<Flag>,
    /// Time after which a silent node counts as gone; at least one minute.
    #[serde(default)]
    dead_server_last_contact_threshold: Option<Ttl>,
    /// Whether new versions wait.
    #[serde(default)]
    disable_upgrade_migration: Option<Flag>,
    /// Time after which a silent node counts as unhealthy.
    #[serde(default)]
    last_contact_threshold: Option<Ttl>,
    /// Entries that a healthy node may be behind.
    #[serde(default)]
    max_trailing_logs: Option<Integer>,
    /// Fewest nodes that stay.
    #[serde(default)]
    min_quorum: Option<Integer>,
    /// Time that a node must be healthy before it counts.
    #[serde(default)]
    server_stabilization_time: Option<Ttl>,
}

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    let read = |pattern, summary| (Path::new(pattern).root_only(), summary);
    let (ha, about_ha) = read("ha-status", "List the nodes.");
    let (seals, about_seals) = read("seal-backend-status", "Tell whether the seal works.");
    let (nodes, about_nodes) =
        read("storage/raft/configuration", "List the nodes that keep the data.");
    let (state, about_state) =
        read("storage/raft/autopilot/state", "Tell how the nodes that keep the data are.");
    vec![
        ha.on(Operation::Read, system, about_ha, System::ha_status),
        seals.on(Operation::Read, system, about_seals, System::seals),
        nodes.on(Operation::Read, system, about_nodes, System::nodes),
        state.on(Operation::Read, system, about_state, System::autopilot_state),
        Path::new("storage/raft/autopilot/configuration")
            .on(
                Operation::Read,
                system,
                "Read the wishes kept for an autopilot.",
                System::autopilot,
            )
            .on(
                Operation::Update,
                system,
                "Keep wishes for an autopilot; one node has none that acts.",
                System::change_autopilot,
            )
            .root_only(),
        Path::new("storage/raft/remove-peer")
            .on(Operation::Update, system, "Remove another node.", System::remove_peer)
            .root_only(),
    ]
}

impl System {
    async fn ha_status(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let settings = &self.settings;
        Ok(Reply::data(&json!({ "nodes": [{
            "hostname": settings.node.host_name,
            "api_address": settings.api_addr.as_deref().unwrap_or_default(),
            "cluster_address": settings.node.cluster_addr,
            "active_node": true,
            "last_echo": null,
            "version": settings.version,
            "upgrade_version": settings.version,
            "echo_duration_ms": 0,
            "clock_skew_ms": 0,
            "replication_primary_canary_age_ms": 0,
        }] })))
    }

    async fn seals(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        Ok(Reply::data(&json!({
            "healthy": true,
            "backends": [{ "name": "shamir", "healthy": true }],
        })))
    }

    async fn nodes(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let node = &self.settings.node;
        Ok(Reply::data(&json!({ "config": {
            "servers": [{
                "node_id": node.name,
                "address": node.cluster_authority(),
                "leader": true,
                "protocol_version": "3",
                "voter": true,
            }],
            "index": 0,
        } })))
    }

    async fn autopilot_state(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let node = &self.settings.node;
        let server = json!({
            "id": node.name,
            "name": node.name,
            "address": node.cluster_authority(),
            "node_status": "alive",
            "node_type": "voter",
            "status": "leader",
            "healthy": true,
            "last_contact": "0s",
            "last_index": 0,
            "last_term": 0,
            "stable_since": "1970-01-01T00:00:00Z",
            "version": self.settings.version,
        });
        let mut servers = serde_json::Map::new();
        servers.insert(node.name.clone(), server);
        Ok(Reply::data(&json!({
            "healthy": true,
            "failure_tolerance": 0,
            "leader": node.name,
            "voters": [node.name],
            "servers": servers,
        })))
    }

    async fn autopilot(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        let kept: Option<Autopilot> = request.view.at(PLACE).get(KEY).await?;
        let kept = kept.unwrap_or_default();
        let time = |seconds| duration::format_go(Duration::from_secs(seconds));
        Ok(Reply::data(&json!({
            "cleanup_dead_servers": kept.cleanup_dead_servers,
            "dead_server_last_contact_threshold": time(kept.dead_server_last_contact_threshold),
            "disable_upgrade_migration": kept.disable_upgrade_migration,
            "last_contact_threshold": time(kept.last_contact_threshold),
            "max_trailing_logs": kept.max_trailing_logs,
            "min_quorum": kept.min_quorum,
            "server_stabilization_time": time(kept.server_stabilization_time),
        })))
    }

    async fn change_autopilot(
        self: Arc<Self>,
        request: Request<AutopilotChange>,
    ) -> Result<Reply, Error> {
        let view = request.view.at(PLACE);
        view.lock(KEY).await;
        let mut kept: Autopilot = view.get(KEY).await?.unwrap_or_default();
        kept.change(request.input)?;
        view.put(KEY, &kept);
        Ok(Reply::empty())
    }

    async fn remove_peer(self: Arc<Self>, request: Request<Peer>) -> Result<Reply, Error> {
        match request.input.server_id.as_str() {
            "" => Err(Error::invalid("no server id provided")),
            id if id == self.settings.node.name => {
                Err(Error::invalid("server_id: this is the only node; it cannot be removed"))
            }
            _ => Ok(Reply::empty()),
        }
    }
}

impl Default for Autopilot {
    fn default() -> Autopilot {
        Autopilot {
            cleanup_dead_servers: false,
            dead_server_last_contact_threshold: 24 * 3600,
            disable_upgrade_migration: false,
            last_contact_threshold: 10,
            max_trailing_logs: 1000,
            min_quorum: 0,
            server_stabilization_time: 10,
        }
    }
}

impl Autopilot {
    fn change(&mut self, wish: AutopilotChange) -> Result<(), Error> {
        let positive = |field: &str, number: Integer| match number.0 {
            ..0 => Err(Error::invalid(format!("{field} must not be negative"))),
            number => Ok(number),
        };
        if let Some(flag) = wish.cleanup_dead_servers {
            self.cleanup_dead_servers = flag.0;
        }
        if let Some(flag) = wish.disable_upgrade_migration {
            self.disable_upgrade_migration = flag.0;
        }
        if let Some(number) = wish.max_trailing_logs {
            self.max_trailing_logs = positive("max_trailing_logs", number)?;
        }
        if let Some(number) = wish.min_quorum {
            self.min_quorum = positive("min_quorum", number)?;
        }
        if let Some(time) = wish.dead_server_last_contact_threshold {
            if time.0 < Duration::from_secs(60) {
                return Err(Error::invalid(
                    "dead_server_last_contact_threshold should be at least 1 minute",
                ));
            }
            self.dead_server_last_contact_threshold = time.0.as_secs();
        }
        if let Some(time) = wish.last_contact_threshold {
            self.last_contact_threshold = time.0.as_secs();
        }
        if let Some(time) = wish.server_stabilization_time {
            self.server_stabilization_time = time.0.as_secs();
        }
        if self.cleanup_dead_servers && self.min_quorum < 3 {
            return Err(Error::invalid(
                "min_quorum must be set when cleanup_dead_servers is set and it should at least be 3",
            ));
        }
        Ok(())
    }
}
