//! Sources as answers show them, and how their runs went.

use super::{NamedSource, source_key};
use crate::{
    paths::{Nothing, Paths, destinations::MASK, status::time},
    pull::spec::Removals,
    pulling::stored::{FIELDS, LastRun, StoredSource},
    registry::Drift,
    store::Store,
};
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Error, Reply, Request};
use serde_json::{Map, Value, json};
use std::sync::Arc;

impl Paths {
    pub(in crate::paths) async fn list_sources(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let names = store.source_names().await?;
        if names.is_empty() {
            return Err(Error::not_found());
        }
        let mut information = Map::new();
        for name in &names {
            let Some(source) = store.source(name).await? else { continue };
            let runs = store.source_runs(name).await?.filter(|runs| runs.source == source.id);
            let shown = json!({
                "type": source.kind,
                "destination": source.destination(),
                "paused": source.paused,
                "last_outcome": runs.map(|runs| runs.last.outcome()),
            });
            information.insert(name.clone(), shown);
        }
        let total = names.len();
        let data = json!({ "keys": names, "key_info": information, "total_sources": total });
        Ok(Reply::data(&data))
    }

    pub(in crate::paths) async fn source_exists(
        self: Arc<Self>,
        request: Request<NamedSource>,
    ) -> Result<bool, Error> {
        let store = Store::within(&request.view, &request.namespace);
        Ok(store.source(&request.input.name).await?.is_some())
    }

    pub(in crate::paths) async fn read_source(
        self: Arc<Self>,
        request: Request<NamedSource>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let source = store.source(&request.input.name).await?.ok_or_else(Error::not_found)?;
        Ok(Reply::data(&shown(&source)))
    }

    pub(in crate::paths) async fn read_source_status(
        self: Arc<Self>,
        request: Request<NamedSource>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let source = store.source(&request.input.name).await?.ok_or_else(Error::not_found)?;
        let key = source_key(&request.namespace, &source.name);
        let pulling = self.sync.pulling();
        let since = pulling.as_ref().and_then(|pulling| pulling.running_since(&key));
        let asked = pulling.is_some_and(|pulling| pulling.is_asked(&key));
        let runs = store.source_runs(&source.name).await?.filter(|runs| runs.source == source.id);
        let next = source.next_run(runs.as_ref(), request.now);
        let next = if asked { Some(request.now) } else { next };
        let resting = self.resting_source(&store, &source).await?;
        let mut shown = Map::from_iter([
            ("name".to_owned(), json!(source.name)),
            ("running".to_owned(), json!(since.is_some())),
            ("next_run".to_owned(), json!(next.map(|at| time(to_millis(at))))),
        ]);
        if let Some(since) = since {
            shown.insert("running_since".to_owned(), json!(time(to_millis(since))));
        }
        if !resting.is_empty() {
            shown.insert("rests".to_owned(), json!(resting));
        }
        if let Some(runs) = &runs {
            shown.insert("last_run".to_owned(), shown_run(&runs.last));
            shown.insert("last_success".to_owned(), json!(runs.succeeded_at.map(time)));
        }
        Ok(Reply::data(&Value::Object(shown)))
    }

    /// Why no run of a source begins for now, in sentences for the user.
    pub(super) async fn resting_source(
        &self,
        store: &Store,
        source: &StoredSource,
    ) -> Result<Vec<String>, Error> {
        let destination =
            store.destination(&source.destination_type, &source.destination_name).await?;
        let destination = destination.map(|(destination, _)| destination);
        let mut reasons = self.resting(store, destination.as_ref()).await?;
        if source.paused {
            reasons.push("the source is paused: set paused=false".to_owned());
        }
        Ok(reasons)
    }
}

/// A source as answers show it: secrets masked, what is unset left out.
pub(super) fn shown(source: &StoredSource) -> Value {
    let mut shown = Map::from_iter([
        ("name".to_owned(), json!(source.name)),
        ("type".to_owned(), json!(source.kind)),
        ("destination".to_owned(), json!(source.destination())),
        ("compare".to_owned(), json!(source.compare)),
        ("ownership".to_owned(), json!(source.ownership)),
        ("deletion_share_max".to_owned(), json!(source.deletion_share_max)),
        ("paused".to_owned(), json!(source.paused)),
    ]);
    for field in FIELDS {
        if let Some(text) = source.details.text(field.name) {
            let text = if field.secret { MASK.to_owned() } else { text };
            shown.insert(field.name.to_owned(), json!(text));
        }
    }
    let deletion = match source.removals {
        Removals::Keep => "keep",
        Removals::Orphan => "orphan",
        Removals::Schedule { .. } => "schedule",
        Removals::Delete => "delete",
    };
    shown.insert("deletion".to_owned(), json!(deletion));
    if let Removals::Schedule { days } = source.removals {
        shown.insert("recovery_window_days".to_owned(), json!(days));
    }
    let drift = match source.drift {
        Drift::Off => "off",
        Drift::Report => "report",
        Drift::Repair => "repair",
    };
    shown.insert("drift".to_owned(), json!(drift));
    for (name, text) in
        [("prefix", &source.prefix), ("names", &source.template), ("schedule", &source.schedule)]
    {
        if let Some(text) = text {
            shown.insert(name.to_owned(), json!(text));
        }
    }
    if source.network.disable_strict_networking {
        shown.insert("disable_strict_networking".to_owned(), json!(true));
    }
    for (name, list) in [
        ("mounts", &source.mounts),
        ("folders", &source.folders),
        ("allowed_ipv4_addresses", &source.network.allowed_ipv4_addresses),
        ("allowed_ipv6_addresses", &source.network.allowed_ipv6_addresses),
        ("allowed_ports", &source.network.allowed_ports),
    ] {
        if !list.is_empty() {
            shown.insert(name.to_owned(), json!(list));
        }
    }
    for (name, map) in
        [("mount_versions", &source.mount_versions), ("custom_tags", &source.custom_tags)]
    {
        if !map.is_empty() {
            shown.insert(name.to_owned(), json!(map));
        }
    }
    Value::Object(shown)
}

fn shown_run(last: &LastRun) -> Value {
    let mut shown = Map::from_iter([
        ("run".to_owned(), json!(last.run)),
        ("outcome".to_owned(), json!(last.outcome())),
        ("started_at".to_owned(), json!(time(last.started_at))),
        ("ended_at".to_owned(), json!(time(last.ended_at))),
        ("summary".to_owned(), json!(last.summary)),
    ]);
    if let Some(failure) = &last.not_begun {
        let next_action = failure.failure.next_action();
        let error = json!({
            "stage": failure.stage,
            "class": failure.failure,
            "message": failure.message,
            "next_action": next_action,
        });
        shown.insert("error".to_owned(), error);
        return Value::Object(shown);
    }
    shown.extend(last.counts.iter().map(|(name, count)| (name.clone(), json!(count))));
    let failures: Vec<Value> = last
        .failures
        .iter()
        .map(|failed| {
            json!({ "name": failed.name, "class": failed.failure, "message": failed.message })
        })
        .collect();
    shown.insert("failures".to_owned(), json!(failures));
    shown.insert("notes".to_owned(), json!(last.notes));
    Value::Object(shown)
}
