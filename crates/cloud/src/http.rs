//! The HTTP client over the guarded connector: bounded, and without a mind of its own. It follows
//! no redirect and repeats no request that a server may have seen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::connector::{Connector, Resolve, Setup, SystemResolver, Target};
use crate::guard::{EgressRules, Refused};
use crate::proxy::Proxy;
use crate::tls::Roots;

/// The longest response header, in bytes.
const HEADER_BYTES_MAX: u32 = 64 * 1024;

/// The bounds of every exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// For resolving, for each address dialed, and for the TLS handshake.
    pub connect_timeout: Duration,
    /// From the start until the response header is there.
    pub header_timeout: Duration,
    /// From the start until the whole response is there.
    pub total_timeout: Duration,
    /// The largest response body, in bytes.
    pub response_bytes_max: usize,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// How many unused connections are kept for one host.
    pub idle_connections_max: usize,
    /// How many requests run at once; others wait within their total time.
    pub requests_in_flight_max: usize,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            connect_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(20),
            total_timeout: Duration::from_secs(30),
            response_bytes_max: 4 * 1024 * 1024,
            idle_timeout: Duration::from_secs(60),
            idle_connections_max: 8,
            requests_in_flight_max: 64,
        }
    }
}

/// What a client is made of. The default talks to public addresses without a proxy.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Where connections may go.
    pub rules: EgressRules,
    /// The bounds of every exchange.
    pub limits: HttpLimits,
    /// Whom TLS trusts.
    pub roots: Roots,
    /// The operator's forward proxy.
    pub proxy: Option<Proxy>,
    /// Turns names into addresses.
    pub resolver: Arc<dyn Resolve>,
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions {
            rules: EgressRules::default(),
            limits: HttpLimits::default(),
            roots: Roots::default(),
            proxy: None,
            resolver: Arc::new(SystemResolver),
        }
    }
}

/// An HTTP/1.1 and HTTP/2 client whose every connection passes the egress rules.
#[derive(Clone, Debug)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    options: HttpOptions,
    generation: ArcSwap<Generation>,
    in_flight: Semaphore,
}

/// A connection pool and the rules its connections were made under.
struct Generation {
    rules: EgressRules,
    client: Client<Connector, Full<Bytes>>,
}

impl HttpClient {
    /// Makes a client; nothing is connected or loaded yet.
    pub fn new(options: HttpOptions) -> HttpClient {
        let generation = ArcSwap::from_pointee(Generation::new(&options, options.rules.clone()));
        let in_flight = Semaphore::new(options.limits.requests_in_flight_max);
        HttpClient(Arc::new(Inner { options, generation, in_flight }))
    }

    /// The bounds of every exchange.
    pub fn limits(&self) -> &HttpLimits {
        &self.0.options.limits
    }

    /// The rules in force.
    pub fn rules(&self) -> EgressRules {
        self.0.generation.load().rules.clone()
    }

    /// Replaces the rules. Connections made under the old ones are not used again.
    pub fn set_rules(&self, rules: EgressRules) {
        if self.0.generation.load().rules != rules {
            self.0.generation.store(Arc::new(Generation::new(&self.0.options, rules)));
        }
    }

    /// Sends a request and reads the whole response, whatever its status.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.send_within(request, self.limits().header_timeout).await
    }

    /// As [`HttpClient::send`], with less time until the response header.
    pub(crate) async fn send_within(
        &self,
        request: Request<Bytes>,
        header_timeout: Duration,
    ) -> Result<Response<Bytes>, HttpError> {
        let target = Target::of(request.uri())?;
        let exchange = self.exchange(&target, request, header_timeout);
        match timeout(self.limits().total_timeout, exchange).await {
            Ok(result) => result,
            Err(_) => {
                Err(HttpError::Timeout(format!("{target} did not answer completely in time")))
            }
        }
    }

    async fn exchange(
        &self,
        target: &Target,
        request: Request<Bytes>,
        header_timeout: Duration,
    ) -> Result<Response<Bytes>, HttpError> {
        let _permit = self.0.in_flight.acquire().await.expect("the semaphore is never closed");
        let generation = self.0.generation.load_full();
        let answer = generation.client.request(request.map(Full::new));
        let response = match timeout(header_timeout, answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(HttpError::from_exchange(target, &error)),
            Err(_) => return Err(HttpError::Timeout(format!("{target} did not answer in time"))),
        };
        let (parts, body) = response.into_parts();
        let body = read_body(target, body, self.limits().response_bytes_max).await?;
        Ok(Response::from_parts(parts, body))
    }
}

