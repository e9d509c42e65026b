//! Shares that come one by one, for one operation.

use bailee_barrier::{RootKey, seal::shamir};
use bailee_crypto::{random, sensitive};
use bailee_sdk::Error;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use zeroize::Zeroizing;

/// Shortest share that can be one.
pub(crate) const SHARE_BYTES_MIN: usize = 16;
/// Longest share: the key and the x byte.
pub(crate) const SHARE_BYTES_MAX: usize = 33;

/// The shares given so far, and the nonce that names their operation.
pub(super) struct Gathering {
    pub(super) nonce: String,
    given: Vec<Zeroizing<Vec<u8>>>,
}

impl Gathering {
    pub(super) fn new() -> Gathering {
        Gathering { nonce: random::uuid().to_string(), given: Vec::new() }
    }

    pub(super) fn count(&self) -> usize {
        self.given.len()
    }

    /// Refuses a share that is meant for another operation; `what` names this one.
    pub(super) fn check(&self, nonce: &str, what: &str) -> Result<(), Error> {
        if nonce == self.nonce {
            return Ok(());
        }
        let text = format!(
            "incorrect nonce supplied; nonce for this {what} operation is {:?}",
            self.nonce
        );
        Err(Error::invalid(text))
    }

    /// Whether the share is among those given.
    pub(super) fn knows(&self, share: &[u8]) -> bool {
        self.given.iter().any(|known| sensitive::equal(known, share))
    }

    /// Takes one more share.
    pub(super) fn add(&mut self, share: Zeroizing<Vec<u8>>, what: &str) -> Result<(), Error> {
        if self.knows(&share) {
            let text = format!("given key has already been provided during this {what} operation");
            return Err(Error::invalid(text));
        }
        self.given.push(share);
        Ok(())
    }

    /// Forgets the shares; the operation goes on.
    pub(super) fn clear(&mut self) {
        self.given.clear();
    }

    /// The key that the shares make, if they make one.
    pub(super) fn combine(&self) -> Option<RootKey> {
        shamir::combine(&self.given).and_then(|key| RootKey::from_bytes(&key))
    }
}

/// A share as clients send it: hexadecimal or base64.
pub(super) fn share(key: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    if key.is_empty() {
        return Err(Error::invalid("'key' must be specified in request body as JSON"));
    }
    let share = hex::decode(key).or_else(|_| BASE64_STANDARD.decode(key)).map(Zeroizing::new);
    let share = share.map_err(|_| Error::invalid("'key' must be a valid hex or base64 string"))?;
    if share.len() < SHARE_BYTES_MIN {
        let text = format!("key is shorter than minimum {SHARE_BYTES_MIN} bytes");
        return Err(Error::invalid(text));
    }
    if share.len() > SHARE_BYTES_MAX {
        let text = format!("key is longer than maximum {SHARE_BYTES_MAX} bytes");
        return Err(Error::invalid(text));
    }
    Ok(share)
}
