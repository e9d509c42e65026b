//! Keeping the process's memory to itself.

use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
};

/// What the system granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Memory is not written to swap.
    pub locked: bool,
    /// No core file is written, and other processes of the user cannot attach.
    pub undumpable: bool,
}

/// Turns core dumps off and, when asked, locks memory now and to come. What the system refuses is
/// reported, not fatal: the caller decides.
pub fn protect(lock: bool) -> Protection {
    let no_cores = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).is_ok();
    let undumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok() && no_cores;
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    Protection { locked: lock && mlockall(flags).is_ok(), undumpable }
}
