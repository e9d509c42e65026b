//! Finding tokens, and changing one at a time.

use super::{
    ROOT_ID, Token, TokenId, TtlLimits,
    batch::{self, InUse},
    cache::Cache,
    place,
    record::{Accessor, Stored, record_key},
};
use crate::registry::Registry;
use bailee_barrier::{Barrier, View};
use bailee_crypto::{Clock, clock::to_millis};
use bailee_sdk::{Error, Namespace, Sensitive};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::StreamExt;
use std::{fmt, sync::Arc};
use tokio::sync::Notify;

/// How long the last request of a token with limited uses may find it, in milliseconds.
const LAST_USE_MILLIS: u64 = 60_000;
/// Accessors that one list shows.
pub(crate) const ACCESSORS_MAX: usize = 100_000;

/// All tokens.
pub(crate) struct TokenStore {
    pub(super) barrier: Arc<Barrier>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: TtlLimits,
    pub(super) cache: Arc<Cache>,
    pub(super) in_use: InUse,
    /// Wakes the pass that clears away what has ended.
    pub(crate) tidy: Notify,
    /// Told when leases have ended with their token.
    pub(super) released: Arc<Notify>,
    /// Where auth mounts are, whose logins end with them; none in tests of the store alone.
    pub(super) registry: Option<Arc<Registry>>,
}

impl TokenStore {
    pub(crate) fn new(
        barrier: Arc<Barrier>,
        clock: Arc<dyn Clock>,
        limits: TtlLimits,
    ) -> Arc<TokenStore> {
        Arc::new(TokenStore::bare(barrier, clock, limits))
    }

    /// The store of a server, in which logins end with their auth mount.
    pub(crate) fn with_registry(
        barrier: Arc<Barrier>,
        clock: Arc<dyn Clock>,
        limits: TtlLimits,
        registry: Arc<Registry>,
    ) -> Arc<TokenStore> {
        let registry = Some(registry);
        Arc::new(TokenStore { registry, ..TokenStore::bare(barrier, clock, limits) })
    }

    fn bare(barrier: Arc<Barrier>, clock: Arc<dyn Clock>, limits: TtlLimits) -> TokenStore {
        TokenStore {
            barrier,
            clock,
            limits,
            cache: Arc::default(),
            in_use: InUse::default(),
            tidy: Notify::new(),
            released: Arc::default(),
            registry: None,
        }
    }

    /// Told when leases have ended with their token.
    pub(crate) fn released(&self) -> Arc<Notify> {
        self.released.clone()
    }

    /// The live token with this text; `None` when unknown, expired, used up or revoked.
    pub(crate) async fn authenticate(
        &self,
        secret: &Sensitive<String>,
    ) -> Result<Option<Arc<Token>>, Error> {
        let Some(id) = self.id_of(secret) else { return Ok(None) };
        if !id.is_batch() {
            return Ok(self.find(&id).await?.filter(|token| !token.used_up));
        }
        let Some(token) = self.open_batch(&id, secret)? else { return Ok(None) };
        Ok(if self.lives(&token).await? { Some(token) } else { None })
    }

    /// The token with this id, if it is alive; also one whose last request is under way. A batch
    /// token is found while a request holds it.
    pub(crate) async fn find(&self, id: &TokenId) -> Result<Option<Arc<Token>>, Error> {
        let token = if id.is_batch() { self.in_use.find(id) } else { self.load(id).await? };
        let Some(token) = token else { return Ok(None) };
        Ok(if self.lives(&token).await? { Some(token) } else { None })
    }

    /// Whether neither the clock nor an ancestor nor the end of a namespace or auth mount has ended it.
    async fn lives(&self, token: &Arc<Token>) -> Result<bool, Error> {
        let now = self.clock.now();
        let mut current = token.clone();
        loop {
            if current.expires.is_some_and(|expires| expires <= now) {
                if !current.id.is_batch() {
                    // It stays dead even if the clock goes back. Should this fail, a pass does it.
                    self.end(&current.id).await.ok();
                }
                return Ok(false);
            }
            if !self.is_served(&current) {
                return Ok(false);
            }
            let Some(parent) = current.parent.clone() else { return Ok(true) };
            match self.load(&parent).await? {
                Some(parent) => current = parent,
                None => return Ok(false),
            }
        }
    }

    /// Whether the namespace of the token and the auth method that made it are still there.
    fn is_served(&self, token: &Token) -> bool {
        let Some(registry) = &self.registry else { return true };
        let places = registry.places();
        let Some(place) = places.with_id(&token.namespace.id) else { return false };
        token.mount.as_ref().is_none_or(|uuid| place.has_auth(uuid))
    }

    /// Whether tokens with such an id belong to this namespace or one below.
    pub(super) fn is_below(&self, id: &TokenId, namespace: &Namespace) -> bool {
        let Some(registry) = &self.registry else { return true };
        let places = registry.places();
        let home = places.with_id(id.namespace_id());
        home.is_some_and(|home| home.namespace.path.starts_with(&namespace.path))
    }

    /// Default and longest life of what is made by the token method of a namespace, as it is tuned.
    pub(super) fn limits_in(&self, namespace_id: &str) -> TtlLimits {
        let TtlLimits { default, max } = self.limits;
        let tuned = self.registry.as_ref().and_then(|registry| {
            let places = registry.places();
            let mounted = places.with_id(namespace_id)?.mounts.get("auth/token/")?;
            Some(mounted.entry.ttls(default, max))
        });
        let (default, max) = tuned.unwrap_or((default, max));
        TtlLimits { default, max }
    }

