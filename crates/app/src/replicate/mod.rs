//! Replication as a program of its own: read from a file, put together, run once.
//!
//! A run keeps nothing between two runs, so that a timer, a container and a Lambda do the same.

mod build;
mod file;
mod lock;
mod policy;
mod sample;
mod told;

pub(crate) use bailee_secret_sync::pull::connection::Connection;
pub use build::replication;
pub(crate) use build::{place, session};
pub use file::parse;
pub(crate) use file::server;
pub use lock::Lock;
pub(crate) use policy::connection_name;
pub use policy::{Consumer, consumer_policies, role_policy};
pub(crate) use told::{Listener, Told};

use crate::config::{Faults, ServerEnvironment};
use bailee_client::login::Text;
use bailee_crypto::{Clock, Sensitive, SystemClock};
use bailee_notation::schedule::Schedule;
use bailee_secret_sync::{
    failure::{Error, Failure},
    notice::{self, Notify, Runs},
    pull::{
        Forecast, Replication, Spec,
        report::{Outcome, RunReport, SetupFailure, Stage},
        sources::vault::Part,
    },
    registry::{Details, Network},
};
use std::{
    fs,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, timeout, timeout_at};

/// How long telling may take where time is short.
const TELLING_MAX: Duration = Duration::from_millis(3_500);
/// How long giving a token back may take.
const LEAVING_MAX: Duration = Duration::from_secs(2);
/// The longest configuration, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// What is done.
    pub spec: Spec,
    /// Where from.
    pub source: Source,
    /// Where to.
    pub destination: Destination,
    /// Name or ARN of the secret at the destination that says where the source is, and the token.
    pub connection_secret: Option<String>,
    /// The KMS key of the connection secret and of topics, where it is another than that of what is
    /// replicated.
    pub configuration_kms_key_id: Option<String>,
    /// A file that holds the key of marks and digests, instead of the connection secret.
    pub content_hash_key_file: Option<PathBuf>,
    /// Who is told how runs went.
    pub notify: Vec<Notified>,
    /// When runs begin.
    pub schedule: Option<Schedule>,
    /// Where `serve` tells of health and metrics.
    pub listen: Option<SocketAddr>,
    /// How long `serve` is healthy after a run in which all was well.
    pub healthy_for: Option<Duration>,
    /// A file by which runs of the same machine keep each other out.
    pub lock_file: Option<PathBuf>,
    /// Settings that were read and have no effect, with their lines.
    pub without_effect: Vec<String>,
}

/// A source.
#[derive(Clone, Debug)]
pub enum Source {
    /// A server that speaks Vault's API.
    Vault(Box<Vault>),
    /// AWS Secrets Manager.
    Aws {
        /// Connection details, as those of a destination.
        details: Details,
        /// Where connections may go.
        network: Network,
        /// How names begin.
        start: String,
    },
}

/// A server that speaks Vault's API.
#[derive(Clone, Debug)]
pub struct Vault {
    /// How it is reached, where that is known already.
    pub client: Option<bailee_client::Settings>,
    /// Where it is; the connection secret tells where this does not.
    pub address: Option<String>,
    /// The namespace.
    pub namespace: String,
    /// What of it.
    pub parts: Vec<Part>,
    /// A file or folder with authorities.
    pub ca_cert: Option<PathBuf>,
    /// The client's certificate and its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must bear.
    pub tls_server_name: Option<String>,
    /// How a token is got; the connection secret has one where this is absent.
    pub auth: Option<Auth>,
    /// The token of whoever started the program, where neither has one.
    pub token: Option<Sensitive<String>>,
}

/// A way to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// In a file.
    TokenFile(PathBuf),
    /// A role and its secret id in a file.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// The id of the role.
        role_id: String,
        /// The file with the secret id.
        secret_id_file: Option<PathBuf>,
    },
    /// A signed token in a file.
    Jwt {
        /// Where the method is mounted.
        mount: String,
        /// The role.
        role: Option<String>,
        /// The file with the token.
        jwt_file: PathBuf,
    },
    /// This machine's identity in AWS.
    Aws {
        /// Where the method is mounted.
        mount: String,
        /// The role.
        role: Option<String>,
        /// The region whose STS is asked.
        region: Option<String>,
        /// What the server demands in the header X-Vault-AWS-IAM-Server-ID.
        header_value: Option<String>,
        /// Where STS is, instead of AWS's own address.
        sts_endpoint: Option<String>,
    },
}

/// Somebody who is told how runs went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notified {
    /// A topic of SNS.
    Topic {
        /// Its ARN.
        arn: String,
    },
    /// A webhook.
    Webhook {
        /// Where it is.
        url: String,
        /// The file with the keys that sign.
        key_file: PathBuf,
        /// Of which runs it is told.
        runs: Runs,
    },
}

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What it came to.
    pub report: RunReport,
    /// Sentences about who could not be told.
    pub untold: Vec<String>,
}

/// A destination.
#[derive(Clone, Debug, Default)]
pub struct Destination {
    /// Its type.
    pub kind: String,
    /// Connection details.
    pub details: Details,
    /// Where connections may go.
    pub network: Network,
}

