//! What is to be worked on next, in memory: the durable form is the dirty marks in storage.
//!
//! One object is worked on once at a time, so an older value never overtakes a newer one; a wish
//! that arrives meanwhile is remembered once. Objects of one destination share a lane, so a slow
//! destination holds up nobody else.

use bailee_sdk::Namespace;
use parking_lot::Mutex;
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    hash::{Hash, Hasher},
    ops::Bound,
    sync::Arc,
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

/// Objects of one destination that are worked on at once.
const LANE_RUNNING_MAX: usize = 16;
/// Objects that are worked on at once in all.
const RUNNING_MAX: usize = 128;

/// An association: a secret at a destination, by their codes.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) destination: Arc<str>,
    pub(crate) secret: Arc<str>,
}

impl Key {
    pub(crate) fn new(namespace: &Arc<Namespace>, destination: &str, secret: &str) -> Key {
        Key { namespace: namespace.clone(), destination: destination.into(), secret: secret.into() }
    }

    fn parts(&self) -> (&str, &str, &str) {
        (&self.namespace.id, &self.destination, &self.secret)
    }

    fn lane(&self) -> LaneKey {
        (self.namespace.id.clone(), self.destination.clone())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl fmt::Display for Key {
    /// Codes only: it goes into logs and audit lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.destination, self.secret)
    }
}

/// How soon an object is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Something changed.
    Change,
    /// Behind all that changed: only a look.
    Check,
}

/// One piece of work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) key: Key,
    pub(crate) manner: Manner,
}

/// How a piece of work is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Whether the destination itself is to be looked at.
    pub(crate) verify: bool,
    /// Whether it is tried at once although the last attempt failed a short time ago.
    pub(crate) hurry: bool,
    /// Whether changes of others are undone whatever the destination's policy says.
    pub(crate) repair: bool,
}

impl Manner {
    fn add(&mut self, other: Manner) {
        self.verify |= other.verify;
        self.hurry |= other.hurry;
        self.repair |= other.repair;
    }
}

/// What follows from a piece of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// When the object is worked on again by itself.
    pub(crate) again_at: Option<Instant>,
    /// Until when the whole destination is left alone.
    pub(crate) pause: Option<Instant>,
    /// How that work is to be done: what was asked for and has not happened.
    pub(crate) manner: Manner,
}

impl Verdict {
    /// It is worked on again at that time at the latest.
    pub(crate) fn sooner(&mut self, at: Option<Instant>) {
        self.again_at = self.again_at.into_iter().chain(at).min();
    }
}

type LaneKey = (String, Arc<str>);

/// All wishes.
#[derive(Default)]
pub(crate) struct Board {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    slots: HashMap<Key, Slot>,
    lanes: BTreeMap<LaneKey, Lane>,
    /// The lane served last.
    served: Option<LaneKey>,
    due: BTreeMap<(Instant, u64), Key>,
    due_count: u64,
    running: usize,
    /// Destinations whose deletion is to be carried on: namespace, type, name.
    purges: BTreeSet<PurgeKey>,
    sweep: bool,
}

