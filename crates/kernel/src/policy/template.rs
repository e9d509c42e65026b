//! Templates in the paths of policies: `{{identity.entity.id}}` and the like. Pure.

use std::collections::BTreeMap;

/// What is known of the entity behind a caller; nothing for a token without one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    /// The entity's id.
    pub(crate) entity_id: Option<String>,
    /// The entity's name.
    pub(crate) entity_name: Option<String>,
    /// The entity's metadata.
    pub(crate) entity_metadata: BTreeMap<String, String>,
    /// The entity's aliases, by the accessor of the auth mount.
    pub(crate) aliases: BTreeMap<String, Alias>,
    /// The groups it belongs to, those above them included.
    pub(crate) groups: Vec<Group>,
    /// The policies that it has, of its own and through its groups, sorted.
    pub(crate) policies: Vec<String>,
}

/// The name under which an auth method knows an entity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Alias {
    /// The alias's id.
    pub(crate) id: String,
    /// The name.
    pub(crate) name: String,
    /// Metadata that the method gave.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Metadata that an operator gave.
    pub(crate) custom_metadata: BTreeMap<String, String>,
}

/// A group an entity belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Group {
    /// The group's id.
    pub(crate) id: String,
    /// The group's name.
    pub(crate) name: String,
    /// The group's metadata.
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Whether a path may hold templates.
pub(crate) fn is_templated(path: &str) -> bool {
    path.contains("{{")
}

/// Whether every template of a path is closed.
pub(crate) fn check(path: &str) -> Result<(), &'static str> {
    let mut rest = path;
    loop {
        let (before, after) = match rest.split_once("{{") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        if before.contains("}}") {
            return Err("unbalanced templating characters");
        }
        let Some(after) = after else { return Ok(()) };
        match after.split_once("}}") {
            Some((name, _)) if name.contains("{{") => {
                return Err("unbalanced templating characters");
            }
            Some((_, after)) => rest = after,
            None => return Err("unbalanced templating characters"),
        }
    }
}

/// The path with every template replaced; `None` when one stands for nothing. A value that would
/// read as a wildcard counts as nothing too, unless `denies`: a name must neither widen what is
/// granted nor lift what is denied.
pub(crate) fn expand(path: &str, facts: &Facts, denies: bool) -> Option<String> {
    let mut expanded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}")?;
        let value = facts.value(name.trim())?;
        let is_wild = value.contains('*') || value.split('/').any(|part| part == "+");
        if !denies && (is_wild || value.is_empty()) {
            return None;
        }
        expanded.push_str(before);
        expanded.push_str(value);
        rest = after;
    }
    expanded.push_str(rest);
    Some(expanded)
}

impl Facts {
    /// Bytes of all its texts, to bound what is kept of entities.
    pub(crate) fn text_bytes(&self) -> usize {
        let of = |entries: &BTreeMap<String, String>| -> usize {
            entries.iter().map(|(name, value)| name.len() + value.len()).sum()
        };
        let own = [&self.entity_id, &self.entity_name].into_iter().flatten();
        let aliases = self.aliases.iter().map(|(accessor, alias)| {
            let texts = accessor.len() + alias.id.len() + alias.name.len();
            texts + of(&alias.metadata) + of(&alias.custom_metadata)
        });
        let groups = self.groups.iter();
        let groups = groups.map(|group| group.id.len() + group.name.len() + of(&group.metadata));
        let policies = self.policies.iter().map(String::len);
        let texts = own.map(String::len).chain(aliases).chain(groups).chain(policies);
        texts.sum::<usize>() + of(&self.entity_metadata)
    }

    fn value(&self, name: &str) -> Option<&str> {
        let name = name.strip_prefix("identity.")?;
        if let Some(name) = name.strip_prefix("entity.") {
            return self.of_entity(name);
        }
        let (kind, name) = name.strip_prefix("groups.")?.split_once('.')?;
        // Names of groups may contain dots; ids and fields do not.
        self.groups.iter().find_map(|group| {
            let (key, field) = match kind {
                "ids" => (&group.id, "name"),
                "names" => (&group.name, "id"),
                _ => return None,
            };
            let asked = name.strip_prefix(key.as_str())?.strip_prefix('.')?;
            match asked.strip_prefix("metadata.") {
                Some(entry) => group.metadata.get(entry).map(String::as_str),
                None if asked != field => None,
                None if kind == "ids" => Some(&group.name),
                None => Some(&group.id),
            }
        })
    }

