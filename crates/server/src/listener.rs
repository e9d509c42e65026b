//! Sockets: accepting, bounding, and stopping without cutting anyone off.

use crate::{
    event,
    limits::{
        CONNECTIONS_MAX, DRAIN_TIME_MAX, HANDSHAKE_TIME_MAX, HEADER_BYTES_MAX, HEADER_TIME_MAX,
        STREAMS_MAX,
    },
    routes::{self, Front},
    silence::Attentive,
    tls::{Certificate, TlsError},
};
use bailee_kernel::Core;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// Pause after a failed accept: when the process is out of descriptors, trying at once is a busy
/// loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket to listen on.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Its certificate; none for plain HTTP.
    pub certificate: Option<Arc<Certificate>>,
}

/// Why a listener does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, not ours, or not permitted.
    #[error("listener {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The certificate cannot be served.
    #[error("listener {address}: {source}")]
    Tls {
        /// The address.
        address: SocketAddr,
        /// What is wrong with it.
        source: TlsError,
    },
}

/// Bound sockets that serve a kernel.
pub struct Server {
    core: Arc<Core>,
    sockets: Vec<Socket>,
}

struct Socket {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Binds all sockets or none.
    pub async fn bind(core: Arc<Core>, listens: &[Listen]) -> Result<Server, BindError> {
        let mut sockets = Vec::new();
        for Listen { address, certificate } in listens {
            let address = *address;
            let failed = |source| BindError::Address { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let tls = match certificate {
                None => None,
                Some(certificate) => {
                    let config = certificate.server_config();
                    let config = config.map_err(|source| BindError::Tls { address, source })?;
                    Some(TlsAcceptor::from(Arc::new(config)))
                }
            };
            event::listening(listener.local_addr().unwrap_or(address), tls.is_some());
            sockets.push(Socket { listener, tls });
        }
        Ok(Server { core, sockets })
    }

    /// Where it listens: with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.listener.local_addr().ok()).collect()
    }

    /// Serves until `stop` becomes true or its sender is gone; then accepts nothing more and lets
    /// running requests end, within a bound.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let front = Arc::new(Front::new(self.core, stop.clone()));
        let mut accepting = JoinSet::new();
        for socket in self.sockets {
            accepting.spawn(accept(front.clone(), socket, room.clone(), stop.clone()));
        }
        while accepting.join_next().await.is_some() {}
    }
}

async fn accept(
    front: Arc<Front>,
    socket: Socket,
    room: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        // A full room must not keep it from stopping.
        let next = async {
            let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
            (permit, socket.listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, remote)) => {
                let tls = socket.tls.clone();
                connections.spawn(connection(
                    front.clone(),
                    stream,
                    remote,
                    tls,
                    graceful.watcher(),
                    permit,
                ));
            }
            Err(error) => {
                event::accept_failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(socket);
    event::draining(connections.len());
    // Connections that are between two requests close at once, others after their answer.
    if tokio::time::timeout(DRAIN_TIME_MAX, graceful.shutdown()).await.is_err() {
        event::drain_ended();
    }
    connections.shutdown().await;
}

async fn connection(
    front: Arc<Front>,
    stream: TcpStream,
    remote: SocketAddr,
    tls: Option<TlsAcceptor>,
    watcher: Watcher,
    _permit: OwnedSemaphorePermit,
) {
    // Answers are small: waiting to fill a packet only delays them.
    stream.set_nodelay(true).ok();
    match tls {
        None => speak(front, stream, remote, watcher).await,
        Some(tls) => match tokio::time::timeout(HANDSHAKE_TIME_MAX, tls.accept(stream)).await {
            Ok(Ok(stream)) => speak(front, stream, remote, watcher).await,
            Ok(Err(error)) => event::handshake_failed(remote, &error),
            Err(_) => event::handshake_failed(remote, &"the client took too long"),
        },
    }
}

async fn speak<S>(front: Arc<Front>, stream: S, remote: SocketAddr, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(routes::serve(front, request, remote).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32);
    let connection =
        builder.serve_connection(TokioIo::new(Attentive::new(stream)), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        event::connection_ended(remote, &error);
    }
}
