//! When the engine's own key is replaced without being asked.

use bailee_notation::schedule::Schedule;
use bailee_sdk::{
    Error,
    field::{Flag, Ttl},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime};

/// The shortest period. Turns come about once a minute.
const PERIOD_MIN: Duration = Duration::from_secs(10);
/// The shortest window.
const WINDOW_MIN: Duration = Duration::from_secs(3600);
/// Pause after the first failure, in seconds; each further one doubles it.
const RETRY_SECS_MIN: u64 = 60;
/// The longest such pause.
const RETRY_SECS_MAX: u64 = 3600;
/// Letters that are kept of why a rotation failed.
pub(super) const FAILURE_CHARS_MAX: usize = 1024;

/// When it happens, as stored with how the last one went. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Automation {
    period_secs: u64,
    /// Five fields of cron, in UTC.
    schedule: String,
    /// How long after its time a scheduled rotation is still tried; 0 for until it succeeds.
    window_secs: u64,
    disabled: bool,
    policy: String,
    /// 0 for never.
    due: u64,
    /// Not tried before.
    retry: u64,
    failures: u32,
    failure: String,
    /// 0 before the first.
    last: u64,
}

/// What is said about it; what is left out stays.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) period: Option<Ttl>,
    pub(super) schedule: Option<String>,
    pub(super) window: Option<Ttl>,
    pub(super) policy: Option<String>,
    pub(super) disabled: Option<Flag>,
}

impl Automation {
    /// Takes what is wanted; what changes is counted from `now`.
    pub(super) fn apply(&mut self, wanted: Wanted, now: SystemTime) -> Result<(), Error> {
        let before = (self.period_secs, self.schedule.clone(), self.disabled);
        if let Some(Ttl(period)) = wanted.period {
            self.period_secs = period.as_secs();
        }
        if let Some(schedule) = wanted.schedule {
            schedule.trim().clone_into(&mut self.schedule);
        }
        if let Some(Ttl(window)) = wanted.window {
            self.window_secs = window.as_secs();
        }
        if let Some(policy) = wanted.policy {
            self.policy = policy;
        }
        if let Some(Flag(disabled)) = wanted.disabled {
            self.disabled = disabled;
        }
        self.check()?;
        if before != (self.period_secs, self.schedule.clone(), self.disabled) {
            self.settle(now)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        let refused = |text: &str| Err(Error::invalid(text));
        if self.period_secs > 0 && !self.schedule.is_empty() {
            return refused(
                "mutually exclusive fields rotation_period and rotation_schedule were both \
                 specified; only one of them can be provided",
            );
        }
        if self.period_secs > 0 && self.period_secs < PERIOD_MIN.as_secs() {
            return refused("rotation_period must be at least 10 seconds");
        }
        if self.window_secs > 0 && self.schedule.is_empty() {
            return refused("rotation_window goes with rotation_schedule alone");
        }
        if self.window_secs > 0 && self.window_secs < WINDOW_MIN.as_secs() {
            return refused("rotation_window must be at least 1 hour");
        }
        if !self.policy.is_empty() {
            return refused(
                "rotation_policy is not supported: retries wait a minute, then twice as long each \
                 time, an hour at most",
            );
        }
        Ok(())
    }

    /// Whether the key is replaced by itself.
    pub(super) fn is_on(&self) -> bool {
        !self.disabled && (self.period_secs > 0 || !self.schedule.is_empty())
    }

    /// Begins anew: the next rotation is a whole period away, or at the schedule's next time.
    fn settle(&mut self, now: SystemTime) -> Result<(), Error> {
        self.due = if self.is_on() { self.next(now)? } else { 0 };
        (self.retry, self.failures) = (0, 0);
        self.failure.clear();
        Ok(())
    }

    fn next(&self, now: SystemTime) -> Result<u64, Error> {
        if self.period_secs > 0 {
            return Ok(seconds(now).saturating_add(self.period_secs));
        }
        let schedule = Schedule::parse_cron(&self.schedule)
            .map_err(|error| Error::invalid(format!("rotation_schedule: {error}")))?;
        let next = schedule.next_after(now);
        let never = || Error::invalid("rotation_schedule: no time in it ever comes");
        Ok(seconds(next.ok_or_else(never)?))
    }

    /// Whether the key is to be replaced now. One that was not within its window waits for the next
    /// time, which is noted here.
    pub(super) fn is_due(&mut self, now: SystemTime) -> Result<bool, Error> {
        let at = seconds(now);
        if !self.is_on() || self.due == 0 || self.due > at {
            return Ok(false);
        }
        if self.window_secs > 0 && at >= self.due.saturating_add(self.window_secs) {
            if self.failure.is_empty() {
                "this server was not there within the window".clone_into(&mut self.failure);
            }
            self.due = self.next(now)?;
            (self.retry, self.failures) = (0, 0);
            return Ok(false);
        }
        Ok(self.retry <= at)
    }

    /// The key was replaced, by itself or because somebody asked.
    pub(super) fn done(&mut self, now: SystemTime) -> Result<(), Error> {
        self.settle(now)?;
        self.last = seconds(now);
        Ok(())
    }

    /// The key could not be replaced.
    pub(super) fn failed(&mut self, why: &Error, now: SystemTime) {
        let pause = RETRY_SECS_MIN.saturating_mul(1 << self.failures.min(16)).min(RETRY_SECS_MAX);
        self.retry = seconds(now).saturating_add(pause);
        self.failures = self.failures.saturating_add(1);
        self.failure = why.to_string().chars().take(FAILURE_CHARS_MAX).collect();
    }

    pub(super) fn show(&self, shown: &mut Map<String, Value>) {
        let fields = [
            ("disable_automated_rotation", json!(self.disabled)),
            ("rotation_period", json!(self.period_secs)),
            ("rotation_schedule", json!(self.schedule)),
            ("rotation_window", json!(self.window_secs)),
        ];
        shown.extend(fields.map(|(name, value)| (name.to_owned(), value)));
        if !self.is_on() && self.last == 0 {
            return;
        }
        let fields = [
            ("last_rotation", json!(date(self.last))),
            ("next_rotation", json!(date(self.due.max(self.retry)).filter(|_| self.is_on()))),
            ("rotation_error", json!(self.failure)),
        ];
        shown.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    }
}

fn seconds(time: SystemTime) -> u64 {
    bailee_crypto::clock::to_millis(time) / 1000
}

fn date(seconds: u64) -> Option<String> {
    let seconds = i64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
    Timestamp::from_second(seconds).ok().map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;
    /// A Tuesday, 22:13:20.
    const START: u64 = 1_700_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn period(seconds: u64) -> Wanted {
        Wanted { period: Some(Ttl(Duration::from_secs(seconds))), ..Wanted::default() }
    }

    fn schedule(text: &str, window: u64) -> Wanted {
        let window = Some(Ttl(Duration::from_secs(window)));
        Wanted { schedule: Some(text.to_owned()), window, ..Wanted::default() }
    }

    #[test]
    fn a_period_begins_when_it_is_set_and_again_with_each_rotation() {
        let mut automation = Automation::default();
        assert!(!automation.is_due(at(START)).unwrap());
        automation.apply(period(HOUR), at(START)).unwrap();
        assert!(!automation.is_due(at(START + HOUR - 1)).unwrap());
        assert!(automation.is_due(at(START + HOUR)).unwrap());
        automation.apply(period(HOUR), at(START + HOUR)).unwrap();
        assert!(automation.is_due(at(START + HOUR)).unwrap(), "the same again puts nothing off");
        automation.done(at(START + 2 * HOUR)).unwrap();
        assert!(!automation.is_due(at(START + 3 * HOUR - 1)).unwrap());
        let disabled = Wanted { disabled: Some(Flag(true)), ..Wanted::default() };
        automation.apply(disabled, at(START)).unwrap();
        assert!(!automation.is_due(at(START + 100 * HOUR)).unwrap());
    }

    #[test]
    fn failures_are_told_and_tried_again_ever_more_slowly() {
        let mut automation = Automation::default();
        automation.apply(period(HOUR), at(START)).unwrap();
        let mut now = START + HOUR;
        for pause in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            assert!(automation.is_due(at(now)).unwrap());
            automation.failed(&Error::invalid("AccessDenied"), at(now));
            assert!(!automation.is_due(at(now + pause - 1)).unwrap());
            now += pause;
        }
        let mut shown = Map::new();
        automation.show(&mut shown);
        assert_eq!(shown["rotation_error"], "AccessDenied");
        automation.done(at(now)).unwrap();
        automation.show(&mut shown);
        assert_eq!(shown["rotation_error"], "");
    }

