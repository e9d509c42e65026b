//! Schedules: when something happens again.
//!
//! | form | example | as in |
//! |---|---|---|
//! | six fields in `cron(…)` | `cron(0/30 8-17 ? * MON-FRI *)` | EventBridge |
//! | `rate(…)` | `rate(1 hour)`, `rate(30 minutes)` | EventBridge |
//! | five fields | `0 2 * * SAT` | cron, Vault's `rotation_schedule` |
//! | an interval | `30m`, `1h30m` | [`crate::duration`] |
//!
//! Fields are minutes, hours, day of month, month, day of week and, in `cron(…)`, year. All times
//! are UTC. What a field may say:
//!
//! | text | meaning | in |
//! |---|---|---|
//! | `*`, `7`, `1,15`, `9-17`, `MON-FRI`, `JAN` | all, one, some, a range, names | all; names for months and days of the week |
//! | `*/15`, `5/15`, `9-17/2` | every so many, from the first, from 5, within a range | all but EventBridge's day of week |
//! | `?` | this field says nothing | days |
//! | `L`, `15W`, `LW` | last day, the weekday nearest to the 15th, the last weekday | day of month, EventBridge |
//! | `L`, `6L`, `6#3` | Saturday, the last Friday, the third Friday | day of week, EventBridge |
//!
//! EventBridge counts days of the week from 1 for Sunday and wants `?` in one of its two day fields;
//! cron counts from 0 for Sunday (7 is Sunday too), and a day is right when either of two restricted
//! day fields says so. A month that lacks the day of `31W` is passed over.
//!
//! The fields are read here, strictly, so that an error names the field and what to write; the
//! calendar is that of the crate croner.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::duration;

/// The longest schedule that is read, in bytes.
pub const SCHEDULE_BYTES_MAX: usize = 256;
/// The shortest interval.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// When something happens again; see the module for the forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    times: Times,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Times {
    Every(Duration),
    Calendar(Box<Cron>),
}

/// Why a text is no schedule: which part of it, what it says, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} {said:?}: {fix}")]
pub struct Error {
    /// The part that is wrong: a field's name, `rate`, `interval` or `schedule`.
    pub part: &'static str,
    /// What that part says.
    pub said: String,
    /// What to write instead.
    pub fix: String,
}

impl Error {
    fn new(part: &'static str, said: &str, fix: impl Into<String>) -> Self {
        Self { part, said: said.chars().take(ECHO_CHARS_MAX).collect(), fix: fix.into() }
    }
}

/// How much of a refused text an error repeats, in characters.
const ECHO_CHARS_MAX: usize = 64;
const FORMS: &str = "write cron(0/30 * * * ? *), rate(30 minutes), five fields like 0 2 * * *, \
                     or an interval like 30m";

impl Schedule {
    /// Reads a schedule of any form.
    ///
    /// # Errors
    /// With the part that is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = trimmed(text)?;
        let times = if let Some(fields) = within(text, "cron") {
            Times::Calendar(Box::new(calendar(fields, &EVENTBRIDGE)?))
        } else if let Some(rate) = within(text, "rate") {
            Times::Every(every(rate)?)
        } else if text.contains(char::is_whitespace) || text.contains('*') {
            Times::Calendar(Box::new(calendar(text, &CRON)?))
        } else {
            Times::Every(interval(text)?)
        };
        Ok(Self { text: text.to_owned(), times })
    }

    /// Reads the five fields of cron and nothing else, as Vault's `rotation_schedule` takes them.
    ///
    /// # Errors
    /// With the field that is wrong and what to write instead.
    pub fn parse_cron(text: &str) -> Result<Self, Error> {
        let text = trimmed(text)?;
        let times = Times::Calendar(Box::new(calendar(text, &CRON)?));
        Ok(Self { text: text.to_owned(), times })
    }

    /// The first time later than `after`; of an interval or a rate, that much later. `None` when
    /// there is none any more.
    pub fn next_after(&self, after: SystemTime) -> Option<SystemTime> {
        match &self.times {
            Times::Every(interval) => after.checked_add(*interval),
            Times::Calendar(cron) => next(cron, Timestamp::try_from(after).ok()?).map(Into::into),
        }
    }

    /// The schedule as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same in a form that EventBridge takes; `None` for five fields, and for what is not whole
    /// minutes.
    pub fn for_eventbridge(&self) -> Option<String> {
        let Times::Every(interval) = self.times else {
            return within(&self.text, "cron").map(|_| self.text.clone());
        };
        if interval.subsec_nanos() != 0 {
            return None;
        }
        let seconds = interval.as_secs();
        let units = [(86_400, "day"), (3600, "hour"), (60, "minute")];
        let (size, unit) = units.into_iter().find(|(size, _)| seconds.is_multiple_of(*size))?;
        let number = seconds / size;
        let plural = if number == 1 { "" } else { "s" };
        Some(format!("rate({number} {unit}{plural})"))
    }

    /// The time between two times, of a rate or an interval.
    pub fn interval(&self) -> Option<Duration> {
        match self.times {
            Times::Every(interval) => Some(interval),
            Times::Calendar(_) => None,
        }
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn trimmed(text: &str) -> Result<&str, Error> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::new("schedule", text, FORMS));
    }
    if text.len() > SCHEDULE_BYTES_MAX {
        let fix = format!("it is longer than {SCHEDULE_BYTES_MAX} bytes");
        return Err(Error::new("schedule", text, fix));
    }
    Ok(text)
}

