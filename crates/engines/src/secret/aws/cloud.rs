//! IAM and STS as one mount reaches them.

use super::{
    Aws,
    config_root::{KEY, Root},
    pace::Pace,
    ready::Patience,
};
use bailee_cloud::{
    CloudError, Kind, Xml,
    aws::{
        self, Ambient, AmbientChain, AwsConnection, InvalidConnection, RoleSession, SdkConfig,
        WebIdentity,
    },
    query::{Form, QueryClient, Service},
};
use bailee_crypto::random;
use bailee_sdk::{Code, Error, Namespace, View};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Mounts whose clients are kept.
const CLOUDS_MAX: usize = 256;
const REGION_DEFAULT: &str = "us-east-1";
const SESSION_NAME: &str = "bailee-aws-engine";
/// The first pause before a call is made again; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a call that nobody waits for is tried while IAM is throttling.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pages of a list that are read at most.
const PAGES_MAX: usize = 200;

/// The clients of all mounts, made anew when a mount is configured otherwise.
#[derive(Debug, Default)]
pub(super) struct Clouds(Mutex<HashMap<String, (u64, Arc<Cloud>)>>);

impl Clouds {
    pub(super) async fn of(&self, engine: &Aws, view: &View) -> Result<Arc<Cloud>, Error> {
        let stored = view.get_at::<Root>(KEY).await?;
        let (root, revision) = match stored {
            Some((root, revision)) => (root, revision.map(|revision| revision.0)),
            None => (Root::default(), Some(0)),
        };
        let place = view.prefix().to_owned();
        if let Some(revision) = revision
            && let Some((known, cloud)) = self.0.lock().get(&place)
            && *known == revision
            && !cloud.expired.load(Ordering::Relaxed)
        {
            return Ok(cloud.clone());
        }
        let cloud = Arc::new(Cloud::connect(engine, &root, view).await?);
        if let Some(revision) = revision {
            let mut kept = self.0.lock();
            if kept.len() >= CLOUDS_MAX {
                kept.clear();
            }
            kept.insert(place, (revision, cloud.clone()));
        }
        Ok(cloud)
    }
}

/// Whether the mount is in the root namespace.
fn is_root(view: &View) -> bool {
    view.prefix().starts_with(&Namespace::root().prefix())
}

/// A role of another account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Through {
    pub(super) role_arn: String,
    pub(super) session_name: String,
    pub(super) external_id: String,
}

/// IAM and STS with the credentials of a mount.
#[derive(Clone, Debug)]
pub(super) struct Cloud {
    config: SdkConfig,
    sts_endpoint: Option<String>,
    iam: QueryClient,
    pace: Arc<Pace>,
    /// Nobody waits for what is called: others go first.
    unhurried: bool,
    /// The first address, and those to fall back to.
    sts: Vec<QueryClient>,
    attempts: u32,
    /// The machine's credentials, where the mount has none of its own.
    ambient: Option<AmbientChain>,
    /// AWS said so of the credentials: whoever comes next has them made anew.
    expired: Arc<AtomicBool>,
    pub(super) ready: Patience,
}

impl Cloud {
    /// With the key of the mount itself, also where that takes on a role for all else. A mount that has
    /// no key any more does with what it has.
    pub(super) async fn of_key(engine: &Aws, root: &Root, view: &View) -> Result<Cloud, Error> {
        if !root.has_keys() {
            return Cloud::connect(engine, root, view).await;
        }
        let root = Root { role_arn: String::new(), external_id: String::new(), ..root.clone() };
        Cloud::connect(engine, &root, view).await
    }