/// A destination that is being deleted with its associations.
#[derive(Clone, Debug)]
pub(crate) struct PurgeKey {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl PurgeKey {
    fn parts(&self) -> (&str, &str, &str) {
        (&self.namespace.id, &self.kind, &self.name)
    }
}

impl PartialEq for PurgeKey {
    fn eq(&self, other: &PurgeKey) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for PurgeKey {}

impl PartialOrd for PurgeKey {
    fn partial_cmp(&self, other: &PurgeKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PurgeKey {
    fn cmp(&self, other: &PurgeKey) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

#[derive(Default)]
struct Lane {
    changes: VecDeque<Key>,
    checks: VecDeque<Key>,
    running: usize,
    paused_until: Option<Instant>,
    /// Objects that are worth being worked on at once, as far as that is known.
    width: Option<usize>,
}

impl Lane {
    fn has_room(&self) -> bool {
        self.running < self.width.map_or(LANE_RUNNING_MAX, |width| width.min(LANE_RUNNING_MAX))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Resting,
    Ready,
    Running,
}

#[derive(Default)]
struct Slot {
    phase: Phase,
    /// Wished for while running.
    again: bool,
    manner: Manner,
    due: Option<(Instant, u64)>,
    /// Told when the work that is ready or running ends.
    waiters: Vec<oneshot::Sender<()>>,
    /// Told when the work after that ends.
    later_waiters: Vec<oneshot::Sender<()>>,
}

impl Board {
    /// Wishes that an object be worked on.
    pub(crate) fn kick(&self, key: Key, urgency: Urgency) {
        self.state.lock().wish(key, urgency, Manner::default(), None);
        self.wake.notify_one();
    }

    /// The same, with a look at the destination itself.
    pub(crate) fn verify(&self, key: Key) {
        self.look(key, Manner { verify: true, ..Manner::default() });
    }

    /// Wishes for a look at an object in a certain manner.
    pub(crate) fn look(&self, key: Key, manner: Manner) {
        self.state.lock().wish(key, Urgency::Check, manner, None);
        self.wake.notify_one();
    }

    /// The same; the answer comes when work that began after this call has ended.
    pub(crate) fn kick_and_tell(&self, key: Key) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.state.lock().wish(key, Urgency::Change, Manner::default(), Some(sender));
        self.wake.notify_one();
        receiver
    }

    /// Wishes that the deletion of a destination be carried on.
    pub(crate) fn kick_purge(&self, purge: PurgeKey) {
        self.state.lock().purges.insert(purge);
        self.wake.notify_one();
    }

    /// Wishes that everything that waits in storage be looked for.
    pub(crate) fn kick_sweep(&self) {
        self.state.lock().sweep = true;
        self.wake.notify_one();
    }

    /// Whether that was wished for since it was last asked.
    pub(crate) fn take_sweep(&self) -> bool {
        std::mem::take(&mut self.state.lock().sweep)
    }

    /// Takes the deletions that are to be carried on.
    pub(crate) fn take_purges(&self) -> BTreeSet<PurgeKey> {
        std::mem::take(&mut self.state.lock().purges)
    }

    /// Waits for a wish.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The next piece of work, unless all that is ready has to wait.
    pub(crate) fn take(&self, now: Instant) -> Option<Job> {
        let mut state = self.state.lock();
        state.promote(now);
        state.take(now)
    }

    /// Says how an object's destination may be called from now on.
    pub(crate) fn pace(&self, key: &Key, width: usize, rests_until: Option<Instant>) {
        if let Some(lane) = self.state.lock().lanes.get_mut(&key.lane()) {
            lane.width = Some(width);
            lane.paused_until = rests_until;
        }
    }

    /// A piece of work has ended.
    pub(crate) fn finish(&self, key: &Key, verdict: Verdict) {
        self.state.lock().finish(key, verdict);
        self.wake.notify_one();
    }

    /// When there may be work without a new wish.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let state = self.state.lock();
        let due = state.due.keys().next().map(|(at, _)| *at);
        // Where all places are taken the end of some work wakes, not the end of a pause.
        let free = state.running < RUNNING_MAX;
        let waiting = |lane: &&Lane| {
            let any = !lane.changes.is_empty() || !lane.checks.is_empty();
            any && free && lane.has_room()
        };
        let resumed = state.lanes.values().filter(waiting).filter_map(|lane| lane.paused_until);
        due.into_iter().chain(resumed).min()
    }

    /// Objects that are ready, waiting or running; for metrics.
    pub(crate) fn depth(&self) -> usize {
        self.state.lock().slots.len()
    }
}

impl State {
    fn wish(
        &mut self,
        key: Key,
        urgency: Urgency,
        manner: Manner,
        waiter: Option<oneshot::Sender<()>>,
    ) {
        let slot = self.slots.entry(key.clone()).or_default();
        slot.manner.add(manner);
        match slot.phase {
            Phase::Running => {
                slot.again = true;
                slot.later_waiters.extend(waiter);
            }
            Phase::Resting | Phase::Ready => {
                slot.waiters.extend(waiter);
                let was_ready = slot.phase == Phase::Ready;
                slot.phase = Phase::Ready;
                // What is only a look may turn out to be a change: then it is in both queues, and
                // the second one finds nothing ready.
                let lane = self.lanes.entry(key.lane()).or_default();
                if manner.hurry {
                    lane.paused_until = None;
                }
                match urgency {
                    Urgency::Change => lane.changes.push_back(key),
                    Urgency::Check if was_ready => {}
                    Urgency::Check => lane.checks.push_back(key),
                }
            }
        }
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let key = entry.remove();
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.due = None;
            }
            self.wish(key, Urgency::Change, Manner::default(), None);
        }
    }

