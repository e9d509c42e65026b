//! Durations (a placeholder until the real module lands).
use std::time::Duration;
/// Not a duration.
#[derive(Debug, thiserror::Error)]
#[error("not a duration")]
pub struct Error;
/// Parses seconds.
pub fn parse(text: &str) -> Result<Duration, Error> {
    text.trim_end_matches('s').parse().map(Duration::from_secs).map_err(|_| Error)
}
/// Go's form.
pub fn format_go(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}
