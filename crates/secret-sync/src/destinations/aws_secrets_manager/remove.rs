//! Removing what is ours.

use super::{
    AwsSecretsManager,
    calls::{Deleted, place},
    placement::Placement,
};
use crate::{
    destination::{Deletion, Leftover, Note, Removal},
    destinations::ownership::unclear,
    failure::{Error, Failure},
    tags::{MARK_TAG, OWNERSHIP_TAG},
};

impl AwsSecretsManager {
    pub(super) async fn remove(&self, removal: &Removal) -> Result<(), Error> {
        let at = match &removal.delivered {
            Some(delivered) => place(&removal.name, delivered.identity.as_deref()),
            None => match self.found(removal).await? {
                Some(at) => at,
                None => return Ok(()),
            },
        };
        match removal.how {
            Deletion::Delete => self.delete_with_replicas(&at, removal, None).await,
            Deletion::Schedule { days } => {
                self.delete_with_replicas(&at, removal, Some(days)).await
            }
            Deletion::Retain => self.release(&at).await,
        }
    }

    /// Where what goes is, as far as looking is permitted; `None` where nothing of ours is there.
    async fn found(&self, removal: &Removal) -> Result<Option<String>, Error> {
        let found = match self.calls.describe(&removal.name).await {
            Ok(None) => return Ok(None),
            Ok(Some(found)) => found.remote,
            Err(error) if error.failure == Failure::Forbidden => {
                return Ok(Some(removal.name.clone()));
            }
            Err(error) => return Err(error),
        };
        match removal.finds(&found) {
            Leftover::Ours => Ok(Some(place(&removal.name, found.identity.as_deref()))),
            Leftover::Nothing => Ok(None),
            // It is on its way out already.
            Leftover::Unclear if found.deleting => Ok(None),
            Leftover::Unclear => Err(unclear(removal)),
        }
    }

    /// Replicas go before their primary.
    async fn delete_with_replicas(
        &self,
        at: &str,
        removal: &Removal,
        days: Option<u32>,
    ) -> Result<(), Error> {
        let placement = removal.delivered.as_ref().map(|known| Placement::parse(&known.placement));
        let mut regions: Vec<String> =
            placement.unwrap_or_default().replica_regions.into_keys().collect();
        if !regions.is_empty() {
            self.calls.unreplicate(at, &regions).await?;
        }
        if let Deleted::Done = self.calls.delete(at, days).await? {
            return Ok(());
        }
        // There are replicas that we did not make, or do not know of.
        match self.calls.describe(at).await {
            Ok(Some(found)) => regions = found.placement.replica_regions.into_keys().collect(),
            Ok(None) => return Ok(()),
            Err(error) if error.failure == Failure::Forbidden => {
                regions = self.placement.replica_regions.keys().cloned().collect();
            }
            Err(error) => return Err(error),
        }
        if !regions.is_empty() {
            self.calls.unreplicate(at, &regions).await?;
        }
        match self.calls.delete(at, days).await? {
            Deleted::Done => Ok(()),
            Deleted::Replicated => Err(Error::new(
                Failure::Conflict,
                "the secret has copies in other regions that are still being removed; it is deleted \
                 when they are gone",
            )),
        }
    }

    /// The secret stays, and is nobody's.
    async fn release(&self, at: &str) -> Result<(), Error> {
        let marks = [OWNERSHIP_TAG, MARK_TAG].map(str::to_owned);
        match self.calls.untag(at, &marks).await {
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
