//! `operator raft`: the storage's peers and snapshots.

use crate::{arguments, context::Context, failure::Failure, output::Table, value::plain};
use bailee_agent::private_file;
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Largest snapshot that is sent, in bytes.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;

/// Shows the peers of the storage, saves and restores snapshots.
#[derive(Subcommand, Debug)]
pub(crate) enum Raft {
    ListPeers(ListPeers),
    RemovePeer(RemovePeer),
    #[command(subcommand)]
    Snapshot(Snapshot),
    #[command(subcommand)]
    Autopilot(Autopilot),
}

/// Lists the peers of the storage.
#[derive(Args, Debug)]
pub(crate) struct ListPeers {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Removes a peer of the storage.
#[derive(Args, Debug)]
pub(crate) struct RemovePeer {
    #[arg(value_name = "NODE")]
    arguments: Vec<String>,
}

/// Saves all that the server stores to a file, and restores it. It stays encrypted.
#[derive(Subcommand, Debug)]
pub(crate) enum Snapshot {
    Save(Save),
    Restore(Restore),
}

/// Saves a snapshot to a file.
#[derive(Args, Debug)]
pub(crate) struct Save {
    #[arg(value_name = "FILE")]
    arguments: Vec<String>,
}

/// Restores a snapshot from a file: what the server stores now is gone then.
#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// Restore it even when it was made under other unseal keys.
    #[arg(long)]
    force: bool,
    #[arg(value_name = "FILE")]
    arguments: Vec<String>,
}

/// Shows how the cluster looks after itself.
#[derive(Subcommand, Debug)]
pub(crate) enum Autopilot {
    State(State),
    GetConfig(GetConfig),
}

/// Shows the health of the cluster.
#[derive(Args, Debug)]
pub(crate) struct State {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Shows the settings of the autopilot.
#[derive(Args, Debug)]
pub(crate) struct GetConfig {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Raft {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Raft::ListPeers(arguments) => arguments.run(context).await,
            Raft::RemovePeer(arguments) => arguments.run(context).await,
            Raft::Snapshot(Snapshot::Save(arguments)) => arguments.run(context).await,
            Raft::Snapshot(Snapshot::Restore(arguments)) => arguments.run(context).await,
            Raft::Autopilot(Autopilot::State(State { rest })) => {
                let attempt = "Error checking autopilot state";
                show(context, &rest, attempt, "sys/storage/raft/autopilot/state").await
            }
            Raft::Autopilot(Autopilot::GetConfig(GetConfig { rest })) => {
                let attempt = "Error reading autopilot configuration";
                show(context, &rest, attempt, "sys/storage/raft/autopilot/configuration").await
            }
        }
    }
}

async fn show(
    context: &mut Context,
    rest: &[String],
    attempt: &str,
    path: &str,
) -> Result<(), Failure> {
    let [] = arguments::exactly::<0>(rest)?;
    let found = context.send(attempt, Outgoing::new(Method::Get, path)).await?;
    context.output.secret(&found, None)
}

impl ListPeers {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let outgoing = Outgoing::new(Method::Get, "sys/storage/raft/configuration");
        let found = context.send("Error reading the raft cluster configuration", outgoing).await?;
        if !context.output.is_table() {
            return context.output.secret(&found, None);
        }
        let config = found.data().and_then(|data| data.get("config"));
        let peers = config.and_then(|config| config.get("servers")).and_then(Value::as_array);
        let mut table = Table::new(&["Node", "Address", "State", "Voter"]);
        for peer in peers.into_iter().flatten() {
            let text =
                |name: &str| peer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let is = |name: &str| peer.get(name).and_then(Value::as_bool).unwrap_or(false);
            let state = if is("leader") { "leader" } else { "follower" };
            let voter = is("voter").to_string();
            table.row([text("node_id"), text("address"), state.to_owned(), voter]);
        }
        context.output.table(&table)
    }
}

impl RemovePeer {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [node] = arguments::exactly(&self.arguments)?;
        let body = serde_json::json!({ "server_id": node });
        let outgoing = Outgoing::new(Method::Put, "sys/storage/raft/remove-peer").json(&body);
        context.send("Error removing the peer from raft cluster", outgoing).await?;
        context.output.line("Peer removed successfully!")
    }
}

impl Save {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [file] = arguments::exactly(&self.arguments)?;
        let outgoing = Outgoing::new(Method::Get, "sys/storage/raft/snapshot");
        let mut parts = context.stream("Error taking the snapshot", outgoing).await?;
        let path = Path::new(file);
        let failed = |error: io::Error| {
            Failure::refused(format!("Error saving the snapshot: {file}: {}", plain(&error)))
        };
        // The file appears when it is whole: half a snapshot must not be taken for one.
        let part = Unfinished::beside(path).map_err(failed)?;
        let mut out = &part.file;
        let mut empty = true;
        loop {
            let next = parts.next().await;
            match next.map_err(|error| context.failure("Error taking the snapshot", &error))? {
                Some(bytes) => out.write_all(&bytes).map_err(failed)?,
                None => break,
            }
            empty = false;
        }
        if empty {
            return Err(Failure::refused("Error taking the snapshot: the server sent nothing"));
        }
        part.finish(path).map_err(failed)
    }
}

/// A file that is being written. It is deleted unless it is finished.
struct Unfinished {
    path: PathBuf,
    file: fs::File,
}

impl Unfinished {
    fn beside(path: &Path) -> io::Result<Unfinished> {
        let (path, file) = private_file::beside(path)?;
        Ok(Unfinished { path, file })
    }

    fn finish(self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Gone already when it was finished.
        fs::remove_file(&self.path).ok();
    }
}

impl Restore {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [file] = arguments::exactly(&self.arguments)?;
        let failed = |error: io::Error| {
            Failure::refused(format!("Error opening snapshot: {file}: {}", plain(&error)))
        };
        let length = fs::metadata(file).map_err(failed)?.len();
        if length > SNAPSHOT_BYTES_MAX {
            return Err(Failure::refused(format!("{file}: larger than 4 GiB")));
        }
        let path = match self.force {
            true => "sys/storage/raft/snapshot-force",
            false => "sys/storage/raft/snapshot",
        };
        let mut outgoing = Outgoing::new(Method::Post, path);
        outgoing = outgoing.header("Content-Type", "application/octet-stream");
        if context.is_sending() {
            outgoing.body = Some(Zeroizing::new(fs::read(file).map_err(failed)?));
        }
        context.send("Error installing the snapshot", outgoing).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};
    use serde_json::json;

    #[tokio::test]
    async fn peers_are_a_table() {
        let servers = json!([{"node_id": "n", "address": "a:1", "leader": true, "voter": true}]);
        let answers = vec![(200, json!({"data": {"config": {"servers": servers}}}))];
        let (mut context, out, ..) = testing::context(Format::Table, answers).await;
        ListPeers { rest: Vec::new() }.run(&mut context).await.unwrap();
        assert!(out.text().ends_with("n       a:1        leader    true\n"), "{}", out.text());
    }

    #[tokio::test]
    async fn a_snapshot_that_is_refused_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("snap");
        let arguments = vec![file.display().to_string()];
        let answers = vec![(403, json!({"errors": ["permission denied"]})), (200, json!({"a": 1}))];
        let (mut context, ..) = testing::context(Format::Table, answers).await;
        let save = || Save { arguments: arguments.clone() };
        assert_eq!(save().run(&mut context).await.unwrap_err().exit, 2);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        save().run(&mut context).await.unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), r#"{"a":1}"#);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
