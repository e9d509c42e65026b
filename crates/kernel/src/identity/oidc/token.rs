//! `identity/oidc/token`: a signed statement of who the caller is.

use super::{
    super::{ByName, IdentityPaths},
    config,
    key::{Key, key_of},
    role::{Role, decoded},
    template,
};
use crate::policy::Facts;
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Error, Reply, Request};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use std::sync::Arc;

impl IdentityPaths {
    pub(super) async fn make_oidc_token(
        self: Arc<Self>,
        request: Request<ByName>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        let name = &request.input.name;
        let role: Option<Role> = place.roles().get(name).await?;
        let role = role.ok_or_else(|| Error::invalid(format!("role {name:?} not found")))?;
        let key = key_of(&place, &role).await?;
        let key = key.ok_or_else(|| Error::invalid(format!("key {:?} not found", role.key)))?;
        if !key.allows(&role.client_id) {
            return Err(Error::invalid(format!(
                "the key {:?} does not list the client ID of the role {name:?} as an allowed \
                 client ID",
                role.key
            )));
        }
        let entity = request.caller.as_ref().and_then(|caller| caller.entity_id.clone());
        let none = || Error::invalid("no entity associated with the request's token");
        let entity = entity.ok_or_else(none)?;
        let known = self.store.resolve(&request.namespace, &entity).await?.ok_or_else(none)?;
        // An entity that became part of another speaks as that one.
        let subject = known.facts.entity_id.clone().ok_or_else(none)?;
        let issuer = self.issuer(&config::load(&place).await?, &request.namespace);
        let claims = claims(&request, &role, &known.facts, &issuer, &subject)?;
        let token = signed(&key, &Value::Object(claims)).await?;
        let reply = json!({ "client_id": role.client_id, "token": token, "ttl": role.ttl / 1000 });
        let reply = Reply::data(&reply);
        if issuer.starts_with('/') {
            return Ok(reply.warn(
                "the token names no address as its issuer: set issuer in identity/oidc/config, or \
                 api_addr in the configuration of the server",
            ));
        }
        Ok(reply)
    }
}

/// The claims, signed by a key, in the form of RFC 7519.
pub(super) async fn signed(key: &Key, claims: &Value) -> Result<String, Error> {
    let header = json!({ "alg": key.algorithm, "kid": key.signing.id });
    let signed = format!("{}.{}", encoded(&header), encoded(claims));
    let signer = key.signer()?;
    let token = tokio::task::spawn_blocking(move || {
        let signature = signer.sign(signed.as_bytes())?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        Ok::<_, bailee_crypto::signing::Unusable>(format!("{signed}.{signature}"))
    });
    token.await.map_err(Error::internal)?.map_err(Error::internal)
}

fn claims(
    request: &Request<ByName>,
    role: &Role,
    facts: &Facts,
    issuer: &str,
    subject: &str,
) -> Result<Map<String, Value>, Error> {
    let now = to_millis(request.now) / 1000;
    let mut claims =
        template::fill(&decoded(&role.template), facts, request.now).map_err(Error::invalid)?;
    for (name, value) in [
        ("aud", Value::from(role.client_id.as_str())),
        ("exp", now.saturating_add(role.ttl / 1000).into()),
        ("iat", now.into()),
        ("iss", issuer.into()),
        ("namespace", request.namespace.id.as_str().into()),
        ("sub", subject.into()),
    ] {
        claims.insert(name.to_owned(), value);
    }
    Ok(claims)
}

fn encoded(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}
