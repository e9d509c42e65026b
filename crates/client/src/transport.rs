//! How requests travel: one exchange each. Whoever has an own way out brings a transport of its own;
//! what is sent again, and which redirect is followed, is decided above it, for all of them.

use crate::{Address, Error, Settings};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use http::{HeaderMap, Request};
use reqwest::{Certificate, Identity, Proxy};
use std::{error::Error as _, fmt, io, net::ToSocketAddrs, path::PathBuf, time::Duration};
use zeroize::Zeroizing;

/// Time for a connection to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Carries a request there and its answer back: once, and without following a redirect.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// One exchange, which ends within that time, the body of the answer included.
    ///
    /// # Errors
    /// Why there is no answer; nothing of the request is repeated.
    async fn exchange(
        &self,
        request: Request<Bytes>,
        within: Duration,
    ) -> Result<Received, Unanswered>;
}

/// An answer as it comes in.
pub struct Received {
    /// Its HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, part by part.
    pub body: BoxStream<'static, Result<Bytes, Unanswered>>,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Received({})", self.status)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The server was not reached, or fell silent: another time it may answer.
    #[error("{0}")]
    Lost(String),
    /// It must not be reached from here: nothing but another setting changes that.
    #[error("{0}")]
    Forbidden(String),
}

/// The transport of programs on their own, over the machine's network.
#[derive(Debug)]
pub(crate) struct Direct {
    http: reqwest::Client,
}

impl Direct {
    /// Makes one; nothing is sent. An error names the setting or file that does not fit.
    pub(crate) fn new(settings: &Settings) -> Result<Direct, Error> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(settings.timeout)
            // Redirects are followed by hand: the token must not travel to another host.
            .redirect(reqwest::redirect::Policy::none())
            .tls_danger_accept_invalid_certs(settings.skip_verify);
        if settings.address.is_loopback() {
            // A proxy of the environment would see the token, and could not reach this machine.
            builder = builder.no_proxy();
        } else if let Some(proxy) = &settings.proxy {
            let through = Proxy::all(proxy).map_err(|error| failed("proxy", &error))?;
            builder = builder.proxy(through);
        }
        if let Some(name) = &settings.server_name {
            builder = builder.resolve_to_addrs(name, &places(&settings.address)?);
        }
        for file in &settings.authorities {
            for authority in authorities(file)? {
                builder = builder.tls_certs_merge([authority]);
            }
        }
        if let Some(pem) = &settings.authorities_pem {
            let found = Certificate::from_pem_bundle(pem.as_bytes());
            for authority in found.map_err(|error| failed("authorities", &error))? {
                builder = builder.tls_certs_merge([authority]);
            }
        }
        if let Some((certificate, key)) = &settings.certificate {
            let mut pem = Zeroizing::new(read(certificate)?);
            pem.push(b'\n');
            pem.extend_from_slice(&Zeroizing::new(read(key)?));
            let identity = Identity::from_pem(&pem).map_err(|error| Error::Setting {
                setting: certificate.display().to_string(),
                reason: format!("client certificate with its key: {error}"),
            })?;
            builder = builder.identity(identity);
        }
        let http = builder.build().map_err(|error| failed("client", &error))?;
        Ok(Direct { http })
    }
}

#[async_trait]
impl Transport for Direct {
    async fn exchange(
        &self,
        request: Request<Bytes>,
        within: Duration,
    ) -> Result<Received, Unanswered> {
        let place = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let mut request =
            reqwest::Request::try_from(request).map_err(|error| lost(&place, &error))?;
        *request.timeout_mut() = Some(within);
        let mut answer = self.http.execute(request).await.map_err(|error| lost(&place, &error))?;
        let (status, headers) = (answer.status().as_u16(), std::mem::take(answer.headers_mut()));
        let body = stream::try_unfold((answer, place), |(mut answer, place)| async move {
            let part = answer.chunk().await.map_err(|error| lost(&place, &error))?;
            Ok(part.map(|part| (part, (answer, place))))
        });
        Ok(Received { status, headers, body: body.boxed() })
    }
}

/// Why a request was not answered. The common reasons have the words that scripts look for.
fn lost(place: &str, error: &reqwest::Error) -> Unanswered {
    if error.is_timeout() {
        return Unanswered::Lost("context deadline exceeded: no answer in time".to_owned());
    }
    // The innermost reason is the one that helps.
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        reason = inner.to_string();
        let kind = inner.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::ConnectionRefused) {
            return Unanswered::Lost(format!("dial tcp {place}: connect: connection refused"));
        }
        source = inner.source();
    }
    if reason.contains("InvalidContentType") {
        reason = "http: server gave HTTP response to HTTPS client".to_owned();
    }
    Unanswered::Lost(reason)
}

