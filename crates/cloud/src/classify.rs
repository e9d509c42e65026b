//! What an AWS call failed of: one class for each reaction, and what an operator must know.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::http::HttpError;

/// The longest message that is kept, in characters.
const MESSAGE_CHARACTERS_MAX: usize = 1024;

/// The status that AWS refuses a single item with.
const STATUS_OF_ITEMS: u16 = 400;

/// The class of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The egress rules forbid the connection.
    Refused,
    /// The endpoint's name could not be resolved.
    Dns,
    /// A time limit passed; the call may have had its effect.
    Timeout,
    /// The connection could not be made or broke, or the answer could not be read.
    Io,
    /// Too many calls; see `retry_after`.
    Throttled,
    /// The service failed.
    ServerFault,
    /// The caller is known and may not do this.
    Denied {
        /// The missing permission, as `secretsmanager:CreateSecret`.
        action: Option<String>,
        /// What the permission is missing on, usually an ARN.
        resource: Option<String>,
    },
    /// The credentials are absent, expired, or not accepted.
    Credentials,
    /// This server could not sign the token that stands for it.
    Token,
    /// What was asked for does not exist.
    NotFound,
    /// What was to be created exists.
    Exists,
    /// Somebody else changed it meanwhile.
    Conflict,
    /// The request is not acceptable, and will not be when repeated.
    InvalidRequest,
    /// A quota of the account is used up.
    LimitExceeded,
    /// The KMS key is missing, disabled, or not usable by the caller.
    Encryption,
    /// The service thinks that this machine's clock is wrong.
    ClockSkew,
    /// Nothing of the above.
    Other,
}

