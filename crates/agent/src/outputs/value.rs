//! What a variable stands for.

use super::Invalid;
use crate::{
    connection::{Connection, Glance, Property, Reference},
    failure::Failure,
    manager::Wanted,
};
use bailee_crypto::Sensitive;
use std::{collections::BTreeMap, sync::Arc};

/// What begins a reference to a property of a connection.
const CONNECTION: &str = "connection.";

/// A value that is resolved when it is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(Property);

impl Value {
    /// The value of a secret.
    pub fn secret(reference: Reference) -> Value {
        Value(Property::Secret(reference))
    }

    /// Reads `connection.NAME.PROPERTY`, or `ID#KEY` and `ID` for a secret of the manager.
    ///
    /// # Errors
    /// There is no such connection or property, or no manager to ask for a secret.
    pub fn parse(
        text: &str,
        connections: &BTreeMap<String, Connection>,
        manager: Option<&str>,
    ) -> Result<Value, Invalid> {
        if let Some(rest) = text.strip_prefix(CONNECTION) {
            return property(rest, connections);
        }
        let (id, key) = match text.rsplit_once('#') {
            Some((id, key)) => (id, Some(key)),
            None => (text, None),
        };
        if id.trim().is_empty() || key == Some("") {
            return Err(Invalid::new(format!(
                "{text:?} names no secret; write connection.NAME.PROPERTY, ID or ID#KEY"
            )));
        }
        let manager = manager.ok_or_else(|| {
            Invalid::new(format!(
                "{text:?} names a secret of no manager; set manager, or name a connection's property"
            ))
        })?;
        Ok(Value::secret(Reference {
            manager: manager.to_owned(),
            wanted: Wanted::current(id.trim()),
            key: key.map(str::to_owned),
        }))
    }

    /// The secret that it stands on.
    pub fn reference(&self) -> Option<&Reference> {
        match &self.0 {
            Property::Secret(reference) => Some(reference),
            Property::Plain(_) => None,
        }
    }

    /// What it is now.
    ///
    /// # Errors
    /// The secret cannot be had.
    pub async fn resolve(
        &self,
        glance: &mut Glance<'_>,
    ) -> Result<Arc<Sensitive<String>>, Failure> {
        match &self.0 {
            Property::Plain(text) => Ok(Arc::new(Sensitive::from(text.as_str()))),
            Property::Secret(reference) => reference.value(glance).await,
        }
    }
}

/// The property that `NAME.PROPERTY` names; both may hold dots.
fn property(text: &str, connections: &BTreeMap<String, Connection>) -> Result<Value, Invalid> {
    let named = connections.iter().filter_map(|(name, connection)| {
        let property = text.strip_prefix(name.as_str())?.strip_prefix('.')?;
        Some((name, connection, property))
    });
    let Some((name, connection, property)) = named.max_by_key(|(name, ..)| name.len()) else {
        let known = listed(connections.keys());
        return Err(Invalid::new(format!(
            "{CONNECTION}{text}: no such connection; there are {known}"
        )));
    };
    let found = connection.properties.get(property).cloned().map(Value);
    found.ok_or_else(|| {
        let known = listed(connection.properties.keys());
        Invalid::new(format!("connection {name:?} has no property {property:?}; it has {known}"))
    })
}

/// Names in a sentence.
pub(crate) fn listed<'n>(names: impl Iterator<Item = &'n String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
