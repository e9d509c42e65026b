//! Users, groups, roles, their policies and keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::attachments::Attachments;
use super::evaluate::{Policies, Principal, PrincipalKind};
use super::policy::{DocumentKind, Policy};
use crate::aws::clock::Millis;
use crate::aws::random;

/// A policy document as given, and parsed.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) text: String,
    pub(crate) policy: Policy,
}

impl Document {
    pub(crate) fn parse(text: &str, kind: DocumentKind) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), policy: Policy::parse(text, kind)? })
    }
}

/// The policies of one user, group or role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Permissions {
    pub(crate) inline: BTreeMap<String, Document>,
    pub(crate) attached: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) created: Millis,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) boundary: Option<String>,
    pub(crate) permissions: Permissions,
    pub(crate) groups: BTreeSet<String>,
    pub(crate) attachments: Attachments,
    /// The policies of a new user take a while to be known everywhere.
    pub(crate) effective_from: Millis,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) created: Millis,
    pub(crate) permissions: Permissions,
}

#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) account: String,
    pub(crate) created: Millis,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) boundary: Option<String>,
    pub(crate) trust: Document,
    pub(crate) session_seconds_max: i64,
    pub(crate) permissions: Permissions,
}

#[derive(Clone, Debug)]
pub(crate) struct ManagedPolicy {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) created: Millis,
    pub(crate) document: Document,
}

/// A long-lived key.
#[derive(Clone, Debug)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) owner: Owner,
    pub(crate) active: bool,
    pub(crate) created: Millis,
    /// New keys take a while to be known everywhere.
    pub(crate) usable_from: Millis,
    pub(crate) last_used: Option<LastUse>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Root { account: String },
    User { account: String, name: String },
}

#[derive(Clone, Debug)]
pub(crate) struct LastUse {
    pub(crate) at: Millis,
    pub(crate) service: &'static str,
    pub(crate) region: String,
}

/// Credentials that STS gave out.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) secret: String,
    pub(crate) token: String,
    pub(crate) issued: Millis,
    pub(crate) expires: Millis,
    pub(crate) kind: SessionKind,
    /// `Some` when the session was limited when it was made.
    pub(crate) policies: Option<Vec<Policy>>,
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub(crate) enum SessionKind {
    Role { account: String, role: String, session: String },
    Federated { owner: Owner, name: String },
    Token { owner: Owner },
}

type Name = (String, String);

/// Everything IAM knows, in all accounts.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) users: BTreeMap<Name, User>,
    pub(crate) groups: BTreeMap<Name, Group>,
    pub(crate) roles: BTreeMap<Name, Role>,
    pub(crate) managed: BTreeMap<String, ManagedPolicy>,
    pub(crate) keys: HashMap<String, AccessKey>,
    pub(crate) sessions: HashMap<String, Session>,
}

/// Names are unique without regard to case.
pub(crate) fn key(account: &str, name: &str) -> Name {
    (account.to_owned(), name.to_ascii_lowercase())
}

impl Store {
    pub(crate) fn user(&self, account: &str, name: &str) -> Option<&User> {
        self.users.get(&key(account, name))
    }

    pub(crate) fn user_mut(&mut self, account: &str, name: &str) -> Option<&mut User> {
        self.users.get_mut(&key(account, name))
    }

    pub(crate) fn role(&self, account: &str, name: &str) -> Option<&Role> {
        self.roles.get(&key(account, name))
    }

    /// The role with this ARN.
    pub(crate) fn role_at(&self, arn: &str) -> Option<&Role> {
        let (account, rest) = arn.strip_prefix("arn:aws:iam::")?.split_once(':')?;
        let name = rest.strip_prefix("role/")?.rsplit('/').next()?;
        self.role(account, name).filter(|role| role.arn == arn)
    }

    pub(crate) fn add_user(
        &mut self,
        account: &str,
        name: &str,
        path: &str,
        now: Millis,
    ) -> &mut User {
        let user = User {
            name: name.to_owned(),
            path: path.to_owned(),
            id: format!("AIDA{}", random::capitals(17)),
            arn: format!("arn:aws:iam::{account}:user{path}{name}"),
            created: now,
            tags: BTreeMap::new(),
            boundary: None,
            permissions: Permissions::default(),
            groups: BTreeSet::new(),
            attachments: Attachments::default(),
            effective_from: now,
        };
        self.users.entry(key(account, name)).insert_entry(user).into_mut()
    }

    pub(crate) fn add_role(
        &mut self,
        account: &str,
        name: &str,
        path: &str,
        trust: Document,
        now: Millis,
    ) -> &mut Role {
        let role = Role {
            name: name.to_owned(),
            path: path.to_owned(),
            id: format!("AROA{}", random::capitals(17)),
            arn: format!("arn:aws:iam::{account}:role{path}{name}"),
            account: account.to_owned(),
            created: now,
            tags: BTreeMap::new(),
            boundary: None,
            trust,
            session_seconds_max: 3600,
            permissions: Permissions::default(),
        };
        self.roles.entry(key(account, name)).insert_entry(role).into_mut()
    }

    pub(crate) fn add_key(&mut self, owner: Owner, now: Millis, usable_from: Millis) -> AccessKey {
        let access_key = AccessKey {
            id: format!("AKIA{}", random::capitals(16)),
            secret: random::alphanumeric(40),
            owner,
            active: true,
            created: now,
            usable_from,
            last_used: None,
        };
        self.keys.insert(access_key.id.clone(), access_key.clone());
        access_key
    }