/// A failed cloud call. The text holds what the service said and no request or response body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudError {
    /// The service's code, as `AccessDeniedException`; a class name where there was no answer.
    pub code: String,
    /// The HTTP status, where there was an answer.
    pub http_status: Option<u16>,
    /// The class.
    pub kind: Kind,
    /// What happened, for an operator.
    pub message: String,
    /// The service's id of the request, to be given to its support.
    pub request_id: Option<String>,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether the call may have reached the service; `false` when it certainly did not.
    pub sent: bool,
}

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return f.write_str(&self.code);
        }
        match self.http_status {
            Some(_) => write!(f, "{}: {}", self.code, self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Error for CloudError {}

/// Sorts the error of any AWS operation into its class.
pub fn classify<E>(error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(inner) = find::<CloudError>(error) {
        return inner.clone();
    }
    match error.raw_response() {
        Some(response) => from_response(error, response),
        None => without_response(error),
    }
}

impl CloudError {
    pub(crate) fn unanswered(code: &str, kind: Kind, message: String) -> CloudError {
        CloudError {
            code: code.to_owned(),
            http_status: None,
            kind,
            message: printable(&message),
            request_id: None,
            retry_after: None,
            sent: true,
        }
    }

    /// A failure that the service answered with.
    pub(crate) fn answered(
        status: u16,
        code: Option<String>,
        message: Option<String>,
        request_id: Option<String>,
        retry_after: Option<Duration>,
    ) -> CloudError {
        let code = code.as_deref().map(bare_code).filter(|code| !code.is_empty());
        let message = message
            .map(|text| printable(without_request(&text)))
            .unwrap_or_else(|| format!("the service answered with status {status}"));
        let kind = match code {
            Some(code) => kind_of_code(code, &message).unwrap_or_else(|| kind_of_status(status)),
            None => kind_of_status(status),
        };
        let kind = match kind {
            Kind::Denied { .. } => denied(&message),
            kind => kind,
        };
        CloudError {
            code: code.map_or_else(|| code_of_status(status), str::to_owned),
            http_status: Some(status),
            kind,
            message,
            request_id: request_id.map(|id| printable(&id)),
            retry_after,
            sent: true,
        }
    }

    /// What became of one item in an answer of success, as batches tell it.
    pub fn of_item(code: &str, message: &str) -> CloudError {
        let (code, message) = (Some(code.to_owned()), Some(message.to_owned()));
        CloudError::answered(STATUS_OF_ITEMS, code, message, None, None)
    }

    /// Whether the service says of temporary credentials that their time is over.
    pub fn is_expired(&self) -> bool {
        self.sent && matches!(self.code.as_str(), "ExpiredToken" | "ExpiredTokenException")
    }

    /// The same failure of a call that certainly did not reach the service.
    pub(crate) fn unsent(self) -> CloudError {
        CloudError { sent: false, ..self }
    }

    /// The same failure, told as part of something larger that was not begun: "cannot do x: …".
    pub(crate) fn within(mut self, what: &str) -> CloudError {
        self.message = format!("{what}: {}", self.message);
        self.unsent()
    }
}

impl From<&HttpError> for CloudError {
    fn from(error: &HttpError) -> CloudError {
        let (code, kind) = match error {
            HttpError::Refused(_) => ("Refused", Kind::Refused),
            HttpError::Dns(_) => ("Dns", Kind::Dns),
            HttpError::Timeout(_) => ("Timeout", Kind::Timeout),
            HttpError::Connect(_) => ("Connect", Kind::Io),
            HttpError::Tls(_) => ("Tls", Kind::Io),
            HttpError::Io(_) => ("Io", Kind::Io),
            HttpError::TooLarge { .. } => ("TooLarge", Kind::Other),
            HttpError::Invalid(_) => ("InvalidEndpoint", Kind::InvalidRequest),
        };
        let unanswered = CloudError::unanswered(code, kind, error.to_string());
        match error {
            HttpError::Timeout(_) | HttpError::Io(_) | HttpError::TooLarge { .. } => unanswered,
            HttpError::Refused(_)
            | HttpError::Dns(_)
            | HttpError::Connect(_)
            | HttpError::Tls(_)
            | HttpError::Invalid(_) => unanswered.unsent(),
        }
    }
}

fn without_response<E>(error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: Error + 'static,
{
    // Without credentials there is nothing to sign, and nothing was sent.
    let unsigned = find::<CredentialsError>(error).is_some();
    if let Some(http) = find::<HttpError>(error) {
        let http = CloudError::from(http);
        return if unsigned { http.unsent() } else { http };
    }
    let message = lowest(error).to_string();
    if unsigned {
        return CloudError::unanswered("Credentials", Kind::Credentials, message).unsent();
    }
    match error {
        SdkError::TimeoutError(_) => CloudError::unanswered("Timeout", Kind::Timeout, message),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            CloudError::unanswered("Timeout", Kind::Timeout, message)
        }
        SdkError::DispatchFailure(failure) if failure.is_io() => {
            CloudError::unanswered("Io", Kind::Io, message)
        }
        SdkError::ConstructionFailure(_) => {
            CloudError::unanswered("InvalidRequest", Kind::InvalidRequest, message).unsent()
        }
        _ => CloudError::unanswered("Other", Kind::Other, message),
    }
}

fn from_response<E>(error: &SdkError<E, HttpResponse>, response: &HttpResponse) -> CloudError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name);
    // Emulators answer a JSON call with XML: then the SDK has read nothing and we look ourselves.
    let body = response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
    let meta = error.meta();
    let code = meta
        .code()
        .or_else(|| header("x-amzn-errortype"))
        .or_else(|| element(&body, "Code"))
        .map(bare_code)
        .filter(|code| !code.is_empty());
    let message = meta
        .message()
        .or_else(|| element(&body, "Message"))
        .map(|text| printable(without_request(text)))
        .unwrap_or_else(|| format!("the service answered with status {status}"));
    let kind = match code {
        // An answer of success that could not be read says nothing about the request.
        _ if status < 300 => Kind::Io,
        Some(code) => kind_of_code(code, &message).unwrap_or_else(|| kind_of_status(status)),
        None => kind_of_status(status),
    };
    let kind = match kind {
        Kind::Denied { .. } => denied(&message),
        kind => kind,
    };
    let request_id = meta
        .extra("aws_request_id")
        .or_else(|| header("x-amzn-requestid"))
        .or_else(|| header("x-amz-request-id"))
        .or_else(|| element(&body, "RequestId"));
    CloudError {
        code: code.map_or_else(|| code_of_status(status), str::to_owned),
        http_status: Some(status),
        kind,
        message,
        request_id: request_id.map(printable),
        retry_after: header("retry-after")
            .and_then(|seconds| seconds.trim().parse().ok())
            .map(Duration::from_secs),
        sent: true,
    }
}

