//! An HTTP client of the API: this server's, and any other that speaks it.
//!
//! **Invariant:** it knows no server code; what it knows is what the wire shows.

mod address;
mod error;
pub mod kv;
mod retry;
mod wire;

pub use address::{Address, AddressError};
pub use error::Error;
pub use wire::{Method, Outgoing, Response};

use bailee_crypto::Sensitive;
use reqwest::{Certificate, Identity, header::HeaderValue};
use std::{path::PathBuf, time::Duration};
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
    /// The client's certificate and key, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether the server's certificate is not checked. Never a default.
    pub skip_verify: bool,
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
            certificate: None,
            skip_verify: false,
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
        let http = builder.build().map_err(|error| Error::Setting {
            setting: "client".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Client { http, settings })
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

    pub(crate) async fn send_once(&self, outgoing: &Outgoing) -> Result<Response, Error> {
        wire::send(&self.http, &self.settings, outgoing).await
    }
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
