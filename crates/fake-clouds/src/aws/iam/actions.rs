//! The calls of IAM that are faked: users, keys, groups, roles and their policies.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::evaluate::{Context, decide};
use super::policy::DocumentKind;
use super::store::{Document, ManagedPolicy, Permissions, key};
use super::{attachments, groups, roles, users};
use crate::aws::clock::iso;
use crate::aws::random;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Ask, Call, World};

const POLICY_BYTES_MAX: usize = 131_072;
const INLINE_USER_BYTES_MAX: usize = 2048;
const ATTACHED_MAX: usize = 10;

/// Answers one call.
pub(crate) fn perform(world: &mut World, call: &Call<'_>) -> Outcome {
    // Sessions of users may not call IAM unless made with a second factor, which is not faked.
    let limited = call
        .caller
        .session
        .as_ref()
        .is_some_and(|session| !matches!(session.kind, super::store::SessionKind::Role { .. }));
    if limited {
        return Err(Failure::new(
            "InvalidClientTokenId",
            "The security token included in the request is invalid",
        )
        .with_status(403));
    }
    if let Some((verb, kind, noun)) = policy_operation(call.operation) {
        return holder_policy(world, call, verb, kind, noun);
    }
    match call.operation {
        "CreatePolicy" => create_policy(world, call),
        "GetPolicy" => policy_detail(world, call),
        "DeletePolicy" => delete_policy(world, call),
        "SimulatePrincipalPolicy" => simulate(world, call),
        _ => users::perform(world, call)
            .or_else(|| roles::perform(world, call))
            .or_else(|| groups::perform(world, call))
            .or_else(|| attachments::perform(world, call))
            .unwrap_or_else(|| Err(Failure::unknown_operation(call.service, call.operation))),
    }
}

/// Who can hold policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    User,
    Group,
    Role,
}

impl Holder {
    fn member(self) -> &'static str {
        match self {
            Self::User => "UserName",
            Self::Group => "GroupName",
            Self::Role => "RoleName",
        }
    }

    pub(crate) fn missing(self, name: &str) -> Failure {
        let kind = match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Role => "role",
        };
        no_such_entity(format!("The {kind} with name {name} cannot be found."))
    }
}

pub(crate) fn no_such_entity(message: String) -> Failure {
    Failure::new("NoSuchEntity", message).with_status(404)
}

pub(crate) fn already_exists(message: String) -> Failure {
    Failure::new("EntityAlreadyExists", message).with_status(409)
}

pub(crate) fn delete_conflict(message: &str) -> Failure {
    Failure::new("DeleteConflict", message).with_status(409)
}

pub(crate) fn limit_exceeded(message: &str) -> Failure {
    Failure::new("LimitExceeded", message).with_status(409)
}

pub(crate) fn malformed(message: String) -> Failure {
    Failure::new("MalformedPolicyDocument", message)
}

/// `[\w+=,.@-]+` of at most `max` characters.
pub(crate) fn entity_name<'a>(
    call: &Call<'a>,
    member: &str,
    max: usize,
) -> Result<&'a str, Failure> {
    let name = call.input.required_text(member, 1, max)?;
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte)) {
        return Ok(name);
    }
    Err(Failure::validation(
        call.service,
        format!(
            "The specified value for {member} is invalid. It must contain only alphanumeric \
             characters and/or the following: +=,.@_-"
        ),
    ))
}

/// A path that begins and ends with a slash.
pub(crate) fn path<'a>(call: &Call<'a>) -> Result<&'a str, Failure> {
    let path = call.input.text("Path", 1, 512)?.unwrap_or("/");
    if path.starts_with('/') && path.ends_with('/') {
        return Ok(path);
    }
    let message = "The specified value for path is invalid. It must begin and end with / and \
                   contain only alphanumeric characters and/or / characters.";
    Err(Failure::validation(call.service, message))
}

/// Checks the permission for the call on an ARN.
pub(crate) fn permit(
    world: &World,
    call: &Call<'_>,
    arn: &str,
    context: Context,
) -> Result<(), Failure> {
    let action = format!("iam:{}", call.operation);
    let mut ask = Ask::new(&action, arn, call.account());
    ask.context = context;
    world.authorize(call, ask)
}

/// Adds the tags of a request to what policies see.
pub(crate) fn describe_tags(context: &mut Context, tags: &BTreeMap<String, String>) {
    for (key, value) in tags {
        context.set(&format!("aws:RequestTag/{key}"), [value.as_str()]);
    }
    if !tags.is_empty() {
        context.set("aws:TagKeys", tags.keys().map(String::as_str));
    }
}