    fn take(&mut self, now: Instant) -> Option<Job> {
        if self.running >= RUNNING_MAX {
            return None;
        }
        for lane_key in self.lanes_in_turn() {
            while let Some(key) = self.pop(&lane_key, now) {
                let Some(slot) = self.slots.get_mut(&key) else { continue };
                if slot.phase != Phase::Ready {
                    continue;
                }
                slot.phase = Phase::Running;
                let manner = std::mem::take(&mut slot.manner);
                let due = slot.due.take();
                due.map(|due| self.due.remove(&due));
                if let Some(lane) = self.lanes.get_mut(&lane_key) {
                    lane.running += 1;
                }
                self.running += 1;
                self.served = Some(lane_key);
                return Some(Job { key, manner });
            }
        }
        None
    }

    /// Lanes from the one after that served last, so that none starves.
    fn lanes_in_turn(&self) -> Vec<LaneKey> {
        let Some(served) = &self.served else { return self.lanes.keys().cloned().collect() };
        let after = self.lanes.range((Bound::Excluded(served.clone()), Bound::Unbounded));
        let before = self.lanes.range(..=served.clone());
        after.chain(before).map(|(key, _)| key.clone()).collect()
    }

    fn pop(&mut self, lane: &LaneKey, now: Instant) -> Option<Key> {
        let lane = self.lanes.get_mut(lane)?;
        if !lane.has_room() || lane.paused_until.is_some_and(|until| until > now) {
            return None;
        }
        lane.paused_until = None;
        lane.changes.pop_front().or_else(|| lane.checks.pop_front())
    }

