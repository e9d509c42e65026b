//! All tests, with what they need.

use crate::{clients, tools};
use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// Names the folder of answers that other servers gave.
const RECORDINGS: &str = "BAILEE_TEST_RECORDINGS";

pub(crate) fn run(options: &[String]) -> Result<()> {
    let mut slow = false;
    for option in options {
        match option.as_str() {
            "--all" => slow = true,
            other => bail!("unknown option {other}; known is --all"),
        }
    }
    let python = tools::python()?;
    let mut build = tools::cargo(&["build", "--workspace", "--bins", "--locked"]);
    tools::step("programs that tests start", &mut build)?;
    probe_fake_aws(&python)?;
    let mut tests = tools::cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    tests.env("BAILEE_TEST_PYTHON", &python);
    let compares = has_recordings();
    if !compares {
        tests.env(RECORDINGS, "none");
    }
    if slow {
        tests.env("BAILEE_TEST_SLOW", "1");
    }
    tools::step("tests", &mut tests)?;
    if !compares {
        tools::say(&format!(
            "conformance: no recorded answers at ../shared/conformance, nothing is compared with other servers; \
             {RECORDINGS} names another folder"
        ));
    }
    if slow {
        let other = ["test", "-p", "bailee-testkit", "--locked", "--features", "other-clients"];
        let mut other = tools::cargo(&other);
        other.args(["--no-fail-fast", "--test", "other_clients"]).envs(clients::variables()?);
        tools::step("clients of others", &mut other)?;
        let crash = ["test", "-p", "bailee-storage", "--features", "slow-tests", "--test", "crash"];
        tools::step("1500 power cuts", &mut tools::cargo(&crash))?;
        tools::step("10,000 histories of sync", &mut sync("simulation"))?;
        let years =
            ["test", "-p", "bailee-kernel", "--features", "slow-tests", "--lib", "in_a_year"];
        tools::step("100 years of leases, 200 of tokens", &mut tools::cargo(&years))?;
        tools::step("a million associations in a gigabyte", &mut sync("scale"))?;
        tools::step("10,000 lives of AWS credentials, 10,000 leases at once", &mut lifetimes())?;
    }
    Ok(())
}

/// Whether there is something to compare with; where somebody names a folder, it has to be there.
fn has_recordings() -> bool {
    tools::environment(RECORDINGS).is_some() || tools::root().join("../shared/conformance").is_dir()
}

/// Slow tests of a package, of these targets and names. Without optimisation they take half an hour
/// each: our crates that do most of the work are optimised, their dependencies stay as they are built
/// already.
fn optimised(package: &str, crates: &[&str], tests: &[&str]) -> Command {
    let mut command = tools::cargo(&["test", "-p", package, "--features", "slow-tests"]);
    for crate_name in crates {
        command.arg("--config");
        command.arg(format!("profile.dev.package.bailee-{crate_name}.opt-level=2"));
    }
    command.args(tests).args(["--", "--nocapture"]);
    command
}

/// Slow tests of sync.
fn sync(filter: &str) -> Command {
    let crates = ["barrier", "crypto", "sdk", "secret-sync", "storage"];
    optimised("bailee-secret-sync", &crates, &["--lib", filter])
}

/// Kernel, engine and fake IAM on a clock that jumps.
fn lifetimes() -> Command {
    let crates =
        ["barrier", "cloud", "crypto", "engines", "fake-clouds", "kernel", "sdk", "storage"];
    optimised("bailee-testkit", &crates, &["--test", "lifetimes"])
}

/// AWS's own SDK against our fake: a fake is trusted as far as the SDK accepts it.
fn probe_fake_aws(python: &Path) -> Result<()> {
    // A pair of the fake's own, good for nothing else.
    const KEY: (&str, &str) = ("AKIAPROBE", "probe-secret");
    let mut start = Command::new(tools::target().join("debug/fake-aws"));
    start.arg("--access-key").arg(format!("{}:{}", KEY.0, KEY.1));
    start.args(["--require-signatures", "--enforce-policies"]).stdout(Stdio::piped());
    let mut fake = Killed(start.spawn().context("fake-aws")?);
    let stdout = fake.0.stdout.take().context("fake-aws has no output")?;
    let mut ready = String::new();
    BufReader::new(stdout).read_line(&mut ready).context("fake-aws")?;
    let ready: serde_json::Value = serde_json::from_str(&ready).context("fake-aws is not ready")?;
    let endpoint = ready.get("endpoint").and_then(serde_json::Value::as_str);
    let endpoint = endpoint.context("fake-aws names no endpoint")?;
    let mut probe = Command::new(python);
    probe.arg(tools::root().join("tests/clouds/aws_boto3.py")).args([endpoint, KEY.0, KEY.1]);
    tools::step("boto3 against the fake AWS", &mut probe)
}

/// A program that ends with this value.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
