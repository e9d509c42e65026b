//! Delivering: create, update or restore, then tags, key and replicas.

use super::{
    AwsSecretsManager,
    calls::{BEING_DELETED, DESCRIBE, Found, Written, place},
    errors::Answer,
    placement::{Moves, Placement},
};
use crate::{
    destination::{Delivery, Extent, Note, Owner, Ownership, Receipt},
    destinations::ownership::may_write,
    failure::{Error, Failure},
};
use std::collections::BTreeMap;

/// Turns a delivery takes between creating, updating and restoring before it gives up for now.
const TURNS_MAX: usize = 4;

/// What became of the tags and the placement of a secret.
enum Settled {
    /// Done; with what lacks a permission, and the tags that are left for that.
    Done(Vec<Note>, Vec<String>),
    /// The secret is not there, or is being deleted.
    Gone,
}

impl AwsSecretsManager {
    pub(super) async fn deliver(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        if let (Some(previous), Extent::Aspects) = (&delivery.previous, delivery.extent) {
            let moves = self.moves(delivery, None);
            let at = place(&delivery.name, previous.identity.as_deref());
            if let Settled::Done(notes, tags_left) = self.settle(&at, delivery, &moves).await? {
                let (version_id, identity) =
                    (previous.version_id.clone(), previous.identity.clone());
                return Ok(Receipt { version_id, identity, tags_left, notes });
            }
        }
        self.write(delivery).await
    }

    async fn write(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        let mut create = delivery.previous.is_none();
        // What was delivered before is updated, until something else is found.
        let mut over = if create { delivery.over_what_exists(false) } else { delivery.clone() };
        let mut identity = delivery.previous.as_ref().and_then(|before| before.identity.clone());
        let mut restored = false;
        let mut seen = None;
        for _ in 0..TURNS_MAX {
            let at = place(&delivery.name, identity.as_deref());
            let moves = self.moves(&over, seen.as_ref());
            let answer = if create {
                self.calls.create(delivery, &self.placement).await
            } else {
                self.calls.update(&at, &over, moves.key.as_deref()).await
            };
            let answer = match answer {
                Err(denied) if !create && denied.failure == Failure::Forbidden && !restored => {
                    return self.create_if_gone(delivery, denied).await;
                }
                // What we restored is there because of us, whether or not the value landed.
                Err(error) if restored => return Err(error.uncertain()),
                answer => answer?,
            };
            match (answer, create) {
                // A creation carries tags and placement.
                (Answer::Done(made), true) => return Ok(receipt(made)),
                (Answer::Done(made), false) => {
                    let moves = Moves { key: None, ..moves };
                    return self.settled(&over, made, &moves).await;
                }
                // The token is used: the preceding call landed though its reply was lost.
                (Answer::Exists, false) => {
                    let made = Written { version_id: over.token.clone(), identity };
                    return self.settled(&over, made, &moves).await;
                }
                (Answer::Exists, true) => {
                    seen = self.look(delivery).await?;
                    // Under other rules only what was seen is written.
                    create = seen.is_none() && delivery.ownership != Ownership::Overwrite;
                    (over, identity) = over_seen(delivery, seen.as_ref());
                }
                (Answer::Missing, _) => create = true,
                (Answer::Deleting, _) => {
                    if create {
                        seen = self.look(delivery).await?;
                        if seen.is_none() && delivery.ownership != Ownership::Overwrite {
                            // By its name alone whatever comes next would be restored and written.
                            return Err(Error::new(Failure::Deleting, BEING_DELETED));
                        }
                        (over, identity) = over_seen(delivery, seen.as_ref());
                    }
                    let at = place(&delivery.name, identity.as_deref());
                    restored = self.calls.restore(&at).await?;
                    create = !restored;
                }
            }
        }
        let message = "the secret keeps appearing and disappearing at the destination";
        Err(Error::new(Failure::Conflict, message).uncertain())
    }

    /// Where a policy looks at tags, AWS denies the update of a secret that is gone instead of saying
    /// so: then it is made anew. If it is there, the denial was meant.
    async fn create_if_gone(&self, delivery: &Delivery, denied: Error) -> Result<Receipt, Error> {
        match self.calls.create(delivery, &self.placement).await {
            Ok(Answer::Done(made)) => Ok(receipt(made)),
            Err(error) if error.uncertain => Err(error),
            Ok(Answer::Exists | Answer::Missing | Answer::Deleting) | Err(_) => Err(denied),
        }
    }

