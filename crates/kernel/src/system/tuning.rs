//! Settings of mounts: those that come with a new mount, and those that are tuned later.

use super::{
    System,
    mounts::{AtPath, full},
};
use crate::mount::{Changing, LockoutConfig, MountConfig, MountEntry, TOKEN_KIND};
use bailee_notation::duration;
use bailee_sdk::{
    Error, Operation, Path, Reply, Request,
    engine::Class,
    field::{CommaList, Flag, Integer, KeyValues, Ttl},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Kinds of tokens that an auth method can make.
const TOKEN_TYPES: [&str; 4] = ["default-service", "default-batch", "service", "batch"];
/// Kinds of auth methods whose users can be locked out.
const LOCKING: [&str; 3] = ["approle", "ldap", "userpass"];
/// Options that a mount may have.
const OPTIONS_MAX: usize = 64;
/// Bytes that a mount's entry may have when it is stored.
const ENTRY_BYTES_MAX: usize = 256 * 1024;

/// The paths below `mounts/` and `auth/` that end in `/tune`.
pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    vec![
        path("mounts/auth/{path...}/tune", system, Class::Auth).sudo(),
        path("mounts/{path...}/tune", system, Class::Secret),
        path("auth/{path...}/tune", system, Class::Auth).sudo(),
    ]
}

fn path(pattern: &'static str, system: &Arc<System>, class: Class) -> Path {
    let path = Path::new(pattern);
    match class {
        Class::Secret => path
            .on(
                Operation::Read,
                system,
                "Read the settings of a mount that can be tuned.",
                |system: Arc<System>, request: Request<AtPath>| async move {
                    system.read_tuning(&request, Class::Secret)
                },
            )
            .on(
                Operation::Update,
                system,
                "Tune a mount.",
                |system: Arc<System>, request: Request<Tune>| async move {
                    system.tune(request, Class::Secret).await
                },
            ),
        Class::Auth => path
            .on(
                Operation::Read,
                system,
                "Read the settings of an auth method that can be tuned.",
                |system: Arc<System>, request: Request<AtPath>| async move {
                    system.read_tuning(&request, Class::Auth)
                },
            )
            .on(
                Operation::Update,
                system,
                "Tune an auth method.",
                |system: Arc<System>, request: Request<Tune>| async move {
                    system.tune(request, Class::Auth).await
                },
            ),
    }
}

/// Settings of a mount; what is left out stays.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Tune {
    /// Path of the mount; of no meaning inside `config`.
    path: String,
    /// What it is for.
    description: Option<String>,
    /// Options of the engine.
    options: Option<KeyValues>,
    /// Default TTL, or `system`.
    default_lease_ttl: Option<Value>,
    /// Longest TTL, or `system`.
    max_lease_ttl: Option<Value>,
    /// Kept as given: caches follow commits here.
    force_no_cache: Option<Flag>,
    /// `unauth` shows the mount to those who have no token; `hidden` or nothing does not.
    listing_visibility: Option<String>,
    /// Request fields that audit shows in clear.
    audit_non_hmac_request_keys: Option<CommaList>,
    /// Response fields that audit shows in clear.
    audit_non_hmac_response_keys: Option<CommaList>,
    /// Request headers for the engine.
    passthrough_request_headers: Option<CommaList>,
    /// Response headers the engine may set.
    allowed_response_headers: Option<CommaList>,
    /// Kept as given.
    allowed_managed_keys: Option<CommaList>,
    /// Accessors of auth mounts at which the engine may have a caller checked.
    delegated_auth_accessors: Option<CommaList>,
    /// Name of the identity key that signs what the engine says about itself.
    identity_token_key: Option<String>,
    /// Kind of tokens an auth method makes.
    token_type: Option<String>,
    /// Kept as given: a path with and without a slash at its end is the same here.
    trim_request_trailing_slashes: Option<Flag>,
    /// When users who fail to log in are locked out.
    user_lockout_config: Option<Lockout>,
    /// Only the built-in version is there.
    plugin_version: Option<String>,
}

/// When users of an auth method are locked out; what is left out stays.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Lockout {
    /// Failures after which a user is locked out.
    lockout_threshold: Option<Integer>,
    /// How long a user is locked out.
    lockout_duration: Option<Ttl>,
    /// After which time failures are forgotten.
    lockout_counter_reset_duration: Option<Ttl>,
    /// Another name of `lockout_counter_reset_duration`.
    lockout_counter_reset: Option<Ttl>,
    /// Locks nobody out.
    lockout_disable: Option<Flag>,
}

