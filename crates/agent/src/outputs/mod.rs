//! How an application is given what it needs: a process with variables, and files.
//!
//! | module | gives |
//! |---|---|
//! | [`exec`] | a process that is started with variables, and started again or told when they change |
//! | [`value`] | what a variable stands for: a property of a connection, or a secret |

mod event;
pub mod exec;
#[cfg(test)]
mod tests;
pub mod value;

use std::{fmt, time::Duration};

/// How long changes are waited for that come together with another one, so that one act answers them all.
pub const SETTLE: Duration = Duration::from_millis(100);
/// The longest time for which changes that keep coming put an act off.
pub const SETTLE_MAX: Duration = Duration::from_secs(2);

/// Why an output's configuration is refused: what is wrong, and what to write instead. It holds no value of a
/// secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

impl Invalid {
    pub(crate) fn new(message: impl Into<String>) -> Invalid {
        Invalid(message.into())
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}
