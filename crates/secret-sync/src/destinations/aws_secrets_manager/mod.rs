//! AWS Secrets Manager (`aws-sm`).
//!
//! Works with `CreateSecret`, `UpdateSecret`, `DeleteSecret` (forced) and `TagResource` alone.
//! `RestoreSecret`, `UntagResource`, `DescribeSecret` and `ListSecrets` are used when permitted.

mod calls;

use crate::{
    destination::{
        Checked, Cursor, Deletion, Delivery, Destination, Extent, Names, Note, Receipt, Removal,
        Survey,
    },
    failure::{Error, Failure},
    limits::Limits,
    naming::{Granularity, NameRule},
    registry::{Blueprint, DestinationKind, Field},
    tags::{OWNERSHIP_TAG, TagRule},
};
use async_trait::async_trait;
use bailee_cloud::aws::{Ambient, AwsConnection, InvalidConnection, connect};
use calls::{Answer, Calls};
use std::{collections::BTreeMap, sync::Arc};

/// Turns a delivery takes between creating, updating and restoring before it gives up for now.
const TURNS_MAX: usize = 4;
/// The session's name in the logs of the account whose role is taken on.
const SESSION_NAME: &str = "bailee-secrets-sync";
/// A name nobody uses, to see whether credentials are good.
const NO_SECRET: &str = "vault/bailee-credentials-check";

/// The kind.
pub(crate) fn kind() -> DestinationKind {
    DestinationKind {
        name: "aws-sm",
        template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}",
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
        details: &[
            Field { name: "access_key_id", secret: true, identity: false },
            Field { name: "secret_access_key", secret: true, identity: false },
            Field { name: "region", secret: false, identity: true },
            Field { name: "role_arn", secret: false, identity: true },
            Field { name: "external_id", secret: false, identity: false },
        ],
        build: Arc::new(|blueprint| Box::pin(build(blueprint))),
    }
}

/// The bounds of the service.
fn limits() -> Limits {
    Limits { payload_bytes_max: 65_536, tags: true, writes_per_second: 50 }
}

async fn build(blueprint: Blueprint) -> Result<Arc<dyn Destination>, Error> {
    let details = &blueprint.details;
    let settings = &blueprint.surroundings.settings;
    let ambient = match &blueprint.surroundings.ambient {
        Some(chain) if blueprint.namespace.is_root() => Ambient::Allowed(chain.clone()),
        _ => Ambient::Forbidden,
    };
    let connection = AwsConnection {
        region: details.text("region"),
        access_key_id: details.text("access_key_id"),
        secret_access_key: details.get("secret_access_key").cloned(),
        session_token: None,
        role_arn: details.text("role_arn"),
        external_id: details.text("external_id"),
        session_name: SESSION_NAME.to_owned(),
        endpoint_url: settings.aws_endpoint_url.clone(),
        sts_endpoint_url: settings.aws_sts_endpoint_url.clone(),
        ambient,
    };
    let config = connect(&connection, &blueprint.http(), &blueprint.surroundings.clock)
        .await
        .map_err(|error| refused(&error, blueprint.namespace.is_root()))?;
    let calls = Calls::new(aws_sdk_secretsmanager::Client::new(&config));
    Ok(Arc::new(AwsSecretsManager { calls, limits: limits() }))
}

fn refused(error: &InvalidConnection, in_root: bool) -> Error {
    match error {
        InvalidConnection::NoCredentials if in_root => Error::new(
            Failure::Unauthenticated,
            "no AWS credentials: set access_key_id and secret_access_key, or allow the credentials \
             of this machine in the server's configuration with sync { ambient_credentials = true }",
        ),
        InvalidConnection::NoCredentials => Error::new(
            Failure::Unauthenticated,
            "no AWS credentials: set access_key_id and secret_access_key; the credentials of this \
             machine serve the root namespace only",
        ),
        other => Error::new(Failure::Invalid, other.to_string()),
    }
}

/// One configured account and region.
struct AwsSecretsManager {
    calls: Calls,
    limits: Limits,
}

#[async_trait]
impl Destination for AwsSecretsManager {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn check(&self) -> Result<Checked, Error> {
        match self.calls.describe(NO_SECRET).await {
            Err(error) if error.failure != Failure::Forbidden => Err(error),
            Ok(_) | Err(_) => Ok(Checked::default()),
        }
    }

