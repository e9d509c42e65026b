//! Why a request got no good answer.

use crate::Response;

/// A failed request. Nothing here repeats what was sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting of the client does not fit.
    #[error("{setting}: {reason}")]
    Setting {
        /// The file or variable.
        setting: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server was not reached, or did not answer in time.
    #[error("{method} {url}: {reason}")]
    Connection {
        /// The method tried.
        method: &'static str,
        /// Where to.
        url: String,
        /// The chain of reasons.
        reason: String,
    },
    /// The server must not be reached from here.
    #[error("{method} {url}: {reason}")]
    Forbidden {
        /// The method tried.
        method: &'static str,
        /// Where to.
        url: String,
        /// What forbids it.
        reason: String,
    },
    /// The server refused or failed. A missing thing may still have data to show.
    #[error("{method} {url}: status {}: {}", response.status, response.errors().join("; "))]
    Refused {
        /// The method tried.
        method: &'static str,
        /// Where to.
        url: String,
        /// The answer.
        response: Box<Response>,
    },
    /// There is no token, and no way to one.
    #[error("login: {reason}")]
    Login {
        /// What is wrong.
        reason: String,
    },
    /// The answer is not what the API promises.
    #[error("{method} {url}: the answer {reason}")]
    Answer {
        /// The method tried.
        method: &'static str,
        /// Where to.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Error {
    /// The status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Refused { response, .. } => Some(response.status),
            Error::Setting { .. }
            | Error::Connection { .. }
            | Error::Forbidden { .. }
            | Error::Login { .. }
            | Error::Answer { .. } => None,
        }
    }
}
