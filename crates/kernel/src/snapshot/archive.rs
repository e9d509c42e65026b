//! The archive around the state.

use super::{SNAPSHOT_BYTES_MAX, StateFile, disk, scratch, tar, unusable};
use bailee_crypto::hash::{Sha256, sha256};
use bailee_sdk::Error;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    path::Path,
};

const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";
const SEALED: &str = "SHA256SUMS.sealed";
/// Largest of the small files.
const SMALL_BYTES_MAX: u64 = 64 << 10;
/// Bytes copied at a time.
const COPY_BYTES: usize = 256 << 10;

/// What a snapshot says about itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) format: String,
    pub(crate) format_version: u32,
    pub(crate) id: String,
    pub(crate) created: String,
    pub(crate) server_version: String,
    pub(crate) entries: u64,
    pub(crate) state_bytes: u64,
}

impl Meta {
    pub(crate) const FORMAT: &str = "bailee-snapshot";
    pub(crate) const VERSION: u32 = 1;
}

/// A snapshot whose content is what it says.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) state: StateFile,
    pub(crate) sums: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
    pub(crate) keyring: Vec<u8>,
}

/// The sums over both files.
pub(crate) fn sums(meta: &[u8], state: &[u8; 32]) -> Vec<u8> {
    let (meta, state) = (hex::encode(sha256(meta)), hex::encode(state));
    format!("{meta}  {META}\n{state}  {STATE}\n").into_bytes()
}

/// Writes the archive; `seal` signs the sums.
pub(crate) fn write(
    state: StateFile,
    meta: &Meta,
    seal: impl FnOnce(&[u8]) -> io::Result<Vec<u8>>,
    out: impl Write,
) -> io::Result<()> {
    let StateFile { mut file, bytes, sha256, .. } = state;
    let meta = serde_json::to_vec(meta)?;
    let sums = sums(&meta, &sha256);
    let sealed = seal(&sums)?;
    let mut out = GzEncoder::new(out, Compression::fast());
    put(&mut out, META, &meta)?;
    tar::begin(&mut out, STATE, bytes)?;
    file.rewind()?;
    let copied = io::copy(&mut file.take(bytes), &mut out)?;
    if copied != bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    tar::end(&mut out, bytes)?;
    put(&mut out, SUMS, &sums)?;
    put(&mut out, SEALED, &sealed)?;
    tar::finish(&mut out)?;
    out.finish()?.flush()
}

fn put(out: &mut impl Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    tar::begin(out, name, bytes.len() as u64)?;
    out.write_all(bytes)?;
    tar::end(out, bytes.len() as u64)
}

/// Unpacks an archive and looks at all of it: nothing is replaced before that.
pub(crate) fn check(mut archive: File, folder: &Path) -> Result<Checked, Error> {
    archive.rewind().map_err(disk)?;
    let mut input = GzDecoder::new(BufReader::new(archive));
    let (mut meta, mut state, mut sums, mut sealed) = (None, None, None, None);
    while let Some(header) = tar::next(&mut input).map_err(damaged)? {
        let size = header.size;
        match header.name.as_str() {
            META if meta.is_none() => meta = Some(small(&mut input, size)?),
            SUMS if sums.is_none() => sums = Some(small(&mut input, size)?),
            SEALED if sealed.is_none() => sealed = Some(small(&mut input, size)?),
            STATE if state.is_none() => state = Some(unpack(&mut input, size, folder)?),
            _ => return Err(unusable("the archive holds files that do not belong there")),
        }
        tar::skip_padding(&mut input, size).map_err(damaged)?;
    }
    // The rest is read for the checksum at the end.
    let mut rest = input.take(SMALL_BYTES_MAX);
    io::copy(&mut rest, &mut io::sink()).map_err(damaged)?;
    let (Some(meta), Some(mut state), Some(sums), Some(sealed)) = (meta, state, sums, sealed)
    else {
        return Err(unusable("the archive is incomplete"));
    };
    if sums != self::sums(&meta, &state.sha256) {
        return Err(unusable("its content does not have the sums it says"));
    }
    let meta: Meta =
        serde_json::from_slice(&meta).map_err(|_| unusable("its meta.json does not parse"))?;
    if meta.format != Meta::FORMAT || meta.format_version > Meta::VERSION {
        return Err(unusable("it has a format that this version does not know"));
    }
    state.entries = meta.entries;
    let mut found = state.check()?;
    let keyring = found.remove(bailee_barrier::KEYRING_KEY);
    let keyring = keyring.ok_or_else(|| unusable("it holds no keys of a storage"))?;
    let seal = found.remove(bailee_barrier::seal::shamir::CONFIG_KEY);
    let seal = seal.ok_or_else(|| unusable("it does not say how it is sealed"))?;
    bailee_barrier::seal::shamir::ShamirSeal::parse(&seal)
        .map_err(|_| unusable("it does not say how it is sealed"))?;
    Ok(Checked { state, sums, sealed, keyring })
}

fn small(input: &mut impl Read, size: u64) -> Result<Vec<u8>, Error> {
    if size > SMALL_BYTES_MAX {
        return Err(unusable("a file of the archive is too large"));
    }
    let mut bytes = Vec::new();
    input.take(size).read_to_end(&mut bytes).map_err(damaged)?;
    if bytes.len() as u64 != size {
        return Err(unusable("the archive ends early"));
    }
    Ok(bytes)
}

fn unpack(input: &mut impl Read, size: u64, folder: &Path) -> Result<StateFile, Error> {
    if size > SNAPSHOT_BYTES_MAX {
        return Err(unusable("its state is too large"));
    }
    let file = scratch(folder).map_err(disk)?;
    let mut out = BufWriter::new(&file);
    let (mut hash, mut left) = (Sha256::default(), size);
    let mut buffer = vec![0; COPY_BYTES];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let room = buffer.get_mut(..most).unwrap_or_default();
        let count = input.read(room).map_err(damaged)?;
        let Some(piece) = room.get(..count).filter(|piece| !piece.is_empty()) else {
            return Err(unusable("the archive ends early"));
        };
        hash.update(piece);
        out.write_all(piece).map_err(disk)?;
        left -= count as u64;
    }
    out.flush().map_err(disk)?;
    drop(out);
    Ok(StateFile { file, bytes: size, sha256: hash.finish(), entries: 0 })
}

fn damaged(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => unusable("the archive ends early"),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            unusable("the archive is damaged, or no gzip archive")
        }
        _ => disk(error),
    }
}
