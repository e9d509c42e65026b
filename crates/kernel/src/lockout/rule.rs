//! When a user is locked out. Pure.

use crate::mount::LockoutConfig;
use std::time::Duration;

/// Failures after which a user is locked out, where the mount says nothing.
const THRESHOLD: u64 = 5;
/// How long a user is locked out, where the mount says nothing.
const DURATION: Duration = Duration::from_secs(15 * 60);
/// How long failures are remembered, where the mount says nothing.
const COUNTER_RESET: Duration = Duration::from_secs(15 * 60);

/// When a user of a mount is locked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Failures after which a user is locked out.
    pub(super) threshold: u64,
    /// How long.
    pub(super) duration: Duration,
    /// How long after the last failure the earlier ones are forgotten.
    pub(super) counter_reset: Duration,
}

impl Rule {
    /// The rule of a mount; `None` where nobody is locked out.
    pub(super) fn of(config: Option<&LockoutConfig>) -> Option<Rule> {
        let or = |seconds: u64, standard| match seconds {
            0 => standard,
            seconds => Duration::from_secs(seconds),
        };
        let Some(config) = config else {
            return Some(Rule {
                threshold: THRESHOLD,
                duration: DURATION,
                counter_reset: COUNTER_RESET,
            });
        };
        let threshold = if config.threshold == 0 { THRESHOLD } else { config.threshold };
        (!config.disable).then(|| Rule {
            threshold,
            duration: or(config.duration, DURATION),
            counter_reset: or(config.counter_reset, COUNTER_RESET),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mount_leaves_out_is_the_servers_own_rule() {
        let own = Rule::of(None).unwrap();
        assert_eq!((own.threshold, own.duration), (5, Duration::from_secs(900)));
        assert_eq!(Rule::of(Some(&LockoutConfig::default())), Some(own));
        let config = LockoutConfig { threshold: 3, duration: 60, ..LockoutConfig::default() };
        let rule = Rule::of(Some(&config)).unwrap();
        assert_eq!((rule.threshold, rule.duration), (3, Duration::from_secs(60)));
        assert_eq!(rule.counter_reset, own.counter_reset);
        let config = LockoutConfig { disable: true, ..LockoutConfig::default() };
        assert_eq!(Rule::of(Some(&config)), None);
    }
}
