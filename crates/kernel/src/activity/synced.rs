//! Secrets that are kept at clouds, each counted once a month however many clouds have it.
//!
//! Whoever syncs tells of each secret by a code as long as it is associated; a month holds the codes
//! it has seen, many under one key.

use super::{
    month::Month,
    record::{Activity, PAGE, place},
};
use crate::registry;
use bailee_barrier::{Barrier, View};
use bailee_sdk::{Error, Namespace};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// Secrets that are stored under one key.
const SEGMENT_MAX: usize = 1024;
/// Secrets of a month that are counted, all namespaces together.
const SECRETS_MAX: usize = 5_000_000;
/// Digits of a code.
const DIGITS: usize = 16;
/// Where months are, in a namespace's place.
const FOLDER: &str = "synced/";

/// Codes of secrets, one after another in hexadecimal digits, by the path of their mount.
type Segment = BTreeMap<String, String>;

/// What is known of the month.
pub(super) struct Known {
    month: Month,
    count: usize,
    namespaces: HashMap<String, Noted>,
}

#[derive(Default)]
struct Noted {
    codes: HashSet<u64>,
    /// The segment that is filled now.
    number: usize,
    open: Segment,
    open_count: usize,
}

impl Activity {
    /// These secrets of a mount are associated with a cloud. Costs a look-up each where the month
    /// knows them.
    pub(crate) async fn synced(
        &self,
        namespace: &Namespace,
        mount_path: &str,
        secrets: &[u64],
    ) -> Result<(), Error> {
        if !self.counts() {
            return Ok(());
        }
        let month = self.month();
        let mut known = self.synced.lock().await;
        if known.as_ref().is_none_or(|known| known.month != month) {
            *known = Some(Known { month, count: 0, namespaces: HashMap::new() });
            self.forget_synced(month).await?;
        }
        let Some(known) = known.as_mut() else { return Ok(()) };
        if !known.namespaces.contains_key(&namespace.id) {
            let noted = read(&self.barrier, namespace, month).await?;
            known.count += noted.codes.len();
            known.namespaces.insert(namespace.id.clone(), noted);
        }
        let Some(noted) = known.namespaces.get_mut(&namespace.id) else { return Ok(()) };
        let room = SECRETS_MAX.saturating_sub(known.count);
        let fresh: HashSet<u64> =
            secrets.iter().filter(|code| !noted.codes.contains(code)).take(room).copied().collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let stored = noted.append(self, namespace, month, mount_path, &fresh).await;
        match stored {
            Ok(()) => known.count += fresh.len(),
            // Read anew, should it have been stored all the same.
            Err(_) => drop(known.namespaces.remove(&namespace.id)),
        }
        stored
    }

    /// Removes months that are older than what is kept.
    async fn forget_synced(&self, month: Month) -> Result<(), Error> {
        let oldest = month.before(self.config().retention_months);
        for of in self.registry.places().iter() {
            let place = place(&self.barrier, &of.namespace);
            for folder in place.list(FOLDER, "", PAGE).await? {
                let Some(month) = Month::parse(folder.trim_end_matches('/')) else { continue };
                if month >= oldest {
                    continue;
                }
                let gone = place.fresh();
                for name in gone.list(&format!("{FOLDER}{folder}"), "", PAGE).await? {
                    gone.delete(&format!("{FOLDER}{folder}{name}"));
                }
                gone.commit().await?;
            }
        }
        Ok(())
    }
}

impl Noted {
    async fn append(
        &mut self,
        activity: &Activity,
        namespace: &Namespace,
        month: Month,
        mount_path: &str,
        fresh: &HashSet<u64>,
    ) -> Result<(), Error> {
        let view = activity.barrier.view("");
        registry::guard_namespace(&view, namespace).await?;
        let place: View = view.at(place(&activity.barrier, namespace).prefix());
        for code in fresh {
            if self.open_count >= SEGMENT_MAX {
                (self.number, self.open_count) = (self.number + 1, 0);
                self.open.clear();
            }
            self.open.entry(mount_path.to_owned()).or_default().push_str(&format!("{code:016x}"));
            self.open_count += 1;
            if self.open_count == SEGMENT_MAX {
                place.put(&segment_key(month, self.number), &self.open);
            }
        }
        place.put(&segment_key(month, self.number), &self.open);
        view.commit().await?;
        self.codes.extend(fresh);
        Ok(())
    }
}

/// Shows the synced secrets of a namespace in a month: mount path and code.
pub(super) async fn synced_secrets(
    barrier: &Arc<Barrier>,
    namespace: &Namespace,
    month: Month,
    mut seen: impl FnMut(&str, u64),
) -> Result<(), Error> {
    let place = place(barrier, namespace);
    let folder = format!("{FOLDER}{month}/");
    let mut after = String::new();
    loop {
        let page = place.list(&folder, &after, PAGE).await?;
        for name in &page {
            let segment: Option<Segment> = place.get(&format!("{folder}{name}")).await?;
            for (mount, code) in codes(&segment.unwrap_or_default()) {
                seen(mount, code);
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after.clone_from(last),
            _ => return Ok(()),
        }
    }
}

fn codes(segment: &Segment) -> impl Iterator<Item = (&str, u64)> {
    segment.iter().flat_map(|(mount, digits)| {
        let codes = digits.as_bytes().chunks(DIGITS);
        codes.filter_map(move |code| {
            let code = u64::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()?;
            Some((mount.as_str(), code))
        })
    })
}

/// What storage says of a namespace in this month.
async fn read(barrier: &Arc<Barrier>, namespace: &Namespace, month: Month) -> Result<Noted, Error> {
    let mut noted = Noted::default();
    synced_secrets(barrier, namespace, month, |_, code| {
        noted.codes.insert(code);
    })
    .await?;
    if noted.codes.is_empty() {
        return Ok(noted);
    }
    // A new segment: what the last one holds is not read again.
    let place = place(barrier, namespace);
    let folder = format!("{FOLDER}{month}/");
    let mut after = String::new();
    loop {
        let page = place.list(&folder, &after, PAGE).await?;
        noted.number += page.len();
        match page.last() {
            Some(last) if page.len() == PAGE => after.clone_from(last),
            _ => return Ok(noted),
        }
    }
}

fn segment_key(month: Month, number: usize) -> String {
    format!("{FOLDER}{month}/{number:08}")
}
