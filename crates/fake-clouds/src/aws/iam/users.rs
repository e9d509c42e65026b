//! Users and their access keys.

use serde_json::{Value, json};

use super::actions::{
    Holder, already_exists, delete_conflict, describe_tags, entity_name, limit_exceeded,
    no_such_entity, path, permit, tags_json,
};
use super::evaluate::Context;
use super::store::{Owner, User, key};
use crate::aws::clock::iso;
use crate::aws::random;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Ask, Call, World};

const KEYS_MAX: usize = 2;

/// Answers a call about users; `None` when it is not one.
pub(crate) fn perform(world: &mut World, call: &Call<'_>) -> Option<Outcome> {
    Some(match call.operation {
        "CreateUser" => create(world, call),
        "GetUser" => detail(world, call),
        "DeleteUser" => delete(world, call),
        "ListUsers" => list(world, call),
        "PutUserPermissionsBoundary" | "DeleteUserPermissionsBoundary" => boundary(world, call),
        "TagUser" | "UntagUser" | "ListUserTags" => tags(world, call),
        "CreateAccessKey" => create_key(world, call),
        "ListAccessKeys" => list_keys(world, call),
        "UpdateAccessKey" => update_key(world, call),
        "DeleteAccessKey" => delete_key(world, call),
        "GetAccessKeyLastUsed" => key_last_used(world, call),
        _ => return None,
    })
}

/// The user named in the request, or the one that calls.
fn name(call: &Call<'_>) -> Result<String, Failure> {
    if call.input.has("UserName") {
        return entity_name(call, "UserName", 128).map(str::to_owned);
    }
    match &call.caller.owner {
        Some(Owner::User { name, .. }) => Ok(name.clone()),
        _ => Err(Failure::validation(
            call.service,
            "Must specify userName when calling with non-User credentials",
        )),
    }
}

/// The user of the request, after checking the permission for the call on it.
fn open<'w>(world: &'w World, call: &Call<'_>, mut context: Context) -> Result<&'w User, Failure> {
    let name = name(call)?;
    let user = world.iam.user(call.account(), &name);
    let arn = match user {
        Some(user) => user.arn.clone(),
        None => format!("arn:aws:iam::{}:user/{name}", call.account()),
    };
    for (key, value) in user.iter().flat_map(|user| &user.tags) {
        context.set(&format!("aws:ResourceTag/{key}"), [value.as_str()]);
        context.set(&format!("iam:ResourceTag/{key}"), [value.as_str()]);
    }
    permit(world, call, &arn, context)?;
    user.ok_or_else(|| Holder::User.missing(&name))
}

fn open_mut<'w>(
    world: &'w mut World,
    call: &Call<'_>,
    context: Context,
) -> Result<&'w mut User, Failure> {
    let name = open(world, call, context)?.name.clone();
    world.iam.user_mut(call.account(), &name).ok_or_else(|| Holder::User.missing(&name))
}

