//! Mounts as they are stored, and the rules by which they come and go.

use bailee_barrier::View;
use bailee_crypto::random;
use bailee_sdk::{Error, Mount, Namespace, engine::Class};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Kind of the mount at `sys/`.
pub(crate) const SYSTEM_KIND: &str = "system";
/// Kind of the mount at `auth/token/`.
pub(crate) const TOKEN_KIND: &str = "token";
/// Kind of the mount at `cubbyhole/`.
pub(crate) const CUBBYHOLE_KIND: &str = "cubbyhole";
/// Kind of the mount at `identity/`.
pub(crate) const IDENTITY_KIND: &str = "identity";
/// Where mounts are in the storage of a namespace.
const ENTRIES: &str = "mounts/";
/// Counts the changes to a namespace's mounts: two changes at once conflict.
const GENERATION: &str = "mounts-generation";
/// Letters a mount path may have.
const PATH_BYTES_MAX: usize = 512;
/// Mounts that are read at once.
const PAGE: usize = 1000;
/// First segments that no mount may take.
const RESERVED: [&str; 4] = ["sys", "auth", "identity", "cubbyhole"];

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountEntry {
    /// Stable id, part of every stored key.
    pub(crate) uuid: String,
    /// Where it is mounted, with a final `/`; auth methods start with `auth/`.
    pub(crate) path: String,
    /// Public handle, such as `kv_1a2b3c4d`.
    pub(crate) accessor: String,
    /// The engine's kind.
    pub(crate) kind: String,
    /// Secrets engine or auth method.
    pub(crate) class: Class,
    /// What its owner says about it.
    #[serde(default)]
    pub(crate) description: String,
    /// What it was mounted with.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
    /// Settings that can be tuned.
    #[serde(default)]
    pub(crate) config: MountConfig,
    /// As given; means nothing on one cluster.
    #[serde(default)]
    pub(crate) local: bool,
    /// As given; everything is sealed here.
    #[serde(default)]
    pub(crate) seal_wrap: bool,
    /// As given; means nothing here.
    #[serde(default)]
    pub(crate) external_entropy_access: bool,
    /// The version of the engine that was asked for; empty for the one there is.
    #[serde(default)]
    pub(crate) plugin_version: String,
    /// Serves no more: what it stored is being removed.
    #[serde(default)]
    pub(crate) disabling: bool,
}

/// Settings of a mount that can be tuned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct MountConfig {
    /// Default TTL in seconds; 0 for the system's.
    pub(crate) default_lease_ttl: u64,
    /// Longest TTL in seconds; 0 for the system's.
    pub(crate) max_lease_ttl: u64,
    /// As given; caches follow commits here.
    pub(crate) force_no_cache: bool,
    /// `unauth` shows the mount to those who have no token.
    pub(crate) listing_visibility: String,
    /// Request fields that audit shows in clear.
    pub(crate) audit_non_hmac_request_keys: Vec<String>,
    /// Response fields that audit shows in clear.
    pub(crate) audit_non_hmac_response_keys: Vec<String>,
    /// Request headers for the engine.
    pub(crate) passthrough_request_headers: Vec<String>,
    /// Response headers the engine may set.
    pub(crate) allowed_response_headers: Vec<String>,
    /// Kind of tokens an auth method makes; empty for secrets engines.
    pub(crate) token_type: String,
    /// As given: keys that are kept elsewhere mean nothing here.
    pub(crate) allowed_managed_keys: Vec<String>,
    /// Accessors of auth mounts at which the engine may have a caller checked.
    pub(crate) delegated_auth_accessors: Vec<String>,
    /// Name of the identity key that signs what the engine says about itself.
    pub(crate) identity_token_key: String,
    /// As given: a path with and without a slash at its end is the same here.
    pub(crate) trim_request_trailing_slashes: bool,
    /// When a user who fails to log in is locked out; none for the server's own rule.
    pub(crate) user_lockout_config: Option<LockoutConfig>,
}

/// When a user of an auth mount is locked out. What is 0 is as the server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LockoutConfig {
    /// Failures after which the user is locked out.
    pub(crate) threshold: u64,
    /// Seconds for which the user is locked out.
    pub(crate) duration: u64,
    /// Seconds after which failures are forgotten.
    pub(crate) counter_reset: u64,
    /// Whether nobody is locked out.
    pub(crate) disable: bool,
}

