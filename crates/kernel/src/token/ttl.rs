//! How long a token may last. Pure.

use bailee_notation::duration::format_go;
use std::time::Duration;

/// What bounds the life of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How long it has existed.
    pub(crate) age: Duration,
    /// Renewable for ever, each time for this long; zero when not periodic.
    pub(crate) period: Duration,
    /// Longest life that its maker chose; zero for none.
    pub(crate) explicit_max_ttl: Duration,
    /// Longest life that its mount allows.
    pub(crate) max_ttl: Duration,
}

/// How long a token lasts from now on when `asked` is wished for, and what the user is told. A
/// periodic token gets its period, whatever is asked.
pub(crate) fn granted(asked: Duration, bounds: Bounds) -> (Duration, Vec<String>) {
    let Bounds { age, period, explicit_max_ttl, max_ttl } = bounds;
    let max = if explicit_max_ttl.is_zero() { max_ttl } else { explicit_max_ttl.min(max_ttl) };
    let mut warnings = Vec::new();
    let mut ttl = asked;
    if !period.is_zero() {
        ttl = period;
        if period > max {
            warnings.push(format!(
                "period of {:?} exceeded the effective max_ttl of {:?}; period value is capped \
                 accordingly",
                format_go(period),
                format_go(max)
            ));
            ttl = max;
        }
        if explicit_max_ttl.is_zero() {
            return (ttl, warnings);
        }
    }
    let left = max.saturating_sub(age);
    if ttl > left {
        warnings.push(format!(
            "TTL of {:?} exceeded the effective max_ttl of {:?}; TTL value is capped accordingly",
            format_go(ttl),
            format_go(left)
        ));
        ttl = left;
    }
    (ttl, warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn bounds(age: u32, period: u32, explicit: u32) -> Bounds {
        Bounds {
            age: HOUR * age,
            period: HOUR * period,
            explicit_max_ttl: HOUR * explicit,
            max_ttl: HOUR * 10,
        }
    }

    #[test]
    fn what_is_asked_is_cut_to_what_is_left() {
        assert_eq!(granted(HOUR, bounds(0, 0, 0)), (HOUR, vec![]));
        let (ttl, warnings) = granted(HOUR * 4, bounds(7, 0, 0));
        assert_eq!(ttl, HOUR * 3);
        assert!(warnings[0].starts_with("TTL of \"4h"), "{warnings:?}");
        assert!(warnings[0].ends_with("; TTL value is capped accordingly"));
        assert_eq!(granted(HOUR * 4, bounds(1, 0, 2)).0, HOUR);
        assert_eq!(granted(HOUR * 4, bounds(11, 0, 0)).0, Duration::ZERO);
    }

    #[test]
    fn a_period_comes_back_for_ever_unless_a_longest_life_was_chosen() {
        assert_eq!(granted(HOUR * 8, bounds(1000, 2, 0)), (HOUR * 2, vec![]));
        let (ttl, warnings) = granted(HOUR, bounds(1000, 20, 0));
        assert_eq!((ttl, warnings.len()), (HOUR * 10, 1));
        assert!(warnings[0].starts_with("period of \"20h"), "{warnings:?}");
        assert_eq!(granted(HOUR, bounds(4, 2, 5)).0, HOUR);
    }
}
