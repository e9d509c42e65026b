//! What a listener is told. The parser of the configuration makes these types, whose constructors check.

use super::vault::Vault;
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Where AWS's agent listens, and this one unless somebody says otherwise.
pub const ADDRESS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2773);
/// The prefix of paths that name a secret, unless somebody says otherwise.
pub const PATH_PREFIX_DEFAULT: &str = "/v1/";
/// The headers that may hold the token, unless somebody says otherwise.
pub const TOKEN_HEADERS_DEFAULT: [&str; 2] = ["X-Aws-Parameters-Secrets-Token", "X-Vault-Token"];
/// Connections at one time, unless somebody says otherwise.
pub const CONNECTIONS_DEFAULT: usize = 800;
/// The most connections that somebody may ask for.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Headers that may hold the token, at most.
pub const TOKEN_HEADERS_MAX: usize = 8;
/// Host names beside this machine's own, at most.
pub const HOSTS_MAX: usize = 64;
/// Bytes of the prefix of paths, at most.
pub const PATH_PREFIX_BYTES_MAX: usize = 256;

/// A setting that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct SettingError {
    /// The field of the listener's block.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// A listener.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What it speaks.
    pub interface: Interface,
    /// Who may speak to it.
    pub guard: Guard,
    /// How much of it there is for everybody.
    pub limits: Limits,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address of this machine.
    Tcp(Tcp),
    /// A socket in the file system.
    Unix(UnixSocket),
}

/// An address that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    pub(crate) address: SocketAddr,
}

/// A socket in the file system. Who may write to it may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    pub(crate) path: PathBuf,
    pub(crate) mode: u32,
    /// The user it is given to, by number; the agent's own where absent.
    pub owner: Option<u32>,
    /// The group it is given to, by number; the agent's own where absent.
    pub group: Option<u32>,
}

/// What a listener speaks.
#[derive(Clone, Debug)]
pub enum Interface {
    /// The interface of AWS's agent: `/secretsmanager/get`, `/v1/NAME`, `/ping`.
    SecretsManager(SecretsManager),
    /// The API of a server that speaks Vault's, with its answers kept at hand.
    Vault(Box<Vault>),
}

/// The interface of AWS's agent over a secret manager of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretsManager {
    /// The secret manager's name in the configuration.
    pub manager: String,
    /// For the parameter `roleArn`: which secret manager of the configuration assumes which role.
    pub roles: BTreeMap<String, String>,
    pub(crate) path_prefix: String,
}

/// Who may speak to a listener.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// The file of tokens, one of which a request must show. Without it only the socket's mode protects.
    pub token_file: Option<TokenFile>,
    /// The headers that may hold the token.
    pub token_headers: TokenHeaders,
    /// Names in the `Host` header that are taken beside `localhost` and the listener's own addresses.
    pub hosts: Hosts,
}

/// A file of tokens, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whether the agent makes it, with a random token, where it is absent at the start.
    pub create: bool,
    /// Whether the file's group may read it (mode 0640); otherwise only its owner may (0600).
    pub group_may_read: bool,
    /// The user and the group that the agent becomes afterwards: a file that it makes is given to them. Itself where
    /// absent.
    pub owner: Option<(u32, u32)>,
}

/// Headers that may hold the token, in small letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHeaders(pub(crate) Vec<http::HeaderName>);

/// Host names, in small letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(pub(crate) Vec<String>);

/// How much of a listener there is for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    connections_max: usize,
    /// Time for a client to send the head of a request, and to begin the next one.
    pub header_time_max: Duration,
    /// Time for a request to be answered.
    pub request_time_max: Duration,
}

impl Endpoint {
    /// An address. Addresses that other machines reach are refused, unless somebody says that they shall be.
    ///
    /// # Errors
    /// Others reach it, and `allow_remote` is off.
    pub fn tcp(address: SocketAddr, allow_remote: bool) -> Result<Endpoint, SettingError> {
        if !allow_remote && !address.ip().is_loopback() {
            let reason = format!(
                "{address} is reached by other machines: use 127.0.0.1 or [::1], or say allow_remote = true"
            );
            return Err(SettingError { field: "address", reason });
        }
        Ok(Endpoint::Tcp(Tcp { address }))
    }

    /// A socket in the file system with the mode 0600, or 0660 for its group.
    ///
    /// # Errors
    /// The path is relative, or the mode another one.
    pub fn unix(path: PathBuf, mode: u32) -> Result<UnixSocket, SettingError> {
        if !path.is_absolute() || path.file_name().is_none() {
            let reason = format!("{:?} is no absolute path of a socket", path.display());
            return Err(SettingError { field: "path", reason });
        }
        if mode != 0o600 && mode != 0o660 {
            let reason = format!("{mode:04o} is not taken: use 0600, or 0660 for a group");
            return Err(SettingError { field: "mode", reason });
        }
        Ok(UnixSocket { path, mode, owner: None, group: None })
    }
}

impl Tcp {
    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl UnixSocket {
    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(tcp) => write!(f, "{}", tcp.address),
            Endpoint::Unix(socket) => write!(f, "{}", socket.path.display()),
        }
    }
}

