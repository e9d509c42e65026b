//! Credentials that are fetched: kept until shortly before they expire, and longer when the place
//! they come from is down.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use bailee_crypto::Clock;
use parking_lot::RwLock;

use crate::classify::classify;

/// How long before their expiry credentials are replaced.
const REFRESH_BEFORE: Duration = Duration::from_secs(5 * 60);
/// How long credentials that name no expiry are kept: a changed profile is noticed after that.
const WITHOUT_EXPIRY_KEPT: Duration = Duration::from_secs(15 * 60);
/// The least time between two fetches while the old credentials still work.
const REFRESH_PAUSE: Duration = Duration::from_secs(30);

/// Keeps what another provider gives.
#[derive(Clone)]
pub(crate) struct Refreshing(Arc<Inner>);

struct Inner {
    source: SharedCredentialsProvider,
    clock: Arc<dyn Clock>,
    kept: RwLock<Option<Kept>>,
    /// Held by the one task that fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Kept {
    credentials: Credentials,
    refresh_at: SystemTime,
}

impl Refreshing {
    pub(crate) fn new(
        source: impl ProvideCredentials + 'static,
        clock: Arc<dyn Clock>,
    ) -> Refreshing {
        Refreshing(Arc::new(Inner {
            source: SharedCredentialsProvider::new(source),
            clock,
            kept: RwLock::new(None),
            fetching: tokio::sync::Mutex::new(()),
        }))
    }

    async fn current(&self) -> Result<Credentials, CredentialsError> {
        let inner = &self.0;
        if let Some(fresh) = inner.fresh() {
            return Ok(fresh);
        }
        let _fetching = match inner.valid() {
            // While the old ones work, only one caller waits for the new ones.
            Some(old) => match inner.fetching.try_lock() {
                Ok(guard) => guard,
                Err(_) => return Ok(old),
            },
            None => inner.fetching.lock().await,
        };
        if let Some(fresh) = inner.fresh() {
            return Ok(fresh);
        }
        match inner.source.provide_credentials().await {
            Ok(credentials) => {
                inner.keep(credentials.clone());
                Ok(credentials)
            }
            Err(error) => inner.keep_old_after(error),
        }
    }
}

impl Inner {
    fn fresh(&self) -> Option<Credentials> {
        let now = self.clock.now();
        let kept = self.kept.read();
        kept.as_ref().filter(|kept| now < kept.refresh_at).map(|kept| kept.credentials.clone())
    }

    fn valid(&self) -> Option<Credentials> {
        let now = self.clock.now();
        let kept = self.kept.read();
        let works = |kept: &&Kept| kept.credentials.expiry().is_none_or(|expiry| now < expiry);
        kept.as_ref().filter(works).map(|kept| kept.credentials.clone())
    }

    fn keep(&self, credentials: Credentials) {
        let now = self.clock.now();
        let refresh_at = match credentials.expiry() {
            Some(expiry) => (expiry - REFRESH_BEFORE).max(now + REFRESH_PAUSE).min(expiry),
            None => now + WITHOUT_EXPIRY_KEPT,
        };
        *self.kept.write() = Some(Kept { credentials, refresh_at });
    }

    fn keep_old_after(&self, error: CredentialsError) -> Result<Credentials, CredentialsError> {
        let Some(old) = self.valid() else {
            return Err(error);
        };
        let again_at = self.clock.now() + REFRESH_PAUSE;
        if let Some(kept) = self.kept.write().as_mut() {
            kept.refresh_at = old.expiry().map_or(again_at, |expiry| again_at.min(expiry));
        }
        tracing::warn!(%error, "credentials were not refreshed, the old ones are still valid");
        Ok(old)
    }
}

impl ProvideCredentials for Refreshing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.current())
    }
}

impl fmt::Debug for Refreshing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refreshing").field("source", &self.0.source).finish_non_exhaustive()
    }
}

/// Takes on a role through STS, with the credentials that the STS client was made with.
#[derive(Debug)]
pub(crate) struct AssumedRole {
    pub(crate) sts: aws_sdk_sts::Client,
    pub(crate) role_arn: String,
    pub(crate) external_id: Option<String>,
    pub(crate) session_name: String,
}

impl AssumedRole {
    async fn assume(&self) -> Result<Credentials, CredentialsError> {
        let request = self
            .sts
            .assume_role()
            .role_arn(&self.role_arn)
            .role_session_name(&self.session_name)
            .set_external_id(self.external_id.clone());
        let output = request.send().await.map_err(|error| {
            let what = format!("cannot assume the role {}", self.role_arn);
            CredentialsError::provider_error(classify(&error).within(&what))
        })?;
        let granted = output
            .credentials
            .ok_or_else(|| CredentialsError::unhandled("STS answered without credentials"))?;
        let expiry = SystemTime::try_from(granted.expiration)
            .map_err(|_| CredentialsError::unhandled("STS answered with an impossible expiry"))?;
        Ok(Credentials::new(
            granted.access_key_id,
            granted.secret_access_key,
            Some(granted.session_token),
            Some(expiry),
            "AssumedRole",
        ))
    }
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}
