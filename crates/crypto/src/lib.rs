//! Composed primitives. Every crate may use this one; it uses none of ours.
//!
//! **Invariant:** randomness, encryption, key derivation and the system's clock are touched here
//! and nowhere else. Nothing here knows what a key is for.

pub mod aead;
pub mod clock;
pub mod hash;
pub mod mac;
pub mod memory;
pub mod password;
pub mod random;
pub mod sensitive;
pub mod signing;

pub use clock::{Clock, SystemClock};
pub use sensitive::Sensitive;