/// `prefix#Code:suffix` without prefix and suffix.
fn bare_code(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    code.split_once(':').map_or(code, |(code, _)| code).trim()
}

/// The class of every code that stands for one, whatever the message; without the ending
/// `Exception`, which some services write and others leave out.
static CODES: &[(Kind, &[&str])] = &[
    (
        Kind::Throttled,
        &[
            "Throttling",
            "Throttled",
            "RequestThrottled",
            "TooManyRequests",
            "ProvisionedThroughputExceeded",
            "RequestLimitExceeded",
            "PriorRequestNotComplete",
            "BandwidthLimitExceeded",
            "SlowDown",
        ],
    ),
    (
        Kind::ServerFault,
        &[
            "InternalServiceError",
            "InternalFailure",
            "IDPCommunicationError",
            "InternalError",
            "InternalServer",
            "InternalServerError",
            "ServiceFailure",
            "ServiceUnavailable",
            "IDPCommunicationError",
        ],
    ),
    (
        Kind::Credentials,
        &[
            "UnrecognizedClient",
            "InvalidClientTokenId",
            "InvalidIdentityToken",
            "IDPRejectedClaim",
            "InvalidAccessKeyId",
            "ExpiredToken",
            "InvalidToken",
            "MissingAuthenticationToken",
            "IncompleteSignature",
            "InvalidSignature",
            "SignatureDoesNotMatch",
            "InvalidIdentityToken",
            "IDPRejectedClaim",
            "AuthFailure",
        ],
    ),
    (Kind::ClockSkew, &["RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"]),
    (
        NOTHING_KNOWN,
        &[
            "AccessDenied",
            "AuthorizationError",
            "OptInRequired",
            "RegionDisabled",
            "UnauthorizedOperation",
            "NotAuthorized",
            "KMSAccessDenied",
        ],
    ),
    (Kind::NotFound, &["ResourceNotFound", "NotFound", "NoSuchEntity"]),
    (Kind::Exists, &["ResourceExists", "EntityAlreadyExists", "AlreadyExists"]),
    (
        Kind::Conflict,
        &["ConcurrentModification", "DeleteConflict", "EntityTemporarilyUnmodifiable", "Conflict"],
    ),
    (Kind::LimitExceeded, &["LimitExceeded", "ServiceQuotaExceeded"]),
    (
        Kind::Encryption,
        &[
            "EncryptionFailure",
            "DecryptionFailure",
            "Disabled",
            "KMSInvalidState",
            "KMSDisabled",
            "KMSNotFound",
            "KeyUnavailable",
        ],
    ),
    (
        Kind::InvalidRequest,
        &[
            "InvalidParameter",
            "InvalidParameterValue",
            "InvalidRequest",
            "InvalidNextToken",
            "InvalidInput",
            "InvalidAction",
            "Validation",
            "ValidationError",
            "MissingParameter",
            "MalformedPolicyDocument",
            "PackedPolicyTooLarge",
            "PublicPolicy",
            "PreconditionNotMet",
            "Serialization",
            "UnknownOperation",
        ],
    ),
];

const NOTHING_KNOWN: Kind = Kind::Denied { action: None, resource: None };