fn user_json(user: &User) -> Value {
    let mut shown = json!({
        "UserName": user.name,
        "Path": user.path,
        "UserId": user.id,
        "Arn": user.arn,
        "CreateDate": iso(user.created),
    });
    if let Some(members) = shown.as_object_mut() {
        if !user.tags.is_empty() {
            members.insert("Tags".to_owned(), tags_json(&user.tags));
        }
        if let Some(arn) = &user.boundary {
            let boundary =
                json!({ "PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn });
            members.insert("PermissionsBoundary".to_owned(), boundary);
        }
    }
    shown
}

fn create(world: &mut World, call: &Call<'_>) -> Outcome {
    let name = entity_name(call, "UserName", 64)?;
    let path = path(call)?;
    let tags = call.input.tags("Tags", "Key", "Value")?.unwrap_or_default();
    let boundary = call.input.text("PermissionsBoundary", 20, 2048)?;
    let account = call.account();
    let mut context = Context::new();
    describe_tags(&mut context, &tags);
    if let Some(boundary) = boundary {
        context.set("iam:PermissionsBoundary", [boundary]);
    }
    let arn = format!("arn:aws:iam::{account}:user{path}{name}");
    if !tags.is_empty() {
        let mut ask = Ask::new("iam:TagUser", &arn, account);
        describe_tags(&mut ask.context, &tags);
        world.authorize(call, ask)?;
    }
    permit(world, call, &arn, context)?;
    if world.iam.user(account, name).is_some() {
        return Err(already_exists(format!("User with name {name} already exists.")));
    }
    if let Some(arn) = boundary
        && world.iam.managed_policy(arn).is_none()
    {
        let message = format!("Scope ARN: {arn} does not exist or is not attachable.");
        return Err(no_such_entity(message));
    }
    let effective_from = call.now + world.settings.new_policy_delay_ms;
    let user = world.iam.add_user(account, name, path, call.now);
    user.effective_from = effective_from;
    user.tags = tags;
    user.boundary = boundary.map(str::to_owned);
    Ok(json!({ "User": user_json(user) }))
}

fn detail(world: &World, call: &Call<'_>) -> Outcome {
    if !call.input.has("UserName") && matches!(call.caller.owner, Some(Owner::Root { .. })) {
        let account = call.account();
        let arn = format!("arn:aws:iam::{account}:root");
        let user =
            json!({ "UserId": account, "Arn": arn, "CreateDate": iso(call.now), "Path": "/" });
        return Ok(json!({ "User": user }));
    }
    Ok(json!({ "User": user_json(open(world, call, Context::new())?) }))
}

fn delete(world: &mut World, call: &Call<'_>) -> Outcome {
    let user = open(world, call, Context::new())?;
    let owner = Owner::User { account: call.account().to_owned(), name: user.name.clone() };
    let conflict = if !user.groups.is_empty() {
        Some("Cannot delete entity, must remove users from group first.")
    } else if !user.permissions.attached.is_empty() {
        Some("Cannot delete entity, must detach all policies first.")
    } else if !user.permissions.inline.is_empty() {
        Some("Cannot delete entity, must delete policies first.")
    } else if !world.iam.keys_of(&owner).is_empty() {
        Some("Cannot delete entity, must delete access keys first.")
    } else {
        user.attachments.conflict()
    };
    if let Some(message) = conflict {
        return Err(delete_conflict(message));
    }
    let place = key(call.account(), &user.name);
    world.iam.users.remove(&place);
    Ok(Value::Null)
}

fn list(world: &World, call: &Call<'_>) -> Outcome {
    let prefix = call.input.text("PathPrefix", 1, 512)?.unwrap_or("/");
    permit(world, call, &format!("arn:aws:iam::{}:user/", call.account()), Context::new())?;
    let users: Vec<Value> = world
        .iam
        .users
        .iter()
        .filter(|((account, _), user)| account == call.account() && user.path.starts_with(prefix))
        .map(|(_, user)| user_json(user))
        .collect();
    Ok(json!({ "Users": users, "IsTruncated": false }))
}

fn boundary(world: &mut World, call: &Call<'_>) -> Outcome {
    let wanted = if call.operation.starts_with("Put") {
        Some(call.input.required_text("PermissionsBoundary", 20, 2048)?)
    } else {
        None
    };
    let mut context = Context::new();
    if let Some(arn) = wanted {
        context.set("iam:PermissionsBoundary", [arn]);
    }
    let known = wanted.is_none_or(|arn| world.iam.managed_policy(arn).is_some());
    let user = open_mut(world, call, context)?;
    if !known {
        let message = "The permissions boundary does not exist or is not attachable.";
        return Err(no_such_entity(message.to_owned()));
    }
    user.boundary = wanted.map(str::to_owned);
    Ok(Value::Null)
}

fn tags(world: &mut World, call: &Call<'_>) -> Outcome {
    if call.operation == "ListUserTags" {
        let user = open(world, call, Context::new())?;
        return Ok(json!({ "Tags": tags_json(&user.tags), "IsTruncated": false }));
    }
    let added = call.input.tags("Tags", "Key", "Value")?.unwrap_or_default();
    let removed = call.input.texts("TagKeys", 1, 128)?;
    let mut context = Context::new();
    describe_tags(&mut context, &added);
    if !removed.is_empty() {
        context.set("aws:TagKeys", removed.iter().copied());
    }
    let user = open_mut(world, call, context)?;
    user.tags.extend(added);
    user.tags.retain(|key, _| !removed.contains(&key.as_str()));
    Ok(Value::Null)
}

fn create_key(world: &mut World, call: &Call<'_>) -> Outcome {
    let name = open(world, call, Context::new())?.name.clone();
    let owner = Owner::User { account: call.account().to_owned(), name: name.clone() };
    if world.iam.keys_of(&owner).len() >= KEYS_MAX {
        return Err(limit_exceeded("Cannot exceed quota for AccessKeysPerUser: 2"));
    }
    let spread = random::below(world.settings.new_key_delay_spread_ms);
    let usable_from = call.now + world.settings.new_key_delay_ms + spread;
    let key = world.iam.add_key(owner, call.now, usable_from);
    Ok(json!({ "AccessKey": {
        "UserName": name,
        "AccessKeyId": key.id,
        "Status": "Active",
        "SecretAccessKey": key.secret,
        "CreateDate": iso(key.created),
    } }))
}

fn list_keys(world: &World, call: &Call<'_>) -> Outcome {
    let name = &open(world, call, Context::new())?.name;
    let owner = Owner::User { account: call.account().to_owned(), name: name.clone() };
    let keys: Vec<Value> = world
        .iam
        .keys_of(&owner)
        .into_iter()
        .map(|key| {
            json!({
                "UserName": name,
                "AccessKeyId": key.id,
                "Status": if key.active { "Active" } else { "Inactive" },
                "CreateDate": iso(key.created),
            })
        })
        .collect();
    Ok(json!({ "AccessKeyMetadata": keys, "IsTruncated": false }))
}

/// The key of the request, which must be the user's.
fn own_key<'a>(world: &World, call: &Call<'a>) -> Result<&'a str, Failure> {
    let name = &open(world, call, Context::new())?.name;
    let owner = Owner::User { account: call.account().to_owned(), name: name.clone() };
    let id = call.input.required_text("AccessKeyId", 16, 128)?;
    if world.iam.keys.get(id).is_some_and(|key| key.owner == owner) {
        return Ok(id);
    }
    Err(no_such_entity(format!("The Access Key with id {id} cannot be found.")))
}

