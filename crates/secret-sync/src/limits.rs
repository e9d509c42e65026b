//! What a destination can take, and how fast.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Bounds of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest value in bytes.
    pub payload_bytes_max: usize,
    /// Whether objects carry tags.
    pub tags: bool,
    /// Writes per second that its API allows; bursts of one second's worth go through.
    pub writes_per_second: u32,
}

/// Keeps calls at a rate: each waits for its turn, a burst of one second's worth goes at once.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    burst: Duration,
    /// When the next call would be due if calls came evenly.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn per_second(calls: u32) -> Pace {
        let interval = Duration::from_secs(1) / calls.max(1);
        Pace { interval, burst: Duration::from_secs(1), next: Mutex::new(None) }
    }

    /// Waits until the call may be made.
    pub(crate) async fn turn(&self) {
        let wait_until = {
            let mut next = self.next.lock();
            let now = Instant::now();
            let due = next.map_or(now, |next| next.max(now));
            *next = Some(due + self.interval);
            due.checked_sub(self.burst).unwrap_or(now)
        };
        tokio::time::sleep_until(wait_until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_keeps_the_rate() {
        let pace = Pace::per_second(50);
        let start = Instant::now();
        for _ in 0..50 {
            pace.turn().await;
        }
        assert!(start.elapsed() < Duration::from_millis(10));
        for _ in 0..100 {
            pace.turn().await;
        }
        let elapsed = start.elapsed();
        assert!(elapsed >= Duration::from_millis(1_900), "{elapsed:?}");
        assert!(elapsed <= Duration::from_millis(2_100), "{elapsed:?}");
    }
}
