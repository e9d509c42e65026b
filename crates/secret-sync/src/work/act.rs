//! Acting on a plan: names are reserved and intents noted in one batch, then come the calls, each
//! recorded before and after.

use super::{
    Report, Task, Worker,
    outcome::{Landed, Outcome},
};
use crate::{
    association::Object,
    board::Key,
    destination::{Delivered, Delivery, Extent, Names, Note, Owner, Receipt, Remote, Removal},
    event,
    failure::{Error, Failure},
    plan::{Desired, Reason},
    registry::Configured,
    source::Payload,
    tags::MARK_TAG,
};
use bailee_crypto::{clock::to_millis, random};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// A delivery that was begun and is not recorded as done.
pub(super) struct Begun {
    content_mark: String,
    source_version: u64,
    generation: u64,
    /// A creation that landed is not repeated: what went with it must be the same as well.
    tags: BTreeMap<String, String>,
    placement: String,
    token: String,
    /// Whether something may have been done under it.
    is_used: bool,
}

impl Worker {
    /// What the destination holds under our names, where it may be asked; an error where it could not
    /// be asked now.
    pub(super) async fn survey(
        &self,
        task: &Task<'_>,
    ) -> Result<Option<BTreeMap<String, Remote>>, Error> {
        let ledger = task.association.objects.iter().filter(|object| object.begun);
        let names = ledger.map(|object| object.name.clone()).collect();
        match task.configured.destination.survey(&Names::These(names), None).await {
            Ok(survey) => Ok(Some(survey.objects)),
            Err(error) if error.failure.passes() => Err(error),
            Err(error) => {
                if let Some(permission) = error.missing_permission {
                    task.configured.wish(Note {
                        missing_permission: permission,
                        message: "would let reconciliation confirm and repair changes that others \
                                  made at the destination"
                            .to_owned(),
                    });
                }
                Ok(None)
            }
        }
    }

    /// Delivers one object.
    pub(super) async fn put(
        &self,
        task: &Task<'_>,
        desired: &Desired,
        payload: &Payload,
        why: Reason,
    ) -> Report {
        let result = self.deliver(task, desired, payload, why).await;
        Report { sub_key: desired.sub_key.clone(), name: desired.name.clone(), result }
    }

    async fn deliver(
        &self,
        task: &Task<'_>,
        desired: &Desired,
        payload: &Payload,
        why: Reason,
    ) -> Result<Landed, Error> {
        if let Some(error) = too_large(task.configured, payload.bytes.len()) {
            return Err(error);
        }
        let delivery = self.delivery(task, desired, payload, why);
        let mut detail = task.detail(&desired.name);
        detail.insert("version".to_owned(), json!(payload.version));
        self.audit(task, "deliver", &detail).await?;
        let started = Instant::now();
        let result = self.tenure.during(task.configured.destination.put(&delivery)).await;
        self.audit_result(task, "delivered", detail, result.as_ref().err()).await;
        let receipt = result?;
        let kind = &task.association.destination_type;
        let name = &task.association.destination_name;
        event::delivered(kind, name, task.key, started.elapsed(), why.name());
        let mut writes = task.writes(&desired.name);
        if !why.is_aspect() {
            // What did not have to wait is counted all the same.
            writes.take(task.configured.destination.limits(), self.clock.now()).ok();
        }
        let notes = receipt.notes.clone();
        let delivered = self.delivered(desired, &delivery, receipt);
        let repaired = matches!(why, Reason::Drift(_));
        Ok(Landed::Confirmed { delivered, notes, repaired, writes })
    }

    fn delivery(
        &self,
        task: &Task<'_>,
        desired: &Desired,
        payload: &Payload,
        why: Reason,
    ) -> Delivery {
        let object = task.association.holder_of(&desired.name);
        Delivery {
            name: desired.name.clone(),
            payload: payload.clone(),
            token: self.token(task, desired),
            tags: desired.tags.clone(),
            previous: object.and_then(|object| previous(object, desired, why)),
            extent: if why.is_aspect() { Extent::Aspects } else { Extent::Value },
            ownership: task.configured.stored.ownership,
            mark: desired.mark.clone(),
        }
    }

