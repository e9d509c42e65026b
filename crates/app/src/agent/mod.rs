//! The agent as a program: its configuration, put together and run.
//!
//! `file` reads the configuration, `run` puts the agent together and runs it to its end, `ask` asks a running one.

mod ask;
mod check;
mod file;
mod inputs;
mod listeners;
mod outputs;
mod privileges;
mod run;

pub(crate) use ask::ask;
pub(crate) use check::{Checked, check};
pub(crate) use run::{LAUNCH, launch, run};

use crate::{config::Faults, replicate};
use bailee_agent::{
    aws,
    connection::Connection,
    listeners::{
        settings::{Endpoint, Guard, Limits, SecretsManager},
        vault::AgentToken,
    },
    manager::Wanted,
    outputs::{exec, file as file_output},
    store::Patience,
};
use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

/// The longest configuration, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A checked configuration.
pub(crate) struct Configuration {
    /// The secret managers, by name.
    pub(crate) managers: BTreeMap<String, Manager>,
    /// The connections, by name.
    pub(crate) connections: BTreeMap<String, Connection>,
    /// The process that is run.
    pub(crate) exec: Option<exec::Settings>,
    /// The files that are written.
    pub(crate) files: Vec<file_output::Settings>,
    /// Where applications ask.
    pub(crate) listeners: Vec<Listening>,
    /// Secrets that are kept in memory.
    pub(crate) entries_max: NonZeroUsize,
    /// The encrypted file that carries them over a restart.
    pub(crate) disk: Option<DiskSettings>,
    /// Whom the agent becomes when its sockets are open and its keys read.
    pub(crate) user: Option<String>,
    /// With which group; the user's own where absent.
    pub(crate) group: Option<String>,
    /// The least severe level that is logged.
    pub(crate) log_level: String,
    /// Whether log lines are JSON.
    pub(crate) log_json: bool,
}

/// A secret manager.
pub(crate) struct Manager {
    /// Its name.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: ManagerKind,
    /// How long its values serve.
    pub(crate) patience: Patience,
    /// Secrets that are kept fresh without being asked for.
    pub(crate) prefetched: Vec<Wanted>,
    /// Tags whose secrets are.
    pub(crate) tagged: Vec<BTreeMap<String, String>>,
}

impl Manager {
    /// Whether it speaks Vault's API.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self.kind, ManagerKind::Vault(_))
    }
}

/// What a secret manager is.
pub(crate) enum ManagerKind {
    /// AWS Secrets Manager.
    Aws(Box<aws::Settings>),
    /// A server that speaks Vault's API.
    Vault(Box<replicate::Vault>),
}

/// A listener.
pub(crate) struct Listening {
    /// Where it listens.
    pub(crate) endpoint: Endpoint,
    /// What it speaks.
    pub(crate) interface: Interface,
    /// Who may speak to it.
    pub(crate) guard: Guard,
    /// How much of it there is.
    pub(crate) limits: Limits,
}

/// What a listener speaks.
pub(crate) enum Interface {
    /// The interface of AWS's agent.
    SecretsManager(SecretsManager),
    /// The API of one of the servers.
    Vault(VaultSettings),
}

/// A caching listener of a server.
pub(crate) struct VaultSettings {
    /// The manager that is the server.
    pub(crate) manager: String,
    /// When the agent's own token is used.
    pub(crate) agent_token: AgentToken,
    /// Whether requests must carry `X-Vault-Request`.
    pub(crate) require_request_header: bool,
    /// Whether a login that is repeated is answered with the token from before.
    pub(crate) keep_logins: Option<bool>,
    /// How long secrets of KV engines serve.
    pub(crate) cache_ttl: Option<Duration>,
    /// Answers that are kept.
    pub(crate) cache_entries: Option<usize>,
    /// How long they serve beyond that while the server is away.
    pub(crate) stale_max: Option<Duration>,
}

/// An encrypted cache.
pub(crate) struct DiskSettings {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its key.
    pub(crate) key: CacheKey,
    /// Whether the next run goes on with leases, instead of which they are given back.
    pub(crate) keep_leases: bool,
}

/// Where the key of the encrypted cache is.
pub(crate) enum CacheKey {
    /// In this file.
    File(PathBuf),
    /// In the one of systemd's credentials with this name.
    Credential(String),
}

/// Reads a configuration file: HCL, JSON or YAML, told by the end of its name.
///
/// # Errors
/// All that is wrong with it, each with its line.
pub(crate) fn read(path: &Path) -> Result<Configuration, Faults> {
    let mut text = String::new();
    let read = fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    if let Err(error) = read {
        let mut faults = Faults::default();
        faults.add_overall(format_args!("cannot be read: {error}"));
        return Err(faults);
    }
    let is_yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    file::parse(&text, is_yaml)
}
