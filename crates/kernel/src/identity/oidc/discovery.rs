//! `identity/oidc/.well-known`: what verifiers of tokens read, without a token of their own.

use super::{
    super::{IdentityPaths, Nothing},
    JSON, config,
    key::keys,
};
use bailee_crypto::{
    clock::to_millis,
    signing::{Algorithm, Numbers, VerifyingKey},
};
use bailee_sdk::{Body, Error, Reply, Request};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::sync::Arc;

impl IdentityPaths {
    pub(super) async fn oidc_discovery(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let config = config::load(&self.place(&request)).await?;
        let issuer = self.issuer(&config, &request.namespace);
        Ok(shown_issuer(&issuer))
    }

    pub(super) async fn oidc_public_keys(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let now = to_millis(request.now);
        let keys = keys(&self.place(&request)).await?;
        let published = keys.iter().flat_map(|(_, key)| key.published(now));
        let shown: Vec<Value> = published.filter_map(|(id, key)| shown(&id, &key)).collect();
        Ok(raw(&json!({ "keys": shown })))
    }
}

/// What verifiers must know of an issuer.
pub(super) fn shown_issuer(issuer: &str) -> Reply {
    raw(&json!({
        "id_token_signing_alg_values_supported": Algorithm::ALL.map(Algorithm::name),
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/keys"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
    }))
}

fn raw(value: &Value) -> Reply {
    Body::Raw { content_type: JSON, bytes: value.to_string().into_bytes() }.into()
}

/// A public key in the form of RFC 7517.
fn shown(id: &str, key: &VerifyingKey) -> Option<Value> {
    let encoded = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let mut shown = match key.numbers()? {
        Numbers::Rsa { modulus, exponent } => {
            json!({ "kty": "RSA", "n": encoded(&modulus), "e": encoded(&exponent) })
        }
        Numbers::Point { curve, x, y } => {
            json!({ "kty": "EC", "crv": curve, "x": encoded(&x), "y": encoded(&y) })
        }
        Numbers::Edwards(x) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(&x) }),
    };
    let fields = shown.as_object_mut()?;
    for (name, value) in [("alg", key.algorithm.name()), ("kid", id), ("use", "sig")] {
        fields.insert(name.to_owned(), value.into());
    }
    Some(shown)
}
