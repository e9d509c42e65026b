//! `identity/lookup`: finding an entity or a group by what is known of it.

use super::{
    IdentityPaths,
    store::{Kind, Place},
};
use bailee_sdk::{Error, Reply, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// What is known: exactly one of id, name, id of an alias, or name and mount of an alias.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Known {
    /// The id.
    #[serde(default)]
    id: String,
    /// The name; case does not matter.
    #[serde(default)]
    name: String,
    /// Id of an alias.
    #[serde(default)]
    alias_id: String,
    /// Name of an alias, together with `alias_mount_accessor`.
    #[serde(default)]
    alias_name: String,
    /// Accessor of the mount of an alias.
    #[serde(default)]
    alias_mount_accessor: String,
}

impl IdentityPaths {
    pub(super) async fn look_up_entity(
        self: Arc<Self>,
        request: Request<Known>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        let found = match self.find(&request, &place, Kind::Entity).await? {
            Found::Id(id) => place.entity(&id).await?,
            Found::Name(name) => place.entity_named(name).await?,
            Found::Nothing => None,
        };
        match found {
            Some(entity) => self.show_entity(&request, &place, &entity.value).await,
            None => Ok(Reply::empty()),
        }
    }

    pub(super) async fn look_up_group(
        self: Arc<Self>,
        request: Request<Known>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        let found = match self.find(&request, &place, Kind::Group).await? {
            Found::Id(id) => place.group(&id).await?,
            Found::Name(name) => place.group_named(name).await?,
            Found::Nothing => None,
        };
        match found {
            Some(group) => self.show_group(&request, &place, &group.value).await,
            None => Ok(Reply::empty()),
        }
    }

    async fn find<'a>(
        &self,
        request: &'a Request<Known>,
        place: &Place,
        kind: Kind,
    ) -> Result<Found<'a>, Error> {
        let known = &request.input;
        let by_alias = !known.alias_name.is_empty() || !known.alias_mount_accessor.is_empty();
        let given =
            [!known.id.is_empty(), !known.name.is_empty(), !known.alias_id.is_empty(), by_alias];
        match given.iter().filter(|given| **given).count() {
            0 => return Err(Error::invalid("query parameter not supplied")),
            1 => {}
            _ => {
                return Err(Error::invalid(
                    "query parameter conflict; please supply distinct set of query parameters",
                ));
            }
        }
        if !known.id.is_empty() {
            return Ok(Found::Id(known.id.clone()));
        }
        if !known.name.is_empty() {
            return Ok(Found::Name(&known.name));
        }
        if !known.alias_id.is_empty() {
            return Ok(Found::of(place.owner_of_alias(kind, &known.alias_id).await?));
        }
        if known.alias_name.is_empty() || known.alias_mount_accessor.is_empty() {
            return Err(Error::invalid(
                "both 'alias_name' and 'alias_mount_accessor' needs to be set",
            ));
        }
        let mounts = self.mounts(request);
        let Some(mounted) = mounts.with_accessor(&known.alias_mount_accessor) else {
            return Ok(Found::Nothing);
        };
        let leads = place.alias_named(kind, &mounted.entry.uuid, &known.alias_name).await?;
        Ok(Found::of(leads.map(|leads| leads.owner)))
    }
}

/// How the one that is meant can be found.
enum Found<'a> {
    Id(String),
    Name(&'a str),
    Nothing,
}

impl Found<'_> {
    fn of(id: Option<String>) -> Self {
        id.map_or(Found::Nothing, Found::Id)
    }
}
