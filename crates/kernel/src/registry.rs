//! Namespaces and mounts as of now: what requests are routed by.
//!
//! Storage is the truth. After each commit that changed it the registry reads anew; until it has, no
//! further request is admitted on the old state.

use crate::mount::{self, MountEntry};
use arc_swap::ArcSwap;
use bailee_barrier::{Barrier, Expect, View};
use bailee_sdk::{
    Engine, EngineKind, Error, Issuer, Mount, Mounts, Namespace, Path, Setup, engine::Class,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    ops::Bound,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

/// Where namespaces are kept, by id.
const NAMESPACES: &str = "core/namespaces/";
/// The kind that `kv` was called before it had versions.
pub(crate) const GENERIC: &str = "generic";
/// Namespaces that are read at once.
const PAGE: usize = 1000;

/// A namespace as it is stored. The root namespace is not: it is always there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamespaceEntry {
    /// Stable id, part of every stored key.
    pub(crate) id: String,
    /// Path from the root with a final `/`.
    pub(crate) path: String,
    /// A longer stable id, shown to users.
    pub(crate) uuid: String,
    /// What its owner says about it.
    #[serde(default)]
    pub(crate) custom_metadata: BTreeMap<String, String>,
    /// Serves no more: what it holds is being removed.
    #[serde(default)]
    pub(crate) deleting: bool,
    /// Serves nobody until it is unlocked: the hash of the key for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lock: Option<String>,
}

/// The table of contents of an engine.
pub(crate) struct Served {
    /// The engine.
    pub(crate) engine: Arc<dyn Engine>,
    /// All it serves.
    pub(crate) paths: Vec<Path>,
}

impl Served {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Served {
        let paths = engine.clone().paths();
        Served { engine, paths }
    }
}

/// The engines that are the server's own.
pub(crate) struct Builtin {
    pub(crate) token: Arc<Served>,
    pub(crate) cubbyhole: Arc<Served>,
    pub(crate) identity: Arc<Served>,
    /// Set once, when all is there that it serves; it holds what holds this.
    pub(crate) system: OnceLock<Weak<Served>>,
}

impl Builtin {
    /// The engine of a mount.
    pub(crate) fn served(&self, mounted: &Mounted) -> Result<Arc<Served>, Error> {
        let own = match (&mounted.served, mounted.entry.kind.as_str()) {
            (Some(served), _) => Some(served.clone()),
            (None, mount::SYSTEM_KIND) => self.system.get().and_then(Weak::upgrade),
            (None, mount::TOKEN_KIND) => Some(self.token.clone()),
            (None, mount::CUBBYHOLE_KIND) => Some(self.cubbyhole.clone()),
            (None, mount::IDENTITY_KIND) => Some(self.identity.clone()),
            (None, _) => None,
        };
        own.ok_or_else(|| {
            Error::internal(format!("this server has no engine {:?}", mounted.entry.kind))
        })
    }
}

/// The kinds of engines that can be mounted, and the engines made of them.
pub(crate) struct Kinds {
    kinds: Vec<EngineKind>,
    issuer: Arc<dyn Issuer>,
    made: Mutex<HashMap<MadeOf, Weak<Served>>>,
}

/// What an engine is made of: mounts that agree in it share one.
type MadeOf = (Class, String, BTreeMap<String, String>);

impl Kinds {
    pub(crate) fn new(kinds: Vec<EngineKind>, issuer: Arc<dyn Issuer>) -> Kinds {
        Kinds { kinds, issuer, made: Mutex::default() }
    }

    /// The kind with this name. `generic` is the older name of an unversioned `kv`.
    pub(crate) fn find(&self, name: &str, class: Class) -> Option<&EngineKind> {
        let named = |name| self.kinds.iter().find(|kind| kind.name == name && kind.class == class);
        named(name).or_else(|| if name == GENERIC { named("kv") } else { None })
    }

