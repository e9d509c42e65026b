//! The kinds of sources, one file each.

pub mod vault;
