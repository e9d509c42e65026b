//! Which quota applies to a request: the one that says most about it.

use super::limiter::Limiter;
use crate::registry::{Place, Places};
use bailee_sdk::Namespace;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// A quota as it is stored. It names namespace and mount by their ids: it follows them when they
/// move, and ends with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) namespace_id: String,
    /// None for the whole namespace.
    pub(super) mount_uuid: Option<String>,
    /// Within the mount; a last `*` stands for any rest, empty is the whole mount.
    pub(super) path: String,
    /// Logins with this role only; empty for all requests.
    pub(super) role: String,
    /// Requests in an interval.
    pub(super) rate: f64,
    /// In milliseconds.
    pub(super) interval: u64,
    /// In milliseconds.
    pub(super) block_interval: u64,
    /// Whether it holds in namespaces below, too.
    pub(super) inheritable: bool,
}

/// Which paths no quota touches, and what refusals leave behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Config {
    /// Relative to the namespace of the request.
    pub(super) exempt: Vec<String>,
    /// From the root; none were ever set when it is not there.
    pub(super) absolute_exempt: Option<Vec<String>>,
    /// Whether refusals are audited.
    pub(super) audit: bool,
    /// Whether answers tell what is left.
    pub(super) headers: bool,
}

impl Default for Config {
    fn default() -> Config {
        let exempt = [
            "sys/generate-recovery-token/attempt",
            "sys/generate-recovery-token/update",
            "sys/generate-root/attempt",
            "sys/generate-root/update",
            "sys/health",
            "sys/seal-status",
            "sys/unseal",
        ];
        let exempt = exempt.map(str::to_owned).to_vec();
        Config { exempt, absolute_exempt: None, audit: false, headers: false }
    }
}

impl Config {
    /// Whether no quota touches this path of the namespace.
    pub(super) fn exempts(&self, namespace: &Namespace, path: &str) -> bool {
        let full = format!("{}{path}", namespace.path);
        self.exempt.iter().any(|exempt| is_below(path, exempt))
            || self.absolute_exempt.iter().flatten().any(|exempt| is_below(&full, exempt))
    }
}

/// Whether a path is the named one or below it.
fn is_below(path: &str, named: &str) -> bool {
    if let Some(start) = named.strip_suffix('*') {
        return path.starts_with(start);
    }
    let named = named.trim_end_matches('/');
    path.strip_prefix(named).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A quota and its counts.
pub(super) struct Active {
    pub(super) rule: Rule,
    pub(super) limiter: Limiter,
}

impl Active {
    pub(super) fn new(rule: Rule) -> Active {
        let interval = Duration::from_millis(rule.interval);
        let block = Duration::from_millis(rule.block_interval);
        let limiter = Limiter::new(rule.rate, interval, block);
        Active { rule, limiter }
    }
}

/// All quotas, arranged by what they hold for.
#[derive(Default)]
pub(super) struct Rules {
    by_name: BTreeMap<String, Arc<Active>>,
    namespaces: HashMap<String, Arc<Active>>,
    mounts: HashMap<String, OfMount>,
}

#[derive(Default)]
struct OfMount {
    whole: Option<Arc<Active>>,
    /// By path.
    exact: HashMap<String, Arc<Active>>,
    /// What stands before the `*`, the longest first.
    starts: Vec<(String, Arc<Active>)>,
    /// By role, whatever their path.
    roles: HashMap<String, Vec<Arc<Active>>>,
}

impl Rules {
    pub(super) fn new(active: impl IntoIterator<Item = Arc<Active>>) -> Rules {
        let mut rules = Rules::default();
        for active in active {
            rules.add(active);
        }
        for mount in rules.mounts.values_mut() {
            mount.starts.sort_by_key(|(start, _)| std::cmp::Reverse(start.len()));
        }
        rules
    }

    fn add(&mut self, active: Arc<Active>) {
        let rule = &active.rule;
        self.by_name.insert(rule.name.clone(), active.clone());
        let Some(mount) = &rule.mount_uuid else {
            self.namespaces.insert(rule.namespace_id.clone(), active);
            return;
        };
        let mount = self.mounts.entry(mount.clone()).or_default();
        if !rule.role.is_empty() {
            mount.roles.entry(rule.role.clone()).or_default().push(active);
        } else if rule.path.is_empty() {
            mount.whole = Some(active);
        } else if let Some(start) = rule.path.strip_suffix('*') {
            mount.starts.push((start.to_owned(), active));
        } else {
            mount.exact.insert(rule.path.clone(), active);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn find(&self, name: &str) -> Option<&Arc<Active>> {
        self.by_name.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Active>> {
        self.by_name.values()
    }

    /// Whether a role can matter for requests to a mount.
    pub(super) fn asks_role(&self, mount_uuid: &str) -> bool {
        self.mounts.get(mount_uuid).is_some_and(|mount| !mount.roles.is_empty())
    }

    /// The quota for a path of a mount: role before path, path before mount, mount before namespace,
    /// namespace before those above it.
    pub(super) fn select(
        &self,
        places: &Places,
        place: &Place,
        mount: Option<(&str, &str)>,
        role: Option<&str>,
    ) -> Option<&Arc<Active>> {
        let of_mount = mount.and_then(|(uuid, path)| self.mounts.get(uuid)?.select(path, role));
        of_mount.or_else(|| self.namespaces.get(&place.namespace.id)).or_else(|| {
            let mut path = place.namespace.path.as_str();
            while !path.is_empty() {
                path = parent(path);
                let above =
                    places.at(path).and_then(|place| self.namespaces.get(&place.namespace.id));
                if let Some(above) = above.filter(|above| above.rule.inheritable) {
                    return Some(above);
                }
            }
            None
        })
    }
}

impl OfMount {
    fn select(&self, path: &str, role: Option<&str>) -> Option<&Arc<Active>> {
        let bare = path.strip_suffix('/').unwrap_or(path);
        let of_role = role.and_then(|role| self.roles.get(role)).and_then(|rules| {
            let holds = |active: &&Arc<Active>| match active.rule.path.as_str() {
                "" => true,
                named => is_below(path, named),
            };
            rules.iter().filter(holds).max_by_key(|active| active.rule.path.len())
        });
        of_role
            .or_else(|| self.exact.get(path).or_else(|| self.exact.get(bare)))
            .or_else(|| {
                let start = self.starts.iter().find(|(start, _)| path.starts_with(start.as_str()));
                start.map(|(_, active)| active)
            })
            .or(self.whole.as_ref())
    }
}

/// The path of the namespace above.
fn parent(path: &str) -> &str {
    let bare = path.strip_suffix('/').unwrap_or(path);
    bare.rfind('/').and_then(|slash| path.get(..=slash)).unwrap_or_default()
}
