//! Pulls inside a server: stored sources whose secrets are brought to its destinations, by schedule and
//! when somebody asks, over the same replication that a program of its own runs.
//!
//! `stored` is what is kept, `build` puts a run together, `recorded` stands before the destination. The
//! loop here has no input: what is due it reads from storage, after a crash as before.

mod build;
mod recorded;
pub(crate) mod stored;

pub(crate) use build::{Auth, checked, source};

use crate::{
    Tenure,
    epoch::Epoch,
    event,
    failure::Error,
    pass::{STOP_GRACE, STORAGE_RETRY, SyncSession},
    pull::{
        Forecast,
        report::{Outcome, RunReport, SetupFailure, Stage},
    },
    registry::Registry,
    source::LocalSource,
    store::Store,
};
use bailee_barrier::Barrier;
use bailee_crypto::{Clock, random};
use bailee_sdk::Namespace;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};
use stored::{LastRun, SourceRuns, StoredSource};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::{AbortHandle, JoinSet},
    time::Instant,
};

/// How often what is due is looked for, should a wake-up have been lost or the clock been put right.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Runs of all sources at once.
const RUNS_AT_ONCE_MAX: usize = 4;
/// Plans of all sources at once.
const PLANS_AT_ONCE_MAX: usize = 2;
/// Time for one run; what is not done then, the next one does.
const RUN_TIME_MAX: Duration = Duration::from_secs(6 * 3600);
/// Times the outcome of a run is written down before it is forgotten.
const RECORD_ATTEMPTS_MAX: u32 = 5;

/// What stands for a source: the id of its namespace, and its name.
pub(crate) type SourceKey = (String, String);

/// The work on sources while a server is unsealed.
pub(crate) struct Pulling {
    barrier: Arc<Barrier>,
    local: Arc<dyn LocalSource>,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    tenure: Tenure,
    state: Mutex<State>,
    wakes: Notify,
    plans: Semaphore,
    /// Whether it falls silent.
    stopped: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<SourceKey, Run>,
    /// Sources of which somebody wants a run now.
    asked: BTreeSet<SourceKey>,
}

/// A run that is under way.
struct Run {
    since: SystemTime,
    task: AbortHandle,
}

/// A source, and when it is to run.
struct Due {
    at: SystemTime,
    namespace: Arc<Namespace>,
    source: StoredSource,
}

impl Due {
    fn key(&self) -> SourceKey {
        (self.namespace.id.clone(), self.source.name.clone())
    }
}

