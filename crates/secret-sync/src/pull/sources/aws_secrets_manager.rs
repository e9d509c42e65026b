//! AWS Secrets Manager as a source: of another account or region.

use crate::{
    destinations::aws_secrets_manager::errors::failed,
    failure::{Error, Failure},
    pull::{
        Keys,
        patience::patiently,
        source::{Listed, Listing, Revision, Source, Version},
        target::Place,
    },
    source::Payload,
    tags::{MARK_TAG, OwnerMark},
};
use async_trait::async_trait;
use aws_sdk_secretsmanager::{
    Client,
    operation::get_secret_value::GetSecretValueOutput,
    types::{Filter, FilterNameStringType, SecretListEntry},
};
use bailee_cloud::{CloudError, Kind, aws::SdkConfig, classify};
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// Secrets on one page of a list.
const PAGE: i32 = 100;
/// Secrets that are listed at most.
const SECRETS_MAX: usize = 500_000;

/// Secrets of an account and region whose names begin alike.
#[derive(Debug)]
pub struct AwsSource {
    client: Client,
    start: String,
    /// Names that are nobody's to have.
    reserved: BTreeSet<String>,
    /// The keys of the replication that reads, by which it knows what it wrote itself.
    own: Option<Keys>,
}

impl AwsSource {
    /// Secrets whose names begin with `start`; all where it is empty.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub async fn connect(place: &Place, start: &str) -> Result<AwsSource, Error> {
        Ok(AwsSource::with(&place.aws().await?, start))
    }

    /// The same with the configuration of a client.
    pub(crate) fn with(config: &SdkConfig, start: &str) -> AwsSource {
        let (client, start) = (Client::new(config), start.to_owned());
        AwsSource { client, start, reserved: BTreeSet::new(), own: None }
    }

    /// The same without secrets of these names, such as a connection secret.
    #[must_use]
    pub fn without(self, reserved: BTreeSet<String>) -> AwsSource {
        AwsSource { reserved, ..self }
    }

    /// The same without what a replication with these keys wrote: where it reads and writes at one place,
    /// each run would copy the copies of the one before.
    #[must_use]
    pub fn without_own(self, keys: Keys) -> AwsSource {
        AwsSource { own: Some(keys), ..self }
    }
}

#[async_trait]
impl Source for AwsSource {
    async fn list(&self) -> Result<Listing, Error> {
        let filter = Filter::builder().key(FilterNameStringType::Name).values(&self.start).build();
        let filters = (!self.start.is_empty()).then(|| vec![filter]);
        let mut listing = Listing::default();
        let mut next = None;
        loop {
            let page = patiently(|| async {
                let call = self
                    .client
                    .list_secrets()
                    .set_filters(filters.clone())
                    .max_results(PAGE)
                    .set_next_token(next.clone());
                let page = call.send().await;
                page.map_err(|error| failed("secretsmanager:ListSecrets", classify(&error)))
            });
            let page = page.await?;
            listing.secrets.extend(page.secret_list().iter().filter_map(|one| self.listed(one)));
            if listing.secrets.len() > SECRETS_MAX {
                let message = format!("the source has more than {SECRETS_MAX} secrets");
                return Err(Error::new(Failure::Invalid, message));
            }
            next = page.next_token;
            if next.is_none() {
                return Ok(listing);
            }
        }
    }

    async fn read(&self, secret: &Listed) -> Result<Option<Payload>, Error> {
        let Revision::Version(version) = &secret.revision else { return Ok(None) };
        let found = patiently(|| self.value(&secret.path, &version.label)).await?;
        let Some(found) = found else { return Ok(None) };
        let text = found.secret_string.ok_or_else(|| {
            let message = format!("{} is binary, and only texts are replicated", secret.path);
            Error::new(Failure::Invalid, message)
        })?;
        let bytes = Zeroizing::new(text.into_bytes());
        Ok(Some(Payload { bytes, version: 0, expires_at: None }))
    }
}

impl AwsSource {
    async fn value(
        &self,
        name: &str,
        version: &str,
    ) -> Result<Option<GetSecretValueOutput>, Error> {
        let call = self.client.get_secret_value().secret_id(name).version_id(version);
        match call.send().await {
            Ok(found) => Ok(Some(found)),
            Err(error) => match classify(&error) {
                CloudError { kind: Kind::NotFound, .. } => Ok(None),
                cloud => Err(failed("secretsmanager:GetSecretValue", cloud)),
            },
        }
    }

    fn listed(&self, secret: &SecretListEntry) -> Option<Listed> {
        let name = secret.name().filter(|name| name.starts_with(&self.start))?;
        // What a service of AWS keeps there is its own.
        if secret.owning_service().is_some() || self.reserved.contains(name) {
            return None;
        }
        let mut tags = secret.tags().iter().filter(|tag| tag.key() == Some(MARK_TAG));
        let found = tags.find_map(|tag| OwnerMark::parse(tag.value()?));
        if found.zip(self.own.as_ref()).is_some_and(|(found, keys)| keys.wrote(name, &found)) {
            return None;
        }
        let stages = secret.secret_versions_to_stages();
        let current = stages.and_then(|stages| {
            let is_current = |labels: &Vec<String>| labels.iter().any(|one| one == "AWSCURRENT");
            stages.iter().find(|(_, labels)| is_current(labels)).map(|(id, _)| id.clone())
        });
        let time = |at: Option<&aws_sdk_secretsmanager::primitives::DateTime>| {
            at.map(|at| at.secs().to_string()).unwrap_or_default()
        };
        let revision = current.map_or(Revision::Gone, |label| {
            Revision::Version(Version {
                label,
                created: time(secret.created_date()),
                updated: time(secret.last_changed_date()),
            })
        });
        Some(Listed { mount: String::new(), path: name.to_owned(), revision })
    }
}
