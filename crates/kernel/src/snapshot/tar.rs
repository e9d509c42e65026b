//! Just so much of the tar format: plain files, one after the other.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
/// Sizes from here on do not fit the octal field.
const OCTAL_MAX: u64 = 1 << 33;
/// Where the fields of a header are.
const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const SUM: std::ops::Range<usize> = 148..156;
const KIND: usize = 156;

/// The header of a file that follows.
pub(super) struct Header {
    pub(super) name: String,
    pub(super) size: u64,
}

/// Writes a header.
pub(super) fn begin(out: &mut impl Write, name: &str, size: u64) -> io::Result<()> {
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        for (place, byte) in block.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    };
    put(NAME.start, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < OCTAL_MAX {
        put(SIZE.start, format!("{size:011o}\0").as_bytes());
    } else {
        put(SIZE.start, &[0x80, 0, 0, 0]);
        put(SIZE.start + 4, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(SUM.start, b"        ");
    put(KIND, b"0");
    put(257, b"ustar\x0000");
    let sum = sum_of(&block);
    for (place, byte) in block.iter_mut().skip(SUM.start).zip(format!("{sum:06o}\0 ").bytes()) {
        *place = byte;
    }
    out.write_all(&block)
}

/// Fills the last block of a file's content.
pub(super) fn end(out: &mut impl Write, size: u64) -> io::Result<()> {
    let zeros = [0_u8; BLOCK];
    out.write_all(zeros.get(..padding(size)).unwrap_or_default())
}

/// Ends the archive.
pub(super) fn finish(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// The next header; `None` at the end of the archive. Anything but a plain file is an error.
pub(super) fn next(input: &mut impl Read) -> io::Result<Option<Header>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut block = [0_u8; BLOCK];
    input.read_exact(&mut block)?;
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let field = |range: std::ops::Range<usize>| block.get(range).unwrap_or_default();
    let octal = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
    };
    if octal(field(SUM)) != Some(sum_of(&block)) {
        return Err(bad("a header of the archive is damaged"));
    }
    let size = match field(SIZE) {
        [0x80, 0, 0, 0, rest @ ..] => rest.try_into().ok().map(u64::from_be_bytes),
        digits => octal(digits),
    };
    let size = size.ok_or_else(|| bad("a size in the archive is malformed"))?;
    if !matches!(block.get(KIND), Some(b'0' | 0)) {
        return Err(bad("the archive holds more than plain files"));
    }
    let name = field(NAME).split(|byte| *byte == 0).next().unwrap_or_default();
    let name = std::str::from_utf8(name).map_err(|_| bad("a name in the archive is malformed"))?;
    Ok(Some(Header { name: name.trim_start_matches("./").to_owned(), size }))
}

/// Reads over what fills the last block of a file's content.
pub(super) fn skip_padding(input: &mut impl Read, size: u64) -> io::Result<()> {
    let mut block = [0_u8; BLOCK];
    input.read_exact(block.get_mut(..padding(size)).unwrap_or_default())
}

fn padding(size: u64) -> usize {
    let rest = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    if rest == 0 { 0 } else { BLOCK - rest }
}

/// The sum of all bytes, those of the sum's own field taken as blanks.
fn sum_of(block: &[u8; BLOCK]) -> u64 {
    let byte =
        |(place, byte): (usize, &u8)| if SUM.contains(&place) { 32 } else { u64::from(*byte) };
    block.iter().enumerate().map(byte).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_and_damage_is_noticed() {
        for (name, size) in [("meta.json", 0), ("state.bin", 1000), ("state.bin", 40 << 30)] {
            let mut bytes = Vec::new();
            begin(&mut bytes, name, size).unwrap();
            assert_eq!(bytes.len(), BLOCK);
            let read = next(&mut bytes.as_slice()).unwrap().unwrap();
            assert_eq!((read.name.as_str(), read.size), (name, size));
            for place in [0, 124, 156, 300] {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1;
                assert!(next(&mut damaged.as_slice()).is_err(), "{place}");
            }
        }
        let mut bytes = Vec::new();
        finish(&mut bytes).unwrap();
        assert!(next(&mut bytes.as_slice()).unwrap().is_none());
        assert!(next(&mut [1; 100].as_slice()).is_err());
    }
}
