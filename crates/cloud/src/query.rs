//! AWS services of the query protocol, IAM and STS: a form goes out, XML comes back.

use crate::{
    classify::{CloudError, Kind},
    http::{HttpClient, HttpError},
    xml::Xml,
};
use async_trait::async_trait;
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_types::SdkConfig;
use bailee_crypto::{Clock, Sensitive};
use bytes::Bytes;
use http::{Request, Response, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{fmt, sync::Arc, time::Duration};

/// What is left as it is in a form.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Carries a request to a service: the guarded client, or a test's own service.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and reads the whole response, whatever its status.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError>;
}

#[async_trait]
impl Transport for HttpClient {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        HttpClient::send(self, request).await
    }
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name in signatures, such as `iam`.
    pub name: &'static str,
    /// The version of its API.
    pub version: &'static str,
    /// The region that signatures are for.
    pub region: String,
    /// Its address.
    pub endpoint: String,
}

/// One service with the credentials it is called with.
#[derive(Clone)]
pub struct QueryClient {
    transport: Arc<dyn Transport>,
    credentials: SharedCredentialsProvider,
    clock: Arc<dyn Clock>,
    service: Service,
}

/// Names and values of a form.
#[derive(Clone, Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// An empty form.
    pub fn new() -> Form {
        Form::default()
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Form {
        self.0.push((name.into(), value.into()));
        self
    }

    /// With one more field, unless it says nothing.
    #[must_use]
    pub fn with_given(self, name: &str, value: &str) -> Form {
        if value.is_empty() { self } else { self.with(name, value) }
    }

    fn encode(&self, action: &str, version: &str) -> String {
        let mut text = format!("Action={action}&Version={version}");
        for (name, value) in &self.0 {
            text.push('&');
            text.extend(utf8_percent_encode(name, PLAIN));
            text.push('=');
            text.extend(utf8_percent_encode(value, PLAIN));
        }
        text
    }
}

/// A key pair, with the third part of temporary ones.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The public part.
    pub access_key_id: String,
    /// The secret part.
    pub secret_access_key: Sensitive<String>,
    /// The third part of temporary keys.
    pub session_token: Option<Sensitive<String>>,
}

impl QueryClient {
    /// A client that signs with what `credentials` provide.
    pub fn new(
        transport: Arc<dyn Transport>,
        credentials: SharedCredentialsProvider,
        clock: Arc<dyn Clock>,
        service: Service,
    ) -> QueryClient {
        QueryClient { transport, credentials, clock, service }
    }

    /// A client that signs with the credentials of a configuration; `None` when it has none.
    pub fn of(
        config: &SdkConfig,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        service: Service,
    ) -> Option<QueryClient> {
        Some(QueryClient::new(transport, config.credentials_provider()?, clock, service))
    }

    /// The same service, called with other keys.
    #[must_use]
    pub fn with_keys(&self, keys: &Keys) -> QueryClient {
        let token = keys.session_token.as_ref().map(|token| token.expose().clone());
        let secret = keys.secret_access_key.expose().clone();
        let keys = Credentials::new(&keys.access_key_id, secret, token, None, "QueryClient");
        QueryClient { credentials: SharedCredentialsProvider::new(keys), ..self.clone() }
    }

    /// The same service, called with the credentials of a configuration; `None` when it has none.
    pub fn with_credentials_of(&self, config: &SdkConfig) -> Option<QueryClient> {
        Some(QueryClient { credentials: config.credentials_provider()?, ..self.clone() })
    }

    /// The same credentials at another address.
    #[must_use]
    pub fn at(&self, endpoint: &str, region: &str) -> QueryClient {
        let service = Service {
            region: region.to_owned(),
            endpoint: endpoint.to_owned(),
            ..self.service.clone()
        };
        QueryClient { service, ..self.clone() }
    }

    /// Calls an action once.
    pub async fn call(&self, action: &str, form: &Form) -> Result<Xml, CloudError> {
        let request = self.signed(form.encode(action, self.service.version)).await?;
        let response =
            self.transport.send(request).await.map_err(|error| CloudError::from(&error))?;
        read(&response)
    }

