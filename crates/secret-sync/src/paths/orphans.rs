//! `sys/sync/orphans`: what a forced deletion left behind, until somebody has taken note.

use super::{
    Named, Nothing, Paths,
    status::{error, time},
};
use crate::orphan::Orphan;
use bailee_sdk::{Error, Reply, Request};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

impl Paths {
    pub(super) async fn list_orphans(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let orphans = store.orphans(None).await?;
        if orphans.is_empty() {
            return Err(Error::not_found());
        }
        let total = orphans.len();
        let mut by_destination: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (_, orphan) in orphans {
            let of = format!("{}/{}", orphan.destination_type, orphan.destination_name);
            by_destination.entry(of).or_default().push(shown(&orphan));
        }
        let keys: Vec<&String> = by_destination.keys().collect();
        Ok(Reply::data(&json!({
            "keys": keys,
            "key_info": by_destination,
            "total_orphans": total,
        })))
    }

    pub(super) async fn read_orphans(
        self: Arc<Self>,
        request: Request<Named>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let Named { kind, name } = &request.input;
        let orphans = store.orphans(Some(&store.destination_id(kind, name))).await?;
        if orphans.is_empty() {
            return Err(Error::not_found());
        }
        let orphans: Vec<Value> = orphans.iter().map(|(_, orphan)| shown(orphan)).collect();
        Ok(Reply::data(&json!({
            "type": kind,
            "name": name,
            "orphans": orphans,
            "total_orphans": orphans.len(),
        })))
    }

    /// Somebody has taken note.
    pub(super) async fn forget_orphans(
        self: Arc<Self>,
        request: Request<Named>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let Named { kind, name } = &request.input;
        for (key, _) in store.orphans(Some(&store.destination_id(kind, name))).await? {
            store.view.delete(&key);
        }
        Ok(Reply::empty())
    }
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
