//! `sys/remount`: a mount moves to another path of its namespace, with all it holds.

use super::{System, mounts::full};
use crate::mount::{self, Changing, MountEntry};
use bailee_crypto::random;
use bailee_sdk::{Body, Error, Namespace, Operation, Path, Reply, Request, engine::Class};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::{collections::VecDeque, sync::Arc};

/// Moves that are remembered until the server is sealed.
const MOVES_MAX: usize = 1000;

/// A mount that was moved.
pub(crate) struct Move {
    id: String,
    namespace_id: String,
    from: String,
    to: String,
}

/// The last moves, for who asks how they went.
pub(crate) type Moves = parking_lot::Mutex<VecDeque<Move>>;

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    vec![
        Path::new("remount")
            .on(Operation::Update, system, "Move a mount to another path.", System::remount)
            .sudo(),
        Path::new("remount/status/{migration_id}").on(
            Operation::Read,
            system,
            "Tell how the move of a mount went.",
            System::remount_status,
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
struct Remount {
    /// Where the mount is; auth methods start with `auth/`.
    #[serde(default)]
    from: String,
    /// Where it is to be.
    #[serde(default)]
    to: String,
}

#[derive(Deserialize, JsonSchema)]
struct Moved {
    /// What the move was answered with.
    migration_id: String,
}

impl System {
    /// Nothing that is stored moves: it is kept under the mount's id. The mount is at its new path
    /// when this is answered.
    async fn remount(self: Arc<Self>, request: Request<Remount>) -> Result<Reply, Error> {
        let (from, to) = (&request.input.from, &request.input.to);
        if from.is_empty() || to.is_empty() {
            let message = "both 'from' and 'to' path must be specified as a string";
            return Err(Error::invalid(message));
        }
        let from = format!("{}/", from.trim_matches('/'));
        let to = mount::clean_path(to)?;
        check_classes(&from, &to)?;
        check_free(&from, &to)?;
        // Before anything is revoked; and again below, when nothing changes any more.
        let places = self.registry.places();
        let place = places.with_id(&request.namespace.id).ok_or_else(Error::not_found)?;
        let known = place.mounts.values().map(|mounted| &mounted.entry);
        if !place.mounts.contains_key(&from) {
            self.check_other_namespace(&request, &from)?;
        }
        moved(known, &from, &to)?;
        self.check_namespaces(&request, &to).await?;
        // The ids of leases begin with the path of the mount.
        let closed = self.end_leases(&request.namespace, &from).await?;
        self.end_logins(&request.namespace, &from).await?;
        let changing = Changing::begin(&request.view, &request.namespace).await?;
        let known = changing.entries.iter().filter(|entry| !entry.disabling);
        changing.put(&moved(known, &from, &to)?);
        self.check_namespaces(&request, &to).await?;
        let namespace = request.namespace.clone();
        let id = random::uuid().to_string();
        let done = Move { id, namespace_id: namespace.id.clone(), from, to };
        let after = Box::pin(async move {
            drop(closed);
            // Those of users who came in while the others were sent away.
            self.end_logins(&namespace, &done.from).await?;
            Ok(self.note(done))
        });
        Ok(Body::After(after).into())
    }

    /// Ends the logins of an auth mount that moves: they are found under the path that made them.
    async fn end_logins(&self, namespace: &Namespace, from: &str) -> Result<(), Error> {
        match class_of(from) {
            Class::Auth => self.tokens.revoke_made_below(namespace, from).await,
            Class::Secret => Ok(()),
        }
    }

    fn note(&self, moved: Move) -> Reply {
        let reply = Reply::data(&json!({ "migration_id": moved.id })).warn(
            "Mount move has been queued. Progress will be reported in Vault's server log, tagged \
             with the returned migration_id",
        );
        let mut moves = self.moves.lock();
        if moves.len() == MOVES_MAX {
            moves.pop_front();
        }
        moves.push_back(moved);
        reply
    }

    async fn remount_status(self: Arc<Self>, request: Request<Moved>) -> Result<Reply, Error> {
        let moves = self.moves.lock();
        let found = moves.iter().find(|moved| {
            moved.id == request.input.migration_id && moved.namespace_id == request.namespace.id
        });
        let moved = found.ok_or_else(Error::not_found)?;
        Ok(Reply::data(&json!({
            "migration_id": moved.id,
            "migration_info": {
                "source_mount": moved.from,
                "target_mount": moved.to,
                "status": "success",
            },
        })))
    }

    /// Says so when the mount is in a namespace below: what is stored is sealed for its namespace.
    fn check_other_namespace<I>(&self, request: &Request<I>, from: &str) -> Result<(), Error> {
        let places = self.registry.places();
        let resolved = places.resolve(&request.namespace.path, from);
        if resolved.is_some_and(|(place, rest)| {
            place.namespace.id != request.namespace.id && place.mounts.contains_key(&rest)
        }) {
            return Err(Error::invalid(format!(
                "cannot remount {from:?} to another namespace: call sys/remount in the namespace \
                 of the mount, or copy what it holds"
            )));
        }
        Ok(())
    }
}

/// The mount as it is after its move.
fn moved<'a>(
    mounts: impl Iterator<Item = &'a MountEntry>,
    from: &str,
    to: &str,
) -> Result<MountEntry, Error> {
    let (mut found, mut taken) = (None, from == to);
    for entry in mounts {
        if entry.path == from {
            found = Some(entry);
        } else {
            taken |= entry.is_in_the_way(to);
        }
    }
    let entry = found.ok_or_else(|| Error::invalid(format!("no matching mount at {from:?}")))?;
    if entry.is_builtin() {
        return Err(Error::invalid(format!("cannot remount {from:?}")));
    }
    if taken {
        return Err(Error::invalid(format!("path already in use at {to:?}")));
    }
    Ok(MountEntry { path: to.to_owned(), ..entry.clone() })
}

fn class_of(path: &str) -> Class {
    if path.starts_with("auth/") { Class::Auth } else { Class::Secret }
}

fn check_classes(from: &str, to: &str) -> Result<(), Error> {
    match (class_of(from), class_of(to)) {
        (Class::Auth, Class::Secret) => {
            Err(Error::invalid(format!("cannot remount auth mount to non-auth mount {to:?}")))
        }
        (Class::Secret, Class::Auth) => {
            Err(Error::invalid(format!("cannot remount non-auth mount to auth mount {to:?}")))
        }
        (Class::Auth, Class::Auth) | (Class::Secret, Class::Secret) => Ok(()),
    }
}

/// The server's own places are neither left nor taken.
fn check_free(from: &str, to: &str) -> Result<(), Error> {
    let token = full("token/", Class::Auth);
    let kept = |path: &str| match class_of(path) {
        Class::Secret => mount::is_reserved(path),
        Class::Auth => path == "auth/" || path.starts_with(&token),
    };
    if kept(from) {
        return Err(Error::invalid(format!("cannot remount {from:?}")));
    }
    if kept(to) {
        return Err(Error::invalid(format!("cannot remount to destination {to}")));
    }
    Ok(())
}
