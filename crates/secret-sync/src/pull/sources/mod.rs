//! The kinds of sources, one file each.

pub mod aws_secrets_manager;
pub mod vault;
