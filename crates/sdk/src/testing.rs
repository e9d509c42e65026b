//! Test doubles for engines: a clock that tests move.

use bailee_crypto::Clock;
use std::time::{Duration, SystemTime};

/// Wall time that follows tokio's paused clock: one knob moves both.
#[derive(Debug)]
pub struct TestClock {
    epoch: SystemTime,
    started: tokio::time::Instant,
}

impl Default for TestClock {
    fn default() -> TestClock {
        TestClock {
            epoch: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            started: tokio::time::Instant::now(),
        }
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        self.epoch + self.started.elapsed()
    }
}
