//! Which associations a plan is about: those there are, as they would be, and those there would be.

use super::{
    associations::as_set,
    plan::{Candidate, Which, may, placed},
};
use crate::{
    association::Association,
    dry_run::{PAGE_MAX, Subject},
    registry::{DestinationKind, StoredDestination},
    source::LocalSource,
    store::Store,
};
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Code, Error, Mount, Operation, Request};
use futures_util::StreamExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::time::Instant;

/// What is gathered, and from where.
pub(super) struct Gathering<'a, I> {
    pub(super) store: &'a Store,
    pub(super) request: &'a Request<I>,
    pub(super) kind: &'a DestinationKind,
    /// The destination as it would be.
    pub(super) stored: &'a StoredDestination,
    pub(super) local: &'a dyn LocalSource,
    /// Most subjects of one answer.
    pub(super) limit: usize,
    /// Until when it is gathered; the plan goes on from there.
    pub(super) until: Instant,
}

/// The subjects of one answer.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) subjects: Vec<Subject>,
    /// What was counted up to each subject.
    counts: Vec<Counts>,
    /// What was counted up to the end.
    all: Counts,
    /// Where the plan goes on, if it does.
    pub(super) next: Option<String>,
}

/// What is counted on the way.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    /// Secrets that whoever asks may not read, and their objects.
    pub(super) hidden: u64,
    pub(super) hidden_objects: u64,
    /// Secrets that were associated with no destination before.
    pub(super) new_clients: u64,
    /// Associations that have to be set again for the plan to come true.
    pub(super) set_again: u64,
}

/// Secrets by their codes: mount and path.
type Secrets = BTreeMap<String, (Arc<Mount>, String)>;

