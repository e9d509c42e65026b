//! Shares of the root key.
//!
//! A share is the y byte of every byte of the key, then the x byte: the form that operators of this
//! API keep in their safes.

use super::{Seal, Unlock};
use crate::RootKey;
use async_trait::async_trait;
use bailee_crypto::random;
use bailee_storage::{Backend, Error, Write};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fmt;
use vsss_rs::Gf256;
use zeroize::Zeroizing;

/// Where the seal's configuration is kept, in plain: it must be read before any key is there.
pub const CONFIG_KEY: &str = "core/seal";
const KIND: &str = "shamir";

/// How many shares there are and how many open the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    total: u8,
    threshold: u8,
}

impl Shares {
    /// Between 1 and 255 shares, of which at least two are needed when there are several. The error
    /// is a sentence for the operator.
    pub fn new(total: i64, threshold: i64) -> Result<Shares, &'static str> {
        match (total, threshold) {
            (..=0, _) => Err("shares must be at least one"),
            (_, ..=0) => Err("threshold must be at least one"),
            (256.., _) => Err("shares must be less than 256"),
            (_, 256..) => Err("threshold must be less than 256"),
            (_, 1) if total > 1 => Err("threshold must be greater than one for multiple shares"),
            _ if threshold > total => Err("threshold cannot be larger than shares"),
            _ => {
                let byte = |number| u8::try_from(number).expect("checked to be below 256");
                Ok(Shares { total: byte(total), threshold: byte(threshold) })
            }
        }
    }

    /// How many there are.
    pub fn total(self) -> u8 {
        self.total
    }

    /// How many are needed.
    pub fn threshold(self) -> u8 {
        self.threshold
    }
}

/// The configuration as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    r#type: String,
    secret_shares: u8,
    secret_threshold: u8,
}

/// How far the collection of shares is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Different shares given.
    pub given: usize,
    /// Names this collection; empty before the first share.
    pub nonce: String,
}

/// Collects shares until there are enough.
pub struct ShamirSeal {
    shares: Shares,
    given: Mutex<Given>,
}

#[derive(Default)]
struct Given {
    nonce: String,
    shares: Vec<Zeroizing<Vec<u8>>>,
}

impl ShamirSeal {
    /// The write that stores the configuration: it lands with the keys it belongs to.
    pub fn config_write(shares: Shares) -> Write {
        let stored = Stored {
            r#type: KIND.to_owned(),
            secret_shares: shares.total,
            secret_threshold: shares.threshold,
        };
        let bytes = serde_json::to_vec(&stored).expect("texts and numbers always encode");
        Write::Put(CONFIG_KEY.to_owned(), bytes)
    }

    /// A seal that no share was given to yet.
    pub fn new(shares: Shares) -> ShamirSeal {
        ShamirSeal { shares, given: Mutex::default() }
    }

    /// The seal of a storage; `None` when it was never initialized.
    pub async fn load(backend: &dyn Backend) -> Result<Option<ShamirSeal>, Error> {
        let Some(entry) = backend.get(CONFIG_KEY).await? else { return Ok(None) };
        ShamirSeal::parse(&entry.bytes).map(Some)
    }

    /// The seal that a stored configuration describes.
    pub fn parse(stored: &[u8]) -> Result<ShamirSeal, Error> {
        let stored: Stored = serde_json::from_slice(stored)
            .map_err(|_| Error::Corrupt("the seal's configuration does not parse".to_owned()))?;
        if stored.r#type != KIND {
            return Err(Error::Corrupt("the storage is not sealed by shares".to_owned()));
        }
        let shares = Shares::new(stored.secret_shares.into(), stored.secret_threshold.into())
            .map_err(|reason| Error::Corrupt(format!("the seal's configuration: {reason}")))?;
        Ok(ShamirSeal::new(shares))
    }

    /// How many shares there are and how many are needed.
    pub fn shares(&self) -> Shares {
        self.shares
    }

    /// How far the collection is.
    pub fn progress(&self) -> Progress {
        let given = self.given.lock();
        Progress { given: given.shares.len(), nonce: given.nonce.clone() }
    }

    /// Forgets the shares given so far.
    pub fn reset(&self) {
        *self.given.lock() = Given::default();
    }
}

#[async_trait]
impl Seal for ShamirSeal {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn unlock(&self, share: Option<&[u8]>) -> Result<Unlock, Error> {
        let need = usize::from(self.shares.threshold);
        let mut given = self.given.lock();
        if let Some(share) = share
            && !given.shares.iter().any(|known| bailee_crypto::sensitive::equal(known, share))
        {
            if given.shares.is_empty() {
                given.nonce = random::uuid().to_string();
            }
            given.shares.push(Zeroizing::new(share.to_vec()));
        }
        if given.shares.len() < need {
            return Ok(Unlock::Missing { have: given.shares.len(), need });
        }
        let shares = std::mem::take(&mut *given).shares;
        Ok(match combine(&shares).as_deref().and_then(|key| RootKey::from_bytes(key)) {
            Some(key) => Unlock::Open(key),
            None => Unlock::Wrong,
        })
    }
}

