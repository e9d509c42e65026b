//! What is noted before calls are made: whose names are, and which objects are uncertain until the
//! answer is written down.

use super::{Task, Worker};
use crate::{
    association::{Association, Doubt, Object},
    failure::{Error, Failure},
    plan::Desired,
    store::{Claim, Store},
};
use bailee_barrier::Revision;
use bailee_crypto::clock::to_millis;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Room of what is, or may be, at the destination in the entry of an association: beside it stand
/// those that could not be begun.
const ACCOUNT_BYTES_MAX: usize = 700 << 10;

impl Worker {
    /// Reserves names, and notes which objects are about to be written: if we fall silent now, the
    /// names are known to be ours, and what is under them to be uncertain. Names that others have are
    /// returned with the reason.
    pub(super) async fn begin(
        &self,
        task: &Task<'_>,
        wanted: &[&Desired],
    ) -> Result<BTreeMap<String, Error>, Error> {
        let known = |desired: &&&Desired| {
            let object = task.association.object(&desired.sub_key, &desired.name);
            object.is_none_or(|object| !object.begun)
        };
        let fresh: Vec<&Desired> = wanted.iter().filter(known).copied().collect();
        let mut refused = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(refused);
        }
        let (destination, secret) = (&task.key.destination, &task.key.secret);
        let store = Store::open(&self.barrier, &task.key.namespace);
        let (mut association, read_at) = self.current(&store, task).await?;
        let names: Vec<&str> = fresh.iter().map(|desired| desired.name.as_str()).collect();
        store.lock_names(destination, &names).await;
        let all: BTreeSet<(&Option<String>, &str)> =
            wanted.iter().map(|desired| (&desired.sub_key, desired.name.as_str())).collect();
        let mut bytes = association.bytes();
        for desired in fresh {
            let Desired { name, sub_key, .. } = desired;
            if bytes + desired.bytes() > ACCOUNT_BYTES_MAX {
                refused.insert(name.clone(), no_room(&association));
                continue;
            }
            match store.claim_of_name(destination, name).await? {
                Some(claim) if claim.secret != **secret => {
                    store.await_name(destination, name, secret);
                    let holder = holder(&store, destination, &claim).await?;
                    refused.insert(name.clone(), taken(name, &holder));
                    continue;
                }
                Some(claim) if all.contains(&(&claim.sub_key, name.as_str())) => {}
                Some(claim) if claim.sub_key != *sub_key => {
                    // The same name for another part of the secret: it goes on under the new part.
                    association.hand_over(name, &claim.sub_key, sub_key);
                }
                Some(_) | None => {}
            }
            let claim = Claim { secret: secret.to_string(), sub_key: sub_key.clone() };
            store.claim_name(destination, name, &claim);
            association.object_mut(sub_key, name).begun = true;
            bytes += desired.bytes();
        }
        let written = to_millis(self.clock.now());
        for Desired { name, sub_key, tags, .. } in wanted {
            if refused.contains_key(name) {
                continue;
            }
            let object = association.object_mut(sub_key, name);
            let known = object.delivered.as_ref().map(|delivered| &delivered.tags);
            let new = tags.keys().filter(|key| known.is_some_and(|tags| !tags.contains_key(*key)));
            let mut doubt = object.doubt.take().unwrap_or_default();
            doubt.tags.extend(new.cloned());
            object.doubt = Some(Doubt { written, ..doubt });
        }
        store.update_association(destination, secret, &association, read_at);
        store.view.commit().await?;
        Ok(refused)
    }

    /// Notes which objects are about to be removed.
    pub(super) async fn begin_removal(
        &self,
        task: &Task<'_>,
        leaving: &[&Object],
    ) -> Result<(), Error> {
        if leaving.is_empty() {
            return Ok(());
        }
        let store = Store::open(&self.barrier, &task.key.namespace);
        let (mut association, read_at) = self.current(&store, task).await?;
        for Object { sub_key, name, .. } in leaving {
            let object = association.object_mut(sub_key, name);
            let doubt = object.doubt.take().unwrap_or_default();
            object.doubt = Some(Doubt { removing: true, ..doubt });
        }
        store.update_association(&task.key.destination, &task.key.secret, &association, read_at);
        store.view.commit().await?;
        Ok(())
    }

    /// The association as it is stored now, locked; an error where it was set anew since the task
    /// began.
    async fn current(
        &self,
        store: &Store,
        task: &Task<'_>,
    ) -> Result<(Association, Option<Revision>), Error> {
        let (destination, secret) = (&task.key.destination, &task.key.secret);
        store.lock_association(destination, secret).await;
        let changed = || Error::new(Failure::Internal, "the association changed meanwhile");
        let found = store.association(destination, secret).await?.ok_or_else(changed)?;
        if found.0.generation != task.association.generation {
            return Err(changed().after(Duration::ZERO));
        }
        Ok(found)
    }
}

/// The path of the secret that has a name, and its key.
pub(crate) async fn holder(
    store: &Store,
    destination: &str,
    claim: &Claim,
) -> Result<String, Error> {
    let Some((Association { mount_path, secret_name, .. }, _)) =
        store.association(destination, &claim.secret).await?
    else {
        return Ok("another secret".to_owned());
    };
    Ok(match &claim.sub_key {
        None => format!("secret {mount_path}{secret_name}"),
        Some(key) => format!("key {key:?} of secret {mount_path}{secret_name}"),
    })
}

/// Why a name is not to be had.
pub(crate) fn taken(name: &str, holder: &str) -> Error {
    Error::new(Failure::NameTaken, format!("{holder} has the name {name:?} at this destination"))
}

/// Why nothing more is begun.
fn no_room(association: &Association) -> Error {
    let leaving = association.objects.iter().filter(|object| object.leaving).count();
    let message = format!(
        "the account of this secret's objects is full: {leaving} that are not wanted any more have to \
         be removed first; their status says what keeps them"
    );
    Error::new(Failure::Conflict, message)
}
