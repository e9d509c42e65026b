//! How fast leases of a mount are revoked: as fast as its engine keeps up.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

/// Leases of one mount that are revoked at once, at first.
const WIDTH_FIRST: usize = 4;
/// The most.
const WIDTH_MAX: usize = 32;
/// Pause after a refusal; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Mounts whose pace is remembered; when there are more, it begins anew.
const MOUNTS_MAX: usize = 10_000;

/// The pace of each mount.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<HashMap<String, Pace>>);

#[derive(Clone, Copy, Debug)]
struct Pace {
    width: usize,
    pause: Duration,
    /// Nothing is tried before.
    until: SystemTime,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { width: WIDTH_FIRST, pause: PAUSE_MIN, until: SystemTime::UNIX_EPOCH }
    }
}

impl Paces {
    /// Until when a mount is left alone, if it is.
    pub(crate) fn paused(&self, mount: &str, now: SystemTime) -> Option<SystemTime> {
        let paces = self.0.lock();
        let pace = paces.get(mount)?;
        // A clock that was set back must not leave a mount alone for longer than any pause.
        let is_sane = pace.until.duration_since(now).is_ok_and(|left| left <= PAUSE_MAX);
        (pace.until > now && is_sane).then_some(pace.until)
    }

    /// Someone asks in person: no pause holds.
    pub(crate) fn resume(&self, mount: &str) {
        if let Some(pace) = self.0.lock().get_mut(mount) {
            pace.until = SystemTime::UNIX_EPOCH;
        }
    }

    /// How many are to be revoked at once.
    pub(crate) fn width(&self, mount: &str) -> usize {
        self.0.lock().get(mount).copied().unwrap_or_default().width
    }

    /// One went well: one more at once.
    pub(crate) fn went_well(&self, mount: &str) {
        let mut paces = self.0.lock();
        let pace = entry(&mut paces, mount);
        pace.width = (pace.width + 1).min(WIDTH_MAX);
        pace.pause = PAUSE_MIN;
    }

    /// The engine refused: half as many at once, after a pause. It stays short as long as some get
    /// through in between.
    pub(crate) fn refused(&self, mount: &str, some_went_well: bool, now: SystemTime) {
        let mut paces = self.0.lock();
        let pace = entry(&mut paces, mount);
        pace.width = (pace.width / 2).max(1);
        if some_went_well {
            pace.pause = PAUSE_MIN;
        }
        pace.until = now + pace.pause;
        pace.pause = (pace.pause * 2).min(PAUSE_MAX);
    }
}

fn entry<'a>(paces: &'a mut HashMap<String, Pace>, mount: &str) -> &'a mut Pace {
    if paces.len() >= MOUNTS_MAX && !paces.contains_key(mount) {
        paces.clear();
    }
    paces.entry(mount.to_owned()).or_default()
}
