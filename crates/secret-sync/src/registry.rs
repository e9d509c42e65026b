//! Kinds of destinations, and the configured ones: built when first needed, built anew when their
//! configuration changes.

use crate::{
    LocalSource, Settings,
    budget::Budget,
    calls::Budgeted,
    destination::{Deletion, Destination, Note, Ownership},
    failure::{Error, Failure},
    naming::{Granularity, NameRule},
    store::Store,
    tags::TagRule,
};
use bailee_barrier::Revision;
use bailee_cloud::{EgressRules, HttpClient, HttpOptions, InvalidRule, aws::AmbientChain};
use bailee_sdk::{Clock, Namespace, Sensitive};
use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Weak},
};

/// A kind of destination: what users write as its type, and how one is made.
#[derive(Clone)]
pub struct DestinationKind {
    /// The type users name, such as `aws-sm`.
    pub name: &'static str,
    /// The name template of whole secrets where the user gives none.
    pub template: &'static str,
    /// The name template of single keys where the user gives none.
    pub key_template: &'static str,
    /// What becomes one object where the user does not say.
    pub granularity: Granularity,
    /// Which names it takes.
    pub names: NameRule,
    /// Which tags it takes, if any.
    pub tags: Option<TagRule>,
    /// Its connection details.
    pub details: &'static [Field],
    /// Makes a destination; an error says what is wrong with the configuration.
    pub build: Build,
}

/// A connection detail of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in the API.
    pub name: &'static str,
    /// Whether it is never shown again.
    pub secret: bool,
    /// Whether it says where the destination is, or whose. Fixed while secrets are associated, and a
    /// change of it needs the secret fields anew, so that credentials never travel to a new address.
    pub identity: bool,
}

/// Makes a configured destination.
pub type Build =
    Arc<dyn Fn(Blueprint) -> BoxFuture<'static, Result<Arc<dyn Destination>, Error>> + Send + Sync>;

/// All that a destination is made of.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// What the user configured.
    pub details: Details,
    /// Where its connections may go.
    pub rules: EgressRules,
    /// The namespace it belongs to.
    pub namespace: Namespace,
    /// Its type.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The user's own name template.
    pub template: Option<String>,
    /// What all destinations share.
    pub surroundings: Arc<Surroundings>,
}

/// What all destinations of the process share.
pub struct Surroundings {
    /// The server's configuration.
    pub settings: Settings,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The credentials of this machine, where the configuration allows their use.
    pub ambient: Option<AmbientChain>,
    /// This server while it is unsealed: it signs identity tokens for destinations.
    pub local: RwLock<Option<Arc<dyn LocalSource>>>,
    /// What stands in for all sources, in tests that have no network.
    #[cfg(test)]
    pub(crate) stand_in: RwLock<Option<Arc<dyn crate::pull::source::Source>>>,
}

impl Surroundings {
    pub(crate) fn new(settings: Settings, clock: Arc<dyn Clock>) -> Surroundings {
        let ambient = settings.ambient_credentials.then(|| {
            let options = HttpOptions {
                proxy: settings.proxy.clone(),
                roots: settings.roots.clone(),
                ..HttpOptions::default()
            };
            AmbientChain::new(options, clock.clone())
        });
        Surroundings {
            settings,
            clock,
            ambient,
            local: RwLock::default(),
            #[cfg(test)]
            stand_in: RwLock::default(),
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}

impl Blueprint {
    /// A client whose every connection passes the destination's rules.
    pub fn http(&self) -> HttpClient {
        let settings = &self.surroundings.settings;
        HttpClient::new(HttpOptions {
            rules: self.rules.clone(),
            proxy: settings.proxy.clone(),
            roots: settings.roots.clone(),
            ..HttpOptions::default()
        })
    }
}

impl fmt::Debug for DestinationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DestinationKind({})", self.name)
    }
}

/// Connection details by name. Their values are secret until a kind says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details(pub BTreeMap<String, Sensitive<String>>);

impl Details {
    /// A detail that is set to something.
    pub fn get(&self, name: &str) -> Option<&Sensitive<String>> {
        self.0.get(name).filter(|value| !value.expose().is_empty())
    }

    /// The text of a detail that is not secret.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| value.expose().clone())
    }
}

impl Serialize for Details {
    /// Into the barrier only: answers show details through their kind's masks.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value.expose())))
    }
}

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Details, D::Error> {
        BTreeMap::deserialize(deserializer).map(Details)
    }
}