    #[test]
    fn what_was_missed_within_its_window_waits_for_the_next_time() {
        let mut automation = Automation::default();
        automation.apply(schedule("0 23 * * *", HOUR), at(START)).unwrap();
        let eleven = START + 2800;
        assert!(!automation.is_due(at(eleven - 1)).unwrap());
        assert!(automation.is_due(at(eleven)).unwrap());
        automation.failed(&Error::invalid("away"), at(eleven));
        assert!(automation.is_due(at(eleven + 60)).unwrap());
        assert!(!automation.is_due(at(eleven + HOUR)).unwrap());
        assert!(!automation.is_due(at(eleven + 23 * HOUR)).unwrap());
        assert!(automation.is_due(at(eleven + 24 * HOUR)).unwrap());
        let mut open = Automation::default();
        open.apply(schedule("0 23 * * *", 0), at(START)).unwrap();
        assert!(open.is_due(at(eleven + 12 * HOUR)).unwrap(), "without a window it is made up for");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (wanted, told) in [
            (Wanted { schedule: Some("0 0 * * *".to_owned()), ..period(60) }, "mutually exclusive"),
            (period(9), "at least 10 seconds"),
            (Wanted { window: Some(Ttl(WINDOW_MIN)), ..period(60) }, "rotation_window goes with"),
            (schedule("0 0 * * *", 3599), "at least 1 hour"),
            (schedule("every day", 0), "rotation_schedule"),
            (schedule("0 0 30 2 *", 0), "rotation_schedule"),
            (Wanted { policy: Some("p".to_owned()), ..Wanted::default() }, "rotation_policy"),
        ] {
            let error = Automation::default().apply(wanted, at(START)).unwrap_err().to_string();
            assert!(error.contains(told), "{told}: {error}");
        }
    }
}
