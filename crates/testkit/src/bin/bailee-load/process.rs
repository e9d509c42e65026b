//! What the system says about a process.

use std::fs;

/// The unit of CPU times in `/proc`: Linux shows hundredths of a second everywhere.
const TICK_US: f64 = 10_000.0;

/// CPU time used so far, in microseconds.
pub(crate) fn cpu_us(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name is in parentheses and may hold spaces; user and system time are the 14th and 15th.
    let after_name = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let fields = after_name.split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() * TICK_US
}

/// Resident memory, in KiB.
pub(crate) fn memory_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

/// Resident memory that is no page of a file, in KiB: what a second process of the same program takes again.
pub(crate) fn own_kib(pid: u32) -> u64 {
    status_kib(pid, "RssAnon:")
}

/// The most resident memory so far, in KiB; 0 once the process has ended.
pub(crate) fn peak_kib(pid: u32) -> u64 {
    status_kib(pid, "VmHWM:")
}

fn status_kib(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
