//! What is to be done, decided purely: no clock, no network, no storage. What the plan says is what
//! runs, whether a change, a retry or the reconciler asked.

use crate::destination::{LedgerEntry, Remote};
use std::collections::BTreeMap;

/// An object as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Its name at the destination.
    pub name: String,
    /// Version of the secret.
    pub source_version: u64,
    /// The `set` it belongs to; a new one delivers again.
    pub generation: u64,
    /// Keyed digest of the bytes.
    pub content_mark: String,
    /// Tags, the ownership mark included.
    pub tags: BTreeMap<String, String>,
}

/// What a survey of the names in question found; `None` where there was none.
pub type Found<'a> = Option<&'a BTreeMap<String, Remote>>;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Deliver the value under this name.
    Put {
        /// The name.
        name: String,
        /// Why.
        why: Reason,
    },
    /// Remove what was delivered under this name.
    Delete {
        /// The name.
        name: String,
    },
}

/// Why something is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It was never delivered, or that was never confirmed.
    New,
    /// The content differs from what was delivered.
    Content,
    /// Somebody asked for it again.
    Asked,
    /// The destination lost it, or holds something else.
    Drift,
    /// Only the tags differ.
    Tags,
}

impl Reason {
    /// The word for it in log lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::New => "new",
            Reason::Content => "content",
            Reason::Asked => "asked",
            Reason::Drift => "drift",
            Reason::Tags => "tags",
        }
    }
}

/// The steps that bring a destination to what is desired: deliveries first, so that no reader finds
/// nothing while a name changes; then removals.
pub fn plan(desired: &[Desired], ledger: &[LedgerEntry], found: Found<'_>) -> Vec<Step> {
    let puts = desired.iter().filter_map(|object| {
        let entry = ledger.iter().find(|entry| entry.name == object.name);
        let why = reason(object, entry, found)?;
        Some(Step::Put { name: object.name.clone(), why })
    });
    let deletes = ledger
        .iter()
        .filter(|entry| !desired.iter().any(|object| object.name == entry.name))
        .map(|entry| Step::Delete { name: entry.name.clone() });
    puts.chain(deletes).collect()
}

fn reason(object: &Desired, entry: Option<&LedgerEntry>, found: Found<'_>) -> Option<Reason> {
    let Some(delivered) = entry.and_then(|entry| entry.delivered.as_ref()) else {
        return Some(Reason::New);
    };
    if delivered.content_mark != object.content_mark
        || delivered.source_version != object.source_version
    {
        return Some(Reason::Content);
    }
    if delivered.generation != object.generation {
        return Some(Reason::Asked);
    }
    if found.is_some_and(|found| differs(found.get(&object.name), &delivered.version_id)) {
        return Some(Reason::Drift);
    }
    // Last: for tags alone the value is not written.
    (delivered.tags != object.tags).then_some(Reason::Tags)
}

