//! Leases under a prefix, and how many there are.

use super::{
    gate::Closed,
    lane::Lane,
    record::{Record, code_of, names, place, suffix},
    revoke::{Failing, REVOKE_TIME_MAX},
    store::{Found, LeaseStore},
};
use crate::{
    intents::{Reach, Undo},
    registry::{Mounted, Place},
};
use bailee_barrier::View;
use bailee_crypto::clock::from_millis;
use bailee_sdk::{Code, Error, Namespace};
use futures_util::{StreamExt, future, stream};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Names that are read at once.
const PAGE: usize = 1000;
/// Leases that one call gives up at once.
const GIVEN_UP_AT_ONCE: usize = 32;
/// Failures in a row after which whoever gives leases up no longer waits long for their engine.
const AWAY_AFTER: u32 = 8;
/// How long an engine may take for one lease from then on, until it takes one back.
const AWAY_TIME_MAX: Duration = Duration::from_secs(2);
/// How long one call waits until all it revokes is gone; the rest goes on without it.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks at what is left.
const WAIT_PAUSE: Duration = Duration::from_millis(500);

/// A lease that someone asked about.
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) mount_path: String,
    pub(crate) record: Record,
}

/// Mounts that have nothing outside any more; they make nothing new until this is dropped.
pub(crate) struct Ended {
    _closed: Closed,
    _gates: Vec<View>,
}

