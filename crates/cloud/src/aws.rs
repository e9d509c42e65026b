//! The official AWS SDK over the guarded client.
//!
//! The SDK repeats nothing: whether a call is tried again is decided by whoever called.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient as SdkHttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::body::SdkBody;
use bailee_crypto::{Clock, Sensitive};
use http_body_util::BodyExt;
use tokio::sync::Mutex;

use crate::classify::{CloudError, Kind};
use crate::connector::Target;
use crate::credentials::{AssumedRole, Refreshing};
use crate::guard::EgressRules;
use crate::http::{HttpClient, HttpError, HttpOptions};
use crate::instance::InstanceMetadata;
use crate::query::Keys;
use crate::web_identity::FederatedRole;

pub use crate::found::{FoundCredentials, found_credentials};
pub use crate::web_identity::{CallerIdentity, TokenFailure, WebIdentity, caller_identity};
pub use aws_types::SdkConfig;

/// The longest region name: a label of a host name.
const REGION_BYTES_MAX: usize = 63;

/// How one destination or engine reaches AWS.
#[derive(Clone, Debug, Default)]
pub struct AwsConnection {
    /// The region; when absent the ambient chain may know it.
    pub region: Option<String>,
    /// Given together with `secret_access_key`, or not at all.
    pub access_key_id: Option<String>,
    /// Given together with `access_key_id`, or not at all.
    pub secret_access_key: Option<Sensitive<String>>,
    /// The third part of temporary keys.
    pub session_token: Option<Sensitive<String>>,
    /// The role to take on with those credentials.
    pub role_arn: Option<String>,
    /// Sent when the role is taken on.
    pub external_id: Option<String>,
    /// Signs the tokens with which the role is taken on, instead of keys.
    pub web_identity: Option<Arc<dyn WebIdentity>>,
    /// The session's name in the account's logs.
    pub session_name: String,
    /// Where the service is, instead of AWS's own address. The egress rules still hold.
    pub endpoint_url: Option<String>,
    /// Where STS is, instead of AWS's own address. The egress rules still hold.
    pub sts_endpoint_url: Option<String>,
    /// Whether credentials of this machine may be used.
    pub ambient: Ambient,
}

/// Whether the credentials of the machine itself may be used.
#[derive(Clone, Debug, Default)]
pub enum Ambient {
    /// Only what the connection carries.
    #[default]
    Forbidden,
    /// The chain, where the connection carries no keys.
    Allowed(AmbientChain),
}

/// Makes the SDK configuration that service clients are built from.
///
/// Role credentials are fetched when the first call is signed, not here.
pub async fn connect(
    connection: &AwsConnection,
    http: &HttpClient,
    clock: &Arc<dyn Clock>,
) -> Result<SdkConfig, InvalidConnection> {
    let endpoint_url = endpoint("endpoint_url", &connection.endpoint_url)?;
    let sts_endpoint_url = endpoint("sts_endpoint_url", &connection.sts_endpoint_url)?;
    let region = region(connection).await?;
    let credentials = match (given(&connection.role_arn), &connection.web_identity) {
        (None, None) => base_credentials(connection).await?,
        (None, Some(_)) => return Err(InvalidConnection::NoRole),
        (Some(_), _) if connection.session_name.is_empty() => {
            return Err(InvalidConnection::SessionName);
        }
        (Some(role_arn), Some(identity)) => {
            let sts = sdk_config(http, clock, &region, None, sts_endpoint_url);
            let role = FederatedRole {
                sts: aws_sdk_sts::Client::new(&sts),
                role_arn: role_arn.to_owned(),
                session_name: connection.session_name.clone(),
                identity: identity.clone(),
            };
            SharedCredentialsProvider::new(Refreshing::new(role, clock.clone()))
        }
        (Some(role_arn), None) => {
            let base = base_credentials(connection).await?;
            let sts = sdk_config(http, clock, &region, Some(base), sts_endpoint_url);
            let role = AssumedRole {
                sts: aws_sdk_sts::Client::new(&sts),
                role_arn: role_arn.to_owned(),
                external_id: given(&connection.external_id).map(str::to_owned),
                session_name: connection.session_name.clone(),
                duration: None,
            };
            SharedCredentialsProvider::new(Refreshing::new(role, clock.clone()))
        }
    };
    Ok(sdk_config(http, clock, &region, Some(credentials), endpoint_url))
}

