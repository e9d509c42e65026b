//! Accepting, bounding, and stopping without cutting anyone off.

use super::{
    answer::Answer,
    bind::{Left, Open, Socket},
    secretsmanager::SecretsManager,
    settings::Limits,
    stall::Stalling,
    vault::Proxy,
};
use crate::event;
use http::{HeaderValue, Request, header::CONNECTION};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use std::{convert::Infallible, fmt, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

/// Bytes of a request's first line and headers.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Connections beside those that are allowed, which are told so; more wait in the system's queue.
const CROWD_MAX: usize = 32;
/// Time that running requests get when the agent stops.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause after a failed accept: when the process is out of descriptors, trying at once is a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a listener serves.
pub(crate) enum Service {
    SecretsManager(Box<SecretsManager>),
    Vault(Box<Proxy>),
}

impl Service {
    /// Does what is to be done beside answering, for ever.
    async fn keep(&self) {
        match self {
            Service::SecretsManager(_) => std::future::pending().await,
            Service::Vault(proxy) => proxy.keep_leases().await,
        }
    }

    async fn answer(&self, request: Request<Incoming>, crowded: bool) -> Answer {
        match self {
            Service::SecretsManager(service) => {
                let (head, _) = request.into_parts();
                service.answer(&head, crowded).await
            }
            Service::Vault(proxy) => Box::pin(proxy.answer(request, crowded)).await,
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service(..)")
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

enum Sockets {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Sockets {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Sockets::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                // Answers are small: waiting to fill a packet only delays them.
                stream.set_nodelay(true).ok();
                Stream::Tcp(stream)
            }),
            Sockets::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| Stream::Unix(stream))
            }
        }
    }
}

/// Serves a socket until it shall stop.
pub(crate) async fn accept(open: Open, mut stop: watch::Receiver<bool>) {
    let Open { socket, service, limits } = open;
    let (sockets, left): (Sockets, Option<Left>) = match socket {
        Socket::Tcp(listener) => (Sockets::Tcp(listener), None),
        Socket::Unix(listener, left) => (Sockets::Unix(listener), Some(left)),
    };
    let room = Arc::new(Semaphore::new(limits.connections_max()));
    let all = Arc::new(Semaphore::new(limits.connections_max() + CROWD_MAX));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut keeping = std::pin::pin!(service.keep());
    loop {
        // Nobody is accepted who could not even be told that there is no room.
        let next = async {
            let permit = all.clone().acquire_owned().await.expect("the semaphore is never closed");
            (permit, sockets.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = &mut keeping => break,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                event::accept_failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (service, watcher) = (service.clone(), graceful.watcher());
        let place = room.clone().try_acquire_owned().ok();
        let client = Client { service, limits, watcher, place, _permit: permit };
        match stream {
            Stream::Tcp(stream) => connections.spawn(client.serve(stream)),
            Stream::Unix(stream) => connections.spawn(client.serve(stream)),
        };
    }
    drop((sockets, left));
    // Connections that are between two requests close at once, others after their answer.
    if tokio::time::timeout(DRAIN_TIME_MAX, graceful.shutdown()).await.is_err() {
        event::drain_ended();
    }
    connections.shutdown().await;
}

/// A connection.
struct Client {
    service: Arc<Service>,
    limits: Limits,
    watcher: Watcher,
    /// Absent where there are more connections than there may be.
    place: Option<OwnedSemaphorePermit>,
    _permit: OwnedSemaphorePermit,
}

impl Client {
    async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (service, crowded) = (&self.service, self.place.is_none());
        let service = service_fn(|request| async move {
            let mut answer = service.answer(request, crowded).await;
            if crowded {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_time_max)
            .max_buf_size(HEAD_BYTES_MAX)
            // Of headers hyper takes a hundred, in room that it need not ask for.
            .serve_connection(TokioIo::new(Stalling::new(stream)), service);
        if let Err(error) = self.watcher.watch(connection).await {
            event::connection_ended(&error);
        }
    }
}
