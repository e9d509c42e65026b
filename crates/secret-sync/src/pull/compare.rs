//! What is to be done, decided purely out of what the source has and what the destination shows.

use super::{
    keys::Keys,
    ledger::{self, Entry, ORPHAN_TAG, Standing, entry, leaving, standing},
    report::{FailedSecret, SetupFailure, Stage},
    source::{Listing, Revision},
    spec::{Removals, Spec},
    target::Target,
};
use crate::{
    association::Object,
    destination::{Owner, Remote},
    failure::Failure,
    plan::{Reason, Rules, Step, plan},
    work::not_ours,
};
use std::collections::{BTreeMap, BTreeSet};

/// Names in one sentence.
const SHOWN_MAX: usize = 20;

/// What a run is to do.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Deliveries, in the order of their names.
    pub(super) puts: Vec<Put>,
    /// Removals, likewise.
    pub(super) removals: Vec<Object>,
    /// How many secrets stay as they are.
    pub(super) unchanged: u64,
    /// How many secrets at the destination are ours.
    pub(super) owned: usize,
    /// Secrets for which nothing can be done.
    pub(super) failed: Vec<FailedSecret>,
    /// Sentences.
    pub(super) notes: Vec<String>,
}

/// One delivery.
#[derive(Debug)]
pub(super) struct Put {
    /// Which secret of the listing.
    pub(super) at: usize,
    pub(super) entry: Entry,
    pub(super) why: Reason,
    /// Whether others made what is there.
    pub(super) adopts: bool,
}

/// Names that are wanted, each with its secret.
struct Wanted<'a> {
    by_name: BTreeMap<String, (usize, &'a Revision)>,
    /// Names of secrets without a live version.
    gone: BTreeSet<String>,
}

/// What brings the destination to what the source has.
pub(super) fn compare(
    spec: &Spec,
    keys: &Keys,
    target: &Target,
    listing: &Listing,
    found: &BTreeMap<String, Remote>,
) -> Comparison {
    let mut comparison = Comparison::default();
    let wanted = wanted(spec, target, listing, &mut comparison.failed);
    let standings: BTreeMap<&str, Standing> = found
        .iter()
        .filter(|(name, _)| !spec.reserved.contains(*name))
        .map(|(name, remote)| (name.as_str(), standing(spec, keys, name, remote)))
        .collect();
    comparison.owned = standings.values().filter(|it| **it == Standing::Ours).count();

    let placement = target.destination().placement();
    let rules = Rules { drift: spec.drift, ownership: spec.ownership };
    let mut left = Vec::new();
    // One name after another, though all could be planned at once: what stays as it is, is forgotten.
    for (name, (at, revision)) in &wanted.by_name {
        let standing = standings.get(name.as_str()).copied();
        let remote = found.get(name).zip(standing);
        let entry = entry(spec, keys, placement, name, revision, remote);
        let shown = remote.map(|(remote, standing)| (name.clone(), seen(remote, standing)));
        let (shown, ledger) = (shown.into_iter().collect(), entry.object.clone());
        let planned = plan(
            std::slice::from_ref(&entry.desired),
            ledger.as_slice(),
            Some(&shown),
            rules,
            |_| true,
        );
        if planned.steps.is_empty() && !planned.drift.is_empty() {
            left.push(name.as_str());
        }
        match planned.steps.into_iter().next() {
            Some(Step::Put { why, .. }) => {
                let adopts = standing.is_some_and(|standing| standing != Standing::Ours);
                comparison.puts.push(Put { at: *at, entry, why, adopts });
            }
            Some(Step::Refuse { name, owner }) => comparison.failed.push(refused(&name, owner)),
            Some(Step::Delete { .. }) | None => comparison.unchanged += 1,
        }
    }
    for (name, standing) in &standings {
        let Some(remote) = found.get(*name) else { continue };
        let is_ours = *standing == Standing::Ours && !remote.deleting;
        if is_ours && !wanted.by_name.contains_key(*name) {
            let object = leaving(name, remote);
            let planned = plan(&[], std::slice::from_ref(&object), None, rules, |_| true);
            if matches!(planned.steps.as_slice(), [Step::Delete { .. }]) {
                comparison.removals.push(object);
            }
        }
    }
    comparison.notes.extend(left_alone(&left));
    comparison.settle_removals(spec, listing, &wanted);
    comparison
}