/// A role that is taken on with credentials one has already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSession {
    /// The role.
    pub role_arn: String,
    /// Sent when it is taken on.
    pub external_id: Option<String>,
    /// The session's name in the account's logs.
    pub session_name: String,
    /// How long a session holds; an hour where it is not said.
    pub duration: Option<Duration>,
}

/// The same configuration with the credentials of a role, which are fetched when the first call is
/// signed. `sts_endpoint_url` is where STS is, instead of AWS's own address.
pub fn assuming(
    config: &SdkConfig,
    role: &RoleSession,
    sts_endpoint_url: Option<&str>,
    clock: &Arc<dyn Clock>,
) -> SdkConfig {
    assuming_kept(config, role, sts_endpoint_url, clock).0
}

/// As [`assuming`], with the session in hand, which is kept for as long as it holds.
pub fn assuming_kept(
    config: &SdkConfig,
    role: &RoleSession,
    sts_endpoint_url: Option<&str>,
    clock: &Arc<dyn Clock>,
) -> (SdkConfig, KeptSession) {
    let role = AssumedRole {
        sts: aws_sdk_sts::Client::new(&for_sts(config, sts_endpoint_url)),
        role_arn: role.role_arn.clone(),
        external_id: given(&role.external_id).map(str::to_owned),
        session_name: role.session_name.clone(),
        duration: role.duration,
    };
    let session = Refreshing::new(role, clock.clone());
    let mut builder = config.to_builder();
    builder.set_credentials_provider(Some(SharedCredentialsProvider::new(session.clone())));
    (builder.build(), KeptSession(session))
}

/// The session of a role as it is kept.
#[derive(Clone, Debug)]
pub struct KeptSession(Refreshing);

impl KeptSession {
    /// Drops it, as after an answer that says that it holds no more: the role was made anew.
    pub fn forget(&self) {
        self.0.forget();
    }
}

/// The configuration for STS with the same credentials; `endpoint_url` is where it is, instead of
/// AWS's own address.
pub fn for_sts(config: &SdkConfig, endpoint_url: Option<&str>) -> SdkConfig {
    let mut builder = config.to_builder();
    builder.set_endpoint_url(endpoint_url.filter(|url| !url.is_empty()).map(str::to_owned));
    builder.build()
}

/// A field that says something; an empty text is an unset one.
fn given(field: &Option<String>) -> Option<&str> {
    field.as_deref().filter(|text| !text.is_empty())
}

/// An endpoint that a client can be sent to; an empty text is none.
pub fn endpoint(
    field: &'static str,
    url: &Option<String>,
) -> Result<Option<String>, InvalidConnection> {
    let Some(url) = given(url) else {
        return Ok(None);
    };
    let uri = url.parse().map_err(|_| InvalidConnection::Endpoint(field))?;
    Target::of(&uri).map_err(|_| InvalidConnection::Endpoint(field))?;
    Ok(Some(url.to_owned()))
}

async fn region(connection: &AwsConnection) -> Result<String, InvalidConnection> {
    let region = match (given(&connection.region), &connection.ambient) {
        (Some(region), _) => region.to_owned(),
        (None, Ambient::Allowed(chain)) => {
            chain.region().await.ok_or(InvalidConnection::NoRegion)?
        }
        (None, Ambient::Forbidden) => return Err(InvalidConnection::NoRegion),
    };
    // The region becomes a part of the endpoint's name: one label, or it would lead elsewhere.
    let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if region.is_empty() || region.len() > REGION_BYTES_MAX || !region.chars().all(is_label) {
        return Err(InvalidConnection::Region);
    }
    Ok(region)
}

async fn base_credentials(
    connection: &AwsConnection,
) -> Result<SharedCredentialsProvider, InvalidConnection> {
    let given_secret = |field: &Option<Sensitive<String>>| {
        field.as_ref().map(|secret| secret.expose().clone()).filter(|secret| !secret.is_empty())
    };
    let token = given_secret(&connection.session_token);
    match (given(&connection.access_key_id), given_secret(&connection.secret_access_key)) {
        (Some(id), Some(secret)) => {
            let keys = Credentials::new(id, secret, token, None, "AwsConnection");
            Ok(SharedCredentialsProvider::new(keys))
        }
        (None, None) if token.is_none() => match &connection.ambient {
            Ambient::Allowed(chain) => Ok(SharedCredentialsProvider::new(chain.clone())),
            Ambient::Forbidden => Err(InvalidConnection::NoCredentials),
        },
        _ => Err(InvalidConnection::HalfOfKeys),
    }
}

