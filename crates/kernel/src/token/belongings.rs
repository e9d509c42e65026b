//! What hangs on a token and ends with it: leases, its cubbyhole, and the answer it was made for.

use super::{
    TokenId,
    record::{Record, record_key},
    store::TokenStore,
};
use crate::{cubbyhole, lease};
use bailee_barrier::View;
use bailee_sdk::Error;

impl TokenStore {
    /// The unit of `view` commits only while the token has not been revoked: what is put on a token
    /// would be left behind otherwise.
    pub(crate) async fn bind(&self, view: &View, id: &TokenId) -> Result<(), Error> {
        let view = view.at(&id.place());
        match view.get_at::<Record>(&record_key(id)).await? {
            Some((record, revision)) if !record.ended => {
                if let Some(revision) = revision {
                    view.expect(&record_key(id), revision);
                }
                Ok(())
            }
            _ => Err(Error::permission_denied()),
        }
    }

    /// Clears away what hangs on an ended token. Repeated until it gets through.
    pub(super) async fn let_go(&self, id: &TokenId) -> Result<(), Error> {
        if lease::end_with_token(&self.barrier, id).await? {
            self.released.notify_one();
        }
        cubbyhole::clear(&self.barrier, id).await
    }
}

/// Where the answer is that was put away under a wrapping token: a full storage key.
pub(crate) fn kept_key(id: &TokenId) -> String {
    format!("{}kept/{}", id.place(), id.code())
}
