//! How fast IAM is called for what nobody waits for: as fast as it takes calls. Its budget is nowhere
//! told, belongs to the whole account and is shared with others: it is found by asking a little more
//! until a call is refused, and a little less from then on.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Calls a second at first.
const RATE_FIRST: f64 = 10.0;
/// The least.
const RATE_MIN: f64 = 0.5;
/// The most.
const RATE_MAX: f64 = 100.0;
/// What is left of the rate that IAM took when it refuses a call.
const CUT: f64 = 0.9;
/// What is left at least, however little was asked for before.
const CUT_MAX: f64 = 0.5;
/// Refusals so soon after a cut are of calls that were under way.
const COOLDOWN: Duration = Duration::from_secs(1);
/// What was too much so long ago says nothing any more: IAM may have been away, or others busy.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How much more is asked for each second: while nothing was refused, well below the rate that
/// was, and close to it or above.
const GROWTH: [f64; 3] = [1.0, 0.2, 0.02];
/// Close to a rate.
const CLOSE: f64 = 0.95;
/// Time over which it is counted what IAM takes, and calls without which it is counted longer.
const COUNTED: Duration = Duration::from_secs(1);
const COUNTED_CALLS: f64 = 10.0;

/// The pace of one mount.
#[derive(Debug)]
pub(super) struct Pace(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Calls a second.
    rate: f64,
    /// When the next call may begin.
    next: Instant,
    /// Up to when the rate has grown.
    grown: Instant,
    /// The rate that was too much.
    ceiling: Option<f64>,
    cut: Option<Instant>,
    /// Calls that IAM took since then, and how many it took a second before.
    counting: (Instant, f64),
    taken: f64,
}

impl Default for Pace {
    fn default() -> Pace {
        let now = Instant::now();
        Pace(Mutex::new(State {
            rate: RATE_FIRST,
            next: now,
            grown: now,
            ceiling: None,
            cut: None,
            counting: (now, 0.0),
            taken: 0.0,
        }))
    }
}

impl Pace {
    /// Waits for the turn of a call; `false` if that does not come before `end`.
    pub(super) async fn turn(&self, end: Instant) -> bool {
        let turn = {
            let mut state = self.0.lock();
            let turn = state.next.max(Instant::now());
            if turn > end {
                return false;
            }
            state.next = turn + Duration::from_secs_f64(1.0 / state.rate);
            turn
        };
        sleep_until(turn).await;
        true
    }

    /// IAM took a call.
    pub(super) fn taken(&self) {
        let mut state = self.0.lock();
        state.count();
        state.counting.1 += 1.0;
        let now = Instant::now();
        // A mount that rested asks for no more than before; one that is slow does not rest.
        let turn = Duration::from_secs_f64(1.0 / state.rate);
        let since = now.duration_since(state.grown).min(COUNTED.max(turn)).as_secs_f64();
        state.grown = now;
        let [first, below, close] = GROWTH;
        if state.cut.is_some_and(|cut| now.duration_since(cut) > REMEMBERED) {
            state.ceiling = None;
        }
        let growth = match state.ceiling {
            None => first,
            Some(ceiling) if state.rate < CLOSE * ceiling => below,
            Some(_) => close,
        };
        state.rate = (state.rate * (1.0 + growth * since)).min(RATE_MAX);
    }

    /// IAM refused a call, as there were too many.
    pub(super) fn refused(&self) {
        let mut state = self.0.lock();
        state.count();
        let now = Instant::now();
        if state.cut.is_some_and(|cut| now.duration_since(cut) < COOLDOWN) {
            return;
        }
        let took = if state.taken > 0.0 { state.taken.min(state.rate) } else { state.rate };
        state.ceiling = Some(took);
        state.rate = (CUT * took).max(CUT_MAX * state.rate).max(RATE_MIN);
        state.next = state.next.max(now + Duration::from_secs_f64(1.0 / state.rate));
        (state.cut, state.grown) = (Some(now), now);
    }
}

