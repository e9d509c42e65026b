//! What the server's configuration says about all mounts of the engine.

use bailee_cloud::{HttpClient, HttpOptions, aws::AmbientChain, query::Transport};
use bailee_sdk::Clock;
use std::{fmt, sync::Arc};

/// The surroundings of the engine. Which addresses its connections may reach is the operator's to
/// say, not that of whoever configures a mount.
#[derive(Clone)]
pub struct Settings {
    pub(super) clock: Arc<dyn Clock>,
    /// The credentials of this machine, where the operator lets mounts of the root namespace use them.
    pub(super) ambient: Option<AmbientChain>,
    pub(super) http: HttpClient,
    pub(super) transport: Arc<dyn Transport>,
    /// Where IAM is unless a mount says so, instead of AWS's own address.
    pub iam_endpoint_url: Option<String>,
    /// Where STS is unless a mount says so, instead of AWS's own address.
    pub sts_endpoint_url: Option<String>,
}

impl Settings {
    /// Connections have the rules, proxy and limits of `http`; `ambient_credentials` permits those of
    /// this machine in the root namespace.
    pub fn new(clock: Arc<dyn Clock>, http: HttpOptions, ambient_credentials: bool) -> Settings {
        let ambient = ambient_credentials.then(|| AmbientChain::new(http.clone(), clock.clone()));
        let http = HttpClient::new(http);
        let transport = Arc::new(http.clone());
        Settings { clock, ambient, http, transport, iam_endpoint_url: None, sts_endpoint_url: None }
    }

    /// The same with a service of a test's own in place of the network.
    #[cfg(test)]
    pub(super) fn over(mut self, transport: Arc<dyn Transport>) -> Settings {
        self.transport = transport;
        self
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings(..)")
    }
}
