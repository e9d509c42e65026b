//! The loop that keeps destinations up to date: woken by a change, by a wish or by a timer, it takes
//! up what waits and works on what is ready. It has no input; after a crash it begins the same way.

use crate::{
    Tenure,
    board::{Board, Job, Key, LaneKey, Manner, Refill, Urgency, Verdict},
    budget::Budget,
    dirty,
    epoch::Epoch,
    event,
    failure::Error,
    pulling::Pulling,
    purge, reconcile,
    registry::Registry,
    source::LocalSource,
    store::Store,
    work::Worker,
};
use bailee_barrier::Barrier;
use bailee_crypto::clock::from_millis;
use bailee_sdk::{Clock, Namespace};
use bailee_storage::Error as StorageError;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle, JoinSet},
    time::Instant,
};

/// How often everything that waits in storage is looked for, should a wake-up have been lost.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Marks of one destination that are counted for metrics.
const BACKLOG_COUNTED_MAX: usize = 1_024;
/// How often every association is compared with its secret, whatever was noted meanwhile.
const COMPARE_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest wait before a comparison for the sake of what was due and did not fit.
const FORGOTTEN_WAIT: Duration = Duration::from_secs(60);
/// How long after a failure of storage the loop tries again.
pub(crate) const STORAGE_RETRY: Duration = Duration::from_secs(1);
/// How long calls that run may take to end when sync stops; what is cut off is dirty and is
/// delivered again after the next start.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(2);

/// What sync works with while the server is unsealed and active.
pub struct SyncSession {
    /// The open barrier.
    pub barrier: Arc<Barrier>,
    /// This server's secrets, read and recorded as the system.
    pub local: Arc<dyn LocalSource>,
    /// Wakes after a commit with change notes.
    pub changed: watch::Receiver<()>,
    /// How long this server may act outside.
    pub tenure: Tenure,
}

impl fmt::Debug for SyncSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyncSession")
    }
}

/// Sync at work. Dropping it stops the loop without waiting.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends as a crash does: nothing is finished.
    #[cfg(test)]
    pub(crate) async fn kill(self) {
        self.task.abort();
        self.task.await.ok();
    }

    /// Ends the work: running calls get a moment, what is left stays dirty in storage.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // A panic of the loop has been reported by the runtime.
        self.task.await.ok();
    }
}

/// Everything the loop works with.
pub(crate) struct Pass {
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) local: Arc<dyn LocalSource>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) board: Arc<Board>,
    pub(crate) reconcile_interval: Duration,
    worker: Worker,
    namespaces: Mutex<Vec<Arc<Namespace>>>,
}

impl Pass {
    pub(crate) fn new(
        session: &SyncSession,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        board: Arc<Board>,
        reconcile_interval: Duration,
    ) -> Pass {
        let (barrier, local) = (session.barrier.clone(), session.local.clone());
        let worker = Worker::new(
            barrier.clone(),
            local.clone(),
            registry.clone(),
            clock.clone(),
            board.clone(),
            session.tenure.clone(),
        );
        Pass {
            barrier,
            local,
            registry,
            clock,
            board,
            reconcile_interval,
            worker,
            namespaces: Mutex::default(),
        }
    }

