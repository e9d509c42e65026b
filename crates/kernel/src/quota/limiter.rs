//! Counts the requests of each client in windows of time.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::{Duration, SystemTime},
};

/// Parts of the counts, so that requests seldom wait for one another.
const SHARDS: usize = 16;
/// Clients that one part counts each on its own; those beyond share one count.
const CLIENTS_MAX: usize = 4096;

/// What a client is left with, as response headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests in a window.
    pub limit: u64,
    /// Requests left in this one.
    pub remaining: u64,
    /// Until requests are granted anew.
    pub reset: Duration,
}

/// The counts of one quota.
pub(super) struct Limiter {
    limit: u64,
    window: Duration,
    /// How long a client is refused altogether once it was refused; zero for not at all.
    block: Duration,
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Default)]
struct Shard {
    clients: HashMap<IpAddr, Count>,
    /// The count of all clients for whom there is no room.
    others: Option<Count>,
    /// When it was last looked for clients that are gone.
    swept: Option<SystemTime>,
}

#[derive(Clone, Copy)]
struct Count {
    start: SystemTime,
    used: u64,
    blocked: Option<SystemTime>,
}

impl Limiter {
    /// `rate` requests in each interval. A rate that is no whole number is kept exactly, over another
    /// interval.
    pub(super) fn new(rate: f64, interval: Duration, block: Duration) -> Limiter {
        let limit = rate.floor().max(1.0);
        let window = Duration::try_from_secs_f64(interval.as_secs_f64() * limit / rate);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is at least 1, and a rate beyond the largest number is no limit"
        )]
        let limit = limit as u64;
        Limiter {
            limit,
            window: window.unwrap_or(interval).max(Duration::from_millis(1)),
            block,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Counts one request; whether it is granted, and what is left.
    pub(super) fn take(&self, client: IpAddr, now: SystemTime) -> (bool, Allowance) {
        let client = client.to_canonical();
        let place = usize::try_from(self.hasher.hash_one(client) % SHARDS as u64).unwrap_or(0);
        let Some(shard) = self.shards.get(place) else {
            return (false, self.allowance(0, self.window));
        };
        let mut shard = shard.lock();
        if !shard.clients.contains_key(&client) && shard.clients.len() >= CLIENTS_MAX {
            self.sweep(&mut shard, now);
        }
        let fresh = Count { start: now, used: 0, blocked: None };
        let has_room = shard.clients.len() < CLIENTS_MAX || shard.clients.contains_key(&client);
        let count = if has_room {
            shard.clients.entry(client).or_insert(fresh)
        } else {
            shard.others.get_or_insert(fresh)
        };
        self.take_from(count, now)
    }

    fn take_from(&self, count: &mut Count, now: SystemTime) -> (bool, Allowance) {
        if let Some(left) = self.blocked_for(count, now) {
            return (false, self.allowance(0, left));
        }
        count.blocked = None;
        let past = match now.duration_since(count.start) {
            Ok(past) => past,
            // The clock was set back: the windows begin anew.
            Err(_) => {
                *count = Count { start: now, used: 0, blocked: None };
                Duration::ZERO
            }
        };
        let into = past.as_nanos() % self.window.as_nanos().max(1);
        let into = Duration::from_nanos(u64::try_from(into).unwrap_or(u64::MAX));
        if past >= self.window {
            count.start = now.checked_sub(into).unwrap_or(now);
            count.used = 0;
        }
        let reset = self.window.saturating_sub(into);
        if count.used < self.limit {
            count.used += 1;
            return (true, self.allowance(self.limit - count.used, reset));
        }
        if self.block.is_zero() {
            return (false, self.allowance(0, reset));
        }
        count.blocked = now.checked_add(self.block);
        (false, self.allowance(0, self.block))
    }

    /// How long a client is refused still. What lies further ahead than a block lasts was written
    /// before the clock was set back.
    fn blocked_for(&self, count: &Count, now: SystemTime) -> Option<Duration> {
        let left = count.blocked?.duration_since(now).ok()?;
        (!left.is_zero() && left <= self.block).then_some(left)
    }

    /// Forgets clients that would begin anew anyway, at most once in a window.
    fn sweep(&self, shard: &mut Shard, now: SystemTime) {
        let since = shard.swept.and_then(|swept| now.duration_since(swept).ok());
        if since.is_some_and(|since| since < self.window.min(Duration::from_secs(1))) {
            return;
        }
        shard.swept = Some(now);
        shard.clients.retain(|_, count| {
            let past = now.duration_since(count.start).ok();
            past.is_some_and(|past| past < self.window) || self.blocked_for(count, now).is_some()
        });
    }

    fn allowance(&self, remaining: u64, reset: Duration) -> Allowance {
        Allowance { limit: self.limit, remaining, reset }
    }

    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().clients.len()).sum()
    }
}
