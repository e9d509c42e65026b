//! What happens to outputs, as log lines and metrics. Names are told, values never.

use super::{
    exec::{Exit, Signal},
    file,
};
use crate::failure::Failure;
use metrics::counter;
use std::{io, path::Path, time::Duration};

pub(crate) fn values_missing(output: &str, failure: &Failure) {
    let cause = failure.cause.as_str();
    counter!("bailee_agent_output_failures_total", "output" => output.to_owned(), "cause" => cause)
        .increment(1);
    tracing::warn!(output, cause, %failure, "what an output needs cannot be had; what it has stays");
}

pub(crate) fn child_started(program: &str, pid: u32) {
    counter!("bailee_agent_child_starts_total").increment(1);
    tracing::info!(program, pid, "the process was started");
}

pub(crate) fn child_not_started(program: &str, error: &io::Error) {
    tracing::error!(program, %error, "the process could not be started");
}

pub(crate) fn child_exited(program: &str, exit: Exit) {
    counter!("bailee_agent_child_exits_total").increment(1);
    tracing::info!(program, %exit, "the process ended");
}

pub(crate) fn child_waits(program: &str, pause: Duration) {
    let seconds = pause.as_secs_f64();
    tracing::info!(program, seconds, "the process will be started again");
}

pub(crate) fn child_killed(program: &str, timeout: Duration) {
    let seconds = timeout.as_secs_f64();
    tracing::warn!(program, seconds, "the process did not end in time and was killed");
}

pub(crate) fn child_changes(program: &str, variables: &[&str]) {
    counter!("bailee_agent_child_changes_total").increment(1);
    tracing::info!(program, ?variables, "variables of the process changed");
}

pub(crate) fn child_told(program: &str, signal: Signal) {
    tracing::info!(program, signal = signal.name(), "the process is told by a signal");
}

pub(crate) fn child_not_told(program: &str, signal: Signal, error: io::Error) {
    tracing::warn!(program, signal = signal.name(), %error, "the process could not be told");
}

pub(crate) fn file_written(path: &Path) {
    counter!("bailee_agent_files_written_total").increment(1);
    tracing::info!(path = %path.display(), "a file was written");
}

pub(crate) fn file_not_written(error: &file::Error) {
    let cause = match error {
        file::Error::Content { failure, .. } => failure.cause.as_str(),
        file::Error::Disk { .. } => "disk",
    };
    counter!("bailee_agent_file_failures_total", "cause" => cause).increment(1);
    tracing::warn!(%error, cause, "a file could not be written; it stays as it is");
}

pub(crate) fn left_over_removed(path: &Path, files: usize) {
    tracing::info!(path = %path.display(), files, "what a run that crashed left beside a file was removed");
}

pub(crate) fn command_failed(path: &Path, program: &str, ended: &str) {
    counter!("bailee_agent_command_failures_total").increment(1);
    tracing::warn!(path = %path.display(), program, ended, "the command after a change failed");
}