fn update_key(world: &mut World, call: &Call<'_>) -> Outcome {
    let active = match call.input.required_text("Status", 1, 16)? {
        "Active" => true,
        "Inactive" => false,
        _ => {
            let must = "satisfy enum value set: [Active, Inactive]";
            return Err(Failure::constraint(call.service, "status", must));
        }
    };
    let id = own_key(world, call)?;
    if let Some(key) = world.iam.keys.get_mut(id) {
        key.active = active;
    }
    Ok(Value::Null)
}

fn delete_key(world: &mut World, call: &Call<'_>) -> Outcome {
    let id = own_key(world, call)?;
    world.iam.keys.remove(id);
    Ok(Value::Null)
}

fn key_last_used(world: &World, call: &Call<'_>) -> Outcome {
    let id = call.input.required_text("AccessKeyId", 16, 128)?;
    permit(world, call, &format!("arn:aws:iam::{}:user/*", call.account()), Context::new())?;
    let Some(key) = world.iam.keys.get(id) else {
        let message = format!("The Access Key with id {id} cannot be found.");
        return Err(no_such_entity(message));
    };
    let name = match &key.owner {
        Owner::User { name, .. } => name.as_str(),
        Owner::Root { .. } => "root",
    };
    let used = match &key.last_used {
        Some(used) => json!({
            "LastUsedDate": iso(used.at),
            "ServiceName": used.service,
            "Region": used.region,
        }),
        None => json!({ "ServiceName": "N/A", "Region": "N/A" }),
    };
    Ok(json!({ "UserName": name, "AccessKeyLastUsed": used }))
}