fn failed(setting: &str, reason: &dyn fmt::Display) -> Error {
    Error::Setting { setting: setting.to_owned(), reason: reason.to_string() }
}

/// Where a host is to be dialed.
fn places(address: &Address) -> Result<Vec<std::net::SocketAddr>, Error> {
    let (host, port) = address.host_and_port();
    let found = (host.as_str(), port).to_socket_addrs();
    let found = found.map_err(|error| failed(&format!("address {address}"), &error))?;
    Ok(found.collect())
}

fn authorities(path: &PathBuf) -> Result<Vec<Certificate>, Error> {
    let failed = |reason: String| Error::Setting { setting: path.display().to_string(), reason };
    let mut files = vec![path.clone()];
    if path.is_dir() {
        let found = std::fs::read_dir(path).map_err(|error| failed(error.to_string()))?;
        files = found.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        files.sort();
    }
    let mut found = Vec::new();
    for file in files {
        let bundle = Certificate::from_pem_bundle(&read(&file)?);
        found.extend(bundle.map_err(|error| failed(format!("no PEM certificates: {error}")))?);
    }
    Ok(found)
}

fn read(file: &PathBuf) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|error| Error::Setting {
        setting: file.display().to_string(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, Method, Outgoing};
    use bailee_crypto::Sensitive;
    use parking_lot::Mutex;
    use std::{collections::VecDeque, sync::Arc};

    type Answer = Result<(u16, &'static str, &'static str, &'static str), Unanswered>;

    /// Answers what a test says, and remembers what was asked.
    #[derive(Debug, Default)]
    struct Scripted {
        answers: Mutex<VecDeque<Answer>>,
        asked: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Transport for Scripted {
        async fn exchange(
            &self,
            request: Request<Bytes>,
            _: Duration,
        ) -> Result<Received, Unanswered> {
            let token = request.headers().get("x-vault-token").unwrap();
            assert!(token.is_sensitive());
            self.asked.lock().push(request.uri().to_string());
            let (status, name, value, body) = self.answers.lock().pop_front().unwrap()?;
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            let body = stream::iter([Ok(Bytes::from_static(body.as_bytes()))]).boxed();
            Ok(Received { status, headers, body })
        }
    }

    fn client(answers: Vec<Answer>) -> (Client, Arc<Scripted>) {
        let transport =
            Arc::new(Scripted { answers: Mutex::new(answers.into()), ..Scripted::default() });
        let mut settings = Settings::new("https://10.1.2.3:8200".parse().unwrap());
        settings.token = Some(Sensitive::from("t"));
        settings.server_name = Some("vault.example".to_owned());
        (Client::over(settings, transport.clone()).unwrap(), transport)
    }

    #[tokio::test(start_paused = true)]
    async fn over_any_transport_requests_are_sent_again_and_redirects_followed_on_one_host() {
        let (client, transport) = client(vec![
            Err(Unanswered::Lost("down".to_owned())),
            Ok((429, "retry-after", "7", "{}")),
            Ok((307, "location", "/v1/sys/elsewhere", "")),
            Ok((200, "x", "y", r#"{"data":{"n":1}}"#)),
        ]);
        let started = tokio::time::Instant::now();
        let answer = client.send(Outgoing::new(Method::Get, "sys/x")).await.unwrap();
        assert_eq!(answer.json()["data"]["n"], 1);
        assert_eq!(started.elapsed(), Duration::from_millis(7_500));
        let (first, other) =
            ("https://vault.example:8200/v1/sys/x", "https://vault.example:8200/v1/sys/elsewhere");
        assert_eq!(*transport.asked.lock(), [first, first, first, other]);
    }

    #[tokio::test(start_paused = true)]
    async fn over_any_transport_a_token_stays_with_its_host_and_what_is_forbidden_is_not_tried_again()
     {
        let (client, transport) = client(vec![
            Ok((307, "location", "https://evil.example/", "")),
            Err(Unanswered::Forbidden("prohibited".to_owned())),
        ]);
        let ask = || client.send(Outgoing::new(Method::Get, "sys/x"));
        assert!(ask().await.unwrap_err().to_string().contains("another host"));
        let error = ask().await.unwrap_err();
        assert!(matches!(&error, Error::Forbidden { reason, .. } if reason == "prohibited"));
        assert_eq!(transport.asked.lock().len(), 2);
    }
}
