//! Plays a record back up to a point and makes the disk as a power cut there may leave it.

use crate::chance::Chance;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const SECTOR: usize = 512;

/// One thing the recorded process did.
pub(crate) enum Event {
    Name { file: u32, path: PathBuf },
    Created { file: u32 },
    Changed { file: u32, change: Change },
    Flushed { file: u32 },
    FlushFailed { file: u32 },
    FolderFlushed,
    Unlinked { file: u32 },
    Acknowledged(Vec<u8>),
}

pub(crate) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// What becomes of the changes that were not flushed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// All of them reach the disk.
    All,
    /// None does.
    None,
    /// Those of each file up to some point do.
    InOrder,
    /// Each sector of each does or does not.
    Random,
}

/// The disk while the record is played.
#[derive(Default)]
pub(crate) struct Disk<'a> {
    files: BTreeMap<u32, FileState<'a>>,
    /// What was acknowledged so far.
    pub(crate) acks: Vec<u8>,
}

#[derive(Default)]
struct FileState<'a> {
    name: PathBuf,
    exists: bool,
    /// A power cut cannot take its name away.
    name_is_durable: bool,
    durable: Vec<u8>,
    pending: Vec<&'a Change>,
}

impl<'a> Disk<'a> {
    pub(crate) fn play(&mut self, event: &'a Event) {
        match event {
            Event::Name { file, path } => {
                let name = path.file_name().expect("a recorded file has a name").into();
                self.files.insert(*file, FileState { name, ..FileState::default() });
            }
            Event::Created { file } => self.of(*file).exists = true,
            Event::Changed { file, change } => {
                let state = self.of(*file);
                state.exists = true;
                state.pending.push(change);
            }
            Event::Flushed { file } => {
                let state = self.of(*file);
                for change in state.pending.drain(..) {
                    apply(&mut state.durable, change);
                }
            }
            // The system marks the bytes as written all the same: no later flush writes them.
            Event::FlushFailed { file } => self.of(*file).pending.clear(),
            Event::FolderFlushed => {
                self.files.values_mut().for_each(|state| state.name_is_durable = state.exists);
            }
            Event::Unlinked { file } => {
                let name = std::mem::take(&mut self.of(*file).name);
                *self.of(*file) = FileState { name, ..FileState::default() };
            }
            Event::Acknowledged(ack) => self.acks.extend(ack),
        }
    }

    /// Writes the files as they may be found after a power cut now.
    pub(crate) fn cut(&self, fate: Fate, chance: &mut Chance, into: &Path) {
        for state in self.files.values().filter(|state| state.exists) {
            // The index of the log is shared memory, rebuilt after a cut; the lock file is empty.
            let is_memory = state.name.to_string_lossy().ends_with("-shm");
            let has_name = state.name_is_durable
                || match fate {
                    Fate::All => true,
                    Fate::None => false,
                    Fate::InOrder | Fate::Random => chance.toss(),
                };
            if !is_memory && has_name {
                let bytes = state.after_cut(fate, chance);
                fs::write(into.join(&state.name), bytes).expect("a file of the cut disk is made");
            }
        }
    }

    fn of(&mut self, file: u32) -> &mut FileState<'a> {
        self.files.get_mut(&file).expect("a file is named before it is used")
    }
}

impl FileState<'_> {
    fn after_cut(&self, fate: Fate, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let count = match fate {
            Fate::All | Fate::Random => self.pending.len(),
            Fate::None => 0,
            Fate::InOrder => chance.below(self.pending.len() + 1),
        };
        for change in self.pending.iter().take(count) {
            match (fate, change) {
                (Fate::Random, Change::Write { offset, bytes: written }) => {
                    for (number, sector) in written.chunks(SECTOR).enumerate() {
                        if chance.toss() {
                            put(&mut bytes, offset + number * SECTOR, sector);
                        }
                    }
                }
                (Fate::Random, Change::Length(length)) => {
                    if chance.toss() {
                        bytes.resize(*length, 0);
                    }
                }
                (_, change) => apply(&mut bytes, change),
            }
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes: written } => put(bytes, *offset, written),
        Change::Length(length) => bytes.resize(*length, 0),
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(written);
}

/// Reads a record. The last event may be cut short, as its process was killed.
pub(crate) fn events(mut record: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((event, rest)) = event(record) {
        events.push(event);
        record = rest;
    }
    events
}

fn event(record: &[u8]) -> Option<(Event, &[u8])> {
    let (kind, rest) = record.split_first()?;
    let (file, rest) = rest.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    let file = u32::from_le_bytes(*file);
    let offset = usize::try_from(u64::from_le_bytes(*offset)).expect("offsets fit");
    let size = usize::try_from(u32::from_le_bytes(*size)).expect("sizes fit");
    let (bytes, rest) = rest.split_at_checked(size)?;
    let event = match kind {
        b'N' => Event::Name { file, path: PathBuf::from(String::from_utf8_lossy(bytes).as_ref()) },
        b'C' => Event::Created { file },
        b'W' => {
            let change = Change::Write { offset, bytes: bytes.to_vec() };
            Event::Changed { file, change }
        }
        b'L' => Event::Changed { file, change: Change::Length(offset) },
        b'S' => Event::Flushed { file },
        b'F' => Event::FlushFailed { file },
        b'D' => Event::FolderFlushed,
        b'U' => Event::Unlinked { file },
        b'A' => Event::Acknowledged(bytes.to_vec()),
        other => panic!("the storage does what the replay does not know: {:?}", char::from(*other)),
    };
    Some((event, rest))
}
