//! `login`, and what a renewal asks.

use super::{
    AppRole,
    role::{self, Role},
    secret_id::{Place, SecretId},
};
use bailee_sdk::{
    Body, Error, Login, LoginAlias, Reply, Request, Sensitive, View, cidr, engine::Renewal,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// The name under which the token's metadata has the role.
const ROLE_NAME: &str = "role_name";
/// The answer to whatever is wrong with the credentials.
const REFUSED: &str = "invalid role or secret ID";

/// Who logs in.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LogIn {
    /// The role id.
    #[serde(default)]
    role_id: String,
    /// The secret id, unless the role does without.
    #[serde(default)]
    #[schemars(with = "String")]
    secret_id: Sensitive<String>,
}

pub(super) async fn login(_: Arc<AppRole>, request: Request<LogIn>) -> Result<Reply, Error> {
    let LogIn { role_id, secret_id } = &request.input;
    if role_id.is_empty() {
        return Err(Error::invalid("missing role_id"));
    }
    let role = role::with_role_id(&request.view, role_id).await?;
    let role = role.ok_or_else(|| Error::unknown_user(REFUSED))?;
    let secret = if role.bind_secret_id {
        if secret_id.expose().is_empty() {
            return Err(Error::invalid("missing secret_id"));
        }
        Some(spend(&request, &role, secret_id).await?)
    } else {
        None
    };
    check_origin(&role, secret.as_ref(), request.remote)?;
    let mut login = login_of(&role);
    if let Some(secret) = secret {
        // The role's own entry goes last: nobody makes up another role with metadata.
        login.metadata = secret.metadata.into_iter().chain(login.metadata).collect();
        if !secret.token_bound_cidrs.is_empty() {
            login.bound_cidrs = secret.token_bound_cidrs;
        }
    }
    Ok(Body::Login(Box::new(login)).into())
}

/// Takes one use off the secret id; it lands with the token, or not at all.
async fn spend(
    request: &Request<LogIn>,
    role: &Role,
    secret_id: &Sensitive<String>,
) -> Result<SecretId, Error> {
    let refused = || Error::bad_credentials(REFUSED);
    let place = Place::of(&request.view, role, secret_id.expose()).ok_or_else(refused)?;
    place.lock().await;
    let secret = place.get().await?.filter(|secret| secret.is_alive(request.now));
    let secret = secret.ok_or_else(refused)?;
    place.spend(&secret, request.now).await?;
    Ok(secret)
}

fn check_origin(
    role: &Role,
    secret: Option<&SecretId>,
    remote: Option<IpAddr>,
) -> Result<(), Error> {
    let shown = remote.map(|remote| remote.to_string()).unwrap_or_default();
    let on_secret = secret.map(|secret| secret.cidr_list.as_slice()).unwrap_or_default();
    if !cidr::allow(&parsed(on_secret)?, remote) {
        return Err(Error::invalid(format!(
            "source address {shown:?} unauthorized through CIDR restrictions on the secret ID"
        )));
    }
    let on_role = role.secret_id_bound_cidrs.as_deref().unwrap_or_default();
    if !cidr::allow(&parsed(on_role)?, remote) {
        return Err(Error::invalid(format!(
            "source address {shown:?} unauthorized by CIDR restrictions on the role"
        )));
    }
    Ok(())
}

fn parsed(blocks: &[String]) -> Result<Vec<bailee_sdk::Cidr>, Error> {
    cidr::parse_all(blocks).map_err(|_| Error::internal("a stored block does not parse"))
}

/// What a login of the role would give now. A token does not outlive the role it is of: one that
/// was made later under the same name is another.
pub(super) async fn renew(view: &View, renewal: &Renewal) -> Result<Login, Error> {
    let name = renewal.metadata.get(ROLE_NAME).map(String::as_str).unwrap_or_default();
    let role = role::find(view, name).await?;
    let role = role.filter(|role| {
        renewal.internal.as_ref().is_some_and(|internal| *internal.expose() == role.id)
    });
    let gone = || Error::invalid(format!("role {name:?} does not exist during renewal"));
    Ok(login_of(&role.ok_or_else(gone)?))
}

fn login_of(role: &Role) -> Login {
    Login {
        metadata: BTreeMap::from([(ROLE_NAME.to_owned(), role.name.clone())]),
        alias: Some(LoginAlias { name: role.role_id.clone(), metadata: BTreeMap::new() }),
        internal: Some(Sensitive::new(role.id.clone())),
        ..role.tokens.login()
    }
}
