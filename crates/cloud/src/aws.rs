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

use crate::credentials::{AssumedRole, Refreshing};
use crate::guard::EgressRules;
use crate::http::{HttpClient, HttpError, HttpOptions};

pub use aws_types::SdkConfig;

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
    let region = region(connection).await?;
    let base = base_credentials(connection).await?;
    let credentials = match &connection.role_arn {
        None => base,
        Some(role_arn) => {
            if connection.session_name.is_empty() {
                return Err(InvalidConnection::SessionName);
            }
            let sts = sdk_config(http, clock, &region, base, &connection.sts_endpoint_url);
            let role = AssumedRole {
                sts: aws_sdk_sts::Client::new(&sts),
                role_arn: role_arn.clone(),
                external_id: connection.external_id.clone(),
                session_name: connection.session_name.clone(),
            };
            SharedCredentialsProvider::new(Refreshing::new(role, clock.clone()))
        }
    };
    Ok(sdk_config(http, clock, &region, credentials, &connection.endpoint_url))
}

async fn region(connection: &AwsConnection) -> Result<String, InvalidConnection> {
    if let Some(region) = connection.region.as_deref().filter(|region| !region.is_empty()) {
        return Ok(region.to_owned());
    }
    match &connection.ambient {
        Ambient::Allowed(chain) => chain.region().await.ok_or(InvalidConnection::Region),
        Ambient::Forbidden => Err(InvalidConnection::Region),
    }
}

async fn base_credentials(
    connection: &AwsConnection,
) -> Result<SharedCredentialsProvider, InvalidConnection> {
    match (&connection.access_key_id, &connection.secret_access_key) {
        (Some(id), Some(secret)) => {
            let token = connection.session_token.as_ref().map(|token| token.expose().clone());
            let keys = Credentials::new(id, secret.expose(), token, None, "AwsConnection");
            Ok(SharedCredentialsProvider::new(keys))
        }
        (None, None) if connection.session_token.is_some() => Err(InvalidConnection::HalfOfKeys),
        (None, None) => match &connection.ambient {
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
    credentials: SharedCredentialsProvider,
    endpoint_url: &Option<String>,
) -> SdkConfig {
    let total = http.limits().total_timeout;
    let mut builder = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        .credentials_provider(credentials)
        // The providers keep credentials themselves, with rules of their own.
        .identity_cache(IdentityCache::no_cache())
        .http_client(GuardedSdkClient(http.clone()))
        .retry_config(RetryConfig::disabled())
        // Room for fetching credentials and the call itself.
        .timeout_config(TimeoutConfig::builder().operation_timeout(total.saturating_mul(3)).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(ClockSource(clock.clone()));
    builder.set_endpoint_url(endpoint_url.clone());
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
    loaded: Mutex<Option<Loaded>>,
}

#[derive(Clone)]
struct Loaded {
    credentials: Refreshing,
    region: Option<String>,
}

impl AmbientChain {
    /// A chain whose own traffic has the limits, roots and proxy of `options`, but not the rules.
    pub fn new(options: HttpOptions, clock: Arc<dyn Clock>) -> AmbientChain {
        let rules = EgressRules { disable_strict_networking: true, ..EgressRules::default() };
        let http = HttpClient::new(HttpOptions { rules, ..options });
        AmbientChain(Arc::new(ChainInner { http, clock, loaded: Mutex::new(None) }))
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
    Region,
    /// Half of a key pair.
    #[error("access_key_id and secret_access_key must be set together")]
    HalfOfKeys,
    /// No keys, and no permission to look for some.
    #[error(
        "no AWS credentials: set access_key_id and secret_access_key, \
         or allow the credentials of this machine"
    )]
    NoCredentials,
    /// A role without a name for its session.
    #[error("session_name is not set: a role needs one")]
    SessionName,
}

/// The guarded client, as the SDK wants one.
#[derive(Clone, Debug)]
struct GuardedSdkClient(HttpClient);

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
struct ClockSource(Arc<dyn Clock>);

impl TimeSource for ClockSource {
    fn now(&self) -> SystemTime {
        self.0.now()
    }
}