impl LeaseStore {
    /// All leases of a namespace below a prefix, which ends in `/` or is empty.
    pub(crate) async fn below(&self, at: &Place, prefix: &str) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for mounted in at.mounts.values() {
            let Some(folder) = within(&mounted.mount.path, prefix) else { continue };
            self.walk(&at.namespace, &mounted.mount.uuid, folder, &mut found).await?;
        }
        Ok(found)
    }

    async fn walk(
        &self,
        namespace: &Arc<Namespace>,
        mount: &str,
        folder: &str,
        found: &mut Vec<Found>,
    ) -> Result<(), Error> {
        let view = self.barrier.view(&place(&namespace.id));
        let names = names(&view, mount);
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let mut after = String::new();
            loop {
                let page = names.list(&folder, &after, PAGE).await?;
                for name in &page {
                    if name.ends_with('/') {
                        folders.push(format!("{folder}{name}"));
                    } else {
                        let code = code_of(&self.barrier, name);
                        let (namespace, mount) = (namespace.clone(), mount.to_owned());
                        found.push(Found { namespace, mount, code });
                    }
                }
                match page.last() {
                    Some(last) if page.len() == PAGE => after.clone_from(last),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Names of leases and folders directly below a prefix, which ends in `/` or is empty.
    pub(crate) async fn names_below(
        &self,
        at: &Place,
        prefix: &str,
        max: usize,
    ) -> Result<BTreeSet<String>, Error> {
        let mut shown = BTreeSet::new();
        let view = self.barrier.view(&place(&at.namespace.id));
        for (path, mounted) in &at.mounts {
            let names = names(&view, &mounted.mount.uuid);
            if let Some(rest) = path.strip_prefix(prefix).filter(|rest| !rest.is_empty()) {
                // The mount itself lies below: it shows when it has leases.
                if !names.list("", "", 1).await?.is_empty() {
                    shown.extend(rest.split_inclusive('/').next().map(str::to_owned));
                }
            } else if let Some(folder) = within(path, prefix) {
                for name in names.list(folder, "", max).await? {
                    let is_folder = name.ends_with('/');
                    let end = if is_folder { String::new() } else { suffix(&at.namespace) };
                    shown.insert(format!("{name}{end}"));
                }
            }
        }
        Ok(shown)
    }

    /// All leases of a namespace, one after the other, for those that `wanted` says; at most `max`.
    pub(crate) async fn told(
        &self,
        at: &Place,
        max: usize,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Vec<Told>, Error> {
        let view = self.barrier.view(&place(&at.namespace.id));
        let mut entries = view.scan("id/");
        let mut told = Vec::new();
        while let Some(entry) = entries.next().await
            && told.len() < max
        {
            let (_, bytes) = entry?;
            let record: Record = serde_json::from_slice(&bytes).map_err(Error::internal)?;
            if wanted(&record) {
                let now = at.mounts.values().find(|mounted| mounted.mount.uuid == record.mount);
                let mount_path = now.map_or(&record.mount_path, |now| &now.mount.path).clone();
                told.push(Told { id: record.id(&at.namespace), mount_path, record });
            }
        }
        Ok(told)
    }

    /// How many leases of each mount there are of those that `wanted` says.
    pub(crate) async fn count(
        &self,
        at: &Place,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<BTreeMap<String, u64>, Error> {
        let view = self.barrier.view(&place(&at.namespace.id));
        let mut entries = view.scan("id/");
        let mut counts = BTreeMap::new();
        while let Some(entry) = entries.next().await {
            let (_, bytes) = entry?;
            let record: Record = serde_json::from_slice(&bytes).map_err(Error::internal)?;
            if wanted(&record) {
                let now = at.mounts.values().find(|mounted| mounted.mount.uuid == record.mount);
                let path = now.map_or(&record.mount_path, |now| &now.mount.path);
                *counts.entry(path.clone()).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// Tries at once what could not be revoked, and ends leases whose token is gone.
    pub(crate) async fn tidy(&self, at: &Place) -> Result<(), Error> {
        let view = self.barrier.view(&place(&at.namespace.id));
        let mut found = Vec::new();
        let mut entries = view.scan("id/");
        while let Some(entry) = entries.next().await {
            let (_, bytes) = entry?;
            let record: Record = serde_json::from_slice(&bytes).map_err(Error::internal)?;
            let token = record.token.as_deref().map(crate::token::TokenId::from_text);
            let orphaned = match &token {
                Some(token) => !self.tokens.is_kept(token).await?,
                None => false,
            };
            if record.irrevocable || orphaned {
                let code = code_of(&self.barrier, &record.letters);
                let (namespace, mount) = (at.namespace.clone(), record.mount.clone());
                found.push(Found { namespace, mount, code });
            }
        }
        self.mark(&found).await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Revokes leases. They are marked first, so that what is cut short goes on; then, within a bound,
    /// it is waited for. What is left by then is the error.
    pub(crate) async fn revoke_all(&self, found: Vec<Found>) -> Result<(), Error> {
        self.mark(&found).await?;
        let lanes: BTreeMap<String, Lane> = found
            .iter()
            .map(|at| {
                let (namespace, mount) = (at.namespace.clone(), at.mount.clone());
                (at.mount.clone(), Lane { namespace, mount })
            })
            .collect();
        lanes.keys().for_each(|mount| self.paces.resume(mount));
        let end = Instant::now() + WAIT_MAX;
        let mut left = found;
        loop {
            let work = lanes.values().map(|lane| self.drain(lane, end));
            future::try_join_all(work).await?;
            // Only the one behind which nothing is left is looked at: there may be many.
            let mut failed = false;
            while let Some(at) = left.last() {
                let view = self.barrier.view("");
                let stored = self.read(&view, &at.namespace, &at.code).await?;
                if let Some(stored) = stored {
                    failed = has_failed(&stored.record);
                    break;
                }
                left.pop();
            }
            if left.is_empty() {
                return Ok(());
            }
            if failed || Instant::now() >= end {
                self.wake.notify_one();
                return self.still_there(&left).await;
            }
            tokio::time::sleep(WAIT_PAUSE).await;
        }
    }

    /// How many leases are left, and why the first of them is.
    async fn still_there(&self, found: &[Found]) -> Result<(), Error> {
        let (mut left, mut failure) = (0, None);
        for at in found {
            let view = self.barrier.view("");
            if let Some(stored) = self.read(&view, &at.namespace, &at.code).await? {
                left += 1;
                failure = failure.or(if has_failed(&stored.record) {
                    stored.record.failure
                } else {
                    None
                });
            }
        }
        if left == 0 { Ok(()) } else { Err(not_all(left, failure)) }
    }

    /// Takes leases back and forgets them, whatever their engine says. It is asked for each, but not for
    /// long when it seems to be away: an operator who gives up thousands of leases does so because it is.
    pub(crate) async fn give_up(&self, found: Vec<Found>) -> Result<(), Error> {
        let in_a_row = &Mutex::new(HashMap::<String, u32>::new());
        let mut work = stream::iter(found)
            .map(|at| async move {
                let failures = in_a_row.lock().get(&at.mount).copied().unwrap_or_default();
                let is_away = failures >= AWAY_AFTER;
                let time_max = if is_away { AWAY_TIME_MAX } else { REVOKE_TIME_MAX };
                let outcome = self.revoke(&at, Failing::GivesUp(time_max)).await;
                let mut in_a_row = in_a_row.lock();
                let failures = in_a_row.entry(at.mount).or_default();
                *failures = if matches!(outcome, Ok(None)) { 0 } else { *failures + 1 };
                outcome
            })
            .buffer_unordered(GIVEN_UP_AT_ONCE);
        let mut outcome = Ok(());
        while let Some(done) = work.next().await {
            outcome = outcome.and(done.map(|_| ()));
        }
        outcome
    }

    /// Closes some mounts of a namespace and revokes all their leases; they stay closed until the
    /// result is dropped.
    pub(crate) async fn end_mounts(
        &self,
        at: &Place,
        is_meant: impl Fn(&str) -> bool,
    ) -> Result<Ended, Error> {
        let meant = || at.mounts.values().filter(|mounted| is_meant(&mounted.mount.path));
        let closed = self.close(meant().map(|mounted| mounted.mount.uuid.clone()).collect()).await;
        let mut found = Vec::new();
        for mounted in meant() {
            self.walk(&at.namespace, &mounted.mount.uuid, "", &mut found).await?;
        }
        self.revoke_all(found).await?;
        let mut gates = Vec::new();
        for mounted in meant() {
            gates.push(self.unfinished(mounted).close().await?);
        }
        Ok(Ended { _closed: closed, _gates: gates })
    }

    /// Undoes what requests that never finished left outside in mounts below a prefix, and forgets what
    /// cannot be undone.
    pub(crate) async fn give_up_unfinished(&self, at: &Place, prefix: &str) -> Result<(), Error> {
        for mounted in at.mounts.values() {
            if within(&mounted.mount.path, prefix) == Some("") {
                self.unfinished(mounted).run(Reach::GivesUp).await?;
            }
        }
        Ok(())
    }

    fn unfinished<'a>(&'a self, mounted: &'a Mounted) -> Undo<'a> {
        Undo { barrier: &self.barrier, mounted, clock: &self.clock }
    }
}

/// When a lease ends, and how long that is from now.
pub(crate) fn left(record: &Record, now: std::time::SystemTime) -> Duration {
    if record.revoked {
        return Duration::ZERO;
    }
    from_millis(record.expires).duration_since(now).unwrap_or_default()
}

/// The folder within a mount that a prefix means; none when it means nothing there.
fn within<'a>(mount: &str, prefix: &'a str) -> Option<&'a str> {
    if mount.starts_with(prefix) { Some("") } else { prefix.strip_prefix(mount) }
}

/// Whether the engine could not take a lease back since that was asked for; being told to come later
/// is no failure.
fn has_failed(record: &Record) -> bool {
    record.due > 0 && record.tries > 0
}

fn not_all(left: usize, failure: Option<String>) -> Error {
    let leases = if left == 1 { "lease is" } else { "leases are" };
    let text = match failure {
        Some(reason) => format!(
            "{left} {leases} not revoked yet, the first failure was: {reason}. It is tried again; \
             sys/leases/revoke-force gives leases up"
        ),
        None => format!("{left} {leases} not revoked yet: it goes on, ask again later"),
    };
    Error::new(Code::InvalidRequest, text)
}