impl System {
    fn read_tuning(&self, request: &Request<AtPath>, class: Class) -> Result<Reply, Error> {
        let path = tuned(&request.input.path, class);
        let entry = self
            .stored(request, &path)
            .ok_or_else(|| Error::invalid(format!("cannot fetch sysview for path {path:?}")))?;
        let mut shown = self.shown_config(&entry, true);
        shown.insert("description".to_owned(), entry.description.into());
        if !entry.options.is_empty() {
            shown.insert("options".to_owned(), json!(entry.options));
        }
        if !entry.plugin_version.is_empty() {
            shown.insert("plugin_version".to_owned(), entry.plugin_version.into());
        }
        if let Some(Value::Object(lockout)) = shown.remove("user_lockout_config") {
            shown.extend(lockout);
        }
        Ok(Reply::data(&shown))
    }

    async fn tune(self: Arc<Self>, request: Request<Tune>, class: Class) -> Result<Reply, Error> {
        let input = &request.input;
        let path = tuned(&input.path, class);
        let changing = Changing::begin(&request.view, &request.namespace).await?;
        let missing =
            || Error::invalid(format!("tune of path {path:?} failed: no mount entry found"));
        let mut entry = changing.at(&path).ok_or_else(missing)?.clone();
        let mut upgraded = false;
        if let Some(options) = &input.options {
            upgraded = upgrades(&entry, options)?;
            entry.options.extend(options.0.clone());
            entry.options.retain(|_, value| !value.is_empty());
            if !entry.is_builtin() {
                self.registry.kinds().serve(&entry)?;
            }
        }
        if let Some(description) = &input.description {
            entry.description.clone_from(description);
        }
        let text = |text: &str| format!("time: invalid duration {text:?}");
        set_seconds(&mut entry.config.default_lease_ttl, input.default_lease_ttl.as_ref(), text)?;
        set_seconds(&mut entry.config.max_lease_ttl, input.max_lease_ttl.as_ref(), text)?;
        let max = match entry.config.max_lease_ttl {
            0 => self.settings.max_lease_ttl.as_secs(),
            own => own,
        };
        if entry.config.default_lease_ttl > max {
            return Err(Error::invalid(format!(
                "backend max lease TTL of {max} would be less than backend default lease TTL of {}",
                entry.config.default_lease_ttl
            )));
        }
        check_class(&entry, input)?;
        self.apply(&mut entry, input)?;
        changing.put(&entry);
        if upgraded {
            // What clients of this API wait for; here it is done when it is answered.
            return Ok(Reply::empty().warn(
                "Upgrading mount from version 0 to version 2. This mount will be unavailable for a \
                 brief period and will resume service shortly.",
            ));
        }
        Ok(Reply::empty())
    }

