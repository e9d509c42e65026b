//! `identity/entity`: creating, changing, showing and deleting entities.

use super::{
    ById, ByName, IdentityPaths, Nothing, listed,
    login::new_entity,
    named,
    record::{Entity, Stored, check_metadata, check_name, clean_policies},
    resolve,
    show::Mounts,
    store::{Kind, Place},
};
use bailee_crypto::clock::to_millis;
use bailee_sdk::{
    Error, Reply, Request,
    field::{CommaList, Flag, KeyValues},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};

/// Entities that one request deletes.
const DELETED_MAX: usize = 1000;

/// What is written of an entity.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Id of the entity to change.
    #[serde(default)]
    id: String,
    /// Name of the entity; case does not matter.
    #[serde(default)]
    name: String,
    /// Texts under names, for policies and tokens to refer to.
    metadata: Option<KeyValues>,
    /// Policies of all tokens of the entity.
    policies: Option<CommaList>,
    /// Whether its tokens are refused.
    disabled: Option<Flag>,
    /// Accepted and not used: what provisioning by SCIM calls the entity.
    #[serde(default, rename = "external_id")]
    _external_id: Option<String>,
    /// Accepted and not used: the SCIM client.
    #[serde(default, rename = "scim_client_id")]
    _scim_client_id: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Several {
    /// Ids of the entities to delete.
    #[serde(default)]
    entity_ids: CommaList,
}

impl IdentityPaths {
    pub(super) async fn write_entity(
        self: Arc<Self>,
        request: Request<Write>,
    ) -> Result<Reply, Error> {
        let (input, request) = request.take_input();
        let place = self.place(&request);
        let known = if !input.id.is_empty() {
            let known = place.entity(&input.id).await?;
            Some(known.ok_or_else(|| Error::invalid("invalid entity ID"))?)
        } else if !input.name.is_empty() {
            place.entity_named(&input.name).await?
        } else {
            None
        };
        save(&place, &request, known, input).await
    }

    pub(super) async fn write_entity_named(
        self: Arc<Self>,
        request: Request<Write>,
    ) -> Result<Reply, Error> {
        let (mut input, request) = request.take_input();
        let place = self.place(&request);
        // The name in the path tells which one is meant.
        input.id.clear();
        let known = place.entity_named(&input.name).await?;
        save(&place, &request, known, input).await
    }

    pub(super) async fn read_entity(
        self: Arc<Self>,
        request: Request<ById>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        let entity = place.entity(&request.input.id).await?.ok_or_else(Error::not_found)?;
        self.show_entity(&request, &place, &entity.value).await
    }

    pub(super) async fn read_entity_named(
        self: Arc<Self>,
        request: Request<ByName>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        let entity = place.entity_named(&request.input.name).await?;
        let entity = entity.ok_or_else(Error::not_found)?;
        self.show_entity(&request, &place, &entity.value).await
    }

    pub(super) async fn show_entity<I>(
        &self,
        request: &Request<I>,
        place: &Place,
        entity: &Entity,
    ) -> Result<Reply, Error> {
        let direct = place.groups_of(&entity.id).await?;
        let own: BTreeSet<&String> = direct.iter().collect();
        let all = resolve::with_parents(place, direct.clone()).await?;
        let inherited = all.into_iter().map(|group| group.id).filter(|id| !own.contains(id));
        let inherited: Vec<String> = inherited.collect();
        let mounts = self.mounts(request);
        Ok(Reply::data(&mounts.entity(entity, &direct, &inherited, &request.namespace)))
    }

    pub(super) async fn list_entities(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let mounts: Mounts = self.mounts(&request);
        let entities = self.place(&request).entities().await?;
        listed(entities.into_iter().map(|entity| {
            let info = mounts.entity_info(&entity);
            (entity.id, info)
        }))
    }

    pub(super) async fn list_entity_names(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let entities = self.place(&request).entities().await?;
        named(entities.into_iter().map(|entity| entity.name))
    }

    pub(super) async fn delete_entity(
        self: Arc<Self>,
        request: Request<ById>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        place.lock_members().await;
        if let Some(entity) = place.entity(&request.input.id).await? {
            remove(&place, entity).await?;
        }
        Ok(Reply::empty())
    }

    pub(super) async fn delete_entity_named(
        self: Arc<Self>,
        request: Request<ByName>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        place.lock_members().await;
        if let Some(entity) = place.entity_named(&request.input.name).await? {
            remove(&place, entity).await?;
        }
        Ok(Reply::empty())
    }

    pub(super) async fn delete_entities(
        self: Arc<Self>,
        request: Request<Several>,
    ) -> Result<Reply, Error> {
        let ids: BTreeSet<&String> = request.input.entity_ids.0.iter().collect();
        if ids.is_empty() {
            return Err(Error::invalid("missing 'entity_ids'"));
        }
        if ids.len() > DELETED_MAX {
            return Err(Error::invalid(format!(
                "'entity_ids' has {} ids, at most {DELETED_MAX} are possible at once",
                ids.len()
            )));
        }
        let place = self.place(&request);
        place.lock_members().await;
        for id in ids {
            if let Some(entity) = place.entity(id).await? {
                remove(&place, entity).await?;
            }
        }
        Ok(Reply::empty())
    }
}

/// Stores what is written; the answer tells id and name of an entity that is new.
async fn save(
    place: &Place,
    request: &Request<()>,
    known: Option<Stored<Entity>>,
    input: Write,
) -> Result<Reply, Error> {
    let is_new = known.is_none();
    let mut entity = known.unwrap_or_else(|| Stored::new(new_entity(request.now)));
    let value = &mut entity.value;
    if let Some(policies) = input.policies {
        value.policies = clean_policies(policies.0)?;
    }
    if let Some(metadata) = input.metadata {
        check_metadata("metadata", &metadata.0)?;
        value.metadata = metadata.0;
    }
    if let Some(disabled) = input.disabled {
        value.disabled = disabled.0;
    }
    match (input.name, is_new) {
        (name, true) if name.is_empty() => {
            value.name = place.claim_any_name(Kind::Entity, &value.id).await?;
        }
        (name, false) if name.is_empty() => {}
        (name, _) => {
            check_name("entity", &name)?;
            let claimed = if is_new {
                place.claim_name(Kind::Entity, &name, &value.id).await?
            } else {
                place.rename(Kind::Entity, &value.id, &value.name, &name).await?
            };
            if !claimed {
                return Err(Error::invalid("entity name is already in use"));
            }
            value.name = name;
        }
    }
    value.updated = to_millis(request.now);
    place.put_entity(&entity);
    if !is_new {
        return Ok(Reply::empty());
    }
    let entity = &entity.value;
    Ok(Reply::data(&json!({ "aliases": null, "id": entity.id, "name": entity.name })))
}

/// Removes an entity and all that leads to it. For who holds the lock of members.
pub(super) async fn remove(place: &Place, entity: Stored<Entity>) -> Result<(), Error> {
    let id = &entity.value.id;
    for group in place.groups_of(id).await? {
        place.set_member(&group, id, false);
    }
    for alias in &entity.value.aliases {
        place.unlink_alias(Kind::Entity, alias);
    }
    for merged in &entity.value.merged {
        place.delete_merged(merged);
    }
    place.release_name(Kind::Entity, &entity.value.name);
    place.delete_entity(&entity);
    Ok(())
}
