//! The loop that keeps destinations up to date: woken by a change, by a wish or by a timer, it takes
//! up what waits and works on what is ready. It has no input; after a crash it begins the same way.

use crate::{
    board::{Board, Job, Key, Urgency, Verdict},
    budget::Budget,
    dirty,
    epoch::Epoch,
    event,
    failure::Error,
    purge, reconcile,
    registry::Registry,
    source::LocalSource,
    store::Store,
    work::Worker,
};
use bailee_barrier::Barrier;
use bailee_sdk::{Clock, Namespace};
use bailee_storage::Error as StorageError;
use parking_lot::Mutex;
use std::{fmt, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle, JoinSet},
    time::Instant,
};

/// How often everything that waits in storage is looked for, should a wake-up have been lost.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// How long after a failure of storage the loop tries again.
const STORAGE_RETRY: Duration = Duration::from_secs(1);
/// How long calls that run may take to end when sync stops; what is cut off is dirty and is
/// delivered again after the next start.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// What sync works with while the server is unsealed and active.
pub struct SyncSession {
    /// The open barrier.
    pub barrier: Arc<Barrier>,
    /// This server's secrets, read and recorded as the system.
    pub local: Arc<dyn LocalSource>,
    /// Wakes after a commit with change notes.
    pub changed: watch::Receiver<()>,
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

    /// Starts the loop; `ended` runs when it has stopped.
    pub(crate) fn start(
        self,
        changed: watch::Receiver<()>,
        ended: impl FnOnce() + Send + 'static,
    ) -> Running {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            Arc::new(self).run(changed, stopped).await;
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
            timers.reconcile = now;
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
        if timers.reconcile <= now {
            timers.reconcile = now + self.reconcile_interval;
            // One that takes longer than the interval goes on alone.
            if timers.reconciling.as_ref().is_none_or(AbortHandle::is_finished) {
                let pass = self.clone();
                let running = work.spawn(async move { reconcile::reconcile(&pass).await });
                timers.reconciling = Some(running);
            }
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
        let mut outcome = Ok(());
        for namespace in self.namespaces() {
            let marks = self.find_marks(&namespace).await;
            let store = Store::open(&self.barrier, &namespace);
            let purges = purge::find(self, &store, &namespace).await;
            outcome = outcome.and(marks).and(purges);
        }
        event::depth(self.board.depth());
        for (namespace, configured) in self.registry.in_use() {
            let stored = &configured.stored;
            event::budget(&stored.kind, &stored.name, &namespace, configured.budget.in_force());
        }
        Ok(outcome?)
    }

    async fn find_marks(&self, namespace: &Arc<Namespace>) -> Result<(), StorageError> {
        for (destination, secret) in Store::open(&self.barrier, namespace).dirty_ids().await? {
            self.board.kick(Key::new(namespace, &destination, &secret), Urgency::Change);
        }
        Ok(())
    }

    /// Turns change notes into dirty marks; what fails in one namespace holds up no other one.
    async fn spread(&self) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        for namespace in self.namespaces() {
            match dirty::spread(&self.barrier, &namespace, self.clock.now()).await {
                Ok(dirty) => {
                    for key in dirty {
                        self.board.kick(key, Urgency::Change);
                    }
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }
}

/// When the loop does what by itself.
struct Timers {
    sweep: Instant,
    reconcile: Instant,
    spread: Option<Instant>,
    reconciling: Option<AbortHandle>,
}

impl Timers {
    fn new() -> Timers {
        let now = Instant::now();
        Timers { sweep: now, reconcile: now, spread: None, reconciling: None }
    }

    fn next(&self, due: Option<Instant>) -> Instant {
        let first = self.sweep.min(self.reconcile);
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
