//! The calls.

use super::{
    errors::{Answer, answer, deleting, failed, has_replicas, present},
    placement::Placement,
};
use crate::{
    destination::{Cursor, Delivery, Remote, Survey},
    failure::{Error, Failure},
    tags::OWNERSHIP_TAG,
};
use aws_sdk_secretsmanager::{
    Client,
    types::{
        Filter, FilterNameStringType, ReplicaRegionType, ReplicationStatusType, StatusType, Tag,
    },
};
use bailee_cloud::{CloudError, Kind, classify};
use std::collections::{BTreeMap, HashMap};

/// Objects on one page of a list.
const PAGE: i32 = 100;
/// What the key of a secret is called where it has no other.
const DEFAULT_KEY_NAME: &str = "aws/secretsmanager";

/// Why a name cannot be had for now.
pub(super) const BEING_DELETED: &str =
    "the secret is being deleted at the destination; it is written when that is done";

/// The permission to look at one secret.
pub(super) const DESCRIBE: &str = "secretsmanager:DescribeSecret";
/// The permission to list secrets.
pub(super) const LIST: &str = "secretsmanager:ListSecrets";

/// The service as one account and region.
pub(super) struct Calls {
    client: Client,
    region: String,
}

/// A secret as the service describes it.
pub(super) struct Found {
    pub(super) remote: Remote,
    pub(super) placement: Placement,
    /// The region of its primary, where it is a replica of another region.
    pub(super) replica_of: Option<String>,
}

/// A version that was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) version_id: String,
    pub(super) identity: Option<String>,
}

/// What became of a deletion.
pub(super) enum Deleted {
    /// It is gone, or on its way.
    Done,
    /// Its replicas go first.
    Replicated,
}