    /// All kinds of a class, in the order of the alphabet.
    pub(crate) fn names(&self, class: Class) -> Vec<&'static str> {
        let of_class = self.kinds.iter().filter(|kind| kind.class == class);
        let mut names: Vec<&str> = of_class.map(|kind| kind.name).collect();
        names.sort_unstable();
        names
    }

    /// The engine for a mount: one for all mounts of a kind with the same options.
    pub(crate) fn serve(&self, entry: &MountEntry) -> Result<Arc<Served>, Error> {
        let mut options = entry.options.clone();
        if entry.kind == GENERIC {
            options.insert("version".to_owned(), "1".to_owned());
        }
        let key = (entry.class, entry.kind.clone(), options);
        if let Some(served) = self.made.lock().get(&key).and_then(Weak::upgrade) {
            return Ok(served);
        }
        let Some(kind) = self.find(&entry.kind, entry.class) else {
            let message = format!("plugin not found in the catalog: {}", entry.kind);
            return Err(Error::invalid(message));
        };
        let setup = Setup { options: key.2.clone(), issuer: self.issuer.clone() };
        let served = Arc::new(Served::new((kind.make)(&setup)?));
        let mut made = self.made.lock();
        made.retain(|_, kept| kept.strong_count() > 0);
        made.insert(key, Arc::downgrade(&served));
        Ok(served)
    }
}

/// A mount that serves.
pub(crate) struct Mounted {
    /// As it is stored.
    pub(crate) entry: MountEntry,
    /// As engines see it.
    pub(crate) mount: Arc<Mount>,
    /// The engine; none for the system's own, and for kinds this server does not have.
    pub(crate) served: Option<Arc<Served>>,
    /// The prefix of its data.
    pub(crate) prefix: String,
    /// Holds as long as the mount is as it is here.
    pub(crate) guard: Option<Expect>,
}

/// A namespace and its mounts.
pub(crate) struct Place {
    /// The namespace.
    pub(crate) namespace: Arc<Namespace>,
    /// As it is stored; none for the root namespace.
    pub(crate) entry: Option<NamespaceEntry>,
    /// Mounts that serve, by path.
    pub(crate) mounts: BTreeMap<String, Arc<Mounted>>,
    /// Auth mounts that serve, by id.
    pub(crate) auth: HashMap<String, Arc<Mounted>>,
    /// Ids of mounts whose data is being removed.
    pub(crate) disabling: Vec<String>,
    /// Secrets mounts as engines see them.
    pub(crate) secrets: Mounts,
}

impl Place {
    /// Whether an auth mount with this id serves.
    pub(crate) fn has_auth(&self, uuid: &str) -> bool {
        self.auth.contains_key(uuid)
    }

    /// The mount whose data is below this prefix.
    pub(crate) fn with_prefix(&self, prefix: &str) -> Option<&Arc<Mounted>> {
        self.mounts.values().find(|mounted| mounted.prefix == prefix)
    }

    /// The auth mount with this id.
    pub(crate) fn auth(&self, uuid: &str) -> Option<&Arc<Mounted>> {
        self.auth.get(uuid)
    }

    /// The mount that serves a path, and the path within it.
    pub(crate) fn find(&self, path: &str) -> Option<(&Arc<Mounted>, String)> {
        // No mount is within another: the last one before the path is the only candidate.
        let up_to = (Bound::Unbounded, Bound::Included(path));
        let (at, mounted) = self.mounts.range::<str, _>(up_to).next_back().unzip();
        if let (Some(at), Some(mounted)) = (at, mounted)
            && let Some(rest) = path.strip_prefix(at.as_str())
        {
            return Some((mounted, rest.to_owned()));
        }
        // `kv` names the mount at `kv/`.
        let mounted = self.mounts.get(&format!("{path}/"))?;
        Some((mounted, String::new()))
    }
}

/// All namespaces.
#[derive(Default)]
pub(crate) struct Places {
    by_path: BTreeMap<String, Arc<Place>>,
    by_id: HashMap<String, Arc<Place>>,
    /// Namespaces that serve no more but still have data.
    deleting: Vec<NamespaceEntry>,
    /// Paths of namespaces that are locked.
    locked: Vec<String>,
}

impl Places {
    /// The namespace with this path, which ends in `/` or is empty.
    pub(crate) fn at(&self, path: &str) -> Option<&Arc<Place>> {
        self.by_path.get(path)
    }

    /// The namespace with this id.
    pub(crate) fn with_id(&self, id: &str) -> Option<&Arc<Place>> {
        self.by_id.get(id)
    }