impl fmt::Debug for ShamirSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShamirSeal({:?})", self.shares)
    }
}

/// Splits a root key. A single share is the key itself.
pub fn split(key: &RootKey, shares: Shares) -> Vec<Zeroizing<Vec<u8>>> {
    let secret = key.expose();
    if shares.total == 1 {
        return vec![Zeroizing::new(secret.to_vec())];
    }
    let points = points(shares.total);
    let mut split: Vec<_> =
        points.iter().map(|_| Zeroizing::new(Vec::with_capacity(secret.len() + 1))).collect();
    for byte in secret {
        // The secret is the value at 0, the other coefficients are random.
        let coefficients = random::bytes(usize::from(shares.threshold) - 1);
        for (share, x) in split.iter_mut().zip(&points) {
            let y = coefficients
                .iter()
                .fold(Gf256(0), |sum, coefficient| (sum + Gf256(*coefficient)) * Gf256(*x));
            share.push((y + Gf256(*byte)).0);
        }
    }
    for (share, x) in split.iter_mut().zip(&points) {
        share.push(*x);
    }
    split
}

/// Puts shares together; `None` when they are not shares of one secret. That the secret is the right
/// one, only the barrier can tell.
pub fn combine(shares: &[Zeroizing<Vec<u8>>]) -> Option<Zeroizing<Vec<u8>>> {
    if let [key] = shares {
        return Some(key.clone());
    }
    let turned: Vec<Vec<u8>> = shares
        .iter()
        .map(|share| {
            let (x, ys) = share.split_last()?;
            let mut turned = Vec::with_capacity(share.len());
            turned.push(*x);
            turned.extend_from_slice(ys);
            Some(turned)
        })
        .collect::<Option<_>>()?;
    let turned = Zeroizing::new(turned);
    Gf256::combine_bytes(turned.as_slice()).ok().map(Zeroizing::new)
}