impl MountEntry {
    /// A mount with a new id and without options.
    pub(crate) fn new(path: &str, kind: &str, class: Class, description: &str) -> MountEntry {
        let handle = hex::encode(random::array::<4>());
        let token_type = match class {
            Class::Secret => String::new(),
            Class::Auth => "default-service".to_owned(),
        };
        MountEntry {
            uuid: random::uuid().to_string(),
            path: path.to_owned(),
            accessor: match class {
                Class::Auth => format!("auth_{kind}_{handle}"),
                Class::Secret => format!("{kind}_{handle}"),
            },
            kind: kind.to_owned(),
            class,
            description: description.to_owned(),
            options: BTreeMap::new(),
            config: MountConfig { token_type, ..MountConfig::default() },
            local: false,
            seal_wrap: false,
            external_entropy_access: false,
            plugin_version: String::new(),
            disabling: false,
        }
    }

    /// What engines see of it.
    pub(crate) fn shared(&self) -> Mount {
        Mount {
            path: self.path.clone(),
            uuid: self.uuid.clone(),
            accessor: self.accessor.clone(),
            kind: self.kind.clone(),
            options: self.options.clone(),
        }
    }

    /// Whether it is one that each namespace has and nobody can remove.
    pub(crate) fn is_builtin(&self) -> bool {
        [SYSTEM_KIND, TOKEN_KIND, CUBBYHOLE_KIND, IDENTITY_KIND].contains(&self.kind.as_str())
    }

    /// The path as users of its class name it: auth methods without `auth/`.
    pub(crate) fn shown_path(&self) -> &str {
        match self.class {
            Class::Secret => &self.path,
            Class::Auth => self.path.strip_prefix("auth/").unwrap_or(&self.path),
        }
    }

    /// Whether a mount at `path` would cover it or be covered by it.
    pub(crate) fn is_in_the_way(&self, path: &str) -> bool {
        self.path.starts_with(path) || path.starts_with(self.path.as_str())
    }

    /// Default and longest TTL that apply, given the system's.
    pub(crate) fn ttls(&self, default: Duration, max: Duration) -> (Duration, Duration) {
        let own = |seconds, system| match seconds {
            0 => system,
            seconds => Duration::from_secs(seconds),
        };
        let max = own(self.config.max_lease_ttl, max);
        (own(self.config.default_lease_ttl, default).min(max), max)
    }
}

/// The mounts that a new namespace has.
pub(crate) fn builtin() -> Vec<MountEntry> {
    let described = "system endpoints used for control, policy and debugging";
    let mut system = MountEntry::new("sys/", SYSTEM_KIND, Class::Secret, described);
    system.seal_wrap = true;
    system.config.passthrough_request_headers = vec!["Accept".to_owned()];
    let described = "per-token private secret storage";
    let mut cubbyhole = MountEntry::new("cubbyhole/", CUBBYHOLE_KIND, Class::Secret, described);
    cubbyhole.local = true;
    let described = "identity store";
    let mut identity = MountEntry::new("identity/", IDENTITY_KIND, Class::Secret, described);
    identity.config.passthrough_request_headers = vec!["Authorization".to_owned()];
    let described = "token based credentials";
    let token = MountEntry::new("auth/token/", TOKEN_KIND, Class::Auth, described);
    vec![system, cubbyhole, identity, token]
}

/// Puts the first mounts of a new namespace.
pub(crate) fn put_builtin(view: &View, namespace: &Namespace) {
    let place = place(view, namespace);
    for entry in builtin() {
        put(&place, &entry);
    }
    place.put(GENERATION, &1_u64);
}

/// Puts the first mounts that these namespaces lack, because they were made before there were such;
/// whether there were any. A place that something else has taken is left to it.
pub(crate) async fn complete(view: &View, namespaces: &[Namespace]) -> Result<bool, Error> {
    let mut lacking = false;
    for namespace in namespaces {
        let changing = Changing::begin(view, namespace).await?;
        for entry in builtin() {
            if changing.in_the_way(&entry.path).is_none() {
                changing.put(&entry);
                lacking = true;
            }
        }
    }
    Ok(lacking)
}

