//! The work on one association: read the newest value, plan, act, record. Deliveries, retries,
//! removals and reconciliation all come through here.

use crate::{
    association::{Association, State},
    board::{Board, Job, Key, Manner, PurgeKey, Verdict},
    destination::{
        Deletion, Delivered, Delivery, Extent, LedgerEntry, Names, Note, Ownership, Remote, Removal,
    },
    event,
    failure::{Error, Failure, Status},
    plan::{Desired, Reason, Step, plan},
    registry::{Configured, Registry},
    source::{LocalSource, Payload},
    store::{Mark, Store},
    tags::{OwnerMark, marked},
};
use bailee_barrier::{Barrier, Revision};
use bailee_crypto::{
    clock::{from_millis, to_millis},
    random,
};
use bailee_sdk::Clock;
use bailee_storage::Error as StorageError;
use parking_lot::Mutex;
use serde_json::{Map, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// How long after a failure of storage an object is worked on again.
const STORAGE_RETRY: Duration = Duration::from_secs(1);
/// What content marks are for.
const CONTENT_PURPOSE: &str = "sync-content";

/// What works on associations needs.
pub(crate) struct Worker {
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) local: Arc<dyn LocalSource>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) board: Arc<Board>,
    /// Deliveries that were begun and are not recorded as done, with their tokens.
    begun: Mutex<HashMap<Key, Begun>>,
}

/// A delivery that was begun.
struct Begun {
    name: String,
    content_mark: String,
    source_version: u64,
    generation: u64,
    token: String,
}

/// What an attempt came to.
struct Outcome {
    changes: Vec<Change>,
    result: Result<Done, Error>,
    /// Whether anything was called or changed, so that the state is worth writing.
    acted: bool,
}

/// What became of a name.
enum Change {
    Confirmed { name: String, delivered: Delivered },
    Gone { name: String },
}

/// What holds now.
enum Done {
    /// The newest value is there.
    Synced { notes: Vec<Note>, expires_at: Option<SystemTime> },
    /// Nothing is there, as it should be.
    Unsynced,
}

/// One association, as it was when the work began.
struct Task<'a> {
    key: &'a Key,
    association: &'a Association,
    configured: &'a Configured,
    /// The system caller's name.
    caller: String,
    /// Full path of the secret.
    path: String,
}

impl Worker {
    pub(crate) fn new(
        barrier: Arc<Barrier>,
        local: Arc<dyn LocalSource>,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        board: Arc<Board>,
    ) -> Worker {
        Worker { barrier, local, registry, clock, board, begun: Mutex::default() }
    }

    /// Brings one association as far as it gets now.
    pub(crate) async fn work(&self, job: &Job) -> Verdict {
        match self.run(job).await {
            Ok(verdict) => verdict,
            Err(error) => {
                event::storage_failed("work on an association", &error);
                let again_at = Some(Instant::now() + STORAGE_RETRY);
                Verdict { again_at, pause: None, manner: job.manner }
            }
        }
    }

    async fn run(&self, job: &Job) -> Result<Verdict, StorageError> {
        let Key { namespace, destination, secret } = &job.key;
        let store = Store::open(&self.barrier, namespace);
        // The mark is read before the secret: a change after that leaves a newer mark.
        let mark = store.dirty_at(destination, secret).await?;
        let Some((association, _)) = store.association(destination, secret).await? else {
            return self.drop_mark(&job.key, mark).await;
        };
        if store.config().await?.disabled {
            return Ok(Verdict::default());
        }
        let not_before = association.not_before(self.clock.now());
        if let Some(at) = not_before.filter(|_| !job.manner.hurry) {
            let again_at = Some(self.instant(at));
            return Ok(Verdict { again_at, pause: None, manner: job.manner });
        }
        let (outcome, purging) = self.outcome(&store, job, &association).await;
        // What a look showed is not done: the next attempt has to look again.
        let verify = job.manner.verify && outcome.result.is_err();
        let mut verdict = self.record(&job.key, mark, &association, outcome).await?;
        verdict.manner = Manner { verify, hurry: false };
        if purging {
            self.board.kick_purge(PurgeKey {
                namespace: namespace.clone(),
                kind: association.destination_type.clone(),
                name: association.destination_name.clone(),
            });
        }
        Ok(verdict)
    }

