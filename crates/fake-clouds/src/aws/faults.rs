//! What a test makes go wrong: latency, throttling, errors, requests and replies that get lost.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::iam::pattern::wildcard_ignoring_case;
use super::wire::{Failure, Service};

/// Something that goes wrong, for operations such as `secretsmanager:PutSecretValue`
/// (with `*` and `?`), a number of times or until faults are cleared.
#[derive(Clone, Debug)]
pub struct Fault {
    operations: String,
    effect: Effect,
    skip: u32,
    left: Option<u32>,
    one_in: Option<u64>,
}

#[derive(Clone, Debug)]
enum Effect {
    Throttle,
    Error { status: u16, code: String, message: String },
    LoseRequest,
    LoseReply,
    Delay(Duration),
    DelayBetween(Duration, Duration),
}

impl Fault {
    fn new(operations: &str, effect: Effect) -> Self {
        Self { operations: operations.to_owned(), effect, skip: 0, left: None, one_in: None }
    }

    /// The service's throttling error.
    pub fn throttle(operations: &str) -> Self {
        Self::new(operations, Effect::Throttle)
    }

    /// Any error, with the HTTP status it comes with.
    pub fn error(operations: &str, status: u16, code: &str, message: &str) -> Self {
        let (code, message) = (code.to_owned(), message.to_owned());
        Self::new(operations, Effect::Error { status, code, message })
    }

    /// The connection is cut before the request has any effect.
    pub fn lose_request(operations: &str) -> Self {
        Self::new(operations, Effect::LoseRequest)
    }

    /// The request takes effect, then the connection is cut instead of a reply.
    pub fn lose_reply(operations: &str) -> Self {
        Self::new(operations, Effect::LoseReply)
    }

    /// Each call waits this long before it takes effect.
    pub fn delay(operations: &str, wait: Duration) -> Self {
        Self::new(operations, Effect::Delay(wait))
    }

    /// Each call waits a time between the two, drawn from the seeded sequence of the fake.
    pub fn delay_between(operations: &str, least: Duration, most: Duration) -> Self {
        Self::new(operations, Effect::DelayBetween(least, most))
    }

    /// Only the next `count` matching calls; without this, all.
    pub fn times(mut self, count: u32) -> Self {
        self.left = Some(count);
        self
    }

    /// Lets the first `count` matching calls pass.
    pub fn after(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }

    /// Only about one in `count` matching calls, drawn from the seeded sequence of the fake.
    pub fn one_in(mut self, count: u32) -> Self {
        self.one_in = Some(u64::from(count.max(1)));
        self
    }
}

/// What the faults say about one call.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) wait: Duration,
    pub(crate) failure: Option<Failure>,
    pub(crate) lose_request: bool,
    pub(crate) lose_reply: bool,
}

/// A token bucket shared by the operations it is for.
#[derive(Debug)]
struct Rate {
    operations: Vec<String>,
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

#[derive(Debug)]
struct State {
    faults: Vec<Fault>,
    rates: Vec<Rate>,
    seed: u64,
    fired: HashMap<String, u64>,
}

/// All faults and rates in force.
#[derive(Debug)]
pub(crate) struct Faults(Mutex<State>);

impl Default for Faults {
    fn default() -> Self {
        let (faults, rates, fired) = (Vec::new(), Vec::new(), HashMap::new());
        Self(Mutex::new(State { faults, rates, seed: 1, fired }))
    }
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.0.lock().faults.push(fault);
    }

    pub(crate) fn clear(&self) {
        let mut state = self.0.lock();
        state.faults.clear();
        state.rates.clear();
    }

    pub(crate) fn seed(&self, seed: u64) {
        self.0.lock().seed = seed | 1;
    }

    pub(crate) fn limit(&self, operations: &[&str], per_second: f64, burst: f64) {
        self.0.lock().rates.push(Rate {
            operations: operations.iter().map(|&name| name.to_owned()).collect(),
            per_second,
            burst,
            tokens: burst,
            filled: Instant::now(),
        });
    }

