//! Security Token Service.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::clock::{Millis, iso};
use super::iam::evaluate::{Context, Policies, Principal, PrincipalKind, decide, refusal};
use super::iam::policy::{DocumentKind, Policy};
use super::iam::store::{Owner, Role, Session, SessionKind};
use super::input::Input;
use super::oidc;
use super::random;
use super::wire::{Failure, Outcome};
use super::world::{Ask, Call, World};

const HOUR_SECONDS: i64 = 3600;
const DURATION_SECONDS_MIN: i64 = 900;
const ROLE_SECONDS_MAX: i64 = 43_200;
const TOKEN_SECONDS_MAX: i64 = 129_600;
const SESSION_POLICY_BYTES_MAX: usize = 2048;
const POLICY_ARNS_MAX: usize = 10;
const TAGS_MAX: usize = 50;

/// Answers one call.
pub(crate) fn perform(world: &mut World, call: &Call<'_>) -> Outcome {
    match call.operation {
        "GetCallerIdentity" => Ok(json!({
            "UserId": call.caller.user_id,
            "Account": call.account(),
            "Arn": call.caller.principal.arn,
        })),
        "AssumeRole" => assume_role(world, call),
        "AssumeRoleWithWebIdentity" => assume_role_with_web_identity(world, call),
        "GetSessionToken" => session_token(world, call),
        "GetFederationToken" => federation_token(world, call),
        "GetAccessKeyInfo" => access_key_info(world, call),
        other => Err(Failure::unknown_operation(call.service, other)),
    }
}

/// `[\w+=,.@-]*` of a length from 2 to `max`.
fn name<'a>(call: &Call<'a>, member: &str, max: usize) -> Result<&'a str, Failure> {
    let name = call.input.required_text(member, 2, max)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if name.bytes().all(allowed) {
        return Ok(name);
    }
    let must = "satisfy regular expression pattern: [\\w+=,.@-]*";
    Err(Failure::constraint(call.service, member, must))
}

/// The session policies of a request: `None` when it limits nothing.
fn session_policies(world: &World, call: &Call<'_>) -> Result<Option<Vec<Policy>>, Failure> {
    let malformed = |message: String| Failure::new("MalformedPolicyDocument", message);
    let text = call.input.text("Policy", 1, usize::MAX)?;
    let arns = call.input.inputs("PolicyArns")?;
    if arns.len() > POLICY_ARNS_MAX || text.map_or(0, str::len) > SESSION_POLICY_BYTES_MAX {
        return Err(Failure::new(
            "PackedPolicyTooLarge",
            "Packed policy consumes more than 100% of allotted space, please use smaller policy.",
        ));
    }
    if text.is_none() && arns.is_empty() {
        return Ok(None);
    }
    let mut policies = Vec::new();
    if let Some(text) = text {
        policies.push(Policy::parse(text, DocumentKind::Identity).map_err(malformed)?);
    }
    for arn in arns {
        let arn = arn.required_text("arn", 20, 2048)?;
        let policy = world.iam.managed_policy(arn);
        policies.push(
            policy.cloned().ok_or_else(|| malformed(format!("Policy {arn} does not exist.")))?,
        );
    }
    Ok(Some(policies))
}

fn session_tags(call: &Call<'_>) -> Result<BTreeMap<String, String>, Failure> {
    let tags = call.input.tags("Tags", "Key", "Value")?.unwrap_or_default();
    call.input.check_length("Tags", tags.len(), 0, TAGS_MAX)?;
    Ok(tags)
}

/// Makes temporary credentials and the reply that shows them.
fn open_session(
    world: &mut World,
    now: Millis,
    seconds: i64,
    kind: SessionKind,
    policies: Option<Vec<Policy>>,
    tags: BTreeMap<String, String>,
) -> Value {
    world.iam.sessions.retain(|_, session| session.expires > now - HOUR_SECONDS * 1000);
    let id = format!("ASIA{}", random::capitals(16));
    let session = Session {
        secret: random::alphanumeric(40),
        token: random::alphanumeric(240),
        issued: now,
        expires: now + seconds * 1000,
        kind,
        policies,
        tags,
    };
    let reply = json!({
        "AccessKeyId": id,
        "SecretAccessKey": session.secret,
        "SessionToken": session.token,
        "Expiration": iso(session.expires),
    });
    world.iam.sessions.insert(id, session);
    reply
}

fn refuse_token_sessions(call: &Call<'_>) -> Result<(), Failure> {
    match &call.caller.session {
        None => Ok(()),
        Some(_) => Err(Failure::denied(
            call.service,
            format!("Cannot call {} with session credentials", call.operation),
        )),
    }
}

