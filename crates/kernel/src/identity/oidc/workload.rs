//! `identity/oidc/secrets-sync` and `identity/oidc/plugins`: tokens that tell clouds which destination of
//! secrets sync, or which mount, calls.
//!
//! Each is an issuer of its own, so that whoever may make tokens about entities cannot make one that
//! a cloud takes for a destination or a mount.

use super::{
    super::{
        IdentityPaths, Nothing,
        store::{IdentityStore, Place},
    },
    config, discovery,
    key::{Key, workload_default},
    token::signed,
};
use crate::registry::{Mounted, Registry};
use async_trait::async_trait;
use bailee_crypto::{Clock, clock::to_millis};
use bailee_sdk::{Error, Issuer, Namespace, Reply, Request, Sensitive, engine::Class};
use serde_json::{Value, json};
use std::{
    sync::{Arc, OnceLock, Weak},
    time::{Duration, SystemTime},
};

/// The issuer of tokens of destinations, below `identity/oidc` of a namespace.
const DESTINATIONS: &str = "secrets-sync";
/// The issuer of tokens of mounts.
const MOUNTS: &str = "plugins";
/// The key that signs where none is named; made when it is first needed.
const DEFAULT_KEY: &str = "default";

/// What a token of a workload says.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// Who it is about.
    pub subject: &'a str,
    /// Whom it is for.
    pub audience: &'a str,
    /// Name of the signing key; the default one when absent.
    pub key: Option<&'a str>,
    /// How long it holds.
    pub ttl: Duration,
}

impl IdentityPaths {
    pub(super) async fn destination_discovery(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        self.workload_discovery(&request, DESTINATIONS).await
    }

    pub(super) async fn mount_discovery(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        self.workload_discovery(&request, MOUNTS).await
    }

    async fn workload_discovery(
        &self,
        request: &Request<Nothing>,
        child: &str,
    ) -> Result<Reply, Error> {
        let config = config::load(&self.place(request)).await?;
        let issuer = config.issuer(self.api_addr.as_deref(), &request.namespace);
        Ok(discovery::shown_issuer(&format!("{issuer}/{child}")))
    }
}

/// Signs a token of a destination in a namespace. An error of the kind "invalid request" says what is
/// to be changed.
pub(crate) async fn sign(
    store: &IdentityStore,
    namespace: &Namespace,
    api_addr: Option<&str>,
    workload: &Workload<'_>,
    now: SystemTime,
) -> Result<Sensitive<String>, Error> {
    let place = store.fresh_place(namespace);
    let issuer = config::load(&place).await?.issuer(api_addr, namespace);
    sign_as(&place, &format!("{issuer}/{DESTINATIONS}"), workload, Value::Null, now).await
}

/// Signs for mounts: whose token it is says the mount's place in storage, not the engine.
pub(crate) struct MountIssuer {
    store: Arc<IdentityStore>,
    api_addr: Option<String>,
    clock: Arc<dyn Clock>,
    /// Set once; it holds engines, which hold this.
    registry: OnceLock<Weak<Registry>>,
}

impl MountIssuer {
    pub(crate) fn new(
        store: &Arc<IdentityStore>,
        api_addr: Option<String>,
        clock: &Arc<dyn Clock>,
    ) -> MountIssuer {
        let registry = OnceLock::new();
        MountIssuer { store: store.clone(), api_addr, clock: clock.clone(), registry }
    }

    /// Tells it the mounts that there are.
    pub(crate) fn knows(&self, registry: &Arc<Registry>) {
        self.registry.set(Arc::downgrade(registry)).ok();
    }

    fn mount(&self, prefix: &str) -> Option<(Arc<Namespace>, Arc<Mounted>)> {
        let places = self.registry.get()?.upgrade()?.places();
        places
            .iter()
            .find_map(|place| Some((place.namespace.clone(), place.with_prefix(prefix)?.clone())))
    }
}

