//! `…/associations`: which secrets are kept at which destinations, and how far that has come.

use super::{
    AfterCommit, Nothing, Paths,
    destinations::{last_drift_check, purging},
    status,
};
use crate::{
    SecretSync,
    association::{Association, State},
    board::Key,
    destination::Note,
    failure::Status,
    naming::{Granularity, Subject, external_name},
    registry::StoredDestination,
    store::{Mark, Store},
};
use bailee_barrier::Barrier;
use bailee_crypto::clock::to_millis;
use bailee_sdk::{
    Body, Code, Error, Mount, Mounts, Namespace, Operation, Reply, Request, field::Integer,
};
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
/// Names at a destination that wait to be removed because the template was changed.
const FORMER_NAMES_MAX: usize = 16;

/// A secret at a destination.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Associate {
    /// Type of the destination.
    #[serde(rename = "type")]
    kind: String,
    /// Name of the destination.
    name: String,
    /// Path of the mount that holds the secret.
    mount: String,
    /// Path of the secret in its mount.
    secret_name: String,
}

/// Associations of a destination, all of them or a page.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OfDestination {
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
pub(super) struct OfSecret {
    /// Path of the mount that holds the secret.
    mount: String,
    /// Path of the secret in its mount.
    secret_name: String,
}

/// The association that an answer is about.
struct Subjected {
    secret: String,
    association: Association,
    /// Whether it was to be removed: then it is shown although it has gone.
    removed: bool,
}