    /// The same services, with a role that is taken on with the credentials of this one.
    pub(super) fn through(&self, engine: &Aws, through: &Through) -> Result<Cloud, Error> {
        let session = RoleSession {
            role_arn: through.role_arn.clone(),
            external_id: given(&through.external_id).map(str::to_owned),
            session_name: through.session_name.clone(),
            duration: None,
        };
        let endpoint = self.sts_endpoint.as_deref();
        let config = aws::assuming(&self.config, &session, endpoint, &engine.settings.clock);
        let none = || Error::internal("a role has no credentials");
        let same = |client: &QueryClient| client.with_credentials_of(&config).ok_or_else(none);
        Ok(Cloud {
            iam: same(&self.iam)?,
            // Another account has a budget of its own.
            pace: Arc::default(),
            unhurried: false,
            sts: self.sts.iter().map(same).collect::<Result<_, _>>()?,
            config,
            sts_endpoint: self.sts_endpoint.clone(),
            attempts: self.attempts,
            ambient: self.ambient.clone(),
            expired: self.expired.clone(),
            ready: self.ready,
        })
    }

    async fn connect(engine: &Aws, root: &Root, view: &View) -> Result<Cloud, Error> {
        let (settings, in_root) = (&engine.settings, is_root(view));
        let region = given(&root.region).or(given(&root.sts_region)).unwrap_or(REGION_DEFAULT);
        let sts_region = given(&root.sts_region).unwrap_or(region);
        let configured = settings.sts_endpoint_url.as_deref();
        let sts_endpoint = given(&root.sts_endpoint).or(configured).map(str::to_owned);
        let ambient = match &settings.ambient {
            Some(chain) if in_root => Ambient::Allowed(chain.clone()),
            _ => Ambient::Forbidden,
        };
        let connection = AwsConnection {
            region: Some(region.to_owned()),
            access_key_id: given(&root.access_key).map(str::to_owned),
            secret_access_key: root.secret(),
            role_arn: given(&root.role_arn).map(str::to_owned),
            external_id: given(&root.external_id).map(str::to_owned),
            web_identity: root
                .federation
                .tokens(&engine.issuer, view.prefix())
                .map(|tokens| Arc::new(tokens) as Arc<dyn WebIdentity>),
            session_name: SESSION_NAME.to_owned(),
            sts_endpoint_url: sts_endpoint.clone(),
            ambient,
            ..AwsConnection::default()
        };
        let config = aws::connect(&connection, &settings.http, &settings.clock).await;
        let config = config.map_err(|error| refused(&error, in_root))?;
        let client = |service| {
            let (transport, clock) = (settings.transport.clone(), settings.clock.clone());
            QueryClient::of(&config, transport, clock, service)
                .ok_or_else(|| Error::internal("a connection has no credentials"))
        };
        let (iam_host, iam_region) = iam_address(region);
        let configured = settings.iam_endpoint_url.as_deref();
        let iam = client(Service {
            name: "iam",
            version: "2010-05-08",
            region: iam_region.to_owned(),
            endpoint: given(&root.iam_endpoint).or(configured).unwrap_or(iam_host).to_owned(),
        })?;
        let first = client(Service {
            name: "sts",
            version: "2011-06-15",
            region: sts_region.to_owned(),
            endpoint: sts_endpoint.clone().unwrap_or_else(|| sts_address(sts_region)),
        })?;
        let fallbacks = root.sts_fallback_endpoints.iter().zip(&root.sts_fallback_regions);
        let mut sts = vec![first.clone()];
        sts.extend(fallbacks.map(|(endpoint, region)| first.at(endpoint, region)));
        let (attempts, ready) = (root.attempts(), root.ready);
        let chain = settings.ambient.clone().filter(|_| in_root && !root.has_keys());
        let ambient = chain.filter(|_| root.federation.is_off());
        Ok(Cloud {
            config,
            sts_endpoint,
            iam,
            pace: Arc::default(),
            unhurried: false,
            sts,
            attempts,
            ambient,
            expired: Arc::default(),
            ready,
        })
    }

    /// The same for work that nobody waits for: its calls keep the pace that IAM takes.
    pub(super) fn unhurried(&self) -> Cloud {
        Cloud { unhurried: true, ..self.clone() }
    }

