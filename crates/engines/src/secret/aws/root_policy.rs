//! `root-policy`: what the engine's own user must be allowed, and nothing more.

use super::{
    Aws,
    config_root::Root,
    role::{CredentialType, Role, TREE},
    static_role::{self, StaticRole},
};
use bailee_sdk::{Error, Reply, Request, View};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
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

/// What replacing a user's key takes.
const KEY_ACTIONS: &[&str] =
    &["iam:CreateAccessKey", "iam:DeleteAccessKey", "iam:GetUser", "iam:ListAccessKeys"];
/// The name under which static roles are asked for.
const STATIC_ROLE: &str = "static_role";

/// For which credentials.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Ask {
    /// `iam_user`, `assumed_role`, `federation_token`, `session_token` or `static_role`; when it is not
    /// given, what the mount's roles need.
    #[serde(default)]
    credential_type: Option<String>,
    /// How names of users begin; `vault-` unless said otherwise.
    #[serde(default)]
    user_prefix: Option<String>,
    /// The account; any when not given.
    #[serde(default)]
    account_id: Option<String>,
}

/// What the mount has, and what is asked about it.
struct Mounted {
    roles: Vec<Role>,
    statics: Vec<StaticRole>,
    account: String,
    prefix: String,
}

pub(super) async fn read(_: Arc<Aws>, request: Request<Ask>) -> Result<Reply, Error> {
    let given = |text: &Option<String>, default: &str| {
        text.as_deref().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
    };
    let mounted = Mounted {
        roles: roles(&request.view).await?,
        statics: static_role::all(&request.view, ROLES_MAX).await?,
        account: given(&request.input.account_id, "*"),
        prefix: given(&request.input.user_prefix, "vault-"),
    };
    let asked = request.input.credential_type.as_deref().filter(|name| !name.is_empty());
    let mut statements = Vec::new();
    let kinds = match asked {
        Some(STATIC_ROLE) => Vec::new(),
        Some(name) => {
            let text = || Error::invalid(format!("unrecognized credential type: {name}"));
            vec![CredentialType::named(name).ok_or_else(text)?]
        }
        None => mounted.used(),
    };
    for kind in kinds {
        statements.extend(mounted.statements_of(kind));
    }
    if asked == Some(STATIC_ROLE) || asked.is_none() && !mounted.statics.is_empty() {
        statements.extend(mounted.statics());
    }
    statements.extend(mounted.groups_that_limit_sessions());
    let root = Root::of(&request.view).await?;
    let has_keys = root.as_ref().is_none_or(Root::has_keys);
    let role = root.as_ref().map(|root| root.role_arn.as_str()).filter(|arn| !arn.is_empty());
    let mut answer = Map::new();
    if let (Some(role), true) = (role, has_keys) {
        // The key's user takes on the role, which does the rest.
        let assume = allow("AssumeOwnRole", &["sts:AssumeRole"], &[role.to_owned()]);
        answer.insert("user_policy".to_owned(), policy(vec![assume, mounted.own_key()]));
    } else if has_keys && !statements.iter().any(|statement| mounted.covers_all(statement)) {
        statements.push(mounted.own_key());
    }
    let policy = policy(statements);
    answer.insert("policy_document".to_owned(), policy.to_string().into());
    answer.insert("policy".to_owned(), policy);
    Ok(Reply::data(&answer))
}

fn policy(statements: Vec<Value>) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

async fn roles(view: &View) -> Result<Vec<Role>, Error> {
    let mut roles = Vec::new();
    for name in view.names(TREE).list("", "", ROLES_MAX).await? {
        roles.extend(Role::of(view, &name).await?);
    }
    Ok(roles)
}

impl Mounted {
    /// The kinds that roles use; all of them when there is no role yet.
    fn used(&self) -> Vec<CredentialType> {
        let all = [
            CredentialType::IamUser,
            CredentialType::AssumedRole,
            CredentialType::FederationToken,
            CredentialType::SessionToken,
        ];
        let none = self.roles.is_empty() && self.statics.is_empty();
        all.into_iter().filter(|kind| none || self.of(*kind).next().is_some()).collect()
    }

    fn of(&self, kind: CredentialType) -> impl Iterator<Item = &Role> {
        self.roles.iter().filter(move |role| role.credential_types.contains(&kind))
    }

    fn statements_of(&self, kind: CredentialType) -> Vec<Value> {
        match kind {
            CredentialType::IamUser => self.users(),
            CredentialType::AssumedRole => vec![self.assumed()],
            CredentialType::FederationToken => {
                let Mounted { account, prefix, .. } = self;
                let named = [format!("arn:aws:sts::{account}:federated-user/{prefix}*")];
                vec![allow("Federate", &["sts:GetFederationToken"], &named)]
            }
            // GetSessionToken needs no permission.
            CredentialType::SessionToken => Vec::new(),
        }
    }

