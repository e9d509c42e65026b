//! The destinations there are: one file or folder and one line each.

pub(crate) mod aws_secrets_manager;
mod in_memory;
mod ownership;

use crate::registry::DestinationKind;

/// All kinds of destinations.
pub fn all() -> Vec<DestinationKind> {
    vec![aws_secrets_manager::kind(), in_memory::kind()]
}
