//! A look at the destination: in pages where there is much to see, name by name where there is little
//! or where a page shows something odd.

use super::DryRun;
use crate::{
    destination::{Names, Remote, Survey},
    failure::Error,
    plan::drift,
    work::Foreseen,
};
use futures_util::{StreamExt, future::BoxFuture, stream};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::{Instant, timeout_at};

/// Names that are looked at one by one rather than found in a list.
const FEW: usize = 100;
/// Names that one plan looks at one by one.
const LOOKS_MAX: usize = 2_000;
/// Pages of a list that one plan reads: of a hundred objects each.
const PAGES_MAX: usize = 1_000;
/// Names of one look, and looks that run at once.
const NAMES_A_LOOK: usize = 10;
const LOOKS_RUNNING_MAX: usize = 8;

/// Names, and what the destination shows of them.
type Looked<'a> = (&'a [String], Result<Survey, Error>);

/// How far the destination was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything that matters was seen.
    #[default]
    Full,
    /// There was too much.
    Partial,
    /// A permission is missing.
    NotPermitted(String),
    /// It could not be asked.
    Failed(String),
}

/// What the destination holds of the names in question.
#[derive(Default)]
pub(super) struct Look {
    pub(super) found: BTreeMap<String, Remote>,
    /// Names of which it is known whether they are there.
    pub(super) known: BTreeSet<String>,
    pub(super) extent: Extent,
}

impl Look {
    /// What was found of these names; `None` unless each was looked at.
    pub(super) fn of<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Option<BTreeMap<String, Remote>> {
        let mut found = BTreeMap::new();
        for name in names {
            if !self.known.contains(name) {
                return None;
            }
            let remote = self.found.get(name).cloned();
            found.extend(remote.map(|remote| (name.to_owned(), remote)));
        }
        Some(found)
    }

    fn failed(&mut self, error: Error) {
        self.extent = match error.missing_permission {
            Some(permission) => Extent::NotPermitted(permission),
            None => Extent::Failed(error.message),
        };
    }
}

impl DryRun<'_> {
    pub(super) async fn look(&self, foreseen: &[Foreseen], deadline: Instant) -> Look {
        let mut look = Look::default();
        let mut left: BTreeSet<&str> = BTreeSet::new();
        let mut delivered = 0;
        for one in foreseen {
            let begun = one.association.objects.iter().filter(|object| object.begun);
            left.extend(begun.map(|object| object.name.as_str()));
            left.extend(one.objects.iter().map(|(desired, _)| desired.name.as_str()));
            delivered += one.association.objects.iter().filter(|o| o.delivered.is_some()).count();
        }
        if delivered > FEW {
            let listed = self.list(&left, deadline, &mut look.extent).await;
            for name in self.settled_by(foreseen, &listed) {
                left.remove(name.as_str());
                look.found.extend(listed.get(&name).map(|remote| (name.clone(), remote.clone())));
                look.known.insert(name);
            }
        }
        if left.len() > LOOKS_MAX {
            look.extent = Extent::Partial;
        }
        let names: Vec<String> = left.into_iter().take(LOOKS_MAX).map(str::to_owned).collect();
        self.look_at(&names, deadline, &mut look).await;
        look
    }

    /// What carries our mark, of the names in question.
    async fn list(
        &self,
        names: &BTreeSet<&str>,
        deadline: Instant,
        extent: &mut Extent,
    ) -> BTreeMap<String, Remote> {
        let mut listed = BTreeMap::new();
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let page = self.configured.destination.survey(&Names::Ours, after);
            // A destination that rests is not waited for longer than the plan may take.
            let Ok(page) = timeout_at(deadline, page).await else { break };
            match page {
                Ok(page) => {
                    let ours = page.objects.into_iter();
                    listed.extend(ours.filter(|(name, _)| names.contains(name.as_str())));
                    after = page.next;
                }
                // What is not found in the list is looked at by name, where that is permitted.
                Err(_) => return listed,
            }
            if after.is_none() {
                return listed;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        *extent = Extent::Partial;
        listed
    }

    /// Names that the list shows as we left them: what differs is looked at, since a list lags.
    fn settled_by(
        &self,
        foreseen: &[Foreseen],
        listed: &BTreeMap<String, Remote>,
    ) -> BTreeSet<String> {
        let mut settled = BTreeSet::new();
        for one in foreseen {
            for object in &one.association.objects {
                let (Some(delivered), Some(remote)) = (&object.delivered, listed.get(&object.name))
                else {
                    continue;
                };
                let mark =
                    self.worker.foreseen_mark(one, self.configured, &self.epoch, &object.name);
                if drift(Some(remote), delivered, &mark).is_none() {
                    settled.insert(object.name.clone());
                }
            }
        }
        settled
    }

    async fn look_at(&self, names: &[String], deadline: Instant, look: &mut Look) {
        let mut looks: Vec<BoxFuture<'_, Looked<'_>>> = Vec::new();
        for names in names.chunks(NAMES_A_LOOK) {
            let asked = Names::These(names.to_vec());
            let destination = &self.configured.destination;
            looks.push(Box::pin(async move { (names, destination.survey(&asked, None).await) }));
        }
        let mut looks = stream::iter(looks).buffer_unordered(LOOKS_RUNNING_MAX);
        loop {
            let next = timeout_at(deadline, looks.next()).await;
            let Ok(next) = next else {
                look.extent = Extent::Partial;
                return;
            };
            let Some((names, answer)) = next else { return };
            match answer {
                Ok(survey) => {
                    look.found.extend(survey.objects);
                    look.known.extend(names.iter().cloned());
                }
                Err(error) => return look.failed(error),
            }
        }
    }
}
