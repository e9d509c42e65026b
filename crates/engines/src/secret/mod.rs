//! Engines that keep secrets.

pub mod kv;
