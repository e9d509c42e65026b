//! An HTTP client of the API: this server's, and any other that speaks it.
//!
//! **Invariant:** it knows no server code; what it knows is what the wire shows.

mod address;
pub mod aws;
mod error;
pub mod kv;
pub mod login;
mod retry;
mod session;
#[cfg(test)]
mod testing;
pub mod walk;
mod wire;

pub use address::{Address, AddressError};
pub use error::Error;
pub use session::Session;
pub use wire::{Method, Outgoing, Parts, Response};

use bailee_crypto::Sensitive;
use reqwest::{Certificate, Identity, Proxy, header::HeaderValue};
use std::{net::ToSocketAddrs, path::PathBuf, time::Duration};
use zeroize::Zeroizing;

/// Time for a connection to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Largest answer that is read.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How to reach a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is.
    pub address: Address,
    /// The token of each request.
    pub token: Option<Sensitive<String>>,
    /// The namespace of each request; empty for none.
    pub namespace: String,
    /// Authorities to trust beside the system's: a file, or all files of a folder, PEM.
    pub authorities: Vec<PathBuf>,
    /// Authorities given as PEM text, beside those.
    pub authorities_pem: Option<String>,
    /// The client's certificate and key, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether the server's certificate is not checked. Never a default.
    pub skip_verify: bool,
    /// The name that the server's certificate must bear, where it is not the address's host.
    pub server_name: Option<String>,
    /// A proxy for everything but this machine, instead of the environment's.
    pub proxy: Option<String>,
    /// Whether redirects on the same host are followed.
    pub follow_redirects: bool,
    /// Time for a whole request.
    pub timeout: Duration,
    /// Times a request is tried again when the server is not reached or says that it is busy.
    pub retries: u32,
}

impl Settings {
    /// The defaults of the official clients: a minute, two retries, the system's authorities.
    pub fn new(address: Address) -> Settings {
        Settings {
            address,
            token: None,
            namespace: String::new(),
            authorities: Vec::new(),
            authorities_pem: None,
            certificate: None,
            skip_verify: false,
            server_name: None,
            proxy: None,
            follow_redirects: true,
            timeout: Duration::from_secs(60),
            retries: 2,
        }
    }
}

/// A client with a pool of connections. Cloning shares the pool.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    settings: Settings,
    /// The address as it is dialed, where the certificate bears another name than its host.
    dialed: Option<Address>,
}

impl Client {
    /// Makes a client; nothing is sent. An error names the file that does not fit.
    pub fn new(settings: Settings) -> Result<Client, Error> {
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
        let mut dialed = None;
        if let Some(name) = &settings.server_name {
            let (address, places) = under_name(&settings.address, name)?;
            builder = builder.resolve_to_addrs(name, &places);
            dialed = Some(address);
        }
        if let Some(pem) = &settings.authorities_pem {
            let found = Certificate::from_pem_bundle(pem.as_bytes());
            for authority in found.map_err(|error| failed("authorities", &error))? {
                builder = builder.tls_certs_merge([authority]);
            }
        }
        for file in &settings.authorities {
            for authority in authorities(file)? {
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
        Ok(Client { http, settings, dialed })
    }

    /// The same client with another token.
    #[must_use]
    pub fn with_token(mut self, token: Option<Sensitive<String>>) -> Client {
        self.settings.token = token;
        self
    }

    /// How it reaches the server.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sends a request and reads the answer. An answer that says no is an error of its own kind,
    /// with its data where it has some.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Response, Error> {
        retry::send(self, outgoing).await
    }

    /// Sends a request once and gives the answer in parts, without a limit on its length or time:
    /// for what is passed on as it comes.
    pub async fn stream(&self, outgoing: &Outgoing) -> Result<Parts, Error> {
        wire::stream(self, outgoing).await
    }

    pub(crate) async fn send_once(&self, outgoing: &Outgoing) -> Result<Response, Error> {
        wire::send(self, outgoing).await
    }
}

fn failed(setting: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::Setting { setting: setting.to_owned(), reason: reason.to_string() }
}

/// The address with another host, and where that host is to be dialed: where the first one is.
fn under_name(
    address: &Address,
    name: &str,
) -> Result<(Address, Vec<std::net::SocketAddr>), Error> {
    let (host, port) = address.host_and_port();
    let found = (host.as_str(), port).to_socket_addrs();
    let found = found.map_err(|error| failed(&format!("address {address}"), &error))?;
    let renamed = address.with_host(name).map_err(|error| failed("TLS server name", &error))?;
    Ok((renamed, found.collect()))
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

/// A header value that logs must not show.
pub(crate) fn secret_header(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Error::Setting {
        setting: "token".to_owned(),
        reason: "contains characters that no token has".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}
