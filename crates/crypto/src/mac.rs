//! HMAC-SHA256 and keys derived with HKDF-SHA256.

use aws_lc_rs::{hkdf, hmac};
use std::fmt;
use zeroize::Zeroizing;

/// A key for HMAC-SHA256.
#[derive(Clone)]
pub struct MacKey(hmac::Key);

impl MacKey {
    /// A key made of these bytes.
    pub fn new(bytes: &[u8]) -> MacKey {
        MacKey(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The code over the concatenation of the parts. The caller keeps parts unambiguous.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut code = [0; 32];
        code.copy_from_slice(context.sign().as_ref());
        code
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// A 256-bit key for one purpose, derived from another key. Different purposes give independent
/// keys; the same input gives the same key.
pub fn derive(key: &[u8], purpose: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    // Each part is preceded by its length, so that no two purposes read alike.
    let lengths: Vec<[u8; 8]> =
        purpose.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
    let info: Vec<&[u8]> =
        lengths.iter().zip(purpose).flat_map(|(length, part)| [length.as_slice(), part]).collect();
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"bailee")
        .extract(key)
        .expand(&info, Length(32))
        .and_then(|output| output.fill(derived.as_mut_slice()))
        .expect("32 bytes are within HKDF's range");
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_keys_differ_by_purpose() {
        assert_ne!(derive(b"key", &[b"ab", b"c"]), derive(b"key", &[b"a", b"bc"]));
        assert_eq!(derive(b"key", &[b"ab"]), derive(b"key", &[b"ab"]));
    }

    #[test]
    fn hmac_agrees_with_rfc_4231_case_2() {
        let code = MacKey::new(b"Jefe").sign(&[b"what do ya want ", b"for nothing?"]);
        assert_eq!(
            hex::encode(code),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