/// The class that a code stands for; the message decides where AWS reuses a code.
fn kind_of_code(code: &str, message: &str) -> Option<Kind> {
    let code = code.strip_suffix("Exception").unwrap_or(code);
    let wrong_clock =
        message.contains("Signature expired") || message.contains("Signature not yet current");
    match code {
        // The same code for a wrong key and for a wrong clock.
        "InvalidSignature" | "SignatureDoesNotMatch" if wrong_clock => Some(Kind::ClockSkew),
        // The same code for a missing secret and for a missing key of an existing one.
        "ResourceNotFound" | "NotFound" if message.contains("KMS") => Some(Kind::Encryption),
        code => {
            let row = CODES.iter().find(|(_, codes)| codes.contains(&code));
            row.map(|(kind, _)| kind.clone())
        }
    }
}

fn kind_of_status(status: u16) -> Kind {
    match status {
        400 | 405 | 411 | 413 | 415 | 422 => Kind::InvalidRequest,
        401 => Kind::Credentials,
        403 => NOTHING_KNOWN,
        404 => Kind::NotFound,
        408 => Kind::Timeout,
        409 | 412 => Kind::Conflict,
        429 => Kind::Throttled,
        500.. => Kind::ServerFault,
        _ => Kind::Other,
    }
}

fn code_of_status(status: u16) -> String {
    match status {
        403 => "AccessDenied".to_owned(),
        status => format!("Http{status}"),
    }
}

/// Reads "… is not authorized to perform: service:Action on resource: arn …".
fn denied(message: &str) -> Kind {
    let word_after = |lead: &str| {
        let (_, rest) = message.split_once(lead)?;
        let word = rest.split_whitespace().next()?;
        let word = word.trim_matches(['"', '\'', ',', '.', ';']);
        (!word.is_empty()).then(|| word.to_owned())
    };
    Kind::Denied {
        // STS, of a token: "Not authorized to perform sts:AssumeRoleWithWebIdentity".
        action: word_after("to perform: ")
            .or_else(|| word_after("to perform "))
            .filter(|action| action.contains(':')),
        resource: word_after("on resource: "),
    }
}

/// The text of the first XML element of that name.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim())
}

/// What is said of a wrong signature, without the request it repeats: session tokens are in there.
fn without_request(text: &str) -> &str {
    let starts = ["The Canonical String", "The String-to-Sign"].map(|lead| text.find(lead));
    let end = starts.into_iter().flatten().min().unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// One bounded line without control characters, as it goes into statuses and logs.
fn printable(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MESSAGE_CHARACTERS_MAX).collect::<String>().trim().to_owned()
}

/// The first error of that type in the chain.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        current = error.source();
    }
    None
}

