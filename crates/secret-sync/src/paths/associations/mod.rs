//! `…/associations`: which secrets are kept at which destinations, and how far that has come.

mod list;

pub(super) use list::one;

use super::{AfterCommit, Paths, destinations::purging};
use crate::{
    SecretSync,
    association::{Association, State},
    board::Key,
    failure::Status,
    naming::{Granularity, Subject, external_name},
    registry::{DestinationKind, StoredDestination},
    store::{Mark, Store},
};
use bailee_barrier::Barrier;
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Body, Code, Error, Mount, Mounts, Namespace, Operation, Reply, Request};
use list::listed;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// Names of one object that wait to be removed because the template was changed.
const FORMER_NAMES_MAX: usize = 16;

/// A secret at a destination.
#[derive(Deserialize, JsonSchema)]
pub(in crate::paths) struct Associate {
    /// Type of the destination.
    #[serde(rename = "type")]
    kind: String,
    /// Name of the destination.
    name: String,
    /// Path of the mount that holds the secret.
    mount: String,
    /// Path of the secret in its mount.
    secret_name: String,
}

/// The association that an answer is about.
struct Subjected {
    secret: String,
    association: Association,
    /// Whether it was to be removed: then it is shown although it has gone.
    removed: bool,
}

impl Paths {
    pub(in crate::paths) async fn set_association(
        self: Arc<Self>,
        request: Request<Associate>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let id = self.locked_destination(&store, &request.input).await?;
        let destination = self.destination(&store, &request.input).await?;
        let secret_name = secret_name(&request.input.secret_name)?;
        let mount = versioned_mount(&request, &request.input.mount)?;
        may_read(&request, mount, secret_name)?;
        let kind = self.kind(&destination.kind)?;
        let template = kind.template_of(&destination);
        let external = match kind.granularity_of(&destination) {
            Granularity::SecretKey => None,
            Granularity::SecretPath => {
                let subject = Subject {
                    destination_type: &destination.kind,
                    destination_name: &destination.name,
                    namespace: &request.namespace,
                    mount,
                    secret: secret_name,
                    key: None,
                };
                let name = external_name(template, &kind.names, &subject);
                Some(name.map_err(Error::invalid)?)
            }
        };
        let secret = store.secret_id(&mount.uuid, secret_name);
        store.lock_association(&id, &secret).await;
        let before = store.association(&id, &secret).await?.map(|(found, _)| found);
        if before.as_ref().is_some_and(|before| before.former_names() >= FORMER_NAMES_MAX) {
            return Err(Error::invalid(format!(
                "the secret has {FORMER_NAMES_MAX} former names at the destination that could not \
                 be removed yet: its status says why"
            )));
        }
        let now = to_millis(request.now);
        let mut association = as_set(kind, &destination, mount, secret_name, before, now);
        begin(&mut association, external);
        store.put_association(&id, &secret, &association);
        store.mark_dirty(&id, &secret, Mark { since: now });
        let warnings = self.resting(&store, Some(&destination)).await?;
        let reply = self.settled(&request, &id, Subjected { secret, association, removed: false });
        Ok(warnings.into_iter().fold(reply, Reply::warn))
    }

    pub(in crate::paths) async fn remove_association(
        self: Arc<Self>,
        request: Request<Associate>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let id = self.locked_destination(&store, &request.input).await?;
        let destination = self.destination(&store, &request.input).await?;
        let Associate { kind, name, mount, secret_name } = &request.input;
        let secret_name = trimmed(secret_name);
        let mounts = &request.mounts;
        let secret = found(&store, mounts, &id, mount, secret_name).await?.unwrap_or_default();
        store.lock_association(&id, &secret).await;
        let Some((mut association, read_at)) = store.association(&id, &secret).await? else {
            let wishes = self.wishes(&store, &request.namespace, kind, name);
            return Ok(Reply::data(&listed(&store, kind, name, &wishes, None, request.now).await?));
        };
        let now = to_millis(request.now);
        association.removing = true;
        association.generation = now.max(association.generation.saturating_add(1));
        association.state.status = Status::Pending;
        association.state.updated_at = now;
        association.state.problem = None;
        for object in &mut association.objects {
            object.state = State { status: Status::Pending, updated_at: now, ..State::default() };
            object.waits_until = None;
        }
        store.update_association(&id, &secret, &association, read_at);
        store.mark_dirty(&id, &secret, Mark { since: now });
        let warnings = self.resting(&store, Some(&destination)).await?;
        let reply = self.settled(&request, &id, Subjected { secret, association, removed: true });
        Ok(warnings.into_iter().fold(reply, Reply::warn))
    }

    /// The code of the destination, which nobody else changes until the request has ended.
    async fn locked_destination(&self, store: &Store, input: &Associate) -> Result<String, Error> {
        self.kind(&input.kind)?;
        let id = store.destination_id(&input.kind, &input.name);
        store.lock_destination(&id).await;
        Ok(id)
    }

    async fn destination(
        &self,
        store: &Store,
        input: &Associate,
    ) -> Result<StoredDestination, Error> {
        let found = store.destination(&input.kind, &input.name).await?;
        let (destination, _) = found.ok_or_else(Error::not_found)?;
        if destination.is_purging() {
            return Err(purging());
        }
        Ok(destination)
    }

