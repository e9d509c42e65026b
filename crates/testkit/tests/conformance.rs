//! What real servers answered to the same requests.
//!
//! A step whose answer is none of theirs is listed with its reason in `conformance/known.json`; one
//! that is listed has to differ, so that the list stays true.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics is a test that fails"
)]

use bailee_testkit::{Program, binary, recordings};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

/// Steps by `group/id`, and why they differ.
fn known(group: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/known.json");
    let known: BTreeMap<String, String> =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let of_group = |name: &String| name.split('/').next() == Some(group);
    known.into_iter().filter(|(name, _)| of_group(name)).collect()
}

/// Replays a group of recorded requests: every answer equals a recorded one, but those listed.
fn compare(group: &str) {
    compare_with(group, &[]);
}

/// The same with more for the program that replays.
fn compare_with(group: &str, more: &[&str]) {
    let Some(recordings) = recordings("replay.py") else { return };
    let mut replay = Command::new("python3");
    replay.current_dir(&recordings).env("PYTHONDONTWRITEBYTECODE", "1");
    replay.args(["replay.py", "--lenient", "extra", "--groups", group]);
    replay.args(["--recording", "recordings/vault-1.21", "--also", "recordings/vault"]);
    replay.args(["--also", "recordings/openbao", "--expect"]);
    replay.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/known.json"));
    replay.arg("--server-cmd").arg(format!("{} server -config={{config}}", binary().display()));
    let output = replay.args(more).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = |mark: &str| -> BTreeSet<String> {
        let names = text.lines().filter_map(|line| line.strip_prefix(mark)?.split(' ').next());
        names.map(str::to_owned).collect()
    };
    let (different, failed) = (told("KNOWN "), told("FAIL "));
    let mut counts = text.lines().last().unwrap_or_default().split(' ');
    let mut count = |at: usize| counts.nth(at).and_then(|count| count.parse::<usize>().ok());
    let (Some(passed), Some(others)) = (count(0), count(1)) else {
        panic!("{group}: no verdict\n{text}{}", String::from_utf8_lossy(&output.stderr));
    };
    let (equal, total) = (passed - different.len(), passed + others);
    println!("{group}: {equal}/{total} answers equal a recorded one");
    assert!(failed.is_empty() && others == 0, "{group}: not listed: {failed:?}\n{text}");
    let listed: BTreeSet<String> = known(group).into_keys().collect();
    let stale: Vec<&String> = listed.difference(&different).collect();
    assert!(stale.is_empty(), "{group}: listed, but equal to a recorded answer: {stale:?}");
}

#[test]
fn the_life_of_a_server_is_as_recorded() {
    compare("sys-lifecycle");
}

#[test]
fn versioned_secrets_are_as_recorded() {
    compare("kv-v2-data");
}

#[test]
fn secrets_without_versions_are_as_recorded() {
    compare("kv-v1");
}

#[test]
fn roles_for_machines_are_as_recorded() {
    compare("approle");
}

#[test]
fn policies_are_as_recorded() {
    compare("policies");
}

#[test]
fn tokens_are_as_recorded() {
    compare("tokens");
}

#[test]
fn the_small_system_paths_are_as_recorded() {
    compare("sys-misc");
}

#[test]
fn identity_is_as_recorded() {
    compare("identity");
}

#[test]
fn mounts_are_as_recorded() {
    compare("mounts");
}

#[test]
fn audit_devices_are_as_recorded() {
    compare("audit");
}

#[test]
fn cubbyholes_are_as_recorded() {
    compare("cubbyhole");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_aws_are_as_recorded() {
    let moto = Program::moto_with(&[("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")]).await;
    let ours = "aws { disable_strict_networking = true }";
    tokio::task::block_in_place(|| compare_with("aws", &["--moto", &moto.url(), "--extra", ours]));
}