    fn finish(&mut self, key: &Key, verdict: Verdict) {
        let lane_key = key.lane();
        self.running = self.running.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(&lane_key) {
            lane.running = lane.running.saturating_sub(1);
            lane.paused_until = lane.paused_until.max(verdict.pause);
        }
        let Some(slot) = self.slots.get_mut(key) else { return };
        for waiter in slot.waiters.drain(..) {
            // Whoever waited may have given up.
            waiter.send(()).ok();
        }
        slot.phase = Phase::Resting;
        slot.manner.add(verdict.manner);
        slot.waiters = std::mem::take(&mut slot.later_waiters);
        if std::mem::take(&mut slot.again) {
            // A pause that this work brought about does not hold up who is in a hurry.
            let manner = slot.manner;
            self.wish(key.clone(), Urgency::Change, manner, None);
        } else if let Some(at) = verdict.again_at {
            self.due_count += 1;
            let due = (at, self.due_count);
            slot.due = Some(due);
            self.due.insert(due, key.clone());
        } else {
            self.slots.remove(key);
        }
        let idle = |lane: &Lane| {
            lane.running == 0
                && lane.changes.is_empty()
                && lane.checks.is_empty()
                && lane.paused_until.is_none()
        };
        if self.lanes.get(&lane_key).is_some_and(idle) {
            self.lanes.remove(&lane_key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(destination: &str, secret: &str) -> Key {
        Key::new(&Arc::new(Namespace::root()), destination, secret)
    }

    fn taken(board: &Board) -> Vec<String> {
        let mut taken = Vec::new();
        while let Some(job) = board.take(Instant::now()) {
            taken.push(job.key.to_string());
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_worked_on_once_at_a_time() {
        let board = Board::default();
        board.kick(key("d", "a"), Urgency::Change);
        board.kick(key("d", "a"), Urgency::Change);
        assert_eq!(taken(&board), ["d/a"]);
        let mut told = board.kick_and_tell(key("d", "a"));
        assert_eq!(taken(&board), Vec::<String>::new());
        board.finish(&key("d", "a"), Verdict::default());
        assert!(told.try_recv().is_err(), "that work began before the wish");
        assert_eq!(taken(&board), ["d/a"]);
        board.finish(&key("d", "a"), Verdict::default());
        assert!(told.try_recv().is_ok());
        assert_eq!(taken(&board), Vec::<String>::new());
        assert_eq!(board.depth(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn changes_go_before_checks_and_a_full_lane_holds_up_nobody_else() {
        let board = Board::default();
        for number in 0..20 {
            board.kick(key("full", &number.to_string()), Urgency::Check);
        }
        board.kick(key("full", "19"), Urgency::Change);
        board.kick(key("other", "a"), Urgency::Change);
        let taken = taken(&board);
        assert_eq!(taken.len(), LANE_RUNNING_MAX + 1);
        assert_eq!(taken[0], "full/19");
        assert!(taken.contains(&"other/a".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_lane_resumes_by_itself() {
        let board = Board::default();
        board.kick(key("d", "a"), Urgency::Change);
        assert_eq!(taken(&board), ["d/a"]);
        let until = Instant::now() + Duration::from_secs(5);
        board.finish(
            &key("d", "a"),
            Verdict { again_at: None, pause: Some(until), ..Verdict::default() },
        );
        board.kick(key("d", "b"), Urgency::Change);
        assert_eq!(taken(&board), Vec::<String>::new());
        assert_eq!(board.next_due(), Some(until));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(taken(&board), ["d/b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_ends_while_all_places_are_taken_is_not_due() {
        let board = Board::default();
        board.kick(key("paused", "a"), Urgency::Change);
        assert_eq!(taken(&board), ["paused/a"]);
        let until = Instant::now() + Duration::from_secs(5);
        board.finish(
            &key("paused", "a"),
            Verdict { again_at: None, pause: Some(until), ..Verdict::default() },
        );
        board.kick(key("paused", "b"), Urgency::Change);
        for number in 0..RUNNING_MAX {
            let lane = (number / LANE_RUNNING_MAX).to_string();
            board.kick(key(&lane, &number.to_string()), Urgency::Change);
        }
        assert_eq!(taken(&board).len(), RUNNING_MAX);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(taken(&board), Vec::<String>::new());
        assert_eq!(board.next_due(), None, "the loop would spin");
        board.finish(&key("0", "0"), Verdict::default());
        assert_eq!(taken(&board), ["paused/b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_did_not_happen_is_still_wished_for_when_it_is_due() {
        let board = Board::default();
        board.verify(key("d", "a"));
        let manner = board.take(Instant::now()).unwrap().manner;
        assert!(manner.verify);
        let again_at = Some(Instant::now() + Duration::from_secs(5));
        board.finish(&key("d", "a"), Verdict { again_at, pause: None, manner });
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(board.take(Instant::now()).unwrap().manner, manner);
        board.finish(&key("d", "a"), Verdict::default());
        board.kick(key("d", "a"), Urgency::Check);
        assert_eq!(board.take(Instant::now()).unwrap().manner, Manner::default());
    }

    #[tokio::test(start_paused = true)]
    async fn hurry_ends_a_pause() {
        let board = Board::default();
        board.kick(key("d", "a"), Urgency::Change);
        assert_eq!(taken(&board), ["d/a"]);
        board.look(key("d", "a"), Manner { hurry: true, ..Manner::default() });
        let until = Instant::now() + Duration::from_secs(5);
        let verdict = Verdict { pause: Some(until), ..Verdict::default() };
        board.finish(&key("d", "a"), verdict);
        assert!(board.take(Instant::now()).unwrap().manner.hurry);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_later_comes_back_once() {
        let board = Board::default();
        board.kick(key("d", "a"), Urgency::Change);
        assert_eq!(taken(&board), ["d/a"]);
        let again_at = Some(Instant::now() + Duration::from_secs(5));
        board.finish(&key("d", "a"), Verdict { again_at, ..Verdict::default() });
        assert_eq!(board.next_due(), again_at);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(taken(&board), ["d/a"]);
        board.finish(&key("d", "a"), Verdict::default());
        assert_eq!(board.next_due(), None);
    }
}
