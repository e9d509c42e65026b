//! Statements of policies that let a step pass.

use crate::aws::{names::SecretArn, regions};
use serde::Serialize;
use serde_json::{Value, json};

/// A statement, and where it belongs.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Addition {
    /// The kind of policy.
    pub policy: PolicyKind,
    /// The policy in words, such as `the trust policy of role app`.
    pub to: String,
    /// What to add to its `Statement`.
    pub statement: Statement,
}

/// A statement of a policy, its elements in the order in which people write them.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Value>,
    action: &'static str,
    /// Trust policies have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

impl Statement {
    fn allow(action: &'static str) -> Statement {
        Statement { effect: "Allow", principal: None, action, resource: None, condition: None }
    }

    fn on(self, resource: &str) -> Statement {
        Statement { resource: Some(resource.to_owned()), ..self }
    }

    fn to(self, principal: &str) -> Statement {
        Statement { principal: Some(json!({ "AWS": principal })), ..self }
    }

    fn when(self, key: &str, value: &str) -> Statement {
        Statement { condition: Some(json!({ "StringEquals": { key: value } })), ..self }
    }
}

/// Where a policy is attached.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// To a user or role.
    Identity,
    /// To a role: who may take it on.
    Trust,
    /// To a secret.
    Secret,
    /// To a KMS key.
    Key,
}

/// A user or role, as policies name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Its ARN in IAM.
    pub(super) arn: String,
    pub(super) account: String,
}

impl Caller {
    /// From what STS says: a session stands for its role. Paths of roles are not told; where `role` is that role, its
    /// ARN is taken.
    pub(super) fn new(told: &str, account: &str, role: Option<&str>) -> Caller {
        let parts: Vec<&str> = told.splitn(6, ':').collect();
        let arn = match parts.as_slice() {
            ["arn", partition, "sts", _, account, resource] => {
                let name =
                    resource.strip_prefix("assumed-role/").and_then(|it| it.split('/').next());
                name.map(|name| format!("arn:{partition}:iam::{account}:role/{name}"))
            }
            _ => None,
        };
        let known = |arn: &String| {
            let role = role?;
            let same = role.rsplit('/').next() == arn.rsplit('/').next();
            (same && account_of(role) == Some(account)).then(|| role.to_owned())
        };
        let arn = arn.map_or_else(|| told.to_owned(), |arn| known(&arn).unwrap_or(arn));
        Caller { arn, account: account.to_owned() }
    }

    fn partition(&self) -> &str {
        self.arn.split(':').nth(1).unwrap_or("aws")
    }

    /// `user app` or `role app`.
    fn shown(&self) -> String {
        let resource = self.arn.rsplit(':').next().unwrap_or_default();
        let name = resource.rsplit('/').next().unwrap_or_default();
        let kind = resource.split('/').next().unwrap_or_default();
        format!("{kind} {name}")
    }

    pub(super) fn may(&self, action: &'static str, resource: &str) -> Addition {
        self.identity(Statement::allow(action).on(resource))
    }

    fn identity(&self, statement: Statement) -> Addition {
        let to = format!("the identity policy of {} in account {}", self.shown(), self.account);
        Addition { policy: PolicyKind::Identity, to, statement }
    }

    /// The ARN of a secret, as policies write it.
    pub(super) fn secret(&self, id: &str, region: &str) -> String {
        match SecretArn::parse(id) {
            Some(arn) if arn.looks_whole() => id.to_owned(),
            Some(_) => format!("{id}-??????"),
            None => {
                let (partition, account) = (self.partition(), &self.account);
                format!("arn:{partition}:secretsmanager:{region}:{account}:secret:{id}-??????")
            }
        }
    }

    /// Whether a secret belongs to another account.
    pub(super) fn is_foreign(&self, id: &str) -> bool {
        SecretArn::parse(id).is_some_and(|arn| arn.account != self.account)
    }

    /// What a role must say to be taken on by this caller.
    pub(super) fn trusted_by(&self, role: &str, external_id: Option<&str>) -> Addition {
        let statement = Statement::allow("sts:AssumeRole").to(&self.arn);
        let statement = match external_id {
            Some(id) => statement.when("sts:ExternalId", id),
            None => statement,
        };
        Addition { policy: PolicyKind::Trust, to: of_role("the trust policy", role), statement }
    }

    /// What a secret must say to be read from another account.
    pub(super) fn reads(&self, id: &str) -> Addition {
        Addition {
            policy: PolicyKind::Secret,
            to: format!("the resource policy of secret {id}"),
            statement: Statement::allow("secretsmanager:GetSecretValue").to(&self.arn).on("*"),
        }
    }

    /// What lets this caller decrypt by a key, in its own policy and in that of the key.
    pub(super) fn decrypts(&self, key: &str, region: &str) -> [Addition; 2] {
        let via = format!("secretsmanager.{region}.{}", regions::domain(region));
        let allowed = Statement::allow("kms:Decrypt").when("kms:ViaService", &via);
        let of_key = Addition {
            policy: PolicyKind::Key,
            to: format!("the key policy of {key}"),
            statement: allowed.clone().to(&self.arn).on("*"),
        };
        [self.identity(allowed.on(key)), of_key]
    }
}

fn of_role(what: &str, role: &str) -> String {
    let name = role.rsplit('/').next().unwrap_or(role);
    let account = account_of(role).unwrap_or_default();
    format!("{what} of role {name} in account {account}")
}

/// The account of an ARN.
pub(super) fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_stands_for_its_role_with_its_path() {
        let told = "arn:aws:sts::111122223333:assumed-role/app/i-1";
        let plain = Caller::new(told, "111122223333", None);
        assert_eq!(plain.arn, "arn:aws:iam::111122223333:role/app");
        let role = "arn:aws:iam::111122223333:role/team/app";
        assert_eq!(Caller::new(told, "111122223333", Some(role)).arn, role);
        let other = "arn:aws:iam::444455556666:role/team/app";
        assert_eq!(Caller::new(told, "111122223333", Some(other)).arn, plain.arn);
        let user = "arn:aws:iam::111122223333:user/app";
        assert_eq!(Caller::new(user, "111122223333", None).arn, user);
    }
}