    fn of_entity(&self, name: &str) -> Option<&str> {
        match name {
            "id" => return self.entity_id.as_deref(),
            "name" => return self.entity_name.as_deref(),
            _ => {}
        }
        if let Some(entry) = name.strip_prefix("metadata.") {
            return self.entity_metadata.get(entry).map(String::as_str);
        }
        let (accessor, field) = name.strip_prefix("aliases.")?.split_once('.')?;
        let alias = self.aliases.get(accessor)?;
        match field {
            "id" => Some(&alias.id),
            "name" => Some(&alias.name),
            _ => match field.strip_prefix("metadata.") {
                Some(entry) => alias.metadata.get(entry).map(String::as_str),
                None => {
                    let entry = field.strip_prefix("custom_metadata.")?;
                    alias.custom_metadata.get(entry).map(String::as_str)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let pair = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        Facts {
            entity_id: Some("e1".to_owned()),
            entity_name: Some("alice".to_owned()),
            entity_metadata: pair("team", "red"),
            aliases: BTreeMap::from([(
                "auth_jwt_1".to_owned(),
                Alias {
                    id: "a1".to_owned(),
                    name: "alice@b.c".to_owned(),
                    metadata: pair("k", "v"),
                    custom_metadata: pair("c", "*"),
                },
            )]),
            groups: vec![Group {
                id: "g1".to_owned(),
                name: "ops.eu".to_owned(),
                metadata: pair("floor", "3"),
            }],
            policies: Vec::new(),
        }
    }

    #[test]
    fn templates_stand_for_what_is_known() {
        for (path, expected) in [
            ("kv/plain", Some("kv/plain")),
            ("kv/{{identity.entity.id}}/*", Some("kv/e1/*")),
            ("kv/{{ identity.entity.name }}", Some("kv/alice")),
            ("{{identity.entity.metadata.team}}/x", Some("red/x")),
            ("{{identity.entity.aliases.auth_jwt_1.name}}", Some("alice@b.c")),
            ("{{identity.entity.aliases.auth_jwt_1.metadata.k}}", Some("v")),
            ("{{identity.groups.ids.g1.name}}", Some("ops.eu")),
            ("{{identity.groups.names.ops.eu.id}}", Some("g1")),
            ("{{identity.groups.ids.g1.metadata.floor}}", Some("3")),
            ("{{identity.entity.id}}-{{identity.entity.name}}", Some("e1-alice")),
            ("{{identity.entity.metadata.none}}", None),
            ("{{identity.groups.ids.g2.name}}", None),
            ("{{time.now}}", None),
            // a value must not become a wildcard
            ("kv/{{identity.entity.aliases.auth_jwt_1.custom_metadata.c}}", None),
        ] {
            assert_eq!(expand(path, &facts(), false).as_deref(), expected, "{path}");
        }
        assert_eq!(expand("kv/{{identity.entity.id}}", &Facts::default(), false), None);
        assert_eq!(expand("kv/{{identity.entity.id}}", &Facts::default(), true), None);
        let wild = "kv/{{identity.entity.aliases.auth_jwt_1.custom_metadata.c}}";
        assert_eq!(expand(wild, &facts(), true).as_deref(), Some("kv/*"));
    }

    #[test]
    fn braces_must_be_balanced() {
        for path in ["a/{{b", "a}}", "{{a}}/}}", "{{a{{b}}", "{{a}}{{"] {
            assert!(check(path).is_err(), "{path}");
        }
        for path in ["a", "a/{b}", "{{a}}", "{{a}}/x/{{b}}"] {
            assert!(check(path).is_ok(), "{path}");
        }
    }
}