fn sdk_config(
    http: &HttpClient,
    clock: &Arc<dyn Clock>,
    region: &str,
    credentials: Option<SharedCredentialsProvider>,
    endpoint_url: Option<String>,
) -> SdkConfig {
    let total = http.limits().total_timeout;
    let mut builder = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        // The providers keep credentials themselves, with rules of their own.
        .identity_cache(IdentityCache::no_cache())
        .http_client(GuardedSdkClient(http.clone()))
        .retry_config(RetryConfig::disabled())
        // Room for fetching credentials and the call itself.
        .timeout_config(TimeoutConfig::builder().operation_timeout(total.saturating_mul(3)).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(ClockSource(clock.clone()));
    builder.set_credentials_provider(credentials);
    builder.set_endpoint_url(endpoint_url);
    builder.build()
}

/// The machine's own credentials: environment, profile, web identity, container, instance.
///
/// This is the one holder of an unguarded client: where instance credentials are is said by the
/// operator's environment, and always an address that the rules refuse. One value serves all
/// connections of the process; nothing is read before it is first asked.
#[derive(Clone)]
pub struct AmbientChain(Arc<ChainInner>);

struct ChainInner {
    http: HttpClient,
    clock: Arc<dyn Clock>,
    sources: Sources,
    loaded: Mutex<Option<Loaded>>,
}

/// Where the credentials of a machine are looked for.
enum Sources {
    /// Environment, profile, web identity, container, instance.
    All,
    /// Container and instance alone.
    Instance(InstanceMetadata),
}

#[derive(Clone)]
struct Loaded {
    credentials: Refreshing,
    region: Option<String>,
}

impl AmbientChain {
    /// A chain whose own traffic has the limits, roots and proxy of `options`, but not the rules.
    pub fn new(options: HttpOptions, clock: Arc<dyn Clock>) -> AmbientChain {
        AmbientChain::over(options, clock, Sources::All)
    }

    /// The role of the container or instance alone, whatever keys the environment or a profile holds:
    /// the container's endpoint where the environment names one, else the instance's at
    /// `endpoint`, or at its usual address.
    ///
    /// # Errors
    /// The endpoint is no URL.
    pub fn of_instance(
        options: HttpOptions,
        clock: Arc<dyn Clock>,
        endpoint: Option<&str>,
    ) -> Result<AmbientChain, InvalidConnection> {
        let metadata = InstanceMetadata::at(endpoint)?;
        Ok(AmbientChain::over(options, clock, Sources::Instance(metadata)))
    }

    fn over(options: HttpOptions, clock: Arc<dyn Clock>, sources: Sources) -> AmbientChain {
        let rules = EgressRules { disable_strict_networking: true, ..EgressRules::default() };
        let http = HttpClient::new(HttpOptions { rules, ..options });
        AmbientChain(Arc::new(ChainInner { http, clock, sources, loaded: Mutex::new(None) }))
    }

    /// The keys as they are now, for what is signed elsewhere.
    pub async fn keys(&self) -> Result<Keys, CloudError> {
        let found = self.credentials().await.provide_credentials().await.map_err(|error| {
            let told = std::error::Error::source(&error).map(ToString::to_string);
            let text = told.unwrap_or_else(|| error.to_string());
            CloudError::unanswered("Credentials", Kind::Credentials, text).unsent()
        })?;
        Ok(Keys {
            access_key_id: found.access_key_id().to_owned(),
            secret_access_key: Sensitive::from(found.secret_access_key()),
            session_token: found.session_token().map(Sensitive::from),
        })
    }

    /// Drops what was found, as after an answer that says the credentials have expired.
    pub async fn forget(&self) {
        *self.0.loaded.lock().await = None;
    }

    /// Looks again when the last look found no region: the instance endpoint may have been late.
    async fn region(&self) -> Option<String> {
        let mut loaded = self.0.loaded.lock().await;
        if let Some(region) = loaded.as_ref().and_then(|loaded| loaded.region.clone()) {
            return Some(region);
        }
        let found = self.0.load().await;
        loaded.insert(found).region.clone()
    }

    async fn credentials(&self) -> Refreshing {
        let mut loaded = self.0.loaded.lock().await;
        if let Some(found) = loaded.as_ref() {
            return found.credentials.clone();
        }
        let found = self.0.load().await;
        loaded.insert(found).credentials.clone()
    }
}

impl ChainInner {
    async fn load(&self) -> Loaded {
        match &self.sources {
            Sources::All => self.load_all().await,
            Sources::Instance(metadata) => {
                let source =
                    metadata.credentials(GuardedSdkClient(self.http.clone()), self.clock.clone());
                Loaded { credentials: Refreshing::new(source, self.clock.clone()), region: None }
            }
        }
    }

    async fn load_all(&self) -> Loaded {
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(GuardedSdkClient(self.http.clone()))
            .sleep_impl(TokioSleep::new())
            .time_source(ClockSource(self.clock.clone()))
            .load()
            .await;
        let source = config
            .credentials_provider()
            .expect("the loader makes a chain unless it is told to make none");
        Loaded {
            credentials: Refreshing::new(source, self.clock.clone()),
            region: config.region().map(|region| region.as_ref().to_owned()),
        }
    }
}

impl ProvideCredentials for AmbientChain {
    fn provide_credentials<'a>(
        &'a self,
    ) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        aws_credential_types::provider::future::ProvideCredentials::new(async move {
            self.credentials().await.provide_credentials().await
        })
    }
}