impl State {
    fn count(&mut self) {
        let (since, calls) = self.counting;
        let elapsed = since.elapsed();
        if elapsed >= COUNTED && calls >= COUNTED_CALLS || elapsed >= 10 * COUNTED {
            self.taken = calls / elapsed.as_secs_f64();
            self.counting = (Instant::now(), 0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bucket as IAM has: so many calls a second, so many at once.
    struct Bucket {
        rate: f64,
        burst: f64,
        level: f64,
        filled: Instant,
    }

    impl Bucket {
        fn new(rate: f64, burst: f64) -> Bucket {
            Bucket { rate, burst, level: burst, filled: Instant::now() }
        }

        fn takes(&mut self) -> bool {
            let earned = self.filled.elapsed().as_secs_f64() * self.rate;
            self.level = (self.level + earned).min(self.burst);
            self.filled = Instant::now();
            let takes = self.level >= 1.0;
            self.level -= f64::from(u8::from(takes));
            takes
        }
    }

    /// Calls that were taken and refused in so many seconds.
    async fn run(pace: &Pace, bucket: &mut Bucket, seconds: u64) -> (f64, f64) {
        let end = Instant::now() + Duration::from_secs(seconds);
        let (mut taken, mut refused) = (0.0, 0.0);
        while pace.turn(end).await {
            if bucket.takes() {
                pace.taken();
                taken += 1.0;
            } else {
                pace.refused();
                refused += 1.0;
            }
        }
        (taken, refused)
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_the_budget_is_most_of_it_is_used_and_few_calls_are_refused() {
        for (rate, burst) in [(2.0, 4.0), (5.0, 5.0), (20.0, 1.0), (20.0, 20.0), (80.0, 10.0)] {
            let (pace, mut bucket) = (Pace::default(), Bucket::new(rate, burst));
            let (taken, refused) = run(&pace, &mut bucket, 600).await;
            let used = taken / (600.0 * rate + burst);
            assert!(used >= 0.9, "{rate} a second, {burst} at once: {used} is used");
            assert!(refused <= 0.2 * taken, "{rate} a second: {refused} refused, {taken} taken");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_that_changes_is_found_again() {
        let (pace, mut bucket) = (Pace::default(), Bucket::new(40.0, 5.0));
        run(&pace, &mut bucket, 300).await;
        bucket.rate = 4.0;
        run(&pace, &mut bucket, 30).await;
        let (taken, refused) = run(&pace, &mut bucket, 300).await;
        assert!(taken >= 0.9 * 1200.0 && refused <= 0.2 * taken, "{taken}, {refused}");
        bucket.rate = 40.0;
        run(&pace, &mut bucket, 200).await;
        let (taken, _) = run(&pace, &mut bucket, 100).await;
        assert!(taken >= 0.9 * 4000.0, "{taken}");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_bad_hour_it_is_soon_as_fast_as_ever() {
        let (pace, mut bucket) = (Pace::default(), Bucket::new(0.1, 1.0));
        run(&pace, &mut bucket, 300).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        (bucket.rate, bucket.burst) = (20.0, 20.0);
        let (taken, _) = run(&pace, &mut bucket, 30).await;
        assert!(taken >= 300.0, "{taken}");
    }

    #[tokio::test(start_paused = true)]
    async fn two_mounts_in_one_account_come_to_equal_parts() {
        let (first, second) = (Pace::default(), Pace::default());
        let bucket = Mutex::new(Bucket::new(20.0, 5.0));
        let ask = async |pace: &Pace, seconds: u64| {
            let end = Instant::now() + Duration::from_secs(seconds);
            let mut taken = 0.0;
            while pace.turn(end).await {
                if bucket.lock().takes() {
                    pace.taken();
                    taken += 1.0;
                } else {
                    pace.refused();
                }
            }
            taken
        };
        ask(&first, 200).await;
        tokio::join!(ask(&first, 200), ask(&second, 200));
        let (one, other) = tokio::join!(ask(&first, 600), ask(&second, 600));
        let share = one / (one + other);
        assert!((0.3..0.7).contains(&share), "{one} and {other}");
    }
}
