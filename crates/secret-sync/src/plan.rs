//! What is to be done, decided purely: no clock, no network, no storage. What the plan says is what
//! runs, whether a change, a retry, the reconciler or a dry run asked.

use crate::{
    association::{DriftKind, Object, object_bytes},
    destination::{Delivered, Owner, Ownership, Remote},
    registry::Drift,
    tags::OwnerMark,
};
use std::collections::BTreeMap;

/// An object as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Desired {
    /// Its name at the destination.
    pub(crate) name: String,
    /// The key of the secret, where each key is an object.
    pub(crate) sub_key: Option<String>,
    /// Version of the secret.
    pub(crate) source_version: u64,
    /// The `set` it belongs to; a new one delivers again.
    pub(crate) generation: u64,
    /// Keyed digest of the bytes.
    pub(crate) content_mark: String,
    /// Tags, the ownership marks included.
    pub(crate) tags: BTreeMap<String, String>,
    /// How it is kept there; see [`crate::destination::Destination::placement`].
    pub(crate) placement: String,
    /// The mark by which it is known to be ours.
    pub(crate) mark: OwnerMark,
}

impl Desired {
    /// About what it takes of the entry of its association.
    pub(crate) fn bytes(&self) -> usize {
        object_bytes(&self.name, &self.sub_key, self.tags.iter())
    }
}

/// What a survey of the names in question found; `None` where there was none.
pub(crate) type Found<'a> = Option<&'a BTreeMap<String, Remote>>;

/// What decides beside the objects themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// What is done about changes of others.
    pub(crate) drift: Drift,
    /// What is done with objects that are not known to be ours.
    pub(crate) ownership: Ownership,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Deliver under this name.
    Put {
        /// The name.
        name: String,
        /// Why.
        why: Reason,
    },
    /// Leave alone what is under this name: it belongs to somebody else.
    Refuse {
        /// The name.
        name: String,
        /// Whose it is.
        owner: Owner,
    },
    /// Remove what was delivered under this name.
    Delete {
        /// The name.
        name: String,
    },
}

/// What is to be done, and what others changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Deliveries first, so that no reader finds nothing while a name changes; then removals.
    pub(crate) steps: Vec<Step>,
    /// Changes of others, by name, whether or not a step undoes them.
    pub(crate) drift: BTreeMap<String, DriftKind>,
}

/// Why something is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// It was never delivered, or that was never confirmed.
    New,
    /// The content differs from what was delivered.
    Content,
    /// Somebody asked for it again.
    Asked,
    /// It was delivered by the server that this one has taken over from.
    TakenOver,
    /// The destination lost it, or holds something else.
    Drift(DriftKind),
    /// Only the tags differ.
    Tags,
    /// Only the placement, or that and the tags.
    Placement,
}

impl Reason {
    /// The word for it in log lines and plans.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::New => "new",
            Reason::Content => "content",
            Reason::Asked => "asked",
            Reason::TakenOver => "taken_over",
            Reason::Drift(_) => "drift",
            Reason::Tags => "tags",
            Reason::Placement => "placement",
        }
    }

    /// Whether it waits where the destination allows no more versions of an object within a day: a
    /// newer value may come meanwhile. What somebody asked for is written all the same.
    pub(crate) fn may_wait(self) -> bool {
        matches!(self, Reason::Content | Reason::Drift(_)) && !self.is_aspect()
    }

    /// Whether the value is there already.
    pub(crate) fn is_aspect(self) -> bool {
        match self {
            Reason::Tags | Reason::Placement | Reason::Drift(DriftKind::Tags) => true,
            Reason::New
            | Reason::Content
            | Reason::Asked
            | Reason::TakenOver
            | Reason::Drift(_) => false,
        }
    }
}

/// The steps that bring a destination to what is desired. `repairable` tells of an object whether
/// changes of others may still be undone.
pub(crate) fn plan(
    desired: &[Desired],
    ledger: &[Object],
    found: Found<'_>,
    rules: Rules,
    repairable: impl Fn(&Object) -> bool,
) -> Plan {
    let known: BTreeMap<&str, &Object> =
        ledger.iter().map(|object| (object.name.as_str(), object)).collect();
    let mut plan = Plan::default();
    let mut wanted = std::collections::BTreeSet::new();
    for object in desired {
        let name = object.name.as_str();
        if !wanted.insert(name) {
            continue;
        }
        let entry = known.get(name).copied();
        let delivered = entry.and_then(|entry| entry.delivered.as_ref());
        let remote = found.map(|found| found.get(name));
        // Where a call of ours may have landed, a difference is not of others.
        let certain = entry.is_some_and(|entry| entry.doubt.is_none());
        let drift = delivered
            .zip(remote)
            .filter(|_| certain)
            .and_then(|(delivered, remote)| drift(remote, delivered, &object.mark));
        plan.drift.extend(drift.map(|kind| (name.to_owned(), kind)));
        let may_repair = rules.drift == Drift::Repair && entry.is_none_or(&repairable);
        let Some(why) = reason(object, entry, drift.filter(|_| may_repair)) else { continue };
        let owner = remote.flatten().map(|remote| remote.owner(&object.mark));
        let name = name.to_owned();
        let epoch = &object.mark.epoch;
        let known = entry.is_some_and(|entry| entry.proof(epoch, remote.flatten()).is_some());
        let refused = |owner: &Owner| is_refused(*owner, rules.ownership, why, known);
        plan.steps.push(match owner.filter(refused) {
            Some(owner) => Step::Refuse { name, owner },
            None => Step::Put { name, why },
        });
    }
    let leaving = ledger.iter().filter(|object| !wanted.contains(object.name.as_str()));
    plan.steps.extend(leaving.map(|object| Step::Delete { name: object.name.clone() }));
    plan
}

