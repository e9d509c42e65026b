//! What engines that reach AWS are given: the way out, the clock, the machine's own credentials.

use bailee_cloud::{HttpClient, HttpLimits, HttpOptions, aws::AmbientChain, query::Transport};
use bailee_crypto::{Clock, SystemClock};
use std::{fmt, sync::Arc, time::Duration};

/// How long a login waits for a cloud.
const LOGIN_TIME_MAX: Duration = Duration::from_secs(10);
/// The longest answer that a login reads.
const LOGIN_BYTES_MAX: usize = 64 << 10;
/// Logins that ask a cloud at once; others wait.
const LOGINS_AT_ONCE_MAX: usize = 32;

/// What surrounds the engines of a process. Where their connections may go is the operator's to say,
/// not that of whoever configures a mount.
#[derive(Clone)]
pub struct Surroundings {
    pub(crate) http: HttpClient,
    /// The way out of those who log in: whoever they are, they take no room from others.
    pub(crate) logins: HttpClient,
    /// The same way out for the query protocol; tests put services of their own there.
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The credentials of this machine, where the operator lets mounts of the root namespace use them.
    pub(crate) ambient: Option<AmbientChain>,
    /// Where IAM is unless a mount says so, instead of AWS's own address.
    pub iam_endpoint_url: Option<String>,
    /// Where STS is unless a mount says so, instead of AWS's own address.
    pub sts_endpoint_url: Option<String>,
}

impl Surroundings {
    /// Connections have the rules, proxy and limits of `http`; `ambient_credentials` permits those of
    /// this machine in the root namespace.
    pub fn new(
        clock: Arc<dyn Clock>,
        http: HttpOptions,
        ambient_credentials: bool,
    ) -> Surroundings {
        let ambient = ambient_credentials.then(|| AmbientChain::new(http.clone(), clock.clone()));
        let limits = HttpLimits {
            total_timeout: LOGIN_TIME_MAX,
            response_bytes_max: LOGIN_BYTES_MAX,
            requests_in_flight_max: LOGINS_AT_ONCE_MAX,
            ..http.limits.clone()
        };
        let logins = HttpClient::new(HttpOptions { limits, ..http.clone() });
        let http = HttpClient::new(http);
        Surroundings {
            logins,
            transport: Arc::new(http.clone()),
            http,
            clock,
            ambient,
            iam_endpoint_url: None,
            sts_endpoint_url: None,
        }
    }

    /// The same with a service of a test's own in place of the network.
    #[cfg(test)]
    pub(crate) fn over(mut self, transport: Arc<dyn Transport>) -> Surroundings {
        self.transport = transport;
        self
    }
}

/// Public addresses, the machine's clock, and no credentials.
impl Default for Surroundings {
    fn default() -> Surroundings {
        Surroundings::new(Arc::new(SystemClock), HttpOptions::default(), false)
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}