    /// What an attempt comes to, and whether the destination itself is being deleted.
    async fn outcome(
        &self,
        store: &Store,
        job: &Job,
        association: &Association,
    ) -> (Outcome, bool) {
        match self.configured(store, &job.key, association).await {
            Ok(configured) => {
                let task = Task::new(&job.key, association, &configured);
                (self.attempt(&task, job.manner.verify).await, configured.stored.is_purging())
            }
            // Where nothing was ever delivered, nothing needs the destination to be removed.
            Err(_) if association.removing && association.ledger.is_empty() => {
                let result = Ok(Done::Unsynced);
                (Outcome { changes: Vec::new(), result, acted: true }, true)
            }
            Err(error) => (Outcome { changes: Vec::new(), result: Err(error), acted: true }, true),
        }
    }

    async fn drop_mark(
        &self,
        key: &Key,
        mark: Option<(Mark, Revision)>,
    ) -> Result<Verdict, StorageError> {
        let store = Store::open(&self.barrier, &key.namespace);
        if let Some((_, read_at)) = mark {
            store.clear_dirty(&key.destination, &key.secret, read_at);
        }
        match store.view.commit().await {
            Ok(_) | Err(StorageError::Conflict) => Ok(Verdict::default()),
            Err(error) => Err(error),
        }
    }

    async fn configured(
        &self,
        store: &Store,
        key: &Key,
        association: &Association,
    ) -> Result<Arc<Configured>, Error> {
        let (kind, name) = (&association.destination_type, &association.destination_name);
        let found = self.registry.configured(store, &key.namespace, kind, name).await?;
        found.ok_or_else(|| Error::new(Failure::Invalid, "the destination does not exist"))
    }

    async fn attempt(&self, task: &Task<'_>, verify: bool) -> Outcome {
        let mut outcome = Outcome { changes: Vec::new(), result: Ok(Done::Unsynced), acted: false };
        let (desired, payload) = match self.desired(task).await {
            Ok(found) => found,
            Err(error) => {
                outcome.result = Err(error);
                return outcome;
            }
        };
        let found = if verify { self.survey(task).await } else { None };
        let ledger = &task.association.ledger;
        let mut notes = task.association.state.notes.clone();
        for step in plan(desired.as_slice(), ledger, found.as_ref()) {
            outcome.acted = true;
            let acted = match (&step, &desired, &payload) {
                (Step::Put { why, .. }, Some(desired), Some(payload)) => {
                    self.put(task, desired, payload, *why).await.map(|(change, added)| {
                        notes = added;
                        change
                    })
                }
                (Step::Put { .. }, _, _) => continue,
                (Step::Delete { name }, _, _) => self.delete(task, name).await,
            };
            match acted {
                Ok(change) => outcome.changes.push(change),
                Err(error) => {
                    outcome.result = Err(error);
                    return outcome;
                }
            }
        }
        if let Some(payload) = payload {
            outcome.result = Ok(Done::Synced { notes, expires_at: payload.expires_at });
        }
        outcome
    }

    /// What the destination shall hold, read as the system caller of this association.
    async fn desired(&self, task: &Task<'_>) -> Result<(Option<Desired>, Option<Payload>), Error> {
        let association = task.association;
        if association.removing {
            return Ok((None, None));
        }
        let namespace = &task.key.namespace;
        let gone = || {
            let message = format!(
                "mount {} does not exist any more; what was delivered stays until the association \
                 is removed",
                association.mount_path
            );
            Error::new(Failure::SourceGone, message)
        };
        let mounts = self.local.mounts(namespace);
        let mount = mounts.with_uuid(&association.mount).ok_or_else(gone)?;
        let path = &association.secret_name;
        let payload = self.local.read(&task.caller, namespace, mount, path).await?;
        // A mount that went, or moved, while it was read says nothing about the secret.
        let mounts = self.local.mounts(namespace);
        if mounts.with_uuid(&association.mount).is_none_or(|now| now.path != mount.path) {
            return Err(gone());
        }
        let Some(payload) = payload else { return Ok((None, None)) };
        let desired = Desired {
            name: association.external_name.clone(),
            source_version: payload.version,
            generation: association.generation,
            content_mark: hex::encode(self.barrier.fingerprint(CONTENT_PURPOSE, &payload.bytes)),
            tags: if task.configured.destination.limits().tags {
                marked(&task.configured.stored.custom_tags, &OwnerMark::default())
            } else {
                BTreeMap::new()
            },
        };
        Ok((Some(desired), Some(payload)))
    }

