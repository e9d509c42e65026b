//! Giving out, finding and prolonging leases.

use super::{
    gate::{Closed, Entered, Gate},
    lane::Busy,
    pace::Paces,
    record::{self, Record, code_of, id_key, names, new_letters, noted_name, place, token_prefix},
};
use crate::{
    Leased,
    audit::Broker,
    registry::{Mounted, Place, Registry},
    token::{Bounds, Token, TokenId, TokenStore, TtlLimits, granted},
};
use bailee_barrier::{Barrier, Revision, View};
use bailee_crypto::{
    Clock,
    clock::{from_millis, to_millis},
};
use bailee_sdk::{Error, Lease, LeaseRenewal, Namespace};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::Notify;

/// All leases.
pub(crate) struct LeaseStore {
    pub(super) barrier: Arc<Barrier>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) registry: Arc<Registry>,
    pub(super) tokens: Arc<TokenStore>,
    pub(super) limits: TtlLimits,
    pub(super) audit: Arc<Broker>,
    pub(super) gate: Gate,
    pub(super) paces: Paces,
    pub(super) busy: Busy,
    /// Something may be due before anyone looks next.
    pub(super) wake: Arc<Notify>,
}

/// Where a lease is stored.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its namespace.
    pub(crate) namespace: Arc<Namespace>,
    /// The id of its mount.
    pub(crate) mount: String,
    /// Its code.
    pub(crate) code: String,
}

/// A stored lease.
pub(crate) struct Stored {
    pub(crate) at: Found,
    pub(crate) record: Record,
    pub(crate) revision: Option<Revision>,
}

/// A request that is answered with a lease.
pub(crate) struct Asked<'a> {
    /// The namespace.
    pub(crate) place: &'a Place,
    /// The mount.
    pub(crate) mounted: &'a Mounted,
    /// The path within the mount.
    pub(crate) path: &'a str,
    /// Who asks.
    pub(crate) token: &'a Token,
    /// When.
    pub(crate) now: SystemTime,
}

impl LeaseStore {
    pub(crate) fn new(
        barrier: Arc<Barrier>,
        clock: Arc<dyn Clock>,
        registry: Arc<Registry>,
        tokens: Arc<TokenStore>,
        limits: TtlLimits,
        audit: Arc<Broker>,
    ) -> Arc<LeaseStore> {
        let wake = tokens.released();
        Arc::new(LeaseStore {
            barrier,
            clock,
            registry,
            tokens,
            limits,
            audit,
            gate: Gate::new(wake.clone()),
            paces: Paces::default(),
            busy: Busy::default(),
            wake,
        })
    }

    /// To be held from before a lease is made until its batch has landed.
    pub(crate) async fn enter(&self, mounted: &Mounted) -> Result<Entered, Error> {
        self.gate.enter(&mounted.mount.uuid).await
    }

    /// No lease of these mounts is given out until the result is dropped.
    pub(super) async fn close(&self, mounts: Vec<String>) -> Closed {
        self.gate.close(mounts).await
    }

    /// Makes a lease in the unit of `view`, and sentences for the user. When the token makes its last
    /// use with this, the lease ends at once.
    pub(crate) async fn create(
        &self,
        view: &View,
        asked: Asked<'_>,
        lease: Lease,
    ) -> Result<(Leased, Vec<String>), Error> {
        let (default, max) = asked.mounted.entry.ttls(self.limits.default, self.limits.max);
        let wished = if lease.ttl.is_zero() { default } else { lease.ttl };
        let bounds = Bounds {
            age: Duration::ZERO,
            period: Duration::ZERO,
            explicit_max_ttl: Duration::ZERO,
            max_ttl: max,
        };
        let (mut ttl, warnings) = granted(wished, bounds);
        let token = asked.token;
        let owner = token.owner();
        if token.id.is_batch() {
            // Nothing is stored that could end: what it asks for ends with it all the same.
            ttl = ttl.min(token.remaining(asked.now).unwrap_or(ttl));
        }
        let namespace = &asked.place.namespace;
        let expires = to_millis(asked.now).saturating_add(millis(ttl));
        let record = Record {
            mount: asked.mounted.mount.uuid.clone(),
            mount_path: asked.mounted.mount.path.clone(),
            path: asked.path.trim_matches('/').to_owned(),
            letters: new_letters(),
            token: owner.map(|owner| owner.as_str().to_owned()),
            issued: to_millis(asked.now),
            expires,
            ttl: millis(ttl),
            last_renewal: None,
            renewable: lease.renewable,
            data: lease.data,
            due: if token.used_up { 0 } else { expires },
            revoked: token.used_up,
            tries: 0,
            failure: None,
            irrevocable: false,
        };
        let view = view.at(&place(&namespace.id));
        let code = code_of(&self.barrier, &record.letters);
        if let Some(owner) = owner {
            self.tokens.bind(&view, owner).await?;
            view.at(&token_prefix(owner)).put(&noted_name(&code, &namespace.id), &());
        }
        record.put(&view, &code);
        names(&view, &record.mount).put(&record.name(), &()).await?;
        let leased = Leased { id: record.id(namespace), ttl, renewable: record.renewable };
        Ok((leased, warnings))
    }

