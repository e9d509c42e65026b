//! Durations as Vault's clients write them, and as Go prints them.
//!
//! Accepted by [`parse`]:
//!
//! | form | example | meaning |
//! |---|---|---|
//! | nothing | `` | zero |
//! | bare whole number | `15` | seconds |
//! | Go's units `ns us µs ms s m h`, in any order and combination, with fractions | `1h30m`, `1.5h`, `300ms` | |
//! | days | `2d`, `1d12h` | 24 hours each |
//!
//! One sign may lead. Negative durations are told apart ([`Error::Negative`]), because some fields
//! give them a meaning of their own. The longest duration is Go's: 2⁶³−1 ns, about 292 years.

use std::fmt::Write as _;
use std::time::Duration;

/// The longest duration that Go can hold, in nanoseconds.
const NANOSECONDS_MAX: u128 = i64::MAX as u128;
/// How much of a refused text an error repeats, in characters.
const ECHO_CHARS_MAX: usize = 64;

/// Why a text is no duration; the messages are those of Go, which clients know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a duration at all, or one longer than 292 years. Holds the text, quoted.
    #[error("time: invalid duration {0}")]
    Invalid(String),
    /// A number with a fraction, or one among others, lacks its unit. Holds the text, quoted.
    #[error("time: missing unit in duration {0}")]
    MissingUnit(String),
    /// A unit that is not known. Holds the unit and the text, quoted.
    #[error("time: unknown unit {unit} in duration {text}")]
    UnknownUnit {
        /// The unit, quoted.
        unit: String,
        /// The whole text, quoted.
        text: String,
    },
    /// A well-formed duration below zero. Holds its length without the sign.
    #[error("duration must not be negative")]
    Negative(Duration),
}

/// Reads a duration; see the module for what is accepted.
///
/// # Errors
/// As [`Error`] tells.
pub fn parse(text: &str) -> Result<Duration, Error> {
    if text.is_empty() {
        return Ok(Duration::ZERO);
    }
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let invalid = || Error::Invalid(quoted(text));
    let nanoseconds = match split_digits(unsigned) {
        ("", "") => return Err(invalid()),
        (seconds, "") => scaled(seconds, "", 1_000_000_000),
        _ => with_units(text, unsigned)?,
    };
    let nanoseconds = nanoseconds.filter(|n| *n <= NANOSECONDS_MAX).ok_or_else(invalid)?;
    let nanoseconds = u64::try_from(nanoseconds).map_err(|_| invalid())?;
    let duration = Duration::from_nanos(nanoseconds);
    if negative && !duration.is_zero() { Err(Error::Negative(duration)) } else { Ok(duration) }
}

/// Writes a duration as Go does: `0s`, `1.5s`, `1m30s`, `768h0m0s`, `300ms`, `1.5µs`.
pub fn format_go(duration: Duration) -> String {
    let nanoseconds = duration.subsec_nanos();
    let seconds = duration.as_secs();
    if seconds == 0 {
        return match nanoseconds {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanoseconds}ns"),
            1_000..1_000_000 => with_fraction(0, nanoseconds.into(), 1_000, "µs"),
            _ => with_fraction(0, nanoseconds.into(), 1_000_000, "ms"),
        };
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut text = String::new();
    if hours > 0 {
        write!(text, "{hours}h").expect("writing to a string cannot fail");
    }
    if seconds >= 60 {
        write!(text, "{minutes}m").expect("writing to a string cannot fail");
    }
    text + &with_fraction(seconds % 60, nanoseconds.into(), 1_000_000_000, "s")
}

/// Sums number-unit pairs to nanoseconds; `None` is an overflow.
fn with_units(text: &str, unsigned: &str) -> Result<Option<u128>, Error> {
    let mut total = Some(0_u128);
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(Error::Invalid(quoted(text)));
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let nanoseconds = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "" => return Err(Error::MissingUnit(quoted(text))),
            _ => return Err(Error::UnknownUnit { unit: quoted(unit), text: quoted(text) }),
        };
        total = match (total, scaled(whole, fraction, nanoseconds)) {
            (Some(total), Some(part)) => total.checked_add(part),
            _ => None,
        };
        rest = next;
    }
    Ok(total)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `whole.fraction` times the unit, cut to whole nanoseconds; `None` is an overflow.
fn scaled(whole: &str, fraction: &str, unit: u64) -> Option<u128> {
    let unit = u128::from(unit);
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let (mut numerator, mut denominator) = (0_u128, 1_u128);
    // Digits beyond the eighteenth are worth less than a nanosecond of any unit.
    for digit in fraction.bytes().take(18) {
        numerator = numerator * 10 + u128::from(digit - b'0');
        denominator *= 10;
    }
    (u128::from(whole) * unit).checked_add(unit * numerator / denominator)
}