    /// Sets what a new mount comes with.
    pub(super) fn configure(&self, entry: &mut MountEntry, input: &Tune) -> Result<(), Error> {
        check_lockout(entry, input)?;
        let config = &mut entry.config;
        set_seconds(&mut config.default_lease_ttl, input.default_lease_ttl.as_ref(), |text| {
            format!("unable to parse default TTL of {text}: time: invalid duration {text:?}")
        })?;
        set_seconds(&mut config.max_lease_ttl, input.max_lease_ttl.as_ref(), |text| {
            format!("unable to parse max TTL of {text}: time: invalid duration {text:?}")
        })?;
        if config.max_lease_ttl > 0 && config.default_lease_ttl > config.max_lease_ttl {
            let message = "given default lease TTL greater than given max lease TTL";
            return Err(Error::invalid(message));
        }
        if let (Some(description), true) = (&input.description, entry.description.is_empty()) {
            entry.description.clone_from(description);
        }
        if let Some(options) = &input.options {
            for (name, value) in &options.0 {
                entry.options.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        self.apply(entry, input)
    }

    /// Sets what is said alike with a new mount and a tuned one.
    fn apply(&self, entry: &mut MountEntry, input: &Tune) -> Result<(), Error> {
        if entry.options.len() > OPTIONS_MAX {
            let message = format!("options has more than {OPTIONS_MAX} entries");
            return Err(Error::invalid(message));
        }
        if let Some(version) = &input.plugin_version {
            self.check_version(version)?;
            entry.plugin_version.clone_from(version);
        }
        let config = &mut entry.config;
        set_visibility(config, input.listing_visibility.as_deref())?;
        // Secrets engines make no tokens: with a new one it is of no meaning.
        let token_type = input.token_type.as_deref().filter(|_| entry.class == Class::Auth);
        set_token_type(config, token_type)?;
        set_lockout(config, input.user_lockout_config.as_ref())?;
        if let Some(key) = &input.identity_token_key {
            config.identity_token_key.clone_from(key);
        }
        for (to, flag) in [
            (&mut config.force_no_cache, &input.force_no_cache),
            (&mut config.trim_request_trailing_slashes, &input.trim_request_trailing_slashes),
        ] {
            *to = flag.map_or(*to, |flag| flag.0);
        }
        for (to, list) in [
            (&mut config.audit_non_hmac_request_keys, &input.audit_non_hmac_request_keys),
            (&mut config.audit_non_hmac_response_keys, &input.audit_non_hmac_response_keys),
            (&mut config.passthrough_request_headers, &input.passthrough_request_headers),
            (&mut config.allowed_response_headers, &input.allowed_response_headers),
            (&mut config.allowed_managed_keys, &input.allowed_managed_keys),
            (&mut config.delegated_auth_accessors, &input.delegated_auth_accessors),
        ] {
            if let Some(list) = list {
                to.clone_from(&list.0);
            }
        }
        // All mounts are kept at hand.
        if serde_json::to_vec(&*entry).map_err(Error::internal)?.len() > ENTRY_BYTES_MAX {
            let message = format!("the mount's settings have more than {ENTRY_BYTES_MAX} bytes");
            return Err(Error::invalid(message));
        }
        Ok(())
    }

    /// There is one version of each engine: the one that is built in.
    pub(super) fn check_version(&self, version: &str) -> Result<(), Error> {
        let built_in = self.plugin_version();
        if version.is_empty() || version == built_in {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "plugin version {version:?} is not there, leave plugin_version out or use {built_in:?}"
        )))
    }

    /// The version of the engines that are built in.
    pub(super) fn plugin_version(&self) -> String {
        format!("v{}+builtin", self.settings.version)
    }

    /// The settings of a mount; with the TTLs that apply instead of those that were set, when asked
    /// so.
    pub(super) fn shown_config(&self, entry: &MountEntry, effective: bool) -> Map<String, Value> {
        let config = &entry.config;
        let (mut default, mut max) = (config.default_lease_ttl, config.max_lease_ttl);
        if effective {
            let limits = (self.settings.default_lease_ttl, self.settings.max_lease_ttl);
            let (of_default, of_max) = entry.ttls(limits.0, limits.1);
            (default, max) = (of_default.as_secs(), of_max.as_secs());
        }
        let mut shown = Map::new();
        shown.insert("default_lease_ttl".to_owned(), default.into());
        shown.insert("max_lease_ttl".to_owned(), max.into());
        shown.insert("force_no_cache".to_owned(), config.force_no_cache.into());
        for (name, text) in [
            ("listing_visibility", &config.listing_visibility),
            ("token_type", &config.token_type),
            ("identity_token_key", &config.identity_token_key),
        ] {
            if !text.is_empty() {
                shown.insert(name.to_owned(), text.as_str().into());
            }
        }
        if config.trim_request_trailing_slashes {
            shown.insert("trim_request_trailing_slashes".to_owned(), true.into());
        }
        if let Some(lockout) = &config.user_lockout_config {
            let lockout = json!({
                "user_lockout_threshold": lockout.threshold,
                "user_lockout_duration": lockout.duration,
                "user_lockout_counter_reset_duration": lockout.counter_reset,
                "user_lockout_disable": lockout.disable,
            });
            shown.insert("user_lockout_config".to_owned(), lockout);
        }
        for (name, list) in [
            ("audit_non_hmac_request_keys", &config.audit_non_hmac_request_keys),
            ("audit_non_hmac_response_keys", &config.audit_non_hmac_response_keys),
            ("passthrough_request_headers", &config.passthrough_request_headers),
            ("allowed_response_headers", &config.allowed_response_headers),
            ("allowed_managed_keys", &config.allowed_managed_keys),
            ("delegated_auth_accessors", &config.delegated_auth_accessors),
        ] {
            if !list.is_empty() {
                shown.insert(name.to_owned(), json!(list));
            }
        }
        shown
    }
}

