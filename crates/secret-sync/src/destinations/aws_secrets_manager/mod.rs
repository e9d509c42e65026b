//! AWS Secrets Manager (`aws-sm`).
//!
//! Works with `CreateSecret`, `UpdateSecret`, `DeleteSecret` (forced) and `TagResource` alone.
//! `RestoreSecret`, `UntagResource`, `DescribeSecret` and `ListSecrets` are used when permitted;
//! `ReplicateSecretToRegions` and `RemoveRegionsFromReplication` where replicas are wanted.
//!
//! `put` delivers, `remove` removes, `check` looks at credentials, `forecast` counts calls beforehand; `details` are what users give,
//! `placement` is key and replicas, `calls` and `errors` are the service.

mod calls;
mod check;
mod details;
pub(crate) mod errors;
mod federation;
mod forecast;
mod placement;
mod put;
mod quota;
mod remove;

use crate::{
    destination::{Checked, Cursor, Delivery, Destination, Names, Note, Receipt, Removal, Survey},
    estimate::{self, Change, Prices},
    failure::{Error, Failure},
    limits::Limits,
    naming::{Granularity, NameRule},
    registry::{Blueprint, DestinationKind},
    tags::TagRule,
};
use async_trait::async_trait;
use bailee_cloud::aws::{Ambient, AwsConnection, InvalidConnection, SdkConfig, connect, for_sts};
use calls::Calls;
use details::AwsDetails;
use parking_lot::Mutex;
use placement::Placement;
use std::{collections::BTreeMap, sync::Arc};

/// The session's name in the logs of the account whose role is taken on.
const SESSION_NAME: &str = "bailee-secrets-sync";
/// The end of a name that nobody uses, to see what credentials permit.
const PROBE: &str = "bailee-credentials-check";
/// The name template where the user gives none.
const TEMPLATE: &str = "vault/{{ .MountAccessor }}/{{ .SecretPath }}";

/// The kind.
pub(crate) fn kind() -> DestinationKind {
    DestinationKind {
        name: "aws-sm",
        template: TEMPLATE,
        key_template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}/{{ .SecretKey }}",
        granularity: Granularity::SecretPath,
        names: NameRule { punctuation: "/_+=.@-", replacement: '-', characters_max: 512 },
        tags: Some(TagRule {
            tags_max: 50,
            key_characters_max: 127,
            value_characters_max: 255,
            punctuation: "_.:/=+-@",
            reserved_prefix: "aws:",
        }),
        details: details::FIELDS,
        build: Arc::new(|blueprint| Box::pin(build(blueprint))),
    }
}

/// The bounds of the service.
fn limits() -> Limits {
    Limits {
        payload_bytes_max: 65_536,
        tags: true,
        writes_per_second: 50,
        lists_per_second: 100,
        concurrency: 16,
        // Versions younger than a day are not pruned, and there may be about a hundred.
        versions_per_day: Some(100),
    }
}

/// The configuration of a client for what the details say.
pub(crate) async fn sdk_config(blueprint: &Blueprint) -> Result<SdkConfig, Error> {
    let details = details::parse(&blueprint.details)?;
    configured(blueprint, &connection(blueprint, &details)).await
}

async fn configured(blueprint: &Blueprint, way: &AwsConnection) -> Result<SdkConfig, Error> {
    let config = connect(way, &blueprint.http(), &blueprint.surroundings.clock).await;
    config.map_err(|error| refused(&error, blueprint.namespace.is_root()))
}

async fn build(blueprint: Blueprint) -> Result<Arc<dyn Destination>, Error> {
    let details = details::parse(&blueprint.details)?;
    let settings = &blueprint.surroundings.settings;
    let connection = connection(&blueprint, &details);
    let config = configured(&blueprint, &connection).await?;
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    // Where the machine says the region, it is known only now.
    details.check_placement(&region)?;
    let budget_key = format!("{region}/{}", quota::caller_account(&connection));
    let calls = Calls::new(aws_sdk_secretsmanager::Client::new(&config), region);
    Ok(Arc::new(AwsSecretsManager {
        calls,
        limits: limits(),
        budget_key,
        placement_text: details.placement.text(),
        placement: details.placement,
        sts: for_sts(&config, settings.aws_sts_endpoint_url.as_deref()),
        takes_on_a_role: details.role_arn.is_some(),
        probe: probe(blueprint.template.as_deref().unwrap_or(TEMPLATE)),
        unreleased: Mutex::default(),
    }))
}

