//! Signatures that others verify: RSA, ECDSA and Ed25519, in the words of JOSE.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa,
    signature::{self as lc, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey},
};
use std::fmt;
use zeroize::Zeroizing;

/// How something is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with PKCS #1 1.5 and SHA-256.
    Rs256,
    /// The same with SHA-384.
    Rs384,
    /// The same with SHA-512.
    Rs512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// Ed25519.
    EdDsa,
}

/// A private key could not be made, read or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key cannot be used")]
pub struct Unusable;

/// A private key.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    /// What it verifies.
    pub algorithm: Algorithm,
    /// RSA: the PKCS #1 structure; else the encoded point.
    pub bytes: Vec<u8>,
}

/// The numbers of a public key, big endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Modulus and exponent.
    Rsa {
        /// The modulus.
        modulus: Vec<u8>,
        /// The public exponent.
        exponent: Vec<u8>,
    },
    /// A point on a curve of NIST.
    Point {
        /// The curve, such as `P-256`.
        curve: &'static str,
        /// The first coordinate, as long as the field.
        x: Vec<u8>,
        /// The second coordinate.
        y: Vec<u8>,
    },
    /// A point on Curve25519, encoded.
    Edwards(Vec<u8>),
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 7] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
        Algorithm::EdDsa,
    ];

    /// Its name in JOSE.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Es512 => "ES512",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn ecdsa(self) -> Option<&'static lc::EcdsaSigningAlgorithm> {
        match self {
            Algorithm::Es256 => Some(&lc::ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => Some(&lc::ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::Es512 => Some(&lc::ECDSA_P521_SHA512_FIXED_SIGNING),
            Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 | Algorithm::EdDsa => None,
        }
    }

    fn verification(self) -> &'static dyn lc::VerificationAlgorithm {
        match self {
            Algorithm::Rs256 => &lc::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &lc::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &lc::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::Es256 => &lc::ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &lc::ECDSA_P384_SHA384_FIXED,
            Algorithm::Es512 => &lc::ECDSA_P521_SHA512_FIXED,
            Algorithm::EdDsa => &lc::ED25519,
        }
    }
}

impl SigningKey {
    /// A new key. RSA takes long: not for a thread that others wait for.
    pub fn generate(algorithm: Algorithm) -> Result<SigningKey, Unusable> {
        let pair = match (algorithm, algorithm.ecdsa()) {
            (_, Some(curve)) => Pair::Ecdsa(EcdsaKeyPair::generate(curve).map_err(|_| Unusable)?),
            (Algorithm::EdDsa, None) => {
                Pair::Ed25519(Ed25519KeyPair::generate().map_err(|_| Unusable)?)
            }
            (_, None) => {
                let pair = RsaKeyPair::generate(rsa::KeySize::Rsa2048).map_err(|_| Unusable)?;
                Pair::Rsa(pair)
            }
        };
        Ok(SigningKey { algorithm, pair })
    }

    /// The key that [`SigningKey::to_pkcs8`] gave.
    pub fn from_pkcs8(algorithm: Algorithm, bytes: &[u8]) -> Result<SigningKey, Unusable> {
        let pair = match (algorithm, algorithm.ecdsa()) {
            (_, Some(curve)) => {
                Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(curve, bytes).map_err(|_| Unusable)?)
            }
            (Algorithm::EdDsa, None) => {
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8(bytes).map_err(|_| Unusable)?)
            }
            (_, None) => Pair::Rsa(RsaKeyPair::from_pkcs8(bytes).map_err(|_| Unusable)?),
        };
        Ok(SigningKey { algorithm, pair })
    }

    /// The private key for storage, wiped when dropped.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Unusable> {
        let bytes = match &self.pair {
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Unusable)?;
                der.as_ref().to_vec()
            }
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().map_err(|_| Unusable)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8().map_err(|_| Unusable)?.as_ref().to_vec(),
        };
        Ok(Zeroizing::new(bytes))
    }

    /// The key that verifies what this one signs.
    pub fn verifying_key(&self) -> VerifyingKey {
        let bytes = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        };
        VerifyingKey { algorithm: self.algorithm, bytes }
    }

    /// The signature over a message, in the form of JOSE.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unusable> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn lc::RsaEncoding = match self.algorithm {
                    Algorithm::Rs384 => &lc::RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &lc::RSA_PKCS1_SHA512,
                    _ => &lc::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).map_err(|_| Unusable)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => {
                Ok(pair.sign(&random, message).map_err(|_| Unusable)?.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.algorithm.name())
    }
}