fn within<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix(name)?.trim_start().strip_prefix('(')?.strip_suffix(')')
}

/// The first time of the calendar after a moment.
fn next(cron: &Cron, after: Timestamp) -> Option<Timestamp> {
    // Whole seconds: the calendar knows nothing smaller, and a moment within a second is after it.
    let after = Timestamp::from_second(after.as_second()).ok()?.to_zoned(TimeZone::UTC);
    Some(cron.find_next_occurrence(&after, false).ok()?.timestamp())
}

fn every(text: &str) -> Result<Duration, Error> {
    let wrong = |fix: &str| Error::new("rate", text, fix);
    let mut words = text.split_whitespace();
    let (Some(number), Some(unit), None) = (words.next(), words.next(), words.next()) else {
        return Err(wrong("write a number and a unit, like rate(30 minutes)"));
    };
    let number = number
        .parse::<u32>()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| wrong("the number is a whole one above zero, like rate(30 minutes)"))?;
    let seconds = match (unit, number) {
        ("minute", 1) | ("minutes", 2..) => 60,
        ("hour", 1) | ("hours", 2..) => 3600,
        ("day", 1) | ("days", 2..) => 86_400,
        _ => {
            return Err(wrong(
                "the unit is minute, hour or day after 1, and minutes, hours or days after more",
            ));
        }
    };
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

fn interval(text: &str) -> Result<Duration, Error> {
    match duration::parse(text) {
        Ok(interval) if interval >= INTERVAL_MIN => Ok(interval),
        Ok(_) | Err(duration::Error::Negative(_)) => {
            Err(Error::new("interval", text, "the shortest interval is 1s"))
        }
        Err(_) => Err(Error::new("schedule", text, FORMS)),
    }
}

/// What a form of cron lets its fields say.
struct Form {
    fields: &'static [Field],
    shape: &'static str,
    /// One of the two day fields says `?`, and only there it is right.
    one_day_field: bool,
}

struct Field {
    name: &'static str,
    low: u16,
    high: u16,
    /// Names of values, the first one that of `named_from`.
    names: &'static [&'static str],
    named_from: u16,
    kind: FieldKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldKind {
    Plain,
    /// Days of the month, with `L`, `W` and `LW` or without.
    MonthDay {
        special: bool,
    },
    /// Days of the week; what is taken off makes Sunday 0. EventBridge's has `L` and `#`, no steps.
    WeekDay {
        sunday: u16,
        special: bool,
    },
}

const MONTHS: &[&str] =
    &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const fn field(name: &'static str, low: u16, high: u16) -> Field {
    Field { name, low, high, names: &[], named_from: 0, kind: FieldKind::Plain }
}

const fn month_day(special: bool) -> Field {
    Field { kind: FieldKind::MonthDay { special }, ..field("day of month", 1, 31) }
}

const fn month() -> Field {
    Field { names: MONTHS, named_from: 1, ..field("month", 1, 12) }
}

const fn week_day(low: u16, high: u16, special: bool) -> Field {
    let kind = FieldKind::WeekDay { sunday: low, special };
    Field { names: DAYS, named_from: low, kind, ..field("day of week", low, high) }
}

const EVENTBRIDGE: Form = Form {
    fields: &[
        field("minutes", 0, 59),
        field("hours", 0, 23),
        month_day(true),
        month(),
        week_day(1, 7, true),
        field("year", 1970, 2199),
    ],
    shape: "write six fields: minutes hours day-of-month month day-of-week year, \
            like cron(0/30 * * * ? *)",
    one_day_field: true,
};