fn connection(blueprint: &Blueprint, details: &AwsDetails) -> AwsConnection {
    let settings = &blueprint.surroundings.settings;
    let ambient = match &blueprint.surroundings.ambient {
        Some(chain) if blueprint.namespace.is_root() => Ambient::Allowed(chain.clone()),
        _ => Ambient::Forbidden,
    };
    AwsConnection {
        region: details.region.clone(),
        access_key_id: details.access_key_id.clone(),
        secret_access_key: details.secret_access_key.clone(),
        session_token: None,
        role_arn: details.role_arn.clone(),
        external_id: details.external_id.clone(),
        web_identity: details.federation.as_ref().map(|it| federation::tokens(blueprint, it)),
        session_name: SESSION_NAME.to_owned(),
        endpoint_url: settings.aws_endpoint_url.clone(),
        sts_endpoint_url: settings.aws_sts_endpoint_url.clone(),
        ambient,
    }
}

/// A name that begins as all names of the destination do, where it is known how that is.
fn probe(template: &str) -> String {
    let (fixed, _) = template.split_once("{{").unwrap_or(("", ""));
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "/_+=.@-".contains(letter);
    format!("{}{PROBE}", fixed.replace(|letter| !allowed(letter), "-"))
}

fn refused(error: &InvalidConnection, in_root: bool) -> Error {
    match error {
        InvalidConnection::NoCredentials if in_root => Error::new(
            Failure::Unauthenticated,
            "no AWS credentials: set access_key_id and secret_access_key, or role_arn and \
             identity_token_audience, or allow the credentials of this machine in the server's \
             configuration with sync { ambient_credentials = true }",
        ),
        InvalidConnection::NoCredentials => Error::new(
            Failure::Unauthenticated,
            "no AWS credentials: set access_key_id and secret_access_key, or role_arn and \
             identity_token_audience; the credentials of this machine serve the root namespace only",
        ),
        other => Error::new(Failure::Invalid, other.to_string()),
    }
}

/// One configured account and region.
struct AwsSecretsManager {
    calls: Calls,
    limits: Limits,
    budget_key: String,
    placement: Placement,
    placement_text: String,
    sts: SdkConfig,
    takes_on_a_role: bool,
    /// A name nobody uses.
    probe: String,
    /// What kept marks on secrets that were to be let go, while it does.
    unreleased: Mutex<Option<Note>>,
}

#[async_trait]
impl Destination for AwsSecretsManager {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn budget_key(&self) -> Option<String> {
        Some(self.budget_key.clone())
    }

    fn placement(&self) -> &str {
        &self.placement_text
    }

    fn calls_of(&self, change: &Change<'_>) -> estimate::Calls {
        forecast::calls_of(change, &self.placement)
    }

    fn prices(&self) -> Option<Prices> {
        Some(forecast::prices(&self.placement))
    }

    async fn check(&self) -> Result<Checked, Error> {
        self.examine().await
    }

    async fn survey(&self, names: &Names, after: Option<Cursor>) -> Result<Survey, Error> {
        match names {
            Names::Ours => self.calls.list(None, after).await,
            Names::Below(start) => self.calls.list(Some(start), after).await,
            Names::These(names) => {
                let mut objects = BTreeMap::new();
                for name in names {
                    if let Some(found) = self.calls.describe(name).await? {
                        objects.insert(name.clone(), found.remote);
                    }
                }
                Ok(Survey { objects, next: None })
            }
        }
    }

    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        self.deliver(delivery).await
    }

    fn notes(&self) -> Vec<Note> {
        self.unreleased.lock().iter().cloned().collect()
    }

    async fn delete(&self, removal: &Removal) -> Result<(), Error> {
        self.remove(removal).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_begins_as_names_do() {
        assert_eq!(probe(TEMPLATE), "vault/bailee-credentials-check");
        assert_eq!(probe("apps*x/{{ .SecretPath }}"), "apps-x/bailee-credentials-check");
        assert_eq!(probe("{{ .SecretPath }}"), "bailee-credentials-check");
    }
}