impl VerifyingKey {
    /// Whether this is the signature of the key's owner over the message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(self.algorithm.verification(), &self.bytes);
        key.verify(message, signature).is_ok()
    }

    /// Its numbers, to be published; `None` when the bytes are no such key.
    pub fn numbers(&self) -> Option<Numbers> {
        let curve = match self.algorithm {
            Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => {
                let (body, _) = element(0x30, &self.bytes)?;
                let (modulus, rest) = element(0x02, body)?;
                let (exponent, _) = element(0x02, rest)?;
                let (modulus, exponent) = (unsigned(modulus), unsigned(exponent));
                return Some(Numbers::Rsa { modulus, exponent });
            }
            Algorithm::EdDsa => return Some(Numbers::Edwards(self.bytes.clone())),
            Algorithm::Es256 => "P-256",
            Algorithm::Es384 => "P-384",
            Algorithm::Es512 => "P-521",
        };
        // The uncompressed form: a mark, then both coordinates.
        let (4, point) = self.bytes.split_first().map(|(mark, point)| (*mark, point))? else {
            return None;
        };
        let (x, y) = point.split_at_checked(point.len() / 2)?;
        Some(Numbers::Point { curve, x: x.to_vec(), y: y.to_vec() })
    }
}

/// What an element of DER holds, and what comes after it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    if *found != tag {
        return None;
    }
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if length.len() > 4 {
            return None;
        }
        (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
    };
    rest.split_at_checked(length)
}

/// A positive number without the zeros before it.
fn unsigned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().skip_while(|byte| *byte == 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_signs_its_public_half_verifies_also_after_storage() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
            let key = SigningKey::generate(algorithm).unwrap();
            let again = SigningKey::from_pkcs8(algorithm, &key.to_pkcs8().unwrap()).unwrap();
            let public = again.verifying_key();
            assert_eq!(public, key.verifying_key());
            let signature = again.sign(b"message").unwrap();
            assert!(public.verifies(b"message", &signature), "{algorithm:?}");
            assert!(!public.verifies(b"massage", &signature), "{algorithm:?}");
            let lengths = match public.numbers().unwrap() {
                Numbers::Rsa { modulus, exponent } => {
                    assert_eq!(exponent, [1, 0, 1]);
                    // Whoever has only the numbers verifies as well.
                    let key = lc::RsaPublicKeyComponents { n: &modulus, e: &exponent };
                    let parameters = match algorithm {
                        Algorithm::Rs384 => &lc::RSA_PKCS1_2048_8192_SHA384,
                        Algorithm::Rs512 => &lc::RSA_PKCS1_2048_8192_SHA512,
                        _ => &lc::RSA_PKCS1_2048_8192_SHA256,
                    };
                    assert!(key.verify(parameters, b"message", &signature).is_ok());
                    (modulus.len(), 0)
                }
                Numbers::Point { x, y, .. } => (x.len(), y.len()),
                Numbers::Edwards(x) => (x.len(), 0),
            };
            let expected = match algorithm {
                Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => (256, 0),
                Algorithm::Es256 => (32, 32),
                Algorithm::Es384 => (48, 48),
                Algorithm::Es512 => (66, 66),
                Algorithm::EdDsa => (32, 0),
            };
            assert_eq!(lengths, expected, "{algorithm:?}");
        }
        assert_eq!(Algorithm::named("none"), None);
        assert!(SigningKey::from_pkcs8(Algorithm::Es256, b"nonsense").is_err());
    }
}
