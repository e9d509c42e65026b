//! `sys/activation-flags` and `sys/sync`.

mod activation;
mod associations;
mod config;
mod destinations;
mod events;
mod orphans;
mod plan;
mod plan_subjects;
mod preview;
mod sources;
pub(crate) mod status;
mod takeover;

use crate::{
    SecretSync,
    board::{Board, Key, Urgency},
    epoch::Epoch,
    registry::StoredDestination,
    store::Store,
};
use bailee_sdk::{Code, Engine, Error, Nothing, Path, Request, path::Operation};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// What every call answers until secrets sync is activated.
const NOT_ACTIVATED: &str = "feature not activated: activate secrets-sync first, with a write to \
                             sys/activation-flags/secrets-sync/activate";

/// The paths, relative to `sys/`.
pub(crate) struct Paths {
    sync: Arc<SecretSync>,
}

/// What names a destination.
#[derive(Deserialize, JsonSchema)]
struct Named {
    /// Type of the destination.
    #[serde(rename = "type")]
    kind: String,
    /// Name of the destination.
    name: String,
}

/// Whether a destination or a source can have this name.
fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let legal = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    let fits = !name.is_empty() && name.len() <= 128 && name.chars().all(legal);
    if fits && !name.starts_with('.') {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "name of the {what} is invalid: up to 128 letters, digits, hyphens, underscores and dots, not \
         beginning with a dot"
    )))
}

impl Engine for Paths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        use Operation::{Delete, List, Patch, Read, Update};
        let on = |pattern| Path::new(pattern);
        vec![
            on("activation-flags").unauthenticated().on(
                Read,
                &self,
                "List features that can be activated",
                Paths::read_flags,
            ),
            on("activation-flags/secrets-sync/activate").root_only().on(
                Update,
                &self,
                "Activate secrets sync; it cannot be undone",
                Paths::activate,
            ),
            on("sync/config")
                .root_only()
                .on(Read, &self, "Read the configuration of secrets sync", Paths::read_config)
                .on(Update, &self, "Configure secrets sync", Paths::write_config)
                .on(Patch, &self, "Configure secrets sync in part", Paths::write_config)
                .on(Delete, &self, "Configure secrets sync as at first", Paths::reset_config),
            on("sync/takeover").root_only().sudo().on(
                Update,
                &self,
                "Deliver from here what the server delivered that this one was restored from",
                Paths::take_over,
            ),
            on("sync/destinations").on(
                List,
                &self,
                "List all destinations",
                Paths::list_destinations,
            ),
            on("sync/destinations/{type}").on(
                List,
                &self,
                "List destinations of a type",
                Paths::list_destinations_of_type,
            ),
            on("sync/destinations/{type}/{name}")
                .exists(&self, Paths::destination_exists)
                .on(Read, &self, "Read a destination", Paths::read_destination)
                .on(Update, &self, "Create or replace a destination", Paths::write_destination)
                .on(Patch, &self, "Change a destination in part", Paths::patch_destination)
                .on(Delete, &self, "Delete a destination", Paths::delete_destination),
            on("sync/destinations/{type}/{name}/check")
                .on(
                    Update,
                    &self,
                    "Check the connection of a destination",
                    Paths::check_destination,
                )
                .on(Read, &self, "Check the connection of a destination", Paths::check_destination),
            on("sync/destinations/{type}/{name}/pause").on(
                Update,
                &self,
                "Deliver and remove nothing at a destination until it is resumed",
                Paths::pause_destination,
            ),
            on("sync/destinations/{type}/{name}/resume").on(
                Update,
                &self,
                "Deliver again to a destination that was paused",
                Paths::resume_destination,
            ),
            on("sync/destinations/{type}/{name}/sync").on(
                Update,
                &self,
                "Look at what a destination holds and deliver at once what differs",
                Paths::sync_now,
            ),
            on("sync/destinations/{type}/{name}/preview").on(
                Update,
                &self,
                "Show the names that secrets would get at a destination",
                Paths::preview,
            ),
            on("sync/preview").on(
                Update,
                &self,
                "Show the names that secrets would get at a destination of a type",
                Paths::preview_of_type,
            ),
            on("sync/events").on(
                Read,
                &self,
                "Listen to what happens to secrets at destinations",
                Paths::listen,
            ),
            on("sync/orphans")
                .on(
                    List,
                    &self,
                    "List what forced deletions of destinations left behind",
                    Paths::list_orphans,
                )
                .on(
                    Read,
                    &self,
                    "List what forced deletions of destinations left behind",
                    Paths::list_orphans,
                ),
            on("sync/orphans/{type}/{name}")
                .on(
                    Read,
                    &self,
                    "Show what the forced deletion of a destination left behind",
                    Paths::read_orphans,
                )
                .on(
                    Delete,
                    &self,
                    "Forget what the forced deletion of a destination left behind",
                    Paths::forget_orphans,
                ),
            on("sync/sources").on(List, &self, "List all sources", Paths::list_sources).on(
                Read,
                &self,
                "List all sources",
                Paths::list_sources,
            ),
            on("sync/sources/{name}")
                .exists(&self, Paths::source_exists)
                .on(Read, &self, "Read a source", Paths::read_source)
                .on(Update, &self, "Create or replace a source", Paths::write_source)
                .on(Patch, &self, "Change a source in part", Paths::patch_source)
                .on(
                    Delete,
                    &self,
                    "Delete a source; what it delivered stays",
                    Paths::delete_source,
                ),
            on("sync/sources/{name}/status").on(
                Read,
                &self,
                "Show how the last run of a source went, and when it runs next",
                Paths::read_source_status,
            ),
            on("sync/sources/{name}/run").on(
                Update,
                &self,
                "Run a source now; its status shows how that goes",
                Paths::run_source,
            ),
            on("sync/sources/{name}/plan").on(
                Update,
                &self,
                "Show what a run of a source would do",
                Paths::plan_source,
            ),
            on("sync/destinations/{type}/{name}/associations")
                .on(Read, &self, "Show the secrets of a destination", Paths::read_associations)
                .on(List, &self, "Show the secrets of a destination", Paths::read_associations),
            on("sync/destinations/{type}/{name}/associations/set").on(
                Update,
                &self,
                "Keep a secret at a destination",
                Paths::set_association,
            ),
            on("sync/destinations/{type}/{name}/associations/remove").on(
                Update,
                &self,
                "Remove a secret from a destination",
                Paths::remove_association,
            ),
            on("sync/destinations/{type}/{name}/plan").on(
                Update,
                &self,
                "Show what would happen at a destination, now or with other settings or secrets",
                Paths::plan_destination,
            ),
            on("sync/associations").on(
                List,
                &self,
                "List all associated secrets",
                Paths::list_associations,
            ),
            on("sync/associations/destinations").on(
                Read,
                &self,
                "Show the destinations of a secret",
                Paths::read_secret,
            ),
            on("sync/associations/{mount}/{secret_name}").on(
                Read,
                &self,
                "Show the destinations of a secret",
                Paths::read_secret,
            ),
        ]
    }
}