async fn read_body(
    target: &Target,
    mut body: Incoming,
    bytes_max: usize,
) -> Result<Bytes, HttpError> {
    let too_large = || HttpError::TooLarge { target: target.to_string(), bytes_max };
    if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > bytes_max) {
        return Err(too_large());
    }
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| HttpError::from_exchange(target, &error))?;
        if let Some(data) = frame.data_ref() {
            if collected.len().saturating_add(data.len()) > bytes_max {
                return Err(too_large());
            }
            collected.extend_from_slice(data);
        }
    }
    Ok(collected.freeze())
}

impl Generation {
    fn new(options: &HttpOptions, rules: EgressRules) -> Generation {
        let limits = &options.limits;
        let connector = Connector::new(Setup {
            rules: rules.clone(),
            resolver: options.resolver.clone(),
            proxy: options.proxy.clone(),
            roots: options.roots.clone(),
            connect_timeout: limits.connect_timeout,
        });
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.idle_timeout)
            .pool_max_idle_per_host(limits.idle_connections_max)
            .http1_max_buf_size(HEADER_BYTES_MAX as usize)
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .build(connector);
        Generation { rules, client }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("rules", &self.generation.load().rules)
            .field("limits", &self.options.limits)
            .finish_non_exhaustive()
    }
}

/// Why there is no response. The text names host and port, and never a path, a query, credentials,
/// a header or a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The egress rules forbid the connection.
    #[error("{0}")]
    Refused(Refused),
    /// The name has no address, or the resolver did not say.
    #[error("{0}")]
    Dns(String),
    /// Nobody took the connection.
    #[error("{0}")]
    Connect(String),
    /// The certificate was not accepted, or the two sides agree on no protocol.
    #[error("{0}")]
    Tls(String),
    /// A time limit passed.
    #[error("{0}")]
    Timeout(String),
    /// The connection broke, or what came over it is not HTTP.
    #[error("{0}")]
    Io(String),
    /// The response is larger than the limit.
    #[error("the response of {target} is larger than {bytes_max} bytes")]
    TooLarge {
        /// Host and port.
        target: String,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The request cannot be sent to anyone.
    #[error("{0}")]
    Invalid(String),
}