impl Paths {
    pub(super) async fn read_associations(
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

    pub(super) async fn set_association(
        self: Arc<Self>,
        request: Request<Associate>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let id = self.locked_destination(&store, &request.input).await?;
        let destination = self.destination(&store, &request.input).await?;
        let secret_name = secret_name(&request.input.secret_name)?;
        let mount = versioned_mount(&request, &request.input.mount)?;
        may_read(&request, mount, secret_name)?;
        let kind = self.kind(&destination.kind)?;
        let template = kind.template_of(&destination).to_owned();
        let granularity = kind.granularity_of(&destination);
        let external = match granularity {
            Granularity::SecretKey => None,
            Granularity::SecretPath => {
                let subject = Subject {
                    destination_type: &destination.kind,
                    destination_name: &destination.name,
                    namespace: &request.namespace,
                    mount,
                    secret: secret_name,
                    key: None,
                };
                let name = external_name(&template, &kind.names, &subject);
                Some(name.map_err(Error::invalid)?)
            }
        };
        let secret = store.secret_id(&mount.uuid, secret_name);
        store.lock_association(&id, &secret).await;
        let before = store.association(&id, &secret).await?.map(|(found, _)| found);
        let objects = before.as_ref().map(|before| before.objects.clone()).unwrap_or_default();
        if objects.iter().filter(|object| object.leaving).count() >= FORMER_NAMES_MAX {
            return Err(Error::invalid(format!(
                "the secret has {FORMER_NAMES_MAX} former names at the destination that could not \
                 be removed yet: its status says why"
            )));
        }
        let now = to_millis(request.now);
        let generation =
            before.as_ref().map_or(now, |before| now.max(before.generation.saturating_add(1)));
        let mut association = Association {
            mount: mount.uuid.clone(),
            mount_path: mount.path.clone(),
            accessor: mount.accessor.clone(),
            secret_name: secret_name.to_owned(),
            destination_type: destination.kind.clone(),
            destination_name: destination.name.clone(),
            template,
            granularity,
            generation,
            removing: false,
            objects,
            state: State { updated_at: now, ..State::default() },
        };
        if let Some(external) = external {
            let object = association.object_mut(&None, &external);
            object.leaving = false;
            object.state.problem = None;
        }
        for object in &mut association.objects {
            object.state.status = Status::Pending;
            // Whoever asks again does not wait for the next attempt.
            if let Some(problem) = &mut object.state.problem {
                problem.next_attempt = None;
            }
        }
        store.put_association(&id, &secret, &association);
        store.mark_dirty(&id, &secret, Mark { since: now });
        let warnings = self.resting(&store, Some(&destination)).await?;
        let reply = self.settled(&request, &id, Subjected { secret, association, removed: false });
        Ok(warnings.into_iter().fold(reply, Reply::warn))
    }

    pub(super) async fn remove_association(
        self: Arc<Self>,
        request: Request<Associate>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let id = self.locked_destination(&store, &request.input).await?;
        let destination = self.destination(&store, &request.input).await?;
        let Associate { kind, name, mount, secret_name } = &request.input;
        let secret_name = trimmed(secret_name);
        let mounts = &request.mounts;
        let secret = found(&store, mounts, &id, mount, secret_name).await?.unwrap_or_default();
        store.lock_association(&id, &secret).await;
        let Some((mut association, read_at)) = store.association(&id, &secret).await? else {
            let wishes = self.wishes(&store, &request.namespace, kind, name);
            return Ok(Reply::data(&listed(&store, kind, name, &wishes, None, request.now).await?));
        };
        let now = to_millis(request.now);
        association.removing = true;
        association.generation = now.max(association.generation.saturating_add(1));
        association.state.status = Status::Pending;
        association.state.updated_at = now;
        association.state.problem = None;
        for object in &mut association.objects {
            object.state = State { status: Status::Pending, updated_at: now, ..State::default() };
        }
        store.update_association(&id, &secret, &association, read_at);
        store.mark_dirty(&id, &secret, Mark { since: now });
        let warnings = self.resting(&store, Some(&destination)).await?;
        let reply = self.settled(&request, &id, Subjected { secret, association, removed: true });
        Ok(warnings.into_iter().fold(reply, Reply::warn))
    }

    pub(super) async fn list_associations(
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

    pub(super) async fn read_secret(
        self: Arc<Self>,
        request: Request<OfSecret>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let OfSecret { mount, secret_name } = &request.input;
        let mount = request.mounts.at(mount).ok_or_else(Error::not_found)?;
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
    fn wishes(&self, store: &Store, namespace: &Namespace, kind: &str, name: &str) -> Vec<Note> {
        self.sync.registry.wishes(namespace, &store.destination_id(kind, name))
    }

    /// The code of the destination, which nobody else changes until the request has ended.
    async fn locked_destination(&self, store: &Store, input: &Associate) -> Result<String, Error> {
        self.kind(&input.kind)?;
        let id = store.destination_id(&input.kind, &input.name);
        store.lock_destination(&id).await;
        Ok(id)
    }

    async fn destination(
        &self,
        store: &Store,
        input: &Associate,
    ) -> Result<StoredDestination, Error> {
        let found = store.destination(&input.kind, &input.name).await?;
        let (destination, _) = found.ok_or_else(Error::not_found)?;
        if destination.is_purging() {
            return Err(purging());
        }
        Ok(destination)
    }

    /// The answer after the commit: waits, within a bound, for how the first attempt goes.
    fn settled(&self, request: &Request<Associate>, id: &str, subject: Subjected) -> Reply {
        let key = Key::new(&request.namespace, id, &subject.secret);
        let after = AfterCommit { board: self.board(), keys: vec![key] };
        let wait = self.sync.settings.set_wait;
        let barrier = request.view.barrier().clone();
        let namespace = request.namespace.clone();
        let sync = self.sync.clone();
        Body::After(Box::pin(async move {
            after.first_outcome(wait).await;
            answer(&sync, &barrier, &namespace, subject).await
        }))
        .into()
    }
}

async fn answer(
    sync: &SecretSync,
    barrier: &Arc<Barrier>,
    namespace: &Namespace,
    subject: Subjected,
) -> Result<Reply, Error> {
    let store = Store::open(barrier, namespace);
    let (kind, name) = (
        subject.association.destination_type.clone(),
        subject.association.destination_name.clone(),
    );
    let id = store.destination_id(&kind, &name);
    let current = store.association(&id, &subject.secret).await?.map(|(found, _)| found);
    let empty =
        !subject.removed && current.is_some_and(|current| current.state.status == Status::Unsynced);
    let secret = format!("{}{}", subject.association.mount_path, subject.association.secret_name);
    let wishes = sync.registry.wishes(namespace, &id);
    let now = sync.clock.now();
    let reply = Reply::data(&listed(&store, &kind, &name, &wishes, Some(&subject), now).await?);
    if !empty {
        return Ok(reply);
    }
    Ok(reply.warn(format!(
        "secret {secret} has no live version: it is delivered as soon as it has one"
    )))
}

/// One association as it is now; an empty answer where it has gone.
pub(super) async fn one(
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
async fn listed(
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

/// The name of a secret as it is stored.
pub(super) fn trimmed(name: &str) -> &str {
    name.trim_start_matches('/')
}

pub(super) fn secret_name(name: &str) -> Result<&str, Error> {
    let name = trimmed(name);
    if name.is_empty() || name.ends_with('/') {
        return Err(Error::invalid(
            "Secret not found. Please provide full path to existing secret",
        ));
    }
    let odd = |segment: &str| segment.is_empty() || segment == "." || segment == "..";
    if name.split('/').any(odd) || name.chars().any(char::is_control) {
        return Err(Error::invalid(
            "secret_name is invalid: want the path of a secret, without empty parts, dots alone and \
             control characters",
        ));
    }
    Ok(name)
}

pub(super) fn versioned_mount<'a, I>(
    request: &'a Request<I>,
    path: &str,
) -> Result<&'a Arc<Mount>, Error> {
    let mount = request
        .mounts
        .at(path.trim_start_matches('/'))
        .ok_or_else(|| Error::invalid(format!("no secrets engine is mounted at {path:?}")))?;
    if mount.is_versioned_kv() {
        return Ok(mount);
    }
    Err(Error::invalid(format!(
        "mount {path:?} is not a KV version 2 secrets engine: secrets of that kind alone are synced"
    )))
}

/// Whoever sets an association must be able to read the secret.
fn may_read(request: &Request<Associate>, mount: &Mount, secret: &str) -> Result<(), Error> {
    let path = format!("{}data/{secret}", mount.path);
    let permitted =
        request.caller.as_ref().is_some_and(|caller| (caller.may)(Operation::Read, &path));
    if permitted {
        return Ok(());
    }
    let mount = mount.path.trim_end_matches('/');
    Err(Error::new(
        Code::PermissionDenied,
        format!("permission denied to read the content of the secret {secret} in mount {mount}"),
    ))
}

/// The code of an associated secret; also of one whose mount has gone.
pub(super) async fn found(
    store: &Store,
    mounts: &Mounts,
    id: &str,
    mount: &str,
    secret_name: &str,
) -> Result<Option<String>, Error> {
    let mount = mount.trim_start_matches('/');
    if let Some(mount) = mounts.at(mount) {
        let secret = store.secret_id(&mount.uuid, secret_name);
        if store.association(id, &secret).await?.is_some() {
            return Ok(Some(secret));
        }
    }
    let mount = mount.trim_end_matches('/');
    let associations = store.associations(id).await?;
    let found = associations.into_iter().find(|(_, association)| {
        association.mount_path.trim_end_matches('/') == mount
            && association.secret_name == secret_name
    });
    Ok(found.map(|(secret, _)| secret))
}
