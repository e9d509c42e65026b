//! Rules of several policies joined into one set.

use std::collections::BTreeMap;

/// What is known of the entity behind a caller; nothing for a token without one. Templates in the
/// paths of policies read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Facts {
    /// The entity's id.
    pub(crate) entity_id: Option<String>,
    /// The entity's name.
    pub(crate) entity_name: Option<String>,
    /// The entity's metadata.
    pub(crate) entity_metadata: BTreeMap<String, String>,
    /// The entity's aliases, by the accessor of the auth mount.
    pub(crate) aliases: BTreeMap<String, Alias>,
    /// The groups it belongs to.
    pub(crate) groups: Vec<Group>,
}

/// The name under which an auth method knows an entity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Group {
    /// The group's id.
    pub(crate) id: String,
    /// The group's name.
    pub(crate) name: String,
    /// The group's metadata.
    pub(crate) metadata: BTreeMap<String, String>,
}
