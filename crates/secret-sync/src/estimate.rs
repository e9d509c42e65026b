//! What deliveries will cost in calls, time and money: pure arithmetic over what is planned. The calls
//! of one change, and the prices, are each destination's own.

use crate::destination::{Deletion, Delivered, Remote};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// Days for which costs are told.
const DAYS_A_MONTH: u64 = 30;
const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// Calls by their names at the destination.
pub type Calls = BTreeMap<&'static str, u64>;

/// One thing that is going to be done at a destination.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// What was delivered under that name before.
    pub previous: Option<&'a Delivered>,
    /// What the destination shows under that name.
    pub seen: Seen<'a>,
    /// What becomes of it.
    pub effect: Effect<'a>,
}

/// What the destination shows under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// It was not looked at.
    Unknown,
    /// Nothing.
    Missing,
    /// An object.
    There(&'a Remote),
}

/// What becomes of an object.
#[derive(Clone, Debug)]
pub enum Effect<'a> {
    /// It is delivered.
    Put {
        /// Tags it shall carry.
        tags: &'a BTreeMap<String, String>,
        /// Whether tags and placement alone are written.
        aspects: bool,
        /// Whether it is looked at afterwards, because a former name goes then.
        confirmed: bool,
    },
    /// It is removed.
    Remove(Deletion),
}

/// What a destination takes money for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prices {
    /// US dollars for a secret and month.
    pub secret_month_usd: f64,
    /// US dollars for ten thousand calls.
    pub calls_10000_usd: f64,
    /// Where those prices are published.
    pub source: &'static str,
    /// Objects that one call of a list shows.
    #[serde(skip)]
    pub listed_per_call: u64,
    /// Objects that the account may have there.
    #[serde(skip)]
    pub objects_max: u64,
    /// Copies of each object in other regions.
    #[serde(skip)]
    pub replicas: u64,
}

/// What a month costs, in US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct MonthlyCost {
    /// Secrets.
    pub secrets: f64,
    /// Their copies in other regions.
    pub replicas: f64,
    /// The calls that look for changes of others, at the interval of this server.
    pub calls: f64,
    /// All of it.
    pub total: f64,
}

impl Prices {
    /// The cost of so many objects, looked at once every `interval`.
    pub fn of(&self, objects: u64, interval: Duration) -> MonthlyCost {
        let passes = DAYS_A_MONTH * SECONDS_A_DAY / interval.as_secs().max(1);
        let calls = objects.div_ceil(self.listed_per_call.max(1)).saturating_mul(passes);
        let secrets = objects as f64 * self.secret_month_usd;
        let replicas = secrets * self.replicas as f64;
        let calls = calls as f64 / 10_000.0 * self.calls_10000_usd;
        let cents = |usd: f64| (usd * 100.0).round() / 100.0;
        MonthlyCost {
            secrets: cents(secrets),
            replicas: cents(replicas),
            calls: cents(calls),
            total: cents(secrets + replicas + calls),
        }
    }
}

/// Seconds that so many changes take at a destination's rate, to a tenth.
pub fn seconds(changes: u64, per_second: u32) -> f64 {
    (changes as f64 / f64::from(per_second.max(1)) * 10.0).ceil() / 10.0
}

/// The calls of a destination that makes one for each change.
pub fn one_each(change: &Change<'_>) -> Calls {
    let call = match change.effect {
        Effect::Put { .. } => "put",
        Effect::Remove(_) => "delete",
    };
    Calls::from([(call, 1)])
}

/// Adds calls to others.
pub fn add(all: &mut Calls, more: Calls) {
    for (call, times) in more {
        *all.entry(call).or_default() += times;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_of_ten_thousand_secrets_costs_what_the_price_list_says() {
        let prices = Prices {
            secret_month_usd: 0.40,
            calls_10000_usd: 0.05,
            source: "",
            listed_per_call: 100,
            objects_max: 500_000,
            replicas: 1,
        };
        let cost = prices.of(10_000, Duration::from_secs(600));
        // 100 pages every ten minutes are 432,000 calls.
        let expected =
            MonthlyCost { secrets: 4000.0, replicas: 4000.0, calls: 2.16, total: 8002.16 };
        assert_eq!(cost, expected);
        assert_eq!(prices.of(0, Duration::from_secs(600)), MonthlyCost::default());
    }

    #[test]
    fn changes_take_their_time_at_the_rate() {
        assert_eq!(seconds(10_000, 50), 200.0);
        assert_eq!(seconds(1, 50), 0.1);
        assert_eq!(seconds(0, 50), 0.0);
    }
}
