//! How fast a destination is called. The rate begins at what the provider allows, halves when the
//! provider says that it is too much, and grows back evenly; the number of calls at once halves when
//! the provider fails. One that is down is probed by one call at a time.
//!
//! Destinations that draw on one account's quota share one budget.

use crate::{
    failure::{Error, Failure},
    limits::Limits,
};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// A rate never falls below this many calls per second.
const RATE_MIN: f64 = 1.0;
/// The share of the provider's limit that a rate gains in each second that it is used.
const GROWTH: f64 = 0.05;
/// How far calls may run ahead of an even spacing.
const BURST: Duration = Duration::from_secs(1);
/// The wait before the first probe of a destination that is down; it doubles.
const PROBE_FIRST: Duration = Duration::from_secs(1);
/// The longest wait between two probes.
const PROBE_MAX: Duration = Duration::from_secs(60);
/// The longest wait that a destination may ask for.
const ASKED_MAX: Duration = Duration::from_secs(3600);

/// What a call counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// It changes something.
    Write,
    /// It asks for a page of everything.
    List,
    /// It asks for single objects; providers allow many times more of these.
    Look,
}

/// What calls of one account may use.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<State>,
    /// Who waits for a turn to write, first come first served.
    writers: tokio::sync::Mutex<()>,
    /// The same for lists.
    listers: tokio::sync::Mutex<()>,
    /// Something changed that a waiting call may have waited for.
    changed: Notify,
}

/// What is in force now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct InForce {
    /// Writes per second.
    pub(crate) writes_per_second: f64,
    /// Calls at once.
    pub(crate) concurrency: usize,
    /// Until when no call is made.
    pub(crate) rests_until: Option<Instant>,
}

#[derive(Debug)]
struct State {
    writes: Rate,
    lists: Rate,
    window: Window,
    /// The provider asked to be left alone until then.
    asked_until: Option<Instant>,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Budget {
        Budget {
            state: Mutex::new(State {
                writes: Rate::new(limits.writes_per_second),
                lists: Rate::new(limits.lists_per_second),
                window: Window::new(limits.concurrency),
                asked_until: None,
            }),
            writers: tokio::sync::Mutex::default(),
            listers: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Waits until the call may be made.
    pub(crate) async fn turn(&self, call: Call) -> Turn<'_> {
        let _first = match call {
            Call::Write => Some(self.writers.lock().await),
            Call::List => Some(self.listers.lock().await),
            Call::Look => None,
        };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let now = Instant::now();
            let ready_at = self.state.lock().take(call, now);
            match ready_at {
                Ok(()) => return Turn { budget: self, call, started: now },
                Err(Some(at)) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = changed => {}
                },
                Err(None) => changed.await,
            }
        }
    }

    /// What is in force now.
    pub(crate) fn in_force(&self) -> InForce {
        let (state, now) = (self.state.lock(), Instant::now());
        InForce {
            writes_per_second: state.writes.current,
            concurrency: state.window.size,
            rests_until: state.rests_until(now),
        }
    }

    /// Jobs that are worth having under way: more would only wait for their turn.
    pub(crate) fn width(&self) -> usize {
        let state = self.state.lock();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is a small positive number"
        )]
        let per_second = state.writes.current.ceil() as usize;
        state.window.size.min(per_second).max(1)
    }

    /// Until when no call is made.
    pub(crate) fn rests_until(&self) -> Option<Instant> {
        self.state.lock().rests_until(Instant::now())
    }

    /// Somebody asks for work now: a destination that was down is probed at once. What the provider
    /// itself asked for still holds.
    pub(crate) fn hurry(&self) {
        self.state.lock().window.probe_at = None;
        self.changed.notify_waiters();
    }
}