/// A destination as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDestination {
    /// Its type.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Connection details.
    pub details: Details,
    /// The user's own name template.
    pub template: Option<String>,
    /// What becomes one object; the type's own where the user does not say.
    #[serde(default)]
    pub granularity: Option<Granularity>,
    /// Tags beside the ownership marks, as the destination takes them.
    pub custom_tags: BTreeMap<String, String>,
    /// Where its connections may go.
    pub network: Network,
    /// What is done about changes that others make at the destination.
    #[serde(default)]
    pub drift: Drift,
    /// What is done with objects that are not known to be ours.
    #[serde(default)]
    pub ownership: Ownership,
    /// How objects are removed.
    #[serde(default)]
    pub deletion: Deletion,
    /// Whether nothing is delivered or removed until it is resumed.
    #[serde(default)]
    pub paused: bool,
    /// That it is to be deleted together with its associations.
    pub purge: Option<Purge>,
}

/// What is done about changes that others make at the destination.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// They are not looked for.
    Off,
    /// They are shown.
    Report,
    /// They are undone.
    #[default]
    Repair,
}

/// Where connections of a destination may go, as the user wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Lifts all rules.
    pub disable_strict_networking: bool,
    /// IPv4 ranges permitted although they are special.
    pub allowed_ipv4_addresses: Vec<String>,
    /// IPv6 ranges permitted although they are special.
    pub allowed_ipv6_addresses: Vec<String>,
    /// Permitted ports; 80 and 443 when empty.
    pub allowed_ports: Vec<String>,
}

impl Network {
    /// The rules in force; an error names the field.
    pub fn rules(&self) -> Result<EgressRules, InvalidRule> {
        EgressRules::parse(
            self.disable_strict_networking,
            &self.allowed_ipv4_addresses,
            &self.allowed_ipv6_addresses,
            &self.allowed_ports,
        )
    }
}

/// A deletion together with the associations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// When it was asked for, in milliseconds since 1970.
    pub initiated_at: u64,
    /// Whether what cannot be removed is left behind.
    pub force: bool,
    /// Why it stopped.
    pub error: Option<String>,
}

impl DestinationKind {
    /// The template in force: the destination's own, or the kind's.
    pub(crate) fn template_of<'a>(&self, stored: &'a StoredDestination) -> &'a str {
        stored.template.as_deref().unwrap_or(match self.granularity_of(stored) {
            Granularity::SecretPath => self.template,
            Granularity::SecretKey => self.key_template,
        })
    }

    /// The granularity in force: the destination's own, or the kind's.
    pub(crate) fn granularity_of(&self, stored: &StoredDestination) -> Granularity {
        stored.granularity.unwrap_or(self.granularity)
    }
}

impl StoredDestination {
    /// Whether a purge is running.
    pub fn is_purging(&self) -> bool {
        self.purge.as_ref().is_some_and(|purge| purge.error.is_none())
    }

    pub(crate) fn blueprint(
        &self,
        namespace: &Namespace,
        surroundings: &Arc<Surroundings>,
    ) -> Result<Blueprint, InvalidRule> {
        Ok(Blueprint {
            details: self.details.clone(),
            rules: self.network.rules()?,
            namespace: namespace.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            template: self.template.clone(),
            surroundings: surroundings.clone(),
        })
    }
}

/// A destination that is ready for use.
pub(crate) struct Configured {
    pub(crate) stored: StoredDestination,
    pub(crate) destination: Arc<dyn Destination>,
    /// Which names it takes.
    pub(crate) names: NameRule,
    /// How fast it may be called.
    pub(crate) budget: Arc<Budget>,
    /// Permissions that are not necessary, and what they would add.
    wishes: Mutex<BTreeMap<String, Note>>,
}

impl Configured {
    pub(crate) fn wish(&self, note: Note) {
        self.wishes.lock().insert(note.missing_permission.clone(), note);
    }

    /// A survey went through: nothing more is wished for it.
    pub(crate) fn surveyed(&self) {
        self.wishes.lock().clear();
    }

    fn wishes(&self) -> Vec<Note> {
        self.wishes.lock().values().cloned().chain(self.destination.notes()).collect()
    }
}

/// Destinations by namespace and code.
type Built = HashMap<(String, String), (Option<Revision>, Arc<Configured>)>;

/// All kinds, and the destinations that were built.
pub(crate) struct Registry {
    kinds: Vec<DestinationKind>,
    pub(crate) surroundings: Arc<Surroundings>,
    built: Mutex<Built>,
    /// Budgets that several destinations may share, by type and what the destination names.
    budgets: Mutex<HashMap<(String, String), Weak<Budget>>>,
}

impl Registry {
    pub(crate) fn new(kinds: Vec<DestinationKind>, surroundings: Surroundings) -> Registry {
        Registry {
            kinds,
            surroundings: Arc::new(surroundings),
            built: Mutex::default(),
            budgets: Mutex::default(),
        }
    }