    /// All namespaces, sorted by path: parents before children.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Place>> {
        self.by_path.values()
    }

    /// The namespace whose lock keeps a namespace from serving: itself, or one above.
    pub(crate) fn locked(&self, namespace: &Namespace) -> Option<&str> {
        let mut locked = self.locked.iter().map(String::as_str);
        locked.find(|path| namespace.path.starts_with(path))
    }

    /// Namespaces whose data is being removed.
    pub(crate) fn deleting(&self) -> &[NamespaceEntry] {
        &self.deleting
    }

    /// The namespace a request is for, and its path in there: the namespace named beside the path,
    /// then as much of the path as names namespaces.
    pub(crate) fn resolve(&self, beside: &str, path: &str) -> Option<(&Arc<Place>, String)> {
        let beside = match beside.trim_matches('/') {
            "" | "root" => String::new(),
            name => format!("{name}/"),
        };
        let mut place = self.at(&beside)?;
        let mut rest = path;
        if self.by_path.len() > 1 {
            while let Some((segment, after)) = rest.split_once('/')
                && let Some(child) = self.at(&format!("{}{segment}/", place.namespace.path))
            {
                place = child;
                rest = after;
            }
        }
        Some((place, rest.to_owned()))
    }

    fn insert(&mut self, place: Place) {
        let place = Arc::new(place);
        self.by_id.insert(place.namespace.id.clone(), place.clone());
        self.by_path.insert(place.namespace.path.clone(), place);
    }
}

/// What has to be read anew.
#[derive(Default)]
struct Stale {
    namespaces: bool,
    mounts: BTreeSet<String>,
}

/// Namespaces and mounts as of now.
pub(crate) struct Registry {
    barrier: Arc<Barrier>,
    kinds: Arc<Kinds>,
    places: ArcSwap<Places>,
    is_stale: AtomicBool,
    stale: Mutex<Stale>,
    loading: tokio::sync::Mutex<()>,
}

impl Registry {
    /// Reads everything.
    pub(crate) async fn load(barrier: Arc<Barrier>, kinds: Arc<Kinds>) -> Result<Registry, Error> {
        let registry = Registry {
            barrier,
            kinds,
            places: ArcSwap::default(),
            is_stale: AtomicBool::new(false),
            stale: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
        };
        registry.mark_namespaces();
        registry.refresh().await?;
        registry.complete().await?;
        Ok(registry)
    }

    /// Gives each namespace the first mounts it lacks, all in one batch.
    async fn complete(&self) -> Result<(), Error> {
        let kinds: Vec<String> = mount::builtin().into_iter().map(|entry| entry.kind).collect();
        let places = self.places();
        let lacks = |place: &&Arc<Place>| {
            let has =
                |kind: &String| place.mounts.values().any(|mounted| mounted.entry.kind == *kind);
            !kinds.iter().all(has)
        };
        let lacking: Vec<Namespace> =
            places.iter().filter(lacks).map(|place| Namespace::clone(&place.namespace)).collect();
        let view = self.barrier.view("");
        if lacking.is_empty() || !mount::complete(&view, &lacking).await? {
            return Ok(());
        }
        view.commit().await?;
        lacking.iter().for_each(|namespace| self.mark_mounts(namespace));
        self.refresh().await
    }

    /// Namespaces and mounts as of now.
    pub(crate) fn places(&self) -> Arc<Places> {
        self.places.load_full()
    }

    /// The kinds that can be mounted.
    pub(crate) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// The mounts of a namespace have changed, or may have.
    pub(crate) fn mark_mounts(&self, namespace: &Namespace) {
        let mut stale = self.stale.lock();
        stale.mounts.insert(namespace.id.clone());
        self.is_stale.store(true, Ordering::Release);
    }

    /// Marks the mounts of a namespace if this one is not as it was.
    pub(crate) async fn check(
        &self,
        namespace: &Namespace,
        mounted: &Mounted,
    ) -> Result<(), Error> {
        let Some(Expect::At(key, revision)) = &mounted.guard else { return Ok(()) };
        let now = self.barrier.backend().get(key).await?;
        if now.is_none_or(|entry| entry.revision != *revision) {
            self.mark_namespaces();
            self.mark_mounts(namespace);
        }
        Ok(())
    }

    /// The namespaces have changed, or may have.
    pub(crate) fn mark_namespaces(&self) {
        let mut stale = self.stale.lock();
        stale.namespaces = true;
        self.is_stale.store(true, Ordering::Release);
    }

    /// Reads anew what has changed; costs nothing when nothing has.
    pub(crate) async fn refresh(&self) -> Result<(), Error> {
        if !self.is_stale.load(Ordering::Acquire) {
            return Ok(());
        }
        let _alone = self.loading.lock().await;
        let stale = std::mem::take(&mut *self.stale.lock());
        let places = self.read(&stale).await;
        let mut again = self.stale.lock();
        match places {
            Ok(Some(places)) => self.places.store(Arc::new(places)),
            Ok(None) => {}
            Err(error) => {
                again.namespaces |= stale.namespaces;
                again.mounts.extend(stale.mounts);
                return Err(error);
            }
        }
        // The mark stays until here, so that whoever comes meanwhile waits for this reading.
        if !again.namespaces && again.mounts.is_empty() {
            self.is_stale.store(false, Ordering::Release);
        }
        Ok(())
    }

