//! What AWS's errors mean for the store.

use crate::failure::{Cause, Failure};
use bailee_cloud::{CloudError, Kind};

/// A failed call. AWS's code, status and message stay as they are, so that they can be told on; where the message
/// alone says too little, a hint follows it.
pub(super) fn failed(error: CloudError) -> Failure {
    let cause = cause(&error);
    let message = match hint(&error) {
        Some(hint) => format!("{}; {hint}", error.message),
        None => error.message,
    };
    Failure {
        cause,
        // A failure without an answer has a class, but no code of AWS.
        code: if error.http_status.is_some() { error.code } else { String::new() },
        status: error.http_status,
        message,
        retry_after: error.retry_after,
    }
}

fn cause(error: &CloudError) -> Cause {
    match &error.kind {
        // Nothing was sent: STS answered that a role cannot be taken on.
        Kind::Denied { .. } | Kind::NotFound | Kind::InvalidRequest if is_of_role(error) => {
            Cause::Credentials
        }
        Kind::NotFound => Cause::NotFound,
        // Nobody can read what is scheduled for deletion: it is gone already.
        Kind::InvalidRequest if is_deleted(error) => Cause::NotFound,
        Kind::InvalidRequest if is_default_key(error) => Cause::Decryption,
        Kind::Encryption => Cause::Decryption,
        Kind::Denied { .. } if is_key_denied(error) => Cause::Decryption,
        Kind::Denied { .. } => Cause::Denied,
        Kind::Credentials | Kind::Token | Kind::ClockSkew => Cause::Credentials,
        Kind::Throttled => Cause::Throttled,
        Kind::InvalidRequest => Cause::Invalid,
        Kind::Refused
        | Kind::Dns
        | Kind::Timeout
        | Kind::Io
        | Kind::ServerFault
        | Kind::Exists
        | Kind::Conflict
        | Kind::LimitExceeded
        | Kind::Other => Cause::Unavailable,
    }
}

fn is_of_role(error: &CloudError) -> bool {
    !error.sent && error.http_status.is_some()
}

/// By words of their own: names, which have no spaces, may contain them.
fn is_deleted(error: &CloudError) -> bool {
    let told = |word: &str| matches!(word.trim_matches(['.', ',']), "deletion" | "deleted");
    error.code == "InvalidRequestException" && error.message.split_whitespace().any(told)
}

/// The account's default key is for nobody in another account.
pub(super) fn is_default_key(error: &CloudError) -> bool {
    error.code == "InvalidRequestException"
        && error.message.contains("different AWS account")
        && error.message.contains("default KMS")
}

/// Of keys the service says no more than that.
pub(super) fn is_key_denied(error: &CloudError) -> bool {
    matches!(&error.kind, Kind::Denied { action, .. }
        if action.as_deref().map_or(error.message.contains("KMS"), |action| action.starts_with("kms:")))
}

fn hint(error: &CloudError) -> Option<&'static str> {
    match &error.kind {
        _ if is_key_denied(error) => Some(
            "the secret is encrypted with a customer's KMS key, and the caller lacks kms:Decrypt on it: the key's \
             policy must name the caller, and in another account the caller's own policy must allow it, too",
        ),
        _ if is_default_key(error) => Some(
            "encrypt the secret with a customer's KMS key whose policy allows the other account kms:Decrypt",
        ),
        Kind::Encryption => Some("enable the KMS key of the secret, or cancel its deletion"),
        Kind::ClockSkew => Some("set this machine's clock"),
        Kind::Denied { .. } if is_of_role(error) => Some(
            "the caller needs sts:AssumeRole on the role, the role's trust policy must name the caller, and the \
             external id must be the one it asks for",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_the_cause_that_the_store_acts_on() {
        for (code, message, cause) in [
            (
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret.",
                Cause::NotFound,
            ),
            (
                "InvalidRequestException",
                "You can't perform this operation on the secret because it was marked for deletion.",
                Cause::NotFound,
            ),
            (
                "InvalidRequestException",
                "You provided a VersionStage that is not associated to the provided VersionId.",
                Cause::Invalid,
            ),
            (
                "InvalidRequestException",
                "You can't access a secret from a different AWS account if you encrypt the secret with the default \
                 KMS service key.",
                Cause::Decryption,
            ),
            ("AccessDeniedException", "Access to KMS is not allowed", Cause::Decryption),
            (
                "AccessDeniedException",
                "User: u is not authorized to perform: secretsmanager:GetSecretValue on resource: KMS-a",
                Cause::Denied,
            ),
            ("DecryptionFailure", "Secrets Manager can't decrypt", Cause::Decryption),
            ("ThrottlingException", "Rate exceeded", Cause::Throttled),
            ("InternalServiceError", "An error occurred", Cause::Unavailable),
            ("UnrecognizedClientException", "The security token is invalid.", Cause::Credentials),
            ("ExpiredTokenException", "The security token is expired", Cause::Credentials),
        ] {
            let failure = failed(CloudError::of_item(code, message));
            assert_eq!(failure.cause, cause, "{code}: {message}");
            assert_eq!(failure.code, code);
            assert!(failure.message.starts_with(message), "{}", failure.message);
            assert_eq!(failure.status, Some(400));
        }
    }
}