impl SecretsManager {
    /// The interface over a secret manager.
    ///
    /// # Errors
    /// The prefix does not begin with `/`, or is longer than 256 bytes.
    pub fn new(manager: &str, path_prefix: &str) -> Result<SecretsManager, SettingError> {
        let fits = path_prefix.starts_with('/') && path_prefix.len() <= PATH_PREFIX_BYTES_MAX;
        if !fits || !path_prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            let reason = format!(
                "{path_prefix:?} does not fit: it begins with /, as in \"/v1/\", and has at most {PATH_PREFIX_BYTES_MAX} bytes"
            );
            return Err(SettingError { field: "path_prefix", reason });
        }
        Ok(SecretsManager {
            manager: manager.to_owned(),
            roles: BTreeMap::new(),
            path_prefix: path_prefix.to_owned(),
        })
    }
}

impl TokenHeaders {
    /// Headers by their names: at least one, at most 8.
    ///
    /// # Errors
    /// There is none, there are too many, or one is no header's name.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<TokenHeaders, SettingError> {
        let wrong = |reason| SettingError { field: "ssrf_headers", reason };
        let names: Result<Vec<http::HeaderName>, SettingError> = names
            .into_iter()
            .map(|name| {
                let refused = |_| wrong(format!("{name:?} is no header's name"));
                http::HeaderName::from_bytes(name.as_bytes()).map_err(refused)
            })
            .collect();
        let names = names?;
        if names.is_empty() || names.len() > TOKEN_HEADERS_MAX {
            return Err(wrong(format!("between 1 and {TOKEN_HEADERS_MAX} headers are taken")));
        }
        Ok(TokenHeaders(names))
    }
}

impl TokenHeaders {
    /// Without the header that belongs to the server behind: what it holds is passed on.
    pub(crate) fn leave_to_server(&mut self) {
        self.0.retain(|name| name != "x-vault-token" && name != "authorization");
        if self.0.is_empty() {
            self.0.extend(TOKEN_HEADERS_DEFAULT.first().and_then(|name| name.parse().ok()));
        }
    }

    /// The first of them.
    pub fn first(&self) -> &http::HeaderName {
        self.0.first().expect("there is at least one header")
    }
}

impl Default for TokenHeaders {
    fn default() -> TokenHeaders {
        TokenHeaders::new(TOKEN_HEADERS_DEFAULT).expect("the defaults are names of headers")
    }
}

impl Hosts {
    /// Host names without ports, at most 64.
    ///
    /// # Errors
    /// There are too many, or one has characters that no host name has.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Hosts, SettingError> {
        let wrong = |reason| SettingError { field: "hosts", reason };
        let mut hosts = Vec::new();
        for name in names {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            if name.is_empty() || !name.bytes().all(fits) {
                let reason = format!("{name:?} is no host name; leave the port out");
                return Err(wrong(reason));
            }
            hosts.push(name.to_ascii_lowercase());
        }
        if hosts.len() > HOSTS_MAX {
            return Err(wrong(format!("at most {HOSTS_MAX} are taken")));
        }
        Ok(Hosts(hosts))
    }
}

impl Limits {
    /// The defaults with another number of connections, between 1 and 10,000.
    ///
    /// # Errors
    /// The number lies outside.
    pub fn of(connections_max: usize) -> Result<Limits, SettingError> {
        if !(1..=CONNECTIONS_MAX).contains(&connections_max) {
            let reason =
                format!("{connections_max} is not taken: between 1 and {CONNECTIONS_MAX} are");
            return Err(SettingError { field: "connections_max", reason });
        }
        Ok(Limits { connections_max, ..Limits::default() })
    }

    /// Connections at one time.
    pub fn connections_max(&self) -> usize {
        self.connections_max
    }
}

impl Default for Limits {
    /// As many connections as AWS's agent has, and its minute for a request.
    fn default() -> Limits {
        Limits {
            connections_max: CONNECTIONS_DEFAULT,
            header_time_max: Duration::from_secs(30),
            request_time_max: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_its_field_and_what_would_fit() {
        let address = |text: &str, remote| Endpoint::tcp(text.parse().unwrap(), remote);
        let refused = address("0.0.0.0:2773", false).unwrap_err().to_string();
        assert_eq!(
            refused,
            "address: 0.0.0.0:2773 is reached by other machines: use 127.0.0.1 or [::1], or say \
             allow_remote = true"
        );
        assert!(address("0.0.0.0:2773", true).is_ok());
        assert!(address("[::1]:2773", false).is_ok());
        let mode = Endpoint::unix("/run/a.sock".into(), 0o666).unwrap_err().to_string();
        assert_eq!(mode, "mode: 0666 is not taken: use 0600, or 0660 for a group");
        assert_eq!(Endpoint::unix("a.sock".into(), 0o600).unwrap_err().field, "path");
        assert_eq!(SecretsManager::new("m", "v1/").unwrap_err().field, "path_prefix");
        assert_eq!(TokenHeaders::new(["X Y"]).unwrap_err().field, "ssrf_headers");
        assert_eq!(TokenHeaders::new([]).unwrap_err().field, "ssrf_headers");
        assert_eq!(Hosts::new(["a:80"]).unwrap_err().field, "hosts");
        assert_eq!(Limits::of(0).unwrap_err().field, "connections_max");
        assert_eq!(Limits::of(10_001).unwrap_err().field, "connections_max");
    }
}
