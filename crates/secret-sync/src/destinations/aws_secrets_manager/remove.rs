//! Removing what is ours.

use super::{AwsSecretsManager, calls::Deleted, placement::Placement};
use crate::{
    destination::{Deletion, Note, Owner, Removal},
    failure::{Error, Failure},
    tags::{MARK_TAG, OWNERSHIP_TAG},
};

impl AwsSecretsManager {
    pub(super) async fn remove(&self, removal: &Removal) -> Result<(), Error> {
        let found = match removal.delivered {
            Some(_) => None,
            None => self.found(removal).await?,
        };
        if let Some(Owner::Other | Owner::Twin | Owner::Sibling) = found {
            // It carries the mark of another server: nothing of ours is there.
            return Ok(());
        }
        if found.is_some_and(|owner| removal.is_released(owner)) {
            return Ok(());
        }
        if let Some(Owner::Vault | Owner::Nobody) = found {
            return Err(Error::new(
                Failure::NotOurs,
                format!(
                    "it is not known whether a {} reached {:?}, and it lacks this server's mark in \
                     the tag {MARK_TAG}, so it is not deleted: delete it at the destination if it \
                     is not wanted, or set the association again",
                    if removal.repeated { "removal" } else { "delivery" },
                    removal.name
                ),
            ));
        }
        match removal.how {
            Deletion::Delete => self.delete_with_replicas(removal, None).await,
            Deletion::Schedule { days } => self.delete_with_replicas(removal, Some(days)).await,
            Deletion::Retain => self.release(&removal.name).await,
        }
    }

    /// Whose what is there is, as far as looking is permitted.
    async fn found(&self, removal: &Removal) -> Result<Option<Owner>, Error> {
        match self.calls.describe(&removal.name).await {
            Ok(found) => {
                let found = found.filter(|found| !found.remote.deleting);
                Ok(found.map(|found| found.remote.owner(&removal.mark)))
            }
            Err(error) if error.failure == Failure::Forbidden => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replicas go before their primary.
    async fn delete_with_replicas(
        &self,
        removal: &Removal,
        days: Option<u32>,
    ) -> Result<(), Error> {
        let name = &removal.name;
        let placement = removal.delivered.as_ref().map(|known| Placement::parse(&known.placement));
        let mut regions: Vec<String> =
            placement.unwrap_or_default().replica_regions.into_keys().collect();
        if !regions.is_empty() {
            self.calls.unreplicate(name, &regions).await?;
        }
        if let Deleted::Done = self.calls.delete(name, days).await? {
            return Ok(());
        }
        // There are replicas that we did not make, or do not know of.
        match self.calls.describe(name).await {
            Ok(Some(found)) => regions = found.placement.replica_regions.into_keys().collect(),
            Ok(None) => return Ok(()),
            Err(error) if error.failure == Failure::Forbidden => {
                regions = self.placement.replica_regions.keys().cloned().collect();
            }
            Err(error) => return Err(error),
        }
        if !regions.is_empty() {
            self.calls.unreplicate(name, &regions).await?;
        }
        match self.calls.delete(name, days).await? {
            Deleted::Done => Ok(()),
            Deleted::Replicated => Err(Error::new(
                Failure::Conflict,
                "the secret has copies in other regions that are still being removed; it is deleted \
                 when they are gone",
            )),
        }
    }

    /// The secret stays, and is nobody's.
    async fn release(&self, name: &str) -> Result<(), Error> {
        let marks = [OWNERSHIP_TAG, MARK_TAG].map(str::to_owned);
        match self.calls.untag(name, &marks).await {
            Ok(_) => {
                *self.unreleased.lock() = None;
                Ok(())
            }
            // It stays all the same, which is what was asked for.
            Err(Error { failure: Failure::Forbidden, missing_permission, .. }) => {
                *self.unreleased.lock() = Some(Note {
                    missing_permission: missing_permission
                        .unwrap_or_else(|| "secretsmanager:UntagResource".to_owned()),
                    message: "would take the marks of secrets sync from secrets that are retained"
                        .to_owned(),
                });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