impl fmt::Debug for AmbientChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AmbientChain")
    }
}

/// What a connection lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConnection {
    /// No region, and none to be found.
    #[error("region is not set: set it, or AWS_REGION where ambient credentials are allowed")]
    NoRegion,
    /// A region that cannot be one.
    #[error("region is not valid: want lowercase letters, digits and hyphens, as eu-west-1")]
    Region,
    /// A field that should hold an endpoint.
    #[error("{0} is not valid: want an http or https URL without credentials")]
    Endpoint(&'static str),
    /// Half of a key pair.
    #[error("access_key_id and secret_access_key must be set together")]
    HalfOfKeys,
    /// No keys, and no permission to look for some.
    #[error(
        "no AWS credentials: set access_key_id and secret_access_key, \
         or allow the credentials of this machine"
    )]
    NoCredentials,
    /// A token without a role that it is for.
    #[error("role_arn is not set: an identity token takes on a role")]
    NoRole,
    /// A role without a name for its session.
    #[error("session_name is not set: a role needs one")]
    SessionName,
}

/// The guarded client, as the SDK wants one.
#[derive(Clone, Debug)]
pub(crate) struct GuardedSdkClient(HttpClient);

impl SdkHttpClient for GuardedSdkClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        // The chain asks instance endpoints with a second's patience: they are near or absent.
        let own = self.0.limits().header_timeout;
        let asked = match (settings.connect_timeout(), settings.read_timeout()) {
            (_, None) => own,
            (connect, Some(read)) => read.saturating_add(connect.unwrap_or_default()),
        };
        let header_timeout = own.min(asked);
        SharedHttpConnector::new(GuardedSdkConnector { http: self.0.clone(), header_timeout })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("bailee", None))
    }
}

#[derive(Debug)]
struct GuardedSdkConnector {
    http: HttpClient,
    header_timeout: Duration,
}

impl HttpConnector for GuardedSdkConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (http, header_timeout) = (self.http.clone(), self.header_timeout);
        HttpConnectorFuture::new(async move { exchange(&http, request, header_timeout).await })
    }
}

async fn exchange(
    http: &HttpClient,
    request: HttpRequest,
    header_timeout: Duration,
) -> Result<HttpResponse, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
    let (parts, body) = request.into_parts();
    // After a failed call the SDK asks for the connection, to close it. Ours closes what broke by
    // itself, and an answer that says "later" is no reason to close.
    if let Some(capture) = parts.extensions.get::<CaptureSmithyConnection>() {
        capture.set_connection_retriever(|| {
            Some(ConnectionMetadata::builder().proxied(false).poison_fn(|| {}).build())
        });
    }
    let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
    let request = http::Request::from_parts(parts, body);
    let response =
        http.send_within(request, header_timeout).await.map_err(|error| match error {
            HttpError::Timeout(_) => ConnectorError::timeout(error.into()),
            HttpError::Refused(_) | HttpError::Invalid(_) => ConnectorError::user(error.into()),
            HttpError::TooLarge { .. } => ConnectorError::other(error.into(), None),
            HttpError::Dns(_) | HttpError::Connect(_) | HttpError::Tls(_) | HttpError::Io(_) => {
                ConnectorError::io(error.into())
            }
        })?;
    let response = response.map(SdkBody::from);
    HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
}

