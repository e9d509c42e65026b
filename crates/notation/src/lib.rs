//! Texts that users write.
pub mod duration;