    /// Calls IAM, again when it is throttled or away.
    pub(super) async fn iam(&self, action: &str, form: &Form) -> Result<Xml, CloudError> {
        let end = Instant::now() + PATIENCE;
        // Whoever is in no hurry has waited for its turn already.
        let again = |error: &CloudError| {
            passes(error) && !(self.unhurried && error.kind == Kind::Throttled)
        };
        self.persist(|| self.attempt(action, form, end), again).await
    }

    async fn attempt(&self, action: &str, form: &Form, end: Instant) -> Result<Xml, CloudError> {
        if !self.unhurried {
            let outcome = self.iam.call(action, form).await;
            if is_throttled(&outcome) {
                self.pace.refused();
            }
            return outcome;
        }
        while self.pace.turn(end).await {
            let outcome = self.iam.call(action, form).await;
            if !is_throttled(&outcome) {
                self.pace.taken();
                return outcome;
            }
            self.pace.refused();
        }
        Err(no_turn())
    }

    /// Calls IAM, again only when the call certainly had no effect.
    pub(super) async fn iam_unless_sent(
        &self,
        action: &str,
        form: &Form,
    ) -> Result<Xml, CloudError> {
        let again =
            |error: &CloudError| error.kind == Kind::Throttled || !error.sent && passes(error);
        self.persist(|| self.iam.call(action, form), again).await
    }

    /// Calls STS, at another address when one cannot be reached.
    pub(super) async fn sts(&self, action: &str, form: &Form) -> Result<Xml, CloudError> {
        let mut last = None;
        for client in &self.sts {
            match self.persist(|| client.call(action, form), passes).await {
                Err(error) if is_away(&error) => last = Some(error),
                outcome => return outcome,
            }
        }
        Err(last.unwrap_or_else(|| CloudError::from(&no_address())))
    }

    /// STS at its first address.
    pub(super) fn first_sts(&self) -> Option<&QueryClient> {
        self.sts.first()
    }

    /// The members of a list, page after page.
    pub(super) async fn list(
        &self,
        action: &str,
        list: &str,
        form: &Form,
    ) -> Result<Vec<Xml>, CloudError> {
        let mut members = Vec::new();
        let mut marker = String::new();
        for _ in 0..PAGES_MAX {
            let page = self.iam(action, &form.clone().with_given("Marker", &marker)).await?;
            members.extend(page.members(list).cloned());
            marker = page.value("Marker").to_owned();
            if page.value("IsTruncated") != "true" || marker.is_empty() {
                break;
            }
        }
        Ok(members)
    }

