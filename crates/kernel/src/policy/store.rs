//! Policies at rest, and what was compiled from them.

use super::{
    Acl, Facts, builtin,
    parse::{self, Policy},
};
use crate::{identity::IdentityStore, registry};
use bailee_barrier::{Barrier, Names, View};
use bailee_sdk::{Error, Namespace};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
};

/// Parsed policies that are kept, and compiled sets as well.
const KEPT_MAX: usize = 8192;
/// Bytes of the texts from which these were made.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// What was made from more text than this is made anew each time.
const KEPT_TEXT_MAX: usize = 4 << 20;
/// Policies of a namespace that are listed.
const NAMES_MAX: usize = 100_000;

/// The policies of all namespaces.
pub(crate) struct PolicyStore {
    barrier: Arc<Barrier>,
    identity: Arc<IdentityStore>,
    caches: Arc<RwLock<Caches>>,
    hasher: RandomState,
}

/// What was read, until a commit changes it. What a reader puts in counts only if nothing was
/// forgotten since it began to read.
#[derive(Default)]
struct Caches {
    /// Counts what was forgotten.
    generation: u64,
    parsed: Kept<(String, String), Parsed>,
    /// By the hash of what they were compiled from.
    sets: Kept<u64, Set>,
}

#[derive(Clone)]
struct Parsed {
    policy: Arc<Policy>,
    /// Length of its text.
    bytes: usize,
}

struct Set {
    namespace_id: String,
    names: Vec<String>,
    identity_names: Vec<String>,
    made: Made,
}

#[derive(Clone)]
enum Made {
    /// The same for everyone.
    Acl(Arc<Acl>),
    /// Templates make it another for each entity: it is kept with what is known of that.
    Templated,
    /// For one entity.
    For(Box<Facts>, Arc<Acl>),
}

/// A bounded map, emptied when it is full: whoever looks something up only reads, so that requests
/// do not wait for one another.
struct Kept<K, V> {
    entries: HashMap<K, (V, usize)>,
    bytes: usize,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    text: String,
}

impl PolicyStore {
    pub(crate) fn new(barrier: Arc<Barrier>) -> PolicyStore {
        let identity = Arc::new(IdentityStore::new(barrier.clone()));
        PolicyStore { barrier, identity, caches: Arc::default(), hasher: RandomState::new() }
    }

    /// The entities whose policies add to those of their tokens.
    pub(crate) fn identity(&self) -> &Arc<IdentityStore> {
        &self.identity
    }

