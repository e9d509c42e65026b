//! Associations as answers show them: of a destination, of a secret, and all.

use super::{Subjected, trimmed};
use crate::{
    SecretSync,
    association::State,
    board::Key,
    destination::Note,
    failure::Status,
    paths::{Nothing, Paths, destinations::last_drift_check, status},
    store::Store,
};
use bailee_barrier::Barrier;
use bailee_sdk::{Error, Namespace, Reply, Request, field::Integer};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

/// Most associations of a page.
const PAGE_MAX: i64 = 1000;
/// The longest code of a secret.
const CODE_BYTES_MAX: usize = 128;

/// Associations of a destination, all of them or a page.
#[derive(Deserialize, JsonSchema)]
pub(in crate::paths) struct OfDestination {
    /// Type of the destination.
    #[serde(rename = "type")]
    kind: String,
    /// Name of the destination.
    name: String,
    /// Most associations of one answer; all of them where it is left out.
    limit: Option<Integer>,
    /// What `next` of the answer before said: where this one begins.
    after: Option<String>,
}

/// A secret.
#[derive(Deserialize, JsonSchema)]
pub(in crate::paths) struct OfSecret {
    /// Path of the mount that holds the secret.
    mount: String,
    /// Path of the secret in its mount.
    secret_name: String,
}

impl Paths {
    pub(in crate::paths) async fn read_associations(
        self: Arc<Self>,
        request: Request<OfDestination>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let OfDestination { kind, name, limit, after } = &request.input;
        self.kind(kind)?;
        if store.destination(kind, name).await?.is_none() {
            return Err(Error::not_found());
        }
        if limit.is_some() || after.is_some() {
            let after = after.as_deref().unwrap_or_default();
            let page = Page { after, limit: page_limit(*limit)? };
            let id = store.destination_id(kind, name);
            let wishes = self.sync.registry.wishes(&request.namespace, &id);
            return Ok(Reply::data(&paged(&store, (kind, name), &wishes, page).await?));
        }
        let wishes = self.wishes(&store, &request.namespace, kind, name);
        Ok(Reply::data(&listed(&store, kind, name, &wishes, None, request.now).await?))
    }

    pub(in crate::paths) async fn list_associations(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let associations = store.all_associations().await?;
        if associations.is_empty() {
            return Err(Error::not_found());
        }
        let mut secrets = BTreeSet::new();
        for association in &associations {
            secrets.insert((association.mount_path.clone(), association.secret_name.clone()));
        }
        let mut info = Map::new();
        for (mount, secret_path) in &secrets {
            let shown = json!([{ "mount": mount, "secret_path": secret_path }]);
            info.insert(format!("{mount}{secret_path}"), shown);
        }
        let keys: Vec<&String> = info.keys().collect();
        Ok(Reply::data(&json!({
            "key_info": info,
            "keys": keys,
            "total_associations": associations.len(),
            "total_secrets": secrets.len(),
        })))
    }

    pub(in crate::paths) async fn read_secret(
        self: Arc<Self>,
        request: Request<OfSecret>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let OfSecret { mount, secret_name } = &request.input;
        let mount = request.mounts.at(mount.trim_start_matches('/'));
        let mount = mount.ok_or_else(Error::not_found)?;
        let secret = store.secret_id(&mount.uuid, trimmed(secret_name));
        let mut shown = Map::new();
        for destination in store.destinations_of(&secret).await? {
            let Some((association, _)) = store.association(&destination, &secret).await? else {
                continue;
            };
            let dirty = store.dirty_at(&destination, &secret).await?.is_some();
            let (kind, name) = (&association.destination_type, &association.destination_name);
            let wishes = self.sync.registry.wishes(&request.namespace, &destination);
            let lines = status::lines(&association, dirty, &wishes);
            let worst = lines.into_iter().max_by_key(|line| line.status.severity());
            let mut entry = worst.map(|line| line.fields).unwrap_or_default();
            for field in ["accessor", "secret_name"] {
                entry.remove(field);
            }
            entry.insert("type".to_owned(), json!(kind));
            entry.insert("name".to_owned(), json!(name));
            shown.insert(format!("{kind}/{name}"), Value::Object(entry));
        }
        if shown.is_empty() {
            return Err(Error::not_found());
        }
        let total = shown.len();
        Ok(Reply::data(&json!({ "associated_destinations": shown, "total_destinations": total })))
    }

    /// Permissions that a destination would use beside those it has.
    pub(super) fn wishes(
        &self,
        store: &Store,
        namespace: &Namespace,
        kind: &str,
        name: &str,
    ) -> Vec<Note> {
        self.sync.registry.wishes(namespace, &store.destination_id(kind, name))
    }
}

