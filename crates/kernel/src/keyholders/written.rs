//! Shares as their holders write them down.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use zeroize::Zeroizing;

/// The same shares in hex and in base64, wiped when dropped.
pub struct WrittenShares {
    hex: Vec<Zeroizing<String>>,
    base64: Vec<Zeroizing<String>>,
}

impl WrittenShares {
    /// Writes these shares down.
    pub fn of(shares: &[Zeroizing<Vec<u8>>]) -> WrittenShares {
        let write = |form: fn(&[u8]) -> String| {
            shares.iter().map(|share| Zeroizing::new(form(share))).collect()
        };
        WrittenShares {
            hex: write(|share| hex::encode(share)),
            base64: write(|share| BASE64_STANDARD.encode(share)),
        }
    }

    /// In hex.
    pub fn hex(&self) -> Vec<&str> {
        self.hex.iter().map(|share| share.as_str()).collect()
    }

    /// In base64.
    pub fn base64(&self) -> Vec<&str> {
        self.base64.iter().map(|share| share.as_str()).collect()
    }
}

impl std::fmt::Debug for WrittenShares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WrittenShares(..)")
    }
}