    /// What the destination holds under our names, where it may be asked.
    async fn survey(&self, task: &Task<'_>) -> Option<BTreeMap<String, Remote>> {
        let names = task.association.ledger.iter().map(|entry| entry.name.clone()).collect();
        match task.configured.destination.survey(&Names::These(names), None).await {
            Ok(survey) => Some(survey.objects),
            Err(error) => {
                if let Some(permission) = error.missing_permission {
                    task.configured.wish(Note {
                        missing_permission: permission,
                        message: "would let reconciliation confirm and repair changes that others \
                                  made at the destination"
                            .to_owned(),
                    });
                }
                None
            }
        }
    }

    async fn put(
        &self,
        task: &Task<'_>,
        desired: &Desired,
        payload: &Payload,
        why: Reason,
    ) -> Result<(Change, Vec<Note>), Error> {
        let max = task.configured.destination.limits().payload_bytes_max;
        let bytes = payload.bytes.len();
        if bytes > max {
            let message = format!(
                "the value is {bytes} bytes, {} takes at most {max} bytes",
                task.association.destination_type
            );
            return Err(Error::new(Failure::TooLarge, message));
        }
        let entry = task.association.entry(&desired.name);
        if entry.is_none() {
            self.begin(task, &desired.name).await?;
        }
        let previous = entry.and_then(|entry| entry.delivered.clone());
        let delivery = Delivery {
            name: desired.name.clone(),
            payload: payload.clone(),
            token: self.token(task.key, desired),
            tags: desired.tags.clone(),
            previous,
            extent: if why == Reason::Tags { Extent::Aspects } else { Extent::Value },
            ownership: Ownership::Overwrite,
            mark: OwnerMark::default(),
        };
        let mut detail = task.detail(&desired.name);
        detail.insert("version".to_owned(), json!(payload.version));
        self.audit(task, "deliver", &detail).await?;
        task.configured.pace.turn().await;
        let started = Instant::now();
        let result = task.configured.destination.put(&delivery).await;
        self.audit_result(task, "delivered", detail, result.as_ref().err()).await;
        let receipt = result?;
        let kind = &task.association.destination_type;
        let name = &task.association.destination_name;
        event::delivered(kind, name, task.key, started.elapsed(), why.name());
        let mut tags = desired.tags.clone();
        for left in &receipt.tags_left {
            let value = delivery.previous.as_ref().and_then(|previous| previous.tags.get(left));
            tags.insert(left.clone(), value.cloned().unwrap_or_default());
        }
        let delivered = Delivered {
            version_id: receipt.version_id,
            source_version: desired.source_version,
            generation: desired.generation,
            content_mark: desired.content_mark.clone(),
            tags,
            placement: String::new(),
            at: to_millis(self.clock.now()),
        };
        Ok((Change::Confirmed { name: desired.name.clone(), delivered }, receipt.notes))
    }

    async fn delete(&self, task: &Task<'_>, name: &str) -> Result<Change, Error> {
        let entry = task.association.entry(name);
        let removal = Removal {
            name: name.to_owned(),
            delivered: entry.and_then(|entry| entry.delivered.clone()),
            mark: OwnerMark::default(),
            how: Deletion::Delete,
        };
        let detail = task.detail(name);
        self.audit(task, "remove", &detail).await?;
        task.configured.pace.turn().await;
        let started = Instant::now();
        let result = task.configured.destination.delete(&removal).await;
        self.audit_result(task, "removed", detail, result.as_ref().err()).await;
        result?;
        let kind = &task.association.destination_type;
        let destination = &task.association.destination_name;
        event::removed(kind, destination, task.key, started.elapsed());
        Ok(Change::Gone { name: name.to_owned() })
    }