impl HttpError {
    /// The connector's own error where there is one, else what the lowest layer says.
    fn from_exchange(target: &Target, error: &(dyn std::error::Error + 'static)) -> HttpError {
        let mut lowest = error;
        loop {
            if let Some(own) = lowest.downcast_ref::<HttpError>() {
                return own.clone();
            }
            match lowest.source() {
                Some(source) => lowest = source,
                None => break,
            }
        }
        HttpError::Io(format!("the exchange with {target} failed: {lowest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Authority, Body, Names, ProxyServer, Server, opened, reply};
    use http::Version;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    fn client(rules: EgressRules) -> HttpClient {
        HttpClient::new(HttpOptions { rules, ..HttpOptions::default() })
    }

    fn named(rules: EgressRules, names: &Arc<Names>) -> HttpClient {
        HttpClient::new(HttpOptions { rules, resolver: names.clone(), ..HttpOptions::default() })
    }

    async fn visit(client: &HttpClient, url: &str) -> Result<Response<Bytes>, HttpError> {
        client.send(Request::get(url).body(Bytes::new()).unwrap()).await
    }

    async fn hello() -> Server {
        Server::start(|_| Some(reply(200, "hello"))).await
    }

    fn is_refused(result: &Result<Response<Bytes>, HttpError>) -> bool {
        matches!(result, Err(HttpError::Refused(_)))
    }

    /// A body that gives its frames and then, unless it ends, nothing more.
    struct Stalling(Vec<&'static [u8]>, bool);

    impl futures_util::Stream for Stalling {
        type Item = Result<Frame<Bytes>, Infallible>;
        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            match self.0.pop() {
                Some(part) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(part))))),
                None if self.1 => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    fn streamed(parts: &[&'static [u8]], ends: bool) -> Response<Body> {
        let body: Body = StreamBody::new(Stalling(parts.to_vec(), ends)).boxed();
        Response::new(body)
    }

    #[tokio::test]
    async fn every_way_to_write_the_loopback_address_is_refused() {
        let client = client(EgressRules::default());
        for host in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "127.1",
            "127.0.0.1.",
            "0",
            "0.0.0.0",
        ] {
            for scheme in ["http", "https"] {
                let result = visit(&client, &format!("{scheme}://{host}/")).await;
                // Some resolvers know no other form than four decimal numbers.
                let unknown = matches!(&result, Err(HttpError::Dns(_))) && host.ends_with('.');
                assert!(is_refused(&result) || unknown, "{scheme}://{host}: {result:?}");
            }
        }
    }

    #[tokio::test]
    async fn the_instance_endpoints_are_refused() {
        let client = client(EgressRules::default());
        for host in ["169.254.169.254", "169.254.170.2", "[fd00:ec2::254]", "[fe80::a9fe:a9fe]"] {
            let result = visit(&client, &format!("http://{host}/latest/meta-data/")).await;
            assert!(is_refused(&result), "{host}: {result:?}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_private_address_is_refused_before_anyone_is_dialed() {
        let server = hello().await;
        let at = server.address.to_string();
        let names = Names::new(&[("rogue.example", &[&[&at]])]);
        let client = named(opened(&[], &[server.address.port()]), &names);
        let error =
            visit(&client, &format!("http://rogue.example:{}/", server.address.port())).await;
        let text = error.unwrap_err().to_string();
        let want = "prohibited IP address: 127.0.0.1 is not a permitted destination \
                    (denied by: 127.0.0.0/8)";
        assert_eq!(text, want);
        assert!(server.seen().is_empty());
    }

    #[tokio::test]
    async fn of_several_addresses_only_the_permitted_ones_are_dialed() {
        let inner = Server::start_at("127.0.0.2:0", None, |_| Some(reply(200, "inner"))).await;
        let port = inner.address.port();
        let outer =
            Server::start_at(&format!("127.0.0.1:{port}"), None, |_| Some(reply(200, "outer")))
                .await;
        let (inner_at, outer_at) = (inner.address.to_string(), outer.address.to_string());
        let names = Names::new(&[("mixed.example", &[&[&inner_at, &outer_at]])]);
        let client = named(opened(&["127.0.0.1/32"], &[port]), &names);
        let response = visit(&client, &format!("http://mixed.example:{port}/")).await.unwrap();
        assert_eq!(response.body(), "outer");
        assert!(inner.seen().is_empty());
        assert_eq!(outer.seen()[0].header("host"), format!("mixed.example:{port}"));
    }

    #[tokio::test]
    async fn a_name_that_is_rebound_does_not_move_the_connection() {
        let inner = Server::start_at("127.0.0.2:0", None, |_| Some(reply(200, "inner"))).await;
        let port = inner.address.port();
        let outer =
            Server::start_at(&format!("127.0.0.1:{port}"), None, |_| Some(reply(200, "outer")))
                .await;
        let (inner_at, outer_at) = (inner.address.to_string(), outer.address.to_string());
        let names = Names::new(&[("moving.example", &[&[&outer_at], &[&inner_at]])]);
        let client = named(opened(&["127.0.0.1/32"], &[port]), &names);
        let url = format!("http://moving.example:{port}/");
        assert_eq!(visit(&client, &url).await.unwrap().body(), "outer");
        assert_eq!(names.asked("moving.example"), 1, "checked and dialed from one answer");

        client.set_rules(opened(&["127.0.0.1/32"], &[port, port.wrapping_add(1)]));
        let result = visit(&client, &url).await;
        assert!(is_refused(&result), "{result:?}");
        assert_eq!(names.asked("moving.example"), 2);
        assert!(inner.seen().is_empty());
    }

    #[tokio::test]
    async fn an_allow_list_opens_an_address_but_not_the_port() {
        let server = hello().await;
        let port = server.address.port();
        let closed = visit(&client(opened(&["127.0.0.0/8"], &[])), &server.url("/")).await;
        let text = closed.unwrap_err().to_string();
        assert!(text.starts_with(&format!("prohibited port: {port} ")), "{text}");
        let open = visit(&client(opened(&["127.0.0.0/8"], &[port])), &server.url("/")).await;
        assert_eq!(open.unwrap().body(), "hello");
    }

    #[tokio::test]
    async fn a_redirect_is_handed_back_and_not_followed() {
        let inner = Server::start_at("127.0.0.2:0", None, |_| Some(reply(200, "inner"))).await;
        let location = inner.url("/secret");
        let server = Server::start(move |_| {
            let mut response = reply(302, "");
            response.headers_mut().insert("location", location.parse().unwrap());
            Some(response)
        })
        .await;
        let client =
            client(opened(&["127.0.0.0/8"], &[server.address.port(), inner.address.port()]));
        let response = visit(&client, &server.url("/")).await.unwrap();
        assert_eq!(response.status(), 302);
        assert_eq!(response.headers()["location"], inner.url("/secret"));
        assert!(inner.seen().is_empty());
    }

    #[tokio::test]
    async fn connections_are_reused_until_the_rules_change() {
        let server = hello().await;
        let port = server.address.port();
        let rules = opened(&["127.0.0.1/32"], &[port]);
        let client = client(rules.clone());
        for _ in 0..2 {
            visit(&client, &server.url("/")).await.unwrap();
        }
        client.set_rules(rules.clone());
        visit(&client, &server.url("/")).await.unwrap();
        client.set_rules(opened(&["127.0.0.0/8"], &[port]));
        visit(&client, &server.url("/")).await.unwrap();
        client.set_rules(EgressRules::default());
        assert!(visit(&client, &server.url("/")).await.is_err());
        let connections: Vec<usize> = server.seen().iter().map(|seen| seen.connection).collect();
        assert_eq!(connections, [0, 0, 0, 1]);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_not_read_whether_announced_or_not() {
        let server = Server::start(|seen| {
            Some(match seen.uri.path() {
                "/announced" => reply(200, vec![b'x'; 11]),
                "/streamed" => streamed(&[b"123456", b"123456"], true),
                "/endless" => streamed(&[b"123456", b"123456"], false),
                _ => streamed(&[b"12345", b"12345"], true),
            })
        })
        .await;
        let limits = HttpLimits { response_bytes_max: 10, ..HttpLimits::default() };
        let rules = opened(&["127.0.0.1/32"], &[server.address.port()]);
        let client = HttpClient::new(HttpOptions { rules, limits, ..HttpOptions::default() });
        for path in ["/announced", "/streamed", "/endless"] {
            let result = visit(&client, &server.url(path)).await;
            assert!(matches!(result, Err(HttpError::TooLarge { .. })), "{path}: {result:?}");
        }
        assert_eq!(visit(&client, &server.url("/fits")).await.unwrap().body().len(), 10);
    }

    #[tokio::test]
    async fn silence_ends_in_a_timeout_before_and_within_the_answer() {
        let server = Server::start(|seen| match seen.uri.path() {
            "/silent" => None,
            _ => Some(streamed(&[b"begun"], false)),
        })
        .await;
        let rules = opened(&["127.0.0.1/32"], &[server.address.port()]);
        for (path, header_timeout, total_timeout) in [
            ("/silent", Duration::from_millis(20), Duration::from_secs(600)),
            ("/stalls", Duration::from_secs(600), Duration::from_millis(50)),
        ] {
            let limits = HttpLimits { header_timeout, total_timeout, ..HttpLimits::default() };
            let options = HttpOptions { rules: rules.clone(), limits, ..HttpOptions::default() };
            let result = visit(&HttpClient::new(options), &server.url(path)).await;
            assert!(matches!(result, Err(HttpError::Timeout(_))), "{path}: {result:?}");
        }
    }

    #[tokio::test]
    async fn failures_name_host_and_port_and_nothing_else_of_the_url() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = taken.local_addr().unwrap();
        drop(taken);
        let names = Names::new(&[("empty.example", &[&[]])]);
        let client = named(opened(&["127.0.0.1/32"], &[free.port(), 80]), &names);
        for (url, class, says) in [
            (format!("http://{free}/p?token=hunter2"), "Connect", free.to_string()),
            ("http://unknown.example/p?token=hunter2".to_owned(), "Dns", "unknown.example".into()),
            ("http://empty.example/p?token=hunter2".to_owned(), "Dns", "empty.example".into()),
            ("http://me:hunter2@127.0.0.1/p".to_owned(), "Invalid", "credentials".into()),
            ("ftp://127.0.0.1/hunter2".to_owned(), "Invalid", "neither".into()),
            ("/hunter2".to_owned(), "Invalid", "neither".into()),
        ] {
            let error = visit(&client, &url).await.unwrap_err();
            assert!(format!("{error:?}").starts_with(class), "{url}: {error:?}");
            let text = error.to_string();
            assert!(text.contains(&says), "{url}: {text}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_resolver_that_does_not_answer_is_a_dns_failure() {
        #[derive(Debug)]
        struct Silent;
        #[async_trait::async_trait]
        impl Resolve for Silent {
            async fn resolve(&self, _: &str, _: u16) -> std::io::Result<Vec<std::net::SocketAddr>> {
                std::future::pending().await
            }
        }
        let limits =
            HttpLimits { connect_timeout: Duration::from_millis(20), ..HttpLimits::default() };
        let resolver = Arc::new(Silent);
        let client = HttpClient::new(HttpOptions { limits, resolver, ..HttpOptions::default() });
        let result = visit(&client, "http://slow.example/").await;
        assert!(matches!(result, Err(HttpError::Dns(_))), "{result:?}");
    }

    #[tokio::test]
    async fn what_is_not_http_is_an_io_failure() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                use tokio::io::AsyncWriteExt;
                drop(stream.write_all(b"220 mail.example ESMTP\r\n").await);
            }
        });
        let client = client(opened(&["127.0.0.1/32"], &[at.port()]));
        let result = visit(&client, &format!("http://{at}/")).await;
        assert!(matches!(result, Err(HttpError::Io(_))), "{result:?}");
    }

    #[tokio::test]
    async fn tls_speaks_http2_or_http1_with_whom_a_given_authority_vouches_for() {
        let authority = Authority::new();
        for (alpn, version) in
            [(&[&b"h2"[..], b"http/1.1"][..], Version::HTTP_2), (&[], Version::HTTP_11)]
        {
            let tls = authority.acceptor("vault.example", alpn);
            let server =
                Server::start_at("127.0.0.1:0", Some(tls), |_| Some(reply(200, "safe"))).await;
            let (at, port) = (server.address.to_string(), server.address.port());
            let names = Names::new(&[("vault.example", &[&[&at]]), ("other.example", &[&[&at]])]);
            let options = |roots| HttpOptions {
                rules: opened(&["127.0.0.1/32"], &[port]),
                roots,
                resolver: names.clone(),
                ..HttpOptions::default()
            };
            let trusting = HttpClient::new(options(Roots::only(&authority.pem()).unwrap()));
            let url = format!("https://vault.example:{port}/");
            let response = visit(&trusting, &url).await.unwrap();
            assert_eq!((response.body().as_ref(), response.version()), (&b"safe"[..], version));

            let wrong_name = visit(&trusting, &format!("https://other.example:{port}/")).await;
            assert!(matches!(wrong_name, Err(HttpError::Tls(_))), "{wrong_name:?}");
            let stranger = Roots::only(&Authority::new().pem()).unwrap();
            let untrusted = visit(&HttpClient::new(options(stranger)), &url).await;
            assert!(matches!(untrusted, Err(HttpError::Tls(_))), "{untrusted:?}");
            assert_eq!(server.seen().len(), 1);
        }
    }

    #[tokio::test]
    async fn authorities_are_read_from_pem_only() {
        assert!(Roots::only("no certificate").is_err());
        assert!(Roots::native_and("").is_err());
        assert!(Roots::native_and(&Authority::new().pem()).is_ok());
    }

    fn through(proxy: &str, rules: EgressRules, names: &Arc<Names>, roots: Roots) -> HttpClient {
        HttpClient::new(HttpOptions {
            rules,
            roots,
            proxy: Some(Proxy::parse(proxy, "").unwrap()),
            resolver: names.clone(),
            ..HttpOptions::default()
        })
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_the_checked_address_and_tls_for_the_original_name() {
        let authority = Authority::new();
        let tls = authority.acceptor("vault.example", &[b"h2"]);
        let server =
            Server::start_at("127.0.0.2:0", Some(tls), |_| Some(reply(200, "tunnelled"))).await;
        let (at, port) = (server.address.to_string(), server.address.port());
        let proxy_tls = authority.acceptor("proxy.example", &[]);
        for (scheme, tls) in [("http", None), ("https", Some(proxy_tls))] {
            // The proxy's own address is in no allow-list.
            let proxy = ProxyServer::start("200 OK", tls).await;
            let proxy_at = proxy.address.to_string();
            let names =
                Names::new(&[("vault.example", &[&[&at]]), ("proxy.example", &[&[&proxy_at]])]);
            let url = format!("{scheme}://me:word@proxy.example:{}", proxy.address.port());
            let roots = Roots::only(&authority.pem()).unwrap();
            let client = through(&url, opened(&["127.0.0.2/32"], &[port]), &names, roots);
            let response = visit(&client, &format!("https://vault.example:{port}/")).await.unwrap();
            assert_eq!(response.body(), "tunnelled");
            let asked = proxy.asked();
            assert_eq!(asked.len(), 1);
            assert!(asked[0].starts_with(&format!("CONNECT {at} HTTP/1.1\r\n")), "{}", asked[0]);
            assert!(asked[0].contains("Proxy-Authorization: Basic bWU6d29yZA==\r\n"));
        }
        let seen = server.seen();
        assert_eq!(seen[0].uri.authority().unwrap().as_str(), format!("vault.example:{port}"));
    }

    #[tokio::test]
    async fn a_refused_address_is_never_told_to_the_proxy() {
        let proxy = ProxyServer::start("200 OK", None).await;
        let names = Names::new(&[("rogue.example", &[&["10.1.2.3:80"]])]);
        let url = format!("http://{}", proxy.address);
        let client = through(&url, EgressRules::default(), &names, Roots::native());
        for url in ["http://rogue.example/", "http://192.168.0.1/", "http://[::ffff:10.0.0.1]/"] {
            assert!(is_refused(&visit(&client, url).await), "{url}");
        }
        assert!(proxy.asked().is_empty());
    }

    #[tokio::test]
    async fn a_proxy_that_will_not_tunnel_is_a_connect_failure() {
        for status in ["407 Proxy Authentication Required", "503 No", "nonsense"] {
            let proxy = ProxyServer::start(status, None).await;
            let names = Names::new(&[("a.example", &[&["192.0.2.1:80"]])]);
            let url = format!("http://me:hunter2@{}", proxy.address);
            let client = through(&url, opened(&["192.0.2.0/24"], &[]), &names, Roots::native());
            let result = visit(&client, "http://a.example/").await;
            assert!(matches!(result, Err(HttpError::Connect(_))), "{status}: {result:?}");
            assert!(!result.unwrap_err().to_string().contains("hunter2"));
            assert_eq!(proxy.asked().len(), 1);
        }
    }
}
