//! Entities, groups and who belongs to which, at rest.
//!
//! Below `n/<namespace>/identity/`: `entity/<id>` and `group/<id>` hold what they are, an entity its
//! aliases too. Names lead to them by keyed codes: `entity-name/<code>`, `group-name/<code>`,
//! `alias-name/<mount>/<code>`, `group-alias-name/<mount>/<code>`; ids of aliases by `alias/<id>` and
//! `group-alias/<id>`; ids of merged entities by `merged/<id>`. Belonging is stored both ways:
//! `members/<group>/<entity>` and `groups-of/<entity>/<group>`, `children/<group>/<group>` and
//! `parents-of/<group>/<group>`.
//!
//! **Invariant:** a record is only replaced at the revision that was read.
//! **Invariant:** whoever changes who belongs to what holds the lock of it ([`Place::lock_members`]).

use super::{
    Resolved,
    cache::Cache,
    record::{Alias, AliasOwner, Entity, Group, Stored, is_id},
    resolve,
};
use bailee_barrier::{Barrier, View};
use bailee_crypto::random;
use bailee_sdk::{Error, Namespace};
use futures_util::StreamExt;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, sync::Arc};

/// Entities or groups that one list shows.
pub(crate) const LIST_MAX: usize = 100_000;
/// Members that one request gives to a group.
pub(crate) const MEMBERS_MAX: usize = 10_000;
/// Names that are tried for something that was given none.
const NAMES_TRIED_MAX: usize = 16;
/// The lock of who belongs to what.
const MEMBERS_LOCK: &str = "members";

/// The entities of all namespaces.
pub(crate) struct IdentityStore {
    barrier: Arc<Barrier>,
    cache: Arc<Cache>,
}

/// The entities and groups of one namespace in one unit of work.
pub(crate) struct Place {
    view: View,
    pub(crate) namespace: Namespace,
    cache: Arc<Cache>,
}

/// Entities or groups: what both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Someone.
    Entity,
    /// Several.
    Group,
}

impl Kind {
    fn record(self, id: &str) -> String {
        match self {
            Kind::Entity => format!("entity/{id}"),
            Kind::Group => format!("group/{id}"),
        }
    }

    fn name_key(self, code: &str) -> String {
        match self {
            Kind::Entity => format!("entity-name/{code}"),
            Kind::Group => format!("group-name/{code}"),
        }
    }

    fn alias_key(self, id: &str) -> String {
        match self {
            Kind::Entity => format!("alias/{id}"),
            Kind::Group => format!("group-alias/{id}"),
        }
    }

    fn alias_names(self, mount: &str) -> String {
        match self {
            Kind::Entity => format!("alias-name/{mount}/"),
            Kind::Group => format!("group-alias-name/{mount}/"),
        }
    }

    /// In the words of users.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Entity => "entity",
            Kind::Group => "group",
        }
    }
}

impl IdentityStore {
    pub(crate) fn new(barrier: Arc<Barrier>) -> IdentityStore {
        IdentityStore { barrier, cache: Arc::default() }
    }

    /// The place of a namespace in the unit of `view`.
    pub(crate) fn place(&self, view: &View, namespace: &Namespace) -> Place {
        let view = view.at(&format!("{}identity/", namespace.prefix()));
        Place { view, namespace: namespace.clone(), cache: self.cache.clone() }
    }

    /// The same in a unit of work of its own.
    pub(crate) fn fresh_place(&self, namespace: &Namespace) -> Place {
        self.place(&self.barrier.view(""), namespace)
    }

    /// What is known of an entity, from memory where nothing has changed; `None` when there is no
    /// such entity.
    pub(crate) async fn resolve(
        &self,
        namespace: &Namespace,
        id: &str,
    ) -> Result<Option<Arc<Resolved>>, Error> {
        let ticket = match self.cache.look_up(&namespace.id, id) {
            Ok(resolved) => return Ok(Some(resolved)),
            Err(ticket) => ticket,
        };
        let place = self.fresh_place(namespace);
        if let Some(entity) = place.entity(id).await? {
            let groups = place.groups_of(id).await?;
            let resolved = Arc::new(resolve::resolve(&place, &entity.value, groups).await?);
            self.cache.keep(&namespace.id, id, &resolved, ticket);
            return Ok(Some(resolved));
        }
        match place.merged_into(id).await? {
            // Kept under its own id only: then forgetting that is enough.
            Some(into) if into != id => Box::pin(self.resolve(namespace, &into)).await,
            _ => Ok(None),
        }
    }

