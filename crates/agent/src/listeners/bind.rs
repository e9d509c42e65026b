//! Opening sockets, and removing what an earlier agent left.

use super::{
    Surroundings,
    guard::Guard,
    secretsmanager::SecretsManager,
    serve::{self, Service},
    settings::{Endpoint, Interface, Limits, Settings, UnixSocket},
    tokens::TokenFileError,
    vault::Proxy,
};
use crate::event;
use bailee_crypto::random;
use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    net::SocketAddr,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    net::{TcpListener, TcpSocket, UnixListener},
    sync::watch,
    task::JoinSet,
};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// How far packets of a listener of this machine alone may travel: no router passes them on.
const HOPS_MAX: u8 = 1;

/// Why a listener does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address or path is taken, not ours, or not permitted.
    #[error("listener {endpoint}: {source}")]
    Socket {
        /// Where.
        endpoint: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Something other than a left-over socket is at the path.
    #[error("listener {endpoint}: {reason}")]
    Occupied {
        /// Where.
        endpoint: String,
        /// What is there.
        reason: &'static str,
    },
    /// The file of tokens cannot be used.
    #[error("listener {endpoint}: {source}")]
    Tokens {
        /// Where.
        endpoint: String,
        /// What is wrong with it.
        source: TokenFileError,
    },
    /// A listener that others on this machine reach needs a file of tokens.
    #[error(
        "listener {endpoint}: token_file is missing: without it any program on this machine, and any web page in a browser on it, could read secrets"
    )]
    Unprotected {
        /// Where.
        endpoint: String,
    },
    /// A listener that lends the agent's own token needs something that web pages cannot send.
    #[error(
        "listener {endpoint}: require_request_header: must be true where use_auto_auth_token is, or a token_file given: otherwise any web page in a browser on this machine could use the agent's token"
    )]
    Unmarked {
        /// Where.
        endpoint: String,
    },
    /// The secret manager is not in the configuration.
    #[error("listener {endpoint}: manager: {reason}")]
    Manager {
        /// Where.
        endpoint: String,
        /// Which there are.
        reason: String,
    },
}

/// Open sockets that hand out secrets.
#[derive(Debug)]
pub struct Listeners {
    open: Vec<Open>,
}

/// A socket with what it serves.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) socket: Socket,
    pub(crate) service: Arc<Service>,
    pub(crate) limits: Limits,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, Left),
}

/// A socket in the file system, which is removed at the end unless another took its place.
#[derive(Debug)]
pub(crate) struct Left {
    path: PathBuf,
    inode: u64,
}

impl Listeners {
    /// Opens all sockets or none. Runs inside tokio.
    ///
    /// # Errors
    /// The first that cannot be opened, with its address or path.
    pub fn bind(
        settings: Vec<Settings>,
        surroundings: &Surroundings,
    ) -> Result<Listeners, BindError> {
        let open: Result<Vec<Open>, BindError> =
            settings.into_iter().map(|settings| Open::new(settings, surroundings)).collect();
        Ok(Listeners { open: open? })
    }

    /// The addresses, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let address = |open: &Open| match &open.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(..) => None,
        };
        self.open.iter().filter_map(address).collect()
    }

    /// Serves until `stop` becomes true or its sender is gone; then lets running requests end, within a bound.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let mut accepting = JoinSet::new();
        for open in self.open {
            accepting.spawn(serve::accept(open, stop.clone()));
        }
        while accepting.join_next().await.is_some() {}
    }
}

