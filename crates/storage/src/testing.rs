//! The contract suite and the faults, for the tests of this crate and those above.

mod contract;
mod faulty;
mod life;

pub use contract::{backup_under_writes, check_backend, check_backup};
pub use faulty::{Calls, Faulty, LastCommit};
pub use life::{Crash, Disk, Life};
