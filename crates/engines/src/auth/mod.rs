//! Methods by which callers prove who they are.

pub mod approle;
mod token_fields;
pub mod userpass;
