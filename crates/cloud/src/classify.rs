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
    fn unanswered(code: &str, kind: Kind, message: String) -> CloudError {
        CloudError {
            code: code.to_owned(),
            http_status: None,
            kind,
            message: printable(&message),
            request_id: None,
            retry_after: None,
        }
    }

    /// The same failure, told as part of something larger: "cannot do x: …".
    pub(crate) fn within(mut self, what: &str) -> CloudError {
        self.message = format!("{what}: {}", self.message);
        self
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
        CloudError::unanswered(code, kind, error.to_string())
    }
}

fn without_response<E>(error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: Error + 'static,
{
    if let Some(http) = find::<HttpError>(error) {
        return CloudError::from(http);
    }
    let message = lowest(error).to_string();
    if find::<CredentialsError>(error).is_some() {
        return CloudError::unanswered("Credentials", Kind::Credentials, message);
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
            CloudError::unanswered("InvalidRequest", Kind::InvalidRequest, message)
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
        .map(printable)
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
    }
}

/// `prefix#Code:suffix` without prefix and suffix.
fn bare_code(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    code.split_once(':').map_or(code, |(code, _)| code).trim()
}

/// The class that a code stands for by itself; the message decides where AWS reuses a code.
fn kind_of_code(code: &str, message: &str) -> Option<Kind> {
    Some(match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "ProvisionedThroughputExceeded"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "PriorRequestNotComplete"
        | "BandwidthLimitExceeded"
        | "SlowDown" => Kind::Throttled,
        "InternalServiceError"
        | "InternalServiceErrorException"
        | "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "InternalServerException"
        | "ServiceFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "IDPCommunicationError" => Kind::ServerFault,
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidToken"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidIdentityToken"
        | "IDPRejectedClaim"
        | "AuthFailure" => Kind::Credentials,
        // The same code for a wrong key and for a wrong clock.
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            if message.contains("Signature expired")
                || message.contains("Signature not yet current")
            {
                Kind::ClockSkew
            } else {
                Kind::Credentials
            }
        }
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => Kind::ClockSkew,
        "OptInRequired"
        | "RegionDisabledException"
        | "UnauthorizedOperation"
        | "NotAuthorized"
        | "KMSAccessDeniedException" => nothing_known(),
        code if code.starts_with("AccessDenied") => nothing_known(),
        "ResourceNotFoundException"
        | "NoSuchEntity"
        | "NoSuchEntityException"
        | "NotFoundException" => {
            let of_key = message.contains("KMS") || message.contains("kms");
            if of_key { Kind::Encryption } else { Kind::NotFound }
        }
        "ResourceExistsException"
        | "EntityAlreadyExists"
        | "EntityAlreadyExistsException"
        | "AlreadyExistsException" => Kind::Exists,
        "ConcurrentModification"
        | "ConcurrentModificationException"
        | "DeleteConflict"
        | "EntityTemporarilyUnmodifiable"
        | "ConflictException" => Kind::Conflict,
        "LimitExceeded" | "LimitExceededException" | "ServiceQuotaExceededException" => {
            Kind::LimitExceeded
        }
        "EncryptionFailure"
        | "EncryptionFailureException"
        | "DecryptionFailure"
        | "DecryptionFailureException"
        | "DisabledException"
        | "KMSInvalidStateException"
        | "KMSDisabledException"
        | "KMSNotFoundException"
        | "KeyUnavailableException" => Kind::Encryption,
        "InvalidParameterException"
        | "InvalidRequestException"
        | "InvalidNextTokenException"
        | "ValidationException"
        | "ValidationError"
        | "InvalidParameterValue"
        | "InvalidInput"
        | "InvalidInputException"
        | "MalformedPolicyDocument"
        | "MalformedPolicyDocumentException"
        | "PublicPolicyException"
        | "PreconditionNotMetException"
        | "PackedPolicyTooLarge"
        | "PackedPolicyTooLargeException"
        | "SerializationException"
        | "InvalidAction"
        | "UnknownOperationException"
        | "MissingParameter" => Kind::InvalidRequest,
        _ => return None,
    })
}

fn kind_of_status(status: u16) -> Kind {
    match status {
        400 | 405 | 411 | 413 | 415 | 422 => Kind::InvalidRequest,
        401 => Kind::Credentials,
        403 => nothing_known(),
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

fn nothing_known() -> Kind {
    Kind::Denied { action: None, resource: None }
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
        action: word_after("to perform: ").filter(|action| action.contains(':')),
        resource: word_after("on resource: "),
    }
}

/// The text of the first XML element of that name.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim())
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
