//! Engines that keep secrets.

pub mod aws;
pub mod kv;