    /// How often a fault or rate struck an operation.
    pub(crate) fn fired(&self, operation: &str) -> u64 {
        self.0.lock().fired.get(operation).copied().unwrap_or(0)
    }

    /// Decides the fate of one call, using up the faults that count.
    pub(crate) fn judge(&self, service: Service, operation: &str) -> Verdict {
        let mut state = self.0.lock();
        let mut verdict = Verdict::default();
        if state.faults.is_empty() && state.rates.is_empty() {
            return verdict;
        }
        let name = format!("{}:{operation}", service.name());
        let State { faults, rates, seed, fired } = &mut *state;
        let mut strikes = 0;
        for fault in faults.iter_mut() {
            if fault.strikes(&name, seed) {
                verdict.add(&fault.effect, service, seed);
                strikes += 1;
            }
        }
        faults.retain(|fault| fault.left != Some(0));
        for rate in rates {
            if !rate.allows(&name) && verdict.failure.is_none() {
                verdict.failure = Some(Failure::throttled(service));
                strikes += 1;
            }
        }
        if strikes > 0 {
            *fired.entry(name).or_default() += strikes;
        }
        verdict
    }
}

impl Fault {
    fn strikes(&mut self, name: &str, seed: &mut u64) -> bool {
        if !wildcard_ignoring_case(&self.operations, name) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.one_in.is_some_and(|count| !next(seed).is_multiple_of(count)) {
            return false;
        }
        match &mut self.left {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }
}

impl Verdict {
    fn add(&mut self, effect: &Effect, service: Service, seed: &mut u64) {
        match effect {
            Effect::Delay(wait) => self.wait += *wait,
            Effect::DelayBetween(least, most) => {
                let range =
                    u64::try_from(most.saturating_sub(*least).as_micros()).unwrap_or(u64::MAX);
                self.wait += *least + Duration::from_micros(next(seed) % range.max(1));
            }
            Effect::LoseRequest => self.lose_request = true,
            Effect::LoseReply => self.lose_reply = true,
            Effect::Throttle => self.failure = Some(Failure::throttled(service)),
            Effect::Error { status, code, message } => {
                let (code, message) = (code.clone().into(), message.clone());
                self.failure = Some(Failure { code, status: *status, message });
            }
        }
    }
}

impl Rate {
    fn allows(&mut self, name: &str) -> bool {
        if !self.operations.iter().any(|pattern| wildcard_ignoring_case(pattern, name)) {
            return true;
        }
        let now = Instant::now();
        let earned = now.duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + earned).min(self.burst);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// A xorshift step: repeatable, which is all that is asked of it.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// The documented request quotas of Secrets Manager per account and region: operations, per second.
pub(crate) const SECRETS_MANAGER_QUOTAS: &[(&[&str], f64)] = &[
    (&["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"], 10_000.0),
    (&["secretsmanager:BatchGetSecretValue"], 100.0),
    (&["secretsmanager:ListSecrets"], 100.0),
    (&["secretsmanager:ListSecretVersionIds"], 50.0),
    (
        &[
            "secretsmanager:PutSecretValue",
            "secretsmanager:UpdateSecret",
            "secretsmanager:UpdateSecretVersionStage",
            "secretsmanager:ReplicateSecretToRegions",
            "secretsmanager:RemoveRegionsFromReplication",
            "secretsmanager:StopReplicationToReplica",
        ],
        50.0,
    ),
    (&["secretsmanager:CreateSecret"], 50.0),
    (&["secretsmanager:DeleteSecret"], 50.0),
    (&["secretsmanager:RestoreSecret"], 50.0),
    (&["secretsmanager:TagResource", "secretsmanager:UntagResource"], 50.0),
    (&["secretsmanager:*ResourcePolicy"], 50.0),
    (&["secretsmanager:RotateSecret", "secretsmanager:CancelRotateSecret"], 50.0),
];
