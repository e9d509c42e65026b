//! A process that ends with the agent, however the agent ends.
//!
//! Only a process itself can ask the system for a signal at its parent's end. So the agent starts its own program,
//! which asks, and then becomes the process. What counts as the parent's end is the end of the thread that started it:
//! the agent starts processes from threads that live as long as it does.

use super::Command;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::{ffi::OsString, io, os::unix::process::CommandExt as _, process};

/// Asks for SIGTERM at the end of the agent, and becomes the program. Returns only where that fails.
pub fn launch(agent: i32, words: impl IntoIterator<Item = OsString>) -> io::Error {
    let mut words = words.into_iter();
    let Some(program) = words.next() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "there is no program to start");
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return error.into();
    }
    // It may have ended just before.
    if getppid().map(Pid::as_raw_nonzero).is_none_or(|parent| parent.get() != agent) {
        return io::Error::new(io::ErrorKind::NotConnected, "the agent has ended");
    }
    process::Command::new(program).args(words).exec()
}

/// The command that starts another one by [`launch`], whose first argument is the agent's id.
pub(super) fn launched(launcher: &Command, command: &Command) -> Command {
    let mut arguments = launcher.arguments.clone();
    arguments.push(process::id().to_string());
    arguments.push(command.program.clone());
    arguments.extend(command.arguments.iter().cloned());
    Command { program: launcher.program.clone(), arguments }
}