/// Whether the destination no longer holds the version we delivered.
pub(crate) fn differs(remote: Option<&Remote>, version_id: &str) -> bool {
    match remote {
        None => true,
        Some(remote) => {
            remote.deleting
                || remote.version_id.as_deref().is_some_and(|current| current != version_id)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::Delivered;
    use proptest::prelude::*;

    fn desired() -> impl Strategy<Value = Vec<Desired>> {
        let object = (0..4u8, 1..3u64, 1..3u64, 0..2u8, 0..2u8);
        proptest::collection::btree_map(0..4u8, object, 0..4).prop_map(|objects| {
            let object =
                |(name, (_, version, generation, mark, tag)): (u8, (u8, u64, u64, u8, u8))| {
                    Desired {
                        name: format!("name-{name}"),
                        source_version: version,
                        generation,
                        content_mark: format!("mark-{mark}"),
                        tags: BTreeMap::from([("tag".to_owned(), tag.to_string())]),
                    }
                };
            objects.into_iter().map(object).collect()
        })
    }

    /// Acting on a step as a destination and a ledger would.
    fn act(step: &Step, desired: &[Desired], ledger: &mut Vec<LedgerEntry>, version: u64) {
        match step {
            Step::Put { name, .. } => {
                let object = desired.iter().find(|object| object.name == *name).unwrap();
                ledger.retain(|entry| entry.name != *name);
                ledger.push(LedgerEntry {
                    name: name.clone(),
                    delivered: Some(Delivered {
                        version_id: version.to_string(),
                        source_version: object.source_version,
                        generation: object.generation,
                        content_mark: object.content_mark.clone(),
                        tags: object.tags.clone(),
                        placement: String::new(),
                        at: 0,
                    }),
                });
            }
            Step::Delete { name } => ledger.retain(|entry| entry.name != *name),
        }
    }

    fn remote(ledger: &[LedgerEntry]) -> BTreeMap<String, Remote> {
        let remote = |entry: &LedgerEntry| {
            let version_id = entry.delivered.as_ref().map(|delivered| delivered.version_id.clone());
            (entry.name.clone(), Remote { version_id, tags: None, deleting: false })
        };
        ledger.iter().map(remote).collect()
    }

    #[test]
    fn a_new_name_is_delivered_before_the_old_one_goes() {
        let mut desired = vec![Desired {
            name: "old".to_owned(),
            source_version: 1,
            generation: 1,
            content_mark: "mark".to_owned(),
            tags: BTreeMap::new(),
        }];
        let mut ledger = Vec::new();
        act(&plan(&desired, &ledger, None)[0], &desired, &mut ledger, 1);
        desired[0].name = "new".to_owned();
        let put = Step::Put { name: "new".to_owned(), why: Reason::New };
        assert_eq!(plan(&desired, &ledger, None), [put, Step::Delete { name: "old".to_owned() }]);
    }

    #[test]
    fn a_drifted_value_is_written_also_when_the_tags_changed() {
        let mut desired = vec![Desired {
            name: "name".to_owned(),
            source_version: 1,
            generation: 1,
            content_mark: "mark".to_owned(),
            tags: BTreeMap::new(),
        }];
        let mut ledger = Vec::new();
        act(&plan(&desired, &ledger, None)[0], &desired, &mut ledger, 1);
        desired[0].tags.insert("team".to_owned(), "blue".to_owned());
        let put = |why| [Step::Put { name: "name".to_owned(), why }];
        assert_eq!(plan(&desired, &ledger, Some(&remote(&ledger))), put(Reason::Tags));
        let mut found = remote(&ledger);
        found.get_mut("name").unwrap().version_id = Some("somebody's".to_owned());
        assert_eq!(plan(&desired, &ledger, Some(&found)), put(Reason::Drift));
    }

    proptest! {
        #[test]
        fn acting_on_a_plan_leaves_nothing_to_plan(first in desired(), second in desired()) {
            let mut ledger = Vec::new();
            for (round, desired) in [first, second].iter().enumerate() {
                for step in plan(desired, &ledger.clone(), None) {
                    act(&step, desired, &mut ledger, round as u64);
                }
                prop_assert_eq!(plan(desired, &ledger, None), vec![]);
                prop_assert_eq!(plan(desired, &ledger, Some(&remote(&ledger))), vec![]);
                prop_assert_eq!(ledger.len(), desired.len());
            }
        }

        #[test]
        fn interrupted_plans_converge(
            first in desired(), second in desired(), stop in 0..4usize
        ) {
            let mut ledger = Vec::new();
            for step in plan(&first, &[], None).iter().take(stop) {
                act(step, &first, &mut ledger, 1);
            }
            for step in plan(&second, &ledger.clone(), None) {
                act(&step, &second, &mut ledger, 2);
            }
            prop_assert_eq!(plan(&second, &ledger, None), vec![]);
        }

        #[test]
        fn only_what_the_ledger_names_is_deleted(first in desired(), second in desired()) {
            let mut ledger = Vec::new();
            for step in plan(&first, &[], None) {
                act(&step, &first, &mut ledger, 1);
            }
            for step in plan(&second, &ledger, None) {
                if let Step::Delete { name } = step {
                    prop_assert!(ledger.iter().any(|entry| entry.name == name));
                    prop_assert!(!second.iter().any(|object| object.name == name));
                }
            }
        }

        #[test]
        fn drift_is_repaired(desired in desired(), lost in 0..4u8) {
            let mut ledger = Vec::new();
            for step in plan(&desired, &[], None) {
                act(&step, &desired, &mut ledger, 1);
            }
            let mut found = remote(&ledger);
            let name = format!("name-{lost}");
            let expected: Vec<Step> = found
                .remove(&name)
                .map(|_| Step::Put { name, why: Reason::Drift })
                .into_iter()
                .collect();
            prop_assert_eq!(plan(&desired, &ledger, Some(&found)), expected);
        }
    }
}