impl<I> Gathering<'_, I> {
    /// Associations in order of their codes, from the one after `after` on.
    pub(super) async fn subjects(
        &self,
        associate: &[Candidate],
        dissociate: &[Candidate],
        after: &str,
    ) -> Result<Gathered, Error> {
        let mut gathered = Gathered::default();
        let mut folders = 0;
        let mut joining = self.secrets(associate, after, &mut folders).await?;
        if after.is_empty() {
            gathered.all.hidden += folders;
        }
        let leaving = self.secrets(dissociate, after, &mut 0).await?;
        let id = self.store.destination_id(&self.stored.kind, &self.stored.name);
        let mut existing = self.store.associations_after(&id, after);
        let mut last = after.to_owned();
        while let Some(entry) = existing.next().await {
            let (secret, before) = entry?;
            // Whatever comes before it in order, and is new.
            let later = joining.split_off(&secret);
            for (code, (mount, path)) in std::mem::replace(&mut joining, later) {
                if self.is_full(&mut gathered, after, &last) {
                    return Ok(gathered);
                }
                self.join(&mut gathered, code.clone(), &mount, &path, None).await?;
                last = code;
            }
            if self.is_full(&mut gathered, after, &last) {
                return Ok(gathered);
            }
            last.clone_from(&secret);
            match joining.remove(&secret) {
                Some((mount, path)) => {
                    self.join(&mut gathered, secret, &mount, &path, Some(before)).await?;
                }
                None => {
                    let leaves = leaving.contains_key(&secret);
                    self.keep(&mut gathered, secret, before, leaves);
                }
            }
        }
        for (code, (mount, path)) in joining {
            if self.is_full(&mut gathered, after, &last) {
                return Ok(gathered);
            }
            self.join(&mut gathered, code.clone(), &mount, &path, None).await?;
            last = code;
        }
        Ok(gathered)
    }

    /// Whether there is no room or no time for another; the plan goes on after `last` then.
    fn is_full(&self, gathered: &mut Gathered, after: &str, last: &str) -> bool {
        // Who asks again gets further each time.
        let late = last != after && Instant::now() >= self.until;
        let full = late || gathered.subjects.len() >= self.limit;
        if full {
            gathered.next = Some(last.to_owned());
        }
        full
    }

    /// A secret that would be set.
    async fn join(
        &self,
        gathered: &mut Gathered,
        secret: String,
        mount: &Arc<Mount>,
        path: &str,
        before: Option<Association>,
    ) -> Result<(), Error> {
        if !may(self.request, Operation::Read, &mount.path, path) {
            gathered.hide(before.as_ref());
            return Ok(());
        }
        if before.is_none() && self.store.destinations_of(&secret).await?.is_empty() {
            gathered.all.new_clients += 1;
        }
        let association = self.as_if_set(mount, path, before);
        gathered.add(Subject { secret, association });
        Ok(())
    }

    /// An association that stays, is set again because its names change, or would be removed.
    fn keep(&self, gathered: &mut Gathered, secret: String, before: Association, leaves: bool) {
        let mount = self.request.mounts.with_uuid(&before.mount).cloned();
        let path = mount.as_ref().map_or(before.mount_path.as_str(), |mount| &mount.path);
        if !may(self.request, Operation::Read, path, &before.secret_name) {
            return gathered.hide(Some(&before));
        }
        let differs = before.template != self.kind.template_of(self.stored)
            || before.granularity != self.kind.granularity_of(self.stored);
        let association = match mount {
            _ if leaves => Association { removing: true, ..before },
            Some(mount) if differs && !before.removing => {
                gathered.all.set_again += 1;
                let path = before.secret_name.clone();
                self.as_if_set(&mount, &path, Some(before))
            }
            _ => before,
        };
        gathered.add(Subject { secret, association });
    }

    fn as_if_set(&self, mount: &Mount, path: &str, before: Option<Association>) -> Association {
        as_set(self.kind, self.stored, mount, path, before, to_millis(self.request.now))
    }

    /// The secrets that candidates name, after `after`.
    async fn secrets(
        &self,
        candidates: &[Candidate],
        after: &str,
        hidden: &mut u64,
    ) -> Result<Secrets, Error> {
        let mut secrets = Secrets::new();
        for candidate in candidates {
            let (mount, which) = placed(self.request, candidate)?;
            let paths = match which {
                Which::One(path) => BTreeSet::from([path.to_owned()]),
                Which::Below(prefix) => self.below(mount, prefix, hidden).await?,
            };
            for path in paths {
                let code = self.store.secret_id(&mount.uuid, &path);
                if code.as_str() > after {
                    secrets.insert(code, (mount.clone(), path));
                }
            }
            if secrets.len() > PAGE_MAX {
                return Err(too_many());
            }
        }
        Ok(secrets)
    }

    /// All secrets that begin so, in folders that whoever asks may list.
    async fn below(
        &self,
        mount: &Mount,
        prefix: &str,
        hidden: &mut u64,
    ) -> Result<BTreeSet<String>, Error> {
        let first = prefix.rfind('/').map_or("", |slash| prefix.get(..=slash).unwrap_or_default());
        let mut folders = vec![first.to_owned()];
        let mut found = BTreeSet::new();
        let mut listed = 0;
        while let Some(folder) = folders.pop() {
            if !may(self.request, Operation::List, &mount.path, &folder) {
                if folder == first {
                    let at = format!("{}{folder}", mount.path);
                    let message = format!("permission denied to list the secrets of {at}");
                    return Err(Error::new(Code::PermissionDenied, message));
                }
                *hidden += 1;
                continue;
            }
            let caller = format!("sync-plan/{}/{}", self.stored.kind, self.stored.name);
            let names = self.local.list(&caller, &self.request.namespace, mount, &folder).await;
            for name in names.map_err(|error| Error::internal(error.message))? {
                let path = format!("{folder}{name}");
                if !path.starts_with(prefix) && !prefix.starts_with(&path) {
                    continue;
                }
                if path.ends_with('/') {
                    folders.push(path);
                } else if path.starts_with(prefix) {
                    found.insert(path);
                }
            }
            listed += 1;
            if found.len() > PAGE_MAX || listed > PAGE_MAX || Instant::now() >= self.until {
                return Err(too_many());
            }
        }
        Ok(found)
    }
}

impl Gathered {
    fn add(&mut self, subject: Subject) {
        self.subjects.push(subject);
        self.counts.push(self.all);
    }

    /// What was counted up to the last of so many subjects; the rest counts with the next answer.
    pub(super) fn counted(&self, covered: usize) -> Counts {
        if covered >= self.counts.len() {
            return self.all;
        }
        covered.checked_sub(1).and_then(|last| self.counts.get(last)).copied().unwrap_or_default()
    }

    fn hide(&mut self, before: Option<&Association>) {
        self.all.hidden += 1;
        let objects =
            before.map_or(0, |before| before.objects.iter().filter(|object| object.begun).count());
        self.all.hidden_objects += objects as u64;
    }
}

fn too_many() -> Error {
    Error::invalid(format!(
        "associate, dissociate: more than {PAGE_MAX} secrets begin so, or they take too long to list: \
         name a longer prefix"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_the_last_subject_of_an_answer_counts_with_the_next_one() {
        let up_to = |hidden| Counts { hidden, ..Counts::default() };
        let counts = vec![up_to(1), up_to(3), up_to(3)];
        let gathered = Gathered { counts, all: up_to(5), ..Gathered::default() };
        let hidden = |covered| gathered.counted(covered).hidden;
        assert_eq!([hidden(1), hidden(2), hidden(3)], [1, 3, 5]);
        assert_eq!(Gathered { all: up_to(2), ..Gathered::default() }.counted(0).hidden, 2);
    }
}
