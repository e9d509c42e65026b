//! Prolonging tokens.
//!
//! What a token may last is settled when it is made. The auth method that made it is asked again,
//! and so is its role: both may have changed their mind, or be gone.

use super::{
    Renewed, TokenId, TtlLimits,
    record::{Record, State, Stored, end_of, millis, record_key},
    store::TokenStore,
    ttl::{Bounds, granted},
};
use bailee_barrier::View;
use bailee_crypto::clock::{from_millis, to_millis};
use bailee_sdk::{Error, Login, engine::Renewal};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// What bounds a token from now on.
struct Terms {
    /// How long it lasts when nobody wishes anything; zero for as long as the last time.
    ttl: Duration,
    period: Duration,
    explicit_max_ttl: Duration,
    max_ttl: Duration,
}

impl TokenStore {
    /// Prolongs a token by `increment`, or by what it was last given. Lands at once.
    pub(crate) async fn renew(
        &self,
        id: &TokenId,
        increment: Duration,
        now: SystemTime,
    ) -> Result<Renewed, Error> {
        if id.is_batch() {
            return Err(Error::invalid("batch tokens cannot be renewed"));
        }
        let missing = || Error::invalid("token not found");
        if self.find(id).await?.is_none() {
            return Err(missing());
        }
        let view = self.barrier.view(&id.place());
        view.lock(&record_key(id)).await;
        let stored = Stored::read(&view, id).await?.ok_or_else(missing)?;
        if stored.record.ended || stored.state.is_over(to_millis(now)) {
            return Err(missing());
        }
        if stored.state.expires.is_none() {
            return Err(Error::invalid("invalid lease ID"));
        }
        if !stored.record.renewable {
            return Err(Error::invalid("lease is not renewable"));
        }
        let terms = self.terms_now(&view, id, &stored.record, now).await?;
        let asked = match (increment, terms.ttl) {
            (Duration::ZERO, Duration::ZERO) => Duration::from_millis(stored.state.ttl),
            (Duration::ZERO, ttl) => ttl,
            (increment, _) => increment,
        };
        let bounds = Bounds {
            age: now.duration_since(from_millis(stored.record.created)).unwrap_or_default(),
            period: terms.period,
            explicit_max_ttl: terms.explicit_max_ttl,
            max_ttl: terms.max_ttl,
        };
        let (ttl, warnings) = granted(asked, bounds);
        if ttl.is_zero() {
            // Nothing is left of its longest life: it goes on until its end.
            return Err(Error::invalid("past the max TTL, cannot renew"));
        }
        let state = State {
            expires: Some(end_of(now, ttl)),
            ttl: millis(ttl),
            last_renewal: Some(to_millis(now)),
            ..stored.state.clone()
        };
        stored.guard(&view, id);
        stored.change_state(&view, id, &state);
        let record = Record {
            period: millis(terms.period),
            max_ttl: millis(terms.max_ttl),
            ..stored.record.clone()
        };
        if (record.period, record.max_ttl) != (stored.record.period, stored.record.max_ttl) {
            view.put(&record_key(id), &record);
        }
        let token = Arc::new(Stored { state, record, ..stored }.token(id)?);
        self.land(view, vec![id.clone()]).await?;
        Ok(Renewed { token, ttl, warnings })
    }

    /// What bounds the token today.
    async fn terms_now(
        &self,
        view: &View,
        id: &TokenId,
        record: &Record,
        now: SystemTime,
    ) -> Result<Terms, Error> {
        let span = Duration::from_millis;
        let mut terms = Terms {
            ttl: Duration::ZERO,
            period: span(record.period),
            explicit_max_ttl: span(record.explicit_max_ttl),
            max_ttl: span(record.max_ttl),
        };
        if let Some(name) = &record.origin.role {
            let role = self.role(view, id.namespace_id(), name).await?.ok_or_else(|| {
                Error::invalid(format!(
                    "original token role {name:?} could not be found, not renewing"
                ))
            })?;
            terms.period = role.period();
        }
        let Some(registry) = &self.registry else { return Ok(terms) };
        let Some(uuid) = &record.origin.mount else {
            terms.max_ttl = self.limits_in(id.namespace_id()).max;
            return Ok(terms);
        };
        let places = registry.places();
        let mounted = places.with_id(id.namespace_id()).and_then(|place| place.auth(uuid));
        let mounted = mounted.ok_or_else(|| Error::invalid("token not found"))?;
        let Some(served) = &mounted.served else { return Ok(terms) };
        let renewal = Renewal {
            internal: record.internal.clone(),
            metadata: record.meta.clone(),
            policies: record.policies.clone(),
            now,
        };
        let asked = served.engine.renew_login(&view.at(&mounted.prefix), &renewal).await?;
        let (default, max) = mounted.entry.ttls(self.limits.default, self.limits.max);
        if let Some(login) = asked {
            terms = terms.after(&login, TtlLimits { default, max });
        }
        Ok(terms)
    }
}

impl Terms {
    /// The terms of a login as it would be today. The longest life that its maker chose stays.
    fn after(self, login: &Login, mount: TtlLimits) -> Terms {
        let max = if login.max_ttl.is_zero() { mount.max } else { mount.max.min(login.max_ttl) };
        Terms {
            ttl: if login.ttl.is_zero() { mount.default.min(max) } else { login.ttl },
            period: login.period.unwrap_or_default(),
            max_ttl: max,
            ..self
        }
    }
}
