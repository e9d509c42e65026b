//! Choices that follow from a seed, and the story of a run.

use bailee_crypto::random::predictable;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Choices.
#[derive(Clone)]
pub(super) struct Dice(Arc<Mutex<u64>>);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(Arc::new(Mutex::new(seed)))
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        predictable::next(&mut self.0.lock()) % bound.max(1)
    }

    pub(super) fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&self, among: &[T]) -> T {
        among[self.below(among.len() as u64) as usize]
    }

    pub(super) fn millis(&self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

/// What happened, line by line; printed when the run fails.
#[derive(Clone)]
pub(super) struct Log {
    began: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Log {
    pub(super) fn new() -> Log {
        Log { began: Instant::now(), lines: Arc::default() }
    }

    pub(super) fn add(&self, line: impl AsRef<str>) {
        let at = self.began.elapsed().as_secs_f64();
        self.lines.lock().push(format!("{at:>10.3} {}", line.as_ref()));
    }

    pub(super) fn text(&self) -> String {
        self.lines.lock().join("\n")
    }
}
