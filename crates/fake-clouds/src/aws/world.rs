//! All the state behind one lock, who is calling, and whether they may.

use std::collections::BTreeMap;

use super::clock::{self, Millis};
use super::iam;
use super::iam::evaluate::{Context, Principal, PrincipalKind, decide, refusal};
use super::iam::policy::Policy;
use super::iam::store::{Owner, SessionKind};
use super::input::Input;
use super::kms;
use super::oidc;
use super::secrets_manager;
use super::sns;
use super::wire::{Failure, Service};

/// Everything the fake remembers.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) account: String,
    pub(crate) settings: Settings,
    pub(crate) iam: iam::store::Store,
    pub(crate) kms: kms::Store,
    pub(crate) oidc: oidc::Providers,
    pub(crate) sns: sns::Store,
    pub(crate) secrets: secrets_manager::store::Store,
}

/// The knobs that change how operations behave.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) verify_signatures: bool,
    pub(crate) enforce_policies: bool,
    pub(crate) versions_max: usize,
    pub(crate) secrets_max: usize,
    pub(crate) recovery_days_default: i64,
    pub(crate) list_lag_ms: Millis,
    pub(crate) read_lag_ms: Millis,
    pub(crate) force_delete_ms: Millis,
    pub(crate) new_key_delay_ms: Millis,
    pub(crate) new_key_delay_spread_ms: Millis,
    pub(crate) new_policy_delay_ms: Millis,
    pub(crate) gateway_errors: bool,
    pub(crate) source_ip: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            verify_signatures: true,
            enforce_policies: true,
            versions_max: 100,
            secrets_max: 500_000,
            recovery_days_default: 30,
            list_lag_ms: 0,
            read_lag_ms: 0,
            force_delete_ms: 0,
            new_key_delay_ms: 0,
            new_key_delay_spread_ms: 0,
            new_policy_delay_ms: 0,
            gateway_errors: false,
            source_ip: None,
        }
    }
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) user_id: String,
    pub(crate) access_key_id: String,
    pub(crate) owner: Option<Owner>,
    pub(crate) session: Option<CallerSession>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// What matters of temporary credentials.
#[derive(Clone, Debug)]
pub(crate) struct CallerSession {
    pub(crate) issued: Millis,
    pub(crate) kind: SessionKind,
}

/// One request, authenticated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) service: Service,
    pub(crate) operation: &'a str,
    pub(crate) region: &'a str,
    pub(crate) caller: &'a Caller,
    pub(crate) source_ip: &'a str,
    pub(crate) user_agent: &'a str,
    pub(crate) now: Millis,
    pub(crate) input: Input<'a>,
}

/// What a permission is asked for.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) action: &'a str,
    pub(crate) resource: &'a str,
    /// The resource as the caller named it.
    pub(crate) shown: &'a str,
    pub(crate) account: &'a str,
    pub(crate) policy: Option<&'a Policy>,
    /// Whether the resource's policy must allow, as for keys and roles.
    pub(crate) policy_decides: bool,
    pub(crate) context: Context,
}

impl<'a> Ask<'a> {
    /// Asks for `action` on a resource of `account` that has no policy of its own.
    pub(crate) fn new(action: &'a str, resource: &'a str, account: &'a str) -> Self {
        let context = Context::new();
        Self {
            action,
            resource,
            shown: resource,
            account,
            policy: None,
            policy_decides: false,
            context,
        }
    }
}

impl Call<'_> {
    /// The caller's account.
    pub(crate) fn account(&self) -> &str {
        &self.caller.principal.account
    }

    fn denied(&self, message: String) -> Failure {
        Failure::denied(self.service, message)
    }

    /// Adds what every request carries to `context`.
    fn describe(&self, context: &mut Context, account: &str) {
        let principal = &self.caller.principal;
        let entity = match principal.kind {
            PrincipalKind::RoleSession => principal.entity_arn.as_ref().unwrap_or(&principal.arn),
            _ => &principal.arn,
        };
        let kind = match &principal.kind {
            PrincipalKind::Root => "Account",
            PrincipalKind::User => "User",
            PrincipalKind::RoleSession | PrincipalKind::Federation { .. } => "AssumedRole",
            PrincipalKind::FederatedUser => "FederatedUser",
            PrincipalKind::Service => "Service",
        };
        for (key, value) in [
            ("aws:PrincipalArn", entity.as_str()),
            ("aws:PrincipalAccount", &principal.account),
            ("aws:PrincipalType", kind),
            ("aws:userid", &self.caller.user_id),
            ("aws:SourceIp", self.source_ip),
            ("aws:UserAgent", self.user_agent),
            ("aws:RequestedRegion", self.region),
            ("aws:ResourceAccount", account),
            // The fake stands in for an HTTPS endpoint.
            ("aws:SecureTransport", "true"),
            ("aws:ViaAWSService", "false"),
            ("aws:CurrentTime", &clock::iso(self.now)),
            ("aws:EpochTime", &(self.now / 1000).to_string()),
        ] {
            context.set(key, [value]);
        }
        if let Some(Owner::User { name, .. }) = &self.caller.owner {
            context.set("aws:username", [name.as_str()]);
        }
        if let Some(session) = &self.caller.session {
            context.set("aws:TokenIssueTime", [clock::iso(session.issued)]);
            context.set("aws:MultiFactorAuthPresent", ["false"]);
        }
        for (key, value) in &self.caller.tags {
            context.set(&format!("aws:PrincipalTag/{key}"), [value.as_str()]);
        }
    }
}

impl World {
    /// Refuses unless the caller's policies, and the resource's, allow what is asked.
    pub(crate) fn authorize(&self, call: &Call<'_>, mut ask: Ask<'_>) -> Result<(), Failure> {
        if !self.settings.enforce_policies {
            return Ok(());
        }
        let caller = call.caller;
        let mut policies = self.iam.policies_behind(&caller.access_key_id);
        if let Some(Owner::User { account, name }) = &caller.owner
            && self.iam.user(account, name).is_some_and(|user| user.effective_from > call.now)
        {
            policies.identity.clear();
        }
        policies.resource = ask.policy;
        policies.resource_decides = ask.policy_decides;
        if policies.look_at_context() {
            call.describe(&mut ask.context, ask.account);
        }
        let decision = decide(
            &policies,
            &caller.principal,
            ask.action,
            ask.resource,
            ask.account,
            &ask.context,
        );
        match refusal(decision, &caller.principal, ask.action, ask.shown) {
            Some(message) => Err(call.denied(message)),
            None => Ok(()),
        }
    }
}
