//! From an entity to what it may: its own policies and those of all groups above it.

use super::{
    record::{Entity, Group},
    store::Place,
};
use crate::policy::{self, Facts};
use bailee_sdk::Error;
use std::collections::{BTreeMap, BTreeSet};

/// Groups that an entity may belong to, those above its groups included.
const GROUPS_MAX: usize = 4096;

/// What requests need to know of an entity.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Its tokens are refused.
    pub(crate) disabled: bool,
    /// What templates stand for, and all policies it has.
    pub(crate) facts: Facts,
}

impl Resolved {
    /// The policies that it has of its own and through its groups, sorted.
    pub(crate) fn policies(&self) -> &[String] {
        &self.facts.policies
    }
}

/// Gathers what is known of an entity that belongs to these groups itself.
pub(crate) async fn resolve(
    place: &Place,
    entity: &Entity,
    direct: Vec<String>,
) -> Result<Resolved, Error> {
    let groups = with_parents(place, direct).await?;
    let mut policies: BTreeSet<String> = entity.policies.iter().cloned().collect();
    policies.extend(groups.iter().flat_map(|group| group.policies.iter().cloned()));
    let aliases = entity.aliases.iter().map(|alias| {
        let known = policy::FactsAlias {
            id: alias.id.clone(),
            name: alias.name.clone(),
            metadata: alias.metadata.clone(),
            custom_metadata: alias.custom_metadata.clone(),
        };
        (alias.accessor.clone(), known)
    });
    let known = groups.iter().map(|group| policy::FactsGroup {
        id: group.id.clone(),
        name: group.name.clone(),
        metadata: group.metadata.clone(),
    });
    let facts = Facts {
        entity_id: Some(entity.id.clone()),
        entity_name: Some(entity.name.clone()),
        entity_metadata: entity.metadata.clone(),
        aliases: aliases.collect::<BTreeMap<_, _>>(),
        groups: known.collect(),
        policies: policies.into_iter().collect(),
    };
    Ok(Resolved { disabled: entity.disabled, facts })
}

/// These groups and all above them, each once, in the order of their ids.
pub(crate) async fn with_parents(place: &Place, direct: Vec<String>) -> Result<Vec<Group>, Error> {
    let mut found: BTreeMap<String, Group> = BTreeMap::new();
    let mut next = direct;
    while let Some(id) = next.pop() {
        if found.contains_key(&id) {
            continue;
        }
        // Half of its groups could lack the one that denies something.
        if found.len() >= GROUPS_MAX {
            return Err(Error::invalid(format!(
                "the entity belongs to more than {GROUPS_MAX} groups, parents included; remove it \
                 from some"
            )));
        }
        let Some(group) = place.group(&id).await? else { continue };
        next.extend(place.parents(&id).await?);
        found.insert(id, group.value);
    }
    Ok(found.into_values().collect())
}