    /// Notes the intent before the first effect under a name: if we fall silent now, the name is
    /// still known to be ours to remove.
    async fn begin(&self, task: &Task<'_>, name: &str) -> Result<(), Error> {
        let Key { namespace, destination, secret } = task.key;
        let store = Store::open(&self.barrier, namespace);
        store.lock_association(destination, secret).await;
        let changed = || Error::new(Failure::Internal, "the association changed meanwhile");
        let found = store.association(destination, secret).await?;
        let (mut association, read_at) = found.ok_or_else(changed)?;
        if association.removing || association.external_name != name {
            return Err(changed());
        }
        association.begin(name);
        store.update_association(destination, secret, &association, read_at);
        store.view.commit().await?;
        Ok(())
    }

    /// A token for a delivery: the same while it is tried again, and never one that anything else
    /// was sent with in between.
    fn token(&self, key: &Key, desired: &Desired) -> String {
        let mut begun = self.begun.lock();
        if let Some(begun) = begun.get(key).filter(|begun| begun.is(desired)) {
            return begun.token.clone();
        }
        let token = random::uuid().to_string();
        begun.insert(
            key.clone(),
            Begun {
                name: desired.name.clone(),
                content_mark: desired.content_mark.clone(),
                source_version: desired.source_version,
                generation: desired.generation,
                token: token.clone(),
            },
        );
        token
    }

    async fn audit(
        &self,
        task: &Task<'_>,
        what: &str,
        detail: &Map<String, serde_json::Value>,
    ) -> Result<(), Error> {
        self.local.audit(&task.caller, &task.key.namespace, what, &task.path, detail).await
    }

    async fn audit_result(
        &self,
        task: &Task<'_>,
        what: &str,
        mut detail: Map<String, serde_json::Value>,
        error: Option<&Error>,
    ) {
        if let Some(error) = error {
            detail.insert("failure".to_owned(), json!(error.failure.name()));
        }
        let what = if error.is_some() { "failed" } else { what };
        if self.audit(task, what, &detail).await.is_err() {
            event::audit_failed(task.key);
        }
    }

    /// Writes down what came of it, and removes the mark unless it was made anew meanwhile.
    async fn record(
        &self,
        key: &Key,
        mark: Option<(Mark, Revision)>,
        seen: &Association,
        outcome: Outcome,
    ) -> Result<Verdict, StorageError> {
        let now = self.clock.now();
        let settled = match &outcome.result {
            Ok(_) => true,
            Err(error) => !error.failure.passes(),
        };
        let mut clear = mark.filter(|_| settled);
        loop {
            let store = Store::open(&self.barrier, &key.namespace);
            if let Some((_, read_at)) = clear {
                store.clear_dirty(&key.destination, &key.secret, read_at);
            }
            let verdict = self.write_down(&store, key, seen, &outcome, now).await?;
            match store.view.commit().await {
                // The mark was made anew: it stays, and what happened is written down all the same.
                Err(StorageError::Conflict) if clear.is_some() => clear = None,
                Err(error) => return Err(error),
                Ok(_) => {
                    if outcome.result.is_ok() {
                        self.begun.lock().remove(key);
                        if let Some((mark, _)) = mark.filter(|_| outcome.acted) {
                            let lag = now.duration_since(from_millis(mark.since));
                            event::lag(&seen.destination_type, lag.unwrap_or_default());
                        }
                    }
                    return Ok(verdict);
                }
            }
        }
    }