impl Paths {
    pub(crate) fn new(sync: Arc<SecretSync>) -> Paths {
        Paths { sync }
    }

    /// The namespace's place in the request's unit of work, once sync is activated.
    async fn store<I>(&self, request: &Request<I>) -> Result<Store, Error> {
        let store = Store::within(&request.view, &request.namespace);
        if store.flags().await?.activated { Ok(store) } else { Err(Error::invalid(NOT_ACTIVATED)) }
    }

    fn board(&self) -> Option<Arc<Board>> {
        self.sync.board()
    }

    /// Whether nothing is delivered because storage was restored.
    async fn is_held(&self, store: &Store) -> Result<bool, Error> {
        Ok(Epoch::read(&store.view).await?.is_some_and(|epoch| epoch.held))
    }

    /// Why nothing is delivered for now, in sentences for the user.
    async fn resting(
        &self,
        store: &Store,
        destination: Option<&StoredDestination>,
    ) -> Result<Vec<String>, Error> {
        let mut reasons = Vec::new();
        if store.config().await?.disabled {
            reasons.push(
                "secrets sync is disabled: nothing is delivered or removed until disabled=false is \
                 set in sys/sync/config"
                    .to_owned(),
            );
        }
        if self.is_held(store).await? {
            reasons.push(
                "secrets sync is held since storage was restored from a snapshot: nothing is \
                 delivered or removed until a write to sys/sync/takeover"
                    .to_owned(),
            );
        }
        if let Some(destination) = destination.filter(|destination| destination.paused) {
            let StoredDestination { kind, name, .. } = destination;
            reasons.push(format!(
                "destination {kind}/{name} is paused: nothing is delivered or removed until a write \
                 to sys/sync/destinations/{kind}/{name}/resume"
            ));
        }
        Ok(reasons)
    }
}

/// No destination of that type can exist.
fn unsupported_path() -> Error {
    Error::new(Code::NotFound, "1 error occurred:\n\t* unsupported path\n\n")
}

/// Work that begins when the request has ended, however it ended: a request that was cut off may
/// have been committed.
struct AfterCommit {
    board: Option<Arc<Board>>,
    keys: Vec<Key>,
}

impl AfterCommit {
    /// Waits until work on the first key, begun after this call, has ended.
    async fn first_outcome(mut self, wait: std::time::Duration) {
        let (Some(board), Some(key)) = (&self.board, self.keys.pop()) else { return };
        let told = board.kick_and_tell(key);
        // Whoever is not told in time finds out by reading.
        tokio::time::timeout(wait, told).await.ok();
    }
}

impl Drop for AfterCommit {
    fn drop(&mut self) {
        if let Some(board) = &self.board {
            for key in self.keys.drain(..) {
                board.kick(key, Urgency::Change);
            }
        }
    }
}