    async fn signed(&self, body: String) -> Result<Request<Bytes>, CloudError> {
        let credentials = self.credentials.provide_credentials().await.map_err(|error| {
            let told = std::error::Error::source(&error).map(ToString::to_string);
            let text = told.unwrap_or_else(|| error.to_string());
            CloudError::unanswered("Credentials", Kind::Credentials, text).unsent()
        })?;
        let unsignable = |what: &str| {
            CloudError::unanswered("InvalidEndpoint", Kind::InvalidRequest, what.to_owned())
                .unsent()
        };
        let content_type = "application/x-www-form-urlencoded; charset=utf-8";
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.service.region)
            .name(self.service.name)
            .time(self.clock.now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| unsignable("a request cannot be signed"))?
            .into();
        let mut request = Request::post(self.service.endpoint.as_str())
            .header(header::CONTENT_TYPE, content_type)
            .body(Bytes::from(body))
            .map_err(|_| unsignable("the endpoint is not a valid URL"))?;
        let uri = request.uri().to_string();
        let headers = [("content-type", content_type)].into_iter();
        let signable =
            SignableRequest::new("POST", &uri, headers, SignableBody::Bytes(request.body()))
                .map_err(|_| unsignable("the endpoint is not a valid URL"))?;
        let (instructions, _) = sign(signable, &params)
            .map_err(|_| unsignable("a request cannot be signed"))?
            .into_parts();
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// The document of a success, or what went wrong.
#[expect(clippy::result_large_err, reason = "failures are rare, and are told whole")]
fn read(response: &Response<Bytes>) -> Result<Xml, CloudError> {
    let status = response.status().as_u16();
    let document = std::str::from_utf8(response.body()).ok().and_then(Xml::parse);
    match document {
        // Only the answer to what was asked counts: an error may come with any status.
        Some(xml) if response.status().is_success() && is_result(xml.name()) => Ok(xml),
        Some(xml) => Err(failure(response, &xml)),
        None if response.status().is_success() => {
            let text = "the service's answer is not XML".to_owned();
            Err(CloudError::unanswered("Unreadable", Kind::Io, text))
        }
        None => Err(CloudError::answered(status, None, None, None, retry_after(response))),
    }
}

/// What an answer tells that is no success.
pub fn refusal(response: &Response<Bytes>) -> CloudError {
    read(response)
        .err()
        .unwrap_or_else(|| CloudError::answered(response.status().as_u16(), None, None, None, None))
}

/// Whether a document of this name answers a call: both shapes of errors are named much alike.
fn is_result(name: &str) -> bool {
    name.ends_with("Response") && !matches!(name, "Response" | "ErrorResponse")
}

/// IAM writes `ErrorResponse/Error`; some gateways and EC2 write `Response/Errors/Error`.
fn failure(response: &Response<Bytes>, xml: &Xml) -> CloudError {
    let error = if xml.name() == "Error" { Some(xml) } else { xml.find("Error") };
    let text = |name: &str| {
        let found = error.and_then(|error| error.child(name)).or_else(|| xml.find(name));
        found.map(|found| found.text().to_owned()).filter(|text| !text.is_empty())
    };
    let id = text("RequestId").or_else(|| text("RequestID"));
    let status = response.status().as_u16();
    CloudError::answered(status, text("Code"), text("Message"), id, retry_after(response))
}

fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

impl fmt::Debug for QueryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryClient").field("service", &self.service).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &'static str) -> CloudError {
        let response = Response::builder().status(status).body(Bytes::from(body)).unwrap();
        read(&response).unwrap_err()
    }

    #[test]
    fn errors_of_both_shapes_are_read() {
        let iam = "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error>\
                   <Type>Sender</Type><Code>NoSuchEntity</Code><Message>The user with name x cannot \
                   be found.</Message></Error><RequestId>r-1</RequestId></ErrorResponse>";
        let ec2 = "<Response><Errors><Error><Code>NoSuchEntity</Code><Message>The user with name x \
                   cannot be found.</Message></Error></Errors><RequestID>r-1</RequestID></Response>";
        for body in [iam, ec2] {
            let error = told(404, body);
            assert_eq!(error.kind, Kind::NotFound);
            assert_eq!(error.to_string(), "NoSuchEntity: The user with name x cannot be found.");
            assert_eq!(error.request_id.as_deref(), Some("r-1"));
        }
        assert_eq!(told(200, ec2).kind, Kind::NotFound, "an error with a status of success");
    }

    #[test]
    fn throttling_counts_whatever_the_status() {
        let body = "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message>\
                    </Error></ErrorResponse>";
        assert_eq!(told(400, body).kind, Kind::Throttled);
        assert_eq!(told(429, "").kind, Kind::Throttled);
        assert_eq!(told(503, "<html>").kind, Kind::ServerFault);
    }

    #[test]
    fn an_answer_that_cannot_be_read_may_have_had_its_effect() {
        let error = told(200, "not xml");
        assert!(error.sent && error.kind == Kind::Io);
    }

    #[test]
    fn forms_are_encoded_so_that_values_stay_values() {
        let form = Form::new().with("A.member.1", "x&Action=y z/").with_given("B", "");
        assert_eq!(
            form.encode("Do", "1"),
            "Action=Do&Version=1&A%2Emember%2E1=x%26Action%3Dy%20z%2F".replace("%2E", ".")
        );
    }
}
