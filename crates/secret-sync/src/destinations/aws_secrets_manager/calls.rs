//! The calls, and what their errors mean here.

use crate::{
    destination::{Cursor, Delivery, Remote, Survey},
    failure::{Error, Failure},
    tags::OWNERSHIP_TAG,
};
use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{Filter, FilterNameStringType, Tag},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bailee_cloud::{CloudError, Kind, classify};
use std::collections::{BTreeMap, HashMap};

/// Objects on one page of a list.
const PAGE: i32 = 100;

/// The service as one account and region.
pub(super) struct Calls(Client);

/// What became of a write.
pub(super) enum Answer {
    /// The version that was made.
    Done(String),
    /// The name, or for an update the token, is in use.
    Exists,
    /// There is no such secret.
    Missing,
    /// The secret is scheduled for deletion.
    Deleting,
}

impl Calls {
    pub(super) fn new(client: Client) -> Calls {
        Calls(client)
    }

    pub(super) async fn create(&self, delivery: &Delivery) -> Result<Answer, Error> {
        let call = self
            .0
            .create_secret()
            .name(&delivery.name)
            .client_request_token(&delivery.token)
            .secret_string(text(delivery)?)
            .set_tags(Some(delivery.tags.iter().map(|(key, value)| tag(key, value)).collect()));
        match call.send().await {
            Ok(made) => Ok(Answer::Done(version(made.version_id, &delivery.token))),
            Err(error) => answer("secretsmanager:CreateSecret", &error),
        }
    }

    pub(super) async fn update(&self, delivery: &Delivery) -> Result<Answer, Error> {
        let call = self
            .0
            .update_secret()
            .secret_id(&delivery.name)
            .client_request_token(&delivery.token)
            .secret_string(text(delivery)?);
        match call.send().await {
            Ok(made) => Ok(Answer::Done(version(made.version_id, &delivery.token))),
            Err(error) => answer("secretsmanager:UpdateSecret", &error),
        }
    }

    /// Whether the secret is there again; otherwise it has gone altogether.
    pub(super) async fn restore(&self, name: &str) -> Result<bool, Error> {
        const ACTION: &str = "secretsmanager:RestoreSecret";
        let Err(error) = self.0.restore_secret().secret_id(name).send().await else {
            return Ok(true);
        };
        let cloud = classify(&error);
        match cloud.kind {
            Kind::NotFound => Ok(false),
            // A forced deletion, ours for example, is done in the background.
            Kind::InvalidRequest => Err(deleting(
                "the secret is being deleted at the destination; it is written when that is done",
                None,
            )),
            Kind::Denied { .. } => {
                let message = format!(
                    "the name is scheduled for deletion at the destination and restoring it is not \
                     permitted: {cloud}"
                );
                Err(deleting(&message, Some(ACTION)))
            }
            _ => Err(failed(ACTION, cloud)),
        }
    }

    /// Whether the secret was there.
    pub(super) async fn tag(&self, name: &str, tags: &BTreeMap<&str, &str>) -> Result<bool, Error> {
        let tags = tags.iter().map(|(key, value)| tag(key, value)).collect();
        let call = self.0.tag_resource().secret_id(name).set_tags(Some(tags));
        match call.send().await {
            Ok(_) => Ok(true),
            Err(error) => present("secretsmanager:TagResource", &error),
        }
    }

    /// Whether the secret was there.
    pub(super) async fn untag(&self, name: &str, keys: &[String]) -> Result<bool, Error> {
        let call = self.0.untag_resource().secret_id(name).set_tag_keys(Some(keys.to_vec()));
        match call.send().await {
            Ok(_) => Ok(true),
            Err(error) => present("secretsmanager:UntagResource", &error),
        }
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), Error> {
        let call = self.0.delete_secret().secret_id(name).force_delete_without_recovery(true);
        match call.send().await {
            Ok(_) => Ok(()),
            // Nobody can read what is scheduled for deletion: it is gone already.
            Err(error) => present("secretsmanager:DeleteSecret", &error).map(|_| ()),
        }
    }

    pub(super) async fn describe(&self, name: &str) -> Result<Option<Remote>, Error> {
        const ACTION: &str = "secretsmanager:DescribeSecret";
        match self.0.describe_secret().secret_id(name).send().await {
            Ok(found) => Ok(Some(Remote {
                version_id: current(found.version_ids_to_stages()),
                tags: Some(tags(found.tags())),
                deleting: found.deleted_date().is_some(),
            })),
            Err(error) => match classify(&error) {
                CloudError { kind: Kind::NotFound, .. } => Ok(None),
                cloud => Err(failed(ACTION, cloud)),
            },
        }
    }

