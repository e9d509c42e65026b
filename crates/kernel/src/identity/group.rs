//! `identity/group`: groups of entities and of other groups.

use super::{
    ById, ByName, IdentityPaths, Nothing, listed, named,
    record::{Group, Stored, check_metadata, check_name, clean_policies},
    resolve,
    show::Belonging,
    store::{Kind, MEMBERS_MAX, Place},
};
use bailee_crypto::{clock::to_millis, random};
use bailee_sdk::{
    Error, Reply, Request,
    field::{CommaList, KeyValues},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

/// What is written of a group.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Id of the group to change.
    #[serde(default)]
    id: String,
    /// Name of the group; case does not matter.
    #[serde(default)]
    name: String,
    /// `internal`, or `external` when an auth method tells who belongs to it.
    #[serde(default)]
    r#type: String,
    /// Texts under names, for policies and tokens to refer to.
    metadata: Option<KeyValues>,
    /// Policies of all that belong to the group.
    policies: Option<CommaList>,
    /// Ids of all entities that belong to it.
    member_entity_ids: Option<CommaList>,
    /// Ids of all groups that belong to it.
    member_group_ids: Option<CommaList>,
    /// Accepted and not used: the SCIM client.
    #[serde(default, rename = "scim_client_id")]
    _scim_client_id: Option<String>,
}

impl IdentityPaths {
    pub(super) async fn write_group(
        self: Arc<Self>,
        request: Request<Write>,
    ) -> Result<Reply, Error> {
        let (input, request) = request.take_input();
        let place = self.place(&request);
        place.lock_members().await;
        let known = if !input.id.is_empty() {
            let known = place.group(&input.id).await?;
            Some(known.ok_or_else(|| Error::invalid("invalid group ID"))?)
        } else if !input.name.is_empty() {
            place.group_named(&input.name).await?
        } else {
            None
        };
        save(&place, request.now, known, input).await
    }

    pub(super) async fn write_group_named(
        self: Arc<Self>,
        request: Request<Write>,
    ) -> Result<Reply, Error> {
        let (mut input, request) = request.take_input();
        let place = self.place(&request);
        place.lock_members().await;
        // The name in the path tells which one is meant.
        input.id.clear();
        let known = place.group_named(&input.name).await?;
        save(&place, request.now, known, input).await
    }

    pub(super) async fn read_group(
        self: Arc<Self>,
        request: Request<ById>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        let group = place.group(&request.input.id).await?.ok_or_else(Error::not_found)?;
        self.show_group(&request, &place, &group.value).await
    }

    pub(super) async fn read_group_named(
        self: Arc<Self>,
        request: Request<ByName>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        let group = place.group_named(&request.input.name).await?.ok_or_else(Error::not_found)?;
        self.show_group(&request, &place, &group.value).await
    }

    pub(super) async fn show_group<I>(
        &self,
        request: &Request<I>,
        place: &Place,
        group: &Group,
    ) -> Result<Reply, Error> {
        let belonging = Belonging {
            members: place.members(&group.id).await?,
            children: place.children(&group.id).await?,
            parents: place.parents(&group.id).await?,
        };
        Ok(Reply::data(&self.mounts(request).group(group, &belonging, &request.namespace)))
    }

    pub(super) async fn list_groups(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        let mut found = Vec::new();
        for group in place.groups().await? {
            let info = json!({
                "name": group.name,
                "num_member_entities": place.members(&group.id).await?.len(),
                "num_parent_groups": place.parents(&group.id).await?.len(),
            });
            found.push((group.id, info));
        }
        listed(found.into_iter())
    }

    pub(super) async fn list_group_names(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let groups = self.place(&request).groups().await?;
        named(groups.into_iter().map(|group| group.name))
    }

    pub(super) async fn delete_group(
        self: Arc<Self>,
        request: Request<ById>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        place.lock_members().await;
        if let Some(group) = place.group(&request.input.id).await? {
            remove(&place, group).await?;
        }
        Ok(Reply::empty())
    }

    pub(super) async fn delete_group_named(
        self: Arc<Self>,
        request: Request<ByName>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        place.lock_members().await;
        if let Some(group) = place.group_named(&request.input.name).await? {
            remove(&place, group).await?;
        }
        Ok(Reply::empty())
    }
}

/// A group that has no name yet.
pub(super) fn new_group(external: bool, now: SystemTime) -> Group {
    Group {
        id: random::uuid().to_string(),
        name: String::new(),
        external,
        policies: Vec::new(),
        metadata: BTreeMap::new(),
        created: to_millis(now),
        updated: to_millis(now),
        modify_index: 0,
        alias: None,
    }
}

/// Counts a change of a group.
pub(super) fn touch(group: &mut Group, now: SystemTime) {
    group.modify_index += 1;
    group.updated = to_millis(now);
}

