//! Ends that are asked for before their time: the lease is first in the order from then on, and the
//! lanes do the rest, also after a crash.

use super::{
    record::{Record, id_key, parse_noted, place, token_prefix},
    store::{Found, LeaseStore},
};
use crate::token::TokenId;
use bailee_barrier::{Barrier, View};
use bailee_sdk::{Code, Error};
use std::sync::Arc;

/// Leases that one batch marks: some backends take no more than 128 writes at once.
const MARKED_AT_ONCE: usize = 25;
/// Times a batch is tried while others change the same leases.
const ATTEMPTS_MAX: usize = 8;

impl LeaseStore {
    /// Marks leases as revoked, durably, in bounded batches. Those that are gone are fine.
    pub(crate) async fn mark(&self, found: &[Found]) -> Result<(), Error> {
        for batch in found.chunks(MARKED_AT_ONCE) {
            let again = || async {
                let view = self.barrier.view("");
                for found in batch {
                    let view = view.at(&place(&found.namespace.id));
                    mark_one(&view, &found.code).await?;
                }
                view.commit().await?;
                Ok::<(), Error>(())
            };
            persist(again).await?;
        }
        Ok(())
    }
}

/// Ends the leases that a token asked for: it has ended itself, and asks for no more.
pub(crate) async fn end_with_token(barrier: &Arc<Barrier>, token: &TokenId) -> Result<bool, Error> {
    let mut some = false;
    let prefix = token_prefix(token);
    loop {
        let noted = barrier.view(&prefix).list("", "", MARKED_AT_ONCE).await?;
        if noted.is_empty() {
            return Ok(some);
        }
        some = true;
        let again = || async {
            let view = barrier.view(&prefix);
            for name in &noted {
                let (code, namespace_id) = parse_noted(name);
                mark_one(&view.at(&place(&namespace_id)), code).await?;
                view.delete(name);
            }
            view.commit().await?;
            Ok::<(), Error>(())
        };
        persist(again).await?;
    }
}

async fn mark_one(view: &View, code: &str) -> Result<(), Error> {
    let key = id_key(code);
    let Some((record, revision)) = view.get_at::<Record>(&key).await? else { return Ok(()) };
    if let Some(revision) = revision {
        view.expect(&key, revision);
    }
    record.change(view, code, &Record { revoked: true, due: 0, ..record.clone() });
    Ok(())
}

/// Whether someone else was faster.
pub(super) trait Conflicts {
    fn is_conflict(&self) -> bool;
}

impl Conflicts for Error {
    fn is_conflict(&self) -> bool {
        self.code == Code::Conflict
    }
}

/// Does something again while others change the same leases.
pub(super) async fn persist<T, E, F, Fut>(work: F) -> Result<T, E>
where
    E: Conflicts,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    for _ in 1..ATTEMPTS_MAX {
        match work().await {
            Err(error) if error.is_conflict() => {}
            outcome => return outcome,
        }
    }
    work().await
}
