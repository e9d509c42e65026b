//! The end of tokens: revocation and expiry.
//!
//! A token ends with one small batch that marks it; from then on it and all below it are dead,
//! since a token lives only while its ancestors do. What is left in storage is cleared away
//! afterwards from the leaves up, in bounded batches. The mark is first in the order of ends, so a
//! pass takes up what was cut short.

use super::{
    TokenId, kept_key, place,
    record::{Record, Stored, child_key, login_key, parse_due, record_key, state_key},
    store::TokenStore,
};
use bailee_barrier::View;
use bailee_crypto::clock::{from_millis, to_millis};
use bailee_sdk::{Code, Error, Namespace};
use std::{future::Future, time::SystemTime};

/// Tokens that one batch clears: some backends take no more than 128 writes at once.
const CLEARED_AT_ONCE: usize = 15;
/// Ends that a pass reads at once.
const DUE_AT_ONCE: usize = 256;
/// Times a batch is tried while others change the same tokens.
const ATTEMPTS_MAX: usize = 8;
/// Logins of a disabled mount that are ended at once.
const LOGINS_AT_ONCE: usize = 100;
/// Namespaces that a pass reads at once.
const NAMESPACES_AT_ONCE: usize = 256;

impl TokenStore {
    /// Ends a token and all that descend from it. Dead at once; what is left of them in storage is
    /// cleared in bounded batches, by `expire_pass` if this is cut short.
    pub(crate) async fn revoke_tree(&self, id: &TokenId) -> Result<(), Error> {
        if self.end(id).await? {
            self.clear(id).await?;
        }
        Ok(())
    }

    /// Ends a token; those it made go on without a parent. A repetition takes up what was cut short.
    pub(crate) async fn revoke_orphan(&self, id: &TokenId) -> Result<(), Error> {
        loop {
            let children = self.children(id).await?;
            if children.is_empty() {
                return self.revoke_tree(id).await;
            }
            self.persist(|| self.release(id, &children)).await?;
        }
    }

    /// Takes some tokens from below their parent, in one batch.
    async fn release(&self, parent: &TokenId, children: &[TokenId]) -> Result<(), Error> {
        let view = self.barrier.view(&parent.place());
        for child in children {
            let place = view.at(&child.place());
            let found: Option<(Record, _)> = place.get_at(&record_key(child)).await?;
            if let Some((record, revision)) = found {
                if let Some(revision) = revision {
                    place.expect(&record_key(child), revision);
                }
                place.put(&record_key(child), &Record { parent: None, ..record });
            }
            view.delete(&child_key(parent, child));
        }
        self.land(view, children.to_vec()).await
    }

    /// Ends all logins of an auth mount, in bounded batches; one that is cut short goes on where it
    /// was when it is repeated.
    pub(crate) async fn revoke_logins(
        &self,
        namespace: &Namespace,
        mount: &str,
    ) -> Result<(), Error> {
        let view = self.barrier.view(&place(&namespace.id));
        let folder = format!("login/{mount}/");
        let mut after = String::new();
        loop {
            let codes = view.list(&folder, &after, LOGINS_AT_ONCE).await?;
            for code in &codes {
                let id = TokenId::new(code, &namespace.id);
                self.revoke_tree(&id).await?;
                // Removed with the token; one left over from a token that is gone stays otherwise.
                view.delete(&login_key(mount, &id));
            }
            view.commit().await?;
            match codes.last() {
                Some(last) if codes.len() == LOGINS_AT_ONCE => after.clone_from(last),
                _ => return Ok(()),
            }
        }
    }

    /// Does something again while others change the same tokens.
    async fn persist<F, Fut>(&self, work: F) -> Result<(), Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<(), Error>>,
    {
        for _ in 1..ATTEMPTS_MAX {
            match work().await {
                Err(error) if error.code == Code::Conflict => {}
                outcome => return outcome,
            }
        }
        work().await
    }

