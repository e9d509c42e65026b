//! Passwords at rest: bcrypt.

use crate::{random, sensitive::Sensitive};
use bcrypt::HashParts;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// Bytes of a password that bcrypt takes in; what comes behind them would not count.
pub const PASSWORD_BYTES_MAX: usize = 72;
/// Work factor of new hashes: 2^10 rounds, some 50 ms. Hashes are sealed at rest besides.
const COST: u32 = 10;
/// Largest work factor taken of hashes that were made elsewhere: sixteen times the usual work.
const COST_MAX: u32 = 14;

/// What is kept of a password.
#[derive(Clone)]
pub struct PasswordHash {
    text: Sensitive<String>,
    cost: u32,
}

/// A password that is longer than [`PASSWORD_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password has at most {PASSWORD_BYTES_MAX} bytes")]
pub struct TooLong;

/// A text that is no bcrypt hash, or one with too large a work factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a bcrypt hash with a cost from 4 to {COST_MAX}")]
pub struct NotAHash;

impl PasswordHash {
    /// Hashes a password. It takes long on purpose: not for an async thread.
    pub fn of(password: &[u8]) -> Result<PasswordHash, TooLong> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(TooLong);
        }
        Ok(PasswordHash { text: Sensitive::new(hash(password).to_string()), cost: COST })
    }

    /// Takes a hash that was made elsewhere, as `$2b$10$…`.
    pub fn parse(text: &str) -> Result<PasswordHash, NotAHash> {
        let parts: HashParts = text.parse().map_err(|_| NotAHash)?;
        let cost = parts.get_cost();
        if !(4..=COST_MAX).contains(&cost) {
            return Err(NotAHash);
        }
        Ok(PasswordHash { text: Sensitive::from(text), cost })
    }

    /// Whether it is the hash of this password. It takes long on purpose: not for an async thread.
    pub fn matches(&self, password: &[u8]) -> bool {
        if self.cost < COST {
            // Else a user whose hash is a cheap one would be told from one who does not exist.
            waste(password);
        }
        let same = bcrypt::verify(password, self.text.expose()).unwrap_or(false);
        same && password.len() <= PASSWORD_BYTES_MAX
    }
}

/// The work of [`PasswordHash::matches`] for nothing: where there is no hash, an answer must not
/// come sooner.
pub fn waste(password: &[u8]) {
    std::hint::black_box(hash(password));
}

fn hash(password: &[u8]) -> HashParts {
    bcrypt::hash_with_salt(password, COST, random::array())
        .expect("the cost is one that bcrypt takes")
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// For storage alone, which seals what it keeps.
impl Serialize for PasswordHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text.expose())
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PasswordHash, D::Error> {
        let text = Sensitive::<String>::deserialize(deserializer)?;
        PasswordHash::parse(text.expose()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_matches_its_password_and_no_other() {
        let hash = PasswordHash::of(b"correct horse").unwrap();
        assert!(hash.matches(b"correct horse"));
        assert!(!hash.matches(b"correct horsf"));
        assert!(!hash.matches(b""));
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
        let kept: PasswordHash =
            serde_json::from_str(&serde_json::to_string(&hash).unwrap()).unwrap();
        assert!(kept.matches(b"correct horse"));
    }

    #[test]
    fn a_password_never_counts_in_part() {
        let long = [b'x'; PASSWORD_BYTES_MAX + 1];
        assert_eq!(PasswordHash::of(&long).err(), Some(TooLong));
        let hash = PasswordHash::of(&[b'x'; PASSWORD_BYTES_MAX]).unwrap();
        assert!(hash.matches(&[b'x'; PASSWORD_BYTES_MAX]));
        assert!(!hash.matches(&long));
        assert!(!PasswordHash::of(b"a\0b").unwrap().matches(b"a\0c"));
    }

    /// From the test vectors of the algorithm's authors, and what is no hash.
    #[test]
    fn a_hash_made_elsewhere_is_taken_if_its_cost_is_bounded() {
        let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        assert!(PasswordHash::parse(hash).unwrap().matches(b"U*U"));
        assert!(!PasswordHash::parse(hash).unwrap().matches(b"U*V"));
        for text in [
            "",
            "password",
            "$2a$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$2a$05$short",
            "$9z$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        ] {
            assert_eq!(PasswordHash::parse(text).err(), Some(NotAHash), "{text}");
        }
    }
}
