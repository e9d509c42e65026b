//! What an instance of EC2 and a container ask who they are: version 2 of the instance metadata, and the
//! credentials of a container. Both give sessions of a role that the fake of AWS knows.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::clock::{Millis, iso, millis};
use super::{FakeAws, Key, random};

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";
const TTL_SECONDS_MAX: i64 = 21_600;
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const CONTAINER: &str = "/v1/credentials";
/// Instances have new credentials this long before the old ones end.
const RENEWED_BEFORE_MS: Millis = 15 * 60 * 1000;
const LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// An instance or container that runs as a role. Stops when dropped.
pub struct FakeInstance {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<Infallible>,
}

struct Shared {
    aws: FakeAws,
    /// What a container says to its endpoint.
    authorization: String,
    state: Mutex<State>,
}

struct State {
    role: Option<String>,
    lifetime: Duration,
    away: bool,
    hop_limit: u32,
    hops: u32,
    /// Tokens of the metadata, and when they end.
    tokens: BTreeMap<String, Millis>,
    given: Option<(Key, Millis)>,
    requests: Vec<String>,
}

impl FakeInstance {
    /// An instance that runs as a role of the fake's account, on a free port.
    pub async fn start(aws: &FakeAws, role: &str) -> Self {
        Self::start_on(aws, role, 0).await.expect("a free loopback port can be bound")
    }

    /// As [`FakeInstance::start`], on a port. Fails when it is taken.
    pub async fn start_on(aws: &FakeAws, role: &str, port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let state = State {
            role: Some(role.to_owned()),
            lifetime: LIFETIME,
            away: false,
            hop_limit: 1,
            hops: 1,
            tokens: BTreeMap::new(),
            given: None,
            requests: Vec::new(),
        };
        let shared = Arc::new(Shared {
            aws: aws.clone(),
            authorization: random::alphanumeric(60),
            state: Mutex::new(state),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { shared, address, task })
    }

    /// Where the instance's metadata are, as `AWS_EC2_METADATA_SERVICE_ENDPOINT` says it.
    pub fn metadata_endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the container's credentials are, as `AWS_CONTAINER_CREDENTIALS_FULL_URI` says it.
    pub fn credentials_uri(&self) -> String {
        format!("http://{}{CONTAINER}", self.address)
    }

    /// What belongs into the file that `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` names.
    pub fn authorization_token(&self) -> &str {
        &self.shared.authorization
    }

    /// Gives the instance another role, or none.
    pub fn set_role(&self, role: Option<&str>) {
        let mut state = self.shared.state.lock();
        state.role = role.map(str::to_owned);
        state.given = None;
    }

    /// How long credentials hold that are given from now on; six hours at the start.
    pub fn set_lifetime(&self, lifetime: Duration) {
        let mut state = self.shared.state.lock();
        state.lifetime = lifetime;
        state.given = None;
    }

    /// Whether every request is refused as by a service that has failed.
    pub fn set_away(&self, away: bool) {
        self.shared.state.lock().away = away;
    }

    /// How many hops a token may go, and how many it is to whoever asks: two in a container with a network of its
    /// own. A token that would go too far is never answered.
    pub fn set_hops(&self, limit: u32, hops: u32) {
        let mut state = self.shared.state.lock();
        (state.hop_limit, state.hops) = (limit, hops);
    }

    /// New credentials from now on; the old ones hold to their end.
    pub fn rotate(&self) {
        self.shared.state.lock().given = None;
    }

    /// The requests so far, as `GET /latest/…`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.state.lock().requests.clone()
    }
}

impl Drop for FakeInstance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for FakeInstance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FakeInstance")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        });
    }
}

type Reply = Response<Full<Bytes>>;

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let path = request.uri().path().to_owned();
    let hops_left = {
        let mut state = shared.state.lock();
        state.requests.push(format!("{} {path}", request.method()));
        if state.away {
            return Ok(plain(StatusCode::SERVICE_UNAVAILABLE));
        }
        state.hops <= state.hop_limit
    };
    if path == CONTAINER {
        return Ok(container(&shared, &request));
    }
    if request.method() == Method::PUT && path == "/latest/api/token" {
        if !hops_left {
            // The reply goes out, and its last hop drops it.
            std::future::pending::<()>().await;
        }
        return Ok(token(&shared, &request));
    }
    Ok(metadata(&shared, &request, &path))
}

