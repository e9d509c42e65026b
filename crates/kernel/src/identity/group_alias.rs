//! `identity/group-alias`: the names under which sources of auth methods know external groups.

use super::{
    ById, IdentityPaths, Nothing, alias,
    group::{new_group, touch},
    listed,
    login::new_alias,
    record::{Alias, Group, Stored, check_name},
    store::{Kind, Place},
};
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Error, Reply, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// What is written of an alias.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Id of the alias to change.
    #[serde(default)]
    id: String,
    /// Name of the group at the source of the auth method.
    #[serde(default)]
    name: String,
    /// Accessor of the auth mount.
    #[serde(default)]
    mount_accessor: String,
    /// Id of the external group; a new one is made when it is left out.
    #[serde(default)]
    canonical_id: String,
}

impl IdentityPaths {
    pub(super) async fn write_group_alias(
        self: Arc<Self>,
        request: Request<Write>,
    ) -> Result<Reply, Error> {
        let (input, request) = request.take_input();
        let place = self.place(&request);
        place.lock_members().await;
        let known = if input.id.is_empty() {
            None
        } else {
            let known = find(&place, &input.id).await?;
            Some(known.ok_or_else(|| Error::invalid("invalid group alias ID"))?)
        };
        let old = known.as_ref().map(|(_, alias)| alias);
        let name = or(&input.name, old.map(|alias| &alias.name));
        let accessor = or(&input.mount_accessor, old.map(|alias| &alias.accessor));
        if name.is_empty() {
            return Err(Error::invalid("missing alias name"));
        }
        if accessor.is_empty() {
            return Err(Error::invalid("missing mount_accessor"));
        }
        check_name("alias", &name)?;
        let mounted = self.mounted(&request, &accessor)?;
        alias::guard(&place, &mounted);
        let leads = place.alias_named(Kind::Group, &mounted.entry.uuid, &name).await?;
        let known = match (known, leads) {
            (Some((_, alias)), Some(leads)) if leads.alias != alias.id => {
                return Err(Error::invalid(
                    "alias with combination of mount accessor and name already exists",
                ));
            }
            (None, Some(leads)) => find(&place, &leads.alias).await?,
            (known, _) => known,
        };
        let now = to_millis(request.now);
        let fresh = new_alias(&mounted.mount, mounted.entry.local, &name, request.now);
        let alias = match &known {
            Some((_, old)) => Alias { id: old.id.clone(), created: old.created, ..fresh },
            None => fresh,
        };
        save(&place, &request, known, Alias { updated: now, ..alias }, &input.canonical_id).await
    }

    pub(super) async fn read_group_alias(
        self: Arc<Self>,
        request: Request<ById>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        let (group, alias) = find(&place, &request.input.id).await?.ok_or_else(Error::not_found)?;
        let mounts = self.mounts(&request);
        Ok(Reply::data(&mounts.whole_alias(&alias, &group.value.id, &request.namespace)))
    }

    pub(super) async fn list_group_aliases(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let mounts = self.mounts(&request);
        let groups = self.place(&request).groups().await?;
        let aliases = groups.iter().filter_map(|group| Some((group.alias.as_ref()?, &group.id)));
        listed(aliases.map(|(alias, owner)| (alias.id.clone(), mounts.alias_info(alias, owner))))
    }

    pub(super) async fn delete_group_alias(
        self: Arc<Self>,
        request: Request<ById>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        place.lock_members().await;
        if let Some((mut group, alias)) = find(&place, &request.input.id).await? {
            group.value.alias = None;
            touch(&mut group.value, request.now);
            place.unlink_alias(Kind::Group, &alias);
            place.put_group(&group);
        }
        Ok(Reply::empty())
    }
}

/// Gives the alias to the group that is meant: the one named, else the one that has it, else a new
/// one. An alias that the group had before is replaced.
async fn save(
    place: &Place,
    request: &Request<()>,
    known: Option<(Stored<Group>, Alias)>,
    alias: Alias,
    canonical: &str,
) -> Result<Reply, Error> {
    let owner = known.as_ref().map(|(group, _)| group.value.id.clone());
    let mut group = match (canonical, &owner) {
        ("", Some(owner)) => place.group(owner).await?.ok_or(bailee_barrier::Error::Conflict)?,
        ("", None) => {
            let mut group = new_group(true, request.now);
            group.name = place.claim_any_name(Kind::Group, &group.id).await?;
            Stored::new(group)
        }
        (id, _) => place.group(id).await?.ok_or_else(|| Error::invalid("invalid group ID"))?,
    };
    if !group.value.external {
        return Err(Error::invalid("alias can't be set on an internal group"));
    }
    let id = group.value.id.clone();
    if let Some(replaced) = group.value.alias.take().filter(|old| old.id != alias.id) {
        place.unlink_alias(Kind::Group, &replaced);
    }
    match known {
        Some((mut before, old)) => {
            if before.value.id != id {
                before.value.alias = None;
                touch(&mut before.value, request.now);
                place.put_group(&before);
            }
            place.relink_alias(Kind::Group, &old, &alias, &id).await?;
        }
        None => place.link_alias(Kind::Group, &alias, &id).await?,
    }
    let reply = json!({ "canonical_id": id, "id": alias.id });
    group.value.alias = Some(alias);
    touch(&mut group.value, request.now);
    place.put_group(&group);
    Ok(Reply::data(&reply))
}

/// The alias with this id, and the group it belongs to.
async fn find(place: &Place, id: &str) -> Result<Option<(Stored<Group>, Alias)>, Error> {
    let Some(owner) = place.owner_of_alias(Kind::Group, id).await? else { return Ok(None) };
    let Some(group) = place.group(&owner).await? else { return Ok(None) };
    let alias = group.value.alias.clone().filter(|alias| alias.id == id);
    Ok(alias.map(|alias| (group, alias)))
}

fn or(given: &str, old: Option<&String>) -> String {
    if given.is_empty() { old.cloned().unwrap_or_default() } else { given.to_owned() }
}
