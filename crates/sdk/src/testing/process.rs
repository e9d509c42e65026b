//! What a test costs the process that runs it.

use std::process::Command;

/// Bytes of a page of memory.
const PAGE: usize = 4096;

/// Memory of this process in use, in bytes.
///
/// # Panics
///
/// Where the system does not tell.
#[expect(clippy::expect_used, reason = "a test that cannot measure is a test that fails")]
pub fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("the system tells");
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    resident.expect("the second number is what is in use") * PAGE
}

/// Whether this process runs the test of this name and no other, so that nobody else's memory is
/// measured. If not, the test is run in a process of its own, and what that printed is printed here.
///
/// # Panics
///
/// When the test fails there.
#[expect(clippy::expect_used, reason = "a test that cannot be run is a test that fails")]
pub fn is_alone(name: &str) -> bool {
    if std::env::args().any(|argument| argument == "--exact") {
        return true;
    }
    let this = std::env::current_exe().expect("a test is a program");
    let run = Command::new(this).args(["--exact", name, "--nocapture"]).output();
    let output = run.expect("it can be run again");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("1 passed"), "there is no test {name}");
    #[expect(clippy::print_stdout, reason = "what a test measured is told where tests tell")]
    {
        println!("{told}");
    }
    false
}