    fn users(&self) -> Vec<Value> {
        let Mounted { account, prefix, .. } = self;
        let path = |role: &Role| match role.user_path.as_str() {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        let mut paths: BTreeSet<String> = self.of(CredentialType::IamUser).map(path).collect();
        if paths.is_empty() {
            paths.insert("/".to_owned());
        }
        let users: Vec<String> = paths
            .iter()
            .map(|path| format!("arn:aws:iam::{account}:user{path}{prefix}*"))
            .collect();
        let mut statements = vec![allow("ManageUsers", USER_ACTIONS, &users)];
        let joined = self.of(CredentialType::IamUser).flat_map(|role| &role.iam_groups);
        let joined: BTreeSet<String> =
            joined.map(|group| format!("arn:aws:iam::{account}:group/{group}")).collect();
        if !joined.is_empty() {
            let joined: Vec<String> = joined.into_iter().collect();
            statements.push(allow("JoinGroups", &["iam:AddUserToGroup"], &joined));
        }
        // Whatever group somebody put a user in, it leaves before it goes.
        let all = [format!("arn:aws:iam::{account}:group/*")];
        statements.push(allow("LeaveGroups", &["iam:RemoveUserFromGroup"], &all));
        statements
    }

    fn assumed(&self) -> Value {
        let kind = CredentialType::AssumedRole;
        let arns: BTreeSet<&String> = self.of(kind).flat_map(|role| &role.role_arns).collect();
        let arns: Vec<String> = if arns.is_empty() {
            vec![format!("arn:aws:iam::{}:role/*", self.account)]
        } else {
            arns.into_iter().cloned().collect()
        };
        let tagged = self.of(kind).any(|role| !role.session_tags.is_empty());
        let actions: &[&str] =
            if tagged { &["sts:AssumeRole", "sts:TagSession"] } else { &["sts:AssumeRole"] };
        allow("AssumeRoles", actions, &arns)
    }

    /// Sessions are limited by what groups may, which has to be read.
    fn groups_that_limit_sessions(&self) -> Option<Value> {
        let groups = self.roles.iter().any(|role| {
            !role.iam_groups.is_empty() && role.credential_types != [CredentialType::IamUser]
        });
        let actions =
            ["iam:GetGroupPolicy", "iam:ListAttachedGroupPolicies", "iam:ListGroupPolicies"];
        let all = [format!("arn:aws:iam::{}:group/*", self.account)];
        groups.then(|| allow("ReadGroups", &actions, &all))
    }

    /// Users of the own account whose keys are replaced, and roles through which others are reached.
    fn statics(&self) -> Vec<Value> {
        let direct = self.statics.iter().filter(|role| role.through().is_none());
        let arn = |role: &StaticRole| match role.user_arn() {
            "" => self.all_users(),
            arn => arn.to_owned(),
        };
        let mut users: BTreeSet<String> = direct.map(arn).collect();
        let through = self.statics.iter().filter_map(StaticRole::through);
        let through: BTreeSet<String> = through.map(|role| role.role_arn.clone()).collect();
        if users.is_empty() && through.is_empty() {
            users.insert(self.all_users());
        }
        let (users, through) = (Vec::from_iter(users), Vec::from_iter(through));
        let mut statements = Vec::new();
        if !users.is_empty() {
            statements.push(allow("ReplaceKeys", KEY_ACTIONS, &users));
        }
        if !through.is_empty() {
            statements.push(allow("ReachOtherAccounts", &["sts:AssumeRole"], &through));
        }
        statements
    }

    fn all_users(&self) -> String {
        format!("arn:aws:iam::{}:user/*", self.account)
    }

    /// Whether a statement lets the keys of all users be replaced, the own one included.
    fn covers_all(&self, statement: &Value) -> bool {
        let all = Value::from(self.all_users());
        statement["Action"] == json!(KEY_ACTIONS)
            && statement["Resource"].as_array().is_some_and(|users| users.contains(&all))
    }

    /// What `config/rotate-root` needs, on the engine's own user alone.
    fn own_key(&self) -> Value {
        // IAM writes the variable for the name of whoever calls; users may be below a path.
        let own = ["", "*/"]
            .map(|path| format!("arn:aws:iam::{}:user/{path}${{aws:username}}", self.account));
        allow("RotateOwnKey", KEY_ACTIONS, &own)
    }
}

fn allow(id: &str, actions: &[&str], resources: &[String]) -> Value {
    json!({ "Sid": id, "Effect": "Allow", "Action": actions, "Resource": resources })
}
