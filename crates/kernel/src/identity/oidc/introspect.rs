//! `identity/oidc/introspect`: whether a token is one of ours and still holds.

use super::{
    super::{IdentityPaths, store::Place},
    JSON, config,
    key::keys,
};
use bailee_crypto::{clock::to_millis, signing::VerifyingKey};
use bailee_notation::json as bounded;
use bailee_sdk::{Body, Error, Reply, Request, Sensitive};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Bytes of a token that is looked at.
const TOKEN_BYTES_MAX: usize = 256 << 10;

#[derive(Deserialize, JsonSchema)]
pub(super) struct Asked {
    /// The token.
    #[serde(default)]
    #[schemars(with = "String")]
    token: Sensitive<String>,
    /// For whom the token must be, if that matters.
    #[serde(default)]
    client_id: String,
}

impl IdentityPaths {
    pub(super) async fn introspect_oidc_token(
        self: Arc<Self>,
        request: Request<Asked>,
    ) -> Result<Reply, Error> {
        let answer = match self.check_oidc_token(&request).await? {
            Ok(()) => json!({ "active": true }),
            Err(reason) => json!({ "active": false, "error": reason }),
        };
        Ok(Body::Raw { content_type: JSON, bytes: answer.to_string().into_bytes() }.into())
    }

    /// Why a token does not hold.
    async fn check_oidc_token(
        &self,
        request: &Request<Asked>,
    ) -> Result<Result<(), &'static str>, Error> {
        let place = self.place(request);
        let now = to_millis(request.now);
        let Some(token) = Token::parse(request.input.token.expose()) else {
            return Ok(Err("failed to parse token"));
        };
        let Some(key) = published(&place, &token.key, now).await? else {
            return Ok(Err("unable to validate the token signature"));
        };
        if key.algorithm.name() != token.algorithm || !key.verifies(&token.signed, &token.signature)
        {
            return Ok(Err("unable to validate the token signature"));
        }
        let text = |name: &str| token.claims.get(name).and_then(Value::as_str).unwrap_or_default();
        let issuer = self.issuer(&config::load(&place).await?, &request.namespace);
        if text("iss") != issuer {
            return Ok(Err("error validating claims: invalid issuer claim (iss)"));
        }
        let expires = token.claims.get("exp").and_then(Value::as_u64).unwrap_or_default();
        if expires <= now / 1000 {
            return Ok(Err("error validating claims: token is expired (exp)"));
        }
        if !request.input.client_id.is_empty() && text("aud") != request.input.client_id {
            return Ok(Err("error validating claims: invalid audience claim (aud)"));
        }
        match self.store.resolve(&request.namespace, text("sub")).await? {
            None => Ok(Err("entity was not found")),
            Some(entity) if entity.disabled => Ok(Err("entity is disabled")),
            Some(_) => Ok(Ok(())),
        }
    }
}

/// The public key with this id.
async fn published(place: &Place, id: &str, now: u64) -> Result<Option<VerifyingKey>, Error> {
    let keys = keys(place).await?;
    let mut published = keys.iter().flat_map(|(_, key)| key.published(now));
    Ok(published.find(|(known, _)| known == id).map(|(_, key)| key))
}

/// A token, taken apart.
struct Token {
    algorithm: String,
    key: String,
    claims: Map<String, Value>,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

impl Token {
    fn parse(text: &str) -> Option<Token> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = object(header)?;
        let field = |name: &str| header.get(name)?.as_str().map(str::to_owned);
        Some(Token {
            algorithm: field("alg")?,
            key: field("kid")?,
            claims: object(claims)?,
            signed: signed.as_bytes().to_vec(),
            signature: BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    match bounded::parse(&bytes, &bounded::Limits::stored()) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}
