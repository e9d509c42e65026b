//! Logging in: the entity behind a user, made when it is the first time.

use super::{
    record::{Alias, Entity, Stored, check_name},
    resolve,
    store::{IdentityStore, Kind, Place},
};
use bailee_barrier::View;
use bailee_crypto::{clock::to_millis, random};
use bailee_sdk::{Error, Mount, Namespace, request::LoginAlias};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

/// Groups that a source may name at one login.
const GROUP_ALIASES_MAX: usize = 4096;

/// Who comes, as an auth mount knows them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User<'a> {
    /// Name and metadata.
    pub(crate) alias: &'a LoginAlias,
    /// Groups that their source names.
    pub(crate) groups: &'a [String],
    /// The mount.
    pub(crate) mount: &'a Mount,
    /// Whether the mount was made local.
    pub(crate) local: bool,
}

/// Who logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoggedIn {
    /// Id of the entity.
    pub(crate) entity_id: String,
    /// Policies that it has, of its own and through its groups, sorted.
    pub(crate) policies: Vec<String>,
    /// Whether it was made by this login.
    pub(crate) created: bool,
}

impl IdentityStore {
    /// Finds the entity behind a user of an auth mount, or makes it when the unit of `view` commits;
    /// brings what the method knows up to date, and the external groups of this mount. The commit
    /// conflicts when someone else logs in as the same new user meanwhile.
    pub(crate) async fn log_in(
        &self,
        view: &View,
        namespace: &Namespace,
        user: User<'_>,
        now: SystemTime,
    ) -> Result<LoggedIn, Error> {
        check_name("alias", &user.alias.name)?;
        let place = self.place(view, namespace);
        let (entity, created) = find_or_make(&place, user, now).await?;
        if entity.disabled {
            return Err(Error::permission_denied());
        }
        let groups = refresh_groups(&place, user, &entity.id, created).await?;
        let policies = match groups {
            Some(groups) => resolve::resolve(&place, &entity, groups).await?.facts.policies,
            None => {
                let known = self.resolve(namespace, &entity.id).await?;
                known.map(|known| known.policies().to_vec()).unwrap_or_default()
            }
        };
        Ok(LoggedIn { entity_id: entity.id, policies, created })
    }
}

/// The entity with this alias, its metadata as the method says now; and whether it is new.
async fn find_or_make(
    place: &Place,
    user: User<'_>,
    now: SystemTime,
) -> Result<(Entity, bool), Error> {
    let (mount, name) = (&user.mount.uuid, &user.alias.name);
    let mut found = place.alias_named(Kind::Entity, mount, name).await?;
    if found.is_none() {
        // Those who come at once wait for the first, and find what it made.
        place.lock_alias(mount, name).await;
        found = place.alias_named(Kind::Entity, mount, name).await?;
    }
    let Some(leads) = found else {
        return Ok((make(place, user, now).await?, true));
    };
    let entity = place.entity(&leads.owner).await?;
    // It was removed between the two readings.
    let mut entity = entity.ok_or(bailee_barrier::Error::Conflict)?;
    let alias = entity.value.alias_mut(&leads.alias);
    let alias = alias.ok_or(bailee_barrier::Error::Conflict)?;
    if alias.metadata != user.alias.metadata {
        alias.metadata.clone_from(&user.alias.metadata);
        alias.updated = to_millis(now);
        place.put_entity(&entity);
    }
    Ok((entity.value, false))
}

async fn make(place: &Place, user: User<'_>, now: SystemTime) -> Result<Entity, Error> {
    let mut entity = new_entity(now);
    entity.name = place.claim_any_name(Kind::Entity, &entity.id).await?;
    let mut alias = new_alias(user.mount, user.local, &user.alias.name, now);
    alias.metadata.clone_from(&user.alias.metadata);
    place.link_alias(Kind::Entity, &alias, &entity.id).await?;
    entity.aliases.push(alias);
    let entity = Stored::new(entity);
    place.put_entity(&entity);
    Ok(entity.value)
}

/// An entity that has no name yet.
pub(crate) fn new_entity(now: SystemTime) -> Entity {
    Entity {
        id: random::uuid().to_string(),
        name: String::new(),
        metadata: BTreeMap::new(),
        policies: Vec::new(),
        disabled: false,
        created: to_millis(now),
        updated: to_millis(now),
        merged: Vec::new(),
        aliases: Vec::new(),
    }
}

/// An alias at a mount, without metadata.
pub(crate) fn new_alias(mount: &Mount, local: bool, name: &str, now: SystemTime) -> Alias {
    Alias {
        id: random::uuid().to_string(),
        name: name.to_owned(),
        mount: mount.uuid.clone(),
        accessor: mount.accessor.clone(),
        local,
        metadata: BTreeMap::new(),
        custom_metadata: BTreeMap::new(),
        created: to_millis(now),
        updated: to_millis(now),
        merged_from: Vec::new(),
    }
}

/// Makes the entity belong to those external groups of the mount that its source names, and to no
/// others of them. All groups it then belongs to itself, when they are not what storage has or when
/// it is new; `None` when nothing has changed.
async fn refresh_groups(
    place: &Place,
    user: User<'_>,
    entity: &str,
    created: bool,
) -> Result<Option<Vec<String>>, Error> {
    if user.groups.len() > GROUP_ALIASES_MAX {
        return Err(Error::invalid(format!(
            "the login names {} groups, at most {GROUP_ALIASES_MAX} are possible",
            user.groups.len()
        )));
    }
    let (before, wanted) = groups_before_and_after(place, user, entity, created).await?;
    if before == wanted {
        return Ok(created.then(Vec::new));
    }
    place.lock_members().await;
    // Someone may have removed a group, or the entity, until the lock was there.
    if !created && place.entity(entity).await?.is_none() {
        return Err(bailee_barrier::Error::Conflict.into());
    }
    let (before, wanted) = groups_before_and_after(place, user, entity, created).await?;
    for group in before.difference(&wanted) {
        place.set_member(group, entity, false);
    }
    for group in wanted.difference(&before) {
        place.set_member(group, entity, true);
    }
    Ok(Some(wanted.into_iter().collect()))
}

/// All groups that the entity belongs to itself, and those it is to belong to.
async fn groups_before_and_after(
    place: &Place,
    user: User<'_>,
    entity: &str,
    created: bool,
) -> Result<(BTreeSet<String>, BTreeSet<String>), Error> {
    let before = if created { Vec::new() } else { place.groups_of(entity).await? };
    let mut after = BTreeSet::new();
    for id in &before {
        let Some(group) = place.group(id).await? else { continue };
        let is_ours = |alias: &Alias| alias.mount == user.mount.uuid;
        if !group.value.alias.as_ref().is_some_and(is_ours) {
            after.insert(id.clone());
        }
    }
    for name in user.groups {
        let leads = place.alias_named(Kind::Group, &user.mount.uuid, name).await?;
        after.extend(leads.map(|leads| leads.owner));
    }
    Ok((before.into_iter().collect(), after))
}