    async fn survey(&self, names: &Names, after: Option<Cursor>) -> Result<Survey, Error> {
        match names {
            Names::Ours => self.calls.list(after).await,
            Names::These(names) => {
                let mut objects = BTreeMap::new();
                for name in names {
                    if let Some(remote) = self.calls.describe(name).await? {
                        objects.insert(name.clone(), remote);
                    }
                }
                Ok(Survey { objects, next: None })
            }
        }
    }

    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        if let Some(receipt) = self.put_tags_only(delivery).await? {
            return Ok(receipt);
        }
        let mut create = delivery.previous.is_none();
        let mut restored = false;
        for _ in 0..TURNS_MAX {
            let answer = if create {
                self.calls.create(delivery).await
            } else {
                self.calls.update(delivery).await
            };
            // What we restored is there because of us, whether or not the value landed.
            let answer =
                answer.map_err(|error| if restored { error.uncertain() } else { error })?;
            match (answer, create) {
                // A creation carries its tags.
                (Answer::Done(version_id), true) => return Ok(receipt(version_id)),
                (Answer::Done(version_id), false) => {
                    return self.tagged(delivery, version_id).await;
                }
                (Answer::Exists, true) => create = false,
                // The token is used: the preceding call landed though its reply was lost.
                (Answer::Exists, false) => {
                    return self.tagged(delivery, delivery.token.clone()).await;
                }
                (Answer::Missing, _) => create = true,
                (Answer::Deleting, _) => {
                    restored = self.calls.restore(&delivery.name).await?;
                    create = !restored;
                }
            }
        }
        let message = "the secret keeps appearing and disappearing at the destination";
        Err(Error::new(Failure::Conflict, message).uncertain())
    }

    async fn delete(&self, removal: &Removal) -> Result<(), Error> {
        let Removal { name, delivered, .. } = removal;
        if delivered.is_none() && self.is_foreign(name).await? {
            return Err(Error::new(
                Failure::NotOurs,
                format!(
                    "it is not known whether a delivery reached the secret, and it lacks the tag \
                     {OWNERSHIP_TAG}, so it is not deleted: delete it at the destination if it is \
                     not wanted, or set the association again"
                ),
            ));
        }
        match removal.how {
            Deletion::Delete | Deletion::Schedule { .. } | Deletion::Retain => {
                self.calls.delete(name).await
            }
        }
    }
}

impl AwsSecretsManager {
    /// Whether what is there lacks our mark, as far as looking is permitted.
    async fn is_foreign(&self, name: &str) -> Result<bool, Error> {
        match self.calls.describe(name).await {
            Ok(found) => Ok(found.is_some_and(|remote| !remote.marked() && !remote.deleting)),
            Err(error) if error.failure == Failure::Forbidden => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where only the tags differ no version is made; `None` when the value is to be written.
    async fn put_tags_only(&self, delivery: &Delivery) -> Result<Option<Receipt>, Error> {
        match (&delivery.previous, delivery.extent) {
            (Some(previous), Extent::Aspects) => {
                let version_id = previous.version_id.clone();
                match self.retag(delivery).await? {
                    Retagged::Done(notes, tags_left) => {
                        Ok(Some(Receipt { version_id, tags_left, notes }))
                    }
                    Retagged::Gone => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    /// The version is written; its tags follow.
    async fn tagged(&self, delivery: &Delivery, version_id: String) -> Result<Receipt, Error> {
        // Whatever fails from here on, the value has landed.
        match self.retag(delivery).await.map_err(Error::uncertain)? {
            Retagged::Done(notes, tags_left) => Ok(Receipt { version_id, tags_left, notes }),
            Retagged::Gone => {
                let message = "the secret disappeared from the destination while it was written";
                Err(Error::new(Failure::Conflict, message).uncertain())
            }
        }
    }

    async fn retag(&self, delivery: &Delivery) -> Result<Retagged, Error> {
        let before = delivery.previous.as_ref().map(|previous| &previous.tags);
        let set: BTreeMap<&str, &str> = delivery
            .tags
            .iter()
            .filter(|(key, value)| before.and_then(|tags| tags.get(*key)) != Some(*value))
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        if !set.is_empty() && !self.calls.tag(&delivery.name, &set).await? {
            return Ok(Retagged::Gone);
        }
        let unset: Vec<String> = before
            .into_iter()
            .flat_map(BTreeMap::keys)
            .filter(|key| !delivery.tags.contains_key(*key))
            .cloned()
            .collect();
        if unset.is_empty() {
            return Ok(Retagged::Done(Vec::new(), Vec::new()));
        }
        match self.calls.untag(&delivery.name, &unset).await {
            Ok(true) => Ok(Retagged::Done(Vec::new(), Vec::new())),
            Ok(false) => Ok(Retagged::Gone),
            Err(Error { failure: Failure::Forbidden, missing_permission, .. }) => {
                let note = Note {
                    missing_permission: missing_permission
                        .unwrap_or_else(|| "secretsmanager:UntagResource".to_owned()),
                    message: format!("would remove the tags {}", unset.join(", ")),
                };
                Ok(Retagged::Done(vec![note], unset))
            }
            Err(error) => Err(error),
        }
    }
}

/// What became of tags.
enum Retagged {
    /// Done; with what lacks a permission, and the tags that are left for that.
    Done(Vec<Note>, Vec<String>),
    /// The secret is not there, or is being deleted.
    Gone,
}

fn receipt(version_id: String) -> Receipt {
    Receipt { version_id, ..Receipt::default() }
}
