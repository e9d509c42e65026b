//! `identity/oidc/role`: what tokens say, for whom, and which key signs them.

use super::{
    super::{ByName, IdentityPaths, Nothing, record::check_name, store::Place},
    NAMED_MAX,
    key::key_of,
    template,
};
use crate::policy::Facts;
use bailee_crypto::random;
use bailee_sdk::{Error, Reply, Request, field::Ttl};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Letters of a client id that is made here.
const CLIENT_ID_LETTERS: usize = 26;
/// What is used when nothing is said.
const DAY: Duration = Duration::from_secs(86_400);
/// Bytes of a template.
const TEMPLATE_BYTES_MAX: usize = 16 << 10;

/// A role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Role {
    pub(super) key: String,
    /// As it was written.
    pub(super) template: String,
    /// Milliseconds.
    pub(super) ttl: u64,
    pub(super) client_id: String,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Name of the role.
    name: String,
    /// Name of the signing key.
    #[serde(default)]
    key: String,
    /// What tokens say beside the usual: JSON with templates, also as base64.
    template: Option<String>,
    /// How long tokens are valid.
    ttl: Option<Ttl>,
    /// For whom tokens are; made up when it is left out.
    #[serde(default)]
    client_id: String,
}

impl IdentityPaths {
    pub(super) async fn list_oidc_roles(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        Reply::keys(&self.place(&request).roles().list("", "", NAMED_MAX).await?)
    }

    pub(super) async fn oidc_role_exists(
        self: Arc<Self>,
        request: Request<ByName>,
    ) -> Result<bool, Error> {
        let role: Option<Role> = self.place(&request).roles().get(&request.input.name).await?;
        Ok(role.is_some())
    }

    pub(super) async fn read_oidc_role(
        self: Arc<Self>,
        request: Request<ByName>,
    ) -> Result<Reply, Error> {
        let role: Option<Role> = self.place(&request).roles().get(&request.input.name).await?;
        let role = role.ok_or_else(Error::not_found)?;
        Ok(Reply::data(&json!({
            "client_id": role.client_id,
            "key": role.key,
            "template": role.template,
            "ttl": role.ttl / 1000,
        })))
    }

    pub(super) async fn write_oidc_role(
        self: Arc<Self>,
        request: Request<Write>,
    ) -> Result<Reply, Error> {
        let (input, request) = request.take_input();
        check_name("role", &input.name)?;
        let place = self.place(&request);
        place.lock_oidc().await;
        let known: Option<Role> = place.roles().get(&input.name).await?;
        if known.is_none() && place.roles().list("", "", NAMED_MAX).await?.len() >= NAMED_MAX {
            return Err(Error::invalid(format!("there are {NAMED_MAX} roles already")));
        }
        let mut role = known.unwrap_or_else(|| Role {
            key: String::new(),
            template: String::new(),
            ttl: to_millis(DAY),
            client_id: random::alphanumeric(CLIENT_ID_LETTERS),
        });
        if !input.key.is_empty() {
            role.key = input.key;
        }
        if role.key.is_empty() {
            return Err(Error::invalid("the key parameter is required"));
        }
        if let Some(template) = input.template {
            check_template(&template, request.now)?;
            role.template = template;
        }
        if let Some(ttl) = input.ttl {
            role.ttl = to_millis(ttl.0);
        }
        if !input.client_id.is_empty() {
            check_name("client", &input.client_id)?;
            role.client_id = input.client_id;
        }
        if let Some(key) = key_of(&place, &role).await?
            && role.ttl > key.verification_ttl
        {
            return Err(Error::invalid(
                "a role's token ttl cannot be longer than the verification_ttl of the key it \
                 references",
            ));
        }
        place.roles().put(&input.name, &role).await?;
        Ok(Reply::empty())
    }

    pub(super) async fn delete_oidc_role(
        self: Arc<Self>,
        request: Request<ByName>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        place.lock_oidc().await;
        place.roles().delete(&request.input.name).await?;
        Ok(Reply::empty())
    }
}

/// The text of a template, decoded.
pub(super) fn decoded(template: &str) -> String {
    let bytes = BASE64_STANDARD.decode(template.trim()).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.unwrap_or_else(|| template.to_owned())
}

fn check_template(text: &str, now: SystemTime) -> Result<(), Error> {
    if text.len() > TEMPLATE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "'template' is longer than {TEMPLATE_BYTES_MAX} bytes"
        )));
    }
    template::fill(&decoded(text), &Facts::default(), now).map(drop).map_err(Error::invalid)
}

fn to_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// All roles of a namespace.
pub(super) async fn roles(place: &Place) -> Result<Vec<(String, Role)>, Error> {
    let mut found = Vec::new();
    for name in place.roles().list("", "", NAMED_MAX).await? {
        if let Some(role) = place.roles().get(&name).await? {
            found.push((name, role));
        }
    }
    Ok(found)
}
