//! What the service's errors mean here.

use super::calls::Written;
use crate::failure::{Error, Failure};
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bailee_cloud::{CloudError, Kind, classify};

/// What a delivery under a key of one's own needs.
const KMS_ACTIONS: &str = "kms:GenerateDataKey, kms:Decrypt, kms:Encrypt";

/// A failed call of the service, of any operation.
pub(super) type Failed<E> = SdkError<E, HttpResponse>;

/// What became of a write.
#[derive(Debug)]
pub(super) enum Answer {
    /// A version was made.
    Done(Written),
    /// The name, or for an update the token, is in use.
    Exists,
    /// There is no such secret.
    Missing,
    /// The secret is scheduled for deletion.
    Deleting,
}

/// The answers to a write that are not failures.
pub(super) fn answer<E>(action: &str, error: &Failed<E>) -> Result<Answer, Error>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let cloud = classify(error);
    match cloud.kind {
        Kind::Exists => Ok(Answer::Exists),
        Kind::NotFound => Ok(Answer::Missing),
        Kind::InvalidRequest if is_deleting(&cloud) => Ok(Answer::Deleting),
        _ => Err(failed(action, cloud)),
    }
}

/// `false` when the secret is not there or scheduled for deletion.
pub(super) fn present<E>(action: &str, error: &Failed<E>) -> Result<bool, Error>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer(action, error)? {
        Answer::Missing | Answer::Deleting => Ok(false),
        Answer::Done(_) | Answer::Exists => {
            Err(Error::new(Failure::Unknown, format!("{action}: the service says that it exists")))
        }
    }
}

/// A secret with replicas is not deleted before they are.
pub(super) fn has_replicas(error: &CloudError) -> bool {
    error.code == "InvalidRequestException" && error.message.contains("replica regions")
}

/// By words of their own: names, which have no spaces, may contain them.
fn is_deleting(error: &CloudError) -> bool {
    let told = |word: &str| {
        let word = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        word.eq_ignore_ascii_case("deletion") || word.eq_ignore_ascii_case("deleted")
    };
    error.code == "InvalidRequestException" && error.message.split_whitespace().any(told)
}

/// The name is free once a deletion is done.
pub(super) fn deleting(message: &str, permission: Option<&str>, cloud: CloudError) -> Error {
    Error {
        missing_permission: permission.map(str::to_owned),
        provider_code: cloud.http_status.is_some().then_some(cloud.code),
        retry_after: cloud.retry_after,
        ..Error::new(Failure::Deleting, message)
    }
}

/// The failure of a call; `action` is the permission that it needs.
pub(crate) fn failed(action: &str, error: CloudError) -> Error {
    let (failure, uncertain) = match &error.kind {
        Kind::Refused => (Failure::Refused, false),
        Kind::Dns => (Failure::Unavailable, false),
        Kind::Timeout | Kind::Io | Kind::ServerFault => (Failure::Unavailable, true),
        Kind::Throttled => (Failure::Throttled, false),
        Kind::Denied { .. } => (Failure::Forbidden, false),
        Kind::Credentials => (Failure::Unauthenticated, false),
        Kind::Exists | Kind::Conflict => (Failure::Conflict, false),
        Kind::NotFound | Kind::InvalidRequest | Kind::Encryption => (Failure::Invalid, false),
        Kind::LimitExceeded => (Failure::Quota, false),
        Kind::ClockSkew | Kind::Token => (Failure::Internal, false),
        Kind::Other => (Failure::Unknown, true),
    };
    let operation = action.rsplit_once(':').map_or(action, |(_, operation)| operation);
    let mut message = format!("{operation}: {error}");
    if let Some(id) = &error.request_id {
        message.push_str(&format!(" (request id {id})"));
    }
    let missing_permission = match error.kind {
        // Of keys the service says no more than that.
        Kind::Denied { action: None, .. } if error.message.contains("KMS") => {
            Some(KMS_ACTIONS.to_owned())
        }
        Kind::Denied { action: denied, .. } => Some(denied.unwrap_or_else(|| action.to_owned())),
        _ => None,
    };
    Error {
        failure,
        message,
        missing_permission,
        // A failure without an answer has a class, but no code of the service.
        provider_code: error.http_status.is_some().then_some(error.code),
        retry_after: error.retry_after,
        uncertain: uncertain && error.sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> CloudError {
        CloudError {
            code: "InvalidRequestException".to_owned(),
            http_status: Some(400),
            kind: Kind::InvalidRequest,
            message: message.to_owned(),
            request_id: None,
            retry_after: None,
            sent: true,
        }
    }

    #[test]
    fn a_deletion_is_told_by_the_words_of_the_service_not_by_names() {
        for message in [
            "You can't perform this operation on the secret because it was marked for deletion.",
            "You tried to perform the operation on a secret that's currently marked deleted.",
            "a secret with this name is already scheduled for deletion",
        ] {
            assert!(is_deleting(&refused(message)), "{message}");
        }
        let replicated =
            refused("You can't delete secret vault/deleted-users that still has replica regions");
        assert!(!is_deleting(&replicated));
        assert!(has_replicas(&replicated));
    }
}
