//! Hashes.

use aws_lc_rs::digest;
use sha3::{Digest, Sha3_224};
use std::fmt;

/// SHA-256 of a byte string.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// A hash that users can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-2 with this many bits: 224, 256, 384 or 512.
    Sha2(u16),
    /// SHA-3 with this many bits: 224, 256, 384 or 512.
    Sha3(u16),
}

impl Algorithm {
    /// The algorithm with a name such as `sha2-256` or `sha3-512`.
    pub fn named(name: &str) -> Option<Algorithm> {
        let (family, bits) = name.split_once('-')?;
        let bits = match bits {
            "224" => 224,
            "256" => 256,
            "384" => 384,
            "512" => 512,
            _ => return None,
        };
        match family {
            "sha2" => Some(Algorithm::Sha2(bits)),
            "sha3" => Some(Algorithm::Sha3(bits)),
            _ => None,
        }
    }

    /// The hash of a byte string.
    pub fn hash(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            // The one that aws-lc does not offer.
            Algorithm::Sha3(224) => return Sha3_224::digest(bytes).to_vec(),
            Algorithm::Sha3(256) => &digest::SHA3_256,
            Algorithm::Sha3(384) => &digest::SHA3_384,
            Algorithm::Sha3(_) => &digest::SHA3_512,
            Algorithm::Sha2(224) => &digest::SHA224,
            Algorithm::Sha2(256) => &digest::SHA256,
            Algorithm::Sha2(384) => &digest::SHA384,
            Algorithm::Sha2(_) => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

/// SHA-256 of what comes piece by piece.
pub struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Sha256 {
        Sha256(digest::Context::new(&digest::SHA256))
    }
}

impl Sha256 {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.0.finish().as_ref());
        hash
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_gives_the_published_hash_of_abc() {
        for (name, start, bytes) in [
            ("sha2-224", "23097d22", 28),
            ("sha2-256", "ba7816bf", 32),
            ("sha2-384", "cb00753f", 48),
            ("sha2-512", "ddaf35a1", 64),
            ("sha3-224", "e642824c", 28),
            ("sha3-256", "3a985da7", 32),
            ("sha3-384", "ec014982", 48),
            ("sha3-512", "b751850b", 64),
        ] {
            let hash = Algorithm::named(name).unwrap().hash(b"abc");
            assert_eq!(hex::encode(&hash[..4]), start, "{name}");
            assert_eq!(hash.len(), bytes, "{name}");
        }
        assert_eq!(Algorithm::named("md5"), None);
        assert_eq!(Algorithm::named("sha2-1"), None);
    }

    #[test]
    fn pieces_hash_like_the_whole() {
        let mut hash = Sha256::default();
        hash.update(b"ab");
        hash.update(b"");
        hash.update(b"c");
        assert_eq!(hash.finish(), sha256(b"abc"));
    }
}
