//! Methods by which callers prove who they are.

pub mod approle;
pub mod aws;
mod token_fields;
pub mod userpass;