    /// A policy's text; also of those that every namespace has.
    pub(crate) async fn read(
        &self,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Option<String>, Error> {
        let name = name.to_lowercase();
        if builtin::IMMUTABLE.contains(&name.as_str()) {
            return Ok(builtin::text_of(&name).map(str::to_owned));
        }
        let stored: Option<Stored> = named(&self.barrier.view(""), namespace).get(&name).await?;
        let text = stored.map(|stored| stored.text);
        Ok(text.or_else(|| builtin::text_of(&name).map(str::to_owned)))
    }

    /// Names of policies after `after`, at most `limit`: sorted, those with a `/` behind those
    /// without, `root` last.
    pub(crate) async fn names(
        &self,
        namespace: &Namespace,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let stored = named(&self.barrier.view(""), namespace);
        let mut names = Vec::new();
        let mut folders = std::collections::VecDeque::from([String::new()]);
        while let Some(folder) = folders.pop_front() {
            for name in stored.list(&folder, "", NAMES_MAX - names.len().min(NAMES_MAX)).await? {
                let name = format!("{folder}{name}");
                if name.ends_with('/') { folders.push_back(name) } else { names.push(name) }
            }
            if folder.is_empty() && !names.iter().any(|name| name == "default") {
                names.push("default".to_owned());
                names.sort_unstable();
            }
        }
        if namespace.is_root() {
            names.push("root".to_owned());
        }
        let start = match names.iter().position(|name| name == after) {
            Some(position) => position + 1,
            None => 0,
        };
        Ok(names.into_iter().skip(start).take(limit).collect())
    }

    /// Stores a policy when the unit of `view` commits, for which there is `land`; a text that is no
    /// policy is refused. Gives what its writer should know.
    pub(crate) async fn write(
        &self,
        view: &View,
        namespace: &Namespace,
        name: &str,
        text: &str,
    ) -> Result<Vec<String>, Error> {
        let name = name.to_lowercase();
        if builtin::IMMUTABLE.contains(&name.as_str()) {
            return Err(Error::invalid(format!("cannot update {name:?} policy")));
        }
        if name.split('/').any(str::is_empty) {
            return Err(Error::invalid(
                "policy name must not begin or end with '/', nor contain '//'",
            ));
        }
        let policy = parse::parse(text).map_err(Error::invalid)?;
        named(view, namespace).put(&name, &Stored { text: text.to_owned() }).await?;
        Ok(policy.warnings())
    }

    /// Removes a policy when the unit of `view` commits, for which there is `land`; an absent one is
    /// fine.
    pub(crate) async fn delete(
        &self,
        view: &View,
        namespace: &Namespace,
        name: &str,
    ) -> Result<(), Error> {
        let name = name.to_lowercase();
        if name == "default" {
            return Err(Error::invalid("cannot delete default policy"));
        }
        if builtin::IMMUTABLE.contains(&name.as_str()) {
            return Err(Error::invalid(format!("cannot delete {name:?} policy")));
        }
        named(view, namespace).delete(&name).await?;
        Ok(())
    }

    /// Commits a change of one policy and forgets what was compiled from it. A task of its own: a
    /// client that goes away meanwhile must not leave the caches behind the storage.
    pub(crate) async fn land(
        &self,
        view: View,
        namespace: &Namespace,
        name: &str,
    ) -> Result<(), Error> {
        // What is written into a namespace that is being removed could never be reached again.
        registry::guard_namespace(&view, namespace).await?;
        let (caches, namespace_id) = (self.caches.clone(), namespace.id.clone());
        let name = name.to_lowercase();
        let task = tokio::spawn(async move {
            let outcome = view.commit().await;
            caches.write().forget(&namespace_id, &name);
            outcome
        });
        task.await.map_err(Error::internal)??;
        Ok(())
    }

    /// The rights that these policies give together with those of the entity. Names of policies that
    /// do not exist give nothing.
    pub(crate) async fn acl(
        &self,
        namespace: &Namespace,
        names: &[String],
        facts: &Facts,
    ) -> Result<Arc<Acl>, Error> {
        let more = facts.policies.as_slice();
        let everyone = self.hasher.hash_one((&namespace.id, names, more));
        let generation = {
            let caches = self.caches.read();
            let found = |hash| {
                let set: Option<&Set> = caches.sets.get(&hash);
                Some(&set.filter(|set| set.is_of(namespace, names, more))?.made)
            };
            let mut made = found(everyone);
            if let Some(Made::Templated) = made {
                made = found(self.hasher.hash_one((everyone, facts)));
            }
            match made {
                Some(Made::Acl(acl)) => return Ok(acl.clone()),
                Some(Made::For(known, acl)) if **known == *facts => return Ok(acl.clone()),
                Some(Made::For(..) | Made::Templated) | None => caches.generation,
            }
        };
        let mut all: Vec<&String> = names.iter().chain(more).collect();
        all.sort_unstable();
        all.dedup();
        let mut bytes = all.iter().map(|name| name.len()).sum();
        let mut templated = false;
        let acl = Arc::new(if names.iter().any(|name| name == "root") {
            Acl::root()
        } else {
            let mut policies = Vec::with_capacity(all.len());
            for name in all {
                let parsed = self.parsed(namespace, name).await?;
                bytes += parsed.bytes;
                templated |= parsed.policy.is_templated();
                policies.push((name.as_str(), parsed.policy));
            }
            Acl::compile(policies.iter().map(|(name, policy)| (*name, &**policy)), facts)
        });
        let set = |made| Set {
            namespace_id: namespace.id.clone(),
            names: names.to_vec(),
            identity_names: more.to_vec(),
            made,
        };
        let mut caches = self.caches.write();
        if caches.generation == generation {
            if templated {
                let own = Made::For(Box::new(facts.clone()), acl.clone());
                let hash = self.hasher.hash_one((everyone, facts));
                caches.sets.put(hash, set(own), bytes + facts.text_bytes());
                caches.sets.put(everyone, set(Made::Templated), 0);
            } else {
                caches.sets.put(everyone, set(Made::Acl(acl.clone())), bytes);
            }
        }
        Ok(acl)
    }

    /// A policy, read; one that does not exist has no rules.
    pub(crate) async fn policy(
        &self,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Arc<Policy>, Error> {
        Ok(self.parsed(namespace, name).await?.policy)
    }

    async fn parsed(&self, namespace: &Namespace, name: &str) -> Result<Parsed, Error> {
        let key = (namespace.id.clone(), name.to_lowercase());
        let generation = {
            let caches = self.caches.read();
            if let Some(parsed) = caches.parsed.get(&key) {
                return Ok(parsed.clone());
            }
            caches.generation
        };
        // A stored text that does not parse may deny something: leaving it out would be wrong.
        let (policy, bytes) = match self.read(namespace, name).await? {
            Some(text) => (parse::parse(&text).map_err(Error::internal)?, text.len()),
            None => (Policy::default(), 0),
        };
        let parsed = Parsed { policy: Arc::new(policy), bytes };
        let mut caches = self.caches.write();
        if caches.generation == generation {
            let bytes = bytes + key.1.len();
            caches.parsed.put(key, parsed.clone(), bytes);
        }
        Ok(parsed)
    }
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Kept<K, V> {
        Kept { entries: HashMap::new(), bytes: 0 }
    }
}

impl<K: Eq + Hash, V> Kept<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    fn put(&mut self, key: K, value: V, bytes: usize) {
        if bytes > KEPT_TEXT_MAX {
            return;
        }
        if self.entries.len() >= KEPT_MAX || self.bytes + bytes > KEPT_BYTES_MAX {
            *self = Kept::default();
        }
        self.bytes += bytes;
        if let Some((_, gone)) = self.entries.insert(key, (value, bytes)) {
            self.bytes -= gone;
        }
    }

    fn retain(&mut self, keeps: impl Fn(&K, &V) -> bool) {
        self.entries.retain(|key, (value, _)| keeps(key, value));
        self.bytes = self.entries.values().map(|(_, bytes)| bytes).sum();
    }
}

impl Set {
    fn is_of(&self, namespace: &Namespace, names: &[String], more: &[String]) -> bool {
        self.namespace_id == namespace.id && self.names == names && self.identity_names == more
    }
}

impl Caches {
    fn forget(&mut self, namespace_id: &str, name: &str) {
        self.generation += 1;
        self.parsed.retain(|(id, known), _| id != namespace_id || known != name);
        self.sets.retain(|_, set| {
            let mut names = set.names.iter().chain(&set.identity_names);
            set.namespace_id != namespace_id || !names.any(|known| known == name)
        });
    }
}

impl fmt::Debug for PolicyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicyStore(..)")
    }
}

fn named(view: &View, namespace: &Namespace) -> Names {
    view.at(&format!("{}policy/", namespace.prefix())).names("acl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes() {
        let mut kept = Kept::default();
        kept.put(0, (), KEPT_TEXT_MAX + 1);
        assert!(kept.get(&0).is_none());
        for number in 0..100 {
            kept.put(number, (), KEPT_TEXT_MAX);
            assert!(kept.get(&number).is_some());
            assert!(kept.bytes <= KEPT_BYTES_MAX);
        }
        kept.put(99, (), 1);
        kept.retain(|number, ()| *number == 99);
        assert_eq!((kept.entries.len(), kept.bytes), (1, 1));
        for number in 0..3 * KEPT_MAX {
            kept.put(number, (), 1);
            assert!(kept.entries.len() <= KEPT_MAX && kept.bytes == kept.entries.len());
        }
    }
}