/// That many different points, in random order, none of them 0.
fn points(count: u8) -> Vec<u8> {
    let mut points: Vec<u8> = (1..=u8::MAX).collect();
    for last in (1..points.len()).rev() {
        let other = random::below(last as u64 + 1);
        points.swap(last, usize::try_from(other).expect("below 256"));
    }
    points.truncate(usize::from(count));
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailee_storage::{Batch, memory::Memory};
    use proptest::prelude::*;

    /// Shares made and combined the slow way, independent of the code above.
    mod reference {
        pub(super) fn multiply(mut left: u8, mut right: u8) -> u8 {
            let mut product = 0;
            while right > 0 {
                if right & 1 == 1 {
                    product ^= left;
                }
                let carry = left & 0x80 != 0;
                left <<= 1;
                if carry {
                    left ^= 0x1b;
                }
                right >>= 1;
            }
            product
        }

        fn inverse(value: u8) -> u8 {
            (1..=255).find(|other| multiply(value, *other) == 1).unwrap()
        }

        pub(super) fn share(x: u8, secret: &[u8], coefficients: &[Vec<u8>]) -> Vec<u8> {
            let mut share: Vec<u8> = (0..secret.len())
                .map(|place| {
                    let mut power = 1;
                    coefficients.iter().fold(secret[place], |sum, coefficient| {
                        power = multiply(power, x);
                        sum ^ multiply(coefficient[place], power)
                    })
                })
                .collect();
            share.push(x);
            share
        }

        pub(super) fn combine(shares: &[Vec<u8>]) -> Vec<u8> {
            let x = |share: &Vec<u8>| *share.last().unwrap();
            (0..shares[0].len() - 1)
                .map(|place| {
                    shares.iter().fold(0, |sum, share| {
                        let weight = shares.iter().filter(|other| x(other) != x(share)).fold(
                            1,
                            |weight, other| {
                                let difference = inverse(x(other) ^ x(share));
                                multiply(weight, multiply(x(other), difference))
                            },
                        );
                        sum ^ multiply(share[place], weight)
                    })
                })
                .collect()
        }
    }

    fn key() -> RootKey {
        RootKey::from_bytes(&(0..32).map(|byte| byte * 7 + 3).collect::<Vec<u8>>()).unwrap()
    }

    #[test]
    fn the_reference_agrees_with_a_worked_example_of_fips_197() {
        assert_eq!(reference::multiply(0x57, 0x83), 0xc1);
    }

    #[test]
    fn shares_of_another_implementation_combine() {
        let coefficients = [vec![0x11; 32], (100..132).collect()];
        let shares: Vec<_> = [5, 77, 255]
            .iter()
            .map(|x| Zeroizing::new(reference::share(*x, key().expose(), &coefficients)))
            .collect();
        assert_eq!(combine(&shares).unwrap().as_slice(), key().expose());
        assert_eq!(shares[1][0], {
            // 3 + 0x11·77 + 100·77² in the field.
            let square = reference::multiply(77, 77);
            3 ^ reference::multiply(0x11, 77) ^ reference::multiply(100, square)
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_threshold_of_shares_combines_here_and_elsewhere(
            total in 2_i64..=20,
            threshold in 2_i64..=20,
            start in 0_usize..20,
        ) {
            prop_assume!(threshold <= total);
            let shares = split(&key(), Shares::new(total, threshold).unwrap());
            let mut points: Vec<_> = shares.iter().map(|share| share[32]).collect();
            points.sort_unstable();
            points.dedup();
            prop_assert_eq!(points.len(), shares.len());
            prop_assert!(!points.contains(&0));
            let some: Vec<_> = shares
                .iter()
                .cycle()
                .skip(start)
                .take(usize::try_from(threshold).unwrap())
                .cloned()
                .collect();
            prop_assert_eq!(combine(&some).unwrap().to_vec(), key().expose().to_vec());
            let plain: Vec<Vec<u8>> = some.iter().map(|share| share.to_vec()).collect();
            prop_assert_eq!(reference::combine(&plain), key().expose().to_vec());
            if some.len() > 2 {
                let few = combine(&some[1..]).unwrap();
                prop_assert_ne!(few.to_vec(), key().expose().to_vec());
            }
        }
    }

    #[test]
    fn a_single_share_is_the_key() {
        let shares = split(&key(), Shares::new(1, 1).unwrap());
        assert_eq!(shares.len(), 1);
        assert_eq!(shares[0].as_slice(), key().expose());
    }

    #[test]
    fn all_255_shares_can_be_made() {
        let shares = split(&key(), Shares::new(255, 255).unwrap());
        assert_eq!(combine(&shares).unwrap().as_slice(), key().expose());
    }

    #[test]
    fn impossible_numbers_of_shares_are_refused() {
        for (total, threshold) in
            [(0, 0), (0, 1), (1, 0), (3, 1), (2, 3), (256, 3), (300, 256), (-1, 1), (3, -1)]
        {
            assert!(Shares::new(total, threshold).is_err(), "{total} {threshold}");
        }
        assert!(Shares::new(1, 1).is_ok());
        assert!(Shares::new(255, 255).is_ok());
    }

    async fn seal(total: i64, threshold: i64) -> ShamirSeal {
        let backend = Memory::default();
        assert!(ShamirSeal::load(&backend).await.unwrap().is_none());
        let shares = Shares::new(total, threshold).unwrap();
        let writes = vec![ShamirSeal::config_write(shares)];
        backend.commit(&Batch { expects: Vec::new(), writes }).await.unwrap();
        ShamirSeal::load(&backend).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn enough_shares_open_and_duplicates_do_not_count() {
        let seal = seal(5, 3).await;
        assert_eq!((seal.shares().total(), seal.shares().threshold()), (5, 3));
        let shares = split(&key(), seal.shares());
        assert_eq!(seal.progress(), Progress::default());
        for share in [&shares[4], &shares[4]] {
            let unlock = seal.unlock(Some(share)).await.unwrap();
            assert!(matches!(unlock, Unlock::Missing { have: 1, need: 3 }));
        }
        let nonce = seal.progress().nonce;
        assert_eq!(nonce.len(), 36);
        seal.unlock(Some(&shares[0])).await.unwrap();
        assert_eq!(seal.progress(), Progress { given: 2, nonce });
        let Unlock::Open(opened) = seal.unlock(Some(&shares[2])).await.unwrap() else { panic!() };
        assert_eq!(opened.expose(), key().expose());
        assert_eq!(seal.progress(), Progress::default());
    }

    #[tokio::test]
    async fn a_reset_forgets_the_shares() {
        let seal = seal(3, 2).await;
        seal.unlock(Some(&[1; 33])).await.unwrap();
        seal.reset();
        assert_eq!(seal.progress(), Progress::default());
    }

    #[tokio::test]
    async fn shares_that_do_not_fit_together_are_wrong_and_forgotten() {
        for wrong in [vec![1; 33], vec![2; 20], vec![0; 33], Vec::new()] {
            let seal = seal(3, 2).await;
            seal.unlock(Some(&[1; 33])).await.unwrap();
            let other: &[u8] = if wrong == [1; 33] { &[9; 16] } else { &wrong };
            let unlock = seal.unlock(Some(other)).await.unwrap();
            assert!(matches!(unlock, Unlock::Wrong));
            assert_eq!(seal.progress(), Progress::default());
        }
    }
}