pub(crate) fn tags_json(tags: &BTreeMap<String, String>) -> Value {
    tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}

/// Documents are shown percent-encoded.
pub(crate) fn encoded(document: &Document) -> String {
    utf8_percent_encode(&document.text, NON_ALPHANUMERIC).to_string()
}

/// Takes `AttachUserPolicy` apart.
fn policy_operation(operation: &str) -> Option<(&'static str, Holder, &'static str)> {
    for (kind, word) in [(Holder::User, "User"), (Holder::Group, "Group"), (Holder::Role, "Role")] {
        for (verb, noun, text) in [
            ("Put", "inline", format!("Put{word}Policy")),
            ("Get", "inline", format!("Get{word}Policy")),
            ("Delete", "inline", format!("Delete{word}Policy")),
            ("List", "inline", format!("List{word}Policies")),
            ("Attach", "managed", format!("Attach{word}Policy")),
            ("Detach", "managed", format!("Detach{word}Policy")),
            ("List", "managed", format!("ListAttached{word}Policies")),
        ] {
            if operation == text {
                return Some((verb, kind, noun));
            }
        }
    }
    None
}

fn holder<'w>(
    world: &'w mut World,
    account: &str,
    kind: Holder,
    name: &str,
) -> Option<(&'w str, &'w mut Permissions)> {
    let iam = &mut world.iam;
    match kind {
        Holder::User => iam
            .users
            .get_mut(&key(account, name))
            .map(|user| (user.arn.as_str(), &mut user.permissions)),
        Holder::Group => iam
            .groups
            .get_mut(&key(account, name))
            .map(|group| (group.arn.as_str(), &mut group.permissions)),
        Holder::Role => iam
            .roles
            .get_mut(&key(account, name))
            .map(|role| (role.arn.as_str(), &mut role.permissions)),
    }
}

fn holder_policy(
    world: &mut World,
    call: &Call<'_>,
    verb: &str,
    kind: Holder,
    noun: &str,
) -> Outcome {
    let name = call.input.required_text(kind.member(), 1, 128)?;
    let missing = || kind.missing(name);
    let account = call.account();
    let arn = holder(world, account, kind, name).ok_or_else(missing)?.0.to_owned();
    let mut context = Context::new();
    if let Some(policy) = call.input.text("PolicyArn", 20, 2048)? {
        context.set("iam:PolicyARN", [policy]);
    }
    permit(world, call, &arn, context)?;
    if noun == "managed" && verb == "Attach" {
        let policy = call.input.required_text("PolicyArn", 20, 2048)?;
        if world.iam.managed_policy(policy).is_none() {
            return Err(no_such_entity(format!(
                "Policy {policy} does not exist or is not attachable."
            )));
        }
    }
    let (_, permissions) = holder(world, account, kind, name).ok_or_else(missing)?;
    if noun == "managed" {
        attached(permissions, call, verb)
    } else {
        inline(permissions, call, verb, kind, name)
    }
}

fn attached(permissions: &mut Permissions, call: &Call<'_>, verb: &str) -> Outcome {
    if verb == "List" {
        let policies: Vec<Value> = permissions
            .attached
            .iter()
            .map(|arn| json!({ "PolicyArn": arn, "PolicyName": arn.rsplit('/').next() }))
            .collect();
        return Ok(json!({ "AttachedPolicies": policies, "IsTruncated": false }));
    }
    let policy = call.input.required_text("PolicyArn", 20, 2048)?;
    if verb == "Attach" {
        if permissions.attached.len() >= ATTACHED_MAX && !permissions.attached.contains(policy) {
            return Err(limit_exceeded("Cannot exceed quota for PoliciesPerUser: 10"));
        }
        permissions.attached.insert(policy.to_owned());
    } else if !permissions.attached.remove(policy) {
        return Err(no_such_entity(format!("Policy {policy} was not found.")));
    }
    Ok(Value::Null)
}

