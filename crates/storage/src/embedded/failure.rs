//! What the engine's and the system's errors mean to a caller.

use crate::Error;
use rusqlite::ErrorCode;
use std::{fmt::Display, io, sync::OnceLock};

/// Maps an error of the engine; `doing` says what was tried.
pub(super) fn from_engine(doing: &str, error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Corrupt(format!("{doing}: {error}"))
        }
        Some(_) => unavailable(doing, error),
        // Not from the engine but from a column that is not of the type we write.
        None => Error::Corrupt(format!("{doing}: {error}")),
    }
}

pub(super) fn from_system(doing: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full,
        _ => unavailable(doing, error),
    }
}

pub(super) fn unavailable(doing: &str, error: impl Display) -> Error {
    Error::Unavailable(format!("{doing}: {error}"))
}

/// The same error for each of several waiters.
pub(super) fn again(error: &Error) -> Error {
    match error {
        Error::Conflict => Error::Conflict,
        Error::TooLarge { what, bytes, max } => Error::TooLarge { what, bytes: *bytes, max: *max },
        Error::Full => Error::Full,
        Error::Unavailable(reason) => Error::Unavailable(reason.clone()),
        Error::Corrupt(reason) => Error::Corrupt(reason.clone()),
    }
}

/// Whether the files can still be trusted to take writes.
///
/// After a failed flush the system may drop the bytes and report success from then on, so nothing
/// written behind them would be safe. Only opening anew puts every byte on disk once more.
#[derive(Debug, Default)]
pub(super) struct Health(OnceLock<String>);

impl Health {
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.0.get() {
            None => Ok(()),
            Some(reason) => Err(Error::Unavailable(format!(
                "no more writes until storage is opened again, after: {reason}"
            ))),
        }
    }

    pub(super) fn stop_writes(&self, reason: &Error) {
        if self.0.set(reason.to_string()).is_ok() {
            crate::event::writes_stopped(&reason.to_string());
        }
    }

    /// Stops writes when the error says that the files are not to be trusted.
    pub(super) fn consider(&self, error: &rusqlite::Error, meaning: &Error) {
        let trusted = !matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::CannotOpen
            )
        );
        if !trusted {
            self.stop_writes(meaning);
        }
    }
}
