//! Which HTTP status each kind of failure gets.

use bailee_sdk::Code;
use http::StatusCode;

/// The status of a failure. A new code does not compile until it chooses one.
pub(crate) fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidRequest | Code::BadCredentials | Code::UnknownUser | Code::Conflict => {
            StatusCode::BAD_REQUEST
        }
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::Upstream => StatusCode::BAD_GATEWAY,
        Code::Sealed | Code::Standby => StatusCode::SERVICE_UNAVAILABLE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
