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

    /// Drops what is kept, as after an answer that says that it holds no more.
    pub(crate) fn forget(&self) {
        *self.0.kept.write() = None;
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
    pub(crate) duration: Option<Duration>,
}

impl AssumedRole {
    async fn assume(&self) -> Result<Credentials, CredentialsError> {
        let request = self
            .sts
            .assume_role()
            .role_arn(&self.role_arn)
            .role_session_name(&self.session_name)
            .set_external_id(self.external_id.clone())
            .set_duration_seconds(
                self.duration.and_then(|duration| i32::try_from(duration.as_secs()).ok()),
            );
        let output = request.send().await.map_err(|error| {
            let what = format!("cannot assume the role {}", self.role_arn);
            CredentialsError::provider_error(classify(&error).within(&what))
        })?;
        granted(output.credentials, "AssumedRole")
    }
}

/// What STS granted, as the SDK wants it.
pub(crate) fn granted(
    answered: Option<aws_sdk_sts::types::Credentials>,
    provider: &'static str,
) -> Result<Credentials, CredentialsError> {
    let granted =
        answered.ok_or_else(|| CredentialsError::unhandled("STS answered without credentials"))?;
    let expiry = SystemTime::try_from(granted.expiration)
        .map_err(|_| CredentialsError::unhandled("STS answered with an impossible expiry"))?;
    Ok(Credentials::new(
        granted.access_key_id,
        granted.secret_access_key,
        Some(granted.session_token),
        Some(expiry),
        provider,
    ))
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TurnedClock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Gives a numbered key each time, or fails.
    #[derive(Debug)]
    struct Counted {
        clock: Arc<TurnedClock>,
        lifetime: Option<Duration>,
        works_until: usize,
        fetched: Arc<AtomicUsize>,
    }

    impl ProvideCredentials for Counted {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let number = self.fetched.fetch_add(1, Ordering::SeqCst);
            let expiry = self.lifetime.map(|lifetime| self.clock.now() + lifetime);
            future::ProvideCredentials::ready(if number < self.works_until {
                Ok(Credentials::new(format!("key-{number}"), "secret", None, expiry, "Counted"))
            } else {
                Err(CredentialsError::provider_error("the source is down"))
            })
        }
    }

    fn refreshing(
        lifetime: Option<Duration>,
        works_until: usize,
    ) -> (Refreshing, Arc<TurnedClock>, Arc<AtomicUsize>) {
        let (clock, fetched) = (TurnedClock::new(), Arc::new(AtomicUsize::new(0)));
        let source =
            Counted { clock: clock.clone(), lifetime, works_until, fetched: fetched.clone() };
        (Refreshing::new(source, clock.clone()), clock, fetched)
    }

    async fn key(refreshing: &Refreshing) -> Result<String, String> {
        let found = refreshing.provide_credentials().await;
        found.map(|found| found.access_key_id().to_owned()).map_err(|error| format!("{error:?}"))
    }

    #[tokio::test]
    async fn credentials_are_kept_until_five_minutes_before_they_expire() {
        let (refreshing, clock, fetched) = refreshing(Some(HOUR), usize::MAX);
        assert_eq!(key(&refreshing).await.unwrap(), "key-0");
        clock.turn(54 * MINUTE);
        assert_eq!(key(&refreshing).await.unwrap(), "key-0");
        assert_eq!(fetched.load(Ordering::SeqCst), 1);
        clock.turn(2 * MINUTE);
        assert_eq!(key(&refreshing).await.unwrap(), "key-1");
        assert_eq!(key(&refreshing).await.unwrap(), "key-1");
    }

    #[tokio::test]
    async fn old_credentials_serve_while_the_source_is_down_and_not_after_they_expire() {
        let (refreshing, clock, fetched) = refreshing(Some(HOUR), 1);
        assert_eq!(key(&refreshing).await.unwrap(), "key-0");
        clock.turn(56 * MINUTE);
        for _ in 0..10 {
            assert_eq!(key(&refreshing).await.unwrap(), "key-0");
        }
        assert_eq!(fetched.load(Ordering::SeqCst), 2, "a source that is down is not hammered");
        clock.turn(MINUTE);
        assert_eq!(key(&refreshing).await.unwrap(), "key-0");
        assert_eq!(fetched.load(Ordering::SeqCst), 3);
        clock.turn(4 * MINUTE);
        assert!(key(&refreshing).await.unwrap_err().contains("the source is down"));
    }

    #[tokio::test]
    async fn what_is_forgotten_is_fetched_again() {
        let (refreshing, _, _) = refreshing(Some(HOUR), usize::MAX);
        assert_eq!(key(&refreshing).await.unwrap(), "key-0");
        refreshing.forget();
        assert_eq!(key(&refreshing).await.unwrap(), "key-1");
    }

    #[tokio::test]
    async fn short_lived_credentials_are_not_fetched_for_every_call() {
        let (refreshing, clock, fetched) = refreshing(Some(2 * MINUTE), usize::MAX);
        for _ in 0..5 {
            key(&refreshing).await.unwrap();
        }
        assert_eq!(fetched.load(Ordering::SeqCst), 1);
        clock.turn(MINUTE);
        assert_eq!(key(&refreshing).await.unwrap(), "key-1");
    }

    #[tokio::test]
    async fn credentials_without_an_expiry_are_looked_up_again_now_and_then() {
        let (refreshing, clock, _) = refreshing(None, 1);
        assert_eq!(key(&refreshing).await.unwrap(), "key-0");
        clock.turn(HOUR);
        assert_eq!(key(&refreshing).await.unwrap(), "key-0");
    }

    #[tokio::test]
    async fn callers_who_come_at_once_share_one_fetch() {
        let (refreshing, _, fetched) = refreshing(Some(HOUR), usize::MAX);
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let refreshing = refreshing.clone();
                tokio::spawn(async move { key(&refreshing).await })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap(), "key-0");
        }
        assert_eq!(fetched.load(Ordering::SeqCst), 1);
    }
}
