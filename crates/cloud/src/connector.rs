//! The guarded connector: resolves, checks every address, dials only what it checked.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::guard::{EgressRules, Refused};
use crate::http::HttpError;
use crate::proxy::Proxy;
use crate::tls::Roots;

/// How many addresses of one name are dialed, one after another.
const ADDRESSES_DIALED_MAX: usize = 4;
/// The longest header of a proxy's answer to CONNECT.
const PROXY_ANSWER_BYTES_MAX: usize = 8 * 1024;

/// Turns a host name into addresses.
#[async_trait]
pub trait Resolve: Send + Sync + fmt::Debug {
    /// The addresses of a name, in the order in which to try them.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The machine's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Makes connections under one set of rules, which never changes for this value.
#[derive(Clone, Debug)]
pub(crate) struct Connector(Arc<Setup>);

/// What a connector is made of.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) rules: EgressRules,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) roots: Roots,
    /// For each address, and once more for the handshakes.
    pub(crate) connect_timeout: Duration,
}

impl Connector {
    pub(crate) fn new(setup: Setup) -> Connector {
        Connector(Arc::new(setup))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Transport>;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, HttpError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let setup = self.0.clone();
        Box::pin(async move { setup.connect(&uri).await.map(TokioIo::new) })
    }
}

impl Setup {
    async fn connect(&self, uri: &Uri) -> Result<Transport, HttpError> {
        let target = Target::of(uri)?;
        let addresses = self.permitted_addresses(&target).await?;
        let stream = match &self.proxy {
            Some(proxy) if proxy.serves(&target.host) => self.tunnel(proxy, &addresses).await?,
            _ => Transport::new(self.dial(&addresses).await?),
        };
        if !target.tls {
            return Ok(stream);
        }
        let configs = self.roots.configs().await.map_err(HttpError::Tls)?;
        self.handshake(configs.destination.clone(), &target.host, stream).await
    }

    /// Resolves the name once; what is dialed afterwards is what was checked here.
    async fn permitted_addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, HttpError> {
        let addresses = self.resolve(&target.host, target.port).await?;
        let mut permitted = Vec::new();
        let mut refused: Option<Refused> = None;
        for address in addresses {
            match self.rules.check(address) {
                Ok(()) => permitted.push(address),
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        match refused {
            Some(refusal) if permitted.is_empty() => Err(HttpError::Refused(refusal)),
            _ => Ok(permitted),
        }
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, HttpError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let found = match timeout(self.connect_timeout, self.resolver.resolve(host, port)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                return Err(HttpError::Dns(format!("cannot resolve {host}: {error}")));
            }
            Err(_) => {
                return Err(HttpError::Dns(format!("cannot resolve {host}: no answer in time")));
            }
        };
        if found.is_empty() {
            return Err(HttpError::Dns(format!("cannot resolve {host}: the name has no address")));
        }
        Ok(found)
    }

    async fn dial(&self, addresses: &[SocketAddr]) -> Result<TcpStream, HttpError> {
        let mut failure = HttpError::Connect("there is no address to connect to".to_owned());
        for address in addresses.iter().take(ADDRESSES_DIALED_MAX) {
            match timeout(self.connect_timeout, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Requests are written whole, so waiting for more only delays them.
                    stream.set_nodelay(true).map_err(|error| HttpError::Io(error.to_string()))?;
                    return Ok(stream);
                }
                Ok(Err(error)) => {
                    failure = HttpError::Connect(format!("cannot connect to {address}: {error}"));
                }
                Err(_) => {
                    failure = HttpError::Connect(format!("connecting to {address} timed out"));
                }
            }
        }
        Err(failure)
    }

    async fn tunnel(
        &self,
        proxy: &Proxy,
        addresses: &[SocketAddr],
    ) -> Result<Transport, HttpError> {
        let proxy_addresses = self.resolve(&proxy.host, proxy.port).await?;
        let mut failure = HttpError::Connect("there is no address to connect to".to_owned());
        for address in addresses.iter().take(ADDRESSES_DIALED_MAX) {
            let mut stream = Transport::new(self.dial(&proxy_addresses).await?);
            if proxy.tls {
                let configs = self.roots.configs().await.map_err(HttpError::Tls)?;
                stream = self.handshake(configs.proxy.clone(), &proxy.host, stream).await?;
            }
            match timeout(self.connect_timeout, ask_for_tunnel(proxy, *address, &mut stream)).await
            {
                Ok(Ok(())) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(_) => {
                    failure =
                        HttpError::Connect(format!("the proxy did not reach {address} in time"));
                }
            }
        }
        Err(failure)
    }

    async fn handshake(
        &self,
        config: Arc<rustls::ClientConfig>,
        host: &str,
        stream: Transport,
    ) -> Result<Transport, HttpError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| HttpError::Tls(format!("{host} is no name a certificate can hold")))?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        let stream = match timeout(self.connect_timeout, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(HttpError::Tls(format!("TLS handshake with {host} failed: {error}")));
            }
            Err(_) => {
                return Err(HttpError::Tls(format!("TLS handshake with {host} timed out")));
            }
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Transport { stream: Box::new(stream), http2 })
    }
}

async fn ask_for_tunnel(
    proxy: &Proxy,
    address: SocketAddr,
    stream: &mut Transport,
) -> Result<(), HttpError> {
    let broken = |error: io::Error| HttpError::Connect(format!("the proxy broke off: {error}"));
    let mut request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request.push_str("Proxy-Authorization: ");
        request.push_str(authorization.expose());
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let request = bailee_crypto::Sensitive::new(request);
    stream.write_all(request.expose().as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;

    let mut answer = Vec::new();
    // Byte by byte: what follows the header belongs to the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= PROXY_ANSWER_BYTES_MAX {
            return Err(HttpError::Connect("the proxy's answer is too long".to_owned()));
        }
        answer.push(stream.read_u8().await.map_err(broken)?);
    }
    let line = String::from_utf8_lossy(&answer);
    let status = line.split(' ').nth(1).unwrap_or_default();
    match status {
        _ if !line.starts_with("HTTP/1.") => {
            Err(HttpError::Connect("the proxy's answer is not HTTP".to_owned()))
        }
        "200" => Ok(()),
        "407" => Err(HttpError::Connect("the proxy wants other credentials (407)".to_owned())),
        _ => {
            let status = status.parse::<u16>().unwrap_or_default();
            Err(HttpError::Connect(format!("the proxy refused to reach {address} ({status})")))
        }
    }
}

/// Where a request goes, from its URL.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl Target {
    /// Reads a URL; one with credentials in it is refused, as they would reach logs.
    pub(crate) fn of(uri: &Uri) -> Result<Target, HttpError> {
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(HttpError::Invalid("the URL is neither http nor https".to_owned())),
        };
        let authority = uri.authority();
        if authority.is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(HttpError::Invalid("the URL has credentials in it".to_owned()));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(HttpError::Invalid("the URL names no host".to_owned()));
        }
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Target { host: host.to_owned(), port, tls })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An established connection: TCP, or TLS in it, or either through a proxy.
pub(crate) struct Transport {
    stream: Box<dyn Stream>,
    http2: bool,
}

impl Transport {
    fn new(stream: TcpStream) -> Transport {
        Transport { stream: Box::new(stream), http2: false }
    }
}

impl Connection for Transport {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.http2 { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
