//! `sys/mounts`: secrets engines; and what they have in common with auth methods.

use super::{Nothing, System, tuning::Tune};
use crate::{
    mount::{self, Changing, MountEntry},
    purge,
    registry::{self, NamespaceEntry},
};
use bailee_sdk::{
    Body, Error, Operation, Path, Reply, Request,
    engine::Class,
    field::{Flag, KeyValues},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Kinds that are part of the server and cannot be mounted again.
const NOT_MOUNTABLE: [&str; 4] = ["system", "cubbyhole", "identity", "token"];

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    vec![
        Path::new("mounts").on(
            Operation::Read,
            system,
            "List the secrets engines that are mounted.",
            |system: Arc<System>, request: Request<Nothing>| async move {
                Ok(Reply::data(&system.list(&request, Class::Secret)))
            },
        ),
        Path::new("mounts/{path...}")
            .on(
                Operation::Read,
                system,
                "Read one mount.",
                |system: Arc<System>, request: Request<AtPath>| async move {
                    system.read(&request, Class::Secret)
                },
            )
            .on(
                Operation::Update,
                system,
                "Mount a secrets engine.",
                |system: Arc<System>, request: Request<Enable>| async move {
                    system.enable(request, Class::Secret).await
                },
            )
            .on(
                Operation::Delete,
                system,
                "Unmount a secrets engine and remove all it holds.",
                |system: Arc<System>, request: Request<AtPath>| async move {
                    system.disable(request, Class::Secret).await
                },
            ),
    ]
}

/// Names a mount.
#[derive(Deserialize, JsonSchema)]
pub(super) struct AtPath {
    /// Path of the mount.
    pub(super) path: String,
}

/// A new mount.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Enable {
    /// Path of the mount.
    path: String,
    /// Kind of the engine, such as `kv`.
    #[serde(default)]
    r#type: Option<String>,
    /// What it is for.
    #[serde(default)]
    description: Option<String>,
    /// Settings that can be tuned later.
    #[serde(default)]
    config: Option<Tune>,
    /// Options of the engine, such as `version`.
    #[serde(default)]
    options: KeyValues,
    /// Kept as given.
    #[serde(default)]
    local: Flag,
    /// Kept as given: everything is sealed here.
    #[serde(default)]
    seal_wrap: Flag,
    /// Kept as given.
    #[serde(default)]
    external_entropy_access: Flag,
    /// Stands for `type` with older clients.
    #[serde(default)]
    plugin_name: Option<String>,
    /// Only the built-in version is there.
    #[serde(default)]
    plugin_version: Option<String>,
}

impl System {
    /// The mounts of a class, by path.
    pub(super) fn list<I>(&self, request: &Request<I>, class: Class) -> Value {
        let places = self.registry.places();
        let place = places.with_id(&request.namespace.id);
        let mounts = place.iter().flat_map(|place| place.mounts.values());
        mounts
            .filter(|mounted| mounted.entry.class == class)
            .map(|mounted| (mounted.entry.shown_path().to_owned(), self.shown(&mounted.entry)))
            .collect::<Map<_, _>>()
            .into()
    }

    pub(super) fn read(&self, request: &Request<AtPath>, class: Class) -> Result<Reply, Error> {
        let path = format!("{}/", request.input.path.trim_matches('/'));
        match self.stored(request, &full(&path, class)) {
            Some(entry) => Ok(Reply::data(&self.shown(&entry))),
            None => Err(Error::invalid(match class {
                Class::Secret => format!("No secret engine mount at {path}"),
                Class::Auth => format!("No auth engine at {path}"),
            })),
        }
    }

    pub(super) async fn enable(
        self: Arc<Self>,
        request: Request<Enable>,
        class: Class,
    ) -> Result<Reply, Error> {
        let input = &request.input;
        let path = mount::clean_path(&input.path)?;
        if class == Class::Secret && mount::is_reserved(&path) {
            return Err(Error::invalid(format!("cannot mount {path:?}")));
        }
        let entry = self.new_entry(input, &full(&path, class), class)?;
        let changing = Changing::begin(&request.view, &request.namespace).await?;
        if let Some(other) = changing.in_the_way(&entry.path) {
            return Err(in_use(other.shown_path()));
        }
        self.check_namespaces(&request, &entry.path).await?;
        changing.put(&entry);
        Ok(Reply::empty())
    }

