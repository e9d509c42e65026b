use super::limiter::Limiter;
use proptest::prelude::*;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, SystemTime},
};

fn client(number: u32) -> IpAddr {
    Ipv4Addr::from(number).into()
}

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000 + millis)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The model: each client's windows begin with its first request and follow one another.
    #[test]
    fn requests_are_granted_as_a_simple_count_would(
        rate in 1_u64..5,
        window in 1_u64..4,
        block in 0_u64..3,
        steps in prop::collection::vec((0_u32..3, 0_u64..1500), 1..80),
    ) {
        let (window, block) = (window * 1000, block * 1000);
        let limiter = Limiter::new(
            rate as f64,
            Duration::from_millis(window),
            Duration::from_millis(block),
        );
        let mut model: HashMap<u32, (u64, u64, u64, u64)> = HashMap::new();
        let mut now = 0;
        for (who, pause) in steps {
            now += pause;
            let (first, index, used, until) = model.entry(who).or_insert((now, 0, 0, 0));
            let (granted, allowance) = limiter.take(client(who), at(now));
            if now < *until {
                prop_assert!(!granted);
                prop_assert_eq!(allowance.reset, Duration::from_millis(*until - now));
                continue;
            }
            let current = (now - *first) / window;
            if current != *index {
                *index = current;
                *used = 0;
            }
            prop_assert_eq!(granted, *used < rate);
            if granted {
                *used += 1;
                prop_assert_eq!(allowance.remaining, rate - *used);
                let left = window - (now - *first) % window;
                prop_assert_eq!(allowance.reset, Duration::from_millis(left));
            } else if block > 0 {
                *until = now + block;
            }
        }
    }
}

#[test]
fn a_clock_that_is_set_back_or_forth_locks_nobody_out() {
    let limiter = Limiter::new(1.0, Duration::from_secs(10), Duration::from_secs(5));
    let far = 10_000_000;
    assert!(limiter.take(client(1), at(far)).0);
    assert!(!limiter.take(client(1), at(far)).0);
    // Back by hours: neither the window nor the block may last that long.
    assert!(limiter.take(client(1), at(0)).0);
    assert!(!limiter.take(client(1), at(1)).0);
    assert!(limiter.take(client(1), at(2 * far)).0);
}

#[test]
fn a_rate_that_is_no_whole_number_is_kept_exactly() {
    let granted = |rate: f64, seconds: u64| {
        let limiter = Limiter::new(rate, Duration::from_secs(1), Duration::ZERO);
        let times = (0..seconds * 100).map(|hundredth| at(hundredth * 10));
        times.filter(|time| limiter.take(client(1), *time).0).count()
    };
    assert_eq!(granted(0.5, 20), 10);
    assert_eq!(granted(2.5, 20), 50);
    assert_eq!(granted(3.0, 20), 60);
}

#[test]
fn memory_is_bounded_however_many_clients_come() {
    let limiter = Limiter::new(1.0, Duration::from_secs(60), Duration::ZERO);
    let mut granted = 0;
    for number in 0..200_000 {
        granted += usize::from(limiter.take(client(number), at(0)).0);
    }
    assert!(limiter.clients() <= 16 * 4096);
    // Those beyond share one count: they are never granted more than one client alone.
    assert!(granted <= limiter.clients() + 16);
    // In the next window there is room again.
    for number in 300_000..300_100 {
        limiter.take(client(number), at(61_000));
    }
    assert!(limiter.clients() < 16 * 4096);
}

#[test]
fn an_address_counts_once_in_either_form() {
    let limiter = Limiter::new(1.0, Duration::from_secs(60), Duration::ZERO);
    let four = Ipv4Addr::new(10, 0, 0, 1);
    assert!(limiter.take(four.into(), at(0)).0);
    assert!(!limiter.take(four.to_ipv6_mapped().into(), at(0)).0);
}
