//! The kinds of sources, one file each; `machine` is one of the ways in.

pub mod aws_secrets_manager;
pub mod machine;
pub mod vault;
