//! An error speaks to two people: the client gets a code and a sentence, the log gets the source.

use bailee_barrier::Error as StorageError;

/// The kinds of failure a client can tell apart. The server gives each its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is wrong and will stay wrong.
    InvalidRequest,
    /// What was to prove a caller who is known proves nothing; it counts toward the lock-out.
    BadCredentials,
    /// Nobody of that name can log in. Clients see the same as for bad credentials.
    UnknownUser,
    /// No valid token, or no right.
    PermissionDenied,
    /// Nothing is there.
    NotFound,
    /// The path exists, the operation does not.
    Unsupported,
    /// Someone else changed the same thing; the request may be repeated.
    Conflict,
    /// A limit on the size of input.
    TooLarge,
    /// The body's type is not the one this operation takes.
    UnsupportedMedia,
    /// A quota refuses.
    RateLimited,
    /// The server is sealed or not initialized.
    Sealed,
    /// Another node is active.
    Standby,
    /// Something the server depends on outside failed.
    Upstream,
    /// The server itself failed.
    Internal,
}

/// A failed request. `Display` is what the client reads.
#[derive(Debug, thiserror::Error)]
#[error("{}", messages.join(", "))]
pub struct Error {
    /// What kind of failure it is.
    pub code: Code,
    /// What the client reads, one sentence each. Never secret, never from the log.
    pub messages: Vec<String>,
    /// What the log alone may show.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with one message.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, messages: vec![message.into()], source: None }
    }

    /// A wrong request: names the field and what to do.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Code::InvalidRequest, message)
    }

    /// A login of someone who is known, with the wrong password or the like. The kernel locks the
    /// user out after some of these.
    pub fn bad_credentials(message: impl Into<String>) -> Error {
        Error::new(Code::BadCredentials, message)
    }

    /// A login of someone who is not known; its message is the one for bad credentials.
    pub fn unknown_user(message: impl Into<String>) -> Error {
        Error::new(Code::UnknownUser, message)
    }

    /// Nothing there; clients see an empty list of errors.
    pub fn not_found() -> Error {
        Error { code: Code::NotFound, messages: Vec::new(), source: None }
    }

    /// The one text that all clients know for a missing right.
    pub fn permission_denied() -> Error {
        Error::new(Code::PermissionDenied, "permission denied")
    }

    /// A failure of the server: the client learns nothing of the source.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error {
            code: Code::Internal,
            messages: vec!["internal error".to_owned()],
            source: Some(source.into()),
        }
    }

    /// The same error with its cause, for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }
}

impl From<StorageError> for Error {
    fn from(source: StorageError) -> Error {
        let (code, message) = match &source {
            StorageError::Conflict => (Code::Conflict, "the data changed meanwhile; try again"),
            StorageError::TooLarge { .. } => {
                (Code::TooLarge, "the value is too large to be stored")
            }
            StorageError::Full => (Code::Internal, "storage is full"),
            StorageError::Unavailable(_) => (Code::Internal, "storage is unavailable"),
            StorageError::Corrupt(_) => (Code::Internal, "stored data is corrupt"),
        };
        Error { code, messages: vec![message.to_owned()], source: Some(Box::new(source)) }
    }
}
