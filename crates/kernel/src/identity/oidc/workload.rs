//! `identity/oidc/secrets-sync`: tokens that tell clouds which destination of secrets sync calls.
//!
//! The issuer is one of its own, so that whoever may make tokens about entities cannot make one that
//! a cloud takes for a destination.

use super::{
    super::{
        IdentityPaths, Nothing,
        store::{IdentityStore, Place},
    },
    Config, config, discovery,
    key::{Key, workload_default},
    token::signed,
};
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Error, Namespace, Reply, Request, Sensitive};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// What is below `identity/oidc` of a namespace.
const CHILD: &str = "secrets-sync";
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
    pub(super) async fn workload_discovery(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let config = config::load(&self.place(&request)).await?;
        let issuer = issuer(self.api_addr.as_deref(), &config, &request.namespace);
        Ok(discovery::shown_issuer(&issuer))
    }
}

fn issuer(api_addr: Option<&str>, config: &Config, namespace: &Namespace) -> String {
    format!("{}/{CHILD}", config.issuer(api_addr, namespace))
}

/// Signs a token of a namespace. An error of the kind "invalid request" says what is to be changed.
pub(crate) async fn sign(
    store: &IdentityStore,
    namespace: &Namespace,
    api_addr: Option<&str>,
    workload: &Workload<'_>,
    now: SystemTime,
) -> Result<Sensitive<String>, Error> {
    let place = store.fresh_place(namespace);
    let issuer = issuer(api_addr, &config::load(&place).await?, namespace);
    // Without an address in front it begins with a slash.
    if issuer.starts_with('/') {
        return Err(Error::invalid(
            "identity tokens name no address as their issuer: set issuer in identity/oidc/config, \
             or api_addr in the configuration of the server",
        ));
    }
    let key = key(&place, workload, to_millis(now)).await?;
    let now = to_millis(now) / 1000;
    let claims = json!({
        "iss": issuer,
        "sub": workload.subject,
        "aud": workload.audience,
        "iat": now,
        "exp": now.saturating_add(workload.ttl.as_secs()),
    });
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
