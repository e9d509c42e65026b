//! The destination of a replication: one configured destination of sync, without a server around it.

use super::act::note;
use crate::{
    Settings,
    destination::Destination,
    destinations::{self, aws_secrets_manager},
    failure::{Error, Failure},
    naming::NameRule,
    notice::{InvalidWebhook, Runs, Sns, Webhook, WebhookKeys},
    registry::{
        Blueprint, Configured, DestinationKind, Details, Drift, Network, Registry,
        StoredDestination, Surroundings,
    },
    tags::TagRule,
};
use bailee_cloud::aws::SdkConfig;
use bailee_crypto::{Clock, Sensitive};
use bailee_sdk::Namespace;
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// Digits of an account's number.
const ACCOUNT_DIGITS: usize = 12;
/// How long is waited for the number of the account, which is only told along.
const ASKING_MAX: Duration = Duration::from_secs(2);

/// A place at a provider: how it is reached, and as whom.
#[derive(Clone, Debug)]
pub struct Place {
    /// Connection details, as a destination of sync has them.
    pub details: Details,
    /// Where connections may go.
    pub network: Network,
    /// Addresses of the provider, a proxy, whether this machine's credentials may be used.
    pub settings: Settings,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

impl Place {
    fn stored(&self, kind: &str) -> StoredDestination {
        StoredDestination {
            kind: kind.to_owned(),
            name: "replicate".to_owned(),
            details: self.details.clone(),
            template: None,
            granularity: None,
            custom_tags: BTreeMap::new(),
            network: self.network.clone(),
            drift: Drift::default(),
            ownership: crate::destination::Ownership::default(),
            deletion: crate::destination::Deletion::default(),
            paused: false,
            purge: None,
        }
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings::new(self.settings.clone(), self.clock.clone())
    }

    /// The configuration of a client of AWS there.
    pub(super) async fn aws(&self) -> Result<SdkConfig, Error> {
        aws_secrets_manager::sdk_config(&self.blueprint()?).await
    }

    /// A topic that is told of failures, with the credentials of this place.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub async fn topic(&self, arn: &str, endpoint_url: Option<&str>) -> Result<Sns, Error> {
        let (config, clock) = (self.aws().await?, self.clock.clone());
        Sns::new(arn, &config, endpoint_url, Arc::new(self.blueprint()?.http()), clock)
    }

    /// A webhook that is told of runs, under the rules of this place.
    ///
    /// # Errors
    /// What is wrong with its URL or keys.
    pub fn webhook(
        &self,
        url: &str,
        keys: &Sensitive<String>,
        runs: Runs,
    ) -> Result<Webhook, Error> {
        let invalid = |error: InvalidWebhook| Error::new(Failure::Invalid, error.to_string());
        let keys = WebhookKeys::parse(keys).map_err(invalid)?;
        let transport = Arc::new(self.blueprint()?.http());
        Webhook::new(url, keys, runs, transport, self.clock.clone()).map_err(invalid)
    }

    fn blueprint(&self) -> Result<Blueprint, Error> {
        let surroundings = Arc::new(self.surroundings());
        let blueprint = self.stored("aws-sm").blueprint(&Namespace::root(), &surroundings);
        blueprint.map_err(|error| Error::new(Failure::Invalid, error.to_string()))
    }
}

/// A destination that is ready for use.
pub struct Target {
    configured: Arc<Configured>,
    /// The same, or what stands before it.
    destination: Arc<dyn Destination>,
    kind: DestinationKind,
    /// The account, where it is known without a call.
    pub(super) account: String,
    /// The region; empty where there is none.
    pub(super) region: String,
}

impl Target {
    /// Connects a destination of this type.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub async fn connect(kind: &str, place: &Place) -> Result<Target, Error> {
        let found = destinations::all().into_iter().find(|known| known.name == kind);
        let found = found.ok_or_else(|| {
            Error::new(Failure::Invalid, format!("unknown type of destination {kind:?}"))
        })?;
        Target::of(found, place).await
    }

    /// Connects a destination of this kind.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub async fn of(kind: DestinationKind, place: &Place) -> Result<Target, Error> {
        let registry = Registry::new(vec![kind.clone()], place.surroundings());
        let stored = place.stored(kind.name);
        let configured = Arc::new(registry.tried(stored, &Namespace::root()).await?);
        let destination = configured.destination.clone();
        Ok(Target::within(configured, kind, destination))
    }

    /// A configured destination of a server; its calls are made by `destination`.
    pub(crate) fn within(
        configured: Arc<Configured>,
        kind: DestinationKind,
        destination: Arc<dyn Destination>,
    ) -> Target {
        let where_to = configured.destination.budget_key().unwrap_or_default();
        let (region, account) = where_to.split_once('/').unwrap_or(("", ""));
        let is_account =
            account.len() == ACCOUNT_DIGITS && account.bytes().all(|byte| byte.is_ascii_digit());
        Target {
            account: if is_account { account.to_owned() } else { String::new() },
            region: region.to_owned(),
            configured,
            destination,
            kind,
        }
    }

    /// What stands for the place in marks: where it is, not as whom.
    pub fn place(&self) -> String {
        format!("{}/{}", self.kind.name, self.region)
    }

    /// Its region; empty where there is none.
    pub fn region(&self) -> &str {
        &self.region
    }

    pub(super) fn destination(&self) -> &dyn Destination {
        &*self.destination
    }

    pub(super) fn configured(&self) -> &Configured {
        &self.configured
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind.name
    }

    pub(super) fn names(&self) -> &NameRule {
        &self.kind.names
    }

    pub(super) fn tag_rule(&self) -> Option<&TagRule> {
        self.kind.tags.as_ref()
    }

    /// Permissions that are missing and not necessary.
    pub(super) fn notes(&self) -> Vec<String> {
        self.destination.notes().iter().map(note).collect()
    }

    /// The account as the destination itself tells it; empty where it does not.
    pub(super) async fn ask_account(&self) -> String {
        let checked = self.destination.check();
        let checked = tokio::time::timeout(ASKING_MAX, checked).await.ok().and_then(Result::ok);
        checked.and_then(|mut checked| checked.identity.remove("account")).unwrap_or_default()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.place())
    }
}
