//! Counting what is stored.

use super::{
    month::Month,
    record::{Activity, Sighting, sightings},
    synced::synced_secrets,
};
use bailee_sdk::{Error, Namespace};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

/// A code for a client of a namespace: there can be millions, and their names are long.
type Client = u64;

/// What a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Entity,
    /// A token without an entity.
    Token,
    /// A secret that is kept at a cloud.
    Synced,
}

/// Clients of a period, each once.
#[derive(Default)]
pub(crate) struct Report {
    /// By namespace path: its id, and its clients by mount.
    namespaces: BTreeMap<String, Tally>,
    /// Whether someone was seen at all.
    pub(crate) is_empty: bool,
}

#[derive(Default)]
struct Tally {
    id: String,
    clients: HashMap<Client, Kind>,
    mounts: BTreeMap<(String, String), HashMap<Client, Kind>>,
}

/// Counts in the words of this API. Certificates are not counted yet.
fn counts<'a>(clients: impl Iterator<Item = &'a Kind>) -> Value {
    let (mut entities, mut others, mut synced) = (0_u64, 0_u64, 0_u64);
    for kind in clients {
        match kind {
            Kind::Entity => entities += 1,
            Kind::Token => others += 1,
            Kind::Synced => synced += 1,
        }
    }
    json!({
        "clients": entities + others + synced,
        "entity_clients": entities,
        "non_entity_clients": others,
        "secret_syncs": synced,
        "acme_clients": 0,
    })
}

impl Report {
    fn add(&mut self, namespace: &Namespace, mount: (&str, &str), client: Client, kind: Kind) {
        let tally = self.namespaces.entry(namespace.path.clone()).or_default();
        tally.id.clone_from(&namespace.id);
        let mount = (mount.0.to_owned(), mount.1.to_owned());
        tally.mounts.entry(mount).or_default().insert(client, kind);
        tally.clients.insert(client, kind);
        self.is_empty = false;
    }

    /// All namespaces together.
    pub(crate) fn total(&self) -> Value {
        counts(self.namespaces.values().flat_map(|tally| tally.clients.values()))
    }

    /// Each namespace, and each of its mounts.
    pub(crate) fn by_namespace(&self) -> Value {
        let shown = self.namespaces.iter().map(|(path, tally)| {
            let mounts: Vec<Value> = tally
                .mounts
                .iter()
                .map(|((path, kind), clients)| {
                    json!({
                        "mount_path": path,
                        "mount_type": format!("{kind}/"),
                        "counts": counts(clients.values()),
                    })
                })
                .collect();
            json!({
                "namespace_id": tally.id,
                "namespace_path": path,
                "counts": counts(tally.clients.values()),
                "mounts": mounts,
            })
        });
        shown.collect()
    }

    /// The clients that are not among the known ones.
    fn without(&self, known: &HashSet<Client>) -> Value {
        let clients = self.namespaces.values().flat_map(|tally| &tally.clients);
        counts(clients.filter(|(client, _)| !known.contains(client)).map(|(_, kind)| kind))
    }

    fn clients(&self) -> impl Iterator<Item = Client> {
        self.namespaces.values().flat_map(|tally| tally.clients.keys().copied())
    }
}

/// The clients of some months in a namespace and those below: together, and month by month.
pub(crate) async fn report(
    activity: &Activity,
    namespace: &Namespace,
    months: &[Month],
) -> Result<(Report, Vec<Value>), Error> {
    let mut all = Report { is_empty: true, ..Report::default() };
    let mut shown = Vec::new();
    let (mut known, hasher) = (HashSet::new(), RandomState::new());
    let places = activity.registry.places();
    for month in months {
        let mut of_month = Report { is_empty: true, ..Report::default() };
        let below = places.iter().filter(|place| place.namespace.path.starts_with(&namespace.path));
        for place in below {
            let namespace = &place.namespace;
            sightings(&activity.barrier, namespace, *month, |found| {
                for sighting in &found {
                    let client = hasher.hash_one((&namespace.id, &sighting.client));
                    let mount = (sighting.mount_path.as_str(), sighting.mount_type.as_str());
                    let kind = if sighting.entity { Kind::Entity } else { Kind::Token };
                    all.add(namespace, mount, client, kind);
                    of_month.add(namespace, mount, client, kind);
                }
                Ok(())
            })
            .await?;
            synced_secrets(&activity.barrier, namespace, *month, |mount, code| {
                let client = hasher.hash_one((&namespace.id, "synced", code));
                all.add(namespace, (mount, "kv"), client, Kind::Synced);
                of_month.add(namespace, (mount, "kv"), client, Kind::Synced);
            })
            .await?;
        }
        if of_month.is_empty {
            continue;
        }
        shown.push(json!({
            "timestamp": month.first(),
            "counts": of_month.total(),
            "namespaces": of_month.by_namespace(),
            "new_clients": { "counts": of_month.without(&known) },
        }));
        known.extend(of_month.clients());
    }
    Ok((all, shown))
}

/// One client of one month, for programs that count otherwise.
pub(crate) fn exported(
    namespace: &Namespace,
    sighting: &Sighting,
    first: &str,
) -> Map<String, Value> {
    let kind = if sighting.entity { "entity" } else { "non-entity-token" };
    [
        ("client_id", sighting.client.as_str()),
        ("client_type", kind),
        ("namespace_id", namespace.id.as_str()),
        ("namespace_path", namespace.path.as_str()),
        ("mount_accessor", sighting.mount_accessor.as_str()),
        ("mount_path", sighting.mount_path.as_str()),
        ("mount_type", sighting.mount_type.as_str()),
        ("client_first_used_time", first),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.into()))
    .collect()
}
