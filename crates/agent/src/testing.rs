//! Doubles for the tests of this crate.

use crate::{
    failure::{Cause, Failure},
    manager::{Fetched, Lease, Material, SecretManager, Wanted, Which},
    store::{ENTRIES_DEFAULT, Patience, Place, Store},
};
use async_trait::async_trait;
use bailee_client::Pass;
use bailee_crypto::{Clock, Sensitive};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// The wall clock as tokio's clock has it, which tests pause; it begins in 2026.
#[derive(Debug)]
pub(crate) struct TokioClock {
    began: Instant,
}

impl TokioClock {
    pub(crate) fn new() -> Arc<TokioClock> {
        Arc::new(TokioClock { began: Instant::now() })
    }
}

impl Clock for TokioClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000) + self.began.elapsed()
    }
}

/// A wall clock that somebody sets.
#[derive(Debug)]
pub(crate) struct JumpingClock {
    steady: Arc<TokioClock>,
    offset: Mutex<i64>,
}

impl JumpingClock {
    pub(crate) fn new() -> Arc<JumpingClock> {
        Arc::new(JumpingClock { steady: TokioClock::new(), offset: Mutex::new(0) })
    }

    /// Sets it ahead by so many seconds, or back.
    pub(crate) fn jump(&self, seconds: i64) {
        *self.offset.lock() += seconds;
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> SystemTime {
        let offset = *self.offset.lock();
        let by = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 { self.steady.now() - by } else { self.steady.now() + by }
    }
}

/// A place with secrets in memory, which can be taken away.
#[derive(Default)]
pub(crate) struct FakeManager {
    state: Mutex<FakeState>,
}

#[derive(Default)]
struct FakeState {
    secrets: BTreeMap<String, (String, u64)>,
    failure: Option<Failure>,
    lease: Option<Lease>,
    renewals: Option<Duration>,
    calls: Vec<String>,
    hangs: bool,
    takes: Duration,
    arns: bool,
    token: Option<&'static str>,
}

impl FakeManager {
    pub(crate) fn with(secrets: &[(&str, &str)]) -> Arc<FakeManager> {
        let fake = FakeManager::default();
        for (id, value) in secrets {
            fake.set(id, value);
        }
        Arc::new(fake)
    }

    /// A new version of a secret.
    pub(crate) fn set(&self, id: &str, value: &str) {
        let mut state = self.state.lock();
        let version = state.secrets.get(id).map_or(0, |(_, version)| *version) + 1;
        state.secrets.insert(id.to_owned(), (value.to_owned(), version));
    }

    pub(crate) fn remove(&self, id: &str) {
        self.state.lock().secrets.remove(id);
    }

    /// From now on what is called `a` is `arn:a` for good, and found by both.
    pub(crate) fn name_by_arns(&self) {
        self.state.lock().arns = true;
    }

    /// From now on all calls fail so; `None` ends it.
    pub(crate) fn fail(&self, cause: Option<Cause>) {
        self.state.lock().failure = cause.map(|cause| Failure::new(cause, "away"));
    }

    /// From now on calls are never answered.
    pub(crate) fn hang(&self, hangs: bool) {
        self.state.lock().hangs = hangs;
    }

    /// From now on calls take so long.
    pub(crate) fn slow(&self, takes: Duration) {
        self.state.lock().takes = takes;
    }

    /// From now on this is the token that leases hang on.
    pub(crate) fn token(&self, token: &'static str) {
        self.state.lock().token = Some(token);
    }

    /// Secrets are under this lease, which is renewed for so long.
    pub(crate) fn lease(&self, lease: Option<Lease>, renewals: Option<Duration>) {
        let mut state = self.state.lock();
        state.lease = lease;
        state.renewals = renewals;
    }

    /// The calls until now, each as `fetch a`, `batch a b`, `tagged`, `renew l`, `revoke l` or `leave`.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().calls)
    }

    async fn called(&self, call: String) -> Result<(), Failure> {
        let (hangs, takes) = {
            let mut state = self.state.lock();
            state.calls.push(call);
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            (state.hangs, state.takes)
        };
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        if hangs {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn one(&self, wanted: &Wanted) -> Result<Fetched, Failure> {
        let state = self.state.lock();
        let name = wanted.id.strip_prefix("arn:").unwrap_or(&wanted.id);
        let (value, version) = state
            .secrets
            .get(name)
            .ok_or_else(|| Failure::new(Cause::NotFound, format!("{} is not there", wanted.id)))?;
        Ok(Fetched {
            id: if state.arns { format!("arn:{name}") } else { name.to_owned() },
            name: name.to_owned(),
            version: version.to_string(),
            stages: vec!["AWSCURRENT".to_owned()],
            created: None,
            material: Material::text(value.clone()),
            versioned: false,
            lease: state.lease.clone(),
        })
    }
}

#[async_trait]
impl SecretManager for FakeManager {
    fn place(&self) -> String {
        "fake/here/me".to_owned()
    }

    fn normal(&self, wanted: &Wanted) -> Result<Wanted, Failure> {
        if wanted.id.is_empty() {
            return Err(Failure::new(Cause::Invalid, "id is empty"));
        }
        Ok(wanted.clone())
    }

    async fn fetch(&self, wanted: &Wanted) -> Result<Fetched, Failure> {
        self.called(format!("fetch {}", wanted.id)).await?;
        self.one(wanted)
    }

    async fn fetch_many(&self, wanted: &[Wanted]) -> Vec<Result<Fetched, Failure>> {
        let ids: Vec<&str> = wanted.iter().map(|wanted| wanted.id.as_str()).collect();
        match self.called(format!("batch {}", ids.join(" "))).await {
            Ok(()) => wanted.iter().map(|wanted| self.one(wanted)).collect(),
            Err(failure) => vec![Err(failure); wanted.len()],
        }
    }

    async fn fetch_tagged(&self, _: &BTreeMap<String, String>) -> Result<Vec<Fetched>, Failure> {
        self.called("tagged".to_owned()).await?;
        let ids: Vec<String> = self.state.lock().secrets.keys().cloned().collect();
        ids.iter().map(|id| self.one(&Wanted { id: id.clone(), version: Which::Current })).collect()
    }

    async fn renew(&self, lease: &Lease) -> Result<Duration, Failure> {
        self.called(format!("renew {}", lease.id)).await?;
        let renewals = self.state.lock().renewals;
        renewals.ok_or_else(|| Failure::new(Cause::Denied, "not renewable"))
    }

    async fn revoke(&self, lease: &Lease) -> Result<(), Failure> {
        self.called(format!("revoke {}", lease.id)).await
    }

    async fn pass(&self) -> Option<Pass> {
        let token = Sensitive::from(self.state.lock().token?);
        Some(Pass { token, renew_at: None, ends_at: None, renewable: true })
    }

    async fn leave(&self) {
        self.called("leave".to_owned()).await.ok();
    }
}

/// A store over one place called `m`, which refreshes after a minute and serves an hour of outage.
pub(crate) fn store_over(manager: Arc<FakeManager>) -> Arc<Store> {
    store_of(manager)
}

/// The same over any place.
pub(crate) fn store_of(manager: Arc<dyn SecretManager>) -> Arc<Store> {
    let patience =
        Patience { refresh: Duration::from_secs(60), stale_max: Duration::from_secs(3_600) };
    let place = Place::new("m", manager, patience);
    let entries_max = NonZeroUsize::new(ENTRIES_DEFAULT).unwrap();
    Arc::new(Store::new([place], entries_max, TokioClock::new()))
}
