//! The plans of all associations together: who gets which name, and what may go because what replaces
//! it is there.

use super::{DryRun, look::Look};
use crate::{
    association::Object,
    failure::Error,
    plan::{Plan, Step},
    store::Claim,
    work::{Foreseen, holder, not_ours, taken, too_large},
};
use bailee_storage::Error as StorageError;
use std::collections::{BTreeMap, HashMap};

/// Rounds in which names that become free are handed on: each hands on all there are.
const ROUNDS_MAX: usize = 16;

/// The plan of one association, and what is known to go wrong with it.
pub(super) struct Draft {
    pub(super) foreseen: Foreseen,
    pub(super) plan: Plan,
    /// Deliveries that fail, by name.
    pub(super) failing: BTreeMap<String, Error>,
    /// Deliveries whose name somebody else has.
    blocked: BTreeMap<String, Claim>,
}

impl Draft {
    fn new(foreseen: Foreseen, plan: Plan) -> Draft {
        let refused = plan.steps.iter().filter_map(|step| match step {
            Step::Refuse { name, owner } => Some((name.clone(), not_ours(name, *owner))),
            Step::Put { .. } | Step::Delete { .. } => None,
        });
        let failing = refused.collect();
        Draft { foreseen, plan, failing, blocked: BTreeMap::new() }
    }

    /// The names that would be delivered under.
    fn puts(&self) -> impl Iterator<Item = &str> {
        self.plan.steps.iter().filter_map(|step| match step {
            Step::Put { name, .. } => Some(name.as_str()),
            Step::Refuse { .. } | Step::Delete { .. } => None,
        })
    }

    /// Whether an object goes: nothing replaces it, or that is there by then.
    pub(super) fn goes(&self, object: &Object) -> bool {
        let of_part = |sub_key: &Option<String>| {
            *sub_key == object.sub_key || sub_key.is_none() || object.sub_key.is_none()
        };
        let fails = |name: &str| self.failing.contains_key(name) || self.blocked.contains_key(name);
        let heirs = self.foreseen.objects.iter().map(|(desired, _)| desired);
        let mut heirs = heirs.filter(|heir| of_part(&heir.sub_key) && heir.name != object.name);
        let unnamed = self.foreseen.failed.iter().any(|failed| of_part(&failed.sub_key));
        !unnamed && !heirs.any(|heir| fails(&heir.name))
    }

    /// Whether the object of that name is removed.
    fn frees(&self, name: &str) -> bool {
        let deleted =
            |step: &Step| matches!(step, Step::Delete { name: deleted } if deleted == name);
        self.plan.steps.iter().any(deleted)
            && self.foreseen.association.holder_of(name).is_some_and(|object| self.goes(object))
    }

    /// Whether an object that goes is replaced by one that is delivered now.
    pub(super) fn is_confirmed(&self, name: &str) -> bool {
        let leaving = self.plan.steps.iter().any(|step| match step {
            Step::Delete { name: deleted } => deleted != name,
            Step::Put { .. } | Step::Refuse { .. } => false,
        });
        leaving && self.puts().any(|put| put == name)
    }
}

impl DryRun<'_> {
    pub(super) async fn drafts(
        &self,
        foreseen: Vec<Foreseen>,
        look: &Look,
    ) -> Result<Vec<Draft>, StorageError> {
        let mut drafts = Vec::with_capacity(foreseen.len());
        for one in foreseen {
            let begun = one.association.objects.iter().filter(|object| object.begun);
            let begun = begun.map(|object| object.name.as_str());
            let wanted = one.objects.iter().map(|(desired, _)| desired.name.as_str());
            let found = look.of(begun.chain(wanted));
            let plan =
                self.worker.foreseen_plan(&one, self.configured, &self.epoch, found.as_ref());
            drafts.push(Draft::new(one, plan));
        }
        self.allot_names(&mut drafts).await?;
        for draft in &mut drafts {
            let blocked = std::mem::take(&mut draft.blocked);
            for (name, claim) in blocked {
                let holder = self.holder(&claim).await?;
                draft.failing.insert(name.clone(), taken(&name, &holder));
            }
        }
        Ok(drafts)
    }

    /// Finds out which deliveries fail of their size or of their name.
    async fn allot_names(&self, drafts: &mut [Draft]) -> Result<(), StorageError> {
        let mut holders: HashMap<String, Claim> = HashMap::new();
        for draft in drafts.iter_mut() {
            let puts: Vec<String> = draft.puts().map(str::to_owned).collect();
            for name in puts {
                let Some((desired, bytes)) =
                    draft.foreseen.objects.iter().find(|(desired, _)| desired.name == name)
                else {
                    continue;
                };
                let error = too_large(self.configured, *bytes);
                let secret = draft.foreseen.key.secret.to_string();
                let known = draft.foreseen.association.object(&desired.sub_key, &name);
                let claim = Claim { secret, sub_key: desired.sub_key.clone() };
                if known.is_none_or(|object| !object.begun)
                    && let Some(other) = self.other_holder(&name, &claim, &holders).await?
                {
                    draft.blocked.insert(name, other);
                } else if let Some(error) = error {
                    draft.failing.insert(name, error);
                } else {
                    holders.insert(name, claim);
                }
            }
        }
        let places: HashMap<String, usize> = drafts.iter().enumerate().map(by_secret).collect();
        for _ in 0..ROUNDS_MAX {
            if !hand_on(drafts, &places, &mut holders) {
                break;
            }
        }
        Ok(())
    }

    async fn other_holder(
        &self,
        name: &str,
        claim: &Claim,
        planned: &HashMap<String, Claim>,
    ) -> Result<Option<Claim>, StorageError> {
        let stored = self.store.claim_of_name(&self.destination, name).await?;
        let holder = stored.as_ref().or(planned.get(name));
        Ok(holder.filter(|holder| holder.secret != claim.secret).cloned())
    }

    /// The secret that has a name, where whoever asks may know of it.
    async fn holder(&self, claim: &Claim) -> Result<String, StorageError> {
        let unknown = || "another secret".to_owned();
        let found = self.store.association(&self.destination, &claim.secret).await?;
        let Some((association, _)) = found else { return Ok(unknown()) };
        if !(self.may_read)(&association.mount_path, &association.secret_name) {
            return Ok(unknown());
        }
        Ok(holder(&self.store, &self.destination, claim).await.unwrap_or_else(|_| unknown()))
    }
}

fn by_secret((place, draft): (usize, &Draft)) -> (String, usize) {
    (draft.foreseen.key.secret.to_string(), place)
}

/// Gives names that become free to who waits for them; whether there was one.
fn hand_on(
    drafts: &mut [Draft],
    places: &HashMap<String, usize>,
    holders: &mut HashMap<String, Claim>,
) -> bool {
    let mut free = Vec::new();
    for (place, draft) in drafts.iter().enumerate() {
        for (name, claim) in &draft.blocked {
            let holder = places.get(&claim.secret).and_then(|place| drafts.get(*place));
            let is_free = holder.is_some_and(|holder| holder.frees(name));
            if is_free && !holders.contains_key(name) {
                let secret = draft.foreseen.key.secret.to_string();
                holders.insert(name.clone(), Claim { secret, sub_key: None });
                free.push((place, name.clone()));
            }
        }
    }
    let any = !free.is_empty();
    for (place, name) in free {
        if let Some(draft) = drafts.get_mut(place) {
            draft.blocked.remove(&name);
        }
    }
    any
}