impl Calls {
    pub(super) fn new(client: Client, region: String) -> Calls {
        Calls { client, region }
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    pub(super) async fn create(
        &self,
        delivery: &Delivery,
        placement: &Placement,
    ) -> Result<Answer, Error> {
        const ACTION: &str = "secretsmanager:CreateSecret";
        let call = self
            .client
            .create_secret()
            .name(&delivery.name)
            .client_request_token(&delivery.token)
            .secret_string(text(delivery)?)
            .set_tags(Some(delivery.tags.iter().map(|(key, value)| tag(key, value)).collect()))
            .set_kms_key_id(placement.kms_key_id.clone())
            .set_add_replica_regions(regions(&placement.replica_regions));
        match call.send().await {
            Ok(made) => {
                check_replicas(made.replication_status())?;
                Ok(Answer::Done(Written::of(delivery, made.version_id, made.arn)))
            }
            Err(error) => answer(ACTION, &error),
        }
    }

    /// Writes the value of what is `at` a name or an ARN, under another key where one is given.
    pub(super) async fn update(
        &self,
        at: &str,
        delivery: &Delivery,
        key: Option<&str>,
    ) -> Result<Answer, Error> {
        let call = self
            .client
            .update_secret()
            .secret_id(at)
            .client_request_token(&delivery.token)
            .secret_string(text(delivery)?)
            .set_kms_key_id(key.map(str::to_owned));
        match call.send().await {
            Ok(made) => Ok(Answer::Done(Written::of(delivery, made.version_id, made.arn))),
            Err(error) => answer("secretsmanager:UpdateSecret", &error),
        }
    }

    /// Changes the key alone: that makes no version. Whether the secret was there.
    pub(super) async fn rekey(&self, at: &str, key: &str) -> Result<bool, Error> {
        let call = self.client.update_secret().secret_id(at).kms_key_id(key);
        match call.send().await {
            Ok(_) => Ok(true),
            Err(error) => present("secretsmanager:UpdateSecret", &error),
        }
    }

    /// Whether the secret was there.
    pub(super) async fn replicate(
        &self,
        at: &str,
        add: &BTreeMap<String, String>,
    ) -> Result<bool, Error> {
        let call = self
            .client
            .replicate_secret_to_regions()
            .secret_id(at)
            .set_add_replica_regions(regions(add));
        match call.send().await {
            Ok(done) => {
                let wanted = done.replication_status().iter();
                let wanted =
                    wanted.filter(|one| one.region().is_some_and(|at| add.contains_key(at)));
                check_replicas(wanted).map(|()| true)
            }
            Err(error) => match classify(&error).kind {
                // A repeated call may find the copies of the first.
                Kind::InvalidRequest | Kind::Exists if self.is_replicated(at, add).await => {
                    Ok(true)
                }
                _ => present("secretsmanager:ReplicateSecretToRegions", &error),
            },
        }
    }

    /// Whether there are copies in all of these regions, as far as looking is permitted.
    async fn is_replicated(&self, at: &str, wanted: &BTreeMap<String, String>) -> bool {
        let Ok(Some(found)) = self.describe(at).await else { return false };
        wanted.keys().all(|region| found.placement.replica_regions.contains_key(region))
    }

    /// Removes replicas; what is not there any more is removed. Whether the secret was there.
    pub(super) async fn unreplicate(&self, at: &str, regions: &[String]) -> Result<bool, Error> {
        const ACTION: &str = "secretsmanager:RemoveRegionsFromReplication";
        let call = self
            .client
            .remove_regions_from_replication()
            .secret_id(at)
            .set_remove_replica_regions(Some(regions.to_vec()));
        let Err(error) = call.send().await else { return Ok(true) };
        let cloud = classify(&error);
        if cloud.code != "InvalidParameterException" {
            return present(ACTION, &error);
        }
        // One of several is not a replica: they go one by one.
        match regions {
            [_] => Ok(true),
            several => {
                for region in several {
                    let one = std::slice::from_ref(region);
                    if !Box::pin(self.unreplicate(at, one)).await? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Whether the secret is there again; otherwise it has gone altogether.
    pub(super) async fn restore(&self, at: &str) -> Result<bool, Error> {
        const ACTION: &str = "secretsmanager:RestoreSecret";
        let Err(error) = self.client.restore_secret().secret_id(at).send().await else {
            return Ok(true);
        };
        let cloud = classify(&error);
        match cloud.kind {
            Kind::NotFound => Ok(false),
            // A forced deletion, ours for example, is done in the background.
            Kind::InvalidRequest => Err(deleting(BEING_DELETED, None, cloud)),
            Kind::Denied { .. } => {
                let message = format!(
                    "the name is scheduled for deletion at the destination and restoring it is not \
                     permitted: {cloud}"
                );
                Err(deleting(&message, Some(ACTION), cloud))
            }
            _ => Err(failed(ACTION, cloud)),
        }
    }

    /// Whether the secret was there.
    pub(super) async fn tag(&self, at: &str, tags: &BTreeMap<&str, &str>) -> Result<bool, Error> {
        let tags = tags.iter().map(|(key, value)| tag(key, value)).collect();
        let call = self.client.tag_resource().secret_id(at).set_tags(Some(tags));
        match call.send().await {
            Ok(_) => Ok(true),
            Err(error) => present("secretsmanager:TagResource", &error),
        }
    }

    /// Whether the secret was there.
    pub(super) async fn untag(&self, at: &str, keys: &[String]) -> Result<bool, Error> {
        let call = self.client.untag_resource().secret_id(at).set_tag_keys(Some(keys.to_vec()));
        match call.send().await {
            Ok(_) => Ok(true),
            Err(error) => present("secretsmanager:UntagResource", &error),
        }
    }

    /// Deletes, with a window in which it can be restored where days are given.
    pub(super) async fn delete(&self, at: &str, days: Option<u32>) -> Result<Deleted, Error> {
        let call = self.client.delete_secret().secret_id(at);
        let call = match days {
            Some(days) => call.recovery_window_in_days(days.into()),
            None => call.force_delete_without_recovery(true),
        };
        let Err(error) = call.send().await else { return Ok(Deleted::Done) };
        if has_replicas(&classify(&error)) {
            return Ok(Deleted::Replicated);
        }
        // Nobody can read what is scheduled for deletion: it is gone already.
        present("secretsmanager:DeleteSecret", &error).map(|_| Deleted::Done)
    }

    pub(super) async fn describe(&self, at: &str) -> Result<Option<Found>, Error> {
        let found = match self.client.describe_secret().secret_id(at).send().await {
            Ok(found) => found,
            Err(error) => {
                return match classify(&error) {
                    CloudError { kind: Kind::NotFound, .. } => Ok(None),
                    cloud => Err(failed(DESCRIBE, cloud)),
                };
            }
        };
        let replicas = found.replication_status().iter().filter_map(|replica| {
            Some((
                replica.region()?.to_owned(),
                chosen_key(replica.kms_key_id()).unwrap_or_default(),
            ))
        });
        let placement = Placement {
            kms_key_id: chosen_key(found.kms_key_id()),
            replica_regions: replicas.collect(),
        };
        Ok(Some(Found {
            replica_of: self.elsewhere(found.primary_region()),
            remote: Remote {
                version_id: current(found.version_ids_to_stages()),
                identity: identity(found.name().unwrap_or_default(), found.arn()),
                tags: Some(tags(found.tags())),
                deleting: found.deleted_date().is_some(),
                placement: Some(placement.text()),
            },
            placement,
        }))
    }

    /// A page of the secrets that carry our mark, or whose names begin with what is given. Replicas are
    /// not ours to judge: their primary is.
    pub(super) async fn list(
        &self,
        below: Option<&str>,
        after: Option<Cursor>,
    ) -> Result<Survey, Error> {
        let filter = match below {
            None => Some((FilterNameStringType::TagKey, OWNERSHIP_TAG)),
            Some("") => None,
            Some(start) => Some((FilterNameStringType::Name, start)),
        };
        let filter = filter.map(|(key, value)| Filter::builder().key(key).values(value).build());
        let call = self
            .client
            .list_secrets()
            .set_filters(filter.map(|filter| vec![filter]))
            .include_planned_deletion(true)
            .max_results(PAGE)
            .set_next_token(after.map(|cursor| cursor.0));
        let page = call.send().await.map_err(|error| failed(LIST, classify(&error)))?;
        let mut objects = BTreeMap::new();
        for secret in page.secret_list() {
            let Some(name) = secret.name() else { continue };
            let tags = tags(secret.tags());
            // The filter finds what begins like our mark, too; that of names may look at words.
            let asked = match below {
                None => tags.contains_key(OWNERSHIP_TAG),
                Some(start) => name.starts_with(start),
            };
            if !asked || self.elsewhere(secret.primary_region()).is_some() {
                continue;
            }
            let remote = Remote {
                version_id: current(secret.secret_versions_to_stages()),
                identity: identity(name, secret.arn()),
                tags: Some(tags),
                deleting: secret.deleted_date().is_some(),
                placement: None,
            };
            objects.insert(name.to_owned(), remote);
        }
        Ok(Survey { objects, next: page.next_token().map(|token| Cursor(token.to_owned())) })
    }

    /// Whether secrets may be listed.
    pub(super) async fn try_list(&self) -> Result<(), Error> {
        let call = self.client.list_secrets().max_results(1);
        call.send().await.map(|_| ()).map_err(|error| failed(LIST, classify(&error)))
    }

    fn elsewhere(&self, primary: Option<&str>) -> Option<String> {
        primary.filter(|region| *region != self.region).map(str::to_owned)
    }
}

fn text(delivery: &Delivery) -> Result<&str, Error> {
    let text = std::str::from_utf8(&delivery.payload.bytes)
        .map_err(|_| Error::new(Failure::Invalid, "the value is not text"))?;
    if text.is_empty() {
        return Err(Error::new(
            Failure::Invalid,
            "the value is empty, and AWS Secrets Manager takes no empty values: write a value, or \
             remove the key from the secret",
        ));
    }
    Ok(text)
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn regions(wanted: &BTreeMap<String, String>) -> Option<Vec<ReplicaRegionType>> {
    let region = |(region, key): (&String, &String)| {
        let key = Some(key).filter(|key| !key.is_empty()).cloned();
        ReplicaRegionType::builder().region(region).set_kms_key_id(key).build()
    };
    (!wanted.is_empty()).then(|| wanted.iter().map(region).collect())
}

/// A copy that failed is said, although the secret itself is written.
fn check_replicas<'a>(
    replicas: impl IntoIterator<Item = &'a ReplicationStatusType>,
) -> Result<(), Error> {
    let failed = |replica: &&ReplicationStatusType| replica.status() == Some(&StatusType::Failed);
    let told: Vec<String> = replicas
        .into_iter()
        .filter(failed)
        .map(|replica| {
            let region = replica.region().unwrap_or_default();
            format!("{region}: {}", replica.status_message().unwrap_or("no reason given"))
        })
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the secret is written and not copied to all of replica_regions; {}",
        told.join("; ")
    );
    Err(Error::new(Failure::Invalid, message).uncertain())
}

/// The key that somebody chose; the account's default one is none.
fn chosen_key(shown: Option<&str>) -> Option<String> {
    let chosen = |key: &&str| !key.is_empty() && !key.ends_with(DEFAULT_KEY_NAME);
    shown.filter(chosen).map(str::to_owned)
}

impl Written {
    fn of(delivery: &Delivery, version_id: Option<String>, arn: Option<String>) -> Written {
        let version_id = version_id.unwrap_or_else(|| delivery.token.clone());
        Written { version_id, identity: identity(&delivery.name, arn.as_deref()) }
    }
}

/// What stands before the name in an ARN.
const BEFORE_NAME: &str = ":secret:";

/// What tells a secret from others of its name: its ARN, which ends in letters that AWS chooses anew for
/// each, without the name.
fn identity(name: &str, arn: Option<&str>) -> Option<String> {
    let (start, end) = arn?.split_once(BEFORE_NAME)?;
    let end = end.strip_prefix(name).filter(|end| end.starts_with('-'))?;
    Some(format!("{start}{BEFORE_NAME}{end}"))
}

/// Where calls about a secret go: to its ARN where it is known, so that they reach nothing else.
pub(super) fn place(name: &str, identity: Option<&str>) -> String {
    match identity.and_then(|identity| identity.split_once(BEFORE_NAME)) {
        Some((start, end)) => format!("{start}{BEFORE_NAME}{name}{end}"),
        None => name.to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_the_arn_without_the_name() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:vault/a-b-AbCdEf";
        let known = identity("vault/a-b", Some(arn)).unwrap();
        assert_eq!(known, "arn:aws:secretsmanager:eu-west-1:123456789012:secret:-AbCdEf");
        assert_eq!(place("vault/a-b", Some(&known)), arn);
        assert_eq!(place("vault/a-b", None), "vault/a-b");
        for odd in ["vault/a-b", "arn:aws:secretsmanager:eu-west-1:1:secret:other-AbCdEf"] {
            assert_eq!(identity("vault/a-b", Some(odd)), None, "{odd}");
        }
    }
}