/// Stores what is written; the answer tells id and name of a group that is new. For who holds the
/// lock of members.
async fn save(
    place: &Place,
    now: SystemTime,
    known: Option<Stored<Group>>,
    input: Write,
) -> Result<Reply, Error> {
    let is_new = known.is_none();
    let external = match (input.r#type.as_str(), &known) {
        ("", Some(known)) => known.value.external,
        ("" | "internal", _) => false,
        ("external", _) => true,
        (other, _) => return Err(Error::invalid(format!("invalid group type {other:?}"))),
    };
    let mut group = known.unwrap_or_else(|| Stored::new(new_group(external, now)));
    if group.value.external != external {
        return Err(Error::invalid("group type cannot be changed"));
    }
    if let Some(policies) = input.policies {
        group.value.policies = clean_policies(policies.0)?;
    }
    if let Some(metadata) = input.metadata {
        check_metadata("metadata", &metadata.0)?;
        group.value.metadata = metadata.0;
    }
    name(place, &mut group.value, is_new, input.name).await?;
    if let Some(members) = input.member_entity_ids.filter(|ids| !(external && ids.0.is_empty())) {
        set_members(place, &group.value, is_new, members.0).await?;
    }
    if let Some(children) = input.member_group_ids.filter(|ids| !(external && ids.0.is_empty())) {
        set_children(place, &group.value, is_new, children.0, now).await?;
    }
    touch(&mut group.value, now);
    place.put_group(&group);
    if !is_new {
        return Ok(Reply::empty());
    }
    Ok(Reply::data(&json!({ "id": group.value.id, "name": group.value.name })))
}

async fn name(place: &Place, group: &mut Group, is_new: bool, name: String) -> Result<(), Error> {
    match (name, is_new) {
        (name, true) if name.is_empty() => {
            group.name = place.claim_any_name(Kind::Group, &group.id).await?;
        }
        (name, false) if name.is_empty() => {}
        (name, _) => {
            check_name("group", &name)?;
            let claimed = if is_new {
                place.claim_name(Kind::Group, &name, &group.id).await?
            } else {
                place.rename(Kind::Group, &group.id, &group.name, &name).await?
            };
            if !claimed {
                return Err(Error::invalid("group name is already in use"));
            }
            group.name = name;
        }
    }
    Ok(())
}

async fn set_members(
    place: &Place,
    group: &Group,
    is_new: bool,
    ids: Vec<String>,
) -> Result<(), Error> {
    if group.external {
        return Err(Error::invalid("member entities can't be set manually for external groups"));
    }
    let ids = bounded("member_entity_ids", ids)?;
    let before = if is_new { Vec::new() } else { place.members(&group.id).await? };
    let before: BTreeSet<String> = before.into_iter().collect();
    for id in ids.difference(&before) {
        if place.entity(id).await?.is_none() {
            return Err(several(&format!("invalid entity ID {id:?}")));
        }
        place.set_member(&group.id, id, true);
    }
    for id in before.difference(&ids) {
        place.set_member(&group.id, id, false);
    }
    Ok(())
}

async fn set_children(
    place: &Place,
    group: &Group,
    is_new: bool,
    ids: Vec<String>,
    now: SystemTime,
) -> Result<(), Error> {
    if group.external {
        return Err(Error::invalid("member groups can't be set for external groups"));
    }
    let ids = bounded("member_group_ids", ids)?;
    let before = if is_new { Vec::new() } else { place.children(&group.id).await? };
    let before: BTreeSet<String> = before.into_iter().collect();
    let above = if is_new { Vec::new() } else { place.parents(&group.id).await? };
    let above: BTreeSet<String> =
        resolve::with_parents(place, above).await?.into_iter().map(|group| group.id).collect();
    for id in ids.difference(&before) {
        if *id == group.id {
            let message = format!("member group ID {id:?} is same as the ID of the group");
            return Err(several(&message));
        }
        if above.contains(id) {
            let message = format!("cyclic relationship detected for member group ID {id:?}");
            return Err(several(&message));
        }
        let child = place.group(id).await?;
        let mut child = child.ok_or_else(|| several(&format!("invalid group ID {id:?}")))?;
        touch(&mut child.value, now);
        place.put_group(&child);
        place.set_child(&group.id, id, true);
    }
    for id in before.difference(&ids) {
        place.set_child(&group.id, id, false);
    }
    Ok(())
}

fn bounded(field: &str, ids: Vec<String>) -> Result<BTreeSet<String>, Error> {
    if ids.len() > MEMBERS_MAX {
        return Err(Error::invalid(format!(
            "'{field}' has {} ids, at most {MEMBERS_MAX} are possible",
            ids.len()
        )));
    }
    Ok(ids.into_iter().collect())
}

/// In the form that clients know from lists of errors.
fn several(message: &str) -> Error {
    Error::invalid(format!("1 error occurred:\n\t* {message}\n\n"))
}

/// Removes a group and all that leads to it. For who holds the lock of members.
async fn remove(place: &Place, group: Stored<Group>) -> Result<(), Error> {
    let id = &group.value.id;
    for member in place.members(id).await? {
        place.set_member(id, &member, false);
    }
    for child in place.children(id).await? {
        place.set_child(id, &child, false);
    }
    for parent in place.parents(id).await? {
        place.set_child(&parent, id, false);
    }
    if let Some(alias) = &group.value.alias {
        place.unlink_alias(Kind::Group, alias);
    }
    place.release_name(Kind::Group, &group.value.name);
    place.delete_group(&group);
    Ok(())
}