    /// The keys of a user, oldest first.
    pub(crate) fn keys_of(&self, owner: &Owner) -> Vec<&AccessKey> {
        let mut keys: Vec<_> = self.keys.values().filter(|key| key.owner == *owner).collect();
        keys.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        keys
    }

    /// A customer's or AWS's managed policy.
    pub(crate) fn managed_policy(&self, arn: &str) -> Option<&Policy> {
        match self.managed.get(arn) {
            Some(managed) => Some(&managed.document.policy),
            None => super::managed_policies::find(arn),
        }
    }

    fn permissions_of<'a>(&'a self, permissions: &'a Permissions, into: &mut Vec<&'a Policy>) {
        into.extend(permissions.inline.values().map(|document| &document.policy));
        into.extend(permissions.attached.iter().filter_map(|arn| self.managed_policy(arn)));
    }

    /// The policies of a user, with those of its groups.
    fn user_policies(&self, account: &str, name: &str) -> Policies<'_> {
        let mut policies = Policies::default();
        let Some(user) = self.user(account, name) else { return policies };
        self.permissions_of(&user.permissions, &mut policies.identity);
        for group in user.groups.iter().filter_map(|name| self.groups.get(&key(account, name))) {
            self.permissions_of(&group.permissions, &mut policies.identity);
        }
        policies.boundary = user.boundary.as_deref().and_then(|arn| self.managed_policy(arn));
        policies
    }

    fn owner_policies(&self, owner: &Owner) -> Policies<'_> {
        match owner {
            Owner::Root { .. } => Policies::default(),
            Owner::User { account, name } => self.user_policies(account, name),
        }
    }

    /// The policies behind a key: of its owner, or of the session.
    pub(crate) fn policies_behind(&self, access_key_id: &str) -> Policies<'_> {
        if let Some(key) = self.keys.get(access_key_id) {
            return self.owner_policies(&key.owner);
        }
        let Some(session) = self.sessions.get(access_key_id) else { return Policies::default() };
        let mut policies = match &session.kind {
            SessionKind::Role { account, role, .. } => self
                .role(account, role)
                .map_or_else(Policies::default, |role| self.role_policies(role)),
            SessionKind::Federated { owner, .. } | SessionKind::Token { owner } => {
                self.owner_policies(owner)
            }
        };
        policies.session =
            session.policies.as_ref().map(|limits| limits.iter().collect::<Vec<_>>());
        policies
    }

    /// A user or role by ARN with its policies, to ask what it could do.
    pub(crate) fn simulated(&self, arn: &str) -> Option<(Principal, Policies<'_>)> {
        if let Some(((account, _), user)) = self.users.iter().find(|(_, user)| user.arn == arn) {
            let owner = Owner::User { account: account.clone(), name: user.name.clone() };
            return Some((self.owner_principal(&owner)?.0, self.owner_policies(&owner)));
        }
        let role = self.role_at(arn)?;
        let kind = SessionKind::Role {
            account: role.account.clone(),
            role: role.name.clone(),
            session: "simulated".to_owned(),
        };
        Some((self.session_principal(&kind)?.0, self.role_policies(role)))
    }

    fn role_policies<'a>(&'a self, role: &'a Role) -> Policies<'a> {
        let mut policies = Policies::default();
        self.permissions_of(&role.permissions, &mut policies.identity);
        policies.boundary = role.boundary.as_deref().and_then(|arn| self.managed_policy(arn));
        policies
    }

    /// The principal that owns a long-lived key, with its unique id. `None` when the user is gone.
    pub(crate) fn owner_principal(&self, owner: &Owner) -> Option<(Principal, String)> {
        match owner {
            Owner::Root { account } => {
                let principal = Principal {
                    account: account.clone(),
                    arn: format!("arn:aws:iam::{account}:root"),
                    entity_arn: None,
                    kind: PrincipalKind::Root,
                };
                Some((principal, account.clone()))
            }
            Owner::User { account, name } => {
                let user = self.user(account, name)?;
                let principal = Principal {
                    account: account.clone(),
                    arn: user.arn.clone(),
                    entity_arn: None,
                    kind: PrincipalKind::User,
                };
                Some((principal, user.id.clone()))
            }
        }
    }

    /// The principal of a session, with its unique id. `None` when the role or user is gone.
    pub(crate) fn session_principal(&self, kind: &SessionKind) -> Option<(Principal, String)> {
        match kind {
            SessionKind::Token { owner } => self.owner_principal(owner),
            SessionKind::Federated { owner, name } => {
                let (base, _) = self.owner_principal(owner)?;
                let account = base.account;
                let principal = Principal {
                    arn: format!("arn:aws:sts::{account}:federated-user/{name}"),
                    entity_arn: Some(base.arn),
                    kind: PrincipalKind::FederatedUser,
                    account: account.clone(),
                };
                Some((principal, format!("{account}:{name}")))
            }
            SessionKind::Role { account, role, session } => {
                let role = self.role(account, role)?;
                let name = &role.name;
                let principal = Principal {
                    account: account.clone(),
                    arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"),
                    entity_arn: Some(role.arn.clone()),
                    kind: PrincipalKind::RoleSession,
                };
                Some((principal, format!("{}:{session}", role.id)))
            }
        }
    }
}