impl Comparison {
    /// Names of what changes.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        let puts = self.puts.iter().map(|put| put.entry.desired.name.as_str());
        puts.chain(self.removals.iter().map(|object| object.name.as_str())).collect()
    }

    /// What of the removals is really to be done.
    fn settle_removals(&mut self, spec: &Spec, listing: &Listing, wanted: &Wanted<'_>) {
        let is_orphan = |object: &Object| {
            let delivered = object.delivered.as_ref();
            delivered.is_some_and(|delivered| delivered.tags.contains_key(ORPHAN_TAG))
        };
        match spec.removals {
            Removals::Keep => self.removals.clear(),
            Removals::Orphan => self.removals.retain(|object| !is_orphan(object)),
            Removals::Schedule { .. } | Removals::Delete => {}
        }
        // What could not be looked into may hold what seems to be gone. What is known to have no live
        // version is gone all the same.
        if !listing.failed.is_empty() {
            let before = self.removals.len();
            self.removals.retain(|object| wanted.gone.contains(&object.name));
            let kept = before - self.removals.len();
            if kept > 0 {
                self.notes.push(format!(
                    "{kept} secrets that the source does not show are left alone, because parts of \
                     it could not be looked into"
                ));
            }
        }
    }

    /// Stops a run that would remove more than it may.
    pub(super) fn guard(&self, spec: &Spec, listing: &Listing) -> Result<(), SetupFailure> {
        let removed = self.removals.len();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count is a small positive number"
        )]
        let share = (self.owned as f64 * spec.deletion_share_max).floor() as usize;
        // Of a few, one may go; where none may, none.
        let allowed = if spec.deletion_share_max > 0.0 { share.max(1) } else { 0 };
        // A source that has nothing at all is more likely broken than empty.
        let is_empty = listing.secrets.is_empty() && spec.deletion_share_max < 1.0;
        if removed == 0 || (removed <= allowed && !is_empty) {
            return Ok(());
        }
        Err(SetupFailure {
            stage: Stage::Guard,
            failure: Failure::Invalid,
            message: format!(
                "{removed} of {} secrets would be removed, at most {:.0} percent may be: nothing was \
                 changed; look at the source, or raise deletion_share_max for one run",
                self.owned,
                spec.deletion_share_max * 100.0
            ),
        })
    }
}

/// The remote as the plan shall judge it: what was ours under an open mark is nobody else's.
fn seen(remote: &Remote, standing: Standing) -> Remote {
    let mut remote = remote.clone();
    if standing == Standing::Former
        && let Some(tags) = &mut remote.tags
    {
        tags.remove(crate::tags::MARK_TAG);
    }
    remote
}

fn wanted<'a>(
    spec: &Spec,
    target: &Target,
    listing: &'a Listing,
    failed: &mut Vec<FailedSecret>,
) -> Wanted<'a> {
    let mut wanted = Wanted { by_name: BTreeMap::new(), gone: BTreeSet::new() };
    let mut fail = |name: &str, failure, message: String| {
        failed.push(FailedSecret { name: name.to_owned(), failure, message });
    };
    let mut order: Vec<usize> = (0..listing.secrets.len()).collect();
    order.sort_by_key(|at| listing.secrets.get(*at).map(|secret| (&secret.mount, &secret.path)));
    for at in order {
        let Some(secret) = listing.secrets.get(at) else { continue };
        let path = secret.full_path();
        let name = match spec.name_of(secret, target) {
            Ok(name) => name,
            Err(message) => {
                fail(&path, Failure::Invalid, message);
                continue;
            }
        };
        if spec.reserved.contains(&name) {
            let message = "the name is reserved for the connection secret, which is never written";
            fail(&name, Failure::NameTaken, message.to_owned());
            continue;
        }
        if secret.revision == Revision::Gone {
            wanted.gone.insert(name);
            continue;
        }
        if let Some((holder, _)) = wanted.by_name.get(&name) {
            let holder = listing.secrets.get(*holder).map(|secret| secret.full_path());
            let holder = holder.unwrap_or_default();
            let message = format!("{path} would have the name {name:?}, which {holder} has");
            fail(&path, Failure::NameTaken, message);
            continue;
        }
        wanted.by_name.insert(name, (at, &secret.revision));
    }
    wanted
}

/// What others changed and nobody undoes is told.
fn left_alone(names: &[&str]) -> Option<String> {
    let shown: Vec<&str> = names.iter().take(SHOWN_MAX).copied().collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    (!names.is_empty()).then(|| {
        format!(
            "{} secrets were changed by others and stay so, as drift = \"report\" asks: {}{more}",
            names.len(),
            shown.join(", ")
        )
    })
}

fn refused(name: &str, owner: Owner) -> FailedSecret {
    let error = not_ours(name, owner);
    FailedSecret {
        name: name.to_owned(),
        failure: error.failure,
        message: format!(
            "{}: it is left alone; remove it there, choose other names, or take it over with \
             ownership = \"adopt\" or \"overwrite\"",
            error.message
        ),
    }
}

impl Put {
    /// Whether the value that is there may be the newest one, so that a look at it can spare writing.
    pub(super) fn may_be_equal(&self) -> bool {
        self.why == Reason::Content && !self.adopts && self.entry.is_recorded
    }

    /// The digest of the value that is there.
    pub(super) fn digest_there(&self) -> Option<&String> {
        let delivered = self.entry.object.as_ref()?.delivered.as_ref()?;
        delivered.tags.get(ledger::CONTENT_TAG)
    }
}
