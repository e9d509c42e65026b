//! Rules that a machine can hold: the dependency table, file sizes, words that must not stay.

use crate::tools;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each crate may use of ours; `crypto` and `notation` may be used by all. Second list: tests.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    ("bailee-crypto", &[], &[]),
    ("bailee-notation", &[], &[]),
    ("bailee-storage", &[], &[]),
    ("bailee-barrier", &["bailee-storage"], &[]),
    ("bailee-sdk", &["bailee-barrier", "bailee-storage"], &[]),
    ("bailee-cloud", &[], &[]),
    ("bailee-fake-clouds", &[], &[]),
    ("bailee-engines", &["bailee-sdk", "bailee-cloud", "bailee-barrier", "bailee-storage"], &[]),
    ("bailee-kernel", &["bailee-storage", "bailee-barrier", "bailee-sdk"], &[]),
    (
        "bailee-secret-sync",
        &["bailee-barrier", "bailee-sdk", "bailee-cloud", "bailee-client", "bailee-storage"],
        &[],
    ),
    ("bailee-server", &["bailee-kernel", "bailee-sdk"], &[]),
    ("bailee-client", &[], &[]),
    ("bailee-agent", &["bailee-client", "bailee-cloud"], &[]),
    (
        "bailee-testkit",
        &["bailee", "bailee-client", "bailee-fake-clouds"],
        &[
            "bailee-kernel",
            "bailee-engines",
            "bailee-cloud",
            "bailee-sdk",
            "bailee-storage",
            "bailee-agent",
        ],
    ),
    ("xtask", &[], &[]),
];
/// Crates any other may use.
const LEAVES: &[&str] = &["bailee-crypto", "bailee-notation"];
/// Crates that use whatever they like: the binary assembles all.
const FREE: &[&str] = &["bailee"];
/// Crates that the tests of any other may use.
const TEST_LEAVES: &[&str] = &["bailee-fake-clouds"];
/// Crates that know none of ours, not even the leaves.
const ALONE: &[&str] = &["bailee-fake-clouds", "bailee-crypto", "bailee-notation"];

/// Lines of a source file before its tests.
const FILE_LINES_MAX: usize = 600;
/// Words that say that something is not finished.
const UNFINISHED: &[&str] = &["todo!(", "unimplemented!(", "FIXME", "XXX", "#[ignore"];

pub(crate) fn run() -> Result<()> {
    let mut faults = edges()?;
    faults.extend(files()?);
    if faults.is_empty() {
        tools::say("==> tidy: the house is in order");
        return Ok(());
    }
    faults.sort();
    for fault in &faults {
        tools::say(&format!("tidy: {fault}"));
    }
    bail!("{} faults", faults.len())
}

/// Dependencies between our crates that the table does not have, and parts for tests that would come
/// into the binary.
fn edges() -> Result<Vec<String>> {
    let output = tools::cargo(&["metadata", "--format-version=1", "--no-deps", "--locked"])
        .output()
        .context("cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata.get("packages").and_then(Value::as_array).context("packages")?;
    let name = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
    let ours: BTreeSet<String> = packages.iter().filter_map(name).collect();
    let table: BTreeMap<&str, _> =
        TABLE.iter().map(|(user, uses, tests)| (*user, (uses, tests))).collect();
    let mut faults = Vec::new();
    for package in packages {
        let user = name(package).context("package without name")?;
        let dependencies = package.get("dependencies").and_then(Value::as_array);
        let dependencies: Vec<&Value> = dependencies.into_iter().flatten().collect();
        for dependency in &dependencies {
            if !is_for_tests(dependency) && has_parts_for_tests(dependency) {
                let used = name(dependency).unwrap_or_default();
                faults.push(format!("{user} uses the parts of {used} that are for tests only"));
            }
        }
        let Some((uses, tests)) = table.get(user.as_str()) else {
            if !FREE.contains(&user.as_str()) {
                faults.push(format!("{user} is not in the dependency table"));
            }
            continue;
        };
        for dependency in dependencies {
            let used = name(dependency).context("dependency without name")?;
            let for_tests = is_for_tests(dependency);
            let leaf = LEAVES.contains(&used.as_str()) && !ALONE.contains(&user.as_str());
            let for_tests_only =
                TEST_LEAVES.contains(&used.as_str()) || tests.contains(&used.as_str());
            let permitted = leaf
                || used == user
                || uses.contains(&used.as_str())
                || for_tests && for_tests_only;
            if ours.contains(&used) && !permitted {
                faults
                    .push(format!("{user} uses {used}, which the dependency table does not allow"));
            }
        }
    }
    Ok(faults)
}

fn is_for_tests(dependency: &Value) -> bool {
    dependency.get("kind").and_then(Value::as_str) == Some("dev")
}

/// Whether a dependency asks for what its crate ships for tests, such as randomness that is none.
fn has_parts_for_tests(dependency: &Value) -> bool {
    let features = dependency.get("features").and_then(Value::as_array);
    features.into_iter().flatten().any(|feature| feature == "testing")
}

fn files() -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for folder in ["crates", "xtask"] {
        for file in sources(&tools::root().join(folder))? {
            let text = fs::read_to_string(&file)?;
            let shown = file.strip_prefix(tools::root()).unwrap_or(&file).display().to_string();
            let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let lines = before_tests.lines().count();
            let in_tests = shown.contains("/tests/") || shown.ends_with("tests.rs");
            if lines > FILE_LINES_MAX && !in_tests {
                faults.push(format!(
                    "{shown}: {lines} lines before its tests, at most {FILE_LINES_MAX}"
                ));
            }
            for word in UNFINISHED.iter().filter(|word| text.contains(**word)) {
                if !shown.ends_with("tidy.rs") {
                    faults.push(format!("{shown}: {word} says that it is not finished"));
                }
            }
        }
    }
    Ok(faults)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}
