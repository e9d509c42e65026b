//! Servers on loopback that the tests talk to, a resolver that says what a test wants, and a clock
//! that a test turns.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bailee_crypto::Clock;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::connector::Resolve;
use crate::guard::{EgressRules, parse_ipv4_net};

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// What a server saw of one request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) connection: usize,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// An HTTP server on loopback that records what it is asked.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

type Answer = dyn Fn(&Seen) -> Option<Response<Body>> + Send + Sync;

impl Server {
    /// Answers with what the function gives; `None` never answers.
    pub(crate) async fn start(
        answer: impl Fn(&Seen) -> Option<Response<Body>> + Send + Sync + 'static,
    ) -> Server {
        Server::start_at("127.0.0.1:0", None, answer).await
    }

    pub(crate) async fn start_at(
        bind: &str,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Seen) -> Option<Response<Body>> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind(bind).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log): (Arc<Answer>, _) = (Arc::new(answer), seen.clone());
        tokio::spawn(async move {
            let connections = AtomicUsize::new(0);
            while let Ok((stream, _)) = listener.accept().await {
                let connection = connections.fetch_add(1, Ordering::SeqCst);
                let (tls, answer, log) = (tls.clone(), answer.clone(), log.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(TokioIo::new(stream), connection, answer, log).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(TokioIo::new(stream), connection, answer, log).await;
                            }
                        }
                    }
                });
            }
        });
        Server { address, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn serve<I>(io: I, connection: usize, answer: Arc<Answer>, log: Arc<Mutex<Vec<Seen>>>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, log) = (answer.clone(), log.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let seen = Seen {
                connection,
                uri: parts.uri,
                headers: parts.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            };
            log.lock().push(seen.clone());
            match answer(&seen) {
                Some(response) => Ok::<_, Infallible>(response),
                None => std::future::pending().await,
            }
        }
    });
    // A client that hangs up is no failure of the test.
    let served = auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
    drop(served);
}

/// A complete answer.
pub(crate) fn reply(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(status).body(Full::new(body.into()).boxed()).unwrap()
}

/// A certificate authority of the test's own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn acceptor(&self, name: &str, alpn: &[&[u8]]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A forward proxy that records the header of every CONNECT and then tunnels, or refuses.
pub(crate) struct ProxyServer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ProxyServer {
    pub(crate) async fn start(status: &'static str, tls: Option<TlsAcceptor>) -> ProxyServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, log) = (tls.clone(), log.clone());
                tokio::spawn(async move {
                    match tls {
                        None => tunnel(stream, status, log).await,
                        Some(tls) => tunnel(tls.accept(stream).await?, status, log).await,
                    }
                });
            }
        });
        ProxyServer { address, asked }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

async fn tunnel<S>(stream: S, status: &str, log: Arc<Mutex<Vec<String>>>) -> io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut client = BufReader::new(stream);
    let mut header = String::new();
    while !header.ends_with("\r\n\r\n") {
        if client.read_line(&mut header).await? == 0 {
            return Ok(());
        }
    }
    log.lock().push(header.clone());
    client.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await?;
    if status.starts_with("200") {
        let mut target = TcpStream::connect(header.split(' ').nth(1).unwrap()).await?;
        tokio::io::copy_bidirectional(&mut client, &mut target).await?;
    }
    Ok(())
}

/// Answers each name with its next list of addresses, and with the last one from then on.
#[derive(Debug, Default)]
pub(crate) struct Names {
    answers: HashMap<String, Vec<Vec<SocketAddr>>>,
    asked: Mutex<HashMap<String, usize>>,
}

impl Names {
    pub(crate) fn new(answers: &[(&str, &[&[&str]])]) -> Arc<Names> {
        let addresses = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
        let answers = answers
            .iter()
            .map(|(name, lists)| {
                ((*name).to_owned(), lists.iter().map(|list| addresses(list)).collect())
            })
            .collect();
        Arc::new(Names { answers, asked: Mutex::default() })
    }

    pub(crate) fn asked(&self, name: &str) -> usize {
        self.asked.lock().get(name).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        let lists = self.answers.get(host).ok_or_else(|| io::Error::other("no such name"))?;
        let mut asked = self.asked.lock();
        let turn = asked.entry(host.to_owned()).or_default();
        let list = lists[(*turn).min(lists.len() - 1)].clone();
        *turn += 1;
        Ok(list)
    }
}

/// Rules that open some IPv4 ranges and ports.
pub(crate) fn opened(nets: &[&str], ports: &[u16]) -> EgressRules {
    EgressRules {
        allowed_ipv4: nets.iter().map(|net| parse_ipv4_net(net).unwrap()).collect(),
        allowed_ports: ports.to_vec(),
        ..EgressRules::default()
    }
}

/// A clock that stands still until it is turned.
#[derive(Debug)]
pub(crate) struct TurnedClock(Mutex<SystemTime>);

impl TurnedClock {
    /// 2026-01-02T03:04:05Z.
    pub(crate) fn new() -> Arc<TurnedClock> {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        Arc::new(TurnedClock(Mutex::new(start)))
    }

    pub(crate) fn turn(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for TurnedClock {
    fn now(&self) -> SystemTime {
        *self.0.lock()
    }
}
