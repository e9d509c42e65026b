//! Copies of the whole storage, and its replacement by one.

use super::{Core, State, sealed};
use crate::{
    Call, event,
    snapshot::{self, Checked, Meta, SNAPSHOT_BYTES_MAX, StateFile, disk, entries},
};
use bailee_barrier::Barrier;
use bailee_crypto::{random, sensitive};
use bailee_sdk::{Code, Error};
use bytes::Bytes;
use jiff::Timestamp;
use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Weak},
};
use tokio::{
    io::AsyncWriteExt,
    sync::{OwnedSemaphorePermit, mpsc},
};

/// Bytes of a snapshot that are sent at a time, and pieces that may wait for the client.
const PIECE_BYTES: usize = 64 << 10;
const PIECES_MAX: usize = 8;
/// Snapshots that are made or received at one time: each takes room on the disk of the data.
pub(super) const SNAPSHOTS_MAX: usize = 2;
/// What the signature of a snapshot's sums is for.
const PURPOSE: &str = "snapshot";

/// The bytes of a snapshot as they are made; an error cuts it off.
pub type SnapshotBytes = mpsc::Receiver<io::Result<Bytes>>;

/// A snapshot that is being received, to be restored.
pub struct Restore {
    core: Arc<Core>,
    file: tokio::fs::File,
    bytes: u64,
    force: bool,
    turn: OwnedSemaphorePermit,
}

impl Core {
    /// A snapshot of everything that is stored, if the caller may have it. `call` is for
    /// `sys/storage/raft/snapshot`.
    pub async fn save(self: &Arc<Self>, call: Call) -> Result<SnapshotBytes, Error> {
        let barrier = {
            let active = self.active().ok_or_else(sealed)?;
            active.kernel.handle(call).await?;
            Arc::downgrade(&active.kernel.barrier)
        };
        let turn = self.turn()?;
        let settings = &self.parts.settings;
        let state = StateFile::copy(&*self.parts.backend, &settings.scratch).await?;
        let created = Timestamp::try_from(self.parts.clock.now()).map(|now| now.to_string());
        let meta = Meta {
            format: Meta::FORMAT.to_owned(),
            format_version: Meta::VERSION,
            id: random::uuid().to_string(),
            created: created.unwrap_or_default(),
            server_version: settings.version.to_owned(),
            entries: state.entries,
            state_bytes: state.bytes,
        };
        event::snapshot_made(&meta.id, state.entries, state.bytes);
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        tokio::task::spawn_blocking(move || {
            let out = Pieces { sender: sender.clone(), waiting: Vec::new() };
            let _turn = turn;
            let written = snapshot::write(state, &meta, |sums| signature(&barrier, sums), out);
            if let Err(error) = written {
                event::snapshot_cut_off(&error);
                // The client may be the one that is gone.
                sender.blocking_send(Err(error)).ok();
            }
        });
        Ok(pieces)
    }

    /// Begins to receive a snapshot, if the caller may replace everything. With `force` it may be
    /// of another cluster: then the server is sealed afterwards and opens with the shares of that.
    pub async fn restore(self: &Arc<Self>, call: Call, force: bool) -> Result<Restore, Error> {
        self.handle(call).await?;
        let turn = self.turn()?;
        let file = snapshot::scratch(&self.parts.settings.scratch).map_err(disk)?;
        let file = tokio::fs::File::from_std(file);
        Ok(Restore { core: self.clone(), file, bytes: 0, force, turn })
    }

    fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        let turn = self.snapshots.clone().try_acquire_owned();
        turn.map_err(|_| {
            let text = format!("{SNAPSHOTS_MAX} snapshots are being made or restored: try again");
            Error::new(Code::RateLimited, text)
        })
    }

    async fn replace(&self, snapshot: Checked, force: bool) -> Result<(), Error> {
        let _alone = self.changing.lock().await;
        let root = {
            let active = self.active().ok_or_else(sealed)?;
            let barrier = &active.kernel.barrier;
            if !force && !is_of(barrier, &snapshot).await? {
                return Err(Error::invalid(
                    "could not verify hash file, possibly the snapshot is using a different set of \
                     unseal keys; use the snapshot-force API to bypass this check",
                ));
            }
            barrier.root_key().await?
        };
        // Nothing of what is known of the storage holds any more.
        self.end().await;
        let outcome = match entries(snapshot.state.file) {
            Ok(entries) => self.parts.backend.restore(entries).await.map_err(Error::from),
            Err(error) => Err(error),
        };
        self.state.store(Arc::new(State::Uninitialized));
        event::restored(force, outcome.as_ref().err());
        if outcome.is_err() || !force {
            self.open_again(&root).await?;
        }
        outcome.map(|_| ())
    }

    /// Goes on with what is stored now, where the same shares open it.
    async fn open_again(&self, root: &bailee_barrier::RootKey) -> Result<(), Error> {
        let Some(barrier) = self.open_surely(root).await? else { return Ok(()) };
        match self.find_seal().await? {
            Some(seal) => self.activate(barrier, seal).await,
            None => Err(Error::internal("storage does not say how it is sealed")),
        }
    }
}

impl Restore {
    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes += bytes.len() as u64;
        if self.bytes > SNAPSHOT_BYTES_MAX {
            let text = format!("a snapshot may have {SNAPSHOT_BYTES_MAX} bytes");
            return Err(Error::new(Code::TooLarge, text));
        }
        self.file.write_all(bytes).await.map_err(disk)
    }

    /// Looks at all of it, and only then replaces what is stored: whole, or nothing. It is finished
    /// even if nobody waits.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.file.flush().await.map_err(disk)?;
        let file = self.file.into_std().await;
        let (core, force, turn) = (self.core, self.force, self.turn);
        let work = tokio::spawn(async move {
            let _turn = turn;
            let folder = core.parts.settings.scratch.clone();
            let checked = tokio::task::spawn_blocking(move || snapshot::check(file, &folder));
            core.replace(checked.await.map_err(Error::internal)??, force).await
        });
        work.await.map_err(Error::internal)?
    }
}

/// Whether a snapshot is of this cluster, and opens with the shares of now.
async fn is_of(barrier: &Arc<Barrier>, snapshot: &Checked) -> Result<bool, Error> {
    let signature = sign(barrier, &snapshot.sums);
    let is_signed = sensitive::equal(&signature, &snapshot.sealed);
    Ok(is_signed && barrier.opens(&snapshot.keyring).await?)
}

fn signature(barrier: &Weak<Barrier>, sums: &[u8]) -> io::Result<Vec<u8>> {
    let barrier = barrier.upgrade().ok_or_else(|| io::Error::other("sealed meanwhile"))?;
    Ok(sign(&barrier, sums))
}

fn sign(barrier: &Barrier, sums: &[u8]) -> Vec<u8> {
    hex::encode(barrier.fingerprint(PURPOSE, sums)).into_bytes()
}

/// Sends what is written in pieces, and waits for the client.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    waiting: Vec<u8>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.waiting));
        if piece.is_empty() {
            return Ok(());
        }
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.sender.blocking_send(Ok(piece)).map_err(gone)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

impl fmt::Debug for Restore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Restore({} bytes)", self.bytes)
    }
}