    async fn write_down(
        &self,
        store: &Store,
        key: &Key,
        seen: &Association,
        outcome: &Outcome,
        now: SystemTime,
    ) -> Result<Verdict, StorageError> {
        let Key { destination, secret, .. } = key;
        store.lock_association(destination, secret).await;
        let Some((mut current, read_at)) = store.association(destination, secret).await? else {
            return Ok(Verdict::default());
        };
        let before = current.clone();
        outcome.apply_changes(store, key, seen, &mut current);
        let unchanged = current.generation == seen.generation && current.removing == seen.removing;
        let mut verdict = Verdict::default();
        if unchanged {
            verdict = self.conclude(key, &mut current, outcome, now);
            if current.removing && outcome.result.is_ok() {
                store.delete_association(destination, secret, &current, read_at);
                return Ok(verdict);
            }
        }
        if current != before {
            store.update_association(destination, secret, &current, read_at);
        }
        Ok(verdict)
    }

    /// The state that follows from the outcome, and when the object is due again.
    fn conclude(
        &self,
        key: &Key,
        current: &mut Association,
        outcome: &Outcome,
        now: SystemTime,
    ) -> Verdict {
        match &outcome.result {
            Ok(done) => {
                let (status, notes, again_at) = match done {
                    Done::Synced { notes, expires_at } => {
                        (Status::Synced, notes.clone(), *expires_at)
                    }
                    Done::Unsynced => (Status::Unsynced, Vec::new(), None),
                };
                if outcome.acted || current.state.status != status {
                    current.state = State::done(status, now, notes);
                }
                Verdict { again_at: again_at.map(|at| self.instant(at)), ..Verdict::default() }
            }
            Err(error) => {
                let attempts = current.state.problem.as_ref().map_or(0, |problem| problem.attempts);
                let wait = error.wait(attempts.saturating_add(1));
                let next = wait.map(|wait| now + wait);
                current.state = current.state.failed(error, now, next);
                let (kind, name) = (&current.destination_type, &current.destination_name);
                event::failed(kind, name, key, error, attempts.saturating_add(1));
                let again_at = wait.map(|wait| Instant::now() + wait);
                let pause = again_at.filter(|_| error.failure == Failure::Throttled);
                Verdict { again_at, pause, ..Verdict::default() }
            }
        }
    }

    /// A wall time as tokio sees it; what is past is now.
    fn instant(&self, at: SystemTime) -> Instant {
        let wait = at.duration_since(self.clock.now()).unwrap_or_default();
        // Stored times have milliseconds: a little later is certainly not too early.
        Instant::now() + wait + Duration::from_millis(1)
    }
}

impl Begun {
    fn is(&self, desired: &Desired) -> bool {
        self.name == desired.name
            && self.content_mark == desired.content_mark
            && self.source_version == desired.source_version
            && self.generation == desired.generation
    }
}

impl<'a> Task<'a> {
    fn new(key: &'a Key, association: &'a Association, configured: &'a Configured) -> Task<'a> {
        Task {
            key,
            association,
            configured,
            caller: format!("sync/{key}"),
            path: format!("{}{}", association.mount_path, association.secret_name),
        }
    }

    fn detail(&self, external_name: &str) -> Map<String, serde_json::Value> {
        let association = self.association;
        Map::from_iter([
            ("destination_type".to_owned(), json!(association.destination_type)),
            ("destination_name".to_owned(), json!(association.destination_name)),
            ("external_name".to_owned(), json!(external_name)),
        ])
    }
}

impl Outcome {
    /// What is at the destination is true whatever was asked meanwhile.
    fn apply_changes(
        &self,
        store: &Store,
        key: &Key,
        seen: &Association,
        current: &mut Association,
    ) {
        for change in &self.changes {
            match change {
                Change::Confirmed { name, delivered } => current.confirm(name, delivered.clone()),
                Change::Gone { name } => {
                    current.forget(name);
                    if *name != current.external_name {
                        store.release_name(&key.destination, name);
                    }
                }
            }
        }
        // A first attempt that certainly failed left nothing to remove.
        let first = seen.entry(&seen.external_name).is_none();
        let failed = self.result.as_ref().is_err_and(|error| !error.uncertain);
        let unconfirmed = |entry: &LedgerEntry| entry.delivered.is_none();
        if first && failed && current.entry(&seen.external_name).is_some_and(unconfirmed) {
            current.forget(&seen.external_name);
        }
    }
}