    /// One idempotent pass: clears away what has ended by `now`. Returns when something ends next.
    /// What fails is left for the next pass, and is the error; the rest is done all the same.
    pub(crate) async fn expire_pass(&self, now: SystemTime) -> Result<Option<SystemTime>, Error> {
        let now = to_millis(now);
        let mut next: Option<u64> = None;
        let mut failure = None;
        let namespaces = self.barrier.view("n/");
        let mut after = String::new();
        loop {
            let found = namespaces.list("", &after, NAMESPACES_AT_ONCE).await?;
            for name in &found {
                match self.expire_in(name.trim_end_matches('/'), now, &mut failure).await {
                    Ok(due) => next = next.into_iter().chain(due).min(),
                    Err(error) => failure = Some(error),
                }
            }
            match found.last() {
                Some(last) if found.len() == NAMESPACES_AT_ONCE => after.clone_from(last),
                _ => break,
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(next.map(from_millis)),
        }
    }

    async fn expire_in(
        &self,
        namespace_id: &str,
        now: u64,
        failure: &mut Option<Error>,
    ) -> Result<Option<u64>, Error> {
        let view = self.barrier.view(&place(namespace_id));
        let mut after = String::new();
        loop {
            let found = view.list("due/", &after, DUE_AT_ONCE).await?;
            for name in &found {
                let Some((due, code)) = parse_due(name) else { continue };
                if due > now {
                    return Ok(Some(due));
                }
                let id = TokenId::new(code, namespace_id);
                if let Err(error) = self.settle(&id, name, now).await {
                    *failure = Some(error);
                }
            }
            match found.last() {
                Some(last) if found.len() == DUE_AT_ONCE => after.clone_from(last),
                _ => return Ok(None),
            }
        }
    }

    /// Does what an entry in the order of ends asks for.
    async fn settle(&self, id: &TokenId, name: &str, now: u64) -> Result<(), Error> {
        let view = self.barrier.view(&id.place());
        view.lock(&record_key(id)).await;
        let key = format!("due/{name}");
        let stored = Stored::read(&view, id).await?;
        if stored.as_ref().is_none_or(|stored| stored.state.due_key(id).as_ref() != Some(&key)) {
            view.delete(&key);
            return self.land(view, Vec::new()).await;
        }
        let Some(stored) = stored else { return Ok(()) };
        // A token that was prolonged meanwhile would stand elsewhere in the order.
        if !stored.record.ended {
            if !stored.state.is_over(now) && !stored.state.used_up {
                return Ok(());
            }
            mark_ended(&view, id, stored);
            self.land(view, vec![id.clone()]).await?;
        }
        self.clear(id).await
    }

    /// Marks a token as ended, durably. `false` when there is no such token.
    pub(super) async fn end(&self, id: &TokenId) -> Result<bool, Error> {
        let view = self.barrier.view(&id.place());
        view.lock(&record_key(id)).await;
        let Some(stored) = Stored::read(&view, id).await? else { return Ok(false) };
        if !stored.record.ended {
            mark_ended(&view, id, stored);
            self.land(view, vec![id.clone()]).await?;
        }
        Ok(true)
    }

    /// Clears away an ended token and all below it, from the leaves up.
    async fn clear(&self, root: &TokenId) -> Result<(), Error> {
        let mut parents = vec![root.clone()];
        while let Some(parent) = parents.last().cloned() {
            let mut leaves = Vec::new();
            let mut branches = Vec::new();
            for child in self.children(&parent).await? {
                if self.has_children(&child).await? {
                    branches.push(child);
                } else {
                    leaves.push(child);
                }
            }
            if leaves.is_empty() && branches.is_empty() {
                parents.pop();
                continue;
            }
            for leaf in &leaves {
                self.let_go(leaf).await?;
            }
            self.persist(|| self.remove(Some(&parent), &leaves)).await?;
            parents.append(&mut branches);
        }
        self.let_go(root).await?;
        self.persist(|| self.remove(None, std::slice::from_ref(root))).await
    }

    async fn has_children(&self, id: &TokenId) -> Result<bool, Error> {
        let view = self.barrier.view(&id.place());
        Ok(!view.list(&format!("child/{}/", id.code()), "", 1).await?.is_empty())
    }

    /// Some of the tokens that a token made.
    async fn children(&self, id: &TokenId) -> Result<Vec<TokenId>, Error> {
        let view = self.barrier.view(&id.place());
        let names = view.list(&format!("child/{}/", id.code()), "", CLEARED_AT_ONCE).await?;
        Ok(names.iter().map(|name| TokenId::from_text(name)).collect())
    }

    /// Removes all that is stored of some tokens without children, in one batch. It conflicts when
    /// one changes meanwhile: a text that a user chose may stand for a new token by then.
    async fn remove(&self, parent: Option<&TokenId>, ids: &[TokenId]) -> Result<(), Error> {
        let view = self.barrier.view("");
        for id in ids {
            let place = view.at(&id.place());
            if let Some(stored) = Stored::read(&view, id).await? {
                stored.guard(&view, id);
                place.delete(&self.accessor_key(&stored.record.accessor));
                place.delete(&self.origin_key(&stored.record.path, id));
                view.delete(&kept_key(id));
                if let Some(key) = stored.state.due_key(id) {
                    place.delete(&key);
                }
                if let Some(mount) = &stored.record.origin.mount {
                    place.delete(&login_key(mount, id));
                }
                if let Some(parent) = stored.record.parent.as_deref().map(TokenId::from_text) {
                    view.at(&parent.place()).delete(&child_key(&parent, id));
                }
            }
            if let Some(parent) = parent {
                view.at(&parent.place()).delete(&child_key(parent, id));
            }
            place.delete(&record_key(id));
            place.delete(&state_key(id));
        }
        self.land(view, ids.to_vec()).await
    }
}

/// Marks a token as ended in the unit of `view`, and puts it first in the order of ends.
fn mark_ended(view: &View, id: &TokenId, stored: Stored) {
    let mut state = stored.state.clone();
    state.cleared = Some(0);
    stored.guard(view, id);
    stored.change_state(view, id, &state);
    view.put(&record_key(id), &Record { ended: true, ..stored.record });
}