fn assume_role(world: &mut World, call: &Call<'_>) -> Outcome {
    let input = call.input;
    let arn = input.required_text("RoleArn", 20, 2048)?;
    let session_name = name(call, "RoleSessionName", 64)?;
    let seconds =
        input.bounded("DurationSeconds", DURATION_SECONDS_MIN, ROLE_SECONDS_MAX, HOUR_SECONDS)?;
    let external_id = input.text("ExternalId", 2, 1224)?;
    let tags = session_tags(call)?;
    let policies = session_policies(world, call)?;
    let denied = || {
        let who = &call.caller.principal.arn;
        Failure::denied(
            call.service,
            format!("User: {who} is not authorized to perform: sts:AssumeRole on resource: {arn}"),
        )
    };
    let by_root = call.caller.principal.kind == PrincipalKind::Root;
    if by_root && world.iam.keys.contains_key(&call.caller.access_key_id) {
        return Err(Failure::denied(call.service, "Roles may not be assumed by root accounts."));
    }
    if matches!(call.caller.principal.kind, PrincipalKind::FederatedUser) {
        return Err(denied());
    }
    // A role that does not exist is refused just as one that may not be assumed.
    let role = world.iam.role_at(arn).ok_or_else(denied)?;
    let mut context = Context::new().with("sts:RoleSessionName", [session_name]);
    if let Some(external_id) = external_id {
        context.set("sts:ExternalId", [external_id]);
    }
    for (key, value) in &tags {
        context.set(&format!("aws:RequestTag/{key}"), [value.as_str()]);
    }
    if !tags.is_empty() {
        context.set("aws:TagKeys", tags.keys().map(String::as_str));
    }
    let mut actions = vec!["sts:AssumeRole"];
    if !tags.is_empty() {
        actions.push("sts:TagSession");
    }
    for action in actions {
        let mut ask = Ask::new(action, &role.arn, &role.account);
        ask.policy = Some(&role.trust.policy);
        ask.policy_decides = true;
        ask.context = context.clone();
        world.authorize(call, ask).map_err(|failure| match action {
            "sts:AssumeRole" => denied(),
            _ => failure,
        })?;
    }
    check_duration(call, role, seconds)?;
    let reply = (role.id.clone(), role.name.clone(), role.account.clone());
    Ok(assumed(world, call, reply, session_name, seconds, policies, tags))
}

