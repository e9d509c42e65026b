//! Why a secret could not be had.

use std::{fmt, time::Duration};

/// The class of a failure: what the store does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The place has no such secret, or no such version of it. It is believed: nothing old is served.
    NotFound,
    /// What was asked for can be no secret of that place.
    Invalid,
    /// The place knows the caller and says no.
    Denied,
    /// The credentials are absent, expired, or not accepted.
    Credentials,
    /// The key that the secret is encrypted with is missing, disabled, or not for the caller.
    Decryption,
    /// Too many calls.
    Throttled,
    /// The place cannot be reached, or failed.
    Unavailable,
}

impl Cause {
    /// A word for metrics and for what is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::NotFound => "not_found",
            Cause::Invalid => "invalid",
            Cause::Denied => "denied",
            Cause::Credentials => "credentials",
            Cause::Decryption => "decryption",
            Cause::Throttled => "throttled",
            Cause::Unavailable => "unavailable",
        }
    }

    /// Whether what was fetched before may serve in its place. What is gone is gone, and what cannot be asked
    /// for was never there; in all other cases the application must not notice.
    pub fn is_outage(self) -> bool {
        match self {
            Cause::NotFound | Cause::Invalid => false,
            Cause::Denied
            | Cause::Credentials
            | Cause::Decryption
            | Cause::Throttled
            | Cause::Unavailable => true,
        }
    }
}

/// A secret that could not be had. Holds no value of any secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub cause: Cause,
    /// The place's own code, such as `ResourceNotFoundException`; empty where it gave none.
    pub code: String,
    /// The HTTP status that the place answered with, where it answered.
    pub status: Option<u16>,
    /// What happened and what to do, for an operator.
    pub message: String,
    /// How long the place asks to wait.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that no answer of a place tells.
    pub fn new(cause: Cause, message: impl Into<String>) -> Failure {
        Failure {
            cause,
            code: String::new(),
            status: None,
            message: message.into(),
            retry_after: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.code.is_empty() && !self.message.starts_with(&self.code) {
            write!(f, "{}: ", self.code)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
