//! `sys/namespaces`: tenants that see nothing of each other.

use super::{System, mounts::in_use};
use crate::{
    identity::check_metadata,
    mount::{self, Changing},
    purge,
    registry::{self, NamespaceEntry, Place},
};
use bailee_crypto::{hash, random};
use bailee_sdk::{
    Body, Error, Namespace, Operation, Path, Reply, Request, Sensitive, field::KeyValues,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Letters and digits of a namespace's id.
const ID_LETTERS: usize = 6;
/// Bytes that a name may have.
const NAME_BYTES_MAX: usize = 255;
/// Names that mean something else as the first part of a path.
const RESERVED: [&str; 7] = ["root", "sys", "audit", "auth", "cubbyhole", "identity", "api-lock"];
/// Letters and digits of the key that opens a locked namespace.
const UNLOCK_KEY_LETTERS: usize = 24;

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    vec![
        Path::new("namespaces").on(
            Operation::List,
            system,
            "List the namespaces directly below this one.",
            System::list_namespaces,
        ),
        Path::new("namespaces/api-lock/lock/{path...?}").on(
            Operation::Update,
            system,
            "Let nobody use a namespace and those in it.",
            System::lock_namespace,
        ),
        Path::new("namespaces/api-lock/unlock/{path...?}").on(
            Operation::Update,
            system,
            "Let a locked namespace be used again.",
            System::unlock_namespace,
        ),
        Path::new("namespaces/{path...}")
            .on(Operation::Read, system, "Read a namespace.", System::read_namespace)
            .on(
                Operation::Update,
                system,
                "Create a namespace, or replace what is said about it.",
                System::write_namespace,
            )
            .on(
                Operation::Patch,
                system,
                "Change what is said about a namespace.",
                System::patch_namespace,
            )
            .on(
                Operation::Delete,
                system,
                "Delete a namespace and all it holds.",
                System::delete_namespace,
            ),
    ]
}

#[derive(Deserialize, JsonSchema)]
struct AtPath {
    /// Path of the namespace, relative to this one.
    path: String,
}

#[derive(Deserialize, JsonSchema)]
struct Write {
    /// Path of the namespace, relative to this one. Its parent must be there.
    path: String,
    /// Texts under names, for its owner.
    #[serde(default)]
    custom_metadata: KeyValues,
}

#[derive(Deserialize, JsonSchema)]
struct Patch {
    /// Path of the namespace, relative to this one.
    path: String,
    /// Texts under names; `null` removes one.
    #[serde(default)]
    custom_metadata: Map<String, Value>,
}

#[derive(Deserialize, JsonSchema)]
struct Lock {
    /// Path of the namespace, relative to this one; this one itself when it is empty.
    #[serde(default)]
    path: String,
}

#[derive(Deserialize, JsonSchema)]
struct Unlock {
    /// Path of the namespace, relative to this one; this one itself when it is empty.
    #[serde(default)]
    path: String,
    /// The key that locking was answered with; a root token needs none.
    #[serde(default)]
    #[schemars(with = "String")]
    unlock_key: Sensitive<String>,
}

#[derive(Deserialize, JsonSchema)]
struct List {
    /// Names after this one.
    #[serde(default)]
    after: Option<String>,
    /// At most that many names.
    #[serde(default)]
    limit: Option<bailee_sdk::field::Integer>,
}

impl System {
    async fn list_namespaces(self: Arc<Self>, request: Request<List>) -> Result<Reply, Error> {
        let own = &request.namespace.path;
        let after = request.input.after.as_deref().unwrap_or_default();
        let limit = request.input.limit.map_or(0, |limit| limit.0);
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let places = self.registry.places();
        let mut keys = Vec::new();
        let mut info = Map::new();
        for place in places.iter() {
            let Some(name) = place.namespace.path.strip_prefix(own.as_str()) else { continue };
            let is_child = name.split_inclusive('/').count() == 1;
            if is_child && name > after && keys.len() < limit {
                keys.push(name.to_owned());
                info.insert(name.to_owned(), shown(&request.namespace, place));
            }
        }
        if keys.is_empty() {
            return Err(Error::not_found());
        }
        Ok(Reply::data(&json!({ "keys": keys, "key_info": info })))
    }

