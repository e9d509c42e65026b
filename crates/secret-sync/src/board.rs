//! What is to be worked on next, in memory: the durable form is the dirty marks in storage.
//!
//! One object is worked on once at a time, so an older value never overtakes a newer one; a wish
//! that arrives meanwhile is remembered once. Objects of one destination share a lane, so a slow
//! destination holds up nobody else.

mod key;
mod lane;

pub(crate) use key::{Key, LaneKey, PurgeKey};

use crate::feed::Feed;
use lane::{Lane, Phase, Slot};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

/// Objects that are worked on at once in all.
const RUNNING_MAX: usize = 128;
/// Objects that are held in memory in all; what does not fit waits in storage, where it is marked.
const SLOTS_MAX: usize = 100_000;
/// Objects that each destination may hold, however many there are.
const LANE_SLOTS_MIN: usize = 128;
/// What is due later than that is distant: more than a few such objects of a destination are not held,
/// so that those which may rest for years leave room for what changes.
const DISTANT: Duration = Duration::from_secs(6 * 60 * 60);
/// Distant objects that each destination may hold.
const LANE_DISTANT_MAX: usize = LANE_SLOTS_MIN / 2;
/// Looks at objects of one destination that wait.
const CHECKS_MAX: usize = 1_024;

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

/// All wishes.
#[derive(Default)]
pub(crate) struct Board {
    /// What happened, for whoever listens.
    pub(crate) feed: Feed,
    state: Mutex<State>,
    wake: Notify,
    /// There may be room for more.
    room: Notify,
}

struct State {
    slots: HashMap<Key, Slot>,
    lanes: BTreeMap<LaneKey, Lane>,
    /// Lanes with work that may be taken, unless they rest.
    ready: BTreeSet<LaneKey>,
    /// The lane served last.
    served: Option<LaneKey>,
    due: BTreeMap<(Instant, u64), Key>,
    due_count: u64,
    running: usize,
    /// Objects that are held at most; what does not fit waits in storage.
    slots_max: usize,
    /// Something without a mark in storage was due then and did not fit.
    forgotten: Option<Instant>,
    /// Destinations whose deletion is to be carried on: namespace, type, name.
    purges: BTreeSet<PurgeKey>,
    /// Destinations whose every association is to be worked on.
    asked: BTreeSet<LaneKey>,
    sweep: bool,
}

impl Default for State {
    fn default() -> State {
        State {
            slots: HashMap::new(),
            lanes: BTreeMap::new(),
            ready: BTreeSet::new(),
            served: None,
            due: BTreeMap::new(),
            due_count: 0,
            running: 0,
            slots_max: SLOTS_MAX,
            forgotten: None,
            purges: BTreeSet::new(),
            asked: BTreeSet::new(),
            sweep: false,
        }
    }
}

/// Marks of a destination that are to be looked for in storage.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refill {
    pub(crate) lane: LaneKey,
    /// Where to begin.
    pub(crate) after: String,
}

impl Board {
    /// Wishes that an object be worked on. What does not fit waits in storage, where it is marked.
    pub(crate) fn kick(&self, key: Key, urgency: Urgency) {
        self.state.lock().offer(key, urgency, Manner::default());
        self.wake.notify_one();
    }

    /// Wishes for work on what was found marked in storage, unless it is known; whether it fitted.
    pub(crate) fn take_up(&self, key: Key) -> bool {
        let taken = {
            let mut state = self.state.lock();
            let waits = state.slots.get(&key).is_some_and(|slot| slot.phase != Phase::Running);
            waits || state.offer(key, Urgency::Change, Manner::default())
        };
        self.wake.notify_one();
        taken
    }

