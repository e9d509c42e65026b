//! Processes that nobody waits for.
//!
//! As the first process of a container the agent inherits what other processes leave behind. Those that have ended
//! stay in the list of processes until somebody asks how.

use rustix::process::{Pid, WaitOptions, child_subreaper, getpid, waitpid};
use std::{collections::BTreeSet, fs, io, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// How long a process that ended is left to whoever started it within the agent.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most processes that are looked at.
const PROCESSES_MAX: usize = 100_000;

/// Whether orphans become the agent's children.
pub fn inherits_orphans() -> bool {
    getpid().as_raw_nonzero().get() == 1 || matches!(child_subreaper(), Ok(Some(_)))
}

/// Asks of orphans that ended how they ended, for ever: run it beside everything else where
/// [`inherits_orphans`] says so.
///
/// # Errors
/// The system does not say when processes end.
pub async fn reap() -> io::Result<()> {
    let mut ended = signal(SignalKind::child())?;
    loop {
        let mut before = dead_children();
        while !before.is_empty() {
            sleep(PATIENCE).await;
            let still = dead_children();
            // What the agent itself started is asked for at once, and is not among them any longer.
            for pid in before.intersection(&still).filter_map(|pid| Pid::from_raw(*pid)) {
                waitpid(Some(pid), WaitOptions::NOHANG).ok();
            }
            before = still.difference(&before).copied().collect();
        }
        if ended.recv().await.is_none() {
            return Ok(());
        }
    }
}

/// The children that ended and that nobody asked how.
fn dead_children() -> BTreeSet<i32> {
    let own = getpid().as_raw_nonzero().get();
    let Ok(processes) = fs::read_dir("/proc") else { return BTreeSet::new() };
    let pids = processes.take(PROCESSES_MAX).flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before may hold anything, parentheses too.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let is_dead = fields.next() == Some("Z");
        let parent: i32 = fields.next()?.parse().ok()?;
        (is_dead && parent == own).then_some(pid)
    });
    pids.collect()
}
