//! Groups and their members.

use serde_json::{Value, json};

use super::actions::{Holder, already_exists, delete_conflict, entity_name, path, permit};
use super::evaluate::Context;
use super::store::{Group, Permissions, key};
use crate::aws::clock::iso;
use crate::aws::random;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Call, World};

/// Answers a call about groups; `None` when it is not one.
pub(crate) fn perform(world: &mut World, call: &Call<'_>) -> Option<Outcome> {
    Some(match call.operation {
        "CreateGroup" => create(world, call),
        "DeleteGroup" => delete(world, call),
        "AddUserToGroup" => membership(world, call, true),
        "RemoveUserFromGroup" => membership(world, call, false),
        "ListGroupsForUser" => groups_of_user(world, call),
        _ => return None,
    })
}

fn group_json(group: &Group) -> Value {
    json!({
        "GroupName": group.name,
        "Path": group.path,
        "GroupId": group.id,
        "Arn": group.arn,
        "CreateDate": iso(group.created),
    })
}

fn create(world: &mut World, call: &Call<'_>) -> Outcome {
    let name = entity_name(call, "GroupName", 128)?;
    let path = path(call)?;
    let arn = format!("arn:aws:iam::{}:group{path}{name}", call.account());
    permit(world, call, &arn, Context::new())?;
    let place = key(call.account(), name);
    if world.iam.groups.contains_key(&place) {
        return Err(already_exists(format!("Group with name {name} already exists.")));
    }
    let group = Group {
        name: name.to_owned(),
        path: path.to_owned(),
        id: format!("AGPA{}", random::capitals(17)),
        arn,
        created: call.now,
        permissions: Permissions::default(),
    };
    let reply = json!({ "Group": group_json(&group) });
    world.iam.groups.insert(place, group);
    Ok(reply)
}

fn open<'w>(world: &'w World, call: &Call<'_>) -> Result<&'w Group, Failure> {
    let name = entity_name(call, "GroupName", 128)?;
    let group = world.iam.groups.get(&key(call.account(), name));
    let arn = match group {
        Some(group) => group.arn.clone(),
        None => format!("arn:aws:iam::{}:group/{name}", call.account()),
    };
    permit(world, call, &arn, Context::new())?;
    group.ok_or_else(|| Holder::Group.missing(name))
}

fn delete(world: &mut World, call: &Call<'_>) -> Outcome {
    let group = open(world, call)?;
    if !group.permissions.attached.is_empty() {
        return Err(delete_conflict("Cannot delete entity, must detach all policies first."));
    }
    if !group.permissions.inline.is_empty() {
        return Err(delete_conflict("Cannot delete entity, must delete policies first."));
    }
    if world.iam.users.values().any(|user| user.groups.contains(&group.name)) {
        return Err(delete_conflict("Cannot delete entity, must remove users from group first."));
    }
    let place = key(call.account(), &group.name);
    world.iam.groups.remove(&place);
    Ok(Value::Null)
}

fn membership(world: &mut World, call: &Call<'_>, add: bool) -> Outcome {
    let user = entity_name(call, "UserName", 128)?;
    let group = open(world, call)?.name.clone();
    let missing = || Holder::User.missing(user);
    let user = world.iam.user_mut(call.account(), user).ok_or_else(missing)?;
    if add {
        user.groups.insert(group);
    } else if !user.groups.remove(&group) {
        return Err(Holder::Group.missing(&group));
    }
    Ok(Value::Null)
}

fn groups_of_user(world: &World, call: &Call<'_>) -> Outcome {
    let name = entity_name(call, "UserName", 128)?;
    let user = world.iam.user(call.account(), name);
    let arn = match user {
        Some(user) => user.arn.clone(),
        None => format!("arn:aws:iam::{}:user/{name}", call.account()),
    };
    permit(world, call, &arn, Context::new())?;
    let user = user.ok_or_else(|| Holder::User.missing(name))?;
    let groups: Vec<Value> = user
        .groups
        .iter()
        .filter_map(|name| world.iam.groups.get(&key(call.account(), name)))
        .map(group_json)
        .collect();
    Ok(json!({ "Groups": groups, "IsTruncated": false }))
}