/// A change of a namespace's mounts in one unit of work: the mounts as storage has them, kept still
/// until the unit is committed.
pub(crate) struct Changing {
    place: View,
    /// All mounts, those being removed included.
    pub(crate) entries: Vec<MountEntry>,
}

impl Changing {
    /// Waits for others that change the mounts of this namespace, then reads them.
    pub(crate) async fn begin(view: &View, namespace: &Namespace) -> Result<Changing, Error> {
        let place = place(view, namespace);
        place.lock(GENERATION).await;
        let Some((generation, revision)) = place.get_at::<u64>(GENERATION).await? else {
            return Err(Error::not_found());
        };
        if let Some(revision) = revision {
            place.expect(GENERATION, revision);
        }
        place.put(GENERATION, &(generation + 1));
        let entries = read(&place).await?.into_iter().map(|(entry, _)| entry).collect();
        Ok(Changing { place, entries })
    }

    /// The mount at exactly this path, unless it is being removed.
    pub(crate) fn at(&self, path: &str) -> Option<&MountEntry> {
        self.entries.iter().find(|entry| entry.path == path && !entry.disabling)
    }

    /// The mount that a new one at `path` would cover or be covered by.
    pub(crate) fn in_the_way(&self, path: &str) -> Option<&MountEntry> {
        self.entries.iter().filter(|entry| !entry.disabling).find(|entry| entry.is_in_the_way(path))
    }

    /// Stores a mount, new or changed.
    pub(crate) fn put(&self, entry: &MountEntry) {
        put(&self.place, entry);
    }
}

/// Removes the entry of a mount in the unit of work of `view`.
pub(crate) fn remove(view: &View, namespace: &Namespace, uuid: &str) {
    place(view, namespace).delete(&format!("{ENTRIES}{uuid}"));
}

/// All mounts of a namespace as storage has them, with the guard that holds while each is unchanged.
pub(crate) async fn load(
    view: &View,
    namespace: &Namespace,
) -> Result<Vec<(MountEntry, Option<bailee_barrier::Expect>)>, Error> {
    read(&place(view, namespace)).await
}

/// Where a mount may be: relative, without empty, `.` or `..` segments and without control
/// characters; the result ends in `/`.
pub(crate) fn clean_path(path: &str) -> Result<String, Error> {
    let path = path.trim_matches('/');
    if path.len() > PATH_BYTES_MAX {
        return Err(Error::invalid(format!("path is longer than {PATH_BYTES_MAX} bytes")));
    }
    let bad = |segment: &str| {
        segment.is_empty()
            || segment == "."
            || segment == ".."
            || segment.trim() != segment
            || segment.chars().any(|letter| letter.is_control() || letter == '*')
    };
    if path.split('/').any(bad) {
        return Err(Error::invalid(format!("invalid mount path {path:?}")));
    }
    Ok(format!("{path}/"))
}

/// Whether a path starts with a segment that the server keeps to itself.
pub(crate) fn is_reserved(path: &str) -> bool {
    path.split('/').next().is_some_and(|first| RESERVED.contains(&first))
}

fn place(view: &View, namespace: &Namespace) -> View {
    view.at(&format!("{}sys/", namespace.prefix()))
}

fn put(place: &View, entry: &MountEntry) {
    place.put(&format!("{ENTRIES}{}", entry.uuid), entry);
}

async fn read(place: &View) -> Result<Vec<(MountEntry, Option<bailee_barrier::Expect>)>, Error> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = place.list(ENTRIES, &after, PAGE).await?;
        for name in &page {
            let key = format!("{ENTRIES}{name}");
            if let Some((entry, revision)) = place.get_at::<MountEntry>(&key).await? {
                let full = format!("{}{key}", place.prefix());
                let guard = revision.map(|revision| bailee_barrier::Expect::At(full, revision));
                found.push((entry, guard));
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after.clone_from(last),
            _ => return Ok(found),
        }
    }
}

/// The engines' view of several mounts, sorted by path.
pub(crate) fn shared<'a>(entries: impl Iterator<Item = &'a Arc<Mount>>) -> bailee_sdk::Mounts {
    bailee_sdk::Mounts(Arc::new(entries.cloned().collect()))
}
