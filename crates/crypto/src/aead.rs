//! AES-256-GCM with random nonces.

use crate::random;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes that sealing adds: nonce and tag.
pub const OVERHEAD_BYTES: usize = NONCE_LEN + 16;

/// The ciphertext is not what this key sealed at this place.
#[derive(Debug, thiserror::Error)]
#[error("ciphertext does not open with this key at this place")]
pub struct NotAuthentic;

/// A key for AES-256-GCM. With random nonces one key may seal 2^32 messages; whoever holds the key
/// counts and rotates before that.
pub struct AeadKey(LessSafeKey);

impl AeadKey {
    /// A key made of these bytes.
    pub fn new(bytes: &[u8; 32]) -> AeadKey {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("an AES-256 key has 32 bytes");
        AeadKey(LessSafeKey::new(key))
    }

    /// Appends nonce, ciphertext and tag to `out`. `place` is authenticated, not stored.
    pub fn seal(&self, place: &[u8], plain: &[u8], out: &mut Vec<u8>) {
        let nonce: [u8; NONCE_LEN] = random::array();
        out.reserve(plain.len() + OVERHEAD_BYTES);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        let tag = {
            let text = out.get_mut(start..).expect("just appended");
            let nonce = Nonce::assume_unique_for_key(nonce);
            self.0
                .seal_in_place_separate_tag(nonce, Aad::from(place), text)
                .expect("messages are far below GCM's length limit")
        };
        out.extend_from_slice(tag.as_ref());
    }

    /// Opens what [`AeadKey::seal`] appended; the plaintext is wiped when dropped.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(NotAuthentic)?;
        let mut buffer = Zeroizing::new(text.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self
            .0
            .open_in_place(nonce, Aad::from(place), &mut buffer)
            .map_err(|_| NotAuthentic)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_at_its_place_and_unchanged() {
        let key = AeadKey::new(&[7; 32]);
        let mut sealed = Vec::new();
        key.seal(b"a", b"secret", &mut sealed);
        assert_eq!(key.open(b"a", &sealed).unwrap().as_slice(), b"secret");
        assert!(key.open(b"b", &sealed).is_err());
        assert!(AeadKey::new(&[8; 32]).open(b"a", &sealed).is_err());
        for position in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[position] ^= 1;
            assert!(key.open(b"a", &broken).is_err());
        }
        assert!(key.open(b"a", &sealed[..10]).is_err());
    }
}