/// Reads a configuration file: HCL, JSON or YAML, told by the end of its name.
///
/// # Errors
/// All that is wrong with it, each with its line.
pub fn read(path: &Path) -> Result<Configuration, Faults> {
    let mut text = String::new();
    let read = fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    if let Err(error) = read {
        let mut faults = Faults::default();
        faults.add_overall(format_args!("cannot be read: {error}"));
        return Err(faults);
    }
    let mut configuration = parse(&text, is_yaml(path))?;
    configuration.lock_file.get_or_insert_with(|| path.to_owned());
    Ok(configuration)
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml")
}

/// One run from its beginning to its end, and telling who is to be told. What goes wrong before it
/// begins is in the report, too.
pub async fn run_once(configuration: &Configuration, environment: &ServerEnvironment) -> Ran {
    run_within(configuration, environment, None).await
}

/// As [`run_once`], where the run itself may take so long, and telling of it a few seconds: what is not
/// done then, the next one does.
pub async fn run_within(
    configuration: &Configuration,
    environment: &ServerEnvironment,
    limit: Option<Duration>,
) -> Ran {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ends = limit.map(|limit| Instant::now() + limit);
    let report = Box::pin(run(configuration, environment, &clock, ends)).await;
    let telling = Box::pin(tell(configuration, environment, &clock, &report));
    let untold = match limit {
        None => telling.await,
        Some(_) => timeout(TELLING_MAX, telling).await.unwrap_or_else(|_| {
            vec!["there was no time left to tell all who are to be told".to_owned()]
        }),
    };
    Ran { report, untold }
}

async fn run(
    configuration: &Configuration,
    environment: &ServerEnvironment,
    clock: &Arc<dyn Clock>,
    ends: Option<Instant>,
) -> RunReport {
    let started_at = clock.now();
    let locked = configuration.lock_file.as_deref().map(Lock::take).transpose();
    let _lock = match locked {
        Ok(lock) => lock,
        Err(failure) => return not_begun(configuration, started_at, failure, clock),
    };
    let made = Box::pin(replication(configuration, environment, clock));
    let made = match ends {
        None => made.await,
        Some(at) => {
            timeout_at(at, made).await.unwrap_or_else(|_| Err(SetupFailure::time_is_over()))
        }
    };
    match made {
        Ok(replication) => {
            let report = replication.run_until(ends).await;
            leave(&replication, ends).await;
            report
        }
        Err(failure) => not_begun(configuration, started_at, failure, clock),
    }
}

/// Gives a token back, where there is time: else it ends by itself.
async fn leave(replication: &Replication, ends: Option<Instant>) {
    let most = Instant::now() + LEAVING_MAX;
    let end = ends.map_or(most, |at| at.min(most));
    timeout_at(end, replication.leave()).await.ok();
}

async fn tell(
    configuration: &Configuration,
    environment: &ServerEnvironment,
    clock: &Arc<dyn Clock>,
    report: &RunReport,
) -> Vec<String> {
    if configuration.notify.is_empty() {
        return Vec::new();
    }
    let place = match place(configuration, environment, clock) {
        Ok(place) => place,
        Err(failure) => return vec![format!("nobody was told: {failure}")],
    };
    let mut untold = Vec::new();
    let mut notifiers: Vec<Box<dyn Notify>> = Vec::new();
    for notified in &configuration.notify {
        let made: Result<Box<dyn Notify>, Error> = match notified {
            Notified::Topic { arn } => {
                let endpoint = environment.aws_sns_endpoint_url.as_deref();
                place.topic(arn, endpoint).await.map(|topic| Box::new(topic) as Box<dyn Notify>)
            }
            Notified::Webhook { url, key_file, runs } => {
                let keys = Text::File(key_file.clone()).read();
                keys.map_err(|error| Error::new(Failure::Invalid, error.to_string()))
                    .and_then(|keys| place.webhook(url, &keys, *runs))
                    .map(|webhook| Box::new(webhook) as Box<dyn Notify>)
            }
        };
        match made {
            Ok(notifier) => notifiers.push(notifier),
            Err(error) => untold.push(format!("a notice could not be sent: {error}")),
        }
    }
    let failed = notice::tell(&notifiers, report).await;
    untold.extend(failed.iter().map(notice::Untold::sentence));
    untold
}

/// What a run would do now.
///
/// # Errors
/// What keeps a run from beginning.
pub async fn plan(
    configuration: &Configuration,
    environment: &ServerEnvironment,
) -> Result<Forecast, SetupFailure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let replication = Box::pin(replication(configuration, environment, &clock)).await?;
    let forecast = replication.plan().await;
    leave(&replication, None).await;
    forecast
}

fn not_begun(
    configuration: &Configuration,
    started_at: std::time::SystemTime,
    failure: SetupFailure,
    clock: &Arc<dyn Clock>,
) -> RunReport {
    RunReport {
        replication: configuration.spec.name.clone(),
        run: bailee_crypto::random::uuid().to_string(),
        started_at,
        ended_at: clock.now(),
        account: String::new(),
        region: configuration.destination.details.text("region").unwrap_or_default(),
        outcome: Outcome::NotBegun(failure),
    }
}

fn wrong(message: impl Into<String>) -> SetupFailure {
    SetupFailure { stage: Stage::Configuration, failure: Failure::Invalid, message: message.into() }
}