impl State {
    fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.asked_until.max(self.window.probe_at).filter(|until| *until > now)
    }

    /// Takes a turn, or says when there may be one; `None` when that depends on running calls.
    fn take(&mut self, call: Call, now: Instant) -> Result<(), Option<Instant>> {
        if let Some(until) = self.rests_until(now) {
            return Err(Some(until));
        }
        if self.window.running >= self.window.size {
            return Err(None);
        }
        if let Some(rate) = self.rate(call) {
            rate.take(now).map_err(Some)?;
        }
        self.window.running += 1;
        Ok(())
    }

    fn rate(&mut self, call: Call) -> Option<&mut Rate> {
        match call {
            Call::Write => Some(&mut self.writes),
            Call::List => Some(&mut self.lists),
            Call::Look => None,
        }
    }

    fn learn(&mut self, call: Call, started: Instant, error: Option<&Error>) {
        let now = Instant::now();
        match error.map(|error| error.failure) {
            Some(Failure::Throttled) => {
                if let Some(rate) = self.rate(call) {
                    rate.slow(started, now);
                }
                let asked = error.and_then(|error| error.retry_after);
                let until = asked.map(|wait| now + wait.min(ASKED_MAX));
                self.asked_until = self.asked_until.max(until);
            }
            Some(Failure::Unavailable) => self.window.narrow(call, started, now),
            // Whatever else it says, it answers.
            Some(_) => self.window.answered(call),
            None => {
                self.window.answered(call);
                if let Some(rate) = self.rate(call) {
                    rate.grow();
                }
            }
        }
    }
}

/// A call under way. Dropped without an outcome it was cut off, which says nothing.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    budget: &'a Budget,
    call: Call,
    started: Instant,
}

impl Turn<'_> {
    /// How long the call has been under way.
    pub(crate) fn took(&self) -> Duration {
        self.started.elapsed()
    }

    /// The call has ended; what it says about the destination is learnt.
    pub(crate) fn ended(self, error: Option<&Error>) {
        self.budget.state.lock().learn(self.call, self.started, error);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.budget.state.lock().window.running -= 1;
        self.budget.changed.notify_waiters();
    }
}

/// A rate of calls, evenly spaced but for a burst.
#[derive(Debug)]
struct Rate {
    limit: f64,
    current: f64,
    /// When the next call would be due if calls came evenly.
    due: Option<Instant>,
    slowed_at: Option<Instant>,
}

impl Rate {
    fn new(per_second: u32) -> Rate {
        let limit = f64::from(per_second).max(RATE_MIN);
        Rate { limit, current: limit, due: None, slowed_at: None }
    }

    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let due = self.due.map_or(now, |due| due.max(now));
        match due.checked_sub(BURST).filter(|ready| *ready > now) {
            Some(ready) => Err(ready),
            None => {
                self.due = Some(due + Duration::from_secs_f64(1.0 / self.current));
                Ok(())
            }
        }
    }

    /// Half as fast. Calls that began before the last such step tell nothing new.
    fn slow(&mut self, started: Instant, now: Instant) {
        if self.slowed_at.is_some_and(|at| started <= at) {
            return;
        }
        self.slowed_at = Some(now);
        self.current = (self.current / 2.0).max(RATE_MIN);
        // No burst on top: the next call is due after one interval.
        let next = now + BURST + Duration::from_secs_f64(1.0 / self.current);
        self.due = self.due.max(Some(next));
    }

    fn grow(&mut self) {
        self.current = (self.current + GROWTH * self.limit / self.current).min(self.limit);
    }
}

/// How many calls run at once.
#[derive(Debug)]
struct Window {
    limit: usize,
    size: usize,
    running: usize,
    /// Failures in a row of a window that cannot become smaller.
    failures: u32,
    failed_at: Option<Instant>,
    /// The kind of call that failed.
    failing: Option<Call>,
    probe_at: Option<Instant>,
}

impl Window {
    fn new(limit: usize) -> Window {
        let limit = limit.max(1);
        Window {
            limit,
            size: limit,
            running: 0,
            failures: 0,
            failed_at: None,
            failing: None,
            probe_at: None,
        }
    }