const CRON: Form = Form {
    fields: &[
        field("minutes", 0, 59),
        field("hours", 0, 23),
        month_day(false),
        month(),
        week_day(0, 7, false),
    ],
    shape: "write five fields: minutes hours day-of-month month day-of-week, like 0 2 * * SAT",
    one_day_field: false,
};

fn calendar(text: &str, form: &Form) -> Result<Cron, Error> {
    let said: Vec<&str> = text.split_whitespace().collect();
    if said.len() != form.fields.len() {
        return Err(Error::new("schedule", text, form.shape));
    }
    if form.one_day_field
        && let [_, _, month_day, _, week_day, ..] = said.as_slice()
        && (*month_day == "?") == (*week_day == "?")
    {
        let both = format!("{month_day} and {week_day}");
        return Err(Error::new(
            "day of month and day of week",
            &both,
            "write ? in one of the two, and the days in the other",
        ));
    }
    let read = form.fields.iter().zip(&said).map(|(field, said)| field.read(said));
    let mut fields = read.collect::<Result<Vec<_>, _>>()?;
    fields.insert(0, "0".to_owned());
    fields.resize(7, "*".to_owned());
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Required).build();
    let never = || Error::new("schedule", text, "there is no such day: it would never come");
    let cron = parser
        .parse(&fields.join(" "))
        .map_err(|error| Error::new("schedule", text, error.to_string()))?;
    // From the second before 1970 on, so that the first minute of that year counts.
    let first = Timestamp::from_second(-1).ok().and_then(|before| next(&cron, before));
    if first.is_some() { Ok(cron) } else { Err(never()) }
}

impl Field {
    /// What the field says, as croner reads it: `*`, numbers, or a special form, Sunday being 0.
    fn read(&self, said: &str) -> Result<String, Error> {
        let upper = said.to_ascii_uppercase();
        match (upper.as_str(), self.kind) {
            ("*" | "*/1", _) => return Ok("*".to_owned()),
            ("?", FieldKind::MonthDay { .. } | FieldKind::WeekDay { .. }) => {
                return Ok("*".to_owned());
            }
            (special @ ("L" | "LW"), FieldKind::MonthDay { special: true }) => {
                return Ok(special.to_owned());
            }
            ("L", FieldKind::WeekDay { special: true, .. }) => return Ok("6".to_owned()),
            _ => {}
        }
        if let Some(special) = self.special(&upper) {
            return special.ok_or_else(|| self.wrong(said));
        }
        let mut values = Vec::new();
        for part in upper.split(',') {
            self.expand(part, &mut values).ok_or_else(|| self.wrong(said))?;
        }
        values.sort_unstable();
        values.dedup();
        let values: Vec<String> = values.iter().map(u16::to_string).collect();
        Ok(values.join(","))
    }

    /// `15W`, `6L` and `6#3`, which stand alone in their field; `None` when it is none of them.
    fn special(&self, said: &str) -> Option<Option<String>> {
        match self.kind {
            FieldKind::MonthDay { special: true } => {
                let day = said.strip_suffix('W')?;
                Some(self.number(day).map(|day| format!("{day}W")))
            }
            FieldKind::WeekDay { special: true, .. } => {
                if let Some((day, nth)) = said.split_once('#') {
                    let nth = Some(nth).filter(|n| matches!(*n, "1" | "2" | "3" | "4" | "5"));
                    return Some(self.value(day).zip(nth).map(|(day, nth)| format!("{day}#{nth}")));
                }
                let day = said.strip_suffix('L')?;
                Some(self.value(day).map(|day| format!("{day}L")))
            }
            _ => None,
        }
    }

