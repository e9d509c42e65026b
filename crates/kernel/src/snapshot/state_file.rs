//! `state.bin`: the entries one after the other, keys in order.
//!
//! It begins with a line that names the format. Each entry is the length of its key and of its value
//! (four bytes each, big-endian), the key, the value; two zero lengths end the file.

use super::{disk, scratch, unusable};
use bailee_barrier::restore_marks;
use bailee_crypto::hash::Sha256;
use bailee_sdk::Error;
use bailee_storage::{Backend, Entries, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::Path,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};

const FIRST_LINE: &[u8] = b"bailee-state 1\n";
/// Bytes read or written at a time.
const BUFFER_BYTES: usize = 1 << 20;
/// Entries that the checks want to see.
const WANTED_KEYS: [&str; 2] =
    [bailee_barrier::KEYRING_KEY, bailee_barrier::seal::shamir::CONFIG_KEY];

/// The file, and what its archive says about it.
#[derive(Debug)]
pub(crate) struct StateFile {
    pub(crate) file: File,
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) entries: u64,
}

impl StateFile {
    /// Copies what `backend` holds at one moment. Writes go on meanwhile.
    pub(crate) async fn copy(backend: &dyn Backend, folder: &Path) -> Result<StateFile, Error> {
        let file = scratch(folder).map_err(disk)?;
        let writer = tokio::fs::File::from_std(file.try_clone().map_err(disk)?);
        let mut out = Counted {
            writer: BufWriter::with_capacity(BUFFER_BYTES, writer),
            hash: Sha256::default(),
            bytes: 0,
        };
        out.write(FIRST_LINE).await.map_err(disk)?;
        let mut found = backend.scan("", "");
        let mut entries = 0;
        while let Some((key, entry)) = found.try_next().await? {
            out.length(key.len()).await.map_err(disk)?;
            out.length(entry.bytes.len()).await.map_err(disk)?;
            out.write(key.as_bytes()).await.map_err(disk)?;
            out.write(&entry.bytes).await.map_err(disk)?;
            entries += 1;
        }
        out.write(&[0; 8]).await.map_err(disk)?;
        out.writer.flush().await.map_err(disk)?;
        Ok(StateFile { file, bytes: out.bytes, sha256: out.hash.finish(), entries })
    }

    /// Looks at every entry of a file that someone sent. What the checks want to see.
    pub(crate) fn check(&self) -> Result<BTreeMap<&'static str, Vec<u8>>, Error> {
        let mut file = &self.file;
        file.rewind().map_err(disk)?;
        let mut input = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut first = [0; FIRST_LINE.len()];
        if input.read_exact(&mut first).is_err() || first != FIRST_LINE {
            return Err(unusable("its state was written by another server, or in a newer format"));
        }
        let (mut last, mut count, mut wanted) = (String::new(), 0, BTreeMap::new());
        let mut value = Vec::new();
        while let Some((key_bytes, value_bytes)) = lengths(&mut input)? {
            let mut key = vec![0; key_bytes];
            value.resize(value_bytes, 0);
            input
                .read_exact(&mut key)
                .and_then(|()| input.read_exact(&mut value))
                .map_err(short)?;
            let key = String::from_utf8(key).map_err(|_| unusable("a key is not text"))?;
            if key <= last || key.contains(char::is_control) {
                return Err(unusable("its keys are malformed or out of order"));
            }
            if let Some(name) = WANTED_KEYS.iter().find(|name| **name == key) {
                wanted.insert(*name, value.clone());
            }
            last = key;
            count += 1;
        }
        if input.read(&mut [0]).map_err(disk)? != 0 || count != self.entries {
            return Err(unusable("it holds more or less than it says"));
        }
        Ok(wanted)
    }
}

/// The entries of a checked file for a restore, with its marks among them.
pub(crate) fn entries(file: File) -> Result<Entries<'static>, Error> {
    let mut file = file;
    file.seek(io::SeekFrom::Start(FIRST_LINE.len() as u64)).map_err(disk)?;
    let file = tokio::io::BufReader::with_capacity(BUFFER_BYTES, tokio::fs::File::from_std(file));
    let failed = |error: io::Error| bailee_storage::Error::Unavailable(error.to_string());
    let kept = stream::try_unfold(file, move |mut file| async move {
        let key = file.read_u32().await.map_err(failed)? as usize;
        let value = file.read_u32().await.map_err(failed)? as usize;
        if key == 0 {
            return Ok(None);
        }
        let (mut key, mut value) = (vec![0; key], vec![0; value]);
        file.read_exact(&mut key).await.map_err(failed)?;
        file.read_exact(&mut value).await.map_err(failed)?;
        let key = String::from_utf8(key)
            .map_err(|error| bailee_storage::Error::Unavailable(error.to_string()))?;
        Ok(Some(((key, value), file)))
    });
    let marks = restore_marks();
    let marked = marks.clone().map(|(key, _)| key);
    let others = kept.try_filter(move |(key, _)| std::future::ready(!marked.contains(key)));
    Ok(others.chain(stream::iter(marks.map(Ok))).boxed())
}

/// The lengths of the next key and value; `None` at the end.
fn lengths(input: &mut impl Read) -> Result<Option<(usize, usize)>, Error> {
    let mut both = [0; 8];
    input.read_exact(&mut both).map_err(short)?;
    let both = u64::from_be_bytes(both);
    let key = usize::try_from(both >> 32).unwrap_or(usize::MAX);
    let value = usize::try_from(both & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    match (key, value) {
        (0, 0) => Ok(None),
        (1..=KEY_BYTES_MAX, 0..=VALUE_BYTES_MAX) => Ok(Some((key, value))),
        _ => Err(unusable("an entry has an impossible size")),
    }
}

fn short(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => unusable("its state ends early"),
        _ => disk(error),
    }
}

struct Counted {
    writer: BufWriter<tokio::fs::File>,
    hash: Sha256,
    bytes: u64,
}

impl Counted {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.writer.write_all(bytes).await
    }

    async fn length(&mut self, length: usize) -> io::Result<()> {
        let length = u32::try_from(length).map_err(io::Error::other)?;
        self.write(&length.to_be_bytes()).await
    }
}