    /// How many entities a namespace has, at most [`LIST_MAX`].
    pub(crate) async fn count(&self, namespace: &Namespace) -> Result<usize, Error> {
        let place = self.fresh_place(namespace);
        Ok(place.view.list("entity/", "", LIST_MAX).await?.len())
    }

    /// Removes the aliases of a mount that is gone, a few with each batch.
    pub(crate) async fn forget_mount(
        &self,
        namespace: &Namespace,
        mount: &str,
    ) -> Result<(), Error> {
        for kind in [Kind::Entity, Kind::Group] {
            loop {
                let place = self.fresh_place(namespace);
                if !place.remove_aliases(kind, mount).await? {
                    break;
                }
                match place.view.commit().await {
                    Ok(_) | Err(bailee_barrier::Error::Conflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for IdentityStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityStore(..)")
    }
}

/// Aliases that one batch removes with their mount.
const ALIASES_BATCH: usize = 50;

impl Place {
    /// Keeps others from changing who belongs to what until this unit is over.
    pub(crate) async fn lock_members(&self) {
        self.view.lock(MEMBERS_LOCK).await;
    }

    /// Keeps others from making an entity for the same alias until this unit is over.
    pub(crate) async fn lock_alias(&self, mount: &str, name: &str) {
        self.view.lock(&self.alias_name_key(Kind::Entity, mount, name)).await;
    }

    /// The unit of work.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// The entity with this id.
    pub(crate) async fn entity(&self, id: &str) -> Result<Option<Stored<Entity>>, Error> {
        self.record(Kind::Entity, id).await
    }

    /// The group with this id.
    pub(crate) async fn group(&self, id: &str) -> Result<Option<Stored<Group>>, Error> {
        self.record(Kind::Group, id).await
    }

    /// The entity with this name; case does not matter.
    pub(crate) async fn entity_named(&self, name: &str) -> Result<Option<Stored<Entity>>, Error> {
        match self.id_of_name(Kind::Entity, name).await? {
            Some(id) => self.entity(&id).await,
            None => Ok(None),
        }
    }

    /// The group with this name; case does not matter.
    pub(crate) async fn group_named(&self, name: &str) -> Result<Option<Stored<Group>>, Error> {
        match self.id_of_name(Kind::Group, name).await? {
            Some(id) => self.group(&id).await,
            None => Ok(None),
        }
    }

    /// All entities, in the order of their ids.
    pub(crate) async fn entities(&self) -> Result<Vec<Entity>, Error> {
        self.all("entity/").await
    }

    /// All groups, in the order of their ids.
    pub(crate) async fn groups(&self) -> Result<Vec<Group>, Error> {
        self.all("group/").await
    }

    /// Stores an entity, new or changed.
    pub(crate) fn put_entity(&self, entity: &Stored<Entity>) {
        self.put(Kind::Entity, &entity.value.id, entity);
        let (cache, id) = (self.cache.clone(), entity.value.id.clone());
        self.view.after_commit(move || cache.forget(&id));
    }

    /// Stores a group, new or changed.
    pub(crate) fn put_group(&self, group: &Stored<Group>) {
        self.put(Kind::Group, &group.value.id, group);
        self.forget_members();
    }

    /// Removes the record of an entity; what leads to it is removed beside.
    pub(crate) fn delete_entity(&self, entity: &Stored<Entity>) {
        self.delete(Kind::Entity, &entity.value.id, entity);
        let (cache, id) = (self.cache.clone(), entity.value.id.clone());
        self.view.after_commit(move || cache.forget(&id));
    }

    /// Removes the record of a group; what leads to it is removed beside.
    pub(crate) fn delete_group(&self, group: &Stored<Group>) {
        self.delete(Kind::Group, &group.value.id, group);
        self.forget_members();
    }

    /// A name nobody has: the commit conflicts when someone else takes it meanwhile.
    pub(crate) async fn claim_name(&self, kind: Kind, name: &str, id: &str) -> Result<bool, Error> {
        let key = self.name_key(kind, name);
        if self.view.get_bytes(&key).await?.is_some() {
            return Ok(false);
        }
        self.view.expect_absent(&key);
        self.view.put(&key, id);
        Ok(true)
    }

    /// A name for something that was given none, such as `entity_1a2b3c4d`.
    pub(crate) async fn claim_any_name(&self, kind: Kind, id: &str) -> Result<String, Error> {
        for _ in 0..NAMES_TRIED_MAX {
            let name = format!("{}_{}", kind.word(), hex::encode(random::array::<4>()));
            if self.claim_name(kind, &name, id).await? {
                return Ok(name);
            }
        }
        Err(Error::internal("no free name was found"))
    }

    /// Gives another name to what has one; `false` when it is taken.
    pub(crate) async fn rename(
        &self,
        kind: Kind,
        id: &str,
        old: &str,
        new: &str,
    ) -> Result<bool, Error> {
        if self.name_key(kind, old) == self.name_key(kind, new) {
            return Ok(true);
        }
        if !self.claim_name(kind, new, id).await? {
            return Ok(false);
        }
        self.release_name(kind, old);
        Ok(true)
    }

    pub(crate) fn release_name(&self, kind: Kind, name: &str) {
        self.view.delete(&self.name_key(kind, name));
    }

    /// Where the alias of this name at a mount leads.
    pub(crate) async fn alias_named(
        &self,
        kind: Kind,
        mount: &str,
        name: &str,
    ) -> Result<Option<AliasOwner>, Error> {
        Ok(self.view.get(&self.alias_name_key(kind, mount, name)).await?)
    }

    /// The entity or group with the alias of this id.
    pub(crate) async fn owner_of_alias(
        &self,
        kind: Kind,
        id: &str,
    ) -> Result<Option<String>, Error> {
        if !is_id(id) {
            return Ok(None);
        }
        Ok(self.view.get(&kind.alias_key(id)).await?)
    }

    /// Makes an alias lead to its owner. The commit conflicts when its name leads elsewhere by then.
    pub(crate) async fn link_alias(
        &self,
        kind: Kind,
        alias: &Alias,
        owner: &str,
    ) -> Result<(), Error> {
        let key = self.alias_name_key(kind, &alias.mount, &alias.name);
        match self.view.get_at::<AliasOwner>(&key).await? {
            Some((_, Some(revision))) => self.view.expect(&key, revision),
            Some((_, None)) => {}
            None => self.view.expect_absent(&key),
        }
        let leads = AliasOwner { alias: alias.id.clone(), owner: owner.to_owned() };
        self.view.put(&key, &leads);
        self.view.put(&kind.alias_key(&alias.id), owner);
        Ok(())
    }

    /// The same for an alias that had another name, mount or owner before.
    pub(crate) async fn relink_alias(
        &self,
        kind: Kind,
        old: &Alias,
        new: &Alias,
        owner: &str,
    ) -> Result<(), Error> {
        self.link_alias(kind, new, owner).await?;
        let before = self.alias_name_key(kind, &old.mount, &old.name);
        if before != self.alias_name_key(kind, &new.mount, &new.name) {
            self.view.delete(&before);
        }
        Ok(())
    }

    /// Nothing leads from an alias any more.
    pub(crate) fn unlink_alias(&self, kind: Kind, alias: &Alias) {
        self.view.delete(&self.alias_name_key(kind, &alias.mount, &alias.name));
        self.view.delete(&kind.alias_key(&alias.id));
    }

    /// The entity that another one became part of.
    pub(crate) async fn merged_into(&self, id: &str) -> Result<Option<String>, Error> {
        if !is_id(id) {
            return Ok(None);
        }
        Ok(self.view.get(&format!("merged/{id}")).await?)
    }

    /// Makes the id of an entity that is gone lead to another.
    pub(crate) fn put_merged(&self, from: &str, into: &str) {
        self.view.put(&format!("merged/{from}"), into);
    }

    pub(crate) fn delete_merged(&self, from: &str) {
        self.view.delete(&format!("merged/{from}"));
    }

    /// Groups that an entity belongs to itself, as storage has them.
    pub(crate) async fn groups_of(&self, entity: &str) -> Result<Vec<String>, Error> {
        self.ids(&format!("groups-of/{entity}/")).await
    }

    /// Entities that belong to a group themselves, as storage has them.
    pub(crate) async fn members(&self, group: &str) -> Result<Vec<String>, Error> {
        self.ids(&format!("members/{group}/")).await
    }

    /// Groups that belong to a group themselves, as storage has them.
    pub(crate) async fn children(&self, group: &str) -> Result<Vec<String>, Error> {
        self.ids(&format!("children/{group}/")).await
    }

    /// Groups that a group belongs to itself, as storage has them.
    pub(crate) async fn parents(&self, group: &str) -> Result<Vec<String>, Error> {
        self.ids(&format!("parents-of/{group}/")).await
    }

    /// An entity belongs to a group from the commit on, or does no more. For who holds the lock.
    pub(crate) fn set_member(&self, group: &str, entity: &str, belongs: bool) {
        self.set(&format!("members/{group}/{entity}"), belongs);
        self.set(&format!("groups-of/{entity}/{group}"), belongs);
        let (cache, id) = (self.cache.clone(), entity.to_owned());
        self.view.after_commit(move || cache.forget(&id));
    }

    /// A group belongs to another from the commit on, or does no more. For who holds the lock.
    pub(crate) fn set_child(&self, group: &str, child: &str, belongs: bool) {
        self.set(&format!("children/{group}/{child}"), belongs);
        self.set(&format!("parents-of/{child}/{group}"), belongs);
        self.forget_members();
    }

    fn set(&self, key: &str, is_there: bool) {
        if is_there { self.view.put(key, &()) } else { self.view.delete(key) }
    }

    fn forget_members(&self) {
        let (cache, namespace) = (self.cache.clone(), self.namespace.id.clone());
        self.view.after_commit(move || cache.forget_all(&namespace));
    }

    async fn ids(&self, prefix: &str) -> Result<Vec<String>, Error> {
        Ok(self.view.list(prefix, "", LIST_MAX).await?)
    }

    async fn record<T: DeserializeOwned>(
        &self,
        kind: Kind,
        id: &str,
    ) -> Result<Option<Stored<T>>, Error> {
        if !is_id(id) {
            return Ok(None);
        }
        let found = self.view.get_at(&kind.record(id)).await?;
        Ok(found.map(|(value, revision)| Stored { value, revision }))
    }

    fn put<T: Serialize>(&self, kind: Kind, id: &str, stored: &Stored<T>) {
        let key = kind.record(id);
        if let Some(revision) = stored.revision {
            self.view.expect(&key, revision);
        }
        self.view.put(&key, &stored.value);
    }

    fn delete<T>(&self, kind: Kind, id: &str, stored: &Stored<T>) {
        let key = kind.record(id);
        if let Some(revision) = stored.revision {
            self.view.expect(&key, revision);
        }
        self.view.delete(&key);
    }

    async fn all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let mut entries = self.view.scan(prefix).take(LIST_MAX);
        while let Some(entry) = entries.next().await {
            let (key, bytes) = entry?;
            let value = serde_json::from_slice(&bytes);
            found.push(value.map_err(|_| Error::internal(format!("{key} does not parse")))?);
        }
        Ok(found)
    }

    async fn id_of_name(&self, kind: Kind, name: &str) -> Result<Option<String>, Error> {
        Ok(self.view.get(&self.name_key(kind, name)).await?)
    }

    fn name_key(&self, kind: Kind, name: &str) -> String {
        kind.name_key(&self.view.names(kind.word()).id(&name.to_lowercase()))
    }

    fn alias_name_key(&self, kind: Kind, mount: &str, name: &str) -> String {
        let code = self.view.names(kind.word()).id(&format!("{mount}/{}", name.to_lowercase()));
        format!("{}{code}", kind.alias_names(mount))
    }

    /// Removes some aliases of a mount when the unit commits; whether there were any.
    async fn remove_aliases(&self, kind: Kind, mount: &str) -> Result<bool, Error> {
        let names = kind.alias_names(mount);
        let codes = self.view.list(&names, "", ALIASES_BATCH).await?;
        for code in &codes {
            let key = format!("{names}{code}");
            let Some(leads) = self.view.get::<AliasOwner>(&key).await? else { continue };
            self.view.delete(&key);
            self.view.delete(&kind.alias_key(&leads.alias));
            match kind {
                Kind::Entity => {
                    let Some(mut entity) = self.entity(&leads.owner).await? else { continue };
                    entity.value.aliases.retain(|alias| alias.id != leads.alias);
                    self.put_entity(&entity);
                }
                Kind::Group => {
                    let Some(mut group) = self.group(&leads.owner).await? else { continue };
                    group.value.alias = None;
                    self.put_group(&group);
                }
            }
        }
        Ok(!codes.is_empty())
    }
}
