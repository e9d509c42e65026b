//! `sys/sync/orphans`: what a forced deletion left behind, until somebody has taken note.

use super::{
    Named, Paths,
    status::{error, time},
};
use crate::{
    orphan::{After, Orphan, Part},
    store::Store,
};
use bailee_sdk::{Error, Reply, Request, field::Integer};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Which orphans to list, of all destinations.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OfAll {
    /// What the list begins after: `next` of the answer before, or a destination as `type/name`.
    #[serde(default)]
    after: String,
    /// Orphans to list at most; 0 for all.
    #[serde(default)]
    limit: Integer,
}

/// Which orphans of a destination to list.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OfOne {
    /// Type of the destination.
    #[serde(rename = "type")]
    kind: String,
    /// Name of the destination.
    name: String,
    /// What the list begins after: `next` of the answer before, or any name at the destination.
    #[serde(default)]
    after: String,
    /// Orphans to list at most; 0 for all.
    #[serde(default)]
    limit: Integer,
}

impl Paths {
    pub(super) async fn list_orphans(
        self: Arc<Self>,
        request: Request<OfAll>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let OfAll { after, limit } = &request.input;
        let part = Part { after: request.input.after(&store)?, limit: at_most(*limit) };
        let (orphans, more) = store.orphans(None, &part).await?;
        let Some((_, last)) = orphans.last() else { return Err(Error::not_found()) };
        let next = more.then(|| format!("{}/{}", destination(last), last.external_name));
        let total = orphans.len();
        let mut by_destination: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (_, orphan) in &orphans {
            by_destination.entry(destination(orphan)).or_default().push(shown(orphan));
        }
        let keys: Vec<&String> = by_destination.keys().collect();
        let mut data = counted(after, *limit, total, next);
        data.insert("keys".to_owned(), json!(keys));
        data.insert("key_info".to_owned(), json!(by_destination));
        Ok(Reply::data(&data))
    }

    pub(super) async fn read_orphans(
        self: Arc<Self>,
        request: Request<OfOne>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let OfOne { kind, name, after, limit } = &request.input;
        let id = store.destination_id(kind, name);
        let from = match after.as_str() {
            "" => After::Beginning,
            after => After::Name { destination: id.clone(), external_name: after.to_owned() },
        };
        let part = Part { after: from, limit: at_most(*limit) };
        let (orphans, more) = store.orphans(Some(&id), &part).await?;
        let Some((_, last)) = orphans.last() else { return Err(Error::not_found()) };
        let next = more.then(|| last.external_name.clone());
        let orphans: Vec<Value> = orphans.iter().map(|(_, orphan)| shown(orphan)).collect();
        let mut data = counted(after, *limit, orphans.len(), next);
        data.insert("type".to_owned(), json!(kind));
        data.insert("name".to_owned(), json!(name));
        data.insert("orphans".to_owned(), json!(orphans));
        Ok(Reply::data(&data))
    }

    /// Somebody has taken note.
    pub(super) async fn forget_orphans(
        self: Arc<Self>,
        request: Request<Named>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let Named { kind, name } = &request.input;
        let (orphans, _) =
            store.orphans(Some(&store.destination_id(kind, name)), &Part::ALL).await?;
        for (key, _) in orphans {
            store.view.delete(&key);
        }
        Ok(Reply::empty())
    }
}

impl OfAll {
    fn after(&self, store: &Store) -> Result<After, Error> {
        if self.after.is_empty() {
            return Ok(After::Beginning);
        }
        let mut parts = self.after.splitn(3, '/');
        let (Some(kind), Some(name)) = (parts.next(), parts.next()) else {
            return Err(Error::invalid(
                "after is not valid: want what next of the answer before said, or type/name of a \
                 destination",
            ));
        };
        let destination = store.destination_id(kind, name);
        Ok(match parts.next() {
            None => After::Destination(destination),
            Some(external_name) => {
                After::Name { destination, external_name: external_name.to_owned() }
            }
        })
    }
}

/// What clients give: a limit of zero or less is none.
fn at_most(limit: Integer) -> usize {
    usize::try_from(limit.0).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX)
}

/// How many there are, where these are all of them; and where a part was asked for, what the next one
/// comes after.
fn counted(after: &str, limit: Integer, count: usize, next: Option<String>) -> Map<String, Value> {
    let mut data = Map::new();
    if after.is_empty() && next.is_none() {
        data.insert("total_orphans".to_owned(), json!(count));
    }
    if !after.is_empty() || limit.0 > 0 {
        data.insert("next".to_owned(), json!(next));
    }
    data
}

fn destination(orphan: &Orphan) -> String {
    format!("{}/{}", orphan.destination_type, orphan.destination_name)
}

fn shown(orphan: &Orphan) -> Value {
    let mut shown = Map::from_iter([
        ("external_name".to_owned(), json!(orphan.external_name)),
        ("mount".to_owned(), json!(orphan.mount)),
        ("secret_name".to_owned(), json!(orphan.secret_name)),
        ("since".to_owned(), json!(time(orphan.since))),
        ("error".to_owned(), json!(orphan.problem.as_ref().map(error))),
    ]);
    if let Some(sub_key) = &orphan.sub_key {
        shown.insert("sub_key".to_owned(), json!(sub_key));
    }
    Value::Object(shown)
}
