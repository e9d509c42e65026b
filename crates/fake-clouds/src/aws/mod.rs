//! A fake of AWS: Secrets Manager, STS, KMS, IAM and SNS on one loopback address.
//!
//! ```no_run
//! # async fn example() {
//! use bailee_fake_clouds::FakeAws;
//! use bailee_fake_clouds::aws::Fault;
//!
//! let aws = FakeAws::start().await;
//! aws.inject(Fault::throttle("secretsmanager:PutSecretValue").times(2));
//! let endpoint = aws.endpoint();
//! # }
//! ```

mod authenticate;
mod calls;
mod clock;
mod faults;
mod iam;
mod input;
mod inspect;
mod inspect_accounts;
mod inspect_users;
mod instance;
mod kms;
mod knobs;
mod oidc;
mod random;
mod secrets_manager;
mod server;
mod sigv4;
mod sns;
mod sts;
mod wire;
mod world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use calls::RecordedCall;
pub use faults::Fault;
pub use inspect::{FakeSecret, FakeVersion, Key};
pub use instance::FakeInstance;
pub use sns::FakeMessage;

use iam::store::{AccessKey, Owner};
use server::Shared;
use world::{Settings, World};

/// How a fake is started; [`Options::default`] suits tests.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The account that owns what is made, twelve digits.
    pub account_id: String,
    /// Identifier and secret of the administrator's key; made up when absent.
    pub access_key: Option<(String, String)>,
    /// Whether signatures are verified. If not, any unknown key is the account itself.
    pub verify_signatures: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            account_id: "123456789012".to_owned(),
            access_key: None,
            verify_signatures: true,
        }
    }
}

/// A running fake. Clones share it; it stops when the last one is dropped.
#[derive(Clone)]
pub struct FakeAws {
    shared: Arc<Shared>,
    running: Arc<Running>,
}

/// Only the address: what the fake holds looks like secrets to tests that search for them.
impl std::fmt::Debug for FakeAws {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FakeAws")
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}

struct Running {
    address: SocketAddr,
    account_id: String,
    administrator: Key,
    /// Absent when a test carries the requests itself.
    task: Option<JoinHandle<std::convert::Infallible>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl FakeAws {
    /// Starts a fake on a free port.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await.expect("a free loopback port can be bound")
    }

    /// Starts a fake as told. Fails when the port is taken.
    pub async fn start_with(options: Options) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let address = listener.local_addr()?;
        let shared = share(&options, clock::Clock::default());
        let task = tokio::spawn(server::serve(listener, Arc::clone(&shared.0)));
        Ok(Self::over(shared, options.account_id, address, Some(task)))
    }

    /// A fake without an address: a test hands it requests by [`FakeAws::answer`], and its clock
    /// follows tokio's from `began` on.
    pub fn unplugged(options: Options, began: SystemTime) -> Self {
        let shared = share(&options, clock::Clock::following(began));
        Self::over(shared, options.account_id, NOWHERE, None)
    }

    fn over(
        (shared, administrator): (Arc<Shared>, Key),
        account_id: String,
        address: SocketAddr,
        task: Option<JoinHandle<std::convert::Infallible>>,
    ) -> Self {
        let running = Arc::new(Running { address, account_id, administrator, task });
        Self { shared, running }
    }

    /// Answers one request; `None` when the connection is cut instead.
    pub async fn answer(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let (mut parts, body) = request.into_parts();
        // Clients of HTTP add this on the way.
        if let Some(Ok(host)) = parts.uri.authority().map(|host| host.as_str().parse()) {
            parts.headers.entry(header::HOST).or_insert(host);
        }
        let response = server::serve_one(&self.shared, NOWHERE, &parts, &body).await?;
        let (parts, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        Some(Response::from_parts(parts, body))
    }

    /// The address of all services, as `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.running.address)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.running.address.port()
    }

    /// The account that owns what is made.
    pub fn account_id(&self) -> &str {
        &self.running.account_id
    }

    /// The key of the user `admin`, who may do anything.
    pub fn administrator(&self) -> &Key {
        &self.running.administrator
    }

    /// Identifier of the administrator's key.
    pub fn access_key_id(&self) -> &str {
        &self.running.administrator.access_key_id
    }

    /// Secret of the administrator's key.
    pub fn secret_access_key(&self) -> &str {
        &self.running.administrator.secret_access_key
    }
}

/// Where requests come from that no connection carries.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A new world with its administrator.
fn share(options: &Options, clock: clock::Clock) -> (Arc<Shared>, Key) {
    let mut world = World {
        account: options.account_id.clone(),
        settings: Settings { verify_signatures: options.verify_signatures, ..Settings::default() },
        iam: iam::store::Store::default(),
        kms: kms::Store::default(),
        oidc: oidc::Providers::default(),
        sns: sns::Store::default(),
        secrets: secrets_manager::store::Store::default(),
    };
    let administrator = add_administrator(&mut world, options, clock.now());
    let shared = Shared {
        world: Mutex::new(world),
        clock,
        faults: faults::Faults::default(),
        calls: calls::Calls::default(),
    };
    (Arc::new(shared), administrator)
}

fn add_administrator(world: &mut World, options: &Options, now: clock::Millis) -> Key {
    let account = &options.account_id;
    let user = world.iam.add_user(account, "admin", "/", now);
    user.permissions.attached.insert("arn:aws:iam::aws:policy/AdministratorAccess".to_owned());
    let owner = Owner::User { account: account.clone(), name: "admin".to_owned() };
    let mut key: AccessKey = world.iam.add_key(owner, now, now);
    if let Some((id, secret)) = &options.access_key {
        world.iam.keys.remove(&key.id);
        key.id.clone_from(id);
        key.secret.clone_from(secret);
        world.iam.keys.insert(id.clone(), key.clone());
    }
    Key { access_key_id: key.id, secret_access_key: key.secret, session_token: None }
}
