//! Entities, groups and aliases as users see them.

use super::record::{Alias, Entity, Group};
use crate::registry::{Mounted, Registry};
use bailee_crypto::clock::from_millis;
use bailee_sdk::Namespace;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// The mounts of a namespace, by accessor.
pub(crate) struct Mounts(Vec<Arc<Mounted>>);

impl Mounts {
    /// As of now.
    pub(crate) fn of(registry: &Registry, namespace: &Namespace) -> Mounts {
        let places = registry.places();
        let place = places.with_id(&namespace.id);
        Mounts(place.map(|place| place.mounts.values().cloned().collect()).unwrap_or_default())
    }

    /// The mount with this accessor.
    pub(crate) fn with_accessor(&self, accessor: &str) -> Option<&Arc<Mounted>> {
        self.0.iter().find(|mounted| mounted.entry.accessor == accessor)
    }

    /// Path and kind of the mount of an alias; empty when it is gone.
    fn described(&self, alias: &Alias) -> (&str, &str) {
        match self.with_accessor(&alias.accessor) {
            Some(mounted) => (&mounted.entry.path, &mounted.entry.kind),
            None => ("", ""),
        }
    }

    /// An entity's alias as part of it.
    pub(crate) fn alias(&self, alias: &Alias, owner: &str) -> Map<String, Value> {
        let mut shown = self.group_alias(alias, owner);
        shown.insert("custom_metadata".to_owned(), or_null(&alias.custom_metadata));
        shown.insert("local".to_owned(), alias.local.into());
        shown
    }

    /// An alias on its own.
    pub(crate) fn whole_alias(&self, alias: &Alias, owner: &str, namespace: &Namespace) -> Value {
        let mut shown = self.alias(alias, owner);
        shown.insert("namespace_id".to_owned(), namespace.id.as_str().into());
        Value::Object(shown)
    }

    /// A group's alias as part of it.
    fn group_alias(&self, alias: &Alias, owner: &str) -> Map<String, Value> {
        let (path, kind) = self.described(alias);
        let merged = (!alias.merged_from.is_empty()).then_some(&alias.merged_from);
        object(json!({
            "canonical_id": owner,
            "creation_time": time(alias.created),
            "id": alias.id,
            "last_update_time": time(alias.updated),
            "merged_from_canonical_ids": merged,
            "metadata": or_null(&alias.metadata),
            "mount_accessor": alias.accessor,
            "mount_path": path,
            "mount_type": kind,
            "name": alias.name,
        }))
    }

    /// What a list of aliases tells of one.
    pub(crate) fn alias_info(&self, alias: &Alias, owner: &str) -> Value {
        let (path, kind) = self.described(alias);
        json!({
            "canonical_id": owner,
            "custom_metadata": or_null(&alias.custom_metadata),
            "local": alias.local,
            "metadata": or_null(&alias.metadata),
            "mount_accessor": alias.accessor,
            "mount_path": path,
            "mount_type": kind,
            "name": alias.name,
        })
    }

    /// What a list of entities tells of one.
    pub(crate) fn entity_info(&self, entity: &Entity) -> Value {
        let mut info = object(json!({ "name": entity.name }));
        if !entity.aliases.is_empty() {
            let alias = |alias: &Alias| {
                let (path, kind) = self.described(alias);
                json!({
                    "id": alias.id,
                    "mount_accessor": alias.accessor,
                    "mount_path": path,
                    "mount_type": kind,
                    "name": alias.name,
                })
            };
            let aliases: Vec<Value> = entity.aliases.iter().map(alias).collect();
            info.insert("aliases".to_owned(), aliases.into());
        }
        Value::Object(info)
    }

    /// An entity with the groups it belongs to itself, and those above them.
    pub(crate) fn entity(
        &self,
        entity: &Entity,
        direct: &[String],
        inherited: &[String],
        namespace: &Namespace,
    ) -> Value {
        let aliases: Vec<_> =
            entity.aliases.iter().map(|alias| self.alias(alias, &entity.id)).collect();
        let merged = (!entity.merged.is_empty()).then_some(&entity.merged);
        let all = [direct, inherited].concat();
        json!({
            "aliases": aliases,
            "creation_time": time(entity.created),
            "direct_group_ids": direct,
            "disabled": entity.disabled,
            "group_ids": all,
            "id": entity.id,
            "inherited_group_ids": inherited,
            "last_update_time": time(entity.updated),
            "merged_entity_ids": merged,
            "metadata": or_null(&entity.metadata),
            "name": entity.name,
            "namespace_id": namespace.id,
            "policies": entity.policies,
        })
    }

    /// A group with who belongs to it.
    pub(crate) fn group(
        &self,
        group: &Group,
        belonging: &Belonging,
        namespace: &Namespace,
    ) -> Value {
        let alias = group.alias.as_ref().map(|alias| self.group_alias(alias, &group.id));
        let ids = |ids: &[String]| if ids.is_empty() { Value::Null } else { json!(ids) };
        json!({
            "alias": alias.unwrap_or_default(),
            "creation_time": time(group.created),
            "id": group.id,
            "last_update_time": time(group.updated),
            "member_entity_ids": ids(&belonging.members),
            "member_group_ids": ids(&belonging.children),
            "metadata": or_null(&group.metadata),
            "modify_index": group.modify_index,
            "name": group.name,
            "namespace_id": namespace.id,
            "parent_group_ids": ids(&belonging.parents),
            "policies": ids(&group.policies),
            "type": kind(group),
        })
    }
}

/// Ids of who belongs to a group, and of the groups it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Belonging {
    pub(crate) members: Vec<String>,
    pub(crate) children: Vec<String>,
    pub(crate) parents: Vec<String>,
}

/// The type of a group in the words of users.
pub(crate) fn kind(group: &Group) -> &'static str {
    if group.external { "external" } else { "internal" }
}

fn or_null(entries: &BTreeMap<String, String>) -> Value {
    if entries.is_empty() { Value::Null } else { json!(entries) }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The form of RFC 3339; empty for a time no calendar holds.
fn time(millis: u64) -> String {
    jiff::Timestamp::try_from(from_millis(millis)).map(|time| time.to_string()).unwrap_or_default()
}
