//! What tests turn while the fake runs.

use std::time::Duration;

use super::FakeAws;
use super::clock::millis;
use super::faults::{Fault, SECRETS_MANAGER_QUOTAS};
use super::world::Settings;

impl FakeAws {
    fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.world.lock().settings);
    }

    /// Makes something go wrong. Faults add up.
    pub fn inject(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// Ends all faults, delays and rates.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Starts the sequence that random faults and delays draw from.
    pub fn seed_faults(&self, seed: u64) {
        self.shared.faults.seed(seed);
    }

    /// How many faults struck an operation such as `secretsmanager:PutSecretValue`.
    pub fn faults_fired(&self, operation: &str) -> u64 {
        self.shared.faults.fired(operation)
    }

    /// Throttles operations (together) over so many calls a second, after a burst.
    pub fn limit_rate(&self, operations: &[&str], per_second: f64, burst: f64) {
        self.shared.faults.limit(operations, per_second, burst);
    }

    /// Throttles Secrets Manager at AWS's documented quotas, with a burst of one second's worth.
    pub fn limit_to_aws_quotas(&self) {
        for (operations, per_second) in SECRETS_MANAGER_QUOTAS {
            self.shared.faults.limit(operations, *per_second, *per_second);
        }
    }

    /// Whether access policies are evaluated; on at the start.
    pub fn enforce_policies(&self, enforce: bool) {
        self.set(|settings| settings.enforce_policies = enforce);
    }

    /// Whether signatures are verified; on at the start unless [`super::Options`] says otherwise.
    pub fn verify_signatures(&self, verify: bool) {
        self.set(|settings| settings.verify_signatures = verify);
    }

    /// How old `ListSecrets` is; none at the start.
    pub fn set_list_lag(&self, lag: Duration) {
        self.set(|settings| settings.list_lag_ms = millis(lag));
    }

    /// How long a new secret stays unknown to reads and writes by name; none at the start.
    pub fn set_read_lag(&self, lag: Duration) {
        self.set(|settings| settings.read_lag_ms = millis(lag));
    }

    /// How long a secret deleted by force still occupies its name; none at the start.
    pub fn set_force_delete_delay(&self, delay: Duration) {
        self.set(|settings| settings.force_delete_ms = millis(delay));
    }

    /// How long a new access key is unknown to the services; none at the start.
    pub fn set_new_key_delay(&self, delay: Duration) {
        self.set(|settings| settings.new_key_delay_ms = millis(delay));
    }

    /// How much longer than that it may be: each key draws its own time.
    pub fn set_new_key_delay_spread(&self, spread: Duration) {
        self.set(|settings| settings.new_key_delay_spread_ms = millis(spread));
    }

    /// How long the policies of a new user have no effect; none at the start.
    pub fn set_new_policy_delay(&self, delay: Duration) {
        self.set(|settings| settings.new_policy_delay_ms = millis(delay));
    }

    /// Whether errors of IAM and STS come as `Response/Errors/Error`, as some gateways write them; off
    /// at the start.
    pub fn set_gateway_errors(&self, on: bool) {
        self.set(|settings| settings.gateway_errors = on);
    }

    /// How many versions of a secret there may be; 100 at the start.
    pub fn set_version_quota(&self, versions_max: usize) {
        self.set(|settings| settings.versions_max = versions_max);
    }

    /// How many secrets a region may hold; 500,000 at the start.
    pub fn set_secret_quota(&self, secrets_max: usize) {
        self.set(|settings| settings.secrets_max = secrets_max);
    }

    /// The recovery window of deletions that name none, in days; 30 at the start.
    pub fn set_default_recovery_window(&self, days: i64) {
        self.set(|settings| settings.recovery_days_default = days);
    }

    /// The address that policies see callers come from; the real one at the start.
    pub fn set_source_ip(&self, address: &str) {
        self.set(|settings| settings.source_ip = Some(address.to_owned()));
    }

    /// How far the server's clock is from the true time when it checks signatures, in milliseconds.
    pub fn set_clock_skew(&self, skew_ms: i64) {
        self.shared.clock.set_skew(skew_ms);
    }

    /// Lets secrets, sessions, keys and listings age; signatures are still checked at the true time.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.advance(by);
    }
}