    /// Adds the values of one element of a list: `5`, `5-9`, `*/2`, `5/2`, `5-9/2`.
    fn expand(&self, part: &str, values: &mut Vec<u16>) -> Option<()> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) if self.has_steps() => {
                (range, Some(digits(step).filter(|step| (1..=self.high).contains(step))?))
            }
            Some(_) => return None,
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (self.number(first)?, self.number(last)?),
            None if range == "*" => (self.low, self.last()),
            None => {
                let first = self.number(range)?;
                (first, if step.is_some() { self.last() } else { first })
            }
        };
        if first > last {
            return None;
        }
        let counted = (first..=last).step_by(usize::from(step.unwrap_or(1)));
        values.extend(counted.map(|number| self.stored(number)));
        Some(())
    }

    fn has_steps(&self) -> bool {
        !matches!(self.kind, FieldKind::WeekDay { special: true, .. })
    }

    /// The last value of `*`: cron's second Sunday is none.
    fn last(&self) -> u16 {
        if self.kind == (FieldKind::WeekDay { sunday: 0, special: false }) { 6 } else { self.high }
    }

    fn value(&self, said: &str) -> Option<u16> {
        self.number(said).map(|number| self.stored(number))
    }

    fn stored(&self, number: u16) -> u16 {
        match self.kind {
            FieldKind::WeekDay { sunday, .. } => (number - sunday) % 7,
            _ => number,
        }
    }

    /// A number or a name, as the field counts.
    fn number(&self, said: &str) -> Option<u16> {
        let named = self.names.iter().position(|name| *name == said);
        let number = match named.and_then(|place| u16::try_from(place).ok()) {
            Some(place) => place + self.named_from,
            None => digits(said)?,
        };
        (self.low..=self.high).contains(&number).then_some(number)
    }

    fn wrong(&self, said: &str) -> Error {
        let Self { low, high, .. } = self;
        let numbers = format!("write numbers from {low} to {high}");
        let ranges = "lists (a,b) and ranges (a-b, the smaller first)";
        let fix = match self.kind {
            FieldKind::Plain if self.names.is_empty() => {
                format!("{numbers}, {ranges}, steps (*/n, a/n) or *")
            }
            FieldKind::Plain => format!("{numbers} or JAN to DEC, {ranges}, steps (*/n, a/n) or *"),
            FieldKind::MonthDay { special: false } => {
                format!("{numbers}, {ranges}, steps (*/n, a/n), * or ?")
            }
            FieldKind::MonthDay { special: true } => {
                format!(
                    "{numbers}, {ranges}, steps (*/n, a/n), *, ?, or alone one of L, 15W and LW"
                )
            }
            FieldKind::WeekDay { special: false, .. } => {
                format!("{numbers} or SUN to SAT, {ranges}, steps (*/n, a/n), * or ?")
            }
            FieldKind::WeekDay { special: true, .. } => {
                format!("{numbers} or SUN to SAT, {ranges}, *, ?, or alone one of L, 6L and 6#3")
            }
        };
        Error::new(self.name, said, fix)
    }
}

