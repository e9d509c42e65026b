//! What real servers answered to the same requests. The floors may only rise.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics is a test that fails"
)]

use bailee_testkit::{binary, workspace};
use std::process::Command;

/// Replays a group of recorded requests; at least `floor` answers must equal a recorded one.
fn compare(group: &str, floor: u32) {
    let recordings = workspace().join("../shared/conformance");
    if !recordings.join("replay.py").exists() {
        println!("{group}: no recordings at {}, nothing is compared", recordings.display());
        return;
    }
    let mut replay = Command::new("python3");
    replay.current_dir(&recordings).env("PYTHONDONTWRITEBYTECODE", "1");
    replay.args(["replay.py", "--lenient", "extra", "--groups", group]);
    replay.args(["--recording", "recordings/vault-1.21", "--also", "recordings/vault"]);
    replay.args(["--also", "recordings/openbao", "--server-cmd"]);
    replay.arg(format!("{} server -config={{config}}", binary().display()));
    let output = replay.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default().to_owned();
    let passed = last.split(" passed").next().and_then(|count| count.parse::<u32>().ok());
    let passed = passed.unwrap_or_else(|| {
        panic!("{group}: no verdict\n{text}{}", String::from_utf8_lossy(&output.stderr))
    });
    println!("{group}: {last} (floor {floor})");
    let failures: Vec<&str> = text.lines().filter(|line| line.contains("FAIL")).collect();
    assert!(passed >= floor, "{group}: {last}, floor {floor}\n{}", failures.join("\n"));
}

#[test]
fn the_life_of_a_server_is_as_recorded() {
    compare("sys-lifecycle", 85);
}

#[test]
fn versioned_secrets_are_as_recorded() {
    compare("kv-v2-data", 121);
}

#[test]
fn secrets_without_versions_are_as_recorded() {
    compare("kv-v1", 76);
}

#[test]
fn roles_for_machines_are_as_recorded() {
    compare("approle", 104);
}

#[test]
fn policies_are_as_recorded() {
    compare("policies", 93);
}

#[test]
fn tokens_are_as_recorded() {
    compare("tokens", 148);
}

#[test]
fn the_small_system_paths_are_as_recorded() {
    compare("sys-misc", 95);
}

#[test]
fn identity_is_as_recorded() {
    compare("identity", 79);
}

#[test]
fn mounts_are_as_recorded() {
    compare("mounts", 129);
}

#[test]
fn audit_devices_are_as_recorded() {
    compare("audit", 36);
}

#[test]
fn cubbyholes_are_as_recorded() {
    // Two answers were a 500 for bad input: ours name the field with 400.
    compare("cubbyhole", 25);
}
