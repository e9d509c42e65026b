//! What engines that reach AWS are given: the way out, the clock, the machine's own credentials.

use async_trait::async_trait;
use bailee_cloud::{
    HttpClient, HttpLimits, HttpOptions,
    aws::{AmbientChain, TokenFailure, WebIdentity},
    query::Transport,
};
use bailee_crypto::{Clock, SystemClock};
use bailee_sdk::{Code, Error, Issuer, Sensitive};
use serde::{Deserialize, Serialize};
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

    /// The same with another way out for the query protocol, such as a service of a test's own.
    #[must_use]
    pub fn over(mut self, transport: Arc<dyn Transport>) -> Surroundings {
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

/// How a mount says who it is, where it takes on a role with a token instead of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Federation {
    /// Whom tokens are for; empty when the mount has none made.
    pub(crate) audience: String,
    /// How long they hold, in seconds; 0 for the default.
    pub(crate) ttl_secs: u64,
}

impl Federation {
    const TTL_SECS_DEFAULT: u64 = 3600;
    const TTL_SECS_MIN: u64 = 60;
    const TTL_SECS_MAX: u64 = 86_400;
    const AUDIENCE_BYTES_MAX: usize = 255;

    pub(crate) fn is_off(&self) -> bool {
        self.audience.is_empty()
    }

    /// Whether it fits what else is set about credentials, in the words that clients know.
    pub(crate) fn check(&self, access_key: &str, role_arn: &str) -> Result<(), Error> {
        let (least, most) = (Self::TTL_SECS_MIN, Self::TTL_SECS_MAX);
        if self.ttl_secs != 0 && !(least..=most).contains(&self.ttl_secs) {
            return Err(Error::invalid(format!(
                "identity_token_ttl is not valid: want {least} to {most} seconds"
            )));
        }
        if self.is_off() {
            return Ok(());
        }
        let graphic = self.audience.bytes().all(|byte| byte.is_ascii_graphic());
        if self.audience.len() > Self::AUDIENCE_BYTES_MAX || !graphic {
            return Err(Error::invalid(format!(
                "identity_token_audience is not valid: want at most {} characters without spaces",
                Self::AUDIENCE_BYTES_MAX
            )));
        }
        if !access_key.is_empty() {
            return Err(Error::invalid(
                "only one of 'access_key' or 'identity_token_audience' can be set",
            ));
        }
        if role_arn.is_empty() {
            return Err(Error::invalid("role_arn must be set when identity_token_audience is set"));
        }
        Ok(())
    }

    /// What stands in the way of every token is told when a mount is configured, not when it is first
    /// used.
    pub(crate) async fn check_tokens(
        &self,
        issuer: &Arc<dyn Issuer>,
        prefix: &str,
    ) -> Result<(), Error> {
        match self.tokens(issuer, prefix) {
            Some(MountTokens { issuer, prefix, audience, ttl }) => {
                issuer.token(&prefix, &audience, ttl).await.map(drop)
            }
            None => Ok(()),
        }
    }

    /// The source of a mount's tokens, if it has some.
    pub(crate) fn tokens(&self, issuer: &Arc<dyn Issuer>, prefix: &str) -> Option<MountTokens> {
        if self.is_off() {
            return None;
        }
        let ttl_secs = if self.ttl_secs == 0 { Self::TTL_SECS_DEFAULT } else { self.ttl_secs };
        Some(MountTokens {
            issuer: issuer.clone(),
            prefix: prefix.to_owned(),
            audience: self.audience.clone(),
            ttl: Duration::from_secs(ttl_secs),
        })
    }
}

/// The tokens of one mount; each is signed when it is asked for.
pub(crate) struct MountTokens {
    issuer: Arc<dyn Issuer>,
    prefix: String,
    audience: String,
    ttl: Duration,
}

#[async_trait]
impl WebIdentity for MountTokens {
    async fn token(&self) -> Result<Sensitive<String>, TokenFailure> {
        self.issuer.token(&self.prefix, &self.audience, self.ttl).await.map_err(|error| {
            TokenFailure { passes: error.code != Code::InvalidRequest, message: error.to_string() }
        })
    }
}

impl fmt::Debug for MountTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MountTokens")
    }
}