    /// Starts the loop, and that of the sources beside it; `ended` runs when it has stopped.
    pub(crate) fn start(
        self,
        changed: watch::Receiver<()>,
        pulling: Arc<Pulling>,
        ended: impl FnOnce() + Send + 'static,
    ) -> Running {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let pulls = pulling.run(stopped.clone());
            tokio::join!(Arc::new(self).run(changed, stopped), pulls);
            ended();
        });
        Running { stop, task }
    }

    async fn run(
        self: Arc<Pass>,
        mut changed: watch::Receiver<()>,
        mut stopped: watch::Receiver<bool>,
    ) {
        while let Err(error) = Epoch::begin(&self.barrier).await {
            event::storage_failed("find out which server this is", &error);
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(STORAGE_RETRY) => {}
            }
        }
        let mut work = JoinSet::new();
        let mut timers = Timers::new();
        // A change from before the loop is found by the first sweep.
        changed.mark_unchanged();
        loop {
            self.due_work(&mut timers, &mut work).await;
            self.start_ready(&mut work);
            let until = timers.next(self.board.next_due());
            tokio::select! {
                biased;
                // An error means that the handle was dropped: that is a stop too.
                _ = stopped.wait_for(|stop| *stop) => break,
                woken = changed.changed() => match woken {
                    Ok(()) => timers.spread = Some(Instant::now()),
                    Err(_) => break,
                },
                () = self.board.woken() => {}
                Some(_) = work.join_next() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
        let grace =
            tokio::time::timeout(STOP_GRACE, async { while work.join_next().await.is_some() {} });
        if grace.await.is_err() {
            work.shutdown().await;
        }
        self.registry.clear();
    }

    /// Does what a timer or a change asks for.
    async fn due_work(self: &Arc<Pass>, timers: &mut Timers, work: &mut JoinSet<()>) {
        let now = Instant::now();
        let asked = self.board.take_sweep();
        if asked {
            // What came due without a mark while nothing was to be done, such as a version's death.
            (timers.reconcile, timers.compare) = (now, now);
        }
        if timers.sweep <= now || asked {
            timers.sweep = now + SWEEP_INTERVAL;
            timers.spread = Some(now);
            if let Err(error) = self.sweep().await {
                timers.sweep = now + STORAGE_RETRY;
                event::source_failed("look for what waits", &error);
            }
        }
        if timers.spread.is_some_and(|at| at <= now) {
            timers.spread = None;
            if let Err(error) = self.spread().await {
                timers.spread = Some(now + STORAGE_RETRY);
                event::storage_failed("take up change notes", &error);
            }
        }
        if let Some(at) = self.board.take_forgotten() {
            timers.compare = timers.compare.min(at.max(now + FORGOTTEN_WAIT));
        }
        // One that takes longer than its interval goes on alone.
        let ended = |task: &Option<AbortHandle>| task.as_ref().is_none_or(AbortHandle::is_finished);
        if timers.compare <= now && ended(&timers.comparing) {
            timers.compare = now + COMPARE_INTERVAL;
            let pass = self.clone();
            timers.comparing = Some(work.spawn(async move { reconcile::compare(&pass).await }));
        }
        if timers.reconcile <= now && ended(&timers.reconciling) {
            timers.reconcile = now + self.reconcile_interval;
            let pass = self.clone();
            timers.reconciling = Some(work.spawn(async move { reconcile::reconcile(&pass).await }));
        }
        self.start_asked(work);
    }

    /// Starts what was asked for beside the timers.
    fn start_asked(self: &Arc<Pass>, work: &mut JoinSet<()>) {
        for lane in self.board.take_asked() {
            let pass = self.clone();
            let manner = Manner { verify: true, hurry: true, ..Manner::default() };
            work.spawn(async move {
                if let Err(error) = reconcile::all_of(&pass, &lane, manner).await {
                    event::storage_failed("sync a destination now", &error);
                }
            });
        }
        for refill in self.board.take_refills() {
            let pass = self.clone();
            work.spawn(async move { pass.refill(refill).await });
        }
        for key in self.board.take_purges() {
            let pass = self.clone();
            work.spawn(async move { purge::carry_on(&pass, &key).await });
        }
    }

    /// Works on what is ready, within the bounds of the board.
    fn start_ready(self: &Arc<Pass>, work: &mut JoinSet<()>) {
        while let Some(job) = self.board.take(Instant::now()) {
            let pass = self.clone();
            work.spawn(async move { pass.work(job).await });
        }
    }

    async fn work(&self, job: Job) {
        self.know(&job.key.namespace);
        let mut ending = Ending { board: &self.board, key: &job.key, verdict: Verdict::default() };
        if let Some(budget) = self.budget(&job.key) {
            if job.manner.hurry {
                budget.hurry();
            }
            if let Some(until) = budget.rests_until() {
                // The destination was heard of through another one that shares the budget.
                self.board.pace(&job.key, budget.width(), Some(until));
                ending.verdict = Verdict { again_at: Some(until), pause: None, manner: job.manner };
                return;
            }
        }
        ending.verdict = self.worker.work(&job).await;
        if let Some(budget) = self.budget(&job.key) {
            // One object's own backoff holds up no other.
            ending.verdict.pause = None;
            self.board.pace(&job.key, budget.width(), budget.rests_until());
        }
    }

    fn budget(&self, key: &Key) -> Option<Arc<Budget>> {
        self.registry.budget_in_use(&key.namespace, &key.destination)
    }

    /// A namespace younger than the last sweep has its first association.
    fn know(&self, namespace: &Arc<Namespace>) {
        let mut known = self.namespaces.lock();
        if !known.iter().any(|other| other.id == namespace.id) {
            known.push(namespace.clone());
        }
    }

    /// All namespaces, as the last sweep found them.
    pub(crate) fn namespaces(&self) -> Vec<Arc<Namespace>> {
        self.namespaces.lock().clone()
    }

    /// Finds everything that waits in storage.
    ///
    /// What cannot be read in one namespace holds up no other one; the first failure is told at
    /// the end.
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        let found = self.local.namespaces().await?;
        *self.namespaces.lock() = found.into_iter().map(Arc::new).collect();
        let (mut outcome, mut waiting) = (Ok(()), BTreeMap::new());
        for namespace in self.namespaces() {
            let marks = self.find_marks(&namespace, &mut waiting).await;
            let store = Store::open(&self.barrier, &namespace);
            let purges = purge::find(self, &store, &namespace).await;
            outcome = outcome.and(marks).and(purges);
        }
        event::depth(self.board.depth());
        event::waiting(self.registry.kind_names(), &waiting);
        for (namespace, configured) in self.registry.in_use() {
            let stored = &configured.stored;
            event::budget(&stored.kind, &stored.name, &namespace, configured.budget.in_force());
        }
        Ok(outcome?)
    }

    /// Tells the board of which destinations something waits, and which of them rest.
    async fn find_marks(
        &self,
        namespace: &Arc<Namespace>,
        waiting: &mut BTreeMap<String, (usize, Duration)>,
    ) -> Result<(), StorageError> {
        let store = Store::open(&self.barrier, namespace);
        let config = store.config().await?;
        self.board.set_capacity(config.queue_capacity);
        let held = Epoch::read(&store.view).await?.is_none_or(|epoch| epoch.held);
        let dirty: BTreeSet<String> = store.dirty_destinations().await?.into_iter().collect();
        let (stored, outcome) = reconcile::stored_destinations(&store).await?;
        for stored in stored {
            let id = store.destination_id(&stored.kind, &stored.name);
            let lane = LaneKey::new(namespace, &id);
            if stored.paused && !stored.is_purging() {
                self.board.rest(&lane);
            } else {
                self.board.resume(&lane);
            }
            if dirty.contains(&id) {
                let (count, age) = self.backlog(&store, &id).await?;
                let (marks, oldest) = waiting.entry(stored.kind).or_default();
                *marks += count;
                *oldest = age.max(*oldest);
            }
        }
        if !config.disabled && !held {
            for destination in dirty {
                self.board.found(&LaneKey::new(namespace, &destination));
            }
        }
        outcome
    }

    /// How many marks of a destination wait, and how old the oldest is; of a long backlog a part.
    async fn backlog(
        &self,
        store: &Store,
        destination: &str,
    ) -> Result<(usize, Duration), StorageError> {
        let (mut after, mut count, mut oldest) = (String::new(), 0, Duration::ZERO);
        while count < BACKLOG_COUNTED_MAX {
            let page = store.dirty_page(destination, &after).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(last);
            count += page.len();
            for secret in &page {
                if let Some((mark, _)) = store.dirty_at(destination, secret).await? {
                    let age = self.clock.now().duration_since(from_millis(mark.since));
                    oldest = oldest.max(age.unwrap_or_default());
                }
            }
        }
        Ok((count, oldest))
    }

    /// Takes up marks of a destination as far as they fit.
    async fn refill(&self, refill: Refill) {
        let mut ending = Refilling { board: &self.board, lane: &refill.lane, rest: None };
        ending.rest = Some(refill.after.clone());
        match self.take_up_marks(&refill).await {
            Ok(rest) => ending.rest = rest,
            Err(error) => {
                event::storage_failed("take up marks", &error);
                tokio::time::sleep(STORAGE_RETRY).await;
            }
        }
    }

    /// Where to go on when not all of them fitted.
    async fn take_up_marks(&self, refill: &Refill) -> Result<Option<String>, StorageError> {
        let LaneKey { namespace, destination } = &refill.lane;
        let (mut after, mut around) = (refill.after.clone(), refill.after.is_empty());
        loop {
            let store = Store::open(&self.barrier, namespace);
            let page = store.dirty_page(destination, &after).await?;
            if page.is_empty() {
                if around {
                    return Ok(None);
                }
                (after, around) = (String::new(), true);
                continue;
            }
            for secret in page {
                if around && !refill.after.is_empty() && secret > refill.after {
                    return Ok(None);
                }
                if !self.board.take_up(Key::new(namespace, destination, &secret)) {
                    return Ok(Some(after));
                }
                after = secret;
            }
        }
    }

    /// Turns change notes into dirty marks; what fails in one namespace holds up no other one.
    async fn spread(&self) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        for namespace in self.namespaces() {
            let kick = |key| self.board.kick(key, Urgency::Change);
            let spread = dirty::spread(&self.barrier, &namespace, self.clock.now(), kick).await;
            outcome = outcome.and(spread);
        }
        outcome
    }
}