#[async_trait]
impl Issuer for MountIssuer {
    async fn token(
        &self,
        prefix: &str,
        audience: &str,
        ttl: Duration,
    ) -> Result<Sensitive<String>, Error> {
        let gone = || Error::invalid("the mount that asks for a token is not there any more");
        let (namespace, mounted) = self.mount(prefix).ok_or_else(gone)?;
        let class = match mounted.entry.class {
            Class::Secret => "secret",
            Class::Auth => "auth",
        };
        let accessor = &mounted.mount.accessor;
        let subject = format!("plugin-identity:{}:{class}:{accessor}", namespace.id);
        let key = Some(mounted.entry.config.identity_token_key.as_str());
        let key = key.filter(|key| !key.is_empty());
        let about = json!({
            "accessor": accessor,
            "class": class,
            "namespace_id": namespace.id,
            "namespace_path": namespace.path,
            "path": mounted.mount.path,
            "plugin": mounted.mount.kind,
        });
        let place = self.store.fresh_place(&namespace);
        let config = config::load(&place).await?;
        let issuer = config.issuer(self.api_addr.as_deref(), &namespace);
        let workload = Workload { subject: &subject, audience, key, ttl };
        sign_as(&place, &format!("{issuer}/{MOUNTS}"), &workload, about, self.clock.now()).await
    }
}

/// Signs as one issuer; `about` is what more the token says, if anything.
async fn sign_as(
    place: &Place,
    issuer: &str,
    workload: &Workload<'_>,
    about: Value,
    now: SystemTime,
) -> Result<Sensitive<String>, Error> {
    // Without an address in front it begins with a slash.
    if issuer.starts_with('/') {
        return Err(Error::invalid(
            "identity tokens name no address as their issuer: set issuer in identity/oidc/config, \
             or api_addr in the configuration of the server",
        ));
    }
    let key = key(place, workload, to_millis(now)).await?;
    let now = to_millis(now) / 1000;
    let mut claims = json!({
        "iss": issuer,
        "sub": workload.subject,
        "aud": workload.audience,
        "iat": now,
        "exp": now.saturating_add(workload.ttl.as_secs()),
    });
    if let (false, Some(claims)) = (about.is_null(), claims.as_object_mut()) {
        claims.insert("vaultproject.io".to_owned(), about);
    }
    signed(&key, &claims).await.map(Sensitive::new)
}

/// The key that signs, if it may sign that.
async fn key(place: &Place, workload: &Workload<'_>, now: u64) -> Result<Key, Error> {
    let name = workload.key.unwrap_or(DEFAULT_KEY);
    let key = match place.keys().get::<Key>(name).await? {
        Some(key) => key,
        None if name == DEFAULT_KEY => make_default(place, now).await?,
        None => {
            return Err(Error::invalid(format!(
                "identity_token_key: there is no key {name:?} in identity/oidc/key; make it, or \
                 leave the field empty for the key {DEFAULT_KEY:?}"
            )));
        }
    };
    if !key.allows(workload.audience) {
        return Err(Error::invalid(format!(
            "the key {name:?} does not list identity_token_audience in its allowed_client_ids: add \
             it, or \"*\", with identity/oidc/key/{name}"
        )));
    }
    if workload.ttl > Duration::from_millis(key.verification_ttl) {
        return Err(Error::invalid(format!(
            "identity_token_ttl is longer than the verification_ttl of the key {name:?}: a token \
             must not outlast the key that verifies it"
        )));
    }
    Ok(key)
}

/// Several may need it first at once: one makes it.
async fn make_default(place: &Place, now: u64) -> Result<Key, Error> {
    place.lock_oidc().await;
    if let Some(key) = place.keys().get::<Key>(DEFAULT_KEY).await? {
        return Ok(key);
    }
    let key = workload_default(now).await?;
    place.keys().put(DEFAULT_KEY, &key).await?;
    place.view().commit().await?;
    Ok(key)
}
