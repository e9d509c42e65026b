//! `root-policy`: what the engine's own user must be allowed, and nothing more.

use super::{
    Aws,
    role::{CredentialType, Role, TREE},
};
use bailee_sdk::{Error, Reply, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// Roles that are looked at.
const ROLES_MAX: usize = 1000;

/// What making and removing a user takes.
const USER_ACTIONS: &[&str] = &[
    "iam:AttachUserPolicy",
    "iam:CreateAccessKey",
    "iam:CreateUser",
    "iam:DeactivateMFADevice",
    "iam:DeleteAccessKey",
    "iam:DeleteLoginProfile",
    "iam:DeleteServiceSpecificCredential",
    "iam:DeleteSigningCertificate",
    "iam:DeleteSSHPublicKey",
    "iam:DeleteUser",
    "iam:DeleteUserPolicy",
    "iam:DetachUserPolicy",
    "iam:GetUser",
    "iam:ListAccessKeys",
    "iam:ListAttachedUserPolicies",
    "iam:ListGroupsForUser",
    "iam:ListMFADevices",
    "iam:ListServiceSpecificCredentials",
    "iam:ListSigningCertificates",
    "iam:ListSSHPublicKeys",
    "iam:ListUserPolicies",
    "iam:PutUserPolicy",
    "iam:TagUser",
];

/// For which credentials.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Ask {
    /// `iam_user`, `assumed_role`, `federation_token` or `session_token`; when it is not given, what
    /// the mount's roles need.
    #[serde(default)]
    credential_type: Option<String>,
    /// How names of users begin; `vault-` unless said otherwise.
    #[serde(default)]
    user_prefix: Option<String>,
    /// The account; any when not given.
    #[serde(default)]
    account_id: Option<String>,
}

pub(super) async fn read(_: Arc<Aws>, request: Request<Ask>) -> Result<Reply, Error> {
    let roles = roles(&request).await?;
    let kinds = match request.input.credential_type.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => {
            let text = || Error::invalid(format!("unrecognized credential type: {name}"));
            vec![CredentialType::named(name).ok_or_else(text)?]
        }
        None => used(&roles),
    };
    let given = |text: &Option<String>, default: &str| {
        text.as_deref().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
    };
    let account = given(&request.input.account_id, "*");
    let prefix = given(&request.input.user_prefix, "vault-");
    let mut statements = Vec::new();
    for kind in kinds {
        statements.extend(statements_of(kind, &roles, &account, &prefix));
    }
    let groups = roles.iter().any(|role| {
        !role.iam_groups.is_empty() && role.credential_types != [CredentialType::IamUser]
    });
    if groups {
        let actions =
            ["iam:GetGroupPolicy", "iam:ListAttachedGroupPolicies", "iam:ListGroupPolicies"];
        statements.push(allow(
            "ReadGroups",
            &actions,
            &[format!("arn:aws:iam::{account}:group/*")],
        ));
    }
    statements.push(own_key(&account));
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    Ok(Reply::data(&json!({ "policy_document": policy.to_string(), "policy": policy })))
}

async fn roles(request: &Request<Ask>) -> Result<Vec<Role>, Error> {
    let mut roles = Vec::new();
    for name in request.view.names(TREE).list("", "", ROLES_MAX).await? {
        roles.extend(Role::of(&request.view, &name).await?);
    }
    Ok(roles)
}

/// The kinds that roles use; all of them when there is no role yet.
fn used(roles: &[Role]) -> Vec<CredentialType> {
    let all = [
        CredentialType::IamUser,
        CredentialType::AssumedRole,
        CredentialType::FederationToken,
        CredentialType::SessionToken,
    ];
    let is_used = |kind: &CredentialType| {
        roles.is_empty() || roles.iter().any(|role| role.credential_types.contains(kind))
    };
    all.into_iter().filter(is_used).collect()
}

fn statements_of(kind: CredentialType, roles: &[Role], account: &str, prefix: &str) -> Vec<Value> {
    match kind {
        CredentialType::IamUser => {
            let paths: BTreeSet<&str> = roles
                .iter()
                .filter(|role| role.credential_types.contains(&kind))
                .map(|role| if role.user_path.is_empty() { "/" } else { role.user_path.as_str() })
                .collect();
            let paths = if paths.is_empty() { BTreeSet::from(["/"]) } else { paths };
            let users: Vec<String> = paths
                .iter()
                .map(|path| format!("arn:aws:iam::{account}:user{path}{prefix}*"))
                .collect();
            let mut statements = vec![allow("ManageUsers", USER_ACTIONS, &users)];
            let groups: BTreeSet<&String> =
                roles.iter().flat_map(|role| &role.iam_groups).collect();
            if !groups.is_empty() {
                let groups: Vec<String> = groups
                    .iter()
                    .map(|group| format!("arn:aws:iam::{account}:group/{group}"))
                    .collect();
                statements.push(allow("JoinGroups", &["iam:AddUserToGroup"], &groups));
            }
            // Whatever group somebody put a user in, it leaves before it goes.
            let all = [format!("arn:aws:iam::{account}:group/*")];
            statements.push(allow("LeaveGroups", &["iam:RemoveUserFromGroup"], &all));
            statements
        }
        CredentialType::AssumedRole => {
            let arns: BTreeSet<&String> = roles.iter().flat_map(|role| &role.role_arns).collect();
            let arns: Vec<String> = if arns.is_empty() {
                vec![format!("arn:aws:iam::{account}:role/*")]
            } else {
                arns.into_iter().cloned().collect()
            };
            let tagged = roles.iter().any(|role| !role.session_tags.is_empty());
            let actions: &[&str] =
                if tagged { &["sts:AssumeRole", "sts:TagSession"] } else { &["sts:AssumeRole"] };
            vec![allow("AssumeRoles", actions, &arns)]
        }
        CredentialType::FederationToken => {
            let all = [format!("arn:aws:sts::{account}:federated-user/*")];
            vec![allow("Federate", &["sts:GetFederationToken"], &all)]
        }
        // GetSessionToken needs no permission.
        CredentialType::SessionToken => Vec::new(),
    }
}

/// What `config/rotate-root` needs, on the engine's own user alone.
fn own_key(account: &str) -> Value {
    let actions =
        ["iam:CreateAccessKey", "iam:DeleteAccessKey", "iam:GetUser", "iam:ListAccessKeys"];
    // IAM writes the variable for the name of whoever calls.
    allow("RotateOwnKey", &actions, &[format!("arn:aws:iam::{account}:user/${{aws:username}}")])
}

fn allow(id: &str, actions: &[&str], resources: &[String]) -> Value {
    json!({ "Sid": id, "Effect": "Allow", "Action": actions, "Resource": resources })
}
