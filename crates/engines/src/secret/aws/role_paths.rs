//! `roles/`: keeping roles.

use super::{
    Aws, policy,
    role::{CredentialType, Role, TREE, refused},
};
use crate::listing::ListNames;
use bailee_sdk::{
    Error, Reply, Request,
    field::{CommaList, KeyValues, Ttl},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

const LEGACY: &str =
    "Detected use of legacy role or policy parameter. Please upgrade to use the new parameters.";

/// Names the role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Named {
    /// Name of the role.
    name: String,
}

pub(super) async fn list(_: Arc<Aws>, request: Request<ListNames>) -> Result<Reply, Error> {
    request.input.of(&request.view.names(TREE)).await
}

pub(super) async fn exists(_: Arc<Aws>, request: Request<Named>) -> Result<bool, Error> {
    Ok(Role::of(&request.view, &request.input.name).await?.is_some())
}

pub(super) async fn delete(_: Arc<Aws>, request: Request<Named>) -> Result<Reply, Error> {
    request.view.names(TREE).delete(&request.input.name).await?;
    Ok(Reply::empty())
}

pub(super) async fn read(_: Arc<Aws>, request: Request<Named>) -> Result<Reply, Error> {
    let role = Role::of(&request.view, &request.input.name).await?.ok_or_else(Error::not_found)?;
    let types: Vec<&str> = role.credential_types.iter().map(|kind| kind.name()).collect();
    Ok(Reply::data(&json!({
        "credential_type": types.join(","),
        "default_sts_ttl": role.default_sts_secs,
        "external_id": role.external_id,
        "iam_groups": unless_empty(&role.iam_groups),
        "iam_tags": unless_no_tags(&role.iam_tags),
        "max_sts_ttl": role.max_sts_secs,
        "mfa_serial_number": role.mfa_serial_number,
        "permissions_boundary_arn": role.permissions_boundary_arn,
        "policy_arns": unless_empty(&role.policy_arns),
        "policy_document": role.policy_document,
        "role_arns": unless_empty(&role.role_arns),
        "session_tags": unless_no_tags(&role.session_tags),
        "user_path": role.user_path,
    })))
}

/// Lists that are empty are shown as null.
fn unless_empty(list: &[String]) -> Option<&[String]> {
    (!list.is_empty()).then_some(list)
}

fn unless_no_tags(tags: &BTreeMap<String, String>) -> Option<&BTreeMap<String, String>> {
    (!tags.is_empty()).then_some(tags)
}

/// A role, or a change of one. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteRole {
    /// Name of the role.
    name: String,
    /// What is given out: `iam_user`, `assumed_role`, `federation_token` or `session_token`.
    credential_type: Option<String>,
    /// ARNs of managed policies: attached to users, or limits of sessions.
    policy_arns: Option<CommaList>,
    /// ARNs of the roles that may be assumed.
    role_arns: Option<CommaList>,
    /// A policy as JSON: written into users, or a limit of sessions.
    policy_document: Option<String>,
    /// Groups that users join, or whose policies limit sessions.
    iam_groups: Option<CommaList>,
    /// Tags of users.
    iam_tags: Option<KeyValues>,
    /// Tags of sessions of assumed roles.
    session_tags: Option<KeyValues>,
    /// Sent when a role is assumed.
    external_id: Option<String>,
    /// The device whose codes session tokens are asked with.
    mfa_serial_number: Option<String>,
    /// How long sessions last unless the request says so.
    default_sts_ttl: Option<Ttl>,
    /// How long sessions last at most.
    max_sts_ttl: Option<Ttl>,
    /// The path of users, such as `/ci/`.
    user_path: Option<String>,
    /// ARN of the policy that bounds what users may do.
    permissions_boundary_arn: Option<String>,
    /// Deprecated: a policy document; use `policy_document`.
    policy: Option<String>,
    /// Deprecated: an ARN of a policy or role; use `policy_arns` or `role_arns`.
    arn: Option<String>,
}

pub(super) async fn write(_: Arc<Aws>, request: Request<WriteRole>) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    let names = request.view.names(TREE);
    request.view.lock(&format!("{TREE}/{}", names.id(&input.name))).await;
    let name = input.name.clone();
    let legacy = input.policy.is_some() || input.arn.is_some();
    let known = Role::of(&request.view, &name).await?.unwrap_or_default();
    let role = if legacy { old_form(&input)? } else { changed(known, input)? };
    role.check()?;
    names.put(&name, &role).await?;
    Ok(if legacy { Reply::empty().warn(LEGACY) } else { Reply::empty() })
}

/// What Vault took before roles had a type.
fn old_form(input: &WriteRole) -> Result<Role, Error> {
    let new = [
        input.credential_type.is_some(),
        input.policy_arns.is_some(),
        input.role_arns.is_some(),
        input.policy_document.is_some(),
    ];
    if new.contains(&true) || (input.policy.is_some() && input.arn.is_some()) {
        return Err(Error::invalid(
            "policy and arn are the old form of a role: give one of them alone, or \
             credential_type with policy_document, policy_arns or role_arns",
        ));
    }
    let mut role = Role::default();
    if let Some(document) = &input.policy {
        role.policy_document = policy::compact(document)?;
        role.credential_types = vec![CredentialType::IamUser, CredentialType::FederationToken];
        return Ok(role);
    }
    let arn = input.arn.clone().unwrap_or_default();
    if arn.contains(":role/") {
        role.credential_types = vec![CredentialType::AssumedRole];
        role.role_arns = vec![arn];
    } else if arn.contains(":policy/") {
        role.credential_types = vec![CredentialType::IamUser];
        role.policy_arns = vec![arn];
    } else {
        return Err(Error::invalid(format!("arn: {arn:?} is neither of a policy nor of a role")));
    }
    Ok(role)
}

fn changed(mut role: Role, input: WriteRole) -> Result<Role, Error> {
    if let Some(name) = input.credential_type.filter(|name| !name.is_empty()) {
        let Some(kind) = CredentialType::named(&name) else {
            refused(&[format!("unrecognized credential type: {name}")])?;
            return Ok(role);
        };
        role.credential_types = vec![kind];
    }
    let lists = [
        (&mut role.policy_arns, input.policy_arns),
        (&mut role.role_arns, input.role_arns),
        (&mut role.iam_groups, input.iam_groups),
    ];
    for (stored, given) in lists {
        if let Some(CommaList(given)) = given {
            *stored = given;
        }
    }
    if let Some(document) = input.policy_document {
        role.policy_document = policy::compact(&document)?;
    }
    let texts = [
        (&mut role.external_id, input.external_id),
        (&mut role.mfa_serial_number, input.mfa_serial_number),
        (&mut role.user_path, input.user_path),
        (&mut role.permissions_boundary_arn, input.permissions_boundary_arn),
    ];
    for (stored, given) in texts {
        if let Some(given) = given {
            *stored = given;
        }
    }
    let tags = [(&mut role.iam_tags, input.iam_tags), (&mut role.session_tags, input.session_tags)];
    for (stored, given) in tags {
        if let Some(KeyValues(given)) = given {
            *stored = given;
        }
    }
    let terms = [
        (&mut role.default_sts_secs, input.default_sts_ttl),
        (&mut role.max_sts_secs, input.max_sts_ttl),
    ];
    for (stored, given) in terms {
        if let Some(Ttl(given)) = given {
            *stored = given.as_secs();
        }
    }
    Ok(role)
}
