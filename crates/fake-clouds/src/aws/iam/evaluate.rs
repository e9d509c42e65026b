//! AWS's documented evaluation logic, as a pure function: policies and a request in, a decision out.

use std::collections::HashMap;

use super::policy::{Grant, Policy};

/// Facts about a request that conditions and variables look at. Keys have no case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context(HashMap<String, Vec<String>>);

impl Context {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a key with its values; for chaining.
    pub(crate) fn with<T: Into<String>>(
        mut self,
        key: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        self.set(key, values);
        self
    }

    /// Sets a key to its values.
    pub(crate) fn set<T: Into<String>>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        self.0.insert(key.to_ascii_lowercase(), values.into_iter().map(Into::into).collect());
    }

    /// The values of a key, `None` when the request does not carry it.
    pub(crate) fn values(&self, key: &str) -> Option<&[String]> {
        self.0.get(&key.to_ascii_lowercase()).map(Vec::as_slice)
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    pub(crate) account: String,
    /// What `GetCallerIdentity` shows: for a role, the session.
    pub(crate) arn: String,
    /// The role or user behind a session.
    pub(crate) entity_arn: Option<String>,
    pub(crate) kind: PrincipalKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PrincipalKind {
    Root,
    User,
    RoleSession,
    FederatedUser,
    /// Someone known to an identity provider, before a role is assumed.
    Federation {
        provider: String,
    },
    /// A service of AWS; its name is in `arn`.
    #[cfg_attr(not(test), expect(dead_code, reason = "services call once rotation is faked"))]
    Service,
}

/// The policies that decide.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies<'a> {
    pub(crate) identity: Vec<&'a Policy>,
    pub(crate) boundary: Option<&'a Policy>,
    /// `Some` when the session was limited, even by no policy at all.
    pub(crate) session: Option<Vec<&'a Policy>>,
    pub(crate) resource: Option<&'a Policy>,
    /// Whether the resource's own policy must allow, as for keys and roles.
    pub(crate) resource_decides: bool,
}

impl Policies<'_> {
    /// Whether any of them looks at more than principal, action and resource.
    pub(crate) fn look_at_context(&self) -> bool {
        let session = self.session.iter().flatten().copied();
        let all = self.identity.iter().copied().chain(session);
        all.chain(self.boundary).chain(self.resource).any(Policy::looks_at_context)
    }
}

/// A kind of policy, as named in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Identity,
    Boundary,
    Session,
    Resource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow,
    ExplicitDeny(Layer),
    ImplicitDeny(Layer),
}

/// Decides whether `principal` may do `action` on `resource`, owned by `resource_account`.
pub(crate) fn decide(
    policies: &Policies<'_>,
    principal: &Principal,
    action: &str,
    resource: &str,
    resource_account: &str,
    context: &Context,
) -> Decision {
    let denies = |policy: &Policy| policy.denies(principal, action, resource, context);
    let allows =
        |policy: &Policy| policy.allows(principal, action, resource, context) > Grant::None;
    let session = policies.session.as_deref();

    if policies.identity.iter().any(|policy| denies(policy)) {
        return Decision::ExplicitDeny(Layer::Identity);
    }
    if policies.boundary.is_some_and(denies) {
        return Decision::ExplicitDeny(Layer::Boundary);
    }
    if session.is_some_and(|session| session.iter().any(|policy| denies(policy))) {
        return Decision::ExplicitDeny(Layer::Session);
    }
    if policies.resource.is_some_and(denies) {
        return Decision::ExplicitDeny(Layer::Resource);
    }

    let grant = policies
        .resource
        .map_or(Grant::None, |policy| policy.allows(principal, action, resource, context));
    let same_account = principal.account == resource_account;
    if grant == Grant::None && (policies.resource_decides || !same_account) {
        return Decision::ImplicitDeny(Layer::Resource);
    }

    let in_boundary = policies.boundary.is_none_or(allows);
    let in_session = session.is_none_or(|session| session.iter().any(|policy| allows(policy)));
    let by_identity = principal.kind == PrincipalKind::Root
        || policies.identity.iter().any(|policy| allows(policy));
    if same_account && grants_alone(grant, principal, in_boundary, in_session) {
        return Decision::Allow;
    }
    if !by_identity {
        Decision::ImplicitDeny(Layer::Identity)
    } else if !in_boundary {
        Decision::ImplicitDeny(Layer::Boundary)
    } else if !in_session {
        Decision::ImplicitDeny(Layer::Session)
    } else {
        Decision::Allow
    }
}

/// Whether a resource policy suffices inside one account. A policy that names the role leaves the
/// session within its limits; one that names the session, or a user, does not.
fn grants_alone(grant: Grant, principal: &Principal, in_boundary: bool, in_session: bool) -> bool {
    match grant {
        Grant::None | Grant::Account => false,
        Grant::Session => true,
        Grant::Entity => match principal.kind {
            PrincipalKind::RoleSession | PrincipalKind::FederatedUser => in_boundary && in_session,
            PrincipalKind::Root
            | PrincipalKind::User
            | PrincipalKind::Federation { .. }
            | PrincipalKind::Service => true,
        },
    }
}

/// The text AWS shows for a refusal; `None` when allowed. `shown` is the resource as the caller
/// named it.
pub(crate) fn refusal(
    decision: Decision,
    principal: &Principal,
    action: &str,
    shown: &str,
) -> Option<String> {
    let reason = match decision {
        Decision::Allow => return None,
        Decision::ExplicitDeny(layer) => format!("with an explicit deny in {}", layer.article()),
        Decision::ImplicitDeny(layer) => {
            format!("because no {} allows the {action} action", layer.name())
        }
    };
    let who = &principal.arn;
    Some(format!(
        "User: {who} is not authorized to perform: {action} on resource: {shown} {reason}"
    ))
}

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
            Self::Resource => "resource-based policy",
        }
    }

    fn article(self) -> &'static str {
        match self {
            Self::Identity => "an identity-based policy",
            Self::Boundary => "a permissions boundary",
            Self::Session => "a session policy",
            Self::Resource => "a resource-based policy",
        }
    }
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