    /// The lease with this id, if it belongs to this namespace or one below.
    pub(crate) async fn find(
        &self,
        view: &View,
        namespace: &Namespace,
        id: &str,
    ) -> Result<Option<Stored>, Error> {
        let places = self.registry.places();
        let Some((path, last)) = id.rsplit_once('/') else { return Ok(None) };
        let (letters, namespace_id) = record::parse_noted(last);
        let Some(home) = places.with_id(&namespace_id) else { return Ok(None) };
        if !home.namespace.path.starts_with(&namespace.path) {
            return Ok(None);
        }
        let code = code_of(&self.barrier, letters);
        let Some(stored) = self.read(view, &home.namespace, &code).await? else { return Ok(None) };
        let record = &stored.record;
        let is_at = |mount: &str| path.strip_prefix(mount) == Some(record.path.as_str());
        let moved = home.mounts.values().find(|mounted| mounted.mount.uuid == record.mount);
        let is_it = is_at(&record.mount_path) || moved.is_some_and(|now| is_at(&now.mount.path));
        Ok(is_it.then_some(stored))
    }

    /// The lease with this code.
    pub(crate) async fn read(
        &self,
        view: &View,
        namespace: &Arc<Namespace>,
        code: &str,
    ) -> Result<Option<Stored>, Error> {
        let view = view.at(&place(&namespace.id));
        let found = view.get_at::<Record>(&id_key(code)).await?;
        Ok(found.map(|(record, revision)| {
            let mount = record.mount.clone();
            let at = Found { namespace: namespace.clone(), mount, code: code.to_owned() };
            Stored { at, record, revision }
        }))
    }

    /// Prolongs a lease in the unit of `view`.
    pub(crate) async fn renew(
        &self,
        view: &View,
        namespace: &Namespace,
        id: &str,
        increment: Duration,
        now: SystemTime,
    ) -> Result<(Leased, Vec<String>), Error> {
        let missing = || Error::invalid("lease not found");
        let stored = self.find(view, namespace, id).await?.ok_or_else(missing)?;
        let Stored { at, record, revision } = stored;
        if record.is_over(to_millis(now)) {
            return Err(Error::invalid("lease expired"));
        }
        if !record.renewable {
            return Err(Error::invalid("lease is not renewable"));
        }
        if let Some(token) = record.token.as_deref().map(TokenId::from_text) {
            if self.tokens.find(&token).await?.is_none() {
                let text = "cannot renew lease, no valid associated token";
                return Err(Error::invalid(text));
            }
            self.tokens.bind(view, &token).await?;
        }
        let mounted = self.mounted(&at).ok_or_else(missing)?;
        let served = mounted.served.as_ref().ok_or_else(|| no_engine(&mounted))?;
        let issued = from_millis(record.issued);
        let renewal = LeaseRenewal { increment, issued, now };
        let own = view.at(&mounted.prefix);
        let term = served.engine.renew(&own, &record.lease(), &renewal).await?;
        let (default, max) = mounted.entry.ttls(self.limits.default, self.limits.max);
        let bounds = Bounds {
            age: now.duration_since(issued).unwrap_or_default(),
            period: Duration::ZERO,
            explicit_max_ttl: term.max_ttl,
            max_ttl: max,
        };
        let wished = if term.ttl.is_zero() { default } else { term.ttl };
        let (ttl, warnings) = granted(wished, bounds);
        if ttl.is_zero() {
            // Nothing is left of its longest life, as after the mount was tuned: it goes on until its
            // end.
            return Err(Error::invalid("past the max TTL, cannot renew"));
        }
        let expires = to_millis(now).saturating_add(millis(ttl));
        let renewed = Record {
            expires,
            due: expires,
            ttl: millis(ttl),
            last_renewal: Some(to_millis(now)),
            ..record.clone()
        };
        let view = view.at(&place(&at.namespace.id));
        if let Some(revision) = revision {
            view.expect(&id_key(&at.code), revision);
        }
        if let Some(guard) = &mounted.guard {
            view.guard(guard.clone());
        }
        record.change(&view, &at.code, &renewed);
        self.wake.notify_one();
        let id = renewed.id(&at.namespace);
        Ok((Leased { id, ttl, renewable: renewed.renewable }, warnings))
    }

    /// The mount of a lease, while it serves.
    pub(crate) fn mounted(&self, at: &Found) -> Option<Arc<Mounted>> {
        let places = self.registry.places();
        let place = places.with_id(&at.namespace.id)?;
        place.mounts.values().find(|mounted| mounted.mount.uuid == at.mount).cloned()
    }
}

impl fmt::Debug for LeaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseStore(..)")
    }
}

pub(crate) fn no_engine(mounted: &Mounted) -> Error {
    Error::internal(format!("this server has no engine {:?}", mounted.entry.kind))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