fn lowest<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut lowest = error;
    while let Some(source) = lowest.source() {
        lowest = source;
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretError;
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;

    type Failure = SdkError<DescribeSecretError, HttpResponse>;

    fn answered(status: u16, code: Option<&str>, message: Option<&str>, body: &str) -> Failure {
        let mut meta = ErrorMetadata::builder();
        if let Some(code) = code {
            meta = meta.code(code);
        }
        if let Some(message) = message {
            meta = meta.message(message);
        }
        let response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        SdkError::service_error(DescribeSecretError::generic(meta.build()), response)
    }

    fn with_header(failure: Failure, name: &'static str, value: &'static str) -> Failure {
        match failure {
            SdkError::ServiceError(context) => {
                let DescribeSecretError::InternalServiceError(_) = context.err() else {
                    let mut raw = HttpResponse::new(context.raw().status(), SdkBody::empty());
                    raw.headers_mut().insert(name, value);
                    return SdkError::service_error(context.into_err(), raw);
                };
                unreachable!("only generic errors are made here")
            }
            other => other,
        }
    }

    #[test]
    fn codes_are_sorted_into_classes() {
        for (status, code, message, kind) in [
            (400, "ThrottlingException", "Rate exceeded", Kind::Throttled),
            (400, "Throttling", "Rate exceeded", Kind::Throttled),
            (429, "TooManyRequestsException", "slow", Kind::Throttled),
            (400, "PriorRequestNotComplete", "wait", Kind::Throttled),
            (500, "InternalServiceError", "oops", Kind::ServerFault),
            (500, "NeverHeardOf", "oops", Kind::ServerFault),
            (400, "UnrecognizedClientException", "invalid token", Kind::Credentials),
            (403, "InvalidClientTokenId", "invalid token", Kind::Credentials),
            (400, "InvalidIdentityToken", "no provider", Kind::Credentials),
            (403, "IDPRejectedClaim", "not signed", Kind::Credentials),
            (400, "IDPCommunicationError", "try later", Kind::ServerFault),
            (400, "ExpiredTokenException", "expired", Kind::Credentials),
            (403, "SignatureDoesNotMatch", "does not match", Kind::Credentials),
            (400, "InvalidSignatureException", "does not match", Kind::Credentials),
            (400, "InvalidSignatureException", "Signature expired: 2026", Kind::ClockSkew),
            (403, "SignatureDoesNotMatch", "Signature not yet current: 1", Kind::ClockSkew),
            (403, "RequestTimeTooSkewed", "skewed", Kind::ClockSkew),
            (400, "ResourceNotFoundException", "can't find the secret", Kind::NotFound),
            (400, "ResourceNotFoundException", "the KMS key is not there", Kind::Encryption),
            (404, "NoSuchEntity", "no user KMS-admin", Kind::NotFound),
            (400, "ResourceExistsException", "exists", Kind::Exists),
            (409, "EntityAlreadyExists", "exists", Kind::Exists),
            (409, "ConcurrentModification", "changed", Kind::Conflict),
            (400, "LimitExceededException", "full", Kind::LimitExceeded),
            (400, "EncryptionFailure", "key disabled", Kind::Encryption),
            (400, "DecryptionFailure", "key disabled", Kind::Encryption),
            (400, "InvalidParameterException", "bad", Kind::InvalidRequest),
            (400, "InvalidRequestException", "scheduled for deletion", Kind::InvalidRequest),
            (400, "ValidationException", "bad", Kind::InvalidRequest),
            (400, "com.amazonaws#ValidationException:http://x/", "bad", Kind::InvalidRequest),
            (400, "NeverHeardOf", "bad", Kind::InvalidRequest),
            (403, "NeverHeardOf", "no", Kind::Denied { action: None, resource: None }),
            (403, "OptInRequired", "no", Kind::Denied { action: None, resource: None }),
        ] {
            let error = classify(&answered(status, Some(code), Some(message), ""));
            assert_eq!(error.kind, kind, "{status} {code} {message}");
            assert_eq!(error.http_status, Some(status));
            assert!(!error.code.contains(['#', ':']), "{}", error.code);
        }
    }

    #[test]
    fn an_answer_without_a_code_is_sorted_by_its_status() {
        for (status, kind) in [
            (401, Kind::Credentials),
            (403, Kind::Denied { action: None, resource: None }),
            (404, Kind::NotFound),
            (409, Kind::Conflict),
            (412, Kind::Conflict),
            (429, Kind::Throttled),
            (502, Kind::ServerFault),
            (503, Kind::ServerFault),
            (504, Kind::ServerFault),
            (509, Kind::ServerFault),
            (200, Kind::Io),
            (302, Kind::Other),
        ] {
            let error = classify(&answered(status, None, None, "<html>gateway</html>"));
            assert_eq!(error.kind, kind, "{status}");
            assert!(error.message.contains(&status.to_string()), "{}", error.message);
        }
    }

    #[test]
    fn a_denial_names_the_missing_permission() {
        let message = "User: arn:aws:iam::111122223333:user/sync is not authorized to perform: \
                       secretsmanager:CreateSecret on resource: app/db because no identity-based \
                       policy allows the secretsmanager:CreateSecret action";
        let error = classify(&answered(400, Some("AccessDeniedException"), Some(message), ""));
        let action = Some("secretsmanager:CreateSecret".to_owned());
        assert_eq!(error.kind, Kind::Denied { action, resource: Some("app/db".to_owned()) });
        assert!(error.to_string().starts_with("AccessDeniedException: User: arn:aws:iam"));
        let message = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
        let error = classify(&answered(403, Some("AccessDenied"), Some(message), ""));
        let action = Some("sts:AssumeRoleWithWebIdentity".to_owned());
        assert_eq!(error.kind, Kind::Denied { action, resource: None });
    }

    #[test]
    fn a_denial_in_xml_is_read_although_the_sdk_could_not() {
        let body = "<ErrorResponse><Errors><Error><Code>AccessDenied</Code><Message>User: \
                    arn:aws:iam::123456789012:user/u is not authorized to perform: \
                    secretsmanager:DescribeSecret</Message></Error></Errors>\
                    <RequestId>7a62c49f</RequestId></ErrorResponse>";
        let error = classify(&answered(403, None, None, body));
        assert_eq!(error.code, "AccessDenied");
        let action = Some("secretsmanager:DescribeSecret".to_owned());
        assert_eq!(error.kind, Kind::Denied { action, resource: None });
        assert_eq!(error.request_id.as_deref(), Some("7a62c49f"));
    }

    #[test]
    fn the_error_type_header_and_the_wait_are_read() {
        let failure = answered(400, None, None, "");
        let failure = with_header(failure, "x-amzn-errortype", "ThrottlingException:http://aws/");
        let error = classify(&failure);
        assert_eq!((error.code.as_str(), &error.kind), ("ThrottlingException", &Kind::Throttled));
        let failure = with_header(answered(429, None, None, ""), "retry-after", "7");
        assert_eq!(classify(&failure).retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn what_got_no_answer_is_sorted_by_what_the_client_says() {
        let failed = |error: HttpError| -> Failure {
            SdkError::dispatch_failure(ConnectorError::io(error.into()))
        };
        for (error, kind, sent) in [
            (HttpError::Dns("cannot resolve".into()), Kind::Dns, false),
            (HttpError::Timeout("late".into()), Kind::Timeout, true),
            (HttpError::Connect("closed".into()), Kind::Io, false),
            (HttpError::Tls("unknown issuer".into()), Kind::Io, false),
            (HttpError::Io("broke".into()), Kind::Io, true),
            (HttpError::Invalid("no host".into()), Kind::InvalidRequest, false),
        ] {
            let text = error.to_string();
            let classified = classify(&failed(error));
            assert_eq!(classified.sent, sent, "{text}");
            assert_eq!((&classified.kind, classified.to_string()), (&kind, text));
        }
        let credentials = CredentialsError::not_loaded("no source of credentials is set");
        let failure: Failure =
            SdkError::dispatch_failure(ConnectorError::other(credentials.into(), None));
        let error = classify(&failure);
        assert_eq!(error.kind, Kind::Credentials);
        assert_eq!(error.message, "no source of credentials is set");
        assert_eq!(classify(&Failure::timeout_error("late")).kind, Kind::Timeout);
    }

    #[test]
    fn a_wrong_signature_does_not_repeat_the_request() {
        let told = "The request signature we calculated does not match the signature you provided. \
                    Check your key.\n\nThe Canonical String for this request should have been\n\
                    'POST\n/\n\nx-amz-security-token:canary\n'\n\nThe String-to-Sign should \
                    have been\n'AWS4-HMAC-SHA256'";
        let error = classify(&answered(400, Some("InvalidSignatureException"), Some(told), ""));
        assert_eq!(error.kind, Kind::Credentials);
        assert!(error.message.ends_with("Check your key."), "{}", error.message);
    }

    #[test]
    fn a_message_is_one_bounded_line() {
        let long = format!("first\nsecond\u{1b}[31m{}", "x".repeat(5000));
        let error = classify(&answered(400, Some("ValidationException"), Some(&long), ""));
        assert_eq!(error.message.chars().count(), MESSAGE_CHARACTERS_MAX);
        assert!(!error.message.contains(char::is_control));
    }
}
