//! Keeping runs of one machine apart.
//!
//! Held while a run lasts, by the process: who is killed holds it no more. It says nothing to other
//! machines, and need not: runs that overlap write the same under the same tokens, so that a destination
//! takes the second for a repetition of the first.

use bailee_secret_sync::{
    failure::Failure,
    pull::report::{SetupFailure, Stage},
};
use rustix::fs::{FlockOperation, flock};
use std::{fs::File, path::Path};

/// The right to run.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it, without waiting. Any file will do, the configuration itself included; one that is not
    /// there is made.
    ///
    /// # Errors
    /// Another run has it, or the file cannot be opened.
    pub fn take(path: &Path) -> Result<Lock, SetupFailure> {
        let failed =
            |failure, message: String| SetupFailure { stage: Stage::Lock, failure, message };
        let opened = File::open(path)
            .or_else(|_| File::options().create(true).append(true).open(path))
            .map_err(|error| failed(Failure::Internal, format!("{}: {error}", path.display())))?;
        match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _file: opened }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(failed(
                Failure::Conflict,
                format!("another run holds the lock on {}: this one does nothing", path.display()),
            )),
            Err(error) => Err(failed(Failure::Internal, format!("{}: {error}", path.display()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_keeps_the_other_out_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("replicate.lock");
        let first = Lock::take(&path).unwrap();
        let refused = Lock::take(&path).unwrap_err();
        assert_eq!((refused.stage, refused.failure), (Stage::Lock, Failure::Conflict));
        drop(first);
        Lock::take(&path).unwrap();
        let nowhere = Lock::take(&folder.path().join("no/such/folder")).unwrap_err();
        assert_eq!(nowhere.failure, Failure::Internal);
    }
}
