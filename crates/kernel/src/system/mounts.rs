//! `sys/mounts`: secrets engines; and what they have in common with auth methods.

use super::{Nothing, System};
use crate::{
    mount::{self, Changing, MountConfig, MountEntry},
    purge,
    registry::{self, NamespaceEntry},
};
use bailee_notation::duration;
use bailee_sdk::{
    Body, Error, Operation, Path, Reply, Request,
    engine::Class,
    field::{CommaList, Flag, KeyValues},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Kinds that are part of the server and cannot be mounted again.
const NOT_MOUNTABLE: [&str; 4] = ["system", "cubbyhole", "identity", "token"];
/// Kinds of tokens that an auth method can make.
const TOKEN_TYPES: [&str; 4] = ["default-service", "default-batch", "service", "batch"];

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
        Path::new("mounts/{path...}/tune")
            .on(
                Operation::Read,
                system,
                "Read the settings of a mount that can be tuned.",
                |system: Arc<System>, request: Request<AtPath>| async move {
                    let path = tune_path(&request.input.path, Class::Secret);
                    system.read_tuning(&request, &path)
                },
            )
            .on(
                Operation::Update,
                system,
                "Tune a mount.",
                |system: Arc<System>, request: Request<Tune>| async move {
                    let path = tune_path(&request.input.path, Class::Secret);
                    system.tune(request, path).await
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
    config: Option<Map<String, Value>>,
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

/// New settings of a mount; what is left out stays.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Tune {
    /// Path of the mount.
    pub(super) path: String,
    /// What it is for.
    #[serde(default)]
    description: Option<String>,
    /// Options of the engine.
    #[serde(default)]
    options: Option<KeyValues>,
    /// Default TTL, or `system`.
    #[serde(default)]
    default_lease_ttl: Option<Value>,
    /// Longest TTL, or `system`.
    #[serde(default)]
    max_lease_ttl: Option<Value>,
    /// `unauth` shows the mount to those who have no token; `hidden` or nothing does not.
    #[serde(default)]
    listing_visibility: Option<String>,
    /// Request fields that audit shows in clear.
    #[serde(default)]
    audit_non_hmac_request_keys: Option<CommaList>,
    /// Response fields that audit shows in clear.
    #[serde(default)]
    audit_non_hmac_response_keys: Option<CommaList>,
    /// Request headers for the engine.
    #[serde(default)]
    passthrough_request_headers: Option<CommaList>,
    /// Response headers the engine may set.
    #[serde(default)]
    allowed_response_headers: Option<CommaList>,
    /// Kind of tokens an auth method makes.
    #[serde(default)]
    token_type: Option<String>,
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

    pub(super) fn read_tuning<I>(&self, request: &Request<I>, path: &str) -> Result<Reply, Error> {
        let entry = self
            .stored(request, path)
            .ok_or_else(|| Error::invalid(format!("cannot fetch sysview for path {path:?}")))?;
        let mut shown = self.shown_config(&entry, true);
        if let Value::Object(fields) = &mut shown {
            fields.insert("description".to_owned(), entry.description.into());
            if !entry.options.is_empty() {
                fields.insert("options".to_owned(), json!(entry.options));
            }
        }
        Ok(Reply::data(&shown))
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
        let child = format!("{}{}", request.namespace.path, entry.path);
        // As storage has them: one that was made a moment ago may not be routed yet. Who makes one
        // here waits for the same lock.
        let namespaces = registry::namespaces(&request.view).await?;
        let covers = |entry: &&NamespaceEntry| {
            let taken = &entry.path;
            !entry.deleting
                && taken.len() > request.namespace.path.len()
                && (taken.starts_with(&child) || child.starts_with(taken.as_str()))
                && taken.starts_with(&request.namespace.path)
        };
        if let Some(entry) = namespaces.iter().filter(covers).min_by_key(|entry| &entry.path) {
            return Err(in_use(&entry.path));
        }
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
        if self.stored(&request, &path).is_none() {
            return Ok(Reply::empty());
        }
        let changing = Changing::begin(&request.view, &request.namespace).await?;
        let Some(entry) = changing.at(&path) else { return Ok(Reply::empty()) };
        if entry.is_builtin() {
            return Err(Error::invalid("token credential backend cannot be disabled"));
        }
        changing.put(&MountEntry { disabling: true, ..entry.clone() });
        let after = Box::pin(async move {
            purge::pass(&self.barrier, &self.registry).await?;
            Ok(Reply::empty())
        });
        Ok(Body::After(after).into())
    }

    pub(super) async fn tune(
        self: Arc<Self>,
        request: Request<Tune>,
        path: String,
    ) -> Result<Reply, Error> {
        let changing = Changing::begin(&request.view, &request.namespace).await?;
        let missing =
            || Error::invalid(format!("tune of path {path:?} failed: no mount entry found"));
        let mut entry = changing.at(&path).ok_or_else(missing)?.clone();
        let input = request.input;
        if let Some(options) = input.options {
            check_options(&entry, &options)?;
            entry.options.extend(options.0);
            if !entry.is_builtin() {
                self.registry.kinds().serve(&entry)?;
            }
        }
        if input.token_type.is_some() && entry.class != Class::Auth {
            return Err(Error::invalid("'token_type' can only be modified on auth mounts"));
        }
        if let Some(description) = input.description {
            entry.description = description;
        }
        let config = &mut entry.config;
        set_seconds(&mut config.default_lease_ttl, input.default_lease_ttl.as_ref(), "default")?;
        set_seconds(&mut config.max_lease_ttl, input.max_lease_ttl.as_ref(), "max")?;
        let max = match config.max_lease_ttl {
            0 => self.settings.max_lease_ttl.as_secs(),
            own => own,
        };
        if config.default_lease_ttl > max {
            return Err(Error::invalid(format!(
                "backend max lease TTL of {max} would be less than backend default lease TTL of {}",
                config.default_lease_ttl
            )));
        }
        set_visibility(config, input.listing_visibility)?;
        set_token_type(config, input.token_type)?;
        set_list(&mut config.audit_non_hmac_request_keys, input.audit_non_hmac_request_keys);
        set_list(&mut config.audit_non_hmac_response_keys, input.audit_non_hmac_response_keys);
        set_list(&mut config.passthrough_request_headers, input.passthrough_request_headers);
        set_list(&mut config.allowed_response_headers, input.allowed_response_headers);
        changing.put(&entry);
        Ok(Reply::empty())
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
            "kv-v1" => "kv",
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
        if let Some(version) = named(&input.plugin_version) {
            let message =
                format!("plugin version {version:?} is not there, leave plugin_version out");
            return Err(Error::invalid(message));
        }
        let description = input.description.as_deref().unwrap_or_default();
        let mut entry = MountEntry::new(path, kind, class, description);
        entry.options = options;
        entry.local = input.local.0;
        entry.seal_wrap = input.seal_wrap.0;
        entry.external_entropy_access = input.external_entropy_access.0;
        if let Some(config) = &input.config {
            read_config(&mut entry, config)?;
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
            "plugin_version": "",
            "running_plugin_version": format!("v{}+builtin", self.settings.version),
            "running_sha256": "",
            "seal_wrap": entry.seal_wrap,
            "type": entry.kind,
            "uuid": entry.uuid,
        });
        if let (Value::Object(fields), false) = (&mut shown, entry.is_builtin()) {
            fields.insert("deprecation_status".to_owned(), "supported".into());
        }
        shown
    }

    /// Its settings; with the TTLs that apply instead of those that were set, when asked so.
    pub(super) fn shown_config(&self, entry: &MountEntry, effective: bool) -> Value {
        let config = &entry.config;
        let (mut default, mut max) = (config.default_lease_ttl, config.max_lease_ttl);
        if effective {
            let limits = (self.settings.default_lease_ttl, self.settings.max_lease_ttl);
            let (of_default, of_max) = entry.ttls(limits.0, limits.1);
            (default, max) = (of_default.as_secs(), of_max.as_secs());
        }
        let mut shown = json!({
            "default_lease_ttl": default,
            "force_no_cache": config.force_no_cache,
            "max_lease_ttl": max,
        });
        let Value::Object(fields) = &mut shown else { return shown };
        for (name, text) in
            [("listing_visibility", &config.listing_visibility), ("token_type", &config.token_type)]
        {
            if !text.is_empty() {
                fields.insert(name.to_owned(), text.as_str().into());
            }
        }
        for (name, list) in [
            ("audit_non_hmac_request_keys", &config.audit_non_hmac_request_keys),
            ("audit_non_hmac_response_keys", &config.audit_non_hmac_response_keys),
            ("passthrough_request_headers", &config.passthrough_request_headers),
            ("allowed_response_headers", &config.allowed_response_headers),
        ] {
            if !list.is_empty() {
                fields.insert(name.to_owned(), json!(list));
            }
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

/// The full path of the mount that a tune path names; `sys/mounts/auth/x/tune` is for auth methods.
pub(super) fn tune_path(path: &str, class: Class) -> String {
    full(&format!("{}/", path.trim_matches('/')), class)
}

pub(super) fn in_use(path: &str) -> Error {
    Error::invalid(format!("path is already in use at {path}"))
}

fn read_config(entry: &mut MountEntry, input: &Map<String, Value>) -> Result<(), Error> {
    let config = &mut entry.config;
    for (field, value) in input {
        let list = || {
            CommaList::deserialize(value)
                .map(|list| list.0)
                .map_err(|_| Error::invalid(format!("config field {field:?} must be a list")))
        };
        let text = || {
            value
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| Error::invalid(format!("config field {field:?} must be a string")))
        };
        match field.as_str() {
            _ if value.is_null() => {}
            "default_lease_ttl" => config.default_lease_ttl = seconds(value, "default")?,
            "max_lease_ttl" => config.max_lease_ttl = seconds(value, "max")?,
            "force_no_cache" => {
                let flag = Flag::deserialize(value);
                config.force_no_cache = flag.is_ok_and(|flag| flag.0);
            }
            "listing_visibility" => set_visibility(config, Some(text()?))?,
            "token_type" => set_token_type(config, Some(text()?))?,
            "audit_non_hmac_request_keys" => config.audit_non_hmac_request_keys = list()?,
            "audit_non_hmac_response_keys" => config.audit_non_hmac_response_keys = list()?,
            "passthrough_request_headers" => config.passthrough_request_headers = list()?,
            "allowed_response_headers" => config.allowed_response_headers = list()?,
            // Newer clients send more than means something here.
            _ => {}
        }
    }
    if config.max_lease_ttl > 0 && config.default_lease_ttl > config.max_lease_ttl {
        return Err(Error::invalid("given default lease TTL greater than given max lease TTL"));
    }
    Ok(())
}

fn seconds(value: &Value, which: &str) -> Result<u64, Error> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    };
    if text == "system" || text.is_empty() && value.is_string() {
        return Ok(0);
    }
    duration::parse(&text).as_ref().map(Duration::as_secs).map_err(|_| {
        Error::invalid(format!(
            "unable to parse {which} TTL of {text}: time: invalid duration {text:?}"
        ))
    })
}

fn set_seconds(to: &mut u64, value: Option<&Value>, which: &str) -> Result<(), Error> {
    if let Some(value) = value
        && !value.is_null()
    {
        *to = seconds(value, which)?;
    }
    Ok(())
}

fn set_list(to: &mut Vec<String>, list: Option<CommaList>) {
    if let Some(list) = list {
        *to = list.0;
    }
}

fn set_visibility(config: &mut MountConfig, visibility: Option<String>) -> Result<(), Error> {
    match visibility {
        None => {}
        Some(known) if matches!(known.as_str(), "" | "hidden" | "unauth") => {
            config.listing_visibility = known;
        }
        Some(other) => return Err(Error::invalid(format!("invalid listing_visibility {other}"))),
    }
    Ok(())
}

fn set_token_type(config: &mut MountConfig, kind: Option<String>) -> Result<(), Error> {
    match kind {
        None => {}
        Some(known) if TOKEN_TYPES.contains(&known.as_str()) => config.token_type = known,
        Some(_) => return Err(Error::invalid("invalid value for 'token_type'")),
    }
    Ok(())
}

/// A KV store of version 1 can go on to version 2, whose secrets have versions; there is no way back.
fn check_options(entry: &MountEntry, options: &KeyValues) -> Result<(), Error> {
    let version = |options: &BTreeMap<String, String>| options.get("version").cloned();
    let (Some(new), "kv") = (version(&options.0), entry.kind.as_str()) else { return Ok(()) };
    let old = version(&entry.options).unwrap_or_else(|| "1".to_owned());
    match (old.as_str(), new.as_str()) {
        (old, new) if old == new => Ok(()),
        ("1", "2") => Ok(()),
        ("2", "1") => Err(Error::invalid("cannot downgrade mount from version 2")),
        _ => Err(Error::invalid(format!("unknown kv version {new:?}, use 1 or 2"))),
    }
}