/// Our clock, as the SDK wants one.
#[derive(Debug)]
pub(crate) struct ClockSource(pub(crate) Arc<dyn Clock>);

impl TimeSource for ClockSource {
    fn now(&self) -> SystemTime {
        self.0.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::classify;
    use crate::testing::{Body, Seen, Server, TurnedClock, opened, reply};
    use http::Response;

    const DESCRIBED: &str = r#"{"ARN":"arn:aws:secretsmanager:eu-west-1:1:secret:a","Name":"a"}"#;

    fn keys() -> AwsConnection {
        AwsConnection {
            region: Some("eu-west-1".to_owned()),
            access_key_id: Some("AKIDEXAMPLE".to_owned()),
            secret_access_key: Some(Sensitive::from("wJalrXUtnFEMI/K7MDENG")),
            session_name: "bailee".to_owned(),
            ..AwsConnection::default()
        }
    }

    fn assuming(sts: &Server, service: &Server) -> AwsConnection {
        AwsConnection {
            role_arn: Some("arn:aws:iam::111122223333:role/sync".to_owned()),
            external_id: Some("shared-word".to_owned()),
            endpoint_url: Some(service.url("")),
            sts_endpoint_url: Some(sts.url("")),
            ..keys()
        }
    }

    fn client(servers: &[&Server]) -> HttpClient {
        let ports: Vec<u16> = servers.iter().map(|server| server.address.port()).collect();
        let rules = opened(&["127.0.0.1/32"], &ports);
        HttpClient::new(HttpOptions { rules, ..HttpOptions::default() })
    }

    async fn describe(config: &SdkConfig) -> Result<String, CloudError> {
        let client = aws_sdk_secretsmanager::Client::new(config);
        match client.describe_secret().secret_id("a").send().await {
            Ok(output) => Ok(output.name.unwrap_or_default()),
            Err(error) => Err(classify(&error)),
        }
    }

    async fn secrets_manager() -> Server {
        Server::start(|_| Some(reply(200, DESCRIBED))).await
    }

    /// What STS answers to AssumeRole, good for an hour of the test's clock.
    fn assumed(key: &str) -> Response<Body> {
        granted("AssumeRole", key)
    }

    fn federation(key: &str) -> Response<Body> {
        granted("AssumeRoleWithWebIdentity", key)
    }

    fn granted(operation: &str, key: &str) -> Response<Body> {
        reply(
            200,
            format!(
                "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                 <{operation}Result><Credentials><AccessKeyId>{key}</AccessKeyId>\
                 <SecretAccessKey>s</SecretAccessKey><SessionToken>session-{key}</SessionToken>\
                 <Expiration>2026-01-02T04:04:05Z</Expiration></Credentials></{operation}Result>\
                 </{operation}Response>"
            ),
        )
    }

    fn denied() -> Response<Body> {
        reply(
            403,
            "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: u \
             is not authorized to perform: sts:AssumeRole on resource: r</Message></Error>\
             <RequestId>42</RequestId></ErrorResponse>",
        )
    }

    #[tokio::test]
    async fn a_call_is_signed_at_our_clock_and_sent_through_the_guarded_client() {
        let server = secrets_manager().await;
        let connection = AwsConnection { endpoint_url: Some(server.url("")), ..keys() };
        let clock: Arc<dyn Clock> = TurnedClock::new();
        let config = connect(&connection, &client(&[&server]), &clock).await.unwrap();
        assert_eq!(describe(&config).await.unwrap(), "a");
        let seen = server.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].header("x-amz-target"), "secretsmanager.DescribeSecret");
        assert_eq!(seen[0].header("x-amz-date"), "20260102T030405Z");
        let signed = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/eu-west-1/secretsmanager/";
        assert!(seen[0].header("authorization").starts_with(signed));
        assert_eq!(seen[0].body, r#"{"SecretId":"a"}"#);
    }