    async fn persist<F, Fut>(
        &self,
        call: F,
        again: impl Fn(&CloudError) -> bool,
    ) -> Result<Xml, CloudError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Xml, CloudError>>,
    {
        let mut pause = PAUSE_MIN;
        let mut renewed = false;
        let mut left = self.attempts.saturating_sub(1);
        loop {
            match self.noted(call().await).await {
                // Nothing was done with them, and others are there now.
                Err(error) if error.is_expired() && self.ambient.is_some() && !renewed => {
                    renewed = true;
                }
                Err(error) if left > 0 && again(&error) => {
                    left -= 1;
                    rest(&mut pause, &error).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// The outcome of a call. Credentials that AWS calls expired are not used again.
    async fn noted(&self, outcome: Result<Xml, CloudError>) -> Result<Xml, CloudError> {
        if outcome.as_ref().is_err_and(CloudError::is_expired) {
            self.expired.store(true, Ordering::Relaxed);
            if let Some(chain) = &self.ambient {
                chain.forget().await;
            }
        }
        outcome
    }
}

/// Waits as long as the service asks, or a little longer each time.
async fn rest(pause: &mut Duration, error: &CloudError) {
    let [spread] = random::array::<1>();
    let jittered = pause.mul_f64(0.5 + f64::from(spread) / 512.0);
    tokio::time::sleep(error.retry_after.unwrap_or(jittered).min(PAUSE_MAX)).await;
    *pause = pause.saturating_mul(2).min(PAUSE_MAX);
}

/// Whether a failure is likely to pass by itself.
fn passes(error: &CloudError) -> bool {
    match error.kind {
        Kind::Throttled | Kind::ServerFault | Kind::Timeout | Kind::Io | Kind::Dns => true,
        Kind::Conflict => error.code != "DeleteConflict",
        Kind::Refused
        | Kind::Denied { .. }
        | Kind::Credentials
        | Kind::Token
        | Kind::NotFound
        | Kind::Exists
        | Kind::InvalidRequest
        | Kind::LimitExceeded
        | Kind::Encryption
        | Kind::ClockSkew
        | Kind::Other => false,
    }
}

fn is_throttled(outcome: &Result<Xml, CloudError>) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind == Kind::Throttled)
}

/// Others are before this call, and it would be long until its turn comes.
fn no_turn() -> CloudError {
    CloudError {
        code: "Throttling".to_owned(),
        http_status: None,
        kind: Kind::Throttled,
        message: "IAM takes fewer calls than there are to be made".to_owned(),
        request_id: None,
        retry_after: None,
        sent: false,
    }
}

fn is_away(error: &CloudError) -> bool {
    matches!(error.kind, Kind::ServerFault | Kind::Timeout | Kind::Io | Kind::Dns)
}

fn no_address() -> bailee_cloud::HttpError {
    bailee_cloud::HttpError::Dns("STS has no address".to_owned())
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// IAM is one service for each partition: its address, and the region of signatures.
fn iam_address(region: &str) -> (&'static str, &'static str) {
    if region.starts_with("cn-") {
        ("https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1")
    } else if region.starts_with("us-gov-") {
        ("https://iam.us-gov.amazonaws.com", "us-gov-west-1")
    } else {
        ("https://iam.amazonaws.com", "us-east-1")
    }
}

fn sts_address(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://sts.{region}.amazonaws.com{suffix}")
}

fn refused(error: &InvalidConnection, in_root: bool) -> Error {
    match error {
        InvalidConnection::NoCredentials if in_root => Error::invalid(
            "no AWS credentials: set access_key and secret_key in config/root, or allow the \
             credentials of this machine in the server's configuration with aws { \
             ambient_credentials = true }",
        ),
        InvalidConnection::NoCredentials => Error::invalid(
            "no AWS credentials: set access_key and secret_key in config/root; the credentials of \
             this machine serve the root namespace only",
        ),
        other => Error::invalid(other.to_string()),
    }
}

/// A step that AWS did not do.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) what: &'static str,
    pub(super) cause: CloudError,
}

impl Failed {
    pub(super) fn new(what: &'static str) -> impl FnOnce(CloudError) -> Failed {
        move |cause| Failed { what, cause }
    }

    /// As the answer to a request.
    pub(super) fn of_request(self) -> Error {
        let code = if passes(&self.cause) { Code::Upstream } else { Code::InvalidRequest };
        Error::new(code, format!("{}: {}", self.what, self.cause))
    }

    /// As the outcome of taking something back: being throttled says nothing about the lease.
    pub(super) fn of_revocation(self) -> Error {
        let throttled = self.cause.kind == Kind::Throttled;
        let code = if throttled { Code::RateLimited } else { Code::Upstream };
        Error::new(code, format!("{}: {}", self.what, self.cause))
    }
}

/// Numbered fields, as `PolicyArns.member.1.arn`.
pub(super) fn members<'a>(
    form: Form,
    list: &str,
    suffix: &str,
    values: impl IntoIterator<Item = &'a str>,
) -> Form {
    let values = values.into_iter().zip(1..);
    values.fold(form, |form, (value, number)| {
        form.with(format!("{list}.member.{number}{suffix}"), value)
    })
}

/// Tags, as `Tags.member.1.Key` and `Tags.member.1.Value`.
pub(super) fn tags<'a>(form: Form, tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Form {
    tags.into_iter().zip(1..).fold(form, |form, ((key, value), number)| {
        form.with(format!("Tags.member.{number}.Key"), key)
            .with(format!("Tags.member.{number}.Value"), value)
    })
}