    fn delivered(&self, desired: &Desired, delivery: &Delivery, receipt: Receipt) -> Delivered {
        let mut tags = desired.tags.clone();
        for left in &receipt.tags_left {
            let value = delivery.previous.as_ref().and_then(|previous| previous.tags.get(left));
            tags.insert(left.clone(), value.cloned().unwrap_or_default());
        }
        Delivered {
            version_id: receipt.version_id,
            identity: receipt.identity,
            source_version: desired.source_version,
            generation: desired.generation,
            content_mark: desired.content_mark.clone(),
            tags,
            placement: desired.placement.clone(),
            at: to_millis(self.clock.now()),
        }
    }

    /// Removes one object.
    pub(super) async fn delete(
        &self,
        task: &Task<'_>,
        object: &Object,
        there: Option<&Remote>,
    ) -> Report {
        let now = self.clock.now();
        let started = now.checked_sub(self.started.elapsed()).unwrap_or(now);
        let until = object.doubt.as_ref().and_then(|doubt| doubt.until(now, started));
        let landed = until.map_or(Landed::Gone, |until| Landed::Removed { until });
        let result = self.remove(task, object, there).await.map(|()| landed);
        Report { sub_key: object.sub_key.clone(), name: object.name.clone(), result }
    }

    async fn remove(
        &self,
        task: &Task<'_>,
        object: &Object,
        there: Option<&Remote>,
    ) -> Result<(), Error> {
        let delivered = object.delivered.as_ref();
        let known = delivered.filter(|delivered| !delivered.is_taken_over(&task.epoch.id));
        let identity = known.and_then(|delivered| delivered.identity.clone());
        let written = object.may_be_written();
        // A delivery in doubt may have made another object, as the one before it had gone.
        let proof = object.proof(&task.epoch.id, there);
        let proof = proof.filter(|_| !written || identity.is_none());
        let removal = Removal {
            name: object.name.clone(),
            delivered: proof.cloned(),
            identity,
            written,
            repeated: object.may_be_gone(),
            mark: task.mark(&self.barrier, &object.name),
            how: task.configured.stored.deletion,
        };
        let detail = task.detail(&object.name);
        self.audit(task, "remove", &detail).await?;
        let started = Instant::now();
        let result = self.tenure.during(task.configured.destination.delete(&removal)).await;
        self.audit_result(task, "removed", detail, result.as_ref().err()).await;
        result?;
        let kind = &task.association.destination_type;
        let destination = &task.association.destination_name;
        event::removed(kind, destination, task.key, started.elapsed());
        Ok(())
    }