    /// The live token that an accessor stands for.
    pub(crate) async fn find_by_accessor(
        &self,
        accessor: &str,
    ) -> Result<Option<Arc<Token>>, Error> {
        let Some(namespace_id) = namespace_in(accessor) else { return Ok(None) };
        let view = self.barrier.view(&place(namespace_id));
        let stored: Option<Accessor> = view.get(&self.accessor_key(accessor)).await?;
        match stored {
            Some(stored) => self.find(&TokenId::from_text(&stored.token)).await,
            None => Ok(None),
        }
    }

    /// Accessors of the tokens of a namespace, at most [`ACCESSORS_MAX`].
    pub(crate) async fn accessors(&self, namespace: &Namespace) -> Result<Vec<String>, Error> {
        let view = self.barrier.view(&place(&namespace.id));
        let mut accessors = Vec::new();
        let mut entries = view.scan("accessor/").take(ACCESSORS_MAX);
        while let Some(entry) = entries.next().await {
            let (_, bytes) = entry?;
            let stored: Accessor = serde_json::from_slice(&bytes).map_err(Error::internal)?;
            accessors.push(stored.accessor);
        }
        accessors.sort_unstable();
        Ok(accessors)
    }

    /// Takes one use off a token with limited uses, durably, before its request runs; `None` when
    /// none was left. The token as it is after that: one that is used up is to be revoked after the
    /// request. A token without limit is returned as it is.
    pub(crate) async fn spend(&self, token: &Arc<Token>) -> Result<Option<Arc<Token>>, Error> {
        if token.num_uses == 0 && !token.used_up {
            return Ok(Some(token.clone()));
        }
        let id = &token.id;
        let view = self.barrier.view(&id.place());
        view.lock(&record_key(id)).await;
        let Some(stored) = Stored::read(&view, id).await? else { return Ok(None) };
        if stored.record.ended || stored.state.used_up {
            return Ok(None);
        }
        let mut state = stored.state.clone();
        let last = state.num_uses <= 1;
        if last {
            state.used_up = true;
            // Should the server end before the token is revoked, a pass clears it away.
            let soon = to_millis(self.clock.now()).saturating_add(LAST_USE_MILLIS);
            state.cleared = Some(state.expires.map_or(soon, |expires| expires.min(soon)));
        }
        state.num_uses = state.num_uses.saturating_sub(1);
        stored.guard(&view, id);
        stored.change_state(&view, id, &state);
        self.land(view, vec![id.clone()]).await?;
        let spent = Token { num_uses: state.num_uses, used_up: last, ..Token::clone(token) };
        Ok(Some(Arc::new(spent)))
    }

    /// Gives back a use that was taken for a request that did not happen; `token` is as it is after
    /// that.
    pub(crate) async fn give_back(&self, token: &Token) -> Result<(), Error> {
        let id = &token.id;
        let view = self.barrier.view(&id.place());
        view.lock(&record_key(id)).await;
        let stored = Stored::read(&view, id).await?;
        let Some(stored) = stored.filter(|stored| !stored.record.ended) else { return Ok(()) };
        let mut state = stored.state.clone();
        state.num_uses = state.num_uses.saturating_add(1);
        if token.used_up {
            state.used_up = false;
            state.cleared = None;
        }
        stored.guard(&view, id);
        stored.change_state(&view, id, &state);
        self.land(view, vec![id.clone()]).await
    }

    /// The id of the token with this text; `None` when no token has such a form.
    pub(crate) fn id_of(&self, secret: &Sensitive<String>) -> Option<TokenId> {
        let text = secret.expose().as_str();
        let batch = text.strip_prefix(batch::PREFIX);
        let service = || ["hvs.", "s."].iter().find_map(|prefix| text.strip_prefix(prefix));
        let namespace_id = namespace_in(batch.or_else(service).unwrap_or(text))?;
        let code = self.barrier.fingerprint("token", text.as_bytes());
        let code = BASE64_URL_SAFE_NO_PAD.encode(code);
        Some(match batch {
            Some(_) => TokenId::batch(&code, namespace_id),
            None => TokenId::new(&code, namespace_id),
        })
    }

    pub(super) fn accessor_key(&self, accessor: &str) -> String {
        let code = self.barrier.fingerprint("accessor", accessor.as_bytes());
        format!("accessor/{}", BASE64_URL_SAFE_NO_PAD.encode(code))
    }

    /// A stored token that has not been revoked; its end and its ancestors are not looked at.
    async fn load(&self, id: &TokenId) -> Result<Option<Arc<Token>>, Error> {
        let ticket = match self.cache.look_up(id) {
            Ok(token) => return Ok(Some(token)),
            Err(ticket) => ticket,
        };
        let stored = Stored::read(&self.barrier.view(""), id).await?;
        let Some(stored) = stored.filter(|stored| !stored.record.ended) else { return Ok(None) };
        let token = Arc::new(stored.token(id)?);
        self.cache.keep(&token, ticket);
        Ok(Some(token))
    }

    /// Commits a change of these tokens and forgets what was known of them.
    pub(super) async fn land(&self, view: View, ids: Vec<TokenId>) -> Result<(), Error> {
        let cache = self.cache.clone();
        view.after_commit(move || ids.iter().for_each(|id| cache.forget(id)));
        view.commit().await?;
        Ok(())
    }
}

impl fmt::Debug for TokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenStore(..)")
    }
}

/// The id of the namespace behind the dot of a token or accessor; `None` when it cannot be one.
fn namespace_in(text: &str) -> Option<&str> {
    let Some((_, id)) = text.split_once('.') else { return Some(ROOT_ID) };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (!id.is_empty() && id.len() <= 64 && id != ROOT_ID && id.bytes().all(valid)).then_some(id)
}
