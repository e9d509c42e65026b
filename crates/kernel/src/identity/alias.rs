//! `identity/entity-alias`: the names under which auth methods know entities.

use super::{
    ById, IdentityPaths, Nothing, listed,
    login::{new_alias, new_entity},
    record::{Alias, Entity, Stored, check_metadata, check_name},
    store::{Kind, Place},
};
use crate::registry::Mounted;
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Error, Reply, Request, field::KeyValues};
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
    /// Name of the user, as the auth method knows it.
    #[serde(default)]
    name: String,
    /// Accessor of the auth mount.
    #[serde(default)]
    mount_accessor: String,
    /// Id of the entity it belongs to; a new one is made when it is left out.
    #[serde(default)]
    canonical_id: String,
    /// The older name of `canonical_id`.
    #[serde(default)]
    entity_id: String,
    /// Texts under names, for policies and tokens to refer to.
    custom_metadata: Option<KeyValues>,
    /// Accepted and not used: what provisioning by SCIM calls the alias.
    #[serde(default, rename = "external_id")]
    _external_id: Option<String>,
    /// Accepted and not used: who told the external id.
    #[serde(default, rename = "issuer")]
    _issuer: Option<String>,
}

impl Write {
    fn owner(&self) -> &str {
        if self.canonical_id.is_empty() { &self.entity_id } else { &self.canonical_id }
    }
}

impl IdentityPaths {
    pub(super) async fn write_alias(
        self: Arc<Self>,
        request: Request<Write>,
    ) -> Result<Reply, Error> {
        let (input, request) = request.take_input();
        let place = self.place(&request);
        if let Some(metadata) = &input.custom_metadata {
            check_metadata("custom_metadata", &metadata.0)?;
        }
        if !input.id.is_empty() {
            let owner = place.owner_of_alias(Kind::Entity, &input.id).await?;
            let owner = owner.ok_or_else(|| Error::invalid("invalid alias ID"))?;
            let id = input.id.clone();
            return self.change_alias(&request, &place, &owner, &id, input).await;
        }
        if input.name.is_empty() || input.mount_accessor.is_empty() {
            return Err(Error::invalid("'id' or 'mount_accessor' and 'name' must be provided"));
        }
        let mounted = self.mounted(&request, &input.mount_accessor)?;
        let known = place.alias_named(Kind::Entity, &mounted.entry.uuid, &input.name).await?;
        match known {
            Some(leads) => {
                self.change_alias(&request, &place, &leads.owner, &leads.alias, input).await
            }
            None => make(&place, &request, &mounted, input).await,
        }
    }

    /// The mount with this accessor.
    pub(super) fn mounted<I>(
        &self,
        request: &Request<I>,
        accessor: &str,
    ) -> Result<Arc<Mounted>, Error> {
        let mounts = self.mounts(request);
        let mounted = mounts.with_accessor(accessor).cloned();
        mounted.ok_or_else(|| Error::invalid(format!("invalid mount accessor {accessor:?}")))
    }

    async fn change_alias(
        &self,
        request: &Request<()>,
        place: &Place,
        owner: &str,
        id: &str,
        input: Write,
    ) -> Result<Reply, Error> {
        let changed = || Error::from(bailee_barrier::Error::Conflict);
        let mut entity = place.entity(owner).await?.ok_or_else(changed)?;
        let old = entity.value.alias_mut(id).ok_or_else(changed)?.clone();
        let new = self.changed_alias(request, place, &old, &input)?;
        let target = input.owner();
        let moves = !target.is_empty() && target != owner;
        if !moves && new == old {
            return Ok(Reply::empty());
        }
        let new = Alias { updated: to_millis(request.now), ..new };
        check_free(place, &new).await?;
        entity.value.aliases.retain(|alias| alias.id != id);
        let to = if moves {
            place.put_entity(&entity);
            place.entity(target).await?.ok_or_else(|| Error::invalid("invalid canonical ID"))?
        } else {
            entity
        };
        attach(place, to, Some(&old), new).await
    }