    async fn read_namespace(self: Arc<Self>, request: Request<AtPath>) -> Result<Reply, Error> {
        let path = full(&request.namespace, &request.input.path);
        match self.registry.places().at(&path) {
            Some(place) => Ok(Reply::data(&shown(&request.namespace, place))),
            None => Err(Error::not_found()),
        }
    }

    async fn write_namespace(self: Arc<Self>, request: Request<Write>) -> Result<Reply, Error> {
        let path = full(&request.namespace, &mount::clean_path(&request.input.path)?);
        let custom_metadata = request.input.custom_metadata.0.clone();
        check_metadata("custom_metadata", &custom_metadata)?;
        let (parent, name) = split(&path);
        let places = self.registry.places();
        let parent = places.at(parent).ok_or_else(|| {
            Error::invalid(format!("parent namespace {parent:?} does not exist, create it first"))
        })?;
        let changing = Changing::begin(&request.view, &parent.namespace).await?;
        let all = registry::namespaces(&request.view).await?;
        let known = all.iter().find(|entry| entry.path == path && !entry.deleting);
        let entry = match known {
            Some(known) => NamespaceEntry { custom_metadata, ..known.clone() },
            None => {
                check_name(name)?;
                if let Some(mount) = changing.in_the_way(&format!("{name}/")) {
                    return Err(in_use(&mount.path));
                }
                NamespaceEntry {
                    id: new_id(&all),
                    uuid: random::uuid().to_string(),
                    path,
                    custom_metadata,
                    deleting: false,
                    lock: None,
                }
            }
        };
        registry::put_namespace(&request.view, &entry);
        let namespace = Namespace { id: entry.id.clone(), path: entry.path.clone() };
        if known.is_none() {
            mount::put_builtin(&request.view, &namespace);
        }
        Ok(Reply::data(&shown_entry(&request.namespace, &entry)))
    }

    async fn patch_namespace(self: Arc<Self>, request: Request<Patch>) -> Result<Reply, Error> {
        let path = full(&request.namespace, &request.input.path);
        let mut entry = self.changing_namespace(&request, &path).await?;
        for (name, value) in &request.input.custom_metadata {
            match value {
                Value::Null => {
                    entry.custom_metadata.remove(name);
                }
                Value::String(text) => {
                    entry.custom_metadata.insert(name.clone(), text.clone());
                }
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    return Err(Error::invalid(format!(
                        "custom_metadata field {name:?} must be a string or null"
                    )));
                }
            }
        }
        check_metadata("custom_metadata", &entry.custom_metadata)?;
        registry::put_namespace(&request.view, &entry);
        Ok(Reply::data(&shown_entry(&request.namespace, &entry)))
    }

    async fn lock_namespace(self: Arc<Self>, request: Request<Lock>) -> Result<Reply, Error> {
        let path = full(&request.namespace, &request.input.path);
        let mut entry = self.changing_namespace(&request, &path).await?;
        if entry.lock.is_some() {
            return Err(Error::invalid(format!("namespace {path:?} is already locked")));
        }
        let key = Sensitive::from(random::alphanumeric(UNLOCK_KEY_LETTERS).as_str());
        entry.lock = Some(lock_of(&key));
        registry::put_namespace(&request.view, &entry);
        Ok(Reply::data(&json!({ "unlock_key": key.expose() })))
    }

    async fn unlock_namespace(self: Arc<Self>, request: Request<Unlock>) -> Result<Reply, Error> {
        let path = full(&request.namespace, &request.input.path);
        let mut entry = self.changing_namespace(&request, &path).await?;
        let Some(lock) = entry.lock.take() else {
            return Err(Error::invalid(format!("namespace {path:?} is not locked")));
        };
        let caller = request.caller.as_ref();
        let is_root =
            caller.is_some_and(|caller| caller.policies.iter().any(|name| name == "root"));
        if !is_root && lock != lock_of(&request.input.unlock_key) {
            return Err(Error::invalid("incorrect unlock key"));
        }
        registry::put_namespace(&request.view, &entry);
        Ok(Reply::empty())
    }

    /// A namespace as storage has it, kept still until the batch lands.
    async fn changing_namespace<I>(
        &self,
        request: &Request<I>,
        path: &str,
    ) -> Result<NamespaceEntry, Error> {
        if path.trim_matches('/').is_empty() {
            return Err(Error::invalid("the root namespace cannot be locked"));
        }
        let places = self.registry.places();
        let known = places.at(path).and_then(|place| place.entry.as_ref());
        let (Some(known), Some(parent)) = (known, places.at(split(path).0)) else {
            return Err(Error::not_found());
        };
        Changing::begin(&request.view, &parent.namespace).await?;
        registry::namespace_entry(&request.view, &known.id)
            .await?
            .filter(|entry| !entry.deleting)
            .ok_or_else(Error::not_found)
    }

    /// Takes the namespace out of service with this batch; what it holds is removed after it.
    async fn delete_namespace(self: Arc<Self>, request: Request<AtPath>) -> Result<Reply, Error> {
        let path = full(&request.namespace, &request.input.path);
        let places = self.registry.places();
        let known = places.at(&path).and_then(|place| place.entry.as_ref());
        let (Some(known), Some(parent)) = (known, places.at(split(&path).0)) else {
            return Ok(Reply::empty().warn("requested namespace does not exist"));
        };
        let namespace = Namespace { id: known.id.clone(), path: known.path.clone() };
        // Before anything is revoked; and again below, when nothing changes any more.
        let below = |place: &Arc<Place>| is_below(&place.namespace.path, &path);
        if places.iter().any(below) {
            return Err(has_namespaces(&path));
        }
        let closed = self.end_leases(&namespace, "").await?;
        // The parent first, as everywhere. Its own mounts are kept still, too: nothing is mounted
        // and no namespace is made in it any more.
        Changing::begin(&request.view, &parent.namespace).await?;
        Changing::begin(&request.view, &namespace).await?;
        let all = registry::namespaces(&request.view).await?;
        if all.iter().any(|entry| !entry.deleting && is_below(&entry.path, &path)) {
            return Err(has_namespaces(&path));
        }
        let Some(entry) = all.iter().find(|entry| entry.id == known.id && !entry.deleting) else {
            return Ok(Reply::empty());
        };
        let entry = NamespaceEntry { deleting: true, ..entry.clone() };
        registry::put_namespace(&request.view, &entry);
        let after = Box::pin(async move {
            let _closed = closed;
            let (tokens, identity) = (&self.tokens, self.policies.identity());
            purge::pass(&self.barrier, &self.registry, tokens, identity).await?;
            Ok(Reply::empty())
        });
        Ok(Body::After(after).into())
    }
}

