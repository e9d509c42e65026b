//! What a delivery failed of. The destination says what happened; whether it is tried again is
//! decided here and nowhere else.

use bailee_crypto::random;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The wait after the first failure, before jitter.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest wait that this side chooses.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// The longest wait that a destination may ask for.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The destination, its configuration or the name is not acceptable.
    Invalid,
    /// The credentials are absent, expired, or not accepted.
    Unauthenticated,
    /// The credentials are good and lack a permission.
    Forbidden,
    /// The object belongs to somebody else.
    NotOurs,
    /// Another secret of the destination has the name.
    NameTaken,
    /// The value is larger than the destination takes.
    TooLarge,
    /// The destination's network rules forbid the connection.
    Refused,
    /// A quota of the account is used up.
    Quota,
    /// The name is being deleted at the destination and cannot be restored.
    Deleting,
    /// Too many calls.
    Throttled,
    /// The destination cannot be reached, or failed.
    Unavailable,
    /// Somebody else changed the object meanwhile.
    Conflict,
    /// The mount the secret was in is gone.
    SourceGone,
    /// This server could not read the secret, or could not record what it does.
    Internal,
    /// The destination answered what nobody expected.
    Unknown,
}

/// The status of an association, as the API names it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// It cannot be told.
    Unknown,
    /// Something is still to be delivered or removed.
    #[default]
    Pending,
    /// The newest value is delivered.
    Synced,
    /// What was delivered has been removed.
    Unsynced,
    /// This server failed.
    InternalVaultError,
    /// The configuration, the permissions or the value are not what the destination takes.
    ClientSideError,
    /// The destination failed.
    ExternalServiceError,
}

impl Failure {
    /// Whether trying again can help without anyone changing anything.
    pub fn passes(self) -> bool {
        match self {
            Failure::Deleting
            | Failure::Throttled
            | Failure::Unavailable
            | Failure::Conflict
            | Failure::Internal
            | Failure::Unknown => true,
            Failure::Invalid
            | Failure::Unauthenticated
            | Failure::Forbidden
            | Failure::NotOurs
            | Failure::NameTaken
            | Failure::TooLarge
            | Failure::Refused
            | Failure::Quota
            | Failure::SourceGone => false,
        }
    }

    /// The status under which clients see it.
    pub fn status(self) -> Status {
        match self {
            Failure::Invalid
            | Failure::Unauthenticated
            | Failure::Forbidden
            | Failure::NotOurs
            | Failure::NameTaken
            | Failure::TooLarge
            | Failure::Refused
            | Failure::Quota
            | Failure::Deleting => Status::ClientSideError,
            Failure::Throttled | Failure::Unavailable | Failure::Conflict => {
                Status::ExternalServiceError
            }
            Failure::Internal => Status::InternalVaultError,
            Failure::SourceGone | Failure::Unknown => Status::Unknown,
        }
    }

    /// Whether it concerns the destination as a whole: then the other objects are not tried.
    pub fn is_general(self) -> bool {
        match self {
            Failure::Unauthenticated
            | Failure::Refused
            | Failure::Throttled
            | Failure::Unavailable
            | Failure::Internal => true,
            Failure::Invalid
            | Failure::Forbidden
            | Failure::NotOurs
            | Failure::NameTaken
            | Failure::TooLarge
            | Failure::Quota
            | Failure::Deleting
            | Failure::Conflict
            | Failure::SourceGone
            | Failure::Unknown => false,
        }
    }

    /// What whoever reads the status should do.
    pub fn next_action(self) -> &'static str {
        match self {
            Failure::Invalid => "correct the destination or its name template, then set again",
            Failure::Unauthenticated => "give the destination credentials that are accepted",
            Failure::Forbidden => "grant the missing permission to the destination's credentials",
            Failure::NotOurs => {
                "remove or rename the object at the destination, or allow its adoption with \
                 ownership=adopt"
            }
            Failure::NameTaken => {
                "change secret_name_template so that names differ, or remove the association that \
                 holds the name"
            }
            Failure::TooLarge => "make the value smaller, or deliver it by key with secret-key",
            Failure::Refused => "allow the address or port in the destination's network rules",
            Failure::Quota => "raise the quota of the account, or remove what is not needed",
            Failure::Deleting => "wait until the deletion has ended, or permit restoring",
            Failure::Throttled | Failure::Unavailable | Failure::Conflict => {
                "none: it is tried again by itself"
            }
            Failure::SourceGone => "mount the secrets engine again, or remove the association",
            Failure::Internal => "look at this server's log; it is tried again by itself",
            Failure::Unknown => "read the answer; it is tried again by itself",
        }
    }

    /// A word for the API, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Invalid => "invalid",
            Failure::Unauthenticated => "unauthenticated",
            Failure::Forbidden => "forbidden",
            Failure::NotOurs => "not_ours",
            Failure::NameTaken => "name_taken",
            Failure::TooLarge => "too_large",
            Failure::Refused => "refused",
            Failure::Quota => "quota",
            Failure::Deleting => "deleting",
            Failure::Throttled => "throttled",
            Failure::Unavailable => "unavailable",
            Failure::Conflict => "conflict",
            Failure::SourceGone => "source_gone",
            Failure::Internal => "internal",
            Failure::Unknown => "unknown",
        }
    }
}