/// A number of at most four digits, without a sign.
fn digits(said: &str) -> Option<u16> {
    let plain = (1..=4).contains(&said.len()) && said.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| said.parse().ok())?
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use jiff::civil::{Date, DateTime, Weekday};
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    /// The first times after the given one, without seconds.
    fn times(schedule: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(schedule).unwrap_or_else(|e| panic!("{schedule}: {e}"));
        let mut after = at(after);
        let mut times = Vec::new();
        while times.len() < count {
            let Some(next) = schedule.next_after(after) else { break };
            times.push(Timestamp::try_from(next).unwrap().strftime("%Y-%m-%d %H:%M").to_string());
            after = next;
        }
        times
    }

    #[test]
    fn schedules_of_eventbridge_come_when_its_documentation_says() {
        for (schedule, after, expected) in [
            (
                "cron(0,30 * * * ? *)",
                "2026-01-01T00:00:00Z",
                ["2026-01-01 00:30", "2026-01-01 01:00"],
            ),
            (
                "cron(0 10 * * ? *)",
                "2026-01-01T10:00:00Z",
                ["2026-01-02 10:00", "2026-01-03 10:00"],
            ),
            (
                "cron(15 12 * * ? *)",
                "2026-01-01T00:00:00Z",
                ["2026-01-01 12:15", "2026-01-02 12:15"],
            ),
            (
                "cron(0 18 ? * MON-FRI *)",
                "2026-01-02T18:00:00Z",
                ["2026-01-05 18:00", "2026-01-06 18:00"],
            ),
            ("cron(0 8 1 * ? *)", "2026-01-01T08:00:00Z", ["2026-02-01 08:00", "2026-03-01 08:00"]),
            (
                "cron(0/15 * * * ? *)",
                "2026-01-01T00:31:07Z",
                ["2026-01-01 00:45", "2026-01-01 01:00"],
            ),
            (
                "cron(0/10 * ? * MON-FRI *)",
                "2026-01-02T23:50:00Z",
                ["2026-01-05 00:00", "2026-01-05 00:10"],
            ),
            (
                "cron(0/5 8-17 ? * MON-FRI *)",
                "2026-01-02T17:50:00Z",
                ["2026-01-02 17:55", "2026-01-05 08:00"],
            ),
            // 1 is Sunday: 4 January 2026 is one.
            ("cron(0 0 ? * 1 *)", "2026-01-01T00:00:00Z", ["2026-01-04 00:00", "2026-01-11 00:00"]),
            ("cron(0 0 ? * 7 *)", "2026-01-01T00:00:00Z", ["2026-01-03 00:00", "2026-01-10 00:00"]),
            ("cron(0 0 ? * L *)", "2026-01-01T00:00:00Z", ["2026-01-03 00:00", "2026-01-10 00:00"]),
            (
                "cron(0 0 ? * 6L *)",
                "2026-01-01T00:00:00Z",
                ["2026-01-30 00:00", "2026-02-27 00:00"],
            ),
            (
                "cron(0 0 ? * FRI#2 *)",
                "2026-01-01T00:00:00Z",
                ["2026-01-09 00:00", "2026-02-13 00:00"],
            ),
            (
                "cron(0 0 ? * 1#5 *)",
                "2026-01-01T00:00:00Z",
                ["2026-03-29 00:00", "2026-05-31 00:00"],
            ),
            ("cron(0 0 L * ? *)", "2028-01-31T00:00:00Z", ["2028-02-29 00:00", "2028-03-31 00:00"]),
            // 28 February 2026 is a Saturday, 31 May a Sunday, 1 August a Saturday.
            (
                "cron(0 0 LW 2,5 ? *)",
                "2026-01-01T00:00:00Z",
                ["2026-02-27 00:00", "2026-05-29 00:00"],
            ),
            (
                "cron(0 0 1W 8 ? *)",
                "2026-01-01T00:00:00Z",
                ["2026-08-03 00:00", "2027-08-02 00:00"],
            ),
            (
                "cron(0 0 31W 1,2,5 ? *)",
                "2026-01-01T00:00:00Z",
                ["2026-01-30 00:00", "2026-05-29 00:00"],
            ),
            (
                "cron(0 0 29 2 ? *)",
                "2026-01-01T00:00:00Z",
                ["2028-02-29 00:00", "2032-02-29 00:00"],
            ),
            (
                "cron(0 0 1 1 ? 2030-2040/5)",
                "2026-01-01T00:00:00Z",
                ["2030-01-01 00:00", "2035-01-01 00:00"],
            ),
            ("rate(1 minute)", "2026-01-01T00:00:59Z", ["2026-01-01 00:01", "2026-01-01 00:02"]),
            ("rate(7 days)", "2026-01-01T00:00:00Z", ["2026-01-08 00:00", "2026-01-15 00:00"]),
        ] {
            assert_eq!(times(schedule, after, 2), expected, "{schedule}");
        }
    }

    #[test]
    fn five_fields_come_as_cron_has_them() {
        for (schedule, expected) in [
            ("0 2 * * SAT", ["2026-01-03 02:00", "2026-01-10 02:00"]),
            ("0 0 * * 0", ["2026-01-04 00:00", "2026-01-11 00:00"]),
            ("0 0 * * 7", ["2026-01-04 00:00", "2026-01-11 00:00"]),
            ("0 0 * * 5-7", ["2026-01-02 00:00", "2026-01-03 00:00"]),
            ("5/20 1 * * ?", ["2026-01-01 01:05", "2026-01-01 01:25"]),
            // Two restricted day fields: either is enough.
            ("0 0 13 * FRI", ["2026-01-02 00:00", "2026-01-09 00:00"]),
            ("0 0 13 * *", ["2026-01-13 00:00", "2026-02-13 00:00"]),
            ("0 0 1-7/3 jan,jul *", ["2026-01-04 00:00", "2026-01-07 00:00"]),
        ] {
            assert_eq!(times(schedule, "2026-01-01T00:00:00Z", 2), expected, "{schedule}");
            assert!(Schedule::parse_cron(schedule).is_ok(), "{schedule}");
        }
    }

    #[test]
    fn an_interval_runs_from_the_time_before() {
        let schedule: Schedule = "1h30m".parse().unwrap();
        let before = at("2026-01-01T00:00:00.25Z");
        assert_eq!(schedule.next_after(before), Some(at("2026-01-01T01:30:00.25Z")));
        assert_eq!(schedule.interval(), Some(Duration::from_secs(5400)));
        assert_eq!(Schedule::parse("0 0 * * *").unwrap().interval(), None);
        assert_eq!(schedule.to_string(), "1h30m");
    }

    #[test]
    fn what_eventbridge_knows_is_told_in_its_form() {
        for (schedule, expected) in [
            ("30m", Some("rate(30 minutes)")),
            ("1h", Some("rate(1 hour)")),
            ("90m", Some("rate(90 minutes)")),
            ("2d", Some("rate(2 days)")),
            ("rate(5 minutes)", Some("rate(5 minutes)")),
            ("cron(0 2 * * ? *)", Some("cron(0 2 * * ? *)")),
            ("0 2 * * *", None),
            ("90s", None),
            ("1.5s", None),
        ] {
            let schedule = Schedule::parse(schedule).unwrap();
            assert_eq!(schedule.for_eventbridge().as_deref(), expected);
        }
    }

    #[test]
    fn a_schedule_whose_years_are_over_has_no_next_time() {
        let schedule = Schedule::parse("cron(0 0 1 1 ? 2020-2022)").unwrap();
        assert_eq!(schedule.next_after(at("2022-01-01T00:00:00Z")), None);
        let first = Schedule::parse("cron(0 0 1 1 ? 1970)").unwrap();
        assert_eq!(first.next_after(at("1969-12-31T23:59:59Z")), Some(SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn an_error_names_the_field_and_what_to_write() {
        for (schedule, part, words) in [
            ("", "schedule", "write cron(0/30"),
            ("every day", "schedule", "write five fields"),
            ("soon", "schedule", "write cron(0/30"),
            ("0s", "interval", "shortest interval is 1s"),
            ("-5m", "interval", "shortest interval is 1s"),
            ("cron(0 0 * * ?)", "schedule", "write six fields"),
            ("cron(0 0 * * * *)", "day of month and day of week", "write ? in one of the two"),
            ("cron(0 0 ? * ? *)", "day of month and day of week", "write ? in one of the two"),
            ("cron(60 0 * * ? *)", "minutes", "numbers from 0 to 59"),
            ("cron(0 24 * * ? *)", "hours", "numbers from 0 to 23"),
            ("cron(0 22-2 * * ? *)", "hours", "the smaller first"),
            ("cron(0 0 0 * ? *)", "day of month", "numbers from 1 to 31"),
            ("cron(0 0 1W,15 * ? *)", "day of month", "alone one of L, 15W and LW"),
            ("cron(0 0 1 FOO ? *)", "month", "JAN to DEC"),
            ("cron(0 0 ? * 0 *)", "day of week", "numbers from 1 to 7"),
            ("cron(0 0 ? * 2/2 *)", "day of week", "alone one of L, 6L and 6#3"),
            ("cron(0 0 ? * 3#6 *)", "day of week", "alone one of L, 6L and 6#3"),
            ("cron(0 0 ? * 3#1,6#3 *)", "day of week", "alone one of L, 6L and 6#3"),
            ("cron(0 0 1 1 ? 2200)", "year", "numbers from 1970 to 2199"),
            ("cron(? 0 1 1 ? *)", "minutes", "steps (*/n, a/n) or *"),
            ("cron(*/0 0 * * ? *)", "minutes", "numbers from 0 to 59"),
            ("cron(+5 0 * * ? *)", "minutes", "numbers from 0 to 59"),
            ("cron(, 0 * * ? *)", "minutes", "numbers from 0 to 59"),
            ("cron(0 0 30 2 ? *)", "schedule", "it would never come"),
            ("0 0 31 2,4 *", "schedule", "it would never come"),
            ("* * * * 8", "day of week", "numbers from 0 to 7"),
            ("* * L * *", "day of month", "steps (*/n, a/n), * or ?"),
            ("@daily * * * *", "minutes", "numbers from 0 to 59"),
            ("rate(0 minutes)", "rate", "above zero"),
            ("rate(1 minutes)", "rate", "the unit is minute"),
            ("rate(5 minute)", "rate", "the unit is minute"),
            ("rate(5 weeks)", "rate", "the unit is minute"),
            ("rate(five minutes)", "rate", "above zero"),
            ("rate(5)", "rate", "a number and a unit"),
        ] {
            let error = Schedule::parse(schedule).unwrap_err();
            assert_eq!(error.part, part, "{schedule}: {error}");
            assert!(error.fix.contains(words), "{schedule}: {error}");
        }
        assert_eq!(
            Schedule::parse("0 24 * * *").unwrap_err().to_string(),
            "hours \"24\": write numbers from 0 to 23, lists (a,b) and ranges (a-b, the smaller \
             first), steps (*/n, a/n) or *"
        );
        let long = Schedule::parse(&"1".repeat(100_000)).unwrap_err().to_string();
        assert!(long.len() < 200, "{long}");
        assert!(Schedule::parse_cron("30m").is_err());
        assert!(Schedule::parse_cron("cron(0 0 * * ? *)").is_err());
    }

    /// A field as the model has it: what is written, and which numbers are right, by plain sight.
    #[derive(Clone, Debug)]
    enum Part {
        All,
        List(Vec<u16>),
        Range(u16, u16, u16),
        From(u16, u16),
        Every(u16),
    }

    impl Part {
        fn any(low: u16, high: u16) -> BoxedStrategy<Self> {
            prop_oneof![
                3 => Just(Self::All),
                2 => prop::collection::vec(low..=high, 1..4).prop_map(Self::List),
                2 => (low..=high, low..=high, 1..=9_u16)
                    .prop_map(|(a, b, step)| Self::Range(a.min(b), a.max(b), step)),
                1 => (low..=high, 2..=9_u16).prop_map(|(from, step)| Self::From(from, step)),
                1 => (2..=9_u16).prop_map(Self::Every),
            ]
            .boxed()
        }

        fn text(&self) -> String {
            match self {
                Self::All => "*".to_owned(),
                Self::List(list) => list.iter().map(u16::to_string).collect::<Vec<_>>().join(","),
                Self::Range(a, b, 1) => format!("{a}-{b}"),
                Self::Range(a, b, step) => format!("{a}-{b}/{step}"),
                Self::From(from, step) => format!("{from}/{step}"),
                Self::Every(step) => format!("*/{step}"),
            }
        }

        fn has(&self, low: u16, number: u16) -> bool {
            match self {
                Self::All => true,
                Self::List(list) => list.contains(&number),
                Self::Range(a, b, step) => {
                    (*a..=*b).contains(&number) && (number - a).is_multiple_of(*step)
                }
                Self::From(from, step) => number >= *from && (number - from).is_multiple_of(*step),
                Self::Every(step) => (number - low).is_multiple_of(*step),
            }
        }
    }

    /// The day fields of the model.
    #[derive(Clone, Debug)]
    enum Day {
        Month(Part),
        Last,
        LastWorkday,
        Nearest(u16),
        Week(Vec<u16>),
        LastOf(u16),
        Nth(u16, u16),
        Either(Part, Vec<u16>),
    }

    fn part_of_days() -> impl Strategy<Value = Day> {
        prop_oneof![
            2 => Part::any(1, 31).prop_map(Day::Month),
            1 => Just(Day::Last),
            1 => Just(Day::LastWorkday),
            1 => (1..=31_u16).prop_map(Day::Nearest),
            1 => prop::collection::vec(0..=6_u16, 1..4).prop_map(Day::Week),
            1 => (0..=6_u16).prop_map(Day::LastOf),
            1 => (0..=6_u16, 1..=5_u16).prop_map(|(day, nth)| Day::Nth(day, nth)),
        ]
    }

    fn sunday_is_zero(date: Date) -> u16 {
        u16::try_from(date.weekday().to_sunday_zero_offset()).unwrap()
    }

    fn is_workday(date: Date) -> bool {
        !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday)
    }

    impl Day {
        /// Day of month and day of week, with Sunday as the given number.
        fn text(&self, sunday: u16) -> (String, String) {
            let days = |days: &[u16]| {
                days.iter().map(|d| (d + sunday).to_string()).collect::<Vec<_>>().join(",")
            };
            match self {
                Self::Month(part) => (part.text(), "?".to_owned()),
                Self::Last => ("L".to_owned(), "?".to_owned()),
                Self::LastWorkday => ("LW".to_owned(), "?".to_owned()),
                Self::Nearest(day) => (format!("{day}W"), "?".to_owned()),
                Self::Week(list) => ("?".to_owned(), days(list)),
                Self::LastOf(day) => ("?".to_owned(), format!("{}L", day + sunday)),
                Self::Nth(day, nth) => ("?".to_owned(), format!("{}#{nth}", day + sunday)),
                Self::Either(part, list) => (part.text(), days(list)),
            }
        }

        fn has(&self, date: Date) -> bool {
            let day = u16::try_from(date.day()).unwrap();
            let weekday = sunday_is_zero(date);
            let month: Vec<Date> = (1..=date.days_in_month())
                .map(|day| Date::new(date.year(), date.month(), day).unwrap())
                .collect();
            let same_weekday = || month.iter().filter(|d| sunday_is_zero(**d) == weekday);
            match self {
                Self::Month(part) => part.has(1, day),
                Self::Last => month.last() == Some(&date),
                Self::LastWorkday => month.iter().rfind(|day| is_workday(**day)) == Some(&date),
                Self::Nearest(wanted) => {
                    let wanted = i16::try_from(*wanted).unwrap();
                    // The nearest of the month's workdays; a tie cannot be.
                    month.len() >= usize::try_from(wanted).unwrap()
                        && month
                            .iter()
                            .filter(|day| is_workday(**day))
                            .min_by_key(|candidate| (i16::from(candidate.day()) - wanted).abs())
                            == Some(&date)
                }
                Self::Week(list) => list.contains(&weekday),
                Self::LastOf(wanted) => {
                    weekday == *wanted && same_weekday().next_back() == Some(&date)
                }
                Self::Nth(wanted, nth) => {
                    weekday == *wanted && same_weekday().nth(usize::from(*nth) - 1) == Some(&date)
                }
                Self::Either(Part::All, list) => list.contains(&weekday),
                Self::Either(part, list) => part.has(1, day) || list.contains(&weekday),
            }
        }
    }

    #[derive(Clone, Debug)]
    struct Model {
        minutes: Part,
        hours: Part,
        months: Part,
        day: Day,
    }

    fn model(day: impl Strategy<Value = Day>) -> impl Strategy<Value = Model> {
        (Part::any(0, 59), Part::any(0, 23), Part::any(1, 12), day)
            .prop_map(|(minutes, hours, months, day)| Model { minutes, hours, months, day })
    }

    impl Model {
        /// Minute after minute, a day at once where the day is wrong; `None` after `days` days.
        fn next_after(&self, after: DateTime, days: u32) -> Option<DateTime> {
            let mut time = after.checked_add(1.minute()).unwrap().with().second(0).build().unwrap();
            for _ in 0..days {
                let date = time.date();
                let month = u16::try_from(date.month()).unwrap();
                while self.months.has(1, month) && self.day.has(date) && time.date() == date {
                    let minute = u16::try_from(time.minute()).unwrap();
                    let hour = u16::try_from(time.hour()).unwrap();
                    if self.minutes.has(0, minute) && self.hours.has(0, hour) {
                        return Some(time);
                    }
                    time = time.checked_add(1.minute()).unwrap();
                }
                time = date.tomorrow().unwrap().to_datetime(jiff::civil::Time::midnight());
            }
            None
        }
    }

    const MODEL_DAYS: u32 = 366 * 9;

    fn agrees(text: &str, model: &Model, after: i64) -> Result<(), TestCaseError> {
        let start = Timestamp::from_second(after).unwrap();
        let mut expected = start.to_zoned(TimeZone::UTC).datetime();
        let Ok(schedule) = Schedule::parse(text) else {
            // Refused as what never comes: the model does not find it either.
            prop_assert_eq!(model.next_after(expected, MODEL_DAYS), None, "{}", text);
            return Ok(());
        };
        let mut next: SystemTime = start.into();
        for _ in 0..3 {
            let Some(from_model) = model.next_after(expected, MODEL_DAYS) else { break };
            next = schedule.next_after(next).unwrap();
            let civil = Timestamp::try_from(next).unwrap().to_zoned(TimeZone::UTC).datetime();
            prop_assert_eq!(civil, from_model, "{}", text);
            expected = from_model;
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn eventbridge_agrees_with_a_model_that_looks_at_each_minute(
            model in model(part_of_days()),
            after in 0..4_000_000_000_i64,
        ) {
            let (month_day, week_day) = model.day.text(1);
            let Model { minutes, hours, months, .. } = &model;
            let (minutes, hours, months) = (minutes.text(), hours.text(), months.text());
            let text = format!("cron({minutes} {hours} {month_day} {months} {week_day} *)");
            agrees(&text, &model, after)?;
        }

        #[test]
        fn five_fields_agree_with_a_model_that_looks_at_each_minute(
            model in model((Part::any(1, 31), prop::collection::vec(0..=6_u16, 1..4))
                .prop_map(|(part, list)| Day::Either(part, list))),
            after in 0..4_000_000_000_i64,
        ) {
            let (month_day, week_day) = model.day.text(0);
            let Model { minutes, hours, months, .. } = &model;
            let (minutes, hours, months) = (minutes.text(), hours.text(), months.text());
            let text = format!("{minutes} {hours} {month_day} {months} {week_day}");
            agrees(&text, &model, after)?;
        }

        #[test]
        fn no_text_makes_it_panic(text in "(cron|rate)?[(]?[-*/,?LW#0-9A-Z ]{0,40}[)]?|\\PC{0,60}") {
            if let Ok(schedule) = Schedule::parse(&text) {
                let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
                if let Some(next) = schedule.next_after(now) {
                    prop_assert!(next > now);
                }
            }
        }
    }
}
