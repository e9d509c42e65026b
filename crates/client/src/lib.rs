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
mod transport;
pub mod walk;
mod wire;

pub use address::{Address, AddressError};
pub use error::Error;
pub use session::{Pass, Session};
pub use transport::{Received, Transport, Unanswered};
pub use wire::{Method, Outgoing, Parts, Response};

use bailee_crypto::Sensitive;
use http::HeaderValue;
use std::{path::PathBuf, sync::Arc, time::Duration};
use transport::Direct;

/// Largest answer that is read.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

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
    transport: Arc<dyn Transport>,
    settings: Settings,
    /// The address as it is dialed, where the certificate bears another name than its host.
    dialed: Option<Address>,
}

impl Client {
    /// Makes a client over this machine's network; nothing is sent. An error names the file that does
    /// not fit.
    pub fn new(settings: Settings) -> Result<Client, Error> {
        let transport = Arc::new(Direct::new(&settings)?);
        Client::over(settings, transport)
    }

    /// Makes a client over a transport, which is given the host that the certificate must bear and
    /// knows where that is dialed. What the settings say of authorities, certificates and proxies is
    /// the transport's own affair.
    pub fn over(settings: Settings, transport: Arc<dyn Transport>) -> Result<Client, Error> {
        let renamed = settings.server_name.as_deref().map(|name| settings.address.with_host(name));
        let dialed = renamed.transpose().map_err(|error| Error::Setting {
            setting: "TLS server name".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Client { transport, settings, dialed })
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

    /// Sends a request once and gives the answer as it comes, whatever it says: for proxies.
    pub async fn exchange(&self, outgoing: &Outgoing) -> Result<Received, Error> {
        wire::exchange(self, outgoing).await
    }

    pub(crate) async fn send_once(&self, outgoing: &Outgoing) -> Result<Response, Error> {
        wire::send(self, outgoing).await
    }
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