fn header<'a>(request: &'a Request<Incoming>, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

fn token(shared: &Shared, request: &Request<Incoming>) -> Reply {
    // Whatever came through a proxy may be somebody else's request.
    if header(request, "x-forwarded-for").is_some() {
        return plain(StatusCode::FORBIDDEN);
    }
    let seconds = header(request, TTL).and_then(|text| text.parse::<i64>().ok());
    let Some(seconds) = seconds.filter(|seconds| (1..=TTL_SECONDS_MAX).contains(seconds)) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let token = random::alphanumeric(56);
    let now = shared.aws.shared.clock.now();
    let mut state = shared.state.lock();
    state.tokens.retain(|_, ends| *ends > now);
    state.tokens.insert(token.clone(), now + seconds * 1000);
    let mut reply = text(token);
    reply.headers_mut().insert(TTL, HeaderValue::from(seconds));
    reply
}

fn metadata(shared: &Shared, request: &Request<Incoming>, path: &str) -> Reply {
    let now = shared.aws.shared.clock.now();
    let known = header(request, TOKEN)
        .is_some_and(|token| shared.state.lock().tokens.get(token).is_some_and(|ends| *ends > now));
    if !known {
        return plain(StatusCode::UNAUTHORIZED);
    }
    if path == "/latest/meta-data/placement/region" {
        return text("us-east-1".to_owned());
    }
    let Some(role) = shared.state.lock().role.clone() else { return plain(StatusCode::NOT_FOUND) };
    match path.strip_prefix(ROLES) {
        Some("") => text(role),
        Some(asked) if asked == role => {
            let (key, ends) = shared.credentials(&role, now);
            text(
                json!({
                    "Code": "Success",
                    "LastUpdated": iso(now),
                    "Type": "AWS-HMAC",
                    "AccessKeyId": key.access_key_id,
                    "SecretAccessKey": key.secret_access_key,
                    "Token": key.session_token,
                    "Expiration": iso(ends),
                })
                .to_string(),
            )
        }
        _ => plain(StatusCode::NOT_FOUND),
    }
}

fn container(shared: &Shared, request: &Request<Incoming>) -> Reply {
    if header(request, "authorization") != Some(shared.authorization.as_str()) {
        return plain(StatusCode::UNAUTHORIZED);
    }
    let Some(role) = shared.state.lock().role.clone() else { return plain(StatusCode::NOT_FOUND) };
    let account = shared.aws.account_id();
    let (key, ends) = shared.credentials(&role, shared.aws.shared.clock.now());
    text(
        json!({
            "AccessKeyId": key.access_key_id,
            "SecretAccessKey": key.secret_access_key,
            "Token": key.session_token,
            "Expiration": iso(ends),
            "AccountId": account,
            "RoleArn": format!("arn:aws:iam::{account}:role/{role}"),
        })
        .to_string(),
    )
}

impl Shared {
    /// The credentials of the role as they are now, and when they end.
    fn credentials(&self, role: &str, now: Millis) -> (Key, Millis) {
        let mut state = self.state.lock();
        let lifetime = millis(state.lifetime);
        let renewed_before = RENEWED_BEFORE_MS.min(lifetime / 2);
        if let Some((key, ends)) = state.given.clone()
            && now < ends - renewed_before
        {
            return (key, ends);
        }
        let key = self.aws.role_session(role, "i-0123456789abcdef0", state.lifetime, None);
        let given = (key, now + lifetime);
        state.given = Some(given.clone());
        given
    }
}

fn text(text: String) -> Reply {
    Response::new(Full::new(Bytes::from(text)))
}

fn plain(status: StatusCode) -> Reply {
    let mut response = text(String::new());
    *response.status_mut() = status;
    response
}
