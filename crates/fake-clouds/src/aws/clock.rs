//! The fake's clock: the wall clock, or tokio's where tests pause it; moved by tests.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tokio::time::Instant;

/// Milliseconds since the Unix epoch.
pub(crate) type Millis = i64;

pub(crate) const DAY_MS: Millis = 24 * 60 * 60 * 1000;

/// Two times: the one signatures are checked with, and the one that ages secrets and sessions.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// Where time began for a fake that follows tokio's clock, and when that was.
    followed: Option<(Millis, Instant)>,
    skew_ms: AtomicI64,
    advanced_ms: AtomicI64,
}

impl Clock {
    /// A clock that follows tokio's, from `began` on.
    pub(crate) fn following(began: SystemTime) -> Self {
        let began = millis(began.duration_since(UNIX_EPOCH).unwrap_or_default());
        Self { followed: Some((began, Instant::now())), ..Self::default() }
    }

    fn wall(&self) -> Millis {
        self.followed.map_or_else(wall, |(began, since)| began + millis(since.elapsed()))
    }

    /// The time that ages secrets, sessions and listings.
    pub(crate) fn now(&self) -> Millis {
        self.wall() + self.advanced_ms.load(Ordering::Relaxed)
    }

    /// The time shown in `Date` and compared with the date of a signature.
    pub(crate) fn signing_now(&self) -> Millis {
        self.wall() + self.skew_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.advanced_ms.fetch_add(millis(by), Ordering::Relaxed);
    }

    pub(crate) fn set_skew(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a fake keeps its own clock; it may know none of our crates"
)]
fn wall() -> Millis {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(elapsed)
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> Millis {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn format(at: Millis, pattern: &str) -> String {
    let at = Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned(TimeZone::UTC).strftime(pattern).to_string()
}

/// `20261122T033000Z`, the form of `X-Amz-Date`.
pub(crate) fn basic(at: Millis) -> String {
    format(at, "%Y%m%dT%H%M%SZ")
}

/// `2026-11-22T03:30:00Z`, the form of dates in XML replies and policies.
pub(crate) fn iso(at: Millis) -> String {
    format(at, "%Y-%m-%dT%H:%M:%SZ")
}

/// The form of the `Date` header.
pub(crate) fn http_date(at: Millis) -> String {
    format(at, "%a, %d %b %Y %H:%M:%S GMT")
}

/// Reads `20261122T033000Z`.
pub(crate) fn parse_basic(text: &str) -> Option<Millis> {
    let date = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// Reads an ISO 8601 date or a number of seconds since the epoch, as policies write them.
pub(crate) fn parse_policy_date(text: &str) -> Option<Millis> {
    if let Ok(seconds) = text.parse::<i64>() {
        return seconds.checked_mul(1000);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let date = text.parse::<jiff::civil::Date>().ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// Seconds with three decimals, the form of dates in JSON replies.
pub(crate) fn seconds(at: Millis) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit a double exactly")]
    let at = at as f64;
    at / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_they_are_read() {
        let at = 1_795_318_200_000;
        assert_eq!(parse_basic(&basic(at)), Some(at));
        assert_eq!(parse_policy_date(&iso(at)), Some(at));
        assert_eq!(parse_policy_date("1795318200"), Some(at));
        assert_eq!(parse_policy_date("2026-11-22"), Some(1_795_305_600_000));
        assert_eq!(parse_basic("2026-11-22"), None);
    }
}