impl Pulling {
    pub(crate) fn new(
        session: &SyncSession,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Pulling> {
        Arc::new(Pulling {
            barrier: session.barrier.clone(),
            local: session.local.clone(),
            registry,
            clock,
            tenure: session.tenure.clone(),
            state: Mutex::default(),
            wakes: Notify::new(),
            plans: Semaphore::new(PLANS_AT_ONCE_MAX),
            stopped: watch::Sender::new(false),
        })
    }

    /// Somebody wants a run now; where one is under way, another one after it.
    pub(crate) fn ask(&self, key: SourceKey) {
        self.state.lock().asked.insert(key);
        self.wakes.notify_one();
    }

    /// A source was changed: a run that is under way ends, and begins again as it is now.
    pub(crate) fn changed(&self, key: &SourceKey) {
        let mut state = self.state.lock();
        let running = state.running.get(key).map(|run| run.task.clone());
        if running.is_some() {
            state.asked.insert(key.clone());
        }
        drop(state);
        running.iter().for_each(AbortHandle::abort);
        self.wakes.notify_one();
    }

    /// A source is paused, or gone: nothing of it runs any more.
    pub(crate) fn rest(&self, key: &SourceKey) {
        let mut state = self.state.lock();
        state.asked.remove(key);
        let running = state.running.get(key).map(|run| run.task.clone());
        drop(state);
        running.iter().for_each(AbortHandle::abort);
    }

    /// Since when a run of a source is under way.
    pub(crate) fn running_since(&self, key: &SourceKey) -> Option<SystemTime> {
        self.state.lock().running.get(key).map(|run| run.since)
    }

    /// Whether a run was asked for and has not begun.
    pub(crate) fn is_asked(&self, key: &SourceKey) -> bool {
        self.state.lock().asked.contains(key)
    }

    /// What a run would do now; `None` where too many plans are under way.
    pub(crate) async fn plan(
        &self,
        namespace: &Arc<Namespace>,
        source: &StoredSource,
    ) -> Option<Result<Forecast, SetupFailure>> {
        let _permit = self.plans.try_acquire().ok()?;
        let built = match Box::pin(self.build(namespace, source)).await {
            Ok(built) => built,
            Err(failure) => return Some(Err(failure)),
        };
        let forecast = Box::pin(built.replication.plan()).await;
        built.source.leave().await;
        Some(forecast)
    }

    /// Runs what is due until it is told to stop.
    pub(crate) async fn run(self: Arc<Pulling>, mut stopped: watch::Receiver<bool>) {
        let mut work = JoinSet::new();
        loop {
            let next = self.start_due(&mut work).await;
            tokio::select! {
                biased;
                // An error means that the handle was dropped: that is a stop too.
                _ = stopped.wait_for(|stop| *stop) => break,
                () = self.wakes.notified() => {}
                Some(_) = work.join_next() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
        // Calls that are under way get a moment, and no other is begun.
        self.stopped.send_replace(true);
        let ended =
            tokio::time::timeout(STOP_GRACE, async { while work.join_next().await.is_some() {} });
        if ended.await.is_err() {
            work.shutdown().await;
        }
    }

    /// Begins what is due; when to look again.
    async fn start_due(self: &Arc<Pulling>, work: &mut JoinSet<()>) -> Instant {
        let (now, instant) = (self.clock.now(), Instant::now());
        let waiting = match self.waiting(now).await {
            Ok(waiting) => waiting,
            Err(error) => {
                event::source_failed("look for sources that are due", &error);
                return instant + STORAGE_RETRY;
            }
        };
        let mut next = instant + SWEEP_INTERVAL;
        for due in waiting {
            if let Ok(wait) = due.at.duration_since(now)
                && !wait.is_zero()
            {
                next = next.min(instant.checked_add(wait).unwrap_or(next));
                continue;
            }
            let key = due.key();
            let mut state = self.state.lock();
            if state.running.contains_key(&key) || state.running.len() >= RUNS_AT_ONCE_MAX {
                continue;
            }
            state.asked.remove(&key);
            let (pulling, ending) =
                (self.clone(), Ending { pulling: self.clone(), key: due.key() });
            let task = work.spawn(async move {
                Box::pin(pulling.pull(due)).await;
                drop(ending);
            });
            state.running.insert(key, Run { since: now, task });
        }
        next
    }

    /// All sources that run at some time, first those that have waited longest. What cannot be read in
    /// one namespace holds up no other one.
    async fn waiting(&self, now: SystemTime) -> Result<Vec<Due>, Error> {
        let (mut waiting, mut kinds) = (Vec::new(), BTreeMap::new());
        for namespace in self.local.namespaces().await? {
            let namespace = Arc::new(namespace);
            if let Err(error) = self.waiting_in(&namespace, now, &mut waiting, &mut kinds).await {
                event::storage_failed("read sources", &error);
            }
        }
        event::sources(&kinds);
        waiting.sort_by_key(|due| due.at);
        Ok(waiting)
    }

    async fn waiting_in(
        &self,
        namespace: &Arc<Namespace>,
        now: SystemTime,
        waiting: &mut Vec<Due>,
        kinds: &mut BTreeMap<String, usize>,
    ) -> Result<(), bailee_storage::Error> {
        let store = Store::open(&self.barrier, namespace);
        let names = store.source_names().await?;
        if names.is_empty() {
            return Ok(());
        }
        let held = Epoch::read(&store.view).await?.is_none_or(|epoch| epoch.held);
        let rests = held || store.config().await?.disabled;
        for name in names {
            let Some(source) = store.source(&name).await? else { continue };
            *kinds.entry(source.kind.clone()).or_default() += 1;
            if rests || source.paused {
                continue;
            }
            let destination = store.destination(&source.destination_type, &source.destination_name);
            if destination.await?.is_some_and(|(destination, _)| destination.paused) {
                continue;
            }
            let runs = store.source_runs(&name).await?;
            let asked = self.is_asked(&(namespace.id.clone(), name));
            let at = asked.then_some(SystemTime::UNIX_EPOCH);
            if let Some(at) = at.or_else(|| source.next_run(runs.as_ref(), now)) {
                waiting.push(Due { at, namespace: namespace.clone(), source });
            }
        }
        Ok(())
    }

    /// One run, from its beginning to what is written down of it.
    async fn pull(&self, due: Due) {
        let Due { namespace, source, .. } = &due;
        // From here on, whoever changes it ends this run: what was changed before is read anew.
        let current = match self.current(namespace, source).await {
            Ok(None) => return,
            Ok(Some(current)) => Ok(current),
            Err(error) => Err(SetupFailure::new(Stage::Configuration, error.into())),
        };
        let report = match &current {
            Ok(current) => Box::pin(self.report(namespace, current)).await,
            Err(failure) => self.not_begun(source, self.clock.now(), failure.clone()),
        };
        if *self.stopped.borrow() {
            // It was cut off: after the next start it is due still.
            return;
        }
        let last = LastRun::of(&report);
        let took = report.ended_at.duration_since(report.started_at).unwrap_or_default();
        event::pulled(&source.kind, &namespace.id, &source.name, &last, took);
        self.record(namespace, source, last).await;
    }

    /// The source as it is now; `None` where it is gone, or rests.
    async fn current(
        &self,
        namespace: &Arc<Namespace>,
        source: &StoredSource,
    ) -> Result<Option<StoredSource>, bailee_storage::Error> {
        let current = Store::open(&self.barrier, namespace).source(&source.name).await?;
        Ok(current.filter(|current| !current.paused))
    }

    async fn report(&self, namespace: &Arc<Namespace>, source: &StoredSource) -> RunReport {
        let (started_at, ends) = (self.clock.now(), Instant::now() + RUN_TIME_MAX);
        let built = match Box::pin(self.build(namespace, source)).await {
            Ok(built) => built,
            Err(failure) => return self.not_begun(source, started_at, failure),
        };
        let report = Box::pin(built.replication.run_until(Some(ends))).await;
        built.source.leave().await;
        report
    }

    fn not_begun(
        &self,
        source: &StoredSource,
        started_at: SystemTime,
        failure: SetupFailure,
    ) -> RunReport {
        RunReport {
            replication: source.name.clone(),
            run: random::uuid().to_string(),
            started_at,
            ended_at: self.clock.now(),
            account: String::new(),
            region: String::new(),
            outcome: Outcome::NotBegun(failure),
        }
    }

    /// Writes down how a run went, unless its source is not there any more.
    async fn record(&self, namespace: &Namespace, source: &StoredSource, last: LastRun) {
        for _ in 0..RECORD_ATTEMPTS_MAX {
            match self.try_record(namespace, source, &last).await {
                Ok(()) => return,
                Err(error) => event::storage_failed("write down how a source's run went", &error),
            }
            tokio::time::sleep(STORAGE_RETRY).await;
        }
    }

    async fn try_record(
        &self,
        namespace: &Namespace,
        source: &StoredSource,
        last: &LastRun,
    ) -> Result<(), bailee_storage::Error> {
        let store = Store::open(&self.barrier, namespace);
        store.lock_sources().await;
        let now = store.source(&source.name).await?;
        if now.is_none_or(|now| now.id != source.id) {
            return Ok(());
        }
        let before = store.source_runs(&source.name).await?;
        let before = before.filter(|before| before.source == source.id);
        let succeeded_at = match last.is_ok() {
            true => Some(last.ended_at),
            false => before.and_then(|before| before.succeeded_at),
        };
        let runs = SourceRuns { source: source.id.clone(), last: last.clone(), succeeded_at };
        store.put_source_runs(&source.name, &runs);
        store.view.commit().await?;
        Ok(())
    }
}

/// Notes that a run has ended, also when it was cut off.
struct Ending {
    pulling: Arc<Pulling>,
    key: SourceKey,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.pulling.state.lock().running.remove(&self.key);
        self.pulling.wakes.notify_one();
    }
}
