//! What real servers answered to the same requests. The floors may only rise.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use bailee_testkit::{binary, workspace};
use std::process::Command;

/// Groups with the number of answers that must be equal, at least.
const FLOORS: &[(&str, u32)] =
    &[("sys-lifecycle", 0), ("kv-v2-data", 0), ("policies", 0), ("tokens", 0), ("mounts", 0)];

#[test]
fn answers_equal_those_of_real_servers() {
    let recordings = workspace().join("../shared/conformance");
    if !recordings.join("replay.py").exists() {
        println!("no recordings at {}: nothing is compared here", recordings.display());
        return;
    }
    let mut below = Vec::new();
    for (group, floor) in FLOORS {
        let mut replay = Command::new("python3");
        replay.current_dir(&recordings).args([
            "replay.py",
            "--lenient",
            "extra",
            "--groups",
            group,
        ]);
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
        if passed < *floor {
            let failures: Vec<&str> = text.lines().filter(|line| line.contains("FAIL")).collect();
            below.push(format!("{group}: {last}, floor {floor}\n{}", failures.join("\n")));
        }
    }
    assert!(below.is_empty(), "{}", below.join("\n"));
}
