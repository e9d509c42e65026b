//! Making tokens.

use super::{
    Made, NewToken, ROOT_ID, TokenId,
    kind::Kind,
    origin::MadeBy,
    record::{
        Accessor, Origin, Record, State, Stored, child_key, end_of, login_key, millis, put_state,
        record_key,
    },
    store::TokenStore,
    ttl::{Bounds, granted},
};
use bailee_barrier::View;
use bailee_crypto::{clock::to_millis, random};
use bailee_sdk::{Error, Namespace, Sensitive};
use std::{sync::Arc, time::Duration};

/// Random letters and digits of a token: more than 500 bits, as long as clients expect.
const SECRET_LETTERS: usize = 91;
/// Random letters and digits of an accessor.
const ACCESSOR_LETTERS: usize = 24;
/// Generations of tokens: each request looks at all ancestors of its token.
pub(crate) const DEPTH_MAX: u32 = 1000;

impl TokenStore {
    /// Makes a token when the unit of `view` commits. The commit conflicts when the parent is
    /// revoked meanwhile.
    pub(crate) async fn create(&self, view: &View, new: NewToken) -> Result<Made, Error> {
        let suffix = suffix(&new.namespace);
        if new.kind == Kind::Batch {
            return self.create_batch(new, &suffix);
        }
        let chosen = new.id.is_some();
        let secret = Sensitive::new(match &new.id {
            Some(id) => format!("{}{suffix}", id.expose()),
            None => format!("hvs.{}{suffix}", random::alphanumeric(SECRET_LETTERS)),
        });
        let id = self.id_of(&secret).ok_or_else(|| Error::invalid("malformed token ID"))?;
        let view = view.at(&id.place());
        if chosen && view.get_bytes(&record_key(&id)).await?.is_some() {
            return Err(Error::invalid("cannot create a token with a duplicate ID"));
        }
        view.expect_absent(&record_key(&id));
        let depth = match &new.parent {
            Some(parent) => join_parent(&view, parent, &id).await?,
            None => 0,
        };
        let (record, state, warnings) = self.terms(new, depth, &suffix);
        view.put(&record_key(&id), &record);
        put_state(&view, &id, &state);
        let accessor =
            Accessor { accessor: record.accessor.clone(), token: id.as_str().to_owned() };
        view.put(&self.accessor_key(&record.accessor), &accessor);
        if let Some(mount) = &record.origin.mount {
            view.put(&login_key(mount, &id), &());
        }
        if state.expires.is_some() {
            view.put(&self.origin_key(&record.path, &id), &MadeBy { path: record.path.clone() });
        }
        let stored = Stored { record, record_revision: None, state, state_revision: None };
        Ok(Made { token: Arc::new(stored.token(&id)?), secret, warnings })
    }

    /// How long a new token lasts, and what its maker is told about that.
    pub(super) fn lasting(&self, new: &NewToken) -> (Duration, Vec<String>) {
        let limits = new.limits.unwrap_or(self.limits);
        let bounds = Bounds {
            age: Duration::ZERO,
            period: new.period,
            explicit_max_ttl: new.explicit_max_ttl,
            max_ttl: limits.max,
        };
        let asked = if new.ttl.is_zero() { limits.default.min(limits.max) } else { new.ttl };
        let (ttl, mut warnings) =
            if new.eternal { (Duration::ZERO, Vec::new()) } else { granted(asked, bounds) };
        if new.ttl.is_zero() && new.period.is_zero() {
            // The default was cut, not a wish: nobody needs to be told.
            warnings.clear();
        }
        (ttl, warnings)
    }

    /// What is stored of a new token.
    fn terms(&self, new: NewToken, depth: u32, suffix: &str) -> (Record, State, Vec<String>) {
        let limits = new.limits.unwrap_or(self.limits);
        let (ttl, warnings) = self.lasting(&new);
        let state = State {
            expires: (!new.eternal).then(|| end_of(new.now, ttl)),
            ttl: millis(ttl),
            last_renewal: None,
            num_uses: new.num_uses,
            used_up: false,
            cleared: None,
        };
        let record = Record {
            accessor: format!("{}{suffix}", random::alphanumeric(ACCESSOR_LETTERS)),
            policies: new.policies,
            parent: new.parent.map(|parent| parent.as_str().to_owned()),
            depth,
            namespace_path: new.namespace.path,
            display_name: new.display_name,
            path: new.path,
            meta: new.meta,
            created: to_millis(new.now),
            creation_ttl: millis(ttl),
            explicit_max_ttl: millis(new.explicit_max_ttl),
            max_ttl: millis(limits.max),
            period: millis(new.period),
            renewable: new.renewable && !new.eternal,
            entity_id: new.entity_id,
            internal: new.internal,
            origin: Origin::of(new.role, new.mount, &new.bound_cidrs),
            ended: false,
        };
        (record, state, warnings)
    }
}

/// Puts a token below its parent; its depth.
async fn join_parent(view: &View, parent: &TokenId, id: &TokenId) -> Result<u32, Error> {
    let missing = || Error::invalid("parent token lookup failed: no parent found");
    let stored = Stored::read(view, parent).await?.ok_or_else(missing)?;
    if stored.record.ended {
        return Err(missing());
    }
    let depth = stored.record.depth + 1;
    if depth > DEPTH_MAX {
        return Err(Error::invalid(format!(
            "the parent token has {DEPTH_MAX} ancestors, the most there can be; create an orphan"
        )));
    }
    let place = view.at(&parent.place());
    if let Some(revision) = stored.record_revision {
        place.expect(&record_key(parent), revision);
    }
    place.put(&child_key(parent, id), &());
    Ok(depth)
}

/// What tokens and accessors of a namespace end in.
fn suffix(namespace: &Namespace) -> String {
    if namespace.id == ROOT_ID { String::new() } else { format!(".{}", namespace.id) }
}
