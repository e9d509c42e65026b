//! How an application is given what it needs: a process with variables, and files.
//!
//! | module | gives |
//! |---|---|
//! | [`file`](mod@file) | a file that a template or a connection fills, replaced as a whole when it changes |
//! | [`exec`] | a process that is started with variables, and started again or told when they change |
//! | [`run`] | all of them together |
//! | [`template`] | texts made of secrets and connections |
//! | [`value`] | what a variable stands for: a property of a connection, or a secret |

mod changes;
mod event;
pub mod exec;
pub mod file;
pub mod run;
pub mod template;
#[cfg(test)]
mod tests;
pub mod value;

use std::fmt;

pub use changes::{SETTLE, SETTLE_FILES, SETTLE_MAX};
pub use run::Outputs;

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