    /// A page of the secrets that carry our mark.
    pub(super) async fn list(&self, after: Option<Cursor>) -> Result<Survey, Error> {
        let ours =
            Filter::builder().key(FilterNameStringType::TagKey).values(OWNERSHIP_TAG).build();
        let call = self
            .0
            .list_secrets()
            .filters(ours)
            .include_planned_deletion(true)
            .max_results(PAGE)
            .set_next_token(after.map(|cursor| cursor.0));
        let page = call
            .send()
            .await
            .map_err(|error| failed("secretsmanager:ListSecrets", classify(&error)))?;
        let mut objects = BTreeMap::new();
        for secret in page.secret_list() {
            let Some(name) = secret.name() else { continue };
            let remote = Remote {
                version_id: current(secret.secret_versions_to_stages()),
                tags: Some(tags(secret.tags())),
                deleting: secret.deleted_date().is_some(),
            };
            objects.insert(name.to_owned(), remote);
        }
        Ok(Survey { objects, next: page.next_token().map(|token| Cursor(token.to_owned())) })
    }
}

fn text(delivery: &Delivery) -> Result<&str, Error> {
    std::str::from_utf8(&delivery.payload.bytes)
        .map_err(|_| Error::new(Failure::Invalid, "the value is not text"))
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn version(answered: Option<String>, token: &str) -> String {
    answered.unwrap_or_else(|| token.to_owned())
}

fn current(stages: Option<&HashMap<String, Vec<String>>>) -> Option<String> {
    let is_current = |labels: &[String]| labels.iter().any(|label| label == "AWSCURRENT");
    stages?.iter().find(|(_, labels)| is_current(labels)).map(|(id, _)| id.clone())
}

fn tags(tags: &[Tag]) -> BTreeMap<String, String> {
    let pair =
        |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(pair).collect()
}

fn answer<E>(action: &str, error: &SdkError<E, HttpResponse>) -> Result<Answer, Error>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let cloud = classify(error);
    match cloud.kind {
        Kind::Exists => Ok(Answer::Exists),
        Kind::NotFound => Ok(Answer::Missing),
        Kind::InvalidRequest if is_deleting(&cloud) => Ok(Answer::Deleting),
        _ => Err(failed(action, cloud)),
    }
}

/// `false` when the secret is not there or scheduled for deletion.
fn present<E>(action: &str, error: &SdkError<E, HttpResponse>) -> Result<bool, Error>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer(action, error)? {
        Answer::Missing | Answer::Deleting => Ok(false),
        Answer::Done(_) | Answer::Exists => {
            Err(Error::new(Failure::Unknown, format!("{action}: the service says that it exists")))
        }
    }
}

fn is_deleting(error: &CloudError) -> bool {
    let message = error.message.to_lowercase();
    error.code == "InvalidRequestException"
        && (message.contains("deletion") || message.contains("deleted"))
}

fn deleting(message: &str, permission: Option<&str>) -> Error {
    Error {
        missing_permission: permission.map(str::to_owned),
        ..Error::new(Failure::Deleting, message)
    }
}

fn failed(action: &str, error: CloudError) -> Error {
    let (failure, uncertain) = match &error.kind {
        Kind::Refused => (Failure::Refused, false),
        Kind::Dns => (Failure::Unavailable, false),
        Kind::Timeout | Kind::Io | Kind::ServerFault => (Failure::Unavailable, true),
        Kind::Throttled => (Failure::Throttled, false),
        Kind::Denied { .. } => (Failure::Forbidden, false),
        Kind::Credentials => (Failure::Unauthenticated, false),
        Kind::Exists | Kind::Conflict => (Failure::Conflict, false),
        Kind::NotFound | Kind::InvalidRequest | Kind::Encryption => (Failure::Invalid, false),
        Kind::LimitExceeded => (Failure::Quota, false),
        Kind::ClockSkew => (Failure::Internal, false),
        Kind::Other => (Failure::Unknown, true),
    };
    let operation = action.rsplit_once(':').map_or(action, |(_, operation)| operation);
    let mut message = format!("{operation}: {error}");
    if let Some(id) = &error.request_id {
        message.push_str(&format!(" (request id {id})"));
    }
    let missing_permission = match error.kind {
        Kind::Denied { action: denied, .. } => Some(denied.unwrap_or_else(|| action.to_owned())),
        _ => None,
    };
    Error {
        failure,
        message,
        missing_permission,
        // A failure without an answer has a class, but no code of the service.
        provider_code: error.http_status.is_some().then_some(error.code),
        retry_after: error.retry_after,
        uncertain: uncertain && error.sent,
    }
}