    /// Wishes for a look at an object that is marked nowhere, as soon as there is room for it.
    pub(crate) async fn check(&self, key: Key, manner: Manner) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // From here on no room is missed.
            room.as_mut().enable();
            if self.state.lock().offer_check(&key, manner) {
                break;
            }
            room.await;
        }
        self.wake.notify_one();
    }

    /// Wishes for a look at an object in a certain manner, because a request asks for it.
    pub(crate) fn look(&self, key: Key, manner: Manner) {
        self.state.lock().wish(key, Urgency::Check, manner, None);
        self.wake.notify_one();
    }

    /// Wishes for work; the answer comes when work that began after this call has ended.
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

    /// When something that did not fit was due, if anything.
    pub(crate) fn take_forgotten(&self) -> Option<Instant> {
        self.state.lock().forgotten.take()
    }

    /// Bounds the objects that are held; what does not fit waits in storage.
    pub(crate) fn set_capacity(&self, objects: i64) {
        let objects = usize::try_from(objects).unwrap_or(1).clamp(1, SLOTS_MAX);
        self.state.lock().slots_max = objects;
        self.room.notify_waiters();
    }

    /// Destinations of which more waits in storage and for which there is room again. Each is
    /// answered by [`Board::refilled`].
    pub(crate) fn take_refills(&self) -> Vec<Refill> {
        let mut state = self.state.lock();
        let low = state.lane_slots_max() / 2;
        let has_room = state.slots.len() < state.slots_max;
        let wanting = state.lanes.iter_mut().filter(|(_, lane)| {
            let fits = has_room || lane.held < LANE_SLOTS_MIN;
            lane.more && !lane.rests && !lane.refilling && lane.held <= low && fits
        });
        let refill = |(key, lane): (&LaneKey, &mut Lane)| {
            lane.refilling = true;
            // What does not fit from here on is told anew.
            lane.more = false;
            Refill { lane: key.clone(), after: std::mem::take(&mut lane.cursor) }
        };
        wanting.map(refill).collect()
    }

    /// What waits in storage was looked for; `rest` says where to go on when not all of it fitted.
    pub(crate) fn refilled(&self, lane_key: &LaneKey, rest: Option<String>) {
        let mut state = self.state.lock();
        if let Some(lane) = state.lanes.get_mut(lane_key) {
            lane.refilling = false;
            lane.more |= rest.is_some();
            lane.cursor = rest.unwrap_or_default();
        }
        state.settle(lane_key);
        self.wake.notify_one();
    }

    /// Says that something of a destination waits in storage.
    pub(crate) fn found(&self, lane_key: &LaneKey) {
        let mut state = self.state.lock();
        state.lanes.entry(lane_key.clone()).or_default().more = true;
        self.wake.notify_one();
    }

    /// Wishes that every association of a destination be worked on.
    pub(crate) fn ask_for_all(&self, lane_key: &LaneKey) {
        self.state.lock().asked.insert(lane_key.clone());
        self.wake.notify_one();
    }

    /// Takes those wishes.
    pub(crate) fn take_asked(&self) -> BTreeSet<LaneKey> {
        std::mem::take(&mut self.state.lock().asked)
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
        let mut state = self.state.lock();
        if let Some(lane) = state.lanes.get_mut(&key.lane()) {
            lane.width = Some(width);
            lane.paused_until = rests_until;
        }
        state.settle(&key.lane());
    }

    /// A destination is paused: what is ready there goes back to storage.
    pub(crate) fn rest(&self, lane_key: &LaneKey) {
        self.state.lock().rest(lane_key);
        // Who waits for room there need not wait any more.
        self.room.notify_waiters();
    }

    /// What a destination rested with is taken up again, if it rested.
    pub(crate) fn resume(&self, lane_key: &LaneKey) {
        if let Some(lane) = self.state.lock().lanes.get_mut(lane_key)
            && std::mem::take(&mut lane.rests)
        {
            lane.more = true;
            lane.cursor.clear();
            self.wake.notify_one();
        }
    }

    /// Work on a destination that is under way or ready.
    pub(crate) fn busy(&self, lane_key: &LaneKey) -> usize {
        let state = self.state.lock();
        let busy = |lane: &Lane| lane.running + lane.changes.len() + lane.checks.len();
        state.lanes.get(lane_key).map_or(0, busy)
    }

    /// A piece of work has ended.
    pub(crate) fn finish(&self, key: &Key, verdict: Verdict) {
        self.state.lock().finish(key, verdict);
        self.wake.notify_one();
        self.room.notify_waiters();
    }

    /// When there may be work without a new wish.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let state = self.state.lock();
        let due = state.due.keys().next().map(|(at, _)| *at);
        // Where all places are taken the end of some work wakes, not the end of a pause.
        let free = state.running < RUNNING_MAX;
        let ready = state.ready.iter().filter(|_| free).filter_map(|key| state.lanes.get(key));
        due.into_iter().chain(ready.filter_map(|lane| lane.paused_until)).min()
    }

    /// Objects that are ready, waiting or running; for metrics.
    pub(crate) fn depth(&self) -> usize {
        self.state.lock().slots.len()
    }
}

impl State {
    /// What one destination may hold, so that each has its share.
    fn lane_slots_max(&self) -> usize {
        (self.slots_max / self.lanes.len().max(1)).max(LANE_SLOTS_MIN)
    }

