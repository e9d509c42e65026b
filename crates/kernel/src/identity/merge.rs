//! `identity/entity/merge`: several entities turn out to be one.

use super::{
    IdentityPaths,
    entity::remove,
    record::{Alias, Entity, Stored},
    store::{Kind, Place},
};
use bailee_crypto::clock::to_millis;
use bailee_sdk::{
    Error, Reply, Request,
    field::{CommaList, Flag},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Entities that one request makes part of another.
const MERGED_MAX: usize = 100;
/// Entities that are part of another, all requests together.
const MERGED_IN_ALL_MAX: usize = 5000;

#[derive(Deserialize, JsonSchema)]
pub(super) struct Merge {
    /// Ids of the entities that become part of the other.
    #[serde(default)]
    from_entity_ids: CommaList,
    /// Id of the entity that stays.
    #[serde(default)]
    to_entity_id: String,
    /// Accepted and not used: which secrets of multi-factor methods stay.
    #[serde(default, rename = "force")]
    _force: Flag,
    /// Ids of the aliases to keep where both entities have one at the same mount.
    #[serde(default)]
    conflicting_alias_ids_to_keep: CommaList,
}

impl IdentityPaths {
    pub(super) async fn merge(self: Arc<Self>, request: Request<Merge>) -> Result<Reply, Error> {
        let (input, request) = request.take_input();
        if input.to_entity_id.is_empty() {
            return Err(Error::invalid("missing entity id to merge to"));
        }
        let from: BTreeSet<String> = input.from_entity_ids.0.into_iter().collect();
        if from.is_empty() {
            return Err(Error::invalid("missing entity ids to merge from"));
        }
        if from.len() > MERGED_MAX {
            return Err(Error::invalid(format!(
                "'from_entity_ids' has {} ids, at most {MERGED_MAX} are possible at once",
                from.len()
            )));
        }
        if from.contains(&input.to_entity_id) {
            return Err(Error::invalid("to_entity_id should not be present in from_entity_ids"));
        }
        let place = self.place(&request);
        place.lock_members().await;
        let to = place.entity(&input.to_entity_id).await?;
        let mut to = to.ok_or_else(|| Error::invalid("entity id to merge to is invalid"))?;
        let mut parts = Vec::with_capacity(from.len());
        for id in &from {
            let part = place.entity(id).await?;
            parts.push(part.ok_or_else(|| Error::invalid("entity id to merge from is invalid"))?);
        }
        let merged = parts.iter().map(|part| part.value.merged.len() + 1).sum::<usize>();
        if to.value.merged.len() + merged > MERGED_IN_ALL_MAX {
            let text = format!("more than {MERGED_IN_ALL_MAX} entities would be part of the one");
            return Err(Error::invalid(text));
        }
        let keep = input.conflicting_alias_ids_to_keep.0;
        let dropped = clashing(&to.value, &parts, &keep)?;
        for part in parts {
            join(&place, &mut to, part, &dropped, to_millis(request.now)).await?;
        }
        to.value.updated = to_millis(request.now);
        place.put_entity(&to);
        Ok(Reply::empty())
    }
}

/// Ids of the aliases that are dropped because another of the same mount stays.
fn clashing(
    to: &Entity,
    parts: &[Stored<Entity>],
    keep: &[String],
) -> Result<BTreeSet<String>, Error> {
    let mut by_mount: BTreeMap<&str, Vec<&Alias>> = BTreeMap::new();
    for entity in std::iter::once(to).chain(parts.iter().map(|part| &part.value)) {
        for alias in &entity.aliases {
            by_mount.entry(&alias.mount).or_default().push(alias);
        }
    }
    let mut dropped = BTreeSet::new();
    for aliases in by_mount.values().filter(|aliases| aliases.len() > 1) {
        let kept: Vec<&&Alias> = aliases.iter().filter(|alias| keep.contains(&alias.id)).collect();
        let [kept] = kept.as_slice() else {
            let ids: Vec<&str> = aliases.iter().map(|alias| alias.id.as_str()).collect();
            return Err(Error::invalid(format!(
                "the entities have several aliases at the same mount: name in \
                 'conflicting_alias_ids_to_keep' exactly one of {}",
                ids.join(", ")
            )));
        };
        let others = aliases.iter().filter(|alias| alias.id != kept.id);
        dropped.extend(others.map(|alias| alias.id.clone()));
    }
    Ok(dropped)
}

/// Makes one entity part of another: its aliases, groups and tokens are those of the other from the
/// commit on. Its own policies and metadata end with it.
async fn join(
    place: &Place,
    to: &mut Stored<Entity>,
    mut part: Stored<Entity>,
    dropped: &BTreeSet<String>,
    now: u64,
) -> Result<(), Error> {
    let id = to.value.id.clone();
    to.value.aliases.retain(|alias| {
        let stays = !dropped.contains(&alias.id);
        if !stays {
            place.unlink_alias(Kind::Entity, alias);
        }
        stays
    });
    for mut alias in std::mem::take(&mut part.value.aliases) {
        if dropped.contains(&alias.id) {
            place.unlink_alias(Kind::Entity, &alias);
            continue;
        }
        place.link_alias(Kind::Entity, &alias, &id).await?;
        alias.merged_from.push(part.value.id.clone());
        alias.updated = now;
        to.value.aliases.push(alias);
    }
    for group in place.groups_of(&part.value.id).await? {
        place.set_member(&group, &id, true);
    }
    let merged = std::mem::take(&mut part.value.merged);
    for from in merged.into_iter().chain([part.value.id.clone()]) {
        place.put_merged(&from, &id);
        to.value.merged.push(from);
    }
    remove(place, part).await
}
