//! One run of the process.

use super::{Command, Exit, NOT_STARTED, Signal, Values};
use crate::outputs::event;
use rustix::process::{Pid, kill_process, kill_process_group};
use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

/// A process that runs, in a process group of its own, so that what it started ends with it.
pub(in crate::outputs) struct Child {
    process: tokio::process::Child,
    program: String,
}

impl Child {
    /// Starts it. Variables are its only way to secrets: arguments can be read by everybody.
    pub(super) fn spawn(
        command: &Command,
        inherited: &[(OsString, OsString)],
        values: &Values,
    ) -> io::Result<Child> {
        let mut prepared = tokio::process::Command::new(&command.program);
        // In a group of its own it would be stopped for reading from a terminal.
        if io::stdin().is_terminal() {
            prepared.stdin(Stdio::null());
        }
        Self::start(prepared, command, inherited, values)
    }

    /// Starts it so that it reads nothing, and nobody reads what it says.
    pub(in crate::outputs) fn quiet(
        command: &Command,
        inherited: &[(OsString, OsString)],
        values: &Values,
    ) -> io::Result<Child> {
        let mut prepared = tokio::process::Command::new(&command.program);
        prepared.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self::start(prepared, command, inherited, values)
    }

    fn start(
        mut spawned: tokio::process::Command,
        command: &Command,
        inherited: &[(OsString, OsString)],
        values: &Values,
    ) -> io::Result<Child> {
        spawned.args(&command.arguments).process_group(0).kill_on_drop(true);
        spawned.env_clear().envs(inherited.iter().map(|(name, value)| (name, value)));
        spawned.envs(values.iter().map(|(name, value)| (name.as_str(), value.expose())));
        let process = spawned.spawn()?;
        event::child_started(&command.program, process.id().unwrap_or_default());
        Ok(Child { process, program: command.program.clone() })
    }

    /// Waits until it ends. May be dropped at any time.
    pub(in crate::outputs) async fn exit(&mut self) -> Exit {
        match self.process.wait().await {
            Ok(status) => exit_of(status),
            Err(error) => {
                event::child_not_started(&self.program, &error);
                Exit { code: NOT_STARTED }
            }
        }
    }

    /// Sends it a signal, and not to what it started.
    pub(super) fn tell(&self, signal: Signal) {
        event::child_told(&self.program, signal);
        let Some(pid) = self.pid() else { return };
        if let Err(error) = kill_process(pid, signal.raw()) {
            event::child_not_told(&self.program, signal, error.into());
        }
    }

    /// Ends it and what it started: by the signal, and by SIGKILL when the time is over.
    pub(in crate::outputs) async fn end(&mut self, signal: Signal, timeout: Duration) -> Exit {
        self.signal_group(signal);
        if let Ok(exit) = tokio::time::timeout(timeout, self.exit()).await {
            return exit;
        }
        event::child_killed(&self.program, timeout);
        self.signal_group(Signal::Kill);
        self.exit().await
    }

    fn signal_group(&self, signal: Signal) {
        let Some(pid) = self.pid() else { return };
        if let Err(error) = kill_process_group(pid, signal.raw()) {
            event::child_not_told(&self.program, signal, error.into());
        }
    }

    /// Its id, as long as nobody else can have it.
    fn pid(&self) -> Option<Pid> {
        self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.pid().is_some() {
            self.signal_group(Signal::Kill);
        }
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit { code: u8::try_from(code).unwrap_or(u8::MAX) },
        (None, Some(signal)) => Exit::signalled(signal),
        (None, None) => Exit { code: u8::MAX },
    }
}
