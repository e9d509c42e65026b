//! Times in answers.

/// A time, in milliseconds since 1970, as clients read it.
pub(crate) fn time_text(millis: u64) -> String {
    let time = i64::try_from(millis).ok().and_then(|m| jiff::Timestamp::from_millisecond(m).ok());
    format!("{:.3}", time.unwrap_or(jiff::Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_a_last_day() {
        assert_eq!(time_text(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(time_text(1_700_000_000_042), "2023-11-14T22:13:20.042Z");
        assert!(time_text(u64::MAX).starts_with("9999-12-"));
    }
}
