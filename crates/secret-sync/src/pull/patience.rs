//! How often one call is tried, and how long is waited in between.

use crate::failure::{Error, Failure};
use std::time::Duration;

/// How often one call is tried.
const ATTEMPTS_MAX: u32 = 6;
/// The longest wait between two attempts: a run ends, and the next one goes on.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Secrets of which the source may fail to give the value before it is the source that fails.
const BROKEN_MAX: u32 = 16;

/// How often a source failed at single secrets.
#[derive(Debug, Default)]
pub(super) struct Failing(u32);

impl Failing {
    /// Whether an error concerns the whole source, and not one secret alone.
    pub(super) fn is_all(&mut self, error: &Error) -> bool {
        if error.failure == Failure::Unknown {
            self.0 += 1;
        }
        error.failure.is_general() || self.0 > BROKEN_MAX
    }
}

/// The wait before the next attempt after that many; `None` where there is none.
pub(super) fn wait(error: &Error, attempts: u32) -> Option<Duration> {
    let wait = error.wait(attempts).filter(|_| attempts < ATTEMPTS_MAX)?;
    Some(wait.min(WAIT_MAX))
}

/// Tries until it is done or no more can be hoped for in this run.
pub(super) async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut attempts = 0;
    loop {
        let error = match call().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        attempts += 1;
        let Some(wait) = wait(&error, attempts) else { return Err(error) };
        tokio::time::sleep(wait).await;
    }
}
