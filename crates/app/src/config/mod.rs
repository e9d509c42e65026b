//! The server's configuration: read from HCL or JSON, checked once, then carried as [`Config`].

pub(crate) mod env;
mod file;
pub(crate) mod reader;

pub use env::ServerEnvironment;
pub use file::parse;
pub use reader::Faults;

use bailee_cloud::EgressRules;
use bailee_server::tls::TlsFiles;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where secrets are kept.
    pub storage: Storage,
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// The address clients are told.
    pub api_addr: Option<String>,
    /// The address other nodes would be told.
    pub cluster_addr: Option<String>,
    /// The node's name; the machine's when absent.
    pub node_id: Option<String>,
    /// What the file calls the storage.
    pub storage_type: String,
    /// A name for the cluster, made up when absent.
    pub cluster_name: Option<String>,
    /// Whether memory is locked against swapping.
    pub lock_memory: bool,
    /// How long a lease lasts when nobody says.
    pub default_lease_ttl: Duration,
    /// How long a lease may last.
    pub max_lease_ttl: Duration,
    /// Least severe messages that are logged.
    pub log_level: String,
    /// Whether log lines are JSON.
    pub log_json: bool,
    /// File that holds the process id while the server runs.
    pub pid_file: Option<PathBuf>,
    /// The files it was read from.
    pub files: Vec<PathBuf>,
    /// Delivery to other places.
    pub sync: Sync,
    /// Engines that make credentials of AWS.
    pub aws: Aws,
    /// Settings that were read and have no effect, with their lines.
    pub without_effect: Vec<String>,
}

/// Where secrets are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In a folder of this machine.
    Embedded {
        /// The folder.
        path: PathBuf,
    },
    /// Nowhere: gone when the process ends.
    Memory,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// Its certificate; none for plain HTTP.
    pub tls: Option<TlsFiles>,
}

/// Engines that make credentials of AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aws {
    /// Whether mounts of the root namespace may use the server's own cloud credentials.
    pub ambient_credentials: bool,
    /// Where connections of the engines may go.
    pub rules: EgressRules,
}

/// Delivery to other places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Whether destinations of the root namespace may use the server's own cloud credentials.
    pub ambient_credentials: bool,
    /// Time between two comparisons of everything.
    pub reconcile_interval: Duration,
}

impl Default for Sync {
    fn default() -> Sync {
        Sync { ambient_credentials: false, reconcile_interval: Duration::from_secs(300) }
    }
}

/// How long a lease lasts when nobody says, and at most: 32 days.
pub const LEASE_TTL: Duration = Duration::from_secs(32 * 24 * 3600);

impl Config {
    /// The configuration of `server -dev`: memory, one plain listener on loopback.
    pub fn dev(address: SocketAddr) -> Config {
        Config {
            storage: Storage::Memory,
            listeners: vec![Listener { address, tls: None }],
            api_addr: Some(format!("http://{address}")),
            cluster_addr: None,
            node_id: None,
            storage_type: "inmem".to_owned(),
            cluster_name: None,
            lock_memory: false,
            default_lease_ttl: LEASE_TTL,
            max_lease_ttl: LEASE_TTL,
            log_level: "info".to_owned(),
            log_json: false,
            pid_file: None,
            files: Vec::new(),
            sync: Sync::default(),
            aws: Aws::default(),
            without_effect: Vec::new(),
        }
    }
}