    /// Wishes for work on something that is marked in storage; whether it fitted.
    fn offer(&mut self, key: Key, urgency: Urgency, manner: Manner) -> bool {
        let lane_key = key.lane();
        if !self.slots.contains_key(&key) && !self.fits(&lane_key) {
            self.lanes.entry(lane_key).or_default().more = true;
            return false;
        }
        self.wish(key, urgency, manner, None);
        true
    }

    /// The same for a look at something that is marked nowhere: whether there was room for it.
    fn offer_check(&mut self, key: &Key, manner: Manner) -> bool {
        let lane_key = key.lane();
        let lane = self.lanes.get(&lane_key);
        // What rests is compared when it goes on.
        if lane.is_some_and(|lane| lane.rests) {
            return true;
        }
        let waiting = lane.map_or(0, |lane| lane.checks.len());
        if waiting >= CHECKS_MAX || (!self.slots.contains_key(key) && !self.fits(&lane_key)) {
            return false;
        }
        self.wish(key.clone(), Urgency::Check, manner, None);
        true
    }

    fn fits(&self, lane_key: &LaneKey) -> bool {
        let lane = self.lanes.get(lane_key);
        if lane.is_some_and(|lane| lane.rests) {
            return false;
        }
        let held = lane.map_or(0, |lane| lane.held);
        held < LANE_SLOTS_MIN.min(self.slots_max)
            || (self.slots.len() < self.slots_max && held < self.lane_slots_max())
    }

    fn wish(
        &mut self,
        key: Key,
        urgency: Urgency,
        manner: Manner,
        waiter: Option<oneshot::Sender<()>>,
    ) {
        let lane_key = key.lane();
        let lane = self.lanes.entry(lane_key.clone()).or_default();
        let slot = self.slots.entry(key.clone()).or_insert_with(|| {
            lane.held += 1;
            Slot::default()
        });
        slot.manner.add(manner);
        match slot.phase {
            Phase::Running => {
                slot.again = true;
                slot.later_waiters.extend(waiter);
            }
            Phase::Resting | Phase::Ready => {
                slot.waiters.extend(waiter);
                slot.phase = Phase::Ready;
                if manner.hurry {
                    lane.paused_until = None;
                }
                // What is only a look may turn out to be a change: then it is in both queues, and
                // the second one finds nothing ready.
                match (urgency, slot.queued) {
                    (_, Some(Urgency::Change)) | (Urgency::Check, Some(Urgency::Check)) => {}
                    (Urgency::Change, _) => lane.changes.push_back(key),
                    (Urgency::Check, None) => lane.checks.push_back(key),
                }
                slot.queued = match urgency {
                    Urgency::Change => Some(Urgency::Change),
                    Urgency::Check => slot.queued.or(Some(Urgency::Check)),
                };
            }
        }
        self.settle(&lane_key);
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
        // From the one after the lane that served last, so that none starves.
        let mut next = self.ready_after(self.served.as_ref());
        for _ in 0..self.ready.len() {
            let lane_key = next.or_else(|| self.ready.first().cloned())?;
            if let Some(job) = self.take_from(&lane_key, now) {
                return Some(job);
            }
            next = self.ready_after(Some(&lane_key));
        }
        None
    }

    fn ready_after(&self, lane: Option<&LaneKey>) -> Option<LaneKey> {
        let from = lane.map_or(Bound::Unbounded, Bound::Excluded);
        self.ready.range((from, Bound::Unbounded)).next().cloned()
    }

    fn take_from(&mut self, lane_key: &LaneKey, now: Instant) -> Option<Job> {
        while let Some(key) = self.pop(lane_key, now) {
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            if slot.phase != Phase::Ready {
                continue;
            }
            slot.phase = Phase::Running;
            slot.queued = None;
            let manner = std::mem::take(&mut slot.manner);
            let due = slot.due.take();
            due.map(|due| self.due.remove(&due));
            let distant = std::mem::take(&mut slot.distant);
            if let Some(lane) = self.lanes.get_mut(lane_key) {
                lane.distant = lane.distant.saturating_sub(distant.into());
                lane.running += 1;
            }
            self.running += 1;
            self.served = Some(lane_key.clone());
            self.settle(lane_key);
            return Some(Job { key, manner });
        }
        self.settle(lane_key);
        None
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
        if let Some(slot) = self.slots.get_mut(key) {
            for waiter in slot.waiters.drain(..) {
                // Whoever waited may have given up.
                waiter.send(()).ok();
            }
            slot.phase = Phase::Resting;
            slot.manner.add(verdict.manner);
            slot.waiters = std::mem::take(&mut slot.later_waiters);
            let (again, manner) = (std::mem::take(&mut slot.again), slot.manner);
            if again {
                // A pause that this work brought about does not hold up who is in a hurry.
                self.wish(key.clone(), Urgency::Change, manner, None);
            } else {
                self.put_off(key, verdict.again_at);
            }
        }
        self.settle(&lane_key);
    }