impl Status {
    /// How much it asks for attention: of several, the highest stands for all.
    pub(crate) fn severity(self) -> u8 {
        match self {
            Status::Unsynced => 0,
            Status::Synced => 1,
            Status::Pending => 2,
            Status::Unknown => 3,
            Status::ExternalServiceError => 4,
            Status::ClientSideError => 5,
            Status::InternalVaultError => 6,
        }
    }

    /// The word in answers.
    pub fn name(self) -> &'static str {
        match self {
            Status::Unknown => "UNKNOWN",
            Status::Pending => "PENDING",
            Status::Synced => "SYNCED",
            Status::Unsynced => "UNSYNCED",
            Status::InternalVaultError => "INTERNAL_VAULT_ERROR",
            Status::ClientSideError => "CLIENT_SIDE_ERROR",
            Status::ExternalServiceError => "EXTERNAL_SERVICE_ERROR",
        }
    }
}

/// A failed call of a destination or a source. Its text is shown to users and never secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure it is.
    pub failure: Failure,
    /// What happened, for whoever reads the status.
    pub message: String,
    /// The permission that would help, as the destination names it.
    pub missing_permission: Option<String>,
    /// The destination's own code, such as `AccessDeniedException`.
    pub provider_code: Option<String>,
    /// How long the destination asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether the call may have had its effect all the same.
    pub uncertain: bool,
}

impl Error {
    /// A failure that certainly changed nothing.
    pub fn new(failure: Failure, message: impl Into<String>) -> Error {
        Error {
            failure,
            message: message.into(),
            missing_permission: None,
            provider_code: None,
            retry_after: None,
            uncertain: false,
        }
    }

    /// A missing permission.
    pub fn forbidden(permission: &str, message: impl Into<String>) -> Error {
        Error {
            missing_permission: Some(permission.to_owned()),
            ..Error::new(Failure::Forbidden, message)
        }
    }

    /// How long to wait before the next attempt after that many failed in a row; `None` when trying
    /// again does not help. Doubles each time, with jitter, so that what failed together does not
    /// come back together.
    pub fn wait(&self, attempts: u32) -> Option<Duration> {
        if !self.failure.passes() {
            return None;
        }
        let doublings = attempts.saturating_sub(1).min(16);
        let full = BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        let half = full / 2;
        let spread = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
        let chosen = half + Duration::from_millis(random::below(spread.saturating_add(1)));
        let asked = self.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        Some(chosen.max(asked))
    }

    /// The same, where the effect may have happened.
    #[must_use]
    pub fn uncertain(mut self) -> Error {
        self.uncertain = true;
        self
    }

    /// The same, to be tried again after that time.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Error {
        self.retry_after = Some(wait);
        self
    }
}

impl From<bailee_storage::Error> for Error {
    fn from(source: bailee_storage::Error) -> Error {
        Error::new(Failure::Internal, format!("storage failed: {source}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Failure; 14] = [
        Failure::Invalid,
        Failure::Unauthenticated,
        Failure::Forbidden,
        Failure::NotOurs,
        Failure::TooLarge,
        Failure::Refused,
        Failure::Quota,
        Failure::Deleting,
        Failure::Throttled,
        Failure::Unavailable,
        Failure::Conflict,
        Failure::SourceGone,
        Failure::Internal,
        Failure::Unknown,
    ];

    #[test]
    fn names_are_those_that_are_stored() {
        for failure in ALL {
            assert_eq!(serde_json::to_value(failure).unwrap(), failure.name());
        }
        for status in ALL.map(Failure::status) {
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
    }

    #[test]
    fn waits_double_with_jitter_up_to_a_bound() {
        let error = Error::new(Failure::Unavailable, "down");
        for (attempts, full) in [(1, 500), (2, 1_000), (5, 8_000), (60, 300_000)] {
            for _ in 0..20 {
                let wait = error.wait(attempts).unwrap().as_millis();
                assert!(wait >= full / 2 && wait <= full, "{attempts}: {wait}");
            }
        }
        let asked = error.clone().after(Duration::from_secs(40));
        assert_eq!(asked.wait(1), Some(Duration::from_secs(40)));
        assert_eq!(Error::new(Failure::Forbidden, "no").wait(1), None);
    }

    #[test]
    fn outages_pass_and_wrong_configuration_does_not() {
        for failure in ALL {
            if failure.status() == Status::ExternalServiceError {
                assert!(failure.passes(), "{failure:?}");
            }
        }
        assert!(!Failure::Forbidden.passes());
        assert!(!Failure::TooLarge.passes());
    }
}
