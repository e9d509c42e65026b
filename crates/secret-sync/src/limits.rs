//! What a destination can take, how fast, and how often one object may change.

use bailee_crypto::clock::{from_millis, to_millis};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// Writes of one object that go through in a row before they are spread over the day.
const WRITE_BURST: u32 = 50;
const DAY: Duration = Duration::from_secs(86_400);

/// Bounds of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest value in bytes.
    pub payload_bytes_max: usize,
    /// Whether objects carry tags.
    pub tags: bool,
    /// Writes per second that its API allows; bursts of one second's worth go through.
    pub writes_per_second: u32,
    /// Pages of lists per second that its API allows.
    pub lists_per_second: u32,
    /// Calls that run at once at most.
    pub concurrency: usize,
    /// Versions of one object that may be made within 24 hours; `None` where they are not counted.
    pub versions_per_day: Option<u32>,
}

impl Default for Limits {
    /// Those of a destination that says nothing about itself.
    fn default() -> Limits {
        Limits {
            payload_bytes_max: 65_536,
            tags: true,
            writes_per_second: 50,
            lists_per_second: 50,
            concurrency: 16,
            versions_per_day: None,
        }
    }
}

/// How far an object has used up what its destination allows within a day. A burst goes through,
/// after that writes are spread evenly, so that no 24 hours see more than is allowed. It is kept with
/// what is known of the object: a restart forgets nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WriteBudget {
    /// Until when what was written would last if it were spread evenly; milliseconds since 1970.
    spent_until: u64,
}

impl WriteBudget {
    /// Spends one write, or says when there is one to spend.
    ///
    /// # Errors
    /// The moment of the next write, when none is left now.
    pub fn take(&mut self, limits: &Limits, now: SystemTime) -> Result<(), SystemTime> {
        let Some(per_day) = limits.versions_per_day else { return Ok(()) };
        let burst = WRITE_BURST.min(per_day / 2).max(1);
        let interval = DAY / per_day.saturating_sub(burst).max(1);
        let ahead = interval * (burst - 1);
        // A clock that was put back must not block an object for longer than it could have spent.
        let spent_until = from_millis(self.spent_until).min(now + ahead + interval);
        let next = spent_until.checked_sub(ahead).unwrap_or(SystemTime::UNIX_EPOCH);
        if next > now {
            return Err(next);
        }
        self.spent_until = to_millis(spent_until.max(now) + interval);
        Ok(())
    }

    /// Whether nothing was ever spent.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.spent_until == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits() -> Limits {
        Limits { versions_per_day: Some(100), ..Limits::default() }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    #[test]
    fn a_burst_goes_through_and_then_one_write_each_half_hour() {
        let (mut budget, limits) = (WriteBudget::default(), limits());
        assert!(budget.is_unused());
        for _ in 0..WRITE_BURST {
            assert_eq!(budget.take(&limits, at(0)), Ok(()));
        }
        assert_eq!(budget.take(&limits, at(0)), Err(at(1_728)));
        assert_eq!(budget.take(&limits, at(1_727)), Err(at(1_728)));
        assert_eq!(budget.take(&limits, at(1_728)), Ok(()));
        assert_eq!(budget.take(&limits, at(1_728)), Err(at(3_456)));
        // A quiet day gives the whole burst back.
        for _ in 0..WRITE_BURST {
            assert_eq!(budget.take(&limits, at(90_000)), Ok(()));
        }
    }

    #[test]
    fn it_is_stored_as_one_number_and_goes_on_after_a_restart() {
        let (mut budget, limits) = (WriteBudget::default(), limits());
        while budget.take(&limits, at(0)).is_ok() {}
        let stored = serde_json::to_string(&budget).unwrap();
        assert!(stored.parse::<u64>().is_ok(), "{stored}");
        let mut restored: WriteBudget = serde_json::from_str(&stored).unwrap();
        assert_eq!(restored.take(&limits, at(10)), Err(at(1_728)));
    }

    #[test]
    fn a_clock_that_was_put_back_blocks_no_longer_than_a_burst() {
        let (mut budget, limits) = (WriteBudget::default(), limits());
        while budget.take(&limits, at(10_000_000)).is_ok() {}
        assert_eq!(budget.take(&limits, at(0)), Err(at(1_728)));
    }

    #[test]
    fn without_a_bound_every_write_goes_through() {
        let mut budget = WriteBudget::default();
        for _ in 0..1_000 {
            assert_eq!(budget.take(&Limits::default(), at(0)), Ok(()));
        }
        assert!(budget.is_unused());
    }

    proptest! {
        #[test]
        fn no_day_sees_more_than_is_allowed(
            per_day in 1..300u32, gaps in proptest::collection::vec(0..3_000u64, 1..600)
        ) {
            let limits = Limits { versions_per_day: Some(per_day), ..Limits::default() };
            let (mut budget, mut now, mut taken) = (WriteBudget::default(), 0, Vec::new());
            for gap in gaps {
                now += gap;
                if budget.take(&limits, at(now)).is_ok() {
                    taken.push(now);
                }
            }
            for (index, first) in taken.iter().enumerate() {
                let day = taken[index..].iter().take_while(|at| **at < first + 86_400).count();
                prop_assert!(day <= per_day as usize, "{day} of {per_day}");
            }
            prop_assert!(!taken.is_empty());
        }
    }
}