    /// Keeps an object until it is due, where there is room for it.
    fn put_off(&mut self, key: &Key, again_at: Option<Instant>) {
        let full = self.slots.len() > self.slots_max;
        let distant = again_at.is_some_and(|at| at > Instant::now() + DISTANT);
        let distant_max = LANE_DISTANT_MAX.min(self.slots_max / 2);
        let lane = self.lanes.get_mut(&key.lane());
        let crowded = distant && lane.is_none_or(|lane| lane.distant >= distant_max);
        let Some(at) = again_at.filter(|_| !full && !crowded) else {
            self.forgotten = self.forgotten.into_iter().chain(again_at).min();
            if let Some(lane) = self.lanes.get_mut(&key.lane()) {
                lane.more |= again_at.is_some() && !crowded;
            }
            self.drop_slot(key);
            return;
        };
        self.due_count += 1;
        let due = (at, self.due_count);
        if let Some(slot) = self.slots.get_mut(key) {
            slot.due = Some(due);
            slot.distant = distant;
            self.due.insert(due, key.clone());
            if let Some(lane) = self.lanes.get_mut(&key.lane()) {
                lane.distant += usize::from(distant);
            }
        }
    }

    fn drop_slot(&mut self, key: &Key) {
        let Some(slot) = self.slots.remove(key) else { return };
        slot.due.map(|due| self.due.remove(&due));
        if let Some(lane) = self.lanes.get_mut(&key.lane()) {
            lane.held = lane.held.saturating_sub(1);
            lane.distant = lane.distant.saturating_sub(slot.distant.into());
        }
    }

    /// Empties the queues of a lane but for those whose end somebody waits for.
    fn rest(&mut self, lane_key: &LaneKey) {
        let lane = self.lanes.entry(lane_key.clone()).or_default();
        lane.rests = true;
        lane.more = true;
        let queues = [std::mem::take(&mut lane.changes), std::mem::take(&mut lane.checks)];
        for key in queues.into_iter().flatten() {
            let waited_for = self.slots.get(&key).is_some_and(|slot| {
                slot.phase == Phase::Ready && (!slot.waiters.is_empty() || slot.manner.hurry)
            });
            if waited_for && let Some(lane) = self.lanes.get_mut(lane_key) {
                lane.changes.push_back(key);
            } else if self.slots.get(&key).is_some_and(|slot| slot.phase == Phase::Ready) {
                self.drop_slot(&key);
            }
        }
        self.settle(lane_key);
    }

