//! The way to a source from inside a server: over the guarded connector, like every other way out.

use async_trait::async_trait;
use bailee_client::{ANSWER_BYTES_MAX, Address, Received, Transport, Unanswered};
use bailee_cloud::{
    EgressRules, HttpClient, HttpError, HttpLimits, HttpOptions, InvalidRoots, Proxy, Resolve,
    Roots, SystemResolver,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};

/// Time for one exchange with a source, from its start to the end of the answer: a long list of a
/// server with little to spare takes its time.
pub(crate) const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(60);
/// Requests to one source at once.
const REQUESTS_AT_ONCE_MAX: usize = 32;
/// What most answers fit into, in bytes.
const USUAL_BYTES_MAX: usize = 4 << 20;
/// Answers at once that do not: a source must not fill this machine's memory with all of them.
const LARGE_AT_ONCE_MAX: usize = 2;

/// Where connections to a source may go, and whom they trust.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) rules: EgressRules,
    /// Authorities in PEM form beside the machine's.
    pub(crate) ca_cert: Option<String>,
    /// The name that the certificate must bear, where it is not the host of the address.
    pub(crate) tls_server_name: Option<String>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) roots: Roots,
}

/// A transport each of whose connections passes the rules of its source.
#[derive(Debug)]
pub(crate) struct Guarded {
    usual: HttpClient,
    /// For what is asked again because its answer is larger.
    large: HttpClient,
}

impl Guarded {
    /// Makes one; nothing is connected.
    pub(crate) fn new(way: Way, address: &Address) -> Result<Guarded, InvalidRoots> {
        let roots = match &way.ca_cert {
            Some(pem) => Roots::native_and(pem)?,
            None => way.roots,
        };
        let resolver: Arc<dyn Resolve> = match way.tls_server_name {
            Some(name) => {
                let (host, _) = address.host_and_port();
                Arc::new(Renamed { name, host })
            }
            None => Arc::new(SystemResolver),
        };
        let limits = HttpLimits {
            header_timeout: EXCHANGE_TIME_MAX,
            total_timeout: EXCHANGE_TIME_MAX,
            response_bytes_max: USUAL_BYTES_MAX,
            requests_in_flight_max: REQUESTS_AT_ONCE_MAX,
            ..HttpLimits::default()
        };
        let larger = HttpLimits {
            response_bytes_max: ANSWER_BYTES_MAX,
            requests_in_flight_max: LARGE_AT_ONCE_MAX,
            ..limits.clone()
        };
        let (rules, proxy) = (way.rules, way.proxy);
        let usual = HttpOptions { rules, limits, roots, proxy, resolver };
        let large = HttpOptions { limits: larger, ..usual.clone() };
        Ok(Guarded { usual: HttpClient::new(usual), large: HttpClient::new(large) })
    }
}