fn check_duration(call: &Call<'_>, role: &Role, seconds: i64) -> Result<(), Failure> {
    if seconds > role.session_seconds_max {
        return Err(Failure::validation(
            call.service,
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    let chained = call
        .caller
        .session
        .as_ref()
        .is_some_and(|session| matches!(session.kind, SessionKind::Role { .. }));
    if chained && seconds > HOUR_SECONDS {
        return Err(Failure::validation(
            call.service,
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by \
             role chaining",
        ));
    }
    Ok(())
}

fn assumed(
    world: &mut World,
    call: &Call<'_>,
    (role_id, role, account): (String, String, String),
    session_name: &str,
    seconds: i64,
    policies: Option<Vec<Policy>>,
    tags: BTreeMap<String, String>,
) -> Value {
    let mut reply = json!({
        "AssumedRoleUser": {
            "AssumedRoleId": format!("{role_id}:{session_name}"),
            "Arn": format!("arn:aws:sts::{account}:assumed-role/{role}/{session_name}"),
        },
    });
    if policies.is_some()
        && let Some(members) = reply.as_object_mut()
    {
        members.insert("PackedPolicySize".to_owned(), json!(6));
    }
    let kind = SessionKind::Role { account, role, session: session_name.to_owned() };
    let credentials = open_session(world, call.now, seconds, kind, policies, tags);
    if let Some(members) = reply.as_object_mut() {
        members.insert("Credentials".to_owned(), credentials);
    }
    reply
}

/// A token is believed as far as a provider of the role's account signed it.
fn assume_role_with_web_identity(world: &mut World, call: &Call<'_>) -> Outcome {
    let input = call.input;
    let arn = input.required_text("RoleArn", 20, 2048)?;
    let session_name = name(call, "RoleSessionName", 64)?;
    let token = input.required_text("WebIdentityToken", 4, 20_000)?;
    let seconds =
        input.bounded("DurationSeconds", DURATION_SECONDS_MIN, ROLE_SECONDS_MAX, HOUR_SECONDS)?;
    let policies = session_policies(world, call)?;
    // The account is read from the ARN: a role that is not there is refused like any other.
    let account = arn.split(':').nth(4).unwrap_or_default();
    let claims = oidc::believe(&world.oidc, account, token, call.now)?;
    let denied =
        || Failure::denied(call.service, "Not authorized to perform sts:AssumeRoleWithWebIdentity");
    let role = world.iam.role_at(arn).ok_or_else(denied)?;
    let oidc::Claims { issuer, subject, audience, provider } = claims;
    let principal = Principal {
        account: role.account.clone(),
        arn: provider.clone(),
        entity_arn: None,
        kind: PrincipalKind::Federation { provider: provider.clone() },
    };
    let context = Context::new()
        .with(&format!("{issuer}:sub"), [subject.as_str()])
        .with(&format!("{issuer}:aud"), [audience.as_str()])
        .with("sts:RoleSessionName", [session_name]);
    let trust = Policies {
        resource: Some(&role.trust.policy),
        resource_decides: true,
        ..Policies::default()
    };
    let action = "sts:AssumeRoleWithWebIdentity";
    let decision = decide(&trust, &principal, action, arn, &role.account, &context);
    if world.settings.enforce_policies && refusal(decision, &principal, action, arn).is_some() {
        return Err(denied());
    }
    check_duration(call, role, seconds)?;
    let role = (role.id.clone(), role.name.clone(), role.account.clone());
    let mut reply = assumed(world, call, role, session_name, seconds, policies, BTreeMap::new());
    if let Some(members) = reply.as_object_mut() {
        members.insert("SubjectFromWebIdentityToken".to_owned(), json!(subject));
        members.insert("Audience".to_owned(), json!(audience));
        members.insert("Provider".to_owned(), json!(provider));
    }
    Ok(reply)
}

fn owner(call: &Call<'_>) -> Result<Owner, Failure> {
    call.caller.owner.clone().ok_or_else(|| {
        let message = format!("Cannot call {} with session credentials", call.operation);
        Failure::denied(call.service, message)
    })
}

fn session_token(world: &mut World, call: &Call<'_>) -> Outcome {
    refuse_token_sessions(call)?;
    let owner = owner(call)?;
    let max = if matches!(owner, Owner::Root { .. }) { HOUR_SECONDS } else { TOKEN_SECONDS_MAX };
    let seconds = token_seconds(call.input, max)?;
    let kind = SessionKind::Token { owner };
    let credentials = open_session(world, call.now, seconds, kind, None, BTreeMap::new());
    Ok(json!({ "Credentials": credentials }))
}

fn token_seconds(input: Input<'_>, max: i64) -> Result<i64, Failure> {
    let seconds = input.bounded(
        "DurationSeconds",
        DURATION_SECONDS_MIN,
        TOKEN_SECONDS_MAX,
        12 * HOUR_SECONDS,
    )?;
    Ok(seconds.min(max))
}

fn federation_token(world: &mut World, call: &Call<'_>) -> Outcome {
    refuse_token_sessions(call)?;
    let owner = owner(call)?;
    let federated = name(call, "Name", 32)?;
    let max = if matches!(owner, Owner::Root { .. }) { HOUR_SECONDS } else { TOKEN_SECONDS_MAX };
    let seconds = token_seconds(call.input, max)?;
    let tags = session_tags(call)?;
    // Without policies the session may do nothing of its own.
    let policies = session_policies(world, call)?.unwrap_or_default();
    let account = call.account();
    let arn = format!("arn:aws:sts::{account}:federated-user/{federated}");
    world.authorize(call, Ask::new("sts:GetFederationToken", &arn, account))?;
    let kind = SessionKind::Federated { owner, name: federated.to_owned() };
    let credentials = open_session(world, call.now, seconds, kind, Some(policies), tags);
    Ok(json!({
        "Credentials": credentials,
        "FederatedUser": { "FederatedUserId": format!("{account}:{federated}"), "Arn": arn },
        "PackedPolicySize": 6,
    }))
}

fn access_key_info(world: &World, call: &Call<'_>) -> Outcome {
    let id = call.input.required_text("AccessKeyId", 16, 128)?;
    world.authorize(call, Ask::new("sts:GetAccessKeyInfo", "*", call.account()))?;
    let account = match world.iam.keys.get(id).map(|key| &key.owner) {
        Some(Owner::Root { account } | Owner::User { account, .. }) => account,
        None => &world.account,
    };
    Ok(json!({ "Account": account }))
}
