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
    pub(super) puts: Vec<Due>,
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
    /// What the destination shows of what changes, by name.
    pub(super) found: BTreeMap<String, Remote>,
}

/// One delivery that is due. What goes with it is seen again when its turn comes: of ten thousand, few are
/// under way at one time.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) name: String,
    /// Which secret of the listing.
    at: usize,
    why: Reason,
}

/// One delivery, with all that is known before its value is read.
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
    by_name: BTreeMap<String, Want<'a>>,
    /// Names of secrets without a live version.
    gone: BTreeSet<String>,
}

/// A secret that is wanted.
#[derive(Clone, Copy)]
struct Want<'a> {
    at: usize,
    revision: &'a Revision,
    /// Whether the destination has shown something under its name.
    is_seen: bool,
}

/// What is decided about a name.
enum Decided {
    Put(Due),
    Remove(Box<Object>),
    Refuse(Owner),
    /// It was changed by others, and stays so.
    Leave,
}

/// A comparison while the destination still shows what it has: what stays as it is, is forgotten at
/// once, so that a run takes the room of what changes.
pub(super) struct Comparing<'a> {
    spec: &'a Spec,
    keys: &'a Keys,
    target: &'a Target,
    listing: &'a Listing,
    wanted: Wanted<'a>,
    /// Names of what is ours at the destination.
    owned: BTreeSet<String>,
    decided: BTreeMap<String, Decided>,
    comparison: Comparison,
}

impl<'a> Comparing<'a> {
    /// Begins with what the source has.
    pub(super) fn new(
        spec: &'a Spec,
        keys: &'a Keys,
        target: &'a Target,
        listing: &'a Listing,
    ) -> Comparing<'a> {
        let mut comparison = Comparison::default();
        let wanted = wanted(spec, target, listing, &mut comparison.failed);
        let (owned, decided) = (BTreeSet::new(), BTreeMap::new());
        Comparing { spec, keys, target, listing, wanted, owned, decided, comparison }
    }

    /// Takes what the destination shows of one object. What it shows last of a name is true.
    pub(super) fn take(&mut self, name: String, remote: Remote) {
        if self.spec.reserved.contains(&name) {
            return;
        }
        let standing = standing(self.spec, self.keys, &name, &remote);
        let is_ours = standing == Standing::Ours;
        match is_ours {
            true => self.owned.insert(name.clone()),
            false => self.owned.remove(&name),
        };
        let decided = match self.wanted.by_name.get_mut(&name) {
            Some(want) => {
                want.is_seen = true;
                let want = *want;
                self.judge(&name, want, Some((&remote, standing)))
            }
            None if is_ours && !remote.deleting => self.judge_unwanted(&name, &remote),
            None => None,
        };
        self.comparison.found.remove(&name);
        self.decided.remove(&name);
        let Some(decided) = decided else { return };
        if matches!(decided, Decided::Put(_) | Decided::Remove(_)) {
            self.comparison.found.insert(name.clone(), remote);
        }
        self.decided.insert(name, decided);
    }

    /// What is to be done, now that the destination has shown everything.
    pub(super) fn finish(mut self) -> Comparison {
        let unseen: Vec<(String, Want<'_>)> = (self.wanted.by_name.iter())
            .filter(|(_, want)| !want.is_seen)
            .map(|(name, want)| (name.clone(), *want))
            .collect();
        for (name, want) in unseen {
            if let Some(decided) = self.judge(&name, want, None) {
                self.decided.insert(name, decided);
            }
        }
        let Comparing { listing, wanted, owned, decided, mut comparison, .. } = self;
        comparison.owned = owned.len();
        let (mut left, mut changing) = (Vec::new(), 0);
        for (name, decided) in decided {
            match decided {
                Decided::Put(due) => {
                    changing += 1;
                    comparison.puts.push(due);
                }
                Decided::Refuse(owner) => {
                    changing += 1;
                    comparison.failed.push(refused(&name, owner));
                }
                Decided::Remove(object) => comparison.removals.push(*object),
                Decided::Leave => left.push(name),
            }
        }
        comparison.unchanged = wanted.by_name.len().saturating_sub(changing) as u64;
        comparison.notes.extend(left_alone(&left));
        comparison.settle_removals(listing, &wanted);
        comparison
    }

    fn rules(&self) -> Rules {
        Rules { drift: self.spec.drift, ownership: self.spec.ownership }
    }

    /// What is to be done for one name that is wanted; nothing where it stays as it is.
    fn judge(
        &self,
        name: &str,
        want: Want<'_>,
        remote: Option<(&Remote, Standing)>,
    ) -> Option<Decided> {
        let placement = self.target.destination().placement();
        let entry = entry(self.spec, self.keys, placement, name, want.revision, remote);
        let shown = remote.map(|(remote, standing)| (name.to_owned(), seen(remote, standing)));
        let (shown, ledger) = (shown.into_iter().collect(), entry.object.clone());
        let desired = std::slice::from_ref(&entry.desired);
        let planned = plan(desired, ledger.as_slice(), Some(&shown), self.rules(), |_| true);
        match planned.steps.into_iter().next() {
            Some(Step::Put { name, why }) => Some(Decided::Put(Due { name, at: want.at, why })),
            Some(Step::Refuse { owner, .. }) => Some(Decided::Refuse(owner)),
            Some(Step::Delete { .. }) => None,
            None => (!planned.drift.is_empty()).then_some(Decided::Leave),
        }
    }

    /// What is to be done for what is ours, and the source does not have.
    fn judge_unwanted(&self, name: &str, remote: &Remote) -> Option<Decided> {
        let object = leaving(name, remote);
        if !removes(self.spec.removals, &object) {
            return None;
        }
        let planned = plan(&[], std::slice::from_ref(&object), None, self.rules(), |_| true);
        let is_step = matches!(planned.steps.as_slice(), [Step::Delete { .. }]);
        is_step.then(|| Decided::Remove(Box::new(object)))
    }
}