fn full(namespace: &Namespace, path: &str) -> String {
    match path.trim_matches('/') {
        "" => namespace.path.clone(),
        path => format!("{}{path}/", namespace.path),
    }
}

fn is_below(path: &str, above: &str) -> bool {
    path.len() > above.len() && path.starts_with(above)
}

fn has_namespaces(path: &str) -> Error {
    Error::invalid(format!(
        "cannot delete namespace {path:?}: it contains namespaces, delete them first"
    ))
}

/// What is stored of the key that opens a namespace.
fn lock_of(key: &Sensitive<String>) -> String {
    hex::encode(hash::sha256(key.expose().as_bytes()))
}

/// The path of the parent, and the name in it.
fn split(path: &str) -> (&str, &str) {
    let path = path.trim_end_matches('/');
    match path.rfind('/') {
        Some(end) => path.split_at(end + 1),
        None => ("", path),
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    if RESERVED.contains(&name) {
        return Err(Error::invalid(format!("{name:?} is a reserved name, choose another")));
    }
    if name.len() > NAME_BYTES_MAX {
        let message = format!("a namespace's name has at most {NAME_BYTES_MAX} bytes");
        return Err(Error::invalid(message));
    }
    if name.contains([' ', '+', '%']) {
        let message = "a namespace's name must not contain spaces, '+' or '%'";
        return Err(Error::invalid(message));
    }
    Ok(())
}

fn new_id(all: &[NamespaceEntry]) -> String {
    loop {
        let id = random::alphanumeric(ID_LETTERS);
        if !all.iter().any(|entry| entry.id == id) {
            return id;
        }
    }
}

fn shown(from: &Namespace, place: &Place) -> Value {
    match &place.entry {
        Some(entry) => shown_entry(from, entry),
        None => Value::Null,
    }
}

fn shown_entry(from: &Namespace, entry: &NamespaceEntry) -> Value {
    json!({
        "id": entry.id,
        "path": entry.path.strip_prefix(from.path.as_str()).unwrap_or(&entry.path),
        "uuid": entry.uuid,
        "custom_metadata": entry.custom_metadata,
        "tainted": false,
        "locked": entry.lock.is_some(),
    })
}
