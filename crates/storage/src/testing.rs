//! The contract suite and the faults, for the tests of this crate and those above.

mod contract;
mod faulty;

pub use contract::{backup_under_writes, check_backend, check_backup};
pub use faulty::{Calls, Faulty, LastCommit};