    /// The answer after the commit: waits, within a bound, for how the first attempt goes.
    fn settled(&self, request: &Request<Associate>, id: &str, subject: Subjected) -> Reply {
        let key = Key::new(&request.namespace, id, &subject.secret);
        let after = AfterCommit { board: self.board(), keys: vec![key] };
        let wait = self.sync.settings.set_wait;
        let barrier = request.view.barrier().clone();
        let namespace = request.namespace.clone();
        let sync = self.sync.clone();
        Body::After(Box::pin(async move {
            after.first_outcome(wait).await;
            answer(&sync, &barrier, &namespace, subject).await
        }))
        .into()
    }
}

/// An association as a `set` makes it: with the names that the destination gives now.
pub(in crate::paths) fn as_set(
    kind: &DestinationKind,
    destination: &StoredDestination,
    mount: &Mount,
    secret_name: &str,
    before: Option<Association>,
    now: u64,
) -> Association {
    let generation =
        before.as_ref().map_or(now, |before| now.max(before.generation.saturating_add(1)));
    Association {
        mount: mount.uuid.clone(),
        mount_path: mount.path.clone(),
        accessor: mount.accessor.clone(),
        secret_name: secret_name.to_owned(),
        destination_type: destination.kind.clone(),
        destination_name: destination.name.clone(),
        template: kind.template_of(destination).to_owned(),
        granularity: kind.granularity_of(destination),
        generation,
        removing: false,
        objects: before.map(|before| before.objects).unwrap_or_default(),
        state: State { updated_at: now, ..State::default() },
    }
}

/// A `set` begins: what failed before is tried again at once.
fn begin(association: &mut Association, external: Option<String>) {
    if let Some(external) = external {
        let object = association.object_mut(&None, &external);
        object.leaving = false;
        object.state.problem = None;
    }
    for object in &mut association.objects {
        object.state.status = Status::Pending;
        object.waits_until = None;
        if let Some(problem) = &mut object.state.problem {
            problem.next_attempt = None;
        }
    }
}

async fn answer(
    sync: &SecretSync,
    barrier: &Arc<Barrier>,
    namespace: &Namespace,
    subject: Subjected,
) -> Result<Reply, Error> {
    let store = Store::open(barrier, namespace);
    let (kind, name) = (
        subject.association.destination_type.clone(),
        subject.association.destination_name.clone(),
    );
    let id = store.destination_id(&kind, &name);
    let current = store.association(&id, &subject.secret).await?.map(|(found, _)| found);
    let empty =
        !subject.removed && current.is_some_and(|current| current.state.status == Status::Unsynced);
    let secret = format!("{}{}", subject.association.mount_path, subject.association.secret_name);
    let wishes = sync.registry.wishes(namespace, &id);
    let now = sync.clock.now();
    let reply = Reply::data(&listed(&store, &kind, &name, &wishes, Some(&subject), now).await?);
    if !empty {
        return Ok(reply);
    }
    Ok(reply.warn(format!(
        "secret {secret} has no live version: it is delivered as soon as it has one"
    )))
}

/// The name of a secret as it is stored.
pub(in crate::paths) fn trimmed(name: &str) -> &str {
    name.trim_start_matches('/')
}

pub(in crate::paths) fn secret_name(name: &str) -> Result<&str, Error> {
    let name = trimmed(name);
    if name.is_empty() || name.ends_with('/') {
        return Err(Error::invalid(
            "Secret not found. Please provide full path to existing secret",
        ));
    }
    let odd = |segment: &str| segment.is_empty() || segment == "." || segment == "..";
    if name.split('/').any(odd) || name.chars().any(char::is_control) {
        return Err(Error::invalid(
            "secret_name is invalid: want the path of a secret, without empty parts, dots alone and \
             control characters",
        ));
    }
    Ok(name)
}

pub(in crate::paths) fn versioned_mount<'a, I>(
    request: &'a Request<I>,
    path: &str,
) -> Result<&'a Arc<Mount>, Error> {
    let mount = request
        .mounts
        .at(path.trim_start_matches('/'))
        .ok_or_else(|| Error::invalid(format!("no secrets engine is mounted at {path:?}")))?;
    if mount.is_versioned_kv() {
        return Ok(mount);
    }
    Err(Error::invalid(format!(
        "mount {path:?} is not a KV version 2 secrets engine: secrets of that kind alone are synced"
    )))
}

/// Whoever sets an association must be able to read the secret.
fn may_read(request: &Request<Associate>, mount: &Mount, secret: &str) -> Result<(), Error> {
    let path = format!("{}data/{secret}", mount.path);
    let permitted =
        request.caller.as_ref().is_some_and(|caller| (caller.may)(Operation::Read, &path));
    if permitted {
        return Ok(());
    }
    let mount = mount.path.trim_end_matches('/');
    Err(Error::new(
        Code::PermissionDenied,
        format!("permission denied to read the content of the secret {secret} in mount {mount}"),
    ))
}

/// The code of an associated secret; also of one whose mount has gone.
pub(in crate::paths) async fn found(
    store: &Store,
    mounts: &Mounts,
    id: &str,
    mount: &str,
    secret_name: &str,
) -> Result<Option<String>, Error> {
    let mount = mount.trim_start_matches('/');
    if let Some(mount) = mounts.at(mount) {
        let secret = store.secret_id(&mount.uuid, secret_name);
        if store.association(id, &secret).await?.is_some() {
            return Ok(Some(secret));
        }
    }
    let mount = mount.trim_end_matches('/');
    let associations = store.associations(id).await?;
    let found = associations.into_iter().find(|(_, association)| {
        association.mount_path.trim_end_matches('/') == mount
            && association.secret_name == secret_name
    });
    Ok(found.map(|(secret, _)| secret))
}