    /// Takes the mount out of service with this batch; what it holds is removed after it.
    pub(super) async fn disable(
        self: Arc<Self>,
        request: Request<AtPath>,
        class: Class,
    ) -> Result<Reply, Error> {
        let path = format!("{}/", request.input.path.trim_matches('/'));
        if class == Class::Secret && mount::is_reserved(&path) {
            return Err(Error::invalid(format!("cannot unmount {path:?}")));
        }
        let path = full(&path, class);
        let Some(known) = self.stored(&request, &path) else { return Ok(Reply::empty()) };
        if known.is_builtin() {
            return Err(Error::invalid("token credential backend cannot be disabled"));
        }
        let closed = self.end_leases(&request.namespace, &path).await?;
        let changing = Changing::begin(&request.view, &request.namespace).await?;
        let Some(entry) = changing.at(&path) else { return Ok(Reply::empty()) };
        changing.put(&MountEntry { disabling: true, ..entry.clone() });
        let after = Box::pin(async move {
            let _closed = closed;
            let (tokens, identity) = (&self.tokens, self.policies.identity());
            purge::pass(&self.barrier, &self.registry, tokens, identity).await?;
            Ok(Reply::empty())
        });
        Ok(Body::After(after).into())
    }

    /// Refuses a path that a namespace below has taken. As storage has them: one that was made a
    /// moment ago may not be routed yet. Who makes one here waits for the same lock.
    pub(super) async fn check_namespaces<I>(
        &self,
        request: &Request<I>,
        path: &str,
    ) -> Result<(), Error> {
        let own = &request.namespace.path;
        let child = format!("{own}{path}");
        let namespaces = registry::namespaces(&request.view).await?;
        let covers = |entry: &&NamespaceEntry| {
            let taken = &entry.path;
            !entry.deleting
                && taken.len() > own.len()
                && (taken.starts_with(&child) || child.starts_with(taken.as_str()))
                && taken.starts_with(own)
        };
        match namespaces.iter().filter(covers).min_by_key(|entry| &entry.path) {
            Some(entry) => Err(in_use(&entry.path)),
            None => Ok(()),
        }
    }

    /// A mount of the request's namespace as of now.
    pub(super) fn stored<I>(&self, request: &Request<I>, path: &str) -> Option<MountEntry> {
        let places = self.registry.places();
        let place = places.with_id(&request.namespace.id)?;
        place.mounts.get(path).map(|mounted| mounted.entry.clone())
    }

    fn new_entry(&self, input: &Enable, path: &str, class: Class) -> Result<MountEntry, Error> {
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let Some(kind) = named(&input.r#type).or_else(|| named(&input.plugin_name)) else {
            return Err(Error::invalid("backend type must be specified as a string"));
        };
        let mut options = input.options.0.clone();
        let kind = match kind.as_str() {
            "kv-v1" => {
                options.insert("version".to_owned(), "1".to_owned());
                "kv"
            }
            "kv-v2" => {
                options.insert("version".to_owned(), "2".to_owned());
                "kv"
            }
            kind => kind,
        };
        match class {
            Class::Auth if kind == mount::TOKEN_KIND => {
                return Err(Error::invalid("token credential backend cannot be instantiated"));
            }
            Class::Secret if NOT_MOUNTABLE.contains(&kind) => {
                return Err(Error::invalid(format!("mount type of {kind:?} is not mountable")));
            }
            Class::Auth | Class::Secret => {}
        }
        if self.registry.kinds().find(kind, class).is_none() {
            return Err(Error::invalid(format!("plugin not found in the catalog: {kind}")));
        }
        let version = named(&input.plugin_version).unwrap_or_default();
        self.check_version(&version)?;
        let description = input.description.as_deref().unwrap_or_default();
        let mut entry = MountEntry::new(path, kind, class, description);
        entry.options = options;
        entry.plugin_version = version;
        entry.local = input.local.0;
        entry.seal_wrap = input.seal_wrap.0;
        entry.external_entropy_access = input.external_entropy_access.0;
        if let Some(config) = &input.config {
            self.configure(&mut entry, config)?;
        }
        // The engine checks its options.
        self.registry.kinds().serve(&entry)?;
        Ok(entry)
    }

    /// A mount as users see it.
    pub(super) fn shown(&self, entry: &MountEntry) -> Value {
        let mut shown = json!({
            "accessor": entry.accessor,
            "config": self.shown_config(entry, false),
            "description": entry.description,
            "external_entropy_access": entry.external_entropy_access,
            "local": entry.local,
            "options": if entry.is_builtin() { Value::Null } else { json!(entry.options) },
            "plugin_version": entry.plugin_version,
            "running_plugin_version": self.plugin_version(),
            "running_sha256": "",
            "seal_wrap": entry.seal_wrap,
            "type": entry.kind,
            "uuid": entry.uuid,
        });
        let is_known = !entry.is_builtin() && entry.kind != registry::GENERIC;
        if let (Value::Object(fields), true) = (&mut shown, is_known) {
            fields.insert("deprecation_status".to_owned(), "supported".into());
        }
        shown
    }
}

/// The full path of a mount of a class.
pub(super) fn full(path: &str, class: Class) -> String {
    match class {
        Class::Secret => path.to_owned(),
        Class::Auth => format!("auth/{path}"),
    }
}

pub(super) fn in_use(path: &str) -> Error {
    Error::invalid(format!("path is already in use at {path}"))
}
