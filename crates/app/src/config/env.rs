//! The environment, read here and nowhere else.

use bailee_crypto::Sensitive;
use std::{ffi::OsString, path::PathBuf};

/// A variable, unless it is empty or not Unicode.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn raw(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A variable of the command line: `VAULT_` and the name, or what OpenBao's users set, `BAO_` and
/// the name.
pub(crate) fn setting(name: &str) -> Option<String> {
    variable(&format!("VAULT_{name}")).or_else(|| variable(&format!("BAO_{name}")))
}

/// The line that a shell wants completed, and where in it the cursor is.
pub(crate) fn completed_line() -> Option<(String, Option<usize>)> {
    let point = variable("COMP_POINT").and_then(|point| point.parse().ok());
    Some((variable("COMP_LINE")?, point))
}

/// All variables, for a process that is run.
pub(crate) fn all() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// The folder in which systemd puts the credentials of a service.
pub(crate) fn credentials_directory() -> Option<PathBuf> {
    raw("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The user's home folder.
pub(crate) fn home() -> Option<PathBuf> {
    raw("HOME").map(PathBuf::from)
}

/// What the server takes from its environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerEnvironment {
    /// Where AWS Secrets Manager is, instead of its regional address.
    pub aws_endpoint_url: Option<String>,
    /// Where AWS IAM is.
    pub aws_iam_endpoint_url: Option<String>,
    /// Where AWS STS is.
    pub aws_sts_endpoint_url: Option<String>,
    /// Where AWS SNS is.
    pub aws_sns_endpoint_url: Option<String>,
    /// A forward proxy for everything that leaves.
    pub proxy: Option<String>,
    /// Hosts that are reached without the proxy.
    pub no_proxy: Option<String>,
    /// Overrides the file's log level.
    pub log_level: Option<String>,
    /// The address that clients are told.
    pub api_addr: Option<String>,
    /// The address that other nodes would be told.
    pub cluster_addr: Option<String>,
    /// The node's name.
    pub node_id: Option<String>,
    /// The machine's name; empty when the system does not tell.
    pub host_name: String,
}

impl ServerEnvironment {
    /// Reads it.
    pub fn read() -> ServerEnvironment {
        let for_all = variable("AWS_ENDPOINT_URL");
        ServerEnvironment {
            aws_endpoint_url: variable("AWS_ENDPOINT_URL_SECRETS_MANAGER").or(for_all.clone()),
            aws_iam_endpoint_url: variable("AWS_ENDPOINT_URL_IAM").or(for_all.clone()),
            aws_sts_endpoint_url: variable("AWS_ENDPOINT_URL_STS").or(for_all.clone()),
            aws_sns_endpoint_url: variable("AWS_ENDPOINT_URL_SNS").or(for_all),
            proxy: variable("HTTPS_PROXY").or_else(|| variable("https_proxy")),
            no_proxy: variable("NO_PROXY").or_else(|| variable("no_proxy")),
            log_level: variable("VAULT_LOG_LEVEL"),
            api_addr: variable("VAULT_API_ADDR"),
            cluster_addr: variable("VAULT_CLUSTER_ADDR"),
            node_id: variable("VAULT_RAFT_NODE_ID"),
            host_name: host_name(),
        }
    }
}

/// What AWS Lambda tells the program that it runs, and what the stack sets: in the names of the
/// published sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LambdaEnvironment {
    /// Host and port of the runtime API.
    pub(crate) api: String,
    /// Where the package is unpacked.
    pub(crate) root: PathBuf,
    /// The mount that is replicated, and what names begin with.
    pub(crate) prefix: Option<String>,
    /// The secret that says where the source is.
    pub(crate) connection_secret: Option<String>,
    /// The key of what is replicated.
    pub(crate) kms_key: Option<String>,
    /// Who is told of failures.
    pub(crate) topic: Option<String>,
}

impl LambdaEnvironment {
    /// Reads it; `None` where this is no Lambda.
    pub(crate) fn read() -> Option<LambdaEnvironment> {
        Some(LambdaEnvironment {
            api: variable("AWS_LAMBDA_RUNTIME_API")?,
            root: raw("LAMBDA_TASK_ROOT").map_or_else(|| PathBuf::from("/var/task"), PathBuf::from),
            prefix: variable("secretsPrefix"),
            connection_secret: variable("vaultSecretArn"),
            kms_key: variable("secretEncryptionKMSKeyArn"),
            topic: variable("failedReplicationTopicArn"),
        })
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// The token for the root of a development server, when the user chose one.
pub(crate) fn dev_root_token() -> Option<Sensitive<String>> {
    variable("VAULT_DEV_ROOT_TOKEN_ID").map(Sensitive::from)
}

/// The address of a development server, when the user chose one.
pub(crate) fn dev_listen_address() -> Option<String> {
    variable("VAULT_DEV_LISTEN_ADDRESS")
}
