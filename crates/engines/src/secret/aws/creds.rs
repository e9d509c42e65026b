//! `creds/` and `sts/`: giving out credentials.

use super::{
    Aws, Given, Intent,
    cloud::{Cloud, Failed},
    config_lease,
    config_root::Root,
    ready::{self, Readiness},
    remove,
    role::{CredentialType, Role},
    session::{self, Asked},
    user::{self, Wanted},
    user_name::{self, Named},
};
use bailee_cloud::query::Keys;
use bailee_crypto::{clock::to_millis, random};
use bailee_sdk::{
    Body, Error, Json, Lease, Reply, Request,
    field::Ttl,
    intent::{self, Declared},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// The longest name of a policy.
const POLICY_NAME_LENGTH_MAX: usize = 128;

/// What credentials are asked for.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Give {
    /// Name of the role.
    name: String,
    /// Which of the role's ARNs is assumed, when it has several.
    #[serde(default)]
    role_arn: Option<String>,
    /// The name of an assumed role's session.
    #[serde(default)]
    role_session_name: Option<String>,
    /// How long a session lasts; without meaning for users, whose lease says it.
    #[serde(default)]
    ttl: Option<Ttl>,
    /// A code of the role's device.
    #[serde(default)]
    mfa_code: Option<String>,
}

pub(super) async fn give(engine: Arc<Aws>, request: Request<Give>) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    let missing = || Error::invalid(format!("Role {:?} not found", input.name));
    let role = Role::of(&request.view, &input.name).await?.ok_or_else(missing)?;
    let kind = role.chosen(request.path.starts_with("sts/"))?;
    let federated = kind == CredentialType::FederationToken;
    let root = Root::of(&request.view).await?.unwrap_or_default();
    let caller = request.caller.as_ref().map(|caller| caller.display_name.clone());
    let name = user_name::make(Named {
        template: &root.username_template,
        display_name: caller.as_deref().unwrap_or("system"),
        role: &input.name,
        unix_millis: to_millis(request.now),
        federated,
    })?;
    let cloud = engine.cloud(&request.view).await?;
    if kind == CredentialType::IamUser {
        return give_user(&engine, &cloud, &request, &input.name, &role, &name).await;
    }
    let asked = Asked {
        role_arn: input.role_arn.unwrap_or_default(),
        session_name: checked_session_name(input.role_session_name.unwrap_or_default())?,
        mfa_code: input.mfa_code.unwrap_or_default(),
        max: request.lease_max,
        ttl: input.ttl.map(|ttl| ttl.0).filter(|ttl| !ttl.is_zero()),
    };
    let named = kind == CredentialType::AssumedRole && !asked.session_name.is_empty();
    let session_name = if named { asked.session_name.clone() } else { name };
    let made = session::make(&cloud, kind, &role, &input.name, &session_name, &asked).await?;
    let now = to_millis(engine.settings.clock.now()) / 1000;
    // Their clock may be ahead of ours, or behind.
    let wanted = session::seconds(kind, &role, &asked)?;
    let left = match made.expires.saturating_sub(now) {
        0 => wanted,
        left => left.min(wanted),
    };
    let mut data = secrets(&made.keys);
    data.insert("ttl".to_owned(), left.into());
    if !made.arn.is_empty() {
        data.insert("arn".to_owned(), made.arn.into());
    }
    let given = serde_json::to_value(Given::Session).map_err(Error::internal)?;
    let lease = Lease { ttl: Duration::from_secs(left), renewable: false, data: given };
    Ok(Body::Lease(Json::of(&data), lease).into())
}

fn checked_session_name(mut name: String) -> Result<String, Error> {
    // Longer ones are cut, as clients know it.
    name.truncate(name.floor_char_boundary(user_name::LENGTH_MAX));
    if !name.is_empty() && !user_name::is_session_name(&name) {
        return Err(Error::invalid(user_name::session_name_refusal("role_session_name")));
    }
    Ok(name)
}

fn secrets(keys: &Keys) -> Map<String, Value> {
    let token = keys.session_token.as_ref().map(|token| token.expose().as_str());
    // Old clients know the token by the third name, new ones by the fourth.
    let fields = [
        ("access_key", json!(keys.access_key_id)),
        ("secret_key", json!(keys.secret_access_key.expose())),
        ("security_token", json!(token)),
        ("session_token", json!(token)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

async fn give_user(
    engine: &Aws,
    cloud: &Cloud,
    request: &Request<()>,
    role_name: &str,
    role: &Role,
    name: &str,
) -> Result<Reply, Error> {
    let mark = random::uuid().to_string();
    let made = to_millis(request.now) / 1000;
    let announced = Intent::User { name: name.to_owned(), mark: mark.clone(), made };
    let now = engine.settings.clock.now();
    let declared = intent::declare(&request.view, &announced, now).await?;
    let mut policy_name = user_name::permitted(role_name);
    policy_name.truncate(POLICY_NAME_LENGTH_MAX);
    let wanted =
        Wanted { name, mark: &mark, mount: &request.mount.uuid, role, policy_name: &policy_name };
    let made = match user::make(cloud, wanted).await {
        Ok(made) => made,
        Err(failed) => {
            undo(cloud, request, declared, &announced, &failed).await;
            return Err(failed.of_request());
        }
    };
    let readiness = ready::wait(cloud, &made.keys).await;
    request.view.put(&user::record_key(&mark), &made.user.name);
    declared.settle(&request.view);
    let data = secrets(&made.keys);
    let given = serde_json::to_value(Given::User(made.user)).map_err(Error::internal)?;
    let term = config_lease::term(&request.view).await?;
    let ttl = if term.max_ttl.is_zero() { term.ttl } else { term.ttl.min(term.max_ttl) };
    let lease = Lease { ttl, renewable: true, data: given };
    let mut reply: Reply = Body::Lease(Json::of(&data), lease).into();
    if let Readiness::Unsure(why) = readiness {
        reply = reply.warn(format!(
            "the new key was not seen to work in time ({why}); it may take a while until it does"
        ));
    }
    if !made.marked {
        reply = reply.warn(
            "the user has no tags, as the engine's own user lacks iam:TagUser: a scan for orphans \
             does not find it",
        );
    }
    Ok(reply)
}

/// What a failed request has begun is undone at once where that is sure; else a little later, when
/// nothing of it is under way any more.
async fn undo(
    cloud: &Cloud,
    request: &Request<()>,
    declared: Declared,
    announced: &Intent,
    failed: &Failed,
) {
    let unsure = failed.cause.sent && failed.cause.http_status.is_none();
    let Intent::User { name, mark, made } = announced else { return };
    if unsure || remove::intended(cloud, name, mark, *made).await.is_err() {
        return;
    }
    let unit = request.view.fresh();
    declared.settle(&unit);
    // If this does not land, the intent stays, and undoing it again does no harm.
    unit.commit().await.ok();
}
