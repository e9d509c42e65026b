//! What is known of entities, until a commit changes it.

use super::Resolved;
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};

/// Entities that are kept.
const KEPT_MAX: usize = 32_768;
/// Bytes of text that they have together.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// A bounded cache, emptied when it is full: whoever looks something up only reads, so that requests
/// do not wait for one another. What a reader puts in counts only if nothing was forgotten since it
/// began to read.
#[derive(Debug, Default)]
pub(crate) struct Cache(RwLock<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Counts what was forgotten.
    generation: u64,
    /// By entity id, with the id of the namespace.
    entries: HashMap<String, (String, Arc<Resolved>)>,
    bytes: usize,
}

/// Proof of when a read began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

impl Cache {
    /// What is known of an entity of a namespace, or the ticket under which it may be kept.
    pub(crate) fn look_up(&self, namespace: &str, entity: &str) -> Result<Arc<Resolved>, Ticket> {
        let kept = self.0.read();
        match kept.entries.get(entity) {
            Some((of, resolved)) if of == namespace => Ok(resolved.clone()),
            _ => Err(Ticket(kept.generation)),
        }
    }

    pub(crate) fn keep(&self, namespace: &str, entity: &str, found: &Arc<Resolved>, at: Ticket) {
        let bytes = found.facts.text_bytes();
        let mut kept = self.0.write();
        if kept.generation != at.0 || bytes > KEPT_BYTES_MAX {
            return;
        }
        if kept.entries.len() >= KEPT_MAX || kept.bytes + bytes > KEPT_BYTES_MAX {
            kept.entries.clear();
            kept.bytes = 0;
        }
        kept.bytes += bytes;
        let gone = kept.entries.insert(entity.to_owned(), (namespace.to_owned(), found.clone()));
        if let Some((_, gone)) = gone {
            kept.bytes -= gone.facts.text_bytes();
        }
    }

    /// Forgets an entity after a commit that changed it.
    pub(crate) fn forget(&self, entity: &str) {
        let mut kept = self.0.write();
        kept.generation += 1;
        if let Some((_, gone)) = kept.entries.remove(entity) {
            kept.bytes -= gone.facts.text_bytes();
        }
    }

    /// Forgets all entities of a namespace, after a commit that changed groups.
    pub(crate) fn forget_all(&self, namespace: &str) {
        let mut kept = self.0.write();
        kept.generation += 1;
        kept.entries.retain(|_, (of, _)| of != namespace);
        kept.bytes = kept.entries.values().map(|(_, found)| found.facts.text_bytes()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Facts;

    fn someone(name: &str) -> Arc<Resolved> {
        let facts = Facts { entity_name: Some(name.to_owned()), ..Facts::default() };
        Arc::new(Resolved { disabled: false, facts })
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept() {
        let cache = Cache::default();
        let early = cache.look_up("n", "e").unwrap_err();
        cache.forget("other");
        cache.keep("n", "e", &someone("old"), early);
        let late = cache.look_up("n", "e").unwrap_err();
        cache.keep("n", "e", &someone("new"), late);
        let found = cache.look_up("n", "e").unwrap();
        assert_eq!(found.facts.entity_name.as_deref(), Some("new"));
        assert!(cache.look_up("other", "e").is_err());
        cache.forget("e");
        assert!(cache.look_up("n", "e").is_err());
    }

    #[test]
    fn a_change_of_groups_forgets_one_namespace() {
        let cache = Cache::default();
        for (namespace, entity) in [("a", "1"), ("a", "2"), ("b", "3")] {
            let ticket = cache.look_up(namespace, entity).unwrap_err();
            cache.keep(namespace, entity, &someone("x"), ticket);
        }
        cache.forget_all("a");
        assert!(cache.look_up("a", "1").is_err() && cache.look_up("b", "3").is_ok());
        assert_eq!(cache.0.read().bytes, 1);
    }
}
