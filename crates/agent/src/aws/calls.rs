//! The calls of Secrets Manager in one region.

use super::{failures::failed, names};
use crate::{
    failure::{Cause, Failure},
    manager::{Fetched, Material, Wanted, Which},
};
use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::{Blob, DateTime},
    types::{ApiErrorType, Filter, SecretListEntry, SecretValueEntry},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bailee_cloud::{CloudError, classify};
use std::time::SystemTime;

/// Secrets that one call of `BatchGetSecretValue` gives.
pub(super) const BATCH_MAX: usize = 20;
/// Secrets on a page of `ListSecrets`.
const LIST_PAGE: i32 = 100;
/// Pages of one batch: more come only where values are large.
const BATCH_PAGES_MAX: usize = BATCH_MAX + 5;

/// Secrets Manager in one region.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    client: Client,
    pub(super) region: String,
}

/// What a batch gave.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) values: Vec<Fetched>,
    /// Ids as they were asked for, or ARNs, that failed.
    pub(super) errors: Vec<(String, Failure)>,
}

/// A page of something.
pub(super) struct Page<T> {
    pub(super) items: T,
    pub(super) next: Option<String>,
}

impl Calls {
    pub(super) fn new(client: Client, region: &str) -> Calls {
        Calls { client, region: region.to_owned() }
    }

    /// `GetSecretValue`.
    pub(super) async fn get(&self, wanted: &Wanted) -> Result<Fetched, Failure> {
        let (id, stage) = match &wanted.version {
            Which::Current => (None, None),
            Which::Stage(stage) => (None, Some(stage.clone())),
            Which::Id(id) => (Some(id.clone()), None),
            Which::IdAtStage { id, stage } => (Some(id.clone()), Some(stage.clone())),
        };
        let call = self
            .client
            .get_secret_value()
            .secret_id(&wanted.id)
            .set_version_id(id)
            .set_version_stage(stage);
        let answer = call.send().await.map_err(|error| told(&error))?;
        let fetched = fetched(Parts {
            arn: answer.arn,
            name: answer.name,
            version: answer.version_id,
            stages: answer.version_stages,
            created: answer.created_date,
            text: answer.secret_string,
            binary: answer.secret_binary,
        })?;
        if names::is_answer(&wanted.id, &fetched.id, &fetched.name) {
            return Ok(fetched);
        }
        let message = format!("{}: AWS answered with another secret, {}", wanted.id, fetched.id);
        Err(Failure::new(Cause::Invalid, message))
    }

    /// The ARN of the KMS key of a secret, where the caller may see it.
    pub(super) async fn key_of(&self, id: &str) -> Option<String> {
        let described = self.client.describe_secret().secret_id(id).send().await.ok()?;
        described.kms_key_id.filter(|key| key.starts_with("arn:"))
    }

    /// `BatchGetSecretValue` of at most [`BATCH_MAX`] ids, to its last page.
    pub(super) async fn batch(&self, ids: &[String]) -> Result<Batch, Failure> {
        let mut batch = Batch::default();
        let mut next = None;
        for _ in 0..BATCH_PAGES_MAX {
            let call = self
                .client
                .batch_get_secret_value()
                .set_secret_id_list(Some(ids.to_vec()))
                .set_next_token(next);
            let answer = call.send().await.map_err(|error| told(&error))?;
            batch.take(answer.secret_values, answer.errors);
            next = answer.next_token;
            if next.is_none() {
                break;
            }
        }
        Ok(batch)
    }

    /// A page of `BatchGetSecretValue` of what passes the filters.
    pub(super) async fn filtered(
        &self,
        filters: &[Filter],
        next: Option<String>,
    ) -> Result<Page<Batch>, Failure> {
        let call = self
            .client
            .batch_get_secret_value()
            .set_filters(Some(filters.to_vec()))
            .set_next_token(next);
        let answer = call.send().await.map_err(|error| told(&error))?;
        let mut items = Batch::default();
        items.take(answer.secret_values, answer.errors);
        Ok(Page { items, next: answer.next_token })
    }

    /// A page of `ListSecrets` of what passes the filters.
    pub(super) async fn list(
        &self,
        filters: &[Filter],
        next: Option<String>,
    ) -> Result<Page<Vec<SecretListEntry>>, Failure> {
        let call = self
            .client
            .list_secrets()
            .set_filters(Some(filters.to_vec()).filter(|filters| !filters.is_empty()))
            .max_results(LIST_PAGE)
            .set_next_token(next);
        let answer = call.send().await.map_err(|error| told(&error))?;
        Ok(Page { items: answer.secret_list.unwrap_or_default(), next: answer.next_token })
    }
}

impl Batch {
    fn take(&mut self, values: Option<Vec<SecretValueEntry>>, errors: Option<Vec<ApiErrorType>>) {
        for value in values.unwrap_or_default() {
            let asked = value.arn.clone().unwrap_or_default();
            let parts = Parts {
                arn: value.arn,
                name: value.name,
                version: value.version_id,
                stages: value.version_stages,
                created: value.created_date,
                text: value.secret_string,
                binary: value.secret_binary,
            };
            match fetched(parts) {
                Ok(fetched) => self.values.push(fetched),
                Err(failure) => self.errors.push((asked, failure)),
            }
        }
        for error in errors.unwrap_or_default() {
            let code = error.error_code.as_deref().unwrap_or_default();
            let message = error.message.as_deref().unwrap_or_default();
            let failure = failed(CloudError::of_item(code, message));
            self.errors.push((error.secret_id.unwrap_or_default(), failure));
        }
    }
}

/// The failure of a call.
pub(super) fn told<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    failed(classify(error))
}

/// A value as AWS answers with it.
struct Parts {
    arn: Option<String>,
    name: Option<String>,
    version: Option<String>,
    stages: Option<Vec<String>>,
    created: Option<DateTime>,
    text: Option<String>,
    binary: Option<Blob>,
}

fn fetched(parts: Parts) -> Result<Fetched, Failure> {
    let id = parts.arn.unwrap_or_default();
    let material = match (parts.text, parts.binary) {
        (Some(text), _) => Material::text(text),
        (None, Some(bytes)) => Material::binary(bytes.into_inner()),
        (None, None) => {
            let message = format!("{id}: AWS answered without a value");
            return Err(Failure::new(Cause::Unavailable, message));
        }
    };
    Ok(Fetched {
        name: parts.name.unwrap_or_default(),
        version: parts.version.unwrap_or_default(),
        stages: parts.stages.unwrap_or_default(),
        created: parts.created.and_then(|at| SystemTime::try_from(at).ok()),
        material,
        versioned: false,
        lease: None,
        id,
    })
}
