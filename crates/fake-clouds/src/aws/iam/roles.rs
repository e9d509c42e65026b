//! Roles.

use serde_json::{Value, json};

use super::actions::{
    Holder, already_exists, delete_conflict, describe_tags, encoded, entity_name, malformed, path,
    permit,
};
use super::evaluate::Context;
use super::policy::DocumentKind;
use super::store::{Document, Role, key};
use crate::aws::clock::iso;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Call, World};

/// Answers a call about roles; `None` when it is not one.
pub(crate) fn perform(world: &mut World, call: &Call<'_>) -> Option<Outcome> {
    Some(match call.operation {
        "CreateRole" => create(world, call),
        "GetRole" => open(world, call).map(|role| json!({ "Role": role_json(role) })),
        "DeleteRole" => delete(world, call),
        "UpdateRole" => update(world, call),
        "UpdateAssumeRolePolicy" => update_trust(world, call),
        _ => return None,
    })
}

fn open<'w>(world: &'w World, call: &Call<'_>) -> Result<&'w Role, Failure> {
    let name = entity_name(call, "RoleName", 64)?;
    let role = world.iam.role(call.account(), name);
    let arn = match role {
        Some(role) => role.arn.clone(),
        None => format!("arn:aws:iam::{}:role/{name}", call.account()),
    };
    permit(world, call, &arn, Context::new())?;
    role.ok_or_else(|| Holder::Role.missing(name))
}

fn open_mut<'w>(world: &'w mut World, call: &Call<'_>) -> Result<&'w mut Role, Failure> {
    let place = key(call.account(), &open(world, call)?.name);
    world.iam.roles.get_mut(&place).ok_or_else(|| Holder::Role.missing(&place.1))
}

fn role_json(role: &Role) -> Value {
    json!({
        "RoleName": role.name,
        "Path": role.path,
        "RoleId": role.id,
        "Arn": role.arn,
        "CreateDate": iso(role.created),
        "AssumeRolePolicyDocument": encoded(&role.trust),
        "MaxSessionDuration": role.session_seconds_max,
    })
}

fn trust(call: &Call<'_>, member: &str) -> Result<Document, Failure> {
    let text = call.input.required_text(member, 1, 131_072)?;
    Document::parse(text, DocumentKind::Trust).map_err(malformed)
}

fn session_seconds_max(call: &Call<'_>) -> Result<i64, Failure> {
    call.input.bounded("MaxSessionDuration", 3600, 43_200, 3600)
}

fn create(world: &mut World, call: &Call<'_>) -> Outcome {
    let name = entity_name(call, "RoleName", 64)?;
    let path = path(call)?;
    let seconds = session_seconds_max(call)?;
    let tags = call.input.tags("Tags", "Key", "Value")?.unwrap_or_default();
    let mut context = Context::new();
    describe_tags(&mut context, &tags);
    let account = call.account();
    permit(world, call, &format!("arn:aws:iam::{account}:role{path}{name}"), context)?;
    let trust = trust(call, "AssumeRolePolicyDocument")?;
    if world.iam.role(account, name).is_some() {
        return Err(already_exists(format!("Role with name {name} already exists.")));
    }
    let role = world.iam.add_role(account, name, path, trust, call.now);
    role.session_seconds_max = seconds;
    role.tags = tags;
    Ok(json!({ "Role": role_json(role) }))
}

fn delete(world: &mut World, call: &Call<'_>) -> Outcome {
    let role = open(world, call)?;
    if !role.permissions.attached.is_empty() {
        return Err(delete_conflict("Cannot delete entity, must detach all policies first."));
    }
    if !role.permissions.inline.is_empty() {
        return Err(delete_conflict("Cannot delete entity, must delete policies first."));
    }
    let place = key(call.account(), &role.name);
    world.iam.roles.remove(&place);
    Ok(Value::Null)
}

fn update(world: &mut World, call: &Call<'_>) -> Outcome {
    let seconds = session_seconds_max(call)?;
    let role = open_mut(world, call)?;
    if call.input.has("MaxSessionDuration") {
        role.session_seconds_max = seconds;
    }
    Ok(json!({}))
}

fn update_trust(world: &mut World, call: &Call<'_>) -> Outcome {
    let trust = trust(call, "PolicyDocument")?;
    open_mut(world, call)?.trust = trust;
    Ok(Value::Null)
}