    /// Half as many. Calls that began before the last such step tell nothing new.
    fn narrow(&mut self, call: Call, started: Instant, now: Instant) {
        if self.failed_at.is_some_and(|at| started <= at) {
            return;
        }
        self.failed_at = Some(now);
        self.failing = Some(call);
        self.size = (self.size / 2).max(1);
        if self.size > 1 {
            return;
        }
        let wait = PROBE_FIRST.saturating_mul(1 << self.failures.min(16)).min(PROBE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.probe_at = Some(now + wait);
    }

    fn answered(&mut self, call: Call) {
        // That it can be read says nothing about a provider that fails to write.
        if self.failing == Some(Call::Write) && call != Call::Write {
            return;
        }
        self.failing = None;
        self.size = (self.size + 1).min(self.limit);
        self.failures = 0;
        self.probe_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn throttled() -> Error {
        Error::new(Failure::Throttled, "slow down")
    }

    fn down() -> Error {
        Error::new(Failure::Unavailable, "down")
    }

    async fn call(budget: &Budget, error: Option<&Error>) {
        budget.turn(Call::Write).await.ended(error);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_keeps_the_rate() {
        let budget = Budget::new(&Limits::default());
        let start = Instant::now();
        for _ in 0..50 {
            call(&budget, None).await;
        }
        assert!(start.elapsed() < Duration::from_millis(10));
        for _ in 0..100 {
            call(&budget, None).await;
        }
        let elapsed = start.elapsed();
        assert!(elapsed >= Duration::from_millis(1_900), "{elapsed:?}");
        assert!(elapsed <= Duration::from_millis(2_100), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_rate_halves_once_a_round_and_grows_back_evenly() {
        let budget = Budget::new(&Limits::default());
        let mut round = Vec::new();
        for _ in 0..16 {
            round.push(budget.turn(Call::Write).await);
        }
        tokio::time::advance(Duration::from_millis(100)).await;
        for turn in round {
            turn.ended(Some(&throttled()));
        }
        assert_eq!(budget.in_force().writes_per_second, 25.0);
        let start = Instant::now();
        while budget.in_force().writes_per_second < 50.0 {
            call(&budget, None).await;
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(8) && took <= Duration::from_secs(12), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_has_a_floor() {
        let budget = Budget::new(&Limits::default());
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(2)).await;
            call(&budget, Some(&throttled())).await;
        }
        assert_eq!(budget.in_force().writes_per_second, RATE_MIN);
        let start = Instant::now();
        call(&budget, None).await;
        assert!(start.elapsed() <= Duration::from_millis(1_001), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_was_asked_for_holds_for_every_call() {
        let budget = Budget::new(&Limits::default());
        let start = Instant::now();
        call(&budget, Some(&throttled().after(Duration::from_secs(30)))).await;
        budget.hurry();
        assert_eq!(budget.rests_until(), Some(start + Duration::from_secs(30)));
        budget.turn(Call::Look).await.ended(None);
        assert_eq!(start.elapsed(), Duration::from_secs(30));
        // Nobody may ask for a day.
        call(&budget, Some(&throttled().after(Duration::from_secs(86_400)))).await;
        let until = budget.rests_until().unwrap();
        assert_eq!(until.duration_since(Instant::now()), ASKED_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_down_is_probed_by_one_call_at_a_time_and_comes_back_soon() {
        let budget = Arc::new(Budget::new(&Limits::default()));
        let mut widths = Vec::new();
        for _ in 0..5 {
            tokio::time::advance(Duration::from_millis(1)).await;
            call(&budget, Some(&down())).await;
            widths.push(budget.in_force().concurrency);
        }
        assert_eq!(widths, [8, 4, 2, 1, 1]);
        // An hour of failures: one call a minute.
        let (start, mut probes) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(3600) {
            let turn = budget.turn(Call::Write).await;
            assert_eq!(budget.width(), 1);
            tokio::time::advance(Duration::from_millis(10)).await;
            turn.ended(Some(&down()));
            probes += 1;
        }
        assert!((60..=70).contains(&probes), "{probes}");
        budget.hurry();
        for _ in 0..15 {
            call(&budget, None).await;
        }
        assert_eq!(budget.in_force().concurrency, 16);
        assert_eq!(budget.rests_until(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_at_once_are_bounded_and_one_that_is_cut_off_gives_its_place_back() {
        let budget = Budget::new(&Limits { concurrency: 2, ..Limits::default() });
        let first = budget.turn(Call::Look).await;
        let _second = budget.turn(Call::Write).await;
        let third = tokio::time::timeout(Duration::from_secs(60), budget.turn(Call::Write));
        assert!(third.await.is_err());
        drop(first);
        let third = tokio::time::timeout(Duration::from_secs(60), budget.turn(Call::Write));
        assert!(third.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn lists_keep_their_own_rate() {
        let limits = Limits { lists_per_second: 100, ..Limits::default() };
        let budget = Budget::new(&limits);
        let start = Instant::now();
        for _ in 0..300 {
            budget.turn(Call::List).await.ended(None);
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(1_900) && took <= Duration::from_millis(2_100));
        let start = Instant::now();
        call(&budget, None).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
