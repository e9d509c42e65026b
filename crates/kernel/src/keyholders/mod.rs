//! What those who hold the shares of the root key decide together: new shares, and a new root token.
//!
//! No token is asked for; the shares are the right. One operation of each sort runs at a time, is
//! named by a nonce, and ends with the session: nothing of it is stored before its last step.

mod gathering;
mod generate_root;
mod rekey;
mod written;

pub(crate) use gathering::{SHARE_BYTES_MAX, SHARE_BYTES_MIN};
pub(crate) use generate_root::root_token;
pub use written::WrittenShares;

use crate::token::TokenStore;
use arc_swap::ArcSwap;
use bailee_barrier::{Barrier, seal::shamir::ShamirSeal};
use bailee_sdk::{Code, Engine, Error, Nothing, Operation, Path};
use gathering::Gathering;
use generate_root::NewRoot;
use rekey::Rekey;
use schemars::JsonSchema;
use serde::Deserialize;
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::MutexGuard;

/// Serves `sys/rekey` and `sys/generate-root`, and knows how the storage is sealed.
pub(crate) struct Keyholders {
    barrier: Arc<Barrier>,
    tokens: Arc<TokenStore>,
    seal: ArcSwap<ShamirSeal>,
    /// Held by whoever changes something: operations follow one another.
    work: tokio::sync::Mutex<Work>,
}

#[derive(Default)]
struct Work {
    rekey: Option<Rekey>,
    root: Option<NewRoot>,
    /// The session ends: nothing is begun or finished any more.
    closed: bool,
    /// A commit failed and may have landed: only storage knows how it is sealed.
    unsure: bool,
}

/// One more share.
#[derive(Deserialize, JsonSchema)]
struct Share {
    /// A share of the key, in hexadecimal or base64.
    #[serde(default)]
    #[schemars(with = "String")]
    key: Option<bailee_sdk::Sensitive<String>>,
    /// Names the operation that the share is for.
    #[serde(default)]
    nonce: Option<String>,
}

/// Which operation is meant.
#[derive(Deserialize, JsonSchema)]
struct Which {
    /// Names the operation; when given it must be the one that is under way.
    #[serde(default)]
    nonce: Option<String>,
}

impl Engine for Keyholders {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        let mut paths = rekey::paths(&self);
        paths.extend(generate_root::paths(&self));
        paths
    }
}

impl Keyholders {
    pub(crate) fn new(
        barrier: Arc<Barrier>,
        tokens: Arc<TokenStore>,
        seal: Arc<ShamirSeal>,
    ) -> Keyholders {
        let work = tokio::sync::Mutex::default();
        Keyholders { barrier, tokens, seal: ArcSwap::new(seal), work }
    }

    /// How the storage is sealed.
    pub(crate) fn seal(&self) -> Arc<ShamirSeal> {
        self.seal.load_full()
    }

    /// Ends all operations, waiting for one that is just being finished. How the storage is sealed
    /// from then on; `None` when only storage can tell.
    pub(crate) async fn close(&self, patience: Duration) -> Option<Arc<ShamirSeal>> {
        let mut work = tokio::time::timeout(patience, self.work.lock()).await.ok()?;
        let unsure = work.unsure;
        *work = Work { closed: true, unsure, ..Work::default() };
        (!unsure).then(|| self.seal())
    }

    async fn work(&self) -> Result<MutexGuard<'_, Work>, Error> {
        let work = self.work.lock().await;
        if work.closed {
            return Err(Error::new(Code::Sealed, "Vault is sealed"));
        }
        Ok(work)
    }

    fn required(&self) -> usize {
        self.seal.load().shares().threshold().into()
    }

    /// Whether enough shares are there and make the key of this storage. Wrong ones are forgotten.
    async fn prove(&self, gathering: &mut Gathering) -> Result<bool, Error> {
        if gathering.count() < self.required() {
            return Ok(false);
        }
        let is_right = match gathering.combine() {
            Some(key) => self.barrier.is_root_key(&key).await?,
            None => false,
        };
        if !is_right {
            gathering.clear();
            crate::event::unseal_failed();
            return Err(Error::invalid(
                "unseal key verification failed: these shares do not open the storage; all of them \
                 are forgotten, give them again",
            ));
        }
        Ok(true)
    }
}

/// Refuses the encryption of results for PGP keys, which is not built.
pub(crate) fn refuse_pgp(field: &str, is_asked: bool) -> Result<(), Error> {
    if !is_asked {
        return Ok(());
    }
    let text = format!("{field}: encrypting the result with PGP is not supported; leave it out");
    Err(Error::invalid(text))
}

/// Declares the same code under several operations' usual paths.
fn open_path(pattern: &'static str) -> Path {
    Path::new(pattern).unauthenticated().root_only()
}

/// The verbs of a family that exists for other seals only.
fn without_use(pattern: &'static str, keyholders: &Arc<Keyholders>, delete: bool) -> Path {
    let summary = "Recovery keys belong to seals that unseal by themselves.";
    let path = open_path(pattern)
        .on(Operation::Read, keyholders, summary, Keyholders::no_recovery)
        .on(Operation::Update, keyholders, summary, Keyholders::no_recovery);
    if delete {
        path.on(Operation::Delete, keyholders, summary, Keyholders::no_recovery)
    } else {
        path
    }
}

impl fmt::Debug for Keyholders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyholders(..)")
    }
}
