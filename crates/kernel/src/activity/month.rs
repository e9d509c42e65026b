//! Months of the calendar, in UTC. Pure.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use std::{fmt, time::SystemTime};

/// A month; written `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Month {
    year: i16,
    month: i8,
}

impl Month {
    /// The month of a moment.
    pub(crate) fn of(at: SystemTime) -> Month {
        let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
        let date = at.to_zoned(TimeZone::UTC).date();
        Month { year: date.year(), month: date.month() }
    }

    /// The month that is so many before this one.
    pub(crate) fn before(self, count: u32) -> Month {
        let months = i32::from(self.year) * 12 + i32::from(self.month) - 1;
        let months = months - i32::try_from(count).unwrap_or(i32::MAX).min(months);
        Month {
            year: i16::try_from(months.div_euclid(12)).unwrap_or(0),
            month: i8::try_from(months.rem_euclid(12) + 1).unwrap_or(1),
        }
    }

    /// Reads `2026-11`.
    pub(crate) fn parse(text: &str) -> Option<Month> {
        let (year, month) = text.split_once('-')?;
        let month = Month { year: year.parse().ok()?, month: month.parse().ok()? };
        (1..=12).contains(&month.month).then_some(month)
    }

    /// Its first moment, as RFC 3339 writes it.
    pub(crate) fn first(self) -> String {
        format!("{self}-01T00:00:00Z")
    }

    /// Its last second, as RFC 3339 writes it.
    pub(crate) fn last(self) -> String {
        let days = Date::new(self.year, self.month, 1).map_or(28, |date| date.days_in_month());
        format!("{self}-{days:02}T23:59:59Z")
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_counted_back_over_years() {
        let month = Month::parse("2026-02").unwrap();
        assert_eq!(month.before(0).to_string(), "2026-02");
        assert_eq!(month.before(2).to_string(), "2025-12");
        assert_eq!(month.before(14).to_string(), "2024-12");
        assert_eq!(month.last(), "2026-02-28T23:59:59Z");
        assert_eq!(Month::parse("2024-02").unwrap().last(), "2024-02-29T23:59:59Z");
        assert_eq!(Month::of(SystemTime::UNIX_EPOCH).to_string(), "1970-01");
        assert_eq!(Month::parse("2026-13"), None);
        assert_eq!(month.before(u32::MAX).to_string(), "0000-01");
    }
}
