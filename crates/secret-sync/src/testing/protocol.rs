//! How a delivery becomes calls of [`Service`](super::service::Service): as the destination for AWS
//! Secrets Manager does it, call by call, so that each of them can fail.

use super::service::{Answer, Call, place};
use crate::{
    destination::{
        Cursor, Deletion, Delivery, Extent, Leftover, Names, Owner, Ownership, Receipt, Remote,
        Removal, Survey,
    },
    failure::{Error, Failure},
    tags::{MARK_TAG, OWNERSHIP_TAG},
};
use async_trait::async_trait;
use std::collections::BTreeMap;

/// Turns a delivery takes between creating, updating and restoring.
const TURNS_MAX: usize = 4;

/// The way to a service.
#[async_trait]
pub trait Wire: Send + Sync {
    /// One call.
    async fn call(&self, call: Call) -> Result<Answer, Error>;
}

/// Delivers.
pub async fn deliver(wire: &dyn Wire, delivery: &Delivery) -> Result<Receipt, Error> {
    let name = &delivery.name;
    let mut identity = delivery.previous.as_ref().and_then(|before| before.identity.clone());
    if let (Some(previous), Extent::Aspects) = (&delivery.previous, delivery.extent)
        && retag(wire, &place(name, identity.as_deref()), delivery).await?
    {
        return Ok(receipt(previous.version_id.clone(), identity));
    }
    let mut create = delivery.previous.is_none();
    let mut update = if create { delivery.over_what_exists(false) } else { delivery.clone() };
    let mut restored = false;
    for _ in 0..TURNS_MAX {
        let at = place(name, identity.as_deref());
        let bytes = delivery.payload.bytes.to_vec();
        let call = if create {
            let (token, tags) = (delivery.token.clone(), delivery.tags.clone());
            Call::Create { name: name.clone(), token, bytes, tags }
        } else {
            Call::Update { name: at, token: update.token.clone(), bytes }
        };
        let answer = wire.call(call).await;
        let answer = answer.map_err(|error| if restored { error.uncertain() } else { error })?;
        match (answer, create) {
            (Answer::Version(version_id, made), true) => {
                return Ok(receipt(version_id, Some(made)));
            }
            (Answer::Version(version_id, made), false) => {
                return settled(wire, &update, version_id, Some(made)).await;
            }
            // The token is used: the call before landed though its reply was lost.
            (Answer::Exists, false) => {
                return settled(wire, &update, update.token.clone(), identity).await;
            }
            (Answer::Exists, true) => {
                let seen = look(wire, delivery).await?;
                create = seen.is_none() && delivery.ownership != Ownership::Overwrite;
                (update, identity) = over_seen(delivery, seen.as_ref());
            }
            (Answer::Deleting, _) => {
                if create {
                    let seen = look(wire, delivery).await?;
                    if seen.is_none() && delivery.ownership != Ownership::Overwrite {
                        return Err(Error::new(Failure::Deleting, "a deletion is not done yet"));
                    }
                    (update, identity) = over_seen(delivery, seen.as_ref());
                }
                restored = restore(wire, &place(name, identity.as_deref())).await?;
                create = !restored;
            }
            _ => create = true,
        }
    }
    Err(Error::new(Failure::Conflict, "it keeps appearing and disappearing").uncertain())
}

fn over_seen(delivery: &Delivery, seen: Option<&Remote>) -> (Delivery, Option<String>) {
    let is_ours = seen.is_some_and(|found| found.owner(&delivery.mark) == Owner::Us);
    let identity = seen.and_then(|found| found.identity.clone());
    (delivery.over_what_exists(is_ours), identity)
}

fn receipt(version_id: String, identity: Option<String>) -> Receipt {
    Receipt { version_id, identity, ..Receipt::default() }
}

/// The version is written; tags follow.
async fn settled(
    wire: &dyn Wire,
    delivery: &Delivery,
    version_id: String,
    identity: Option<String>,
) -> Result<Receipt, Error> {
    let at = place(&delivery.name, identity.as_deref());
    // Whatever fails from here on, the value has landed.
    if !retag(wire, &at, delivery).await.map_err(Error::uncertain)? {
        return Err(Error::new(Failure::Conflict, "it disappeared").uncertain());
    }
    Ok(receipt(version_id, identity))
}

async fn restore(wire: &dyn Wire, at: &str) -> Result<bool, Error> {
    match wire.call(Call::Restore { name: at.to_owned() }).await? {
        Answer::Deleting => Err(Error::new(Failure::Deleting, "a deletion is not done yet")),
        answer => Ok(answer == Answer::Done),
    }
}

