//! What shall be, said anew: secrets, destinations, associations, and the names and values that follow.
//! Nothing here asks the product.

use crate::{
    destination::{Deletion, Ownership},
    registry::Drift,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Paths of secrets; some become the same name.
pub(super) const SECRETS: [&str; 5] = ["a/db", "b/db", "c d", "c*d", "E"];
/// Keys of secrets; two become the same name.
pub(super) const KEYS: [&str; 4] = ["k", "m*", "m ", "n/o"];
/// Destinations.
pub(super) const DESTINATIONS: [&str; 3] = ["d1", "d2", "d3"];
/// How many templates there are.
pub(super) const TEMPLATES: u64 = 3;

/// Keys and their values.
pub(super) type Keys = BTreeMap<&'static str, String>;

#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) keys: Keys,
    pub(super) deleted: bool,
}

/// How a destination is configured.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) template: u64,
    pub(super) by_key: bool,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) paused: bool,
    pub(super) drift: Drift,
    pub(super) ownership: Ownership,
    pub(super) deletion: Deletion,
}

/// How a secret was associated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Association {
    template: u64,
    by_key: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) exists: bool,
    /// It is being deleted; whether by force.
    pub(super) purging: Option<bool>,
    pub(super) options: Options,
    pub(super) associations: BTreeMap<&'static str, Association>,
}

/// An object that shall be there.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) secret: &'static str,
    pub(super) key: Option<&'static str>,
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    /// Another key of the same secret has the name.
    pub(super) loses: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) secrets: BTreeMap<&'static str, Vec<Version>>,
    pub(super) destinations: BTreeMap<&'static str, Destination>,
    pub(super) disabled: bool,
    /// Storage was restored: what it has of destinations is of before.
    pub(super) restored: bool,
}

impl Model {
    /// The newest version that lives.
    pub(super) fn head(&self, secret: &str) -> Option<&Keys> {
        let versions = self.secrets.get(secret)?;
        versions.iter().rev().find(|version| !version.deleted).map(|version| &version.keys)
    }

    /// The value of a secret, or of a key of it, as it is delivered.
    pub(super) fn bytes(&self, secret: &str, key: Option<&str>) -> Option<Vec<u8>> {
        let keys = self.head(secret)?;
        match key {
            None => Some(text(keys).to_string().into_bytes()),
            Some(key) => keys.get(key).map(|value| value.clone().into_bytes()),
        }
    }

    /// All that shall be at a destination.
    pub(super) fn parts(&self, destination: &str) -> Vec<Part> {
        let Some(stored) = self.destinations.get(destination) else { return Vec::new() };
        let mut parts = Vec::new();
        for (secret, association) in &stored.associations {
            let Some(head) = self.head(secret) else { continue };
            let keys: Vec<Option<&'static str>> = if association.by_key {
                head.keys().map(|key| Some(*key)).collect()
            } else {
                vec![None]
            };
            let mut taken: Vec<String> = Vec::new();
            for key in keys {
                let name = render(association.template, destination, secret, key);
                let loses = taken.contains(&name);
                taken.push(name.clone());
                let bytes = self.bytes(secret, key).expect("it has that key");
                parts.push(Part { secret, key, name, bytes, loses });
            }
        }
        parts
    }

    /// Notes that a secret is kept somewhere, as that is configured now.
    pub(super) fn associate(&mut self, destination: &str, secret: &'static str) {
        let stored = self.destinations.get_mut(destination).expect("it exists");
        let Options { template, by_key, .. } = stored.options;
        stored.associations.insert(secret, Association { template, by_key });
    }
}

/// A secret as it is written.
pub(super) fn text(keys: &Keys) -> Value {
    let fields = keys.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
    Value::Object(Map::from_iter(fields))
}

/// A template as it is configured.
pub(super) fn template(number: u64, by_key: bool) -> String {
    let base = match number {
        0 => "vault/{{ .MountAccessor }}/{{ .SecretPath }}",
        1 => "{{ .DestinationName }}/{{ .SecretBaseName }}",
        _ => "t/{{ .SecretPath | uppercase }}",
    };
    let key = if by_key { "/{{ .SecretKey }}" } else { "" };
    format!("{base}{key}")
}

/// The name that follows from it.
pub(super) fn render(number: u64, destination: &str, secret: &str, key: Option<&str>) -> String {
    let base = match number {
        0 => format!("vault/kv_1234/{secret}"),
        1 => format!("{destination}/{}", secret.rsplit('/').next().unwrap_or(secret)),
        _ => format!("t/{}", secret.to_uppercase()),
    };
    let name = key.map_or(base.clone(), |key| format!("{base}/{key}"));
    name.replace([' ', '*'], "-")
}

/// Newest values of secrets and keys in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(BTreeMap<(&'static str, Option<&'static str>), Vec<Head>>);

type Head = (Instant, Option<Vec<u8>>);

impl Heads {
    /// A change of a secret is about to be committed.
    pub(super) fn note(&mut self, model: &Model, secret: &'static str) {
        for key in KEYS.into_iter().map(Some).chain([None]) {
            let heads = self.0.entry((secret, key)).or_default();
            heads.push((Instant::now(), model.bytes(secret, key)));
        }
    }

    /// What a value is of.
    pub(super) fn origin(&self, bytes: &[u8]) -> Option<(&'static str, Option<&'static str>)> {
        let known =
            |heads: &Vec<Head>| heads.iter().any(|(_, head)| head.as_deref() == Some(bytes));
        self.0.iter().find(|(_, heads)| known(heads)).map(|(part, _)| *part)
    }

    /// The first place at or after `from` at which a part had a value, by that time.
    pub(super) fn place(
        &self,
        part: (&'static str, Option<&'static str>),
        bytes: &[u8],
        from: usize,
        by: Instant,
    ) -> Option<usize> {
        let heads = self.0.get(&part)?.iter().enumerate().skip(from);
        let mut known = heads.take_while(|(_, (since, _))| *since <= by);
        known.find(|(_, (_, head))| head.as_deref() == Some(bytes)).map(|(place, _)| place)
    }
}
