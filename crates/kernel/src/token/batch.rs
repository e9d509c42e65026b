//! Batch tokens: all that is known of one is sealed into its own text.
//!
//! The text opens under the keyring only, also under keys that were rotated out, and only in the
//! namespace it names. Nothing is stored: the token ends by the clock, with its parent, or with the
//! auth method that made it.

use super::{
    Made, NewToken, Token, TokenId,
    kind::Kind,
    record::{Origin, end_of, millis},
    store::TokenStore,
};
use bailee_barrier::Barrier;
use bailee_crypto::clock::{from_millis, to_millis};
use bailee_sdk::{Error, Namespace, Sensitive};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

/// What the text of every batch token starts with.
pub(super) const PREFIX: &str = "hvb.";
/// Bytes of the text: it travels in a header of each request.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Tokens in use after which those no longer used are forgotten for the first time.
const SWEEP_MIN: usize = 1024;

/// What is sealed into the text. Times are milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Sealed {
    policies: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    namespace_path: String,
    display_name: String,
    path: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    meta: BTreeMap<String, String>,
    created: u64,
    ttl: u64,
    expires: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entity_id: Option<String>,
    #[serde(default, skip_serializing_if = "Origin::is_plain")]
    origin: Origin,
}

/// Batch tokens that requests hold right now: handlers find them by their id, as there is nothing
/// in storage to be found.
#[derive(Debug, Default)]
pub(super) struct InUse(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    tokens: HashMap<TokenId, Weak<Token>>,
    /// When to look for those that nobody holds any more.
    sweep_at: usize,
}

impl InUse {
    /// The token, as long as some request holds it.
    pub(super) fn find(&self, id: &TokenId) -> Option<Arc<Token>> {
        self.0.lock().tokens.get(id)?.upgrade()
    }

    fn hold(&self, token: Token) -> Arc<Token> {
        let mut held = self.0.lock();
        if let Some(known) = held.tokens.get(&token.id).and_then(Weak::upgrade) {
            return known;
        }
        if held.tokens.len() >= held.sweep_at.max(SWEEP_MIN) {
            held.tokens.retain(|_, token| token.strong_count() > 0);
            held.sweep_at = 2 * held.tokens.len();
        }
        let token = Arc::new(token);
        held.tokens.insert(token.id.clone(), Arc::downgrade(&token));
        token
    }
}

impl TokenStore {
    /// Makes a batch token; nothing is written.
    pub(super) fn create_batch(&self, new: NewToken, suffix: &str) -> Result<Made, Error> {
        if new.num_uses > 0 {
            // Nothing counts them: a token that promises a limit must have one.
            return Err(Error::invalid("batch tokens cannot have \"num_uses\" set"));
        }
        if new.policies.iter().any(|policy| policy == "root") {
            return Err(Error::invalid("batch tokens cannot be root tokens"));
        }
        let (ttl, warnings) = self.lasting(&new);
        let sealed = Sealed {
            policies: new.policies,
            parent: new.parent.map(|parent| parent.as_str().to_owned()),
            namespace_path: new.namespace.path,
            display_name: new.display_name,
            path: new.path,
            meta: new.meta,
            created: to_millis(new.now),
            ttl: millis(ttl),
            expires: end_of(new.now, ttl),
            entity_id: new.entity_id,
            origin: Origin::of(new.role, new.mount, &new.bound_cidrs),
        };
        let plain = serde_json::to_vec(&sealed).map_err(Error::internal)?;
        let bytes = self.barrier.seal_carried(&purpose(&new.namespace.id), &plain)?;
        let text = format!("{PREFIX}{}{suffix}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the batch token would have {} bytes, at most {TEXT_BYTES_MAX} fit into a header: \
                 give it fewer policies or less metadata, or make a service token",
                text.len()
            )));
        }
        let secret = Sensitive::new(text);
        let id = self.id_of(&secret).ok_or_else(|| Error::internal("a made token has no id"))?;
        Ok(Made { token: self.in_use.hold(sealed.token(id)?), secret, warnings })
    }

    /// The batch token with this text, alive or not; `None` when it was not made here.
    pub(super) fn open_batch(
        &self,
        id: &TokenId,
        secret: &Sensitive<String>,
    ) -> Result<Option<Arc<Token>>, Error> {
        if let Some(token) = self.in_use.find(id) {
            return Ok(Some(token));
        }
        let Some(sealed) = unsealed(&self.barrier, id, secret.expose())? else { return Ok(None) };
        Ok(Some(self.in_use.hold(sealed.token(id.clone())?)))
    }
}

impl Sealed {
    fn token(self, id: TokenId) -> Result<Token, Error> {
        let bound_cidrs = self.origin.blocks()?;
        let namespace_id = id.namespace_id().to_owned();
        Ok(Token {
            id,
            kind: Kind::Batch,
            namespace: Namespace { id: namespace_id, path: self.namespace_path },
            accessor: String::new(),
            policies: self.policies,
            orphan: self.parent.is_none(),
            parent: self.parent.as_deref().map(TokenId::from_text),
            display_name: self.display_name,
            path: self.path,
            meta: self.meta,
            created: from_millis(self.created),
            creation_ttl: Duration::from_millis(self.ttl),
            ttl: Duration::from_millis(self.ttl),
            expires: Some(from_millis(self.expires)),
            last_renewal: None,
            explicit_max_ttl: Duration::ZERO,
            period: Duration::ZERO,
            num_uses: 0,
            used_up: false,
            renewable: false,
            entity_id: self.entity_id,
            internal: None,
            role: self.origin.role,
            mount: self.origin.mount,
            bound_cidrs,
        })
    }
}

fn unsealed(barrier: &Barrier, id: &TokenId, text: &str) -> Result<Option<Sealed>, Error> {
    if text.len() > TEXT_BYTES_MAX {
        return Ok(None);
    }
    let Some(rest) = text.strip_prefix(PREFIX) else { return Ok(None) };
    let code = rest.split_once('.').map_or(rest, |(code, _)| code);
    let Ok(bytes) = BASE64_URL_SAFE_NO_PAD.decode(code) else { return Ok(None) };
    match barrier.open_carried(&purpose(id.namespace_id()), &bytes)? {
        Some(plain) => Ok(Some(serde_json::from_slice(&plain).map_err(Error::internal)?)),
        None => Ok(None),
    }
}

/// Binds the text to the namespace.
fn purpose(namespace_id: &str) -> String {
    format!("batch token/{namespace_id}")
}