    #[tokio::test]
    async fn an_endpoint_inside_is_refused_as_a_literal_and_as_a_name() {
        let server = secrets_manager().await;
        let clock: Arc<dyn Clock> = TurnedClock::new();
        let port = server.address.port();
        let http =
            HttpClient::new(HttpOptions { rules: opened(&[], &[port]), ..HttpOptions::default() });
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
            let endpoint_url = Some(format!("http://{host}:{port}"));
            let connection = AwsConnection { endpoint_url, ..keys() };
            let config = connect(&connection, &http, &clock).await.unwrap();
            let error = describe(&config).await.unwrap_err();
            assert_eq!(error.kind, Kind::Refused, "{host}: {error:?}");
            assert!(error.to_string().starts_with("prohibited IP address: "), "{error}");
        }
        assert!(server.seen().is_empty());
    }

    #[tokio::test]
    async fn the_sdk_repeats_nothing() {
        for (status, body, kind) in [
            (500, r#"{"__type":"InternalServiceError","Message":"oops"}"#, Kind::ServerFault),
            (400, r#"{"__type":"x#ThrottlingException","message":"slow"}"#, Kind::Throttled),
            (503, "<html>gateway</html>", Kind::ServerFault),
            (200, "not json", Kind::Io),
        ] {
            let server = Server::start(move |_| Some(reply(status, body))).await;
            let connection = AwsConnection { endpoint_url: Some(server.url("")), ..keys() };
            let clock: Arc<dyn Clock> = TurnedClock::new();
            let config = connect(&connection, &client(&[&server]), &clock).await.unwrap();
            let error = describe(&config).await.unwrap_err();
            assert_eq!(error.kind, kind, "{body}: {error:?}");
            assert_eq!(server.seen().len(), 1, "{body}");
        }
    }

    #[tokio::test]
    async fn an_emulators_denial_in_xml_names_the_action() {
        let server = Server::start(|_| {
            Some(reply(
                403,
                "<ErrorResponse><Errors><Error><Code>AccessDenied</Code><Message>User: u is not \
                 authorized to perform: secretsmanager:DescribeSecret</Message></Error></Errors>\
                 </ErrorResponse>",
            ))
        })
        .await;
        let connection = AwsConnection { endpoint_url: Some(server.url("")), ..keys() };
        let clock: Arc<dyn Clock> = TurnedClock::new();
        let config = connect(&connection, &client(&[&server]), &clock).await.unwrap();
        let action = Some("secretsmanager:DescribeSecret".to_owned());
        let error = describe(&config).await.unwrap_err();
        assert_eq!(error.kind, Kind::Denied { action, resource: None }, "{error:?}");
    }

    #[tokio::test]
    async fn a_role_is_assumed_once_and_again_shortly_before_it_ends() {
        let sts = Server::start(|_| Some(assumed("ASIAROLE"))).await;
        let service = secrets_manager().await;
        let clock = TurnedClock::new();
        let shared: Arc<dyn Clock> = clock.clone();
        let http = client(&[&sts, &service]);
        let config = connect(&assuming(&sts, &service), &http, &shared).await.unwrap();
        assert!(sts.seen().is_empty());
        for _ in 0..3 {
            describe(&config).await.unwrap();
        }
        let asked = sts.seen();
        assert_eq!(asked.len(), 1);
        for part in [
            "Action=AssumeRole",
            "RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fsync",
            "RoleSessionName=bailee",
            "ExternalId=shared-word",
        ] {
            assert!(asked[0].body.contains(part), "{}", asked[0].body);
        }
        assert!(asked[0].header("authorization").contains("Credential=AKIDEXAMPLE/"));
        let called = &service.seen()[0];
        assert!(called.header("authorization").contains("Credential=ASIAROLE/"));
        assert_eq!(called.header("x-amz-security-token"), "session-ASIAROLE");

        clock.turn(Duration::from_secs(56 * 60));
        describe(&config).await.unwrap();
        assert_eq!(sts.seen().len(), 2);
    }

    /// Gives numbered tokens, or fails.
    #[derive(Debug)]
    struct Tokens(std::sync::atomic::AtomicUsize, Option<TokenFailure>);

    #[async_trait::async_trait]
    impl WebIdentity for Tokens {
        async fn token(&self) -> Result<Sensitive<String>, TokenFailure> {
            let number = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let token = Sensitive::new(format!("token-{number}"));
            self.1.clone().map_or(Ok(token), Err)
        }
    }

    fn nobody() -> Arc<dyn WebIdentity> {
        Arc::new(Tokens(Default::default(), None))
    }

    fn federated(
        sts: &Server,
        service: &Server,
        failure: Option<TokenFailure>,
    ) -> (AwsConnection, Arc<Tokens>) {
        let tokens = Arc::new(Tokens(Default::default(), failure));
        let identity: Arc<dyn WebIdentity> = tokens.clone();
        let connection = AwsConnection {
            access_key_id: None,
            secret_access_key: None,
            external_id: None,
            web_identity: Some(identity),
            ..assuming(sts, service)
        };
        (connection, tokens)
    }

    #[tokio::test]
    async fn a_token_takes_on_a_role_unsigned_and_is_asked_anew_for_the_next_session() {
        let sts = Server::start(|_| Some(federation("ASIAROLE"))).await;
        let service = secrets_manager().await;
        let clock = TurnedClock::new();
        let shared: Arc<dyn Clock> = clock.clone();
        let (connection, tokens) = federated(&sts, &service, None);
        let config = connect(&connection, &client(&[&sts, &service]), &shared).await.unwrap();
        for _ in 0..3 {
            describe(&config).await.unwrap();
        }
        let asked = sts.seen();
        assert_eq!(asked.len(), 1);
        for part in ["Action=AssumeRoleWithWebIdentity", "WebIdentityToken=token-0"] {
            assert!(asked[0].body.contains(part), "{}", asked[0].body);
        }
        assert_eq!(asked[0].header("authorization"), "");
        assert!(service.seen()[0].header("authorization").contains("Credential=ASIAROLE/"));
        clock.turn(Duration::from_secs(56 * 60));
        describe(&config).await.unwrap();
        assert!(sts.seen()[1].body.contains("WebIdentityToken=token-1"));
        assert_eq!(tokens.0.load(std::sync::atomic::Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_token_that_is_not_signed_is_told_as_what_it_is() {
        let (sts, service) = (secrets_manager().await, secrets_manager().await);
        let clock: Arc<dyn Clock> = TurnedClock::new();
        for (passes, kind) in [(true, Kind::Token), (false, Kind::InvalidRequest)] {
            let failure = TokenFailure { message: "the key is missing".to_owned(), passes };
            let (connection, _) = federated(&sts, &service, Some(failure));
            let config = connect(&connection, &client(&[&sts, &service]), &clock).await.unwrap();
            let error = describe(&config).await.unwrap_err();
            assert_eq!((error.kind, error.sent), (kind, false));
            assert!(error.message.ends_with("identity token: the key is missing"));
        }
        assert!(sts.seen().is_empty() && service.seen().is_empty());
    }

    #[tokio::test]
    async fn a_role_that_may_not_be_assumed_is_told_as_the_missing_permission() {
        let sts = Server::start(|_| Some(denied())).await;
        let service = secrets_manager().await;
        let clock: Arc<dyn Clock> = TurnedClock::new();
        let http = client(&[&sts, &service]);
        let config = connect(&assuming(&sts, &service), &http, &clock).await.unwrap();
        let error = describe(&config).await.unwrap_err();
        let action = Some("sts:AssumeRole".to_owned());
        assert_eq!(error.kind, Kind::Denied { action, resource: Some("r".to_owned()) });
        assert!(error.message.starts_with("cannot assume the role arn:aws:iam::"), "{error}");
        assert!(service.seen().is_empty());
    }

    #[tokio::test]
    async fn sts_is_guarded_too() {
        let (sts, service) = (secrets_manager().await, secrets_manager().await);
        let clock: Arc<dyn Clock> = TurnedClock::new();
        let http = client(&[&service]);
        let config = connect(&assuming(&sts, &service), &http, &clock).await.unwrap();
        let error = describe(&config).await.unwrap_err();
        assert_eq!(error.kind, Kind::Refused, "{error:?}");
        assert!(error.message.contains("prohibited port: "), "{error}");
        assert!(sts.seen().is_empty() && service.seen().is_empty());
    }

    #[tokio::test]
    async fn what_a_connection_lacks_is_named() {
        let clock: Arc<dyn Clock> = TurnedClock::new();
        let http = client(&[]);
        let text = |text: &str| Some(text.to_owned());
        let role = text("arn:aws:iam::1:role/r");
        for (connection, lacking) in [
            (AwsConnection { region: None, ..keys() }, InvalidConnection::NoRegion),
            (AwsConnection { region: text(""), ..keys() }, InvalidConnection::NoRegion),
            (
                AwsConnection { region: text("rogue.example/?"), ..keys() },
                InvalidConnection::Region,
            ),
            (AwsConnection { region: text("EU-WEST-1"), ..keys() }, InvalidConnection::Region),
            (
                AwsConnection { endpoint_url: text("ftp://aws"), ..keys() },
                InvalidConnection::Endpoint("endpoint_url"),
            ),
            (
                AwsConnection { sts_endpoint_url: text("https://me:word@sts"), ..keys() },
                InvalidConnection::Endpoint("sts_endpoint_url"),
            ),
            (AwsConnection { access_key_id: text(""), ..keys() }, InvalidConnection::HalfOfKeys),
            (AwsConnection { access_key_id: None, ..keys() }, InvalidConnection::HalfOfKeys),
            (AwsConnection { secret_access_key: None, ..keys() }, InvalidConnection::HalfOfKeys),
            (
                AwsConnection { access_key_id: None, secret_access_key: None, ..keys() },
                InvalidConnection::NoCredentials,
            ),
            (AwsConnection { web_identity: Some(nobody()), ..keys() }, InvalidConnection::NoRole),
            (
                AwsConnection { role_arn: role, session_name: String::new(), ..keys() },
                InvalidConnection::SessionName,
            ),
        ] {
            let error = connect(&connection, &http, &clock).await.unwrap_err();
            assert_eq!(error, lacking, "{connection:?}");
        }
    }

    #[test]
    fn a_connection_is_printed_without_its_secrets() {
        let connection = AwsConnection { session_token: Some("hunter2".into()), ..keys() };
        let printed = format!("{connection:?}");
        assert!(!printed.contains("wJalr") && !printed.contains("hunter2"), "{printed}");
    }

    /// The instance endpoint of EC2, version 2 only.
    fn instance_endpoint(seen: &Seen) -> Option<Response<Body>> {
        let granted = r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAINSTANCE",
            "SecretAccessKey":"s","Token":"instance-token","AccountId":"111122223333",
            "LastUpdated":"2026-01-02T03:00:00Z","Expiration":"2026-01-02T09:00:00Z"}"#;
        let path = seen.uri.path();
        if path != "/latest/api/token" && seen.header("x-aws-ec2-metadata-token") != "passed" {
            return Some(reply(401, ""));
        }
        Some(match path {
            "/latest/api/token" => {
                let mut response = reply(200, "passed");
                let lifetime = "x-aws-ec2-metadata-token-ttl-seconds";
                response.headers_mut().insert(lifetime, "21600".parse().unwrap());
                response
            }
            "/latest/meta-data/placement/region" => reply(200, "us-west-2"),
            path if path.ends_with("/instance-role") => reply(200, granted),
            path if path.contains("/iam/security-credentials") => reply(200, "instance-role"),
            _ => reply(404, ""),
        })
    }

    const IN_THE_CHILD: &str = "BAILEE_TEST_AMBIENT_SERVICE_PORT";

    /// The chain reads the environment of its process, so the test runs itself in a process of
    /// its own whose environment names the instance endpoint.
    #[tokio::test]
    async fn ambient_credentials_come_from_the_instance_endpoint_past_the_guard() {
        #[expect(clippy::disallowed_methods, reason = "tells the child process from the parent")]
        if let Ok(port) = std::env::var(IN_THE_CHILD) {
            return use_ambient_credentials(port.parse().unwrap()).await;
        }
        let instance = Server::start(instance_endpoint).await;
        let service = secrets_manager().await;
        let name = "aws::tests::ambient_credentials_come_from_the_instance_endpoint_past_the_guard";
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env_clear()
            .env(IN_THE_CHILD, service.address.port().to_string())
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance.url(""))
            .env("AWS_CONFIG_FILE", "/nonexistent")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let seen = service.seen();
        assert_eq!(seen.len(), 2);
        let signed = "Credential=ASIAINSTANCE/20260102/us-west-2/secretsmanager/";
        assert!(seen[0].header("authorization").contains(signed));
        assert_eq!(seen[0].header("x-amz-security-token"), "instance-token");
        let fetched = |seen: &&Seen| seen.uri.path().ends_with("/instance-role");
        assert_eq!(instance.seen().iter().filter(fetched).count(), 1, "kept for the second call");
    }

    async fn use_ambient_credentials(service_port: u16) {
        let clock: Arc<dyn Clock> = TurnedClock::new();
        let chain = AmbientChain::new(HttpOptions::default(), clock.clone());
        let connection = AwsConnection {
            endpoint_url: Some(format!("http://127.0.0.1:{service_port}")),
            ambient: Ambient::Allowed(chain),
            ..AwsConnection::default()
        };
        let rules = opened(&["127.0.0.1/32"], &[service_port]);
        let http = HttpClient::new(HttpOptions { rules, ..HttpOptions::default() });
        for _ in 0..2 {
            let config = connect(&connection, &http, &clock).await.unwrap();
            describe(&config).await.unwrap();
        }
    }
}