impl Open {
    fn new(settings: Settings, surroundings: &Surroundings) -> Result<Open, BindError> {
        let Settings { endpoint, interface, mut guard, limits } = settings;
        if let Interface::Vault(_) = &interface {
            guard.token_headers.leave_to_server();
        }
        let place = endpoint.to_string();
        let open_to_all = matches!(endpoint, Endpoint::Tcp(_)) && guard.token_file.is_none();
        match &interface {
            Interface::SecretsManager(_) if open_to_all => {
                return Err(BindError::Unprotected { endpoint: place });
            }
            Interface::Vault(settings) if open_to_all && settings.is_open() => {
                return Err(BindError::Unmarked { endpoint: place });
            }
            Interface::SecretsManager(_) | Interface::Vault(_) => {}
        }
        let address = match &endpoint {
            Endpoint::Tcp(tcp) => Some(tcp.address),
            Endpoint::Unix(_) => None,
        };
        let guard = Guard::new(guard, address)
            .map_err(|source| BindError::Tokens { endpoint: place.clone(), source })?;
        let service = match interface {
            Interface::SecretsManager(settings) => {
                let managers = std::iter::once(&settings.manager).chain(settings.roles.values());
                for manager in managers {
                    surroundings.store.place(manager).map_err(|failure| {
                        let endpoint = place.clone();
                        BindError::Manager { endpoint, reason: failure.to_string() }
                    })?;
                }
                let time = limits.request_time_max;
                let surroundings = surroundings.clone();
                let service = SecretsManager::new(surroundings, settings, guard, time);
                Service::SecretsManager(Box::new(service))
            }
            Interface::Vault(settings) => {
                Service::Vault(Box::new(Proxy::new(*settings, guard, surroundings.clone())))
            }
        };
        let socket = match endpoint {
            Endpoint::Tcp(tcp) => tcp_socket(tcp.address)
                .map(Socket::Tcp)
                .map_err(|source| BindError::Socket { endpoint: place.clone(), source })?,
            Endpoint::Unix(socket) => unix_socket(&socket)?,
        };
        event::listening(&place);
        Ok(Open { socket, service: Arc::new(service), limits })
    }
}

/// A socket at an address. Connections take the bound on hops over from it, from their first packet on.
pub(crate) fn tcp_socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if address.ip().is_loopback() {
        if address.is_ipv4() {
            rustix::net::sockopt::set_ip_ttl(&socket, u32::from(HOPS_MAX))?;
        } else {
            rustix::net::sockopt::set_ipv6_unicast_hops(&socket, Some(HOPS_MAX))?;
        }
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A socket in the file system. It is made where nobody else looks and moved to its place with the mode it shall
/// have, so that there is no moment in which others could connect.
fn unix_socket(settings: &UnixSocket) -> Result<Socket, BindError> {
    let endpoint = || settings.path.display().to_string();
    let occupied = |reason| BindError::Occupied { endpoint: endpoint(), reason };
    let failed = |source| BindError::Socket { endpoint: endpoint(), source };
    match fs::symlink_metadata(&settings.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(occupied("something else than a socket is there: move it away"));
        }
        Ok(_) => match UnixStream::connect(&settings.path) {
            Ok(_) => return Err(occupied("another process listens there")),
            // What nobody listens to was left by an agent that was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(failed(error)),
        },
    }
    let folder = settings.path.parent().unwrap_or(Path::new("/"));
    let made = folder.join(format!(".bailee-{}", random::alphanumeric(8)));
    DirBuilder::new().mode(0o700).create(&made).map_err(failed)?;
    let placed = place(settings, &made.join("s"));
    if fs::remove_dir_all(&made).is_err() {
        event::not_removed(&made);
    }
    placed.map_err(failed)
}

fn place(settings: &UnixSocket, made: &Path) -> io::Result<Socket> {
    let listener = UnixListener::bind(made)?;
    fs::set_permissions(made, Permissions::from_mode(settings.mode))?;
    if settings.owner.is_some() || settings.group.is_some() {
        chown(made, settings.owner, settings.group)?;
    }
    let inode = fs::symlink_metadata(made)?.ino();
    fs::rename(made, &settings.path)?;
    Ok(Socket::Unix(listener, Left { path: settings.path.clone(), inode }))
}

impl Drop for Left {
    fn drop(&mut self) {
        let own = fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode);
        if own && fs::remove_file(&self.path).is_err() {
            event::not_removed(&self.path);
        }
    }
}