fn inline(
    permissions: &mut Permissions,
    call: &Call<'_>,
    verb: &str,
    kind: Holder,
    holder: &str,
) -> Outcome {
    if verb == "List" {
        let names: Vec<&String> = permissions.inline.keys().collect();
        return Ok(json!({ "PolicyNames": names, "IsTruncated": false }));
    }
    let name = entity_name(call, "PolicyName", 128)?;
    let missing = || no_such_entity(format!("The policy with name {name} cannot be found."));
    match verb {
        "Put" => {
            let text = call.input.required_text("PolicyDocument", 1, POLICY_BYTES_MAX)?;
            let document = Document::parse(text, DocumentKind::Identity).map_err(malformed)?;
            let others = permissions.inline.iter().filter(|(other, _)| *other != name);
            let size = |text: &str| text.chars().filter(|char| !char.is_whitespace()).count();
            let total =
                others.map(|(_, document)| size(&document.text)).sum::<usize>() + size(text);
            if kind == Holder::User && total > INLINE_USER_BYTES_MAX {
                let message =
                    format!("Maximum policy size of 2048 bytes exceeded for user {holder}");
                return Err(limit_exceeded(&message));
            }
            permissions.inline.insert(name.to_owned(), document);
            Ok(Value::Null)
        }
        "Get" => {
            let document = permissions.inline.get(name).ok_or_else(missing)?;
            Ok(json!({
                kind.member(): holder,
                "PolicyName": name,
                "PolicyDocument": encoded(document),
            }))
        }
        _ => match permissions.inline.remove(name) {
            Some(_) => Ok(Value::Null),
            None => Err(missing()),
        },
    }
}

fn create_policy(world: &mut World, call: &Call<'_>) -> Outcome {
    let name = entity_name(call, "PolicyName", 128)?;
    let path = path(call)?;
    let text = call.input.required_text("PolicyDocument", 1, POLICY_BYTES_MAX)?;
    let arn = format!("arn:aws:iam::{}:policy{path}{name}", call.account());
    permit(world, call, &arn, Context::new())?;
    let document = Document::parse(text, DocumentKind::Identity).map_err(malformed)?;
    if world.iam.managed.contains_key(&arn) {
        return Err(already_exists(format!("A policy called {name} already exists.")));
    }
    let policy = ManagedPolicy {
        name: name.to_owned(),
        id: format!("ANPA{}", random::capitals(17)),
        arn: arn.clone(),
        created: call.now,
        document,
    };
    let reply = json!({ "Policy": policy_json(&policy) });
    world.iam.managed.insert(arn, policy);
    Ok(reply)
}

fn policy_json(policy: &ManagedPolicy) -> Value {
    json!({
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "DefaultVersionId": "v1",
        "IsAttachable": true,
        "CreateDate": iso(policy.created),
        "UpdateDate": iso(policy.created),
    })
}

fn policy_detail(world: &World, call: &Call<'_>) -> Outcome {
    let arn = call.input.required_text("PolicyArn", 20, 2048)?;
    permit(world, call, arn, Context::new())?;
    let policy = world.iam.managed.get(arn);
    let missing = || no_such_entity(format!("Policy {arn} was not found."));
    Ok(json!({ "Policy": policy_json(policy.ok_or_else(missing)?) }))
}

fn delete_policy(world: &mut World, call: &Call<'_>) -> Outcome {
    let arn = call.input.required_text("PolicyArn", 20, 2048)?;
    permit(world, call, arn, Context::new())?;
    let iam = &world.iam;
    let held = iam.users.values().map(|user| &user.permissions);
    let held = held.chain(iam.groups.values().map(|group| &group.permissions));
    let mut held = held.chain(iam.roles.values().map(|role| &role.permissions));
    if held.any(|permissions| permissions.attached.contains(arn)) {
        return Err(delete_conflict("Cannot delete a policy attached to entities."));
    }
    match world.iam.managed.remove(arn) {
        Some(_) => Ok(Value::Null),
        None => Err(no_such_entity(format!("Policy {arn} was not found."))),
    }
}

/// Identity policies only, as far as they decide without a resource's own policy.
fn simulate(world: &World, call: &Call<'_>) -> Outcome {
    let source = call.input.required_text("PolicySourceArn", 20, 2048)?;
    let actions = call.input.texts("ActionNames", 3, 128)?;
    let mut resources = call.input.texts("ResourceArns", 1, 2048)?;
    if resources.is_empty() {
        resources.push("*");
    }
    permit(world, call, source, Context::new())?;
    let (principal, policies) = world
        .iam
        .simulated(source)
        .ok_or_else(|| no_such_entity(format!("{source} cannot be found.")))?;
    let mut results = Vec::new();
    for action in actions {
        for resource in &resources {
            let decision = decide(
                &policies,
                &principal,
                action,
                resource,
                &principal.account,
                &Context::new(),
            );
            let decision = match decision {
                super::evaluate::Decision::Allow => "allowed",
                super::evaluate::Decision::ExplicitDeny(_) => "explicitDeny",
                super::evaluate::Decision::ImplicitDeny(_) => "implicitDeny",
            };
            results.push(json!({
                "EvalActionName": action,
                "EvalResourceName": resource,
                "EvalDecision": decision,
                "MatchedStatements": [],
                "MissingContextValues": [],
            }));
        }
    }
    Ok(json!({ "EvaluationResults": results, "IsTruncated": false }))
}