/// The full path of the mount that a tune path names.
fn tuned(path: &str, class: Class) -> String {
    full(&format!("{}/", path.trim_matches('/')), class)
}

/// What only auth mounts have.
fn check_class(entry: &MountEntry, input: &Tune) -> Result<(), Error> {
    if input.token_type.is_some() {
        if entry.class != Class::Auth {
            return Err(Error::invalid("'token_type' can only be modified on auth mounts"));
        }
        if entry.kind == TOKEN_KIND {
            return Err(Error::invalid("'token_type' cannot be set for 'token' auth mounts"));
        }
    }
    check_lockout(entry, input)
}

/// Only some auth methods lock users out.
fn check_lockout(entry: &MountEntry, input: &Tune) -> Result<(), Error> {
    if input.user_lockout_config.is_some() && !LOCKING.contains(&entry.kind.as_str()) {
        return Err(Error::invalid(format!(
            "tuning of user lockout configuration for type {:?} not allowed",
            entry.kind
        )));
    }
    Ok(())
}

/// Seconds; 0 and `system` stand for what the server has. An empty text says nothing: the Go client
/// sends it for what it does not set.
fn set_seconds(
    to: &mut u64,
    value: Option<&Value>,
    refusal: impl Fn(&str) -> String,
) -> Result<(), Error> {
    let text = match value {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    *to = match text.as_str() {
        "" => return Ok(()),
        "system" => 0,
        text => {
            let parsed = duration::parse(text);
            parsed.as_ref().map(Duration::as_secs).map_err(|_| Error::invalid(refusal(text)))?
        }
    };
    Ok(())
}

fn set_visibility(config: &mut MountConfig, visibility: Option<&str>) -> Result<(), Error> {
    match visibility {
        None => {}
        Some(known @ ("" | "hidden" | "unauth")) => {
            known.clone_into(&mut config.listing_visibility)
        }
        Some(other) => return Err(Error::invalid(format!("invalid listing_visibility {other}"))),
    }
    Ok(())
}

fn set_token_type(config: &mut MountConfig, kind: Option<&str>) -> Result<(), Error> {
    match kind {
        None => {}
        Some("") => "default-service".clone_into(&mut config.token_type),
        Some(known) if TOKEN_TYPES.contains(&known) => known.clone_into(&mut config.token_type),
        Some(_) => return Err(Error::invalid("invalid value for 'token_type'")),
    }
    Ok(())
}

fn set_lockout(config: &mut MountConfig, input: Option<&Lockout>) -> Result<(), Error> {
    let Some(input) = input else { return Ok(()) };
    let lockout = config.user_lockout_config.get_or_insert_with(LockoutConfig::default);
    if let Some(threshold) = input.lockout_threshold {
        lockout.threshold = u64::try_from(threshold.0).map_err(|_| {
            Error::invalid("lockout_threshold must not be negative; 0 is the server's default")
        })?;
    }
    if let Some(duration) = input.lockout_duration {
        lockout.duration = duration.0.as_secs();
    }
    if let Some(reset) = input.lockout_counter_reset_duration.or(input.lockout_counter_reset) {
        lockout.counter_reset = reset.0.as_secs();
    }
    if let Some(disable) = input.lockout_disable {
        lockout.disable = disable.0;
    }
    Ok(())
}

/// A KV store of version 1 can go on to version 2, whose secrets have versions; there is no way back.
/// Whether it does.
fn upgrades(entry: &MountEntry, options: &KeyValues) -> Result<bool, Error> {
    let version = |options: &BTreeMap<String, String>| options.get("version").cloned();
    let (Some(new), "kv") = (version(&options.0), entry.kind.as_str()) else { return Ok(false) };
    let old = version(&entry.options).unwrap_or_else(|| "1".to_owned());
    match (old.as_str(), new.as_str()) {
        (old, new) if old == new => Ok(false),
        ("1", "2") => Ok(true),
        ("2", "1") => Err(Error::invalid("cannot downgrade mount from version 2")),
        _ => Err(Error::invalid(format!("unknown kv version {new:?}, use 1 or 2"))),
    }
}
