//! `sys/rekey`: another root key, split into other shares.
//!
//! Enough of the old shares allow it. The new key takes over in one batch: before it the old shares
//! open the storage, after it the new ones do. With verification the new shares are shown first and
//! take over when enough of them were given back.

use super::{
    Gathering, Keyholders, Nothing, Share, Which, Work, WrittenShares, gathering, open_path,
    refuse_pgp,
};
use crate::event;
use bailee_barrier::{
    RootKey,
    seal::shamir::{self, ShamirSeal, Shares},
};
use bailee_crypto::sensitive;
use bailee_sdk::{
    Error, Operation, Path, Reply, Request,
    field::{CommaList, Flag, Integer},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A change of the shares that is under way.
pub(super) struct Rekey {
    shares: Shares,
    needs_verification: bool,
    old: Gathering,
    made: Option<Made>,
}

/// The new key, once enough old shares were given.
struct Made {
    root: RootKey,
    keys: Vec<Zeroizing<Vec<u8>>>,
    /// New shares that were given back.
    verification: Gathering,
}

#[derive(Deserialize, JsonSchema)]
struct Start {
    /// Shares to make.
    #[serde(default)]
    secret_shares: Integer,
    /// Shares that open the storage.
    #[serde(default)]
    secret_threshold: Integer,
    /// Whether new shares must be given back before they take over.
    #[serde(default)]
    require_verification: Flag,
    /// Whether the encrypted shares are kept; needs `pgp_keys`.
    #[serde(default)]
    backup: Flag,
    /// Public keys for which the shares are encrypted.
    #[serde(default)]
    pgp_keys: CommaList,
}

pub(super) fn paths(keyholders: &Arc<Keyholders>) -> Vec<Path> {
    let begin = "Begin to replace the shares of the root key.";
    let cancel = "Give the replacement of the shares up; those in use stay.";
    let mut paths = vec![
        open_path("rekey/init")
            .on(Operation::Read, keyholders, "Tell how far it is.", Keyholders::rekey_status)
            .on(Operation::Update, keyholders, begin, Keyholders::rekey_start)
            .on(Operation::Delete, keyholders, cancel, Keyholders::rekey_cancel),
        open_path("rekey/update").on(
            Operation::Update,
            keyholders,
            "Give one of the shares that open the storage now.",
            Keyholders::rekey_update,
        ),
        open_path("rekey/verify")
            .on(
                Operation::Read,
                keyholders,
                "Tell how many of the new shares were given back.",
                Keyholders::verify_status,
            )
            .on(
                Operation::Update,
                keyholders,
                "Give one of the new shares back.",
                Keyholders::verify_update,
            )
            .on(
                Operation::Delete,
                keyholders,
                "Begin to give the new shares back anew.",
                Keyholders::verify_restart,
            ),
    ];
    for pattern in ["rekey/backup", "rekey/recovery-key-backup"] {
        paths.push(
            Path::new(pattern)
                .on(
                    Operation::Read,
                    keyholders,
                    "Read the encrypted shares that were kept.",
                    Keyholders::no_backup,
                )
                .on(
                    Operation::Delete,
                    keyholders,
                    "Remove the encrypted shares that were kept.",
                    Keyholders::remove_backup,
                )
                .root_only(),
        );
    }
    paths.push(super::without_use("rekey-recovery-key/init", keyholders, true));
    paths.push(super::without_use("rekey-recovery-key/update", keyholders, false));
    paths.push(super::without_use("rekey-recovery-key/verify", keyholders, true));
    paths
}

impl Keyholders {
    async fn rekey_status(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let work = self.work().await?;
        Ok(Reply::data(&self.progress(&work)))
    }

    async fn rekey_start(self: Arc<Self>, request: Request<Start>) -> Result<Reply, Error> {
        let shares = request.input.shares()?;
        let mut work = self.work().await?;
        if work.rekey.is_some() {
            return Err(Error::invalid("rekey already in progress"));
        }
        work.rekey = Some(Rekey {
            shares,
            needs_verification: request.input.require_verification.0,
            old: Gathering::new(),
            made: None,
        });
        Ok(Reply::data(&self.progress(&work)))
    }

    async fn rekey_cancel(self: Arc<Self>, request: Request<Which>) -> Result<Reply, Error> {
        let mut work = self.work().await?;
        if let (Some(rekey), Some(nonce)) = (&work.rekey, &request.input.nonce)
            && !nonce.is_empty()
        {
            rekey.old.check(nonce, "rekey")?;
        }
        work.rekey = None;
        Ok(Reply::empty())
    }

    async fn rekey_update(self: Arc<Self>, request: Request<Share>) -> Result<Reply, Error> {
        let share = request.input.share()?;
        let mut work = self.work().await?;
        let Some(rekey) = &mut work.rekey else {
            return Err(Error::invalid("no barrier rekey in progress"));
        };
        match &rekey.made {
            Some(made) if rekey.needs_verification => return Err(made.must_be_verified()),
            // Its end is unknown: whoever gave a share before may try again.
            Some(_) if rekey.old.knows(&share) => {
                rekey.old.check(request.input.nonce(), "rekey")?
            }
            Some(_) => return Err(Error::invalid("give a share that was given before")),
            None => {
                rekey.old.check(request.input.nonce(), "rekey")?;
                rekey.old.add(share, "generation")?;
                if !self.prove(&mut rekey.old).await? {
                    return Ok(Reply::data(&self.progress(&work)));
                }
                rekey.made = Some(Made::new(rekey.shares));
            }
        }
        if rekey.needs_verification {
            return rekey.shown().ok_or_else(none);
        }
        self.take_over(&mut work).await?;
        work.rekey.take().as_ref().and_then(Rekey::shown).ok_or_else(none)
    }

    async fn verify_status(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let work = self.work().await?;
        let rekey = work.rekey.as_ref().ok_or_else(none)?;
        Ok(Reply::data(&rekey.verification()))
    }

    async fn verify_restart(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let mut work = self.work().await?;
        let rekey = work.rekey.as_mut().ok_or_else(none)?;
        let made = rekey.made.as_mut().ok_or_else(nothing_to_verify)?;
        made.verification = Gathering::new();
        Ok(Reply::data(&rekey.verification()))
    }

    async fn verify_update(self: Arc<Self>, request: Request<Share>) -> Result<Reply, Error> {
        let share = request.input.share()?;
        let mut work = self.work().await?;
        let rekey =
            work.rekey.as_mut().ok_or_else(|| Error::invalid("no rekey operation in progress"))?;
        let needed = usize::from(rekey.shares.threshold());
        let made = rekey.made.as_mut().ok_or_else(nothing_to_verify)?;
        let nonce = request.input.nonce();
        made.verification.check(nonce, "verify")?;
        if made.verification.count() < needed {
            made.verification.add(share, "verify")?;
        } else if !made.verification.knows(&share) {
            // All were right and the end of the batch is unknown.
            return Err(Error::invalid("give a share that was given before"));
        }
        if made.verification.count() < needed {
            return Ok(Reply::data(&rekey.verification()));
        }
        let proven = made.verification.combine();
        let is_right = |key: RootKey| sensitive::equal(key.expose(), made.root.expose());
        if !proven.is_some_and(is_right) {
            made.verification = Gathering::new();
            return Err(Error::invalid(
                "rekey verification failed: these are not the new shares; those in use stay, give \
                 the new ones again with the new nonce",
            ));
        }
        self.take_over(&mut work).await?;
        work.rekey = None;
        Ok(Reply::data(&json!({ "nonce": nonce, "complete": true })))
    }

    /// The new key takes over, in one batch with the number of its shares.
    async fn take_over(&self, work: &mut Work) -> Result<(), Error> {
        let (shares, outcome) = {
            let rekey = work.rekey.as_ref().ok_or_else(none)?;
            let made = rekey.made.as_ref().ok_or_else(nothing_to_verify)?;
            let beside = vec![ShamirSeal::config_write(rekey.shares)];
            (rekey.shares, self.barrier.rekey(&made.root, beside).await)
        };
        work.unsure = outcome.is_err();
        outcome?;
        self.seal.store(Arc::new(ShamirSeal::new(shares)));
        event::rekeyed(shares.total(), shares.threshold());
        Ok(())
    }

    fn progress(&self, work: &Work) -> Value {
        let rekey = work.rekey.as_ref();
        let mut progress = json!({
            "nonce": rekey.map_or("", |rekey| rekey.old.nonce.as_str()),
            "started": rekey.is_some(),
            "t": rekey.map_or(0, |rekey| rekey.shares.threshold()),
            "n": rekey.map_or(0, |rekey| rekey.shares.total()),
            "progress": rekey.map_or(0, |rekey| rekey.old.count()),
            "required": self.required(),
            "pgp_fingerprints": null,
            "backup": false,
            "verification_required": rekey.is_some_and(|rekey| rekey.needs_verification),
        });
        let made = rekey.filter(|rekey| rekey.needs_verification).and_then(|it| it.made.as_ref());
        if let (Some(made), Some(fields)) = (made, progress.as_object_mut()) {
            let nonce = made.verification.nonce.as_str();
            fields.insert("verification_nonce".to_owned(), nonce.into());
        }
        progress
    }

    async fn no_backup(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        Err(Error::invalid("no backed-up keys found"))
    }

    async fn remove_backup(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        Ok(Reply::empty())
    }

    pub(super) async fn no_recovery(
        self: Arc<Self>,
        _request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        Err(Error::invalid("recovery rekeying not supported"))
    }
}

impl Start {
    fn shares(&self) -> Result<Shares, Error> {
        let (total, threshold) = (self.secret_shares.0, self.secret_threshold.0);
        let keys = self.pgp_keys.0.len();
        if self.backup.0 && keys == 0 {
            return Err(Error::invalid(
                "cannot request a backup of the new keys without providing PGP keys for encryption",
            ));
        }
        if keys > 0 && usize::try_from(total) != Ok(keys) {
            return Err(Error::invalid("incorrect number of PGP keys for rekey"));
        }
        refuse_pgp("pgp_keys", keys > 0)?;
        if threshold > total {
            return Err(Error::invalid("provided threshold greater than the total shares"));
        }
        Shares::new(total, threshold)
            .map_err(|reason| Error::invalid(format!("invalid rekey seal configuration: {reason}")))
    }
}

impl Share {
    pub(super) fn share(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        gathering::share(self.key.as_ref().map_or("", |key| key.expose().as_str()))
    }

    pub(super) fn nonce(&self) -> &str {
        self.nonce.as_deref().unwrap_or_default()
    }
}

impl Rekey {
    /// The new shares, for those who made them.
    fn shown(&self) -> Option<Reply> {
        let made = self.made.as_ref()?;
        let written = WrittenShares::of(&made.keys);
        let mut shown = json!({
            "nonce": self.old.nonce,
            "complete": true,
            "keys": written.hex(),
            "keys_base64": written.base64(),
            "pgp_fingerprints": null,
            "backup": false,
            "verification_required": self.needs_verification,
        });
        if let (true, Some(fields)) = (self.needs_verification, shown.as_object_mut()) {
            let nonce = made.verification.nonce.as_str();
            fields.insert("verification_nonce".to_owned(), nonce.into());
        }
        Some(Reply::data(&shown))
    }

    fn verification(&self) -> Value {
        let gathering =
            self.made.as_ref().filter(|_| self.needs_verification).map(|made| &made.verification);
        json!({
            "nonce": gathering.map_or("", |gathering| gathering.nonce.as_str()),
            "started": gathering.is_some(),
            "t": self.shares.threshold(),
            "n": self.shares.total(),
            "progress": gathering.map_or(0, Gathering::count),
        })
    }
}

impl Made {
    fn new(shares: Shares) -> Made {
        let root = RootKey::generate();
        let keys = shamir::split(&root, shares);
        Made { root, keys, verification: Gathering::new() }
    }

    fn must_be_verified(&self) -> Error {
        let nonce = &self.verification.nonce;
        Error::invalid(format!(
            "rekey operation already finished; verification must be performed; nonce for the \
             verification operation is {nonce:?}"
        ))
    }
}

fn none() -> Error {
    Error::invalid("no rekey configuration found")
}

fn nothing_to_verify() -> Error {
    Error::invalid("no rekey verification operation in progress")
}