/// When the loop does what by itself.
struct Timers {
    sweep: Instant,
    reconcile: Instant,
    compare: Instant,
    spread: Option<Instant>,
    reconciling: Option<AbortHandle>,
    comparing: Option<AbortHandle>,
}

impl Timers {
    fn new() -> Timers {
        let now = Instant::now();
        Timers {
            sweep: now,
            reconcile: now,
            compare: now,
            spread: None,
            reconciling: None,
            comparing: None,
        }
    }

    fn next(&self, due: Option<Instant>) -> Instant {
        // What still runs says so when it ends.
        let runs =
            |task: &Option<AbortHandle>| task.as_ref().is_some_and(|task| !task.is_finished());
        let reconcile = Some(self.reconcile).filter(|_| !runs(&self.reconciling));
        let compare = Some(self.compare).filter(|_| !runs(&self.comparing));
        let first = reconcile.into_iter().chain(compare).fold(self.sweep, Instant::min);
        [self.spread, due].into_iter().flatten().fold(first, Instant::min)
    }
}

/// Tells the board that work has ended, also when it was cut off.
struct Ending<'a> {
    board: &'a Board,
    key: &'a Key,
    verdict: Verdict,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.board.finish(self.key, self.verdict);
    }
}

/// Tells the board that marks were looked for, also when that was cut off.
struct Refilling<'a> {
    board: &'a Board,
    lane: &'a LaneKey,
    rest: Option<String>,
}

impl Drop for Refilling<'_> {
    fn drop(&mut self) {
        self.board.refilled(self.lane, self.rest.take());
    }
}
