//! What guards the root key.

use crate::RootKey;
use async_trait::async_trait;
use bailee_storage::Error;

pub mod shamir;

/// What a share, or the asking of an outside key, came to.
#[derive(Debug)]
pub enum Unlock {
    /// More shares are needed.
    Missing {
        /// Shares given so far.
        have: usize,
        /// Shares needed.
        need: usize,
    },
    /// The shares given do not make a key; they are forgotten.
    Wrong,
    /// A root key. Only the barrier can tell whether it is the right one.
    Open(RootKey),
}

/// Guards the root key: Shamir shares here; seals that call out live in the binary.
#[async_trait]
pub trait Seal: Send + Sync {
    /// The seal's type as `sys/seal-status` names it.
    fn kind(&self) -> &'static str;

    /// Takes one more share, if the seal works with shares.
    async fn unlock(&self, share: Option<&[u8]>) -> Result<Unlock, Error>;
}