    /// What has the name already, if it may be written; `None` where it is not shown.
    async fn look(&self, delivery: &Delivery) -> Result<Option<Found>, Error> {
        let found = match self.calls.describe(&delivery.name).await {
            Ok(found) => found,
            Err(Error { failure: Failure::Forbidden, provider_code, .. }) => {
                return match delivery.ownership {
                    Ownership::Overwrite => Ok(None),
                    Ownership::Adopt | Ownership::Refuse => Err(Error {
                        provider_code,
                        ..Error::forbidden(
                            DESCRIBE,
                            "a secret of that name exists, and whose it is cannot be seen: grant \
                             secretsmanager:DescribeSecret, or set ownership=overwrite",
                        )
                    }),
                };
            }
            // A look has no effect.
            Err(error) => return Err(Error { uncertain: false, ..error }),
        };
        if let Some(found) = &found {
            if let Some(region) = &found.replica_of {
                return Err(Error::new(
                    Failure::NotOurs,
                    format!(
                        "{:?} is a copy of a secret in {region} and cannot be written here: remove \
                         the copy there, or choose another secret_name_template",
                        delivery.name
                    ),
                ));
            }
            may_write(delivery, found.remote.owner(&delivery.mark))?;
        }
        Ok(found)
    }

    /// What leads to the placement that this destination wants.
    fn moves(&self, delivery: &Delivery, seen: Option<&Found>) -> Moves {
        match (seen, &delivery.previous) {
            (Some(found), _) if found.remote.owner(&delivery.mark) == Owner::Us => {
                self.placement.moves_from_shown(&found.placement)
            }
            (None, Some(previous)) => {
                self.placement.moves_from(&Placement::parse(&previous.placement))
            }
            (found, _) => self.placement.moves_from_foreign(found.map(|found| &found.placement)),
        }
    }

    /// The version is written; what belongs to it follows.
    async fn settled(
        &self,
        delivery: &Delivery,
        made: Written,
        moves: &Moves,
    ) -> Result<Receipt, Error> {
        let at = place(&delivery.name, made.identity.as_deref());
        // Whatever fails from here on, the value has landed.
        match self.settle(&at, delivery, moves).await.map_err(Error::uncertain)? {
            Settled::Done(notes, tags_left) => Ok(Receipt { tags_left, notes, ..receipt(made) }),
            Settled::Gone => {
                let message = "the secret disappeared from the destination while it was written";
                Err(Error::new(Failure::Conflict, message).uncertain())
            }
        }
    }

    async fn settle(&self, at: &str, delivery: &Delivery, moves: &Moves) -> Result<Settled, Error> {
        let settled = self.retag(at, delivery).await?;
        let Settled::Done(..) = settled else { return Ok(settled) };
        if let Some(key) = &moves.key
            && !self.calls.rekey(at, key).await?
        {
            return Ok(Settled::Gone);
        }
        if !moves.remove.is_empty() && !self.calls.unreplicate(at, &moves.remove).await? {
            return Ok(Settled::Gone);
        }
        if !moves.add.is_empty() && !self.calls.replicate(at, &moves.add).await? {
            return Ok(Settled::Gone);
        }
        Ok(settled)
    }

    async fn retag(&self, at: &str, delivery: &Delivery) -> Result<Settled, Error> {
        let before = delivery.previous.as_ref().map(|previous| &previous.tags);
        let set: BTreeMap<&str, &str> = delivery
            .tags
            .iter()
            .filter(|(key, value)| before.and_then(|tags| tags.get(*key)) != Some(*value))
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        if !set.is_empty() && !self.calls.tag(at, &set).await? {
            return Ok(Settled::Gone);
        }
        let unset: Vec<String> = before
            .into_iter()
            .flat_map(BTreeMap::keys)
            .filter(|key| !delivery.tags.contains_key(*key))
            .cloned()
            .collect();
        if unset.is_empty() {
            return Ok(Settled::Done(Vec::new(), Vec::new()));
        }
        match self.calls.untag(at, &unset).await {
            Ok(true) => Ok(Settled::Done(Vec::new(), Vec::new())),
            Ok(false) => Ok(Settled::Gone),
            Err(Error { failure: Failure::Forbidden, missing_permission, .. }) => {
                let note = Note {
                    missing_permission: missing_permission
                        .unwrap_or_else(|| "secretsmanager:UntagResource".to_owned()),
                    message: format!("would remove the tags {}", unset.join(", ")),
                };
                Ok(Settled::Done(vec![note], unset))
            }
            Err(error) => Err(error),
        }
    }
}

/// What goes over what was found, or over what is there unseen, and the identity of that.
fn over_seen(delivery: &Delivery, seen: Option<&Found>) -> (Delivery, Option<String>) {
    let is_ours = seen.is_some_and(|found| found.remote.owner(&delivery.mark) == Owner::Us);
    let identity = seen.and_then(|found| found.remote.identity.clone());
    (delivery.over_what_exists(is_ours), identity)
}

fn receipt(made: Written) -> Receipt {
    let Written { version_id, identity } = made;
    Receipt { version_id, identity, ..Receipt::default() }
}