    /// The alias as it is to be; what is left out stays.
    fn changed_alias(
        &self,
        request: &Request<()>,
        place: &Place,
        old: &Alias,
        input: &Write,
    ) -> Result<Alias, Error> {
        let mut new = old.clone();
        if !input.name.is_empty() {
            check_name("alias", &input.name)?;
            new.name.clone_from(&input.name);
        }
        if !input.mount_accessor.is_empty() && input.mount_accessor != old.accessor {
            let mounted = self.mounted(request, &input.mount_accessor)?;
            guard(place, &mounted);
            new.mount.clone_from(&mounted.entry.uuid);
            new.accessor.clone_from(&mounted.entry.accessor);
            new.local = mounted.entry.local;
        }
        if let Some(metadata) = &input.custom_metadata {
            new.custom_metadata.clone_from(&metadata.0);
        }
        Ok(new)
    }

    pub(super) async fn read_alias(
        self: Arc<Self>,
        request: Request<ById>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        let (entity, alias) =
            find(&place, &request.input.id).await?.ok_or_else(Error::not_found)?;
        let mounts = self.mounts(&request);
        Ok(Reply::data(&mounts.whole_alias(&alias, &entity.value.id, &request.namespace)))
    }

    pub(super) async fn list_aliases(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let mounts = self.mounts(&request);
        let entities = self.place(&request).entities().await?;
        let aliases = entities
            .iter()
            .flat_map(|entity| entity.aliases.iter().map(move |alias| (alias, entity.id.as_str())));
        listed(aliases.map(|(alias, owner)| (alias.id.clone(), mounts.alias_info(alias, owner))))
    }

    pub(super) async fn delete_alias(
        self: Arc<Self>,
        request: Request<ById>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        if let Some((mut entity, alias)) = find(&place, &request.input.id).await? {
            entity.value.aliases.retain(|kept| kept.id != alias.id);
            place.unlink_alias(Kind::Entity, &alias);
            place.put_entity(&entity);
        }
        Ok(Reply::empty())
    }
}

/// The alias with this id, and the entity it belongs to.
async fn find(place: &Place, id: &str) -> Result<Option<(Stored<Entity>, Alias)>, Error> {
    let Some(owner) = place.owner_of_alias(Kind::Entity, id).await? else { return Ok(None) };
    let Some(mut entity) = place.entity(&owner).await? else { return Ok(None) };
    let alias = entity.value.alias_mut(id).cloned();
    Ok(alias.map(|alias| (entity, alias)))
}

async fn make(
    place: &Place,
    request: &Request<()>,
    mounted: &Mounted,
    input: Write,
) -> Result<Reply, Error> {
    check_name("alias", &input.name)?;
    let entity = match input.owner() {
        "" => {
            let mut entity = new_entity(request.now);
            entity.name = place.claim_any_name(Kind::Entity, &entity.id).await?;
            Stored::new(entity)
        }
        id => place.entity(id).await?.ok_or_else(|| Error::invalid("invalid canonical ID"))?,
    };
    guard(place, mounted);
    let mut alias = new_alias(&mounted.mount, mounted.entry.local, &input.name, request.now);
    alias.custom_metadata = input.custom_metadata.unwrap_or_default().0;
    attach(place, entity, None, alias).await
}

/// Gives an alias, new or changed, to an entity that has no other at its mount.
async fn attach(
    place: &Place,
    mut entity: Stored<Entity>,
    old: Option<&Alias>,
    alias: Alias,
) -> Result<Reply, Error> {
    if entity.value.alias_at(&alias.mount).is_some() {
        return Err(Error::invalid("Alias already exists for requested entity and mount accessor"));
    }
    let owner = &entity.value.id;
    match old {
        Some(old) => place.relink_alias(Kind::Entity, old, &alias, owner).await?,
        None => place.link_alias(Kind::Entity, &alias, owner).await?,
    }
    let reply = json!({ "canonical_id": entity.value.id, "id": alias.id });
    entity.value.aliases.push(alias);
    place.put_entity(&entity);
    Ok(Reply::data(&reply))
}

/// No other alias has this name at this mount.
async fn check_free(place: &Place, alias: &Alias) -> Result<(), Error> {
    match place.alias_named(Kind::Entity, &alias.mount, &alias.name).await? {
        Some(other) if other.alias != alias.id => {
            Err(Error::invalid("alias with combination of mount accessor and name already exists"))
        }
        _ => Ok(()),
    }
}

/// The unit commits only while the mount is what it is: an alias of one that is gone would stay.
pub(super) fn guard(place: &Place, mounted: &Mounted) {
    if let Some(guard) = &mounted.guard {
        place.view().guard(guard.clone());
    }
}