fn reason(object: &Desired, entry: Option<&Object>, drift: Option<DriftKind>) -> Option<Reason> {
    let delivered = entry.and_then(|entry| Some((entry, entry.delivered.as_ref()?)));
    let Some((entry, delivered)) = delivered else { return Some(Reason::New) };
    // Under a name that changed hands within the secret, what is there is of the key before.
    if entry.doubt.is_some()
        || entry.sub_key != object.sub_key
        || delivered.content_mark != object.content_mark
        || delivered.source_version != object.source_version
    {
        return Some(Reason::Content);
    }
    if delivered.generation != object.generation {
        return Some(Reason::Asked);
    }
    if delivered.is_taken_over(&object.mark.epoch) {
        return Some(Reason::TakenOver);
    }
    if let Some(kind) = drift {
        return Some(Reason::Drift(kind));
    }
    // Last: for these alone the value is not written.
    if delivered.placement != object.placement {
        return Some(Reason::Placement);
    }
    (delivered.tags != object.tags).then_some(Reason::Tags)
}

/// Whether what is there is left alone. `known` says that our ledger has it as ours. A twin is never
/// overwritten where it is seen: two servers with the same keys would fight. A stranger's object is
/// not fought for either, but where the last write wins a new value of ours goes over it.
fn is_refused(owner: Owner, ownership: Ownership, why: Reason, known: bool) -> bool {
    match (owner, ownership) {
        (Owner::Us, _)
        | (Owner::Vault | Owner::Nobody, Ownership::Overwrite | Ownership::Adopt) => false,
        (Owner::Twin | Owner::Sibling, _)
        | (Owner::Other, Ownership::Adopt | Ownership::Refuse) => true,
        (Owner::Other, Ownership::Overwrite) => matches!(why, Reason::Drift(_)),
        // An object of ours from which somebody took the mark is ours by the ledger.
        (Owner::Vault | Owner::Nobody, Ownership::Refuse) => !known,
    }
}