/// One association as it is now; an empty answer where it has gone.
pub(in crate::paths) async fn one(
    sync: &SecretSync,
    barrier: &Arc<Barrier>,
    namespace: &Namespace,
    key: &Key,
) -> Result<Reply, Error> {
    let store = Store::open(barrier, namespace);
    let (id, secret) = (&key.destination, &key.secret);
    let Some((association, _)) = store.association(id, secret).await? else {
        return Ok(Reply::data(&json!({ "associated_secrets": {} })));
    };
    let dirty = store.dirty_at(id, secret).await?.is_some();
    let lines = status::lines(&association, dirty, &sync.registry.wishes(namespace, id));
    let shown: Map<String, Value> =
        lines.into_iter().map(|line| (line.key, Value::Object(line.fields))).collect();
    Ok(Reply::data(&json!({
        "associated_secrets": shown,
        "store_name": association.destination_name,
        "store_type": association.destination_type,
    })))
}

/// A part of the associations of a destination.
struct Page<'a> {
    /// The code of the last one before; codes say nothing of names.
    after: &'a str,
    limit: usize,
}

fn page_limit(limit: Option<Integer>) -> Result<usize, Error> {
    let limit = limit.map_or(PAGE_MAX, |limit| limit.0);
    if (1..=PAGE_MAX).contains(&limit) {
        return Ok(usize::try_from(limit).unwrap_or(1));
    }
    Err(Error::invalid(format!("limit is not valid: want 1 to {PAGE_MAX}")))
}

/// A page of the associations of a destination, and where the next one begins.
async fn paged(
    store: &Store,
    (kind, name): (&str, &str),
    wishes: &[Note],
    page: Page<'_>,
) -> Result<Value, Error> {
    if page.after.len() > CODE_BYTES_MAX || page.after.contains('/') {
        return Err(Error::invalid("after is not valid: want what next of the answer before said"));
    }
    let id = store.destination_id(kind, name);
    let (mut secrets, mut after, mut left) = (Map::new(), page.after.to_owned(), page.limit);
    let next = 'pages: loop {
        let codes = store.association_page(&id, &after).await?;
        if codes.is_empty() {
            break None;
        }
        for secret in codes {
            if left == 0 {
                break 'pages Some(after);
            }
            left -= 1;
            if let Some((association, _)) = store.association(&id, &secret).await? {
                let dirty = store.dirty_at(&id, &secret).await?.is_some();
                for line in status::lines(&association, dirty, wishes) {
                    secrets.insert(line.key, Value::Object(line.fields));
                }
            }
            after = secret;
        }
    };
    Ok(json!({
        "associated_secrets": secrets,
        "store_name": name,
        "store_type": kind,
        "next": next,
    }))
}

/// All associations of a destination; one that was just removed is still shown.
pub(super) async fn listed(
    store: &Store,
    kind: &str,
    name: &str,
    wishes: &[Note],
    subject: Option<&Subjected>,
    now: SystemTime,
) -> Result<Value, Error> {
    let id = store.destination_id(kind, name);
    let dirty: BTreeSet<String> = store.dirty_secrets(&id).await?.into_iter().collect();
    let mut secrets = Map::new();
    let mut counters: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut there, mut total) = (false, 0);
    for (secret, association) in store.associations(&id).await? {
        there |= subject.is_some_and(|subject| subject.secret == secret);
        total += 1;
        for line in status::lines(&association, dirty.contains(&secret), wishes) {
            *counters.entry(line.status.name()).or_default() += 1;
            secrets.insert(line.key, Value::Object(line.fields));
        }
    }
    if let Some(subject) = subject.filter(|subject| subject.removed && !there) {
        let mut association = subject.association.clone();
        association.state = State::done(Status::Unsynced, now, Vec::new());
        for object in &mut association.objects {
            object.state = association.state.clone();
            object.delivered = None;
        }
        for line in status::lines(&association, false, wishes) {
            *counters.entry(line.status.name()).or_default() += 1;
            secrets.insert(line.key, Value::Object(line.fields));
        }
    }
    let mut data = Map::from_iter([
        ("associated_secrets".to_owned(), Value::Object(secrets)),
        ("store_name".to_owned(), json!(name)),
        ("store_type".to_owned(), json!(kind)),
        ("total_associations".to_owned(), json!(total)),
    ]);
    if let Some(surveyed) = last_drift_check(store, &id).await? {
        data.insert("last_drift_check".to_owned(), surveyed);
    }
    if subject.is_some() {
        data.insert("sync_operation_counters".to_owned(), json!(counters));
    }
    Ok(Value::Object(data))
}