    pub(crate) fn kind(&self, name: &str) -> Option<&DestinationKind> {
        // A later one stands for an earlier one of the same name.
        self.kinds.iter().rev().find(|kind| kind.name == name)
    }

    /// The destination as it is configured now; `None` when it does not exist.
    pub(crate) async fn configured(
        &self,
        store: &Store,
        namespace: &Namespace,
        kind: &str,
        name: &str,
    ) -> Result<Option<Arc<Configured>>, Error> {
        let key = (namespace.id.clone(), store.destination_id(kind, name));
        let Some((stored, revision)) = store.destination(kind, name).await? else {
            self.built.lock().remove(&key);
            return Ok(None);
        };
        if let Some((built_at, configured)) = self.built.lock().get(&key)
            && *built_at == revision
        {
            return Ok(Some(configured.clone()));
        }
        let configured = Arc::new(self.tried(stored, namespace).await?);
        self.built.lock().insert(key, (revision, configured.clone()));
        Ok(Some(configured))
    }

    /// Names of all kinds.
    pub(crate) fn kind_names(&self) -> impl Iterator<Item = &str> {
        self.kinds.iter().map(|kind| kind.name)
    }

    /// The budget that the destination shares with others of its account, or one of its own.
    pub(crate) fn budget(&self, kind: &str, destination: &dyn Destination) -> Arc<Budget> {
        let fresh = || Arc::new(Budget::new(destination.limits()));
        let Some(key) = destination.budget_key() else { return fresh() };
        let mut budgets = self.budgets.lock();
        budgets.retain(|_, budget| budget.strong_count() > 0);
        let key = (kind.to_owned(), key);
        let shared = budgets.get(&key).and_then(Weak::upgrade).unwrap_or_else(fresh);
        budgets.insert(key, Arc::downgrade(&shared));
        shared
    }

    /// The budget of a destination that is in use.
    pub(crate) fn budget_in_use(&self, namespace: &Namespace, id: &str) -> Option<Arc<Budget>> {
        let key = (namespace.id.clone(), id.to_owned());
        self.built.lock().get(&key).map(|(_, configured)| configured.budget.clone())
    }

    /// The destinations in use, with the ids of their namespaces.
    pub(crate) fn in_use(&self) -> Vec<(String, Arc<Configured>)> {
        let built = self.built.lock();
        let of = |(key, (_, configured)): (&(String, String), &(_, Arc<Configured>))| {
            (key.0.clone(), configured.clone())
        };
        built.iter().map(of).collect()
    }

    /// A destination with settings that are not stored: for a look at what they would do.
    pub(crate) async fn tried(
        &self,
        stored: StoredDestination,
        namespace: &Namespace,
    ) -> Result<Configured, Error> {
        let destination = self.build(&stored, namespace).await?;
        let budget = self.budget(&stored.kind, destination.as_ref());
        let budgeted = Budgeted::new(destination, &stored.kind, budget.clone());
        let unknown = || Error::new(Failure::Invalid, "unknown destination type");
        let names = self.kind(&stored.kind).ok_or_else(unknown)?.names;
        let (destination, wishes) = (Arc::new(budgeted), Mutex::default());
        Ok(Configured { stored, destination, names, budget, wishes })
    }

    /// Permissions that a destination would use beside those it has, as far as it tried.
    pub(crate) fn wishes(&self, namespace: &Namespace, id: &str) -> Vec<Note> {
        let key = (namespace.id.clone(), id.to_owned());
        let built = self.built.lock().get(&key).map(|(_, configured)| configured.clone());
        built.map(|configured| configured.wishes()).unwrap_or_default()
    }

    /// Forgets a destination that was deleted, credentials included.
    pub(crate) fn forget(&self, namespace: &Namespace, id: &str) {
        self.built.lock().remove(&(namespace.id.clone(), id.to_owned()));
    }

    /// Forgets what was built, credentials included.
    pub(crate) fn clear(&self) {
        *self.surroundings.local.write() = None;
        self.built.lock().clear();
    }

    /// Makes a destination of a configuration; an error says what is wrong with it.
    pub(crate) async fn build(
        &self,
        stored: &StoredDestination,
        namespace: &Namespace,
    ) -> Result<Arc<dyn Destination>, Error> {
        let unknown = || Error::new(Failure::Invalid, "unknown destination type");
        let kind = self.kind(&stored.kind).ok_or_else(unknown)?;
        let blueprint = stored
            .blueprint(namespace, &self.surroundings)
            .map_err(|error| Error::new(Failure::Invalid, error.to_string()))?;
        (kind.build)(blueprint).await
    }
}