/// How what the destination shows differs from what we left there.
pub(crate) fn drift(
    remote: Option<&Remote>,
    delivered: &Delivered,
    mark: &OwnerMark,
) -> Option<DriftKind> {
    let Some(remote) = remote else { return Some(DriftKind::Missing) };
    if remote.deleting {
        return Some(DriftKind::Deleting);
    }
    if matches!(remote.owner(mark), Owner::Other | Owner::Twin | Owner::Sibling) {
        return Some(DriftKind::Taken);
    }
    if remote.version_id.as_deref().is_some_and(|current| current != delivered.version_id) {
        return Some(DriftKind::Changed);
    }
    let tags = remote.tags.as_ref()?;
    let kept = delivered.tags.iter().all(|(key, value)| tags.get(key) == Some(value));
    (!kept).then_some(DriftKind::Tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        association::{Doubt, State},
        tags::MARK_TAG,
    };
    use proptest::prelude::*;

    fn desired() -> impl Strategy<Value = Vec<Desired>> {
        let object = (0..4u8, 1..3u64, 1..3u64, 0..2u8, 0..2u8);
        proptest::collection::btree_map(0..4u8, object, 0..4).prop_map(|objects| {
            let object =
                |(name, (_, version, generation, mark, tag)): (u8, (u8, u64, u64, u8, u8))| {
                    Desired {
                        source_version: version,
                        generation,
                        content_mark: format!("mark-{mark}"),
                        tags: BTreeMap::from([("tag".to_owned(), tag.to_string())]),
                        ..simple(&format!("name-{name}"))
                    }
                };
            objects.into_iter().map(object).collect()
        })
    }

    fn simple(name: &str) -> Desired {
        Desired {
            name: name.to_owned(),
            sub_key: None,
            source_version: 1,
            generation: 1,
            content_mark: "mark".to_owned(),
            tags: BTreeMap::new(),
            placement: String::new(),
            mark: OwnerMark::parse("e1.code").unwrap(),
        }
    }

    fn object(name: &str, delivered: Option<Delivered>) -> Object {
        Object {
            sub_key: None,
            name: name.to_owned(),
            begun: true,
            delivered,
            doubt: None,
            leaving: false,
            state: State::default(),
            drift: None,
            writes: Default::default(),
            waits_until: None,
            repairs: Vec::new(),
        }
    }

    fn steps(desired: &[Desired], ledger: &[Object], found: Found<'_>) -> Vec<Step> {
        plan(desired, ledger, found, Rules::default(), |_| true).steps
    }

    /// Acting on a step as a destination and a ledger would.
    fn act(step: &Step, desired: &[Desired], ledger: &mut Vec<Object>, version: u64) {
        match step {
            Step::Put { name, .. } => {
                let object = desired.iter().find(|object| object.name == *name).unwrap();
                ledger.retain(|entry| entry.name != *name);
                let delivered = Delivered {
                    version_id: version.to_string(),
                    identity: None,
                    source_version: object.source_version,
                    generation: object.generation,
                    content_mark: object.content_mark.clone(),
                    tags: object.tags.clone(),
                    placement: String::new(),
                    at: 0,
                };
                ledger.push(self::object(name, Some(delivered)));
            }
            Step::Refuse { .. } => {}
            Step::Delete { name } => ledger.retain(|entry| entry.name != *name),
        }
    }

    fn remote(ledger: &[Object]) -> BTreeMap<String, Remote> {
        let remote = |entry: &Object| {
            let version_id = entry.delivered.as_ref().map(|delivered| delivered.version_id.clone());
            (entry.name.clone(), Remote { version_id, ..Remote::default() })
        };
        ledger.iter().map(remote).collect()
    }

    #[test]
    fn a_new_name_is_delivered_before_the_old_one_goes() {
        let mut desired = vec![simple("old")];
        let mut ledger = Vec::new();
        act(&steps(&desired, &ledger, None)[0], &desired, &mut ledger, 1);
        desired[0].name = "new".to_owned();
        let put = Step::Put { name: "new".to_owned(), why: Reason::New };
        assert_eq!(steps(&desired, &ledger, None), [put, Step::Delete { name: "old".to_owned() }]);
    }

    #[test]
    fn what_is_uncertain_or_of_another_key_is_written_again() {
        let desired = vec![simple("name")];
        let mut ledger = Vec::new();
        act(&steps(&desired, &ledger, None)[0], &desired, &mut ledger, 1);
        assert_eq!(steps(&desired, &ledger, None), []);
        let put = [Step::Put { name: "name".to_owned(), why: Reason::Content }];
        let other = vec![Desired { sub_key: Some("key".to_owned()), ..simple("name") }];
        assert_eq!(steps(&other, &ledger, None), put);
        ledger[0].doubt = Some(Doubt { written: 1, ..Doubt::default() });
        // What is there instead may be ours: nobody is to be blamed for it.
        let found = BTreeMap::from([("name".to_owned(), Remote::default())]);
        let plan = plan(&desired, &ledger, Some(&found), Rules::default(), |_| true);
        assert_eq!((plan.steps.as_slice(), plan.drift.len()), (put.as_slice(), 0));
    }

    #[test]
    fn a_drifted_value_is_written_also_when_the_tags_changed() {
        let mut desired = vec![simple("name")];
        let mut ledger = Vec::new();
        act(&steps(&desired, &ledger, None)[0], &desired, &mut ledger, 1);
        desired[0].tags.insert("team".to_owned(), "blue".to_owned());
        let put = |why| [Step::Put { name: "name".to_owned(), why }];
        assert_eq!(steps(&desired, &ledger, Some(&remote(&ledger))), put(Reason::Tags));
        let mut found = remote(&ledger);
        found.get_mut("name").unwrap().version_id = Some("somebody's".to_owned());
        assert_eq!(steps(&desired, &ledger, Some(&found)), put(Reason::Drift(DriftKind::Changed)));
    }

    #[test]
    fn what_belongs_to_others_is_left_alone_as_the_policy_says() {
        let desired = [simple("name")];
        let remote = |tags: &[(&str, &str)]| {
            let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            let remote = Remote { tags: Some(tags.collect()), ..Remote::default() };
            BTreeMap::from([("name".to_owned(), remote)])
        };
        let decide = |ownership, found: &BTreeMap<String, Remote>| {
            let rules = Rules { ownership, ..Rules::default() };
            let steps = plan(&desired, &[], Some(found), rules, |_| true).steps;
            matches!(steps.as_slice(), [Step::Put { .. }])
        };
        use Ownership::{Adopt, Overwrite, Refuse};
        for (tags, overwrite, adopt, refuse) in [
            (vec![], true, true, false),
            (vec![("hashicorp:vault", "")], true, true, false),
            (vec![(MARK_TAG, "e1.code")], true, true, true),
            (vec![(MARK_TAG, "e9.other")], true, false, false),
            (vec![(MARK_TAG, "e9.code")], false, false, false),
        ] {
            let found = remote(&tags);
            assert_eq!(decide(Overwrite, &found), overwrite, "{tags:?}");
            assert_eq!(decide(Adopt, &found), adopt, "{tags:?}");
            assert_eq!(decide(Refuse, &found), refuse, "{tags:?}");
        }
    }

    #[test]
    fn what_replaced_a_delivery_is_not_ours_by_the_ledger() {
        let desired = [simple("name")];
        let mut ledger = Vec::new();
        act(&steps(&desired, &[], None)[0], &desired, &mut ledger, 1);
        let rules = Rules { ownership: Ownership::Refuse, ..Rules::default() };
        let decide = |ledger: &[Object], identity: &str| {
            let remote = Remote {
                version_id: Some("somebody's".to_owned()),
                identity: Some(identity.to_owned()),
                tags: Some(BTreeMap::new()),
                ..Remote::default()
            };
            let found = BTreeMap::from([("name".to_owned(), remote)]);
            let steps = plan(&desired, ledger, Some(&found), rules, |_| true).steps;
            matches!(steps.as_slice(), [Step::Put { .. }])
        };
        assert!(decide(&ledger, "2"), "nothing is known of identities");
        ledger[0].delivered.as_mut().unwrap().identity = Some("1".to_owned());
        assert!(decide(&ledger, "1"), "others changed it and took the mark");
        assert!(!decide(&ledger, "2"));
    }

    #[test]
    fn drift_is_told_and_not_undone_where_it_is_only_reported() {
        let desired = [simple("name")];
        let mut ledger = Vec::new();
        act(&steps(&desired, &[], None)[0], &desired, &mut ledger, 1);
        let rules = Rules { drift: Drift::Report, ..Rules::default() };
        let found = BTreeMap::new();
        let told = plan(&desired, &ledger, Some(&found), rules, |_| true);
        assert_eq!(told.steps, []);
        assert_eq!(told.drift, BTreeMap::from([("name".to_owned(), DriftKind::Missing)]));
        let stopped = plan(&desired, &ledger, Some(&found), Rules::default(), |_| false);
        assert_eq!(stopped, told);
    }

    proptest! {
        #[test]
        fn acting_on_a_plan_leaves_nothing_to_plan(first in desired(), second in desired()) {
            let mut ledger = Vec::new();
            for (round, desired) in [first, second].iter().enumerate() {
                for step in steps(desired, &ledger.clone(), None) {
                    act(&step, desired, &mut ledger, round as u64);
                }
                prop_assert_eq!(steps(desired, &ledger, None), vec![]);
                prop_assert_eq!(steps(desired, &ledger, Some(&remote(&ledger))), vec![]);
                prop_assert_eq!(ledger.len(), desired.len());
            }
        }

        #[test]
        fn interrupted_plans_converge(
            first in desired(), second in desired(), stop in 0..4usize
        ) {
            let mut ledger = Vec::new();
            for step in steps(&first, &[], None).iter().take(stop) {
                act(step, &first, &mut ledger, 1);
            }
            for step in steps(&second, &ledger.clone(), None) {
                act(&step, &second, &mut ledger, 2);
            }
            prop_assert_eq!(steps(&second, &ledger, None), vec![]);
        }

        #[test]
        fn only_what_the_ledger_names_is_deleted(first in desired(), second in desired()) {
            let mut ledger = Vec::new();
            for step in steps(&first, &[], None) {
                act(&step, &first, &mut ledger, 1);
            }
            for step in steps(&second, &ledger, None) {
                if let Step::Delete { name } = step {
                    prop_assert!(ledger.iter().any(|entry| entry.name == name));
                    prop_assert!(!second.iter().any(|object| object.name == name));
                }
            }
        }

        #[test]
        fn drift_is_repaired(desired in desired(), lost in 0..4u8) {
            let mut ledger = Vec::new();
            for step in steps(&desired, &[], None) {
                act(&step, &desired, &mut ledger, 1);
            }
            let mut found = remote(&ledger);
            let name = format!("name-{lost}");
            let expected: Vec<Step> = found
                .remove(&name)
                .map(|_| Step::Put { name, why: Reason::Drift(DriftKind::Missing) })
                .into_iter()
                .collect();
            prop_assert_eq!(steps(&desired, &ledger, Some(&found)), expected);
        }
    }
}
