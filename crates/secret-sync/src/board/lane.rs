//! What waits for one destination, and one object in it.

use super::{Key, Manner, Urgency};
use std::collections::VecDeque;
use tokio::{sync::oneshot, time::Instant};

/// Objects of one destination that are worked on at once.
pub(super) const LANE_RUNNING_MAX: usize = 16;

/// What waits for one destination.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) changes: VecDeque<Key>,
    pub(super) checks: VecDeque<Key>,
    pub(super) running: usize,
    /// Objects that are ready, running or due later.
    pub(super) held: usize,
    /// Those of them whose due time was distant when it was set.
    pub(super) distant: usize,
    pub(super) paused_until: Option<Instant>,
    /// Objects that are worth being worked on at once, as far as that is known.
    pub(super) width: Option<usize>,
    /// More waits in storage than fitted.
    pub(super) more: bool,
    /// Where the next look for it begins.
    pub(super) cursor: String,
    /// Somebody looks for it now.
    pub(super) refilling: bool,
    /// Its destination was told to rest: nothing is taken up until it is resumed.
    pub(super) rests: bool,
}

impl Lane {
    pub(super) fn has_room(&self) -> bool {
        self.running < self.width.map_or(LANE_RUNNING_MAX, |width| width.min(LANE_RUNNING_MAX))
    }

    pub(super) fn has_work(&self) -> bool {
        !self.changes.is_empty() || !self.checks.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.held == 0
            && self.running == 0
            && !self.has_work()
            && self.paused_until.is_none()
            && !self.more
            && !self.refilling
            && !self.rests
    }
}

/// Whether an object is being worked on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Resting,
    Ready,
    Running,
}

/// One object.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) phase: Phase,
    /// The queue it is in.
    pub(super) queued: Option<Urgency>,
    /// Wished for while running.
    pub(super) again: bool,
    pub(super) manner: Manner,
    pub(super) due: Option<(Instant, u64)>,
    /// Whether that was distant when it was set.
    pub(super) distant: bool,
    /// Told when the work that is ready or running ends.
    pub(super) waiters: Vec<oneshot::Sender<()>>,
    /// Told when the work after that ends.
    pub(super) later_waiters: Vec<oneshot::Sender<()>>,
}