    /// Keeps the set of ready lanes true, and forgets a lane that is of no use any more.
    fn settle(&mut self, lane_key: &LaneKey) {
        let Some(lane) = self.lanes.get(lane_key) else { return };
        if lane.has_work() && lane.has_room() {
            if !self.ready.contains(lane_key) {
                self.ready.insert(lane_key.clone());
            }
            return;
        }
        self.ready.remove(lane_key);
        if lane.is_idle() {
            self.lanes.remove(lane_key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{lane::LANE_RUNNING_MAX, *};
    use bailee_sdk::Namespace;
    use std::sync::Arc;

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
    async fn what_rests_for_years_leaves_room_for_what_changes() {
        let board = Board::default();
        let far = Verdict {
            again_at: Some(Instant::now() + Duration::from_secs(365 * 86_400)),
            ..Verdict::default()
        };
        board.set_capacity(200);
        for number in 0..1_000 {
            let key = key("d", &number.to_string());
            board.kick(key.clone(), Urgency::Change);
            assert_eq!(taken(&board), [key.to_string()], "there is room for it");
            board.finish(&key, far);
        }
        assert_eq!(board.depth(), LANE_DISTANT_MAX);
        assert_eq!(board.take_forgotten(), far.again_at, "the others are looked for then");
        assert_eq!(board.take_refills(), [], "none of them waits in storage");
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
        board.look(key("d", "a"), Manner { verify: true, ..Manner::default() });
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

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_looked_for_when_there_is_room_and_small_ones_always_fit() {
        let board = Board::default();
        board.set_capacity(1_000);
        for number in 0..5_000 {
            board.kick(key("big", &format!("{number:04}")), Urgency::Change);
        }
        assert_eq!(board.depth(), 1_000);
        for number in 0..100 {
            board.kick(key("small", &number.to_string()), Urgency::Change);
        }
        assert_eq!(board.depth(), 1_100, "a destination has its share while another is full");
        assert_eq!(board.take_refills(), []);
        let mut done = 0;
        while let Some(job) = board.take(Instant::now()) {
            board.finish(&job.key, Verdict::default());
            done += 1;
            if board.depth() <= 500 {
                break;
            }
        }
        let refills = board.take_refills();
        assert_eq!(refills.len(), 1, "after {done}");
        let refill = &refills[0];
        assert_eq!((&*refill.lane.destination, refill.after.as_str()), ("big", ""));
        assert_eq!(board.take_refills(), [], "once at a time");
        board.refilled(&refill.lane, Some("0700".to_owned()));
        assert_eq!(board.take_refills()[0].after, "0700", "it goes on where it stopped");
        board.refilled(&refill.lane, None);
        assert_eq!(board.take_refills(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn one_wish_is_queued_once() {
        let board = Board::default();
        for _ in 0..10 {
            board.kick(key("d", "a"), Urgency::Check);
            board.kick(key("d", "a"), Urgency::Change);
        }
        let lane = LaneKey::new(&Arc::new(Namespace::root()), "d");
        assert_eq!(board.busy(&lane), 2, "a look that became a change");
        assert_eq!(taken(&board), ["d/a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_destination_rests_but_for_those_who_wait() {
        let board = Board::default();
        let lane = LaneKey::new(&Arc::new(Namespace::root()), "d");
        board.kick(key("d", "a"), Urgency::Change);
        let _told = board.kick_and_tell(key("d", "b"));
        board.rest(&lane);
        board.kick(key("d", "c"), Urgency::Change);
        assert_eq!(taken(&board), ["d/b"]);
        board.finish(&key("d", "b"), Verdict::default());
        assert_eq!((board.depth(), board.take_refills()), (0, Vec::new()));
        board.resume(&lane);
        let refill = board.take_refills().remove(0);
        assert!(board.take_up(key("d", "a")));
        board.refilled(&refill.lane, None);
        assert_eq!(taken(&board), ["d/a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn looks_at_what_is_marked_nowhere_wait_for_room() {
        let board = Arc::new(Board::default());
        let feeding = board.clone();
        let fed = tokio::spawn(async move {
            for number in 0..3_000 {
                feeding.check(key("d", &number.to_string()), Manner::default()).await;
            }
        });
        tokio::task::yield_now().await;
        assert_eq!(board.depth(), CHECKS_MAX);
        let mut done = 0;
        while !fed.is_finished() || board.depth() > 0 {
            if let Some(job) = board.take(Instant::now()) {
                board.finish(&job.key, Verdict::default());
                done += 1;
            }
            assert!(board.depth() <= CHECKS_MAX + 1);
            tokio::task::yield_now().await;
        }
        assert_eq!(done, 3_000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_later_and_does_not_fit_is_told() {
        let board = Board::default();
        board.set_capacity(1);
        let at = Instant::now() + Duration::from_secs(60);
        for name in ["a", "b"] {
            board.look(key("d", name), Manner::default());
        }
        assert_eq!(taken(&board).len(), 2);
        board.finish(&key("d", "a"), Verdict { again_at: Some(at), ..Verdict::default() });
        assert_eq!(board.take_forgotten(), Some(at));
        board.finish(&key("d", "b"), Verdict { again_at: Some(at), ..Verdict::default() });
        assert_eq!(board.take_forgotten(), None);
        assert_eq!(board.next_due(), Some(at));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_room_of_a_destination_goes_on_when_it_is_paused() {
        let board = Arc::new(Board::default());
        let feeding = board.clone();
        let fed = tokio::spawn(async move {
            for number in 0..3_000 {
                feeding.check(key("d", &number.to_string()), Manner::default()).await;
            }
        });
        tokio::task::yield_now().await;
        assert!(!fed.is_finished());
        board.rest(&LaneKey::new(&Arc::new(Namespace::root()), "d"));
        fed.await.unwrap();
        assert_eq!(board.depth(), 0);
    }
}
