//! Sessions of STS.

use super::{
    cloud::{self, Cloud, Failed},
    policy,
    role::{CredentialType, Role},
    user::session_keys,
};
use bailee_cloud::{
    CloudError, Xml,
    query::{Form, Keys},
};
use bailee_sdk::Error;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use std::time::Duration;

/// The shortest session that STS gives, in seconds.
const SECS_MIN: u64 = 900;
/// How long a session lasts when nobody says.
const SECS_DEFAULT: u64 = 3600;

/// What a request asks of a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) role_arn: String,
    pub(super) session_name: String,
    pub(super) mfa_code: String,
    /// None when the request does not say.
    pub(super) ttl: Option<Duration>,
    /// The longest that the mount lets a lease last: a session cannot be ended with its lease.
    pub(super) max: Duration,
}

/// A session.
pub(super) struct Session {
    pub(super) keys: Keys,
    /// Whose it is in logs; empty when STS does not tell.
    pub(super) arn: String,
    /// When it ends, in seconds since 1970.
    pub(super) expires: u64,
}

/// How long the session is to last.
pub(super) fn seconds(kind: CredentialType, role: &Role, asked: &Asked) -> Result<u64, Error> {
    let default = if role.default_sts_secs > 0 { role.default_sts_secs } else { SECS_DEFAULT };
    let mut seconds = asked.ttl.map_or(default, |ttl| ttl.as_secs());
    let max = if role.max_sts_secs > 0 { role.max_sts_secs } else { u64::MAX };
    seconds = seconds.min(max).min(asked.max.as_secs());
    if seconds < SECS_MIN {
        return Err(Error::invalid(format!(
            "{}: ValidationError: 1 validation error detected: Value '{seconds}' at \
             'durationSeconds' failed to satisfy constraint: Member must have value greater than or \
             equal to {SECS_MIN}",
            failing(kind)
        )));
    }
    Ok(seconds)
}

/// What could not be done when there is no session.
fn failing(kind: CredentialType) -> &'static str {
    match kind {
        CredentialType::AssumedRole => "Error assuming role",
        CredentialType::IamUser
        | CredentialType::FederationToken
        | CredentialType::SessionToken => "Error generating STS keys",
    }
}

/// The role to be assumed: the one that is asked for, or the only one there is.
pub(super) fn role_arn<'a>(role: &'a Role, name: &str, asked: &'a Asked) -> Result<&'a str, Error> {
    let wanted = asked.role_arn.as_str();
    match role.role_arns.as_slice() {
        [only] if wanted.is_empty() => Ok(only),
        known if known.iter().any(|known| known == wanted) => Ok(wanted),
        _ if wanted.is_empty() => {
            Err(Error::invalid("did not supply a role_arn parameter and unable to determine one"))
        }
        _ => Err(Error::invalid(format!(
            "role_arn {wanted:?} not in allowed role arns for Vault role {name:?}"
        ))),
    }
}

/// Asks STS for a session; `session_name` is made for those that need one.
pub(super) async fn make(
    cloud: &Cloud,
    kind: CredentialType,
    role: &Role,
    name: &str,
    session_name: &str,
    asked: &Asked,
) -> Result<Session, Error> {
    let duration = seconds(kind, role, asked)?.to_string();
    let form = Form::new().with("DurationSeconds", duration);
    let (action, form) = match kind {
        CredentialType::SessionToken => {
            let serial = role.mfa_serial_number.as_str();
            if serial.is_empty() != asked.mfa_code.is_empty() {
                return Err(Error::invalid(
                    "mfa_code goes with a role that has an mfa_serial_number, and such a role needs \
                     it",
                ));
            }
            let form = form.with_given("SerialNumber", serial);
            ("GetSessionToken", form.with_given("TokenCode", &asked.mfa_code))
        }
        CredentialType::FederationToken => {
            let form = limited(cloud, form.with("Name", session_name), role).await?;
            let Limited { form, any: true } = form else {
                return Err(Error::invalid(
                    "must specify at least one of policy_arns or policy_document with \
                     federation_token credential_type",
                ));
            };
            ("GetFederationToken", form)
        }
        CredentialType::AssumedRole => {
            let form = form
                .with("RoleArn", role_arn(role, name, asked)?)
                .with("RoleSessionName", session_name)
                .with_given("ExternalId", &role.external_id);
            let tags = role.session_tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            let form = cloud::tags(form, tags);
            ("AssumeRole", limited(cloud, form, role).await?.form)
        }
        CredentialType::IamUser => return Err(Error::internal("a user is no session")),
    };
    let failed = |cause| Failed { what: failing(kind), cause }.of_request();
    let answer = cloud.sts(action, &form).await.map_err(failed)?;
    let keys = session_keys(&answer).map_err(failed)?;
    // GetFederationToken and AssumeRole tell whose the session is, each in a place of its own.
    let arn = answer.value("Arn").to_owned();
    Ok(Session { keys, arn, expires: expires(&answer) })
}

fn expires(answer: &Xml) -> u64 {
    let date: Option<Timestamp> = answer.value("Expiration").parse().ok();
    date.and_then(|date| u64::try_from(date.as_second()).ok()).unwrap_or_default()
}

/// A form with the policies that limit a session, if there are any.
struct Limited {
    form: Form,
    any: bool,
}

/// Policies of the role itself and of its groups.
async fn limited(cloud: &Cloud, form: Form, role: &Role) -> Result<Limited, Error> {
    let failed =
        |cause: CloudError| Failed { what: "Error reading IAM group policies", cause }.of_request();
    let mut arns = role.policy_arns.clone();
    let mut documents: Vec<String> = Vec::new();
    if !role.policy_document.is_empty() {
        documents.push(role.policy_document.clone());
    }
    for group in &role.iam_groups {
        let named = Form::new().with("GroupName", group);
        let attached = cloud.list("ListAttachedGroupPolicies", "AttachedPolicies", &named).await;
        for policy in attached.map_err(failed)? {
            let arn = policy.value("PolicyArn").to_owned();
            if !arns.contains(&arn) {
                arns.push(arn);
            }
        }
        let inline =
            cloud.list("ListGroupPolicies", "PolicyNames", &named).await.map_err(failed)?;
        for policy in inline {
            let form = named.clone().with("PolicyName", policy.text());
            let answer = cloud.iam("GetGroupPolicy", &form).await.map_err(failed)?;
            let document = percent_decode_str(answer.value("PolicyDocument")).decode_utf8_lossy();
            documents.push(policy::compact(&document)?);
        }
    }
    let document = policy::joined(&documents)?;
    let any = !arns.is_empty() || !document.is_empty();
    let form = cloud::members(form, "PolicyArns", ".arn", arns.iter().map(String::as_str));
    Ok(Limited { form: form.with_given("Policy", &document), any })
}