    async fn read(&self, stale: &Stale) -> Result<Option<Places>, Error> {
        if !stale.namespaces && stale.mounts.is_empty() {
            return Ok(None);
        }
        let view = self.barrier.view("");
        let known = self.places();
        let mut entries = vec![None];
        entries.extend(namespaces(&view).await?.into_iter().map(Some));
        let mut places = Places::default();
        for entry in entries {
            let namespace = match &entry {
                Some(entry) => Namespace { id: entry.id.clone(), path: entry.path.clone() },
                None => Namespace::root(),
            };
            if entry.as_ref().is_some_and(|entry| entry.lock.is_some()) {
                places.locked.push(namespace.path.clone());
            }
            match (entry, known.with_id(&namespace.id)) {
                (Some(entry), _) if entry.deleting => places.deleting.push(entry),
                (entry, Some(place))
                    if !stale.mounts.contains(&namespace.id) && place.entry == entry =>
                {
                    places.by_id.insert(namespace.id, place.clone());
                    places.by_path.insert(namespace.path, place.clone());
                }
                (entry, _) => places.insert(self.place(&view, namespace, entry).await?),
            }
        }
        Ok(Some(places))
    }

    async fn place(
        &self,
        view: &View,
        namespace: Namespace,
        entry: Option<NamespaceEntry>,
    ) -> Result<Place, Error> {
        let mut mounts = BTreeMap::new();
        let mut disabling = Vec::new();
        for (entry, guard) in mount::load(view, &namespace).await? {
            if entry.disabling {
                disabling.push(entry.uuid);
                continue;
            }
            let mount = Arc::new(entry.shared());
            let prefix = mount.prefix(&namespace);
            let served = if entry.is_builtin() { None } else { self.kinds.serve(&entry).ok() };
            let path = entry.path.clone();
            mounts.insert(path, Arc::new(Mounted { entry, mount, served, prefix, guard }));
        }
        let auth = mounts
            .values()
            .filter(|mounted: &&Arc<Mounted>| mounted.entry.class == Class::Auth)
            .map(|mounted| (mounted.entry.uuid.clone(), mounted.clone()))
            .collect();
        let secrets = mounts
            .values()
            .filter(|mounted| mounted.entry.class == Class::Secret && !mounted.entry.is_builtin())
            .map(|mounted| &mounted.mount);
        let secrets = mount::shared(secrets);
        Ok(Place { namespace: Arc::new(namespace), entry, mounts, auth, disabling, secrets })
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry(..)")
    }
}

/// Stores a namespace when the unit of `view` commits.
pub(crate) fn put_namespace(view: &View, entry: &NamespaceEntry) {
    view.at(NAMESPACES).put(&entry.id, entry);
}

/// Removes a namespace's entry when the unit of `view` commits.
pub(crate) fn remove_namespace(view: &View, id: &str) {
    view.at(NAMESPACES).delete(id);
}

/// A namespace as storage has it now.
pub(crate) async fn namespace_entry(
    view: &View,
    id: &str,
) -> Result<Option<NamespaceEntry>, Error> {
    Ok(view.at(NAMESPACES).get(id).await?)
}

/// The unit of `view` commits only while the namespace is there, unchanged and not being removed.
pub(crate) async fn guard_namespace(view: &View, namespace: &Namespace) -> Result<(), Error> {
    if namespace.is_root() {
        return Ok(());
    }
    let view = view.at(NAMESPACES);
    match view.get_at::<NamespaceEntry>(&namespace.id).await? {
        Some((entry, Some(revision))) if !entry.deleting => {
            view.expect(&namespace.id, revision);
            Ok(())
        }
        _ => Err(Error::not_found()),
    }
}

/// All namespaces but the root as storage has them, sorted by id.
pub(crate) async fn namespaces(view: &View) -> Result<Vec<NamespaceEntry>, Error> {
    let view = view.at(NAMESPACES);
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = view.list("", &after, PAGE).await?;
        for id in &page {
            found.extend(view.get(id).await?);
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after.clone_from(last),
            _ => return Ok(found),
        }
    }
}
