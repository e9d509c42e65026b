//! Stories that follow from a number, told many times over: on a clock that jumps, with chance that can
//! be repeated.

use bailee_crypto::random::predictable;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::time::Instant;

/// The one seed that is to be told again.
const SEED: &str = "BAILEE_SIMULATION_SEED";
/// How many are told instead of the usual number.
const RUNS: &str = "BAILEE_SIMULATION_RUNS";
/// Failures that are shown whole.
const SHOWN_MAX: usize = 3;

/// Tells a story for each seed below `runs`, on all cores, and returns what each came to. The variable
/// `BAILEE_SIMULATION_SEED` picks one seed, `BAILEE_SIMULATION_RUNS` another number of them. A story
/// that fails says how; `again` is the command that repeats it.
///
/// # Panics
///
/// When a story fails.
pub fn simulate<T, F>(runs: u64, again: &str, story: F) -> Vec<T>
where
    T: Send,
    F: AsyncFn(u64) -> Result<T, String> + Sync,
{
    let (first, end) = match variable(SEED) {
        Some(seed) => (seed, seed + 1),
        None => (0, variable(RUNS).unwrap_or(runs)),
    };
    let (next, outcomes) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        let outcome = tell(seed, &story);
        outcomes.lock().push((seed, outcome));
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes.into_inner();
    outcomes.sort_by_key(|(seed, _)| *seed);
    let (mut told, mut failures) = (Vec::new(), Vec::new());
    for (seed, outcome) in outcomes {
        match outcome {
            Ok(outcome) => told.push(outcome),
            Err(failure) => failures.push((seed, failure)),
        }
    }
    let seeds: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
    let shown = failures.iter().take(SHOWN_MAX).map(|(seed, failure)| {
        format!("{failure}\nseed {seed}: repeat it with {SEED}={seed} {again}\n\n")
    });
    let shown: String = shown.collect();
    assert!(seeds.is_empty(), "{shown}{} of {} runs failed: {seeds:?}", seeds.len(), end - first);
    told
}

/// One story, alone on its thread.
#[expect(clippy::expect_used, reason = "without a runtime there is no test")]
fn tell<T, F>(seed: u64, story: &F) -> Result<T, String>
where
    F: AsyncFn(u64) -> Result<T, String>,
{
    predictable::seed(Some(seed));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    let outcome = runtime.block_on(story(seed));
    drop(runtime);
    predictable::seed(None);
    outcome
}

#[expect(clippy::disallowed_methods, reason = "a test is told what to repeat")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Choices that follow from a seed.
#[derive(Clone, Debug)]
pub struct Dice(Arc<Mutex<u64>>);

impl Dice {
    /// All choices follow from the seed.
    pub fn new(seed: u64) -> Dice {
        Dice(Arc::new(Mutex::new(seed)))
    }

    /// A number below `bound`.
    pub fn below(&self, bound: u64) -> u64 {
        predictable::next(&mut self.0.lock()) % bound.max(1)
    }

    /// Whether something happens that happens so often in a hundred times.
    pub fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[expect(clippy::indexing_slicing, reason = "a number below the length is an index")]
    pub fn pick<T: Copy>(&self, among: &[T]) -> T {
        among[usize::try_from(self.below(among.len() as u64)).unwrap_or_default()]
    }

    /// A time below so many milliseconds.
    pub fn millis(&self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

/// What happened, line by line; to be shown when the story fails.
#[derive(Clone, Debug)]
pub struct Log {
    began: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Default for Log {
    fn default() -> Log {
        Log { began: Instant::now(), lines: Arc::default() }
    }
}

impl Log {
    /// Adds a line with the time since the beginning.
    pub fn add(&self, line: impl AsRef<str>) {
        let at = self.began.elapsed().as_secs_f64();
        self.lines.lock().push(format!("{at:>10.3} {}", line.as_ref()));
    }

    /// All lines.
    pub fn text(&self) -> String {
        self.lines.lock().join("\n")
    }
}
