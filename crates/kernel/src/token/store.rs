//! Tokens at rest.

use super::{Made, NewToken, Spent, Token, TokenId, TtlLimits};
use bailee_barrier::{Barrier, View};
use bailee_crypto::{Clock, random};
use bailee_sdk::{Error, Sensitive};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use std::{collections::HashMap, fmt, sync::Arc, time::SystemTime};

/// Random letters and digits of a token.
const SECRET_LETTERS: usize = 91;

/// All tokens.
pub(crate) struct TokenStore {
    barrier: Arc<Barrier>,
    clock: Arc<dyn Clock>,
    limits: TtlLimits,
    live: Mutex<HashMap<TokenId, Arc<Token>>>,
}

impl TokenStore {
    pub(crate) fn new(
        barrier: Arc<Barrier>,
        clock: Arc<dyn Clock>,
        limits: TtlLimits,
    ) -> Arc<TokenStore> {
        Arc::new(TokenStore { barrier, clock, limits, live: Mutex::default() })
    }

    /// The live token with this text; `None` when unknown, expired, used up or revoked.
    pub(crate) async fn authenticate(
        &self,
        secret: &Sensitive<String>,
    ) -> Result<Option<Arc<Token>>, Error> {
        let now = self.clock.now();
        let found = self.live.lock().get(&self.id_of(secret)).cloned();
        Ok(found.filter(|token| token.expires.is_none_or(|end| now < end)))
    }

    /// Takes one use off a token with limited uses, durably, before its request runs; `None` when
    /// none was left.
    pub(crate) async fn spend(&self, token: &Arc<Token>) -> Result<Option<Spent>, Error> {
        Ok(Some(Spent { token: token.clone(), last: token.num_uses == 1 }))
    }

    /// Makes a token when the unit of `view` commits.
    pub(crate) async fn create(&self, _view: &View, new: NewToken) -> Result<Made, Error> {
        let secret = new.id.unwrap_or_else(|| {
            Sensitive::new(format!("hvs.{}", random::alphanumeric(SECRET_LETTERS)))
        });
        let ttl = if new.ttl.is_zero() { self.limits.default } else { new.ttl };
        let token = Arc::new(Token {
            id: self.id_of(&secret),
            accessor: random::alphanumeric(24),
            orphan: new.parent.is_none(),
            expires: (!new.eternal).then(|| new.now + ttl),
            created: new.now,
            creation_ttl: ttl,
            last_renewal: None,
            namespace: new.namespace,
            policies: new.policies,
            parent: new.parent,
            display_name: new.display_name,
            path: new.path,
            meta: new.meta,
            explicit_max_ttl: new.explicit_max_ttl,
            period: new.period,
            num_uses: new.num_uses,
            renewable: new.renewable,
            entity_id: new.entity_id,
            internal: new.internal,
        });
        self.live.lock().insert(token.id.clone(), token.clone());
        Ok(Made { token, secret, warnings: Vec::new() })
    }

    /// Ends a token and all that descend from it. Dead at once; what is left of them in storage is
    /// cleared in bounded batches, by `expire_pass` if this is cut short.
    pub(crate) async fn revoke_tree(&self, id: &TokenId) -> Result<(), Error> {
        self.live.lock().remove(id);
        Ok(())
    }

    /// Clears away what has ended by `now`. Idempotent; returns when something ends next.
    pub(crate) async fn expire_pass(&self, now: SystemTime) -> Result<Option<SystemTime>, Error> {
        let mut live = self.live.lock();
        live.retain(|_, token| token.expires.is_none_or(|end| now < end));
        Ok(live.values().filter_map(|token| token.expires).min())
    }

    fn id_of(&self, secret: &Sensitive<String>) -> TokenId {
        let code = self.barrier.fingerprint("token", secret.expose().as_bytes());
        TokenId::from_text(&BASE64_URL_SAFE_NO_PAD.encode(code))
    }
}

impl fmt::Debug for TokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenStore(..)")
    }
}