/// What has the name already, if it may be written.
async fn look(wire: &dyn Wire, delivery: &Delivery) -> Result<Option<Remote>, Error> {
    let found = match describe(wire, &delivery.name).await {
        Err(error)
            if error.failure == Failure::Forbidden
                && delivery.ownership == Ownership::Overwrite =>
        {
            return Ok(None);
        }
        // A look has no effect.
        found => found.map_err(|error| Error { uncertain: false, ..error })?,
    };
    let owner = found.as_ref().map(|remote| remote.owner(&delivery.mark));
    match (owner, delivery.ownership) {
        (None | Some(Owner::Us), _)
        | (Some(Owner::Other), Ownership::Overwrite)
        | (Some(Owner::Vault | Owner::Nobody), Ownership::Overwrite | Ownership::Adopt) => {
            Ok(found)
        }
        (Some(owner), _) => {
            let message = format!("{:?} is not ours: {owner:?}", delivery.name);
            Err(Error::new(Failure::NotOurs, message))
        }
    }
}

async fn describe(wire: &dyn Wire, name: &str) -> Result<Option<Remote>, Error> {
    match wire.call(Call::Describe { name: name.to_owned() }).await? {
        Answer::Found(found) => Ok(found),
        other => Err(odd(&other)),
    }
}

/// Whether the object was there.
async fn retag(wire: &dyn Wire, at: &str, delivery: &Delivery) -> Result<bool, Error> {
    let before = delivery.previous.as_ref().map(|previous| &previous.tags);
    let set: BTreeMap<String, String> = delivery
        .tags
        .iter()
        .filter(|(key, value)| before.and_then(|tags| tags.get(*key)) != Some(*value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if !set.is_empty() {
        let call = Call::Tag { name: at.to_owned(), tags: set };
        if wire.call(call).await? != Answer::Done {
            return Ok(false);
        }
    }
    let unset = before.into_iter().flat_map(BTreeMap::keys);
    let keys: Vec<String> =
        unset.filter(|key| !delivery.tags.contains_key(*key)).cloned().collect();
    if keys.is_empty() {
        return Ok(true);
    }
    Ok(wire.call(Call::Untag { name: at.to_owned(), keys }).await? == Answer::Done)
}

/// Removes.
pub async fn remove(wire: &dyn Wire, removal: &Removal) -> Result<(), Error> {
    let name = match &removal.delivered {
        Some(delivered) => place(&removal.name, delivered.identity.as_deref()),
        None => {
            let Some(found) = describe(wire, &removal.name).await? else { return Ok(()) };
            match removal.finds(&found) {
                Leftover::Ours => place(&removal.name, found.identity.as_deref()),
                Leftover::Nothing => return Ok(()),
                Leftover::Unclear if found.deleting => return Ok(()),
                Leftover::Unclear => {
                    let message = format!("{:?} lacks our mark", removal.name);
                    return Err(Error::new(Failure::NotOurs, message));
                }
            }
        }
    };
    let call = match removal.how {
        Deletion::Delete => Call::Delete { name, days: None },
        Deletion::Schedule { days } => Call::Delete { name, days: Some(days) },
        Deletion::Retain => {
            Call::Untag { name, keys: [OWNERSHIP_TAG, MARK_TAG].map(str::to_owned).to_vec() }
        }
    };
    wire.call(call).await.map(|_| ())
}

/// Looks.
pub async fn survey(
    wire: &dyn Wire,
    names: &Names,
    after: Option<Cursor>,
) -> Result<Survey, Error> {
    match names {
        Names::Ours | Names::Below(_) => {
            let below = match names {
                Names::Below(start) => Some(start.clone()),
                Names::Ours | Names::These(_) => None,
            };
            let call = Call::List { after: after.map(|cursor| cursor.0), below };
            match wire.call(call).await? {
                Answer::Page(page) => Ok(page),
                other => Err(odd(&other)),
            }
        }
        Names::These(names) => {
            let mut objects = BTreeMap::new();
            for name in names {
                if let Some(remote) = describe(wire, name).await? {
                    objects.insert(name.clone(), remote);
                }
            }
            Ok(Survey { objects, next: None })
        }
    }
}

fn odd(answer: &Answer) -> Error {
    Error::new(Failure::Unknown, format!("unexpected {answer:?}"))
}