#[async_trait]
impl Transport for Guarded {
    async fn exchange(
        &self,
        request: Request<Bytes>,
        within: Duration,
    ) -> Result<Received, Unanswered> {
        let asked = async {
            // What only reads can be asked twice.
            if request.method() != Method::GET {
                return self.large.send(request).await;
            }
            match self.usual.send(request.clone()).await {
                Err(HttpError::TooLarge { .. }) => self.large.send(request).await,
                answer => answer,
            }
        };
        let answer = tokio::time::timeout(within, asked).await;
        let answer = answer.map_err(|_| Unanswered::Lost("no answer in time".to_owned()))?;
        let (parts, body) = answer.map_err(unanswered)?.into_parts();
        let body = stream::iter([Ok(body)]).boxed();
        Ok(Received { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

/// Dials one host under the name that its certificate bears; what it leads to is checked all the same.
#[derive(Debug)]
struct Renamed {
    name: String,
    host: String,
}

#[async_trait]
impl Resolve for Renamed {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let host = if host.eq_ignore_ascii_case(&self.name) { &self.host } else { host };
        SystemResolver.resolve(host, port).await
    }
}

fn unanswered(error: HttpError) -> Unanswered {
    match error {
        HttpError::Refused(_) | HttpError::Invalid(_) | HttpError::TooLarge { .. } => {
            Unanswered::Forbidden(error.to_string())
        }
        HttpError::Dns(_)
        | HttpError::Connect(_)
        | HttpError::Tls(_)
        | HttpError::Timeout(_)
        | HttpError::Io(_) => Unanswered::Lost(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailee_client::{Client, Error, Method, Outgoing, Settings};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    fn client(address: &str, rules: EgressRules, name: Option<&str>) -> Client {
        let mut settings = Settings::new(address.parse().unwrap());
        settings.server_name = name.map(str::to_owned);
        settings.retries = 0;
        let way = Way {
            rules,
            ca_cert: None,
            tls_server_name: name.map(str::to_owned),
            proxy: None,
            roots: Roots::native(),
        };
        let guarded = Guarded::new(way, &settings.address).unwrap();
        Client::over(settings, Arc::new(guarded)).unwrap()
    }

    fn rules(addresses: &[&str], ports: &[u16]) -> EgressRules {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        EgressRules::parse(false, &addresses, &[], &ports).unwrap()
    }

    #[tokio::test]
    async fn only_what_the_rules_permit_is_dialed_also_under_another_name() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 4096];
                let count = stream.read(&mut asked).await.unwrap();
                let asked = String::from_utf8_lossy(&asked[..count]).to_lowercase();
                assert!(asked.contains("host: vault.example"), "{asked}");
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"data\":{\"n\":1}}";
                stream.write_all(answer).await.unwrap();
            }
        });
        let address = format!("http://127.0.0.1:{port}");
        let ask = async |client: Client| client.send(Outgoing::new(Method::Get, "kv/a")).await;
        for (rules, denied) in
            [(EgressRules::default(), "prohibited port"), (rules(&[], &[port]), "prohibited IP")]
        {
            let error = ask(client(&address, rules, Some("vault.example"))).await.unwrap_err();
            let told = error.to_string();
            assert!(matches!(error, Error::Forbidden { .. }) && told.contains(denied), "{told}");
        }
        let open = rules(&["127.0.0.1/32"], &[port]);
        let answer = ask(client(&address, open, Some("vault.example"))).await.unwrap();
        assert_eq!(answer.json()["data"]["n"], 1);
    }

    #[tokio::test]
    async fn a_large_answer_is_asked_for_again_beside_few_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let length = stream.read(&mut request).await.unwrap();
                    let large = request[..length].starts_with(b"GET /v1/kv/large");
                    let text = "x".repeat(if large { USUAL_BYTES_MAX } else { 1 });
                    let body = format!("{{\"data\":{{\"text\":\"{text}\"}}}}");
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    stream.write_all(head.as_bytes()).await.unwrap();
                    // Who does not want it hangs up.
                    stream.write_all(body.as_bytes()).await.ok();
                });
            }
        });
        let open = rules(&["127.0.0.1/32"], &[port]);
        let client = client(&format!("http://127.0.0.1:{port}"), open, None);
        for (path, length, times) in [("kv/small", 1, 1), ("kv/large", USUAL_BYTES_MAX, 2)] {
            let answer = client.send(Outgoing::new(Method::Get, path)).await.unwrap();
            assert_eq!(answer.json()["data"]["text"].as_str().unwrap().len(), length);
            assert_eq!(asked.swap(0, Ordering::Relaxed), times, "{path}");
        }
    }

    #[test]
    fn authorities_that_are_none_are_told() {
        let way = Way {
            rules: EgressRules::default(),
            ca_cert: Some("/etc/passwd".to_owned()),
            tls_server_name: None,
            proxy: None,
            roots: Roots::native(),
        };
        let address = "https://vault.example".parse().unwrap();
        assert!(Guarded::new(way, &address).unwrap_err().to_string().contains("CERTIFICATE"));
    }
}