impl Comparison {
    /// Names of what changes.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        let puts = self.puts.iter().map(|due| due.name.as_str());
        puts.chain(self.removals.iter().map(|object| object.name.as_str())).collect()
    }

    /// A delivery that is due, whole.
    pub(super) fn put(
        &self,
        spec: &Spec,
        keys: &Keys,
        target: &Target,
        listing: &Listing,
        due: &Due,
    ) -> Option<Put> {
        let Due { name, at, why } = due;
        let revision = &listing.secrets.get(*at)?.revision;
        let there = self.found.get(name);
        let there = there.map(|remote| (remote, standing(spec, keys, name, remote)));
        let placement = target.destination().placement();
        let entry = entry(spec, keys, placement, name, revision, there);
        let adopts = there.is_some_and(|(_, standing)| standing != Standing::Ours);
        Some(Put { at: *at, entry, why: *why, adopts })
    }

    /// What of the removals is really to be done.
    fn settle_removals(&mut self, listing: &Listing, wanted: &Wanted<'_>) {
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

/// Whether something is left to do for what the source has no more.
fn removes(removals: Removals, object: &Object) -> bool {
    let is_orphan = || {
        let delivered = object.delivered.as_ref();
        delivered.is_some_and(|delivered| delivered.tags.contains_key(ORPHAN_TAG))
    };
    match removals {
        Removals::Keep => false,
        Removals::Orphan => !is_orphan(),
        Removals::Schedule { .. } | Removals::Delete => true,
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
        if let Some(holder) = wanted.by_name.get(&name) {
            let holder = listing.secrets.get(holder.at).map(|secret| secret.full_path());
            let holder = holder.unwrap_or_default();
            let message = format!("{path} would have the name {name:?}, which {holder} has");
            fail(&path, Failure::NameTaken, message);
            continue;
        }
        let revision = &secret.revision;
        wanted.by_name.insert(name, Want { at, revision, is_seen: false });
    }
    wanted
}

/// What others changed and nobody undoes is told.
fn left_alone(names: &[String]) -> Option<String> {
    let shown: Vec<&str> = names.iter().take(SHOWN_MAX).map(String::as_str).collect();
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