    /// Whether what was just delivered is really there, before what it replaces goes; where looking
    /// is not permitted the destination's own answer has to do.
    pub(super) async fn confirmed(&self, task: &Task<'_>, name: &str) -> Result<(), Error> {
        let names = Names::These(vec![name.to_owned()]);
        match task.configured.destination.survey(&names, None).await {
            Ok(survey) if survey.objects.get(name).is_none_or(|remote| remote.deleting) => {
                let message = "the new name does not show at the destination yet: the former one \
                               stays until it does";
                Err(Error::new(Failure::Conflict, message))
            }
            Ok(_) => Ok(()),
            Err(error) if error.missing_permission.is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A token for a delivery: the same while it is tried again, and never one that anything else
    /// was sent with in between.
    fn token(&self, task: &Task<'_>, desired: &Desired) -> String {
        let mut begun = self.begun.lock();
        let begun = begun.entry(task.key.clone()).or_default();
        if let Some(begun) = begun.get(&desired.name).filter(|begun| begun.is(desired)) {
            return begun.token.clone();
        }
        let token = random::uuid().to_string();
        begun.insert(
            desired.name.clone(),
            Begun {
                content_mark: desired.content_mark.clone(),
                source_version: desired.source_version,
                generation: desired.generation,
                tags: desired.tags.clone(),
                placement: desired.placement.clone(),
                token: token.clone(),
                is_used: false,
            },
        );
        token
    }

    /// Forgets tokens under which certainly nothing was done, and those of what is recorded as done: a
    /// later delivery of the same value is another one, and a destination that knows its token would
    /// take it for this one.
    pub(super) fn forget_tokens(&self, key: &Key, outcome: &Outcome) {
        let mut begun = self.begun.lock();
        let Some(tokens) = begun.get_mut(key) else { return };
        for Report { name, result, .. } in &outcome.reports {
            let is_used = match result {
                Ok(
                    Landed::Confirmed { .. } | Landed::Kept | Landed::Removed { .. } | Landed::Gone,
                ) => false,
                Ok(Landed::NotDue | Landed::Waits { .. }) => continue,
                Err(error) => error.uncertain || tokens.get(name).is_some_and(|it| it.is_used),
            };
            match tokens.get_mut(name) {
                Some(token) if is_used => token.is_used = true,
                _ => drop(tokens.remove(name)),
            }
        }
        if outcome.is_ok() || tokens.is_empty() {
            begun.remove(key);
        }
    }

    async fn audit(
        &self,
        task: &Task<'_>,
        what: &str,
        detail: &Map<String, Value>,
    ) -> Result<(), Error> {
        self.local.audit(&task.caller, &task.key.namespace, what, &task.path, detail).await
    }

    async fn audit_result(
        &self,
        task: &Task<'_>,
        what: &str,
        mut detail: Map<String, Value>,
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
}

/// What a delivery finds under its name as far as we know. Where others were at it, or a call of ours
/// has no certain answer, which of our tags are left is not known: all are set again.
pub(crate) fn previous(object: &Object, desired: &Desired, why: Reason) -> Option<Delivered> {
    let mut previous = object.delivered.clone()?;
    // A ledger of before a restoration does not know what was done since.
    let restored = previous.tags.get(MARK_TAG) != desired.tags.get(MARK_TAG);
    if restored || object.doubt.is_some() || matches!(why, Reason::Drift(_)) {
        previous.tags.retain(|key, _| !desired.tags.contains_key(key));
    }
    let doubtful = object.doubt.iter().flat_map(|doubt| &doubt.tags);
    let left = doubtful.filter(|key| !desired.tags.contains_key(*key));
    previous.tags.extend(left.map(|key| (key.clone(), String::new())));
    Some(previous)
}

impl Begun {
    fn is(&self, desired: &Desired) -> bool {
        self.content_mark == desired.content_mark
            && self.source_version == desired.source_version
            && self.generation == desired.generation
            && self.tags == desired.tags
            && self.placement == desired.placement
    }
}

/// Why a value of this size is not delivered.
pub(crate) fn too_large(configured: &Configured, bytes: usize) -> Option<Error> {
    let max = configured.destination.limits().payload_bytes_max;
    (bytes > max).then(|| {
        let kind = &configured.stored.kind;
        let message = format!("the value is {bytes} bytes, {kind} takes at most {max} bytes");
        Error::new(Failure::TooLarge, message)
    })
}

/// Why an object is left alone.
pub(crate) fn not_ours(name: &str, owner: Owner) -> Error {
    let whose = match owner {
        Owner::Twin => {
            "is owned by another server with this server's keys: a copy of it, or one restored from \
             its snapshot"
        }
        Owner::Sibling => {
            "is kept by this server itself: for a source, or for an association that a source must \
             not touch"
        }
        Owner::Other => "is owned by another server: it carries that one's mark",
        Owner::Vault => "is synced by another server: it carries the tag hashicorp:vault",
        Owner::Us | Owner::Nobody => "was made by somebody else: it carries no mark",
    };
    Error::new(Failure::NotOurs, format!("the object {name:?} at the destination {whose}"))
}
