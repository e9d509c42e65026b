//! `sys/seal` and what is told about the keys of the storage.

use super::{Nothing, System};
use bailee_crypto::clock;
use bailee_sdk::{Error, Operation, Path, Reply, Request};
use jiff::Timestamp;
use serde_json::json;
use std::sync::Arc;

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    vec![
        // The right is checked here; that it happens is up to who holds the state.
        Path::new("seal")
            .on(Operation::Update, system, "Seal the server.", nothing)
            .sudo()
            .root_only(),
        Path::new("step-down")
            .on(Operation::Update, system, "Give up being the active node.", nothing)
            .sudo()
            .root_only(),
        // So are these: bodies that do not fit in memory are no business of the paths.
        Path::new("storage/raft/snapshot")
            .on(Operation::Read, system, "Get a snapshot of all data.", nothing)
            .on(Operation::Update, system, "Restore a snapshot of this cluster.", nothing)
            .root_only(),
        Path::new("storage/raft/snapshot-force")
            .on(Operation::Update, system, "Restore a snapshot, also of another cluster.", nothing)
            .sudo()
            .root_only(),
        Path::new("key-status")
            .on(
                Operation::Read,
                system,
                "Tell about the key that seals new values.",
                System::key_status,
            )
            .root_only(),
    ]
}

async fn nothing(_system: Arc<System>, _request: Request<Nothing>) -> Result<Reply, Error> {
    Ok(Reply::empty())
}

impl System {
    async fn key_status(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let status = self.barrier.key_status();
        let installed = Timestamp::try_from(clock::from_millis(status.installed_at));
        Ok(Reply::data(&json!({
            "term": status.term,
            "install_time": installed.map(|time| time.to_string()).unwrap_or_default(),
            "encryptions": status.encryptions,
        })))
    }
}