/// `whole` units and a fraction given in parts of `parts` nanoseconds a unit, no trailing zeros.
fn with_fraction(whole: u64, nanoseconds: u64, parts: u64, unit: &str) -> String {
    let whole = whole + nanoseconds / parts;
    let fraction = nanoseconds % parts;
    if fraction == 0 {
        return format!("{whole}{unit}");
    }
    let width = parts.ilog10() as usize;
    let fraction = format!("{fraction:0width$}");
    format!("{whole}.{}{unit}", fraction.trim_end_matches('0'))
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(ECHO_CHARS_MAX) {
        Some((end, _)) => format!("{:?}", format!("{}…", text.get(..end).unwrap_or_default())),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(text: &str) -> f64 {
        parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).as_secs_f64()
    }

    #[test]
    fn go_durations_bare_seconds_and_days_are_read() {
        for (text, expected) in [
            ("", 0.0),
            ("0", 0.0),
            ("-0", 0.0),
            ("-0s", 0.0),
            ("15", 15.0),
            ("+15", 15.0),
            ("768h", 2_764_800.0),
            ("1h30m", 5400.0),
            ("90s", 90.0),
            ("1.5h", 5400.0),
            (".5s", 0.5),
            ("5.s", 5.0),
            ("300ms", 0.3),
            ("100us", 0.0001),
            ("100µs", 0.0001),
            ("100μs", 0.0001),
            ("7ns", 7e-9),
            ("2d", 172_800.0),
            ("1d12h", 129_600.0),
            ("1m1h", 3660.0),
            ("100000h", 360_000_000.0),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert_eq!(parse("0.1234567891s"), Ok(Duration::from_nanos(123_456_789)));
        let long = format!("0.{}s", "9".repeat(1000));
        assert_eq!(parse(&long), Ok(Duration::from_nanos(999_999_999)));
    }

    #[test]
    fn errors_read_as_go_writes_them() {
        for (text, message) in [
            ("abc", "time: invalid duration \"abc\""),
            ("-", "time: invalid duration \"-\""),
            (".", "time: invalid duration \".\""),
            (".s", "time: invalid duration \".s\""),
            ("--1s", "time: invalid duration \"--1s\""),
            ("1h 30m", "time: unknown unit \"h \" in duration \"1h 30m\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("1.5", "time: missing unit in duration \"1.5\""),
            ("1h5", "time: missing unit in duration \"1h5\""),
            ("9223372037", "time: invalid duration \"9223372037\""),
            ("99999999999999999999", "time: invalid duration \"99999999999999999999\""),
            ("99999999999999999999h", "time: invalid duration \"99999999999999999999h\""),
            ("18446744073709551615d", "time: invalid duration \"18446744073709551615d\""),
        ] {
            assert_eq!(parse(text).map_err(|e| e.to_string()), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn negative_durations_are_told_apart_with_their_length() {
        assert_eq!(parse("-1m"), Err(Error::Negative(Duration::from_secs(60))));
        assert_eq!(parse("-15"), Err(Error::Negative(Duration::from_secs(15))));
    }

    #[test]
    fn a_long_text_is_cut_in_the_error() {
        let message = parse(&"x".repeat(10_000)).unwrap_err().to_string();
        assert!(message.len() < 120, "{message}");
    }

    #[test]
    fn formatting_follows_go() {
        for (duration, expected) in [
            (Duration::ZERO, "0s"),
            (Duration::from_secs(3600), "1h0m0s"),
            (Duration::from_secs(2_764_800), "768h0m0s"),
            (Duration::from_secs(90), "1m30s"),
            (Duration::from_millis(1500), "1.5s"),
            (Duration::from_millis(60_001), "1m0.001s"),
            (Duration::from_millis(300), "300ms"),
            (Duration::from_micros(1500), "1.5ms"),
            (Duration::from_nanos(1500), "1.5µs"),
            (Duration::from_nanos(1), "1ns"),
            (Duration::from_nanos(i64::MAX as u64), "2562047h47m16.854775807s"),
        ] {
            assert_eq!(format_go(duration), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_formatted_is_read_back(nanoseconds in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&format_go(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9.nuµmshdx ]{0,40}|\\PC{0,40}") {
            if let Ok(duration) = parse(&text) {
                prop_assert_eq!(parse(&format_go(duration)), Ok(duration));
            }
        }
    }
}
