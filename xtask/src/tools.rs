//! Running programs, and having those that are not part of Rust.

use anyhow::{Context, Result, bail};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// Python packages of tests and demo. Pinned: a fake that changes is a test that changes.
const PYTHON_PACKAGES: &[&str] =
    &["moto[server]==5.2.5", "roto-aws==0.10.1", "microburst==0.10.0", "boto3", "hvac==2.4.0"];
const DENY_VERSION: &str = "0.20.2";
/// AWS's agent, which ours is measured by.
pub(crate) const AWS_AGENT_VERSION: &str = "2.1.0";

/// Prints for the person at the terminal.
#[expect(clippy::print_stdout, reason = "this is a program for the terminal")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Where builds go.
pub(crate) fn target() -> PathBuf {
    environment("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A variable of the environment, unless empty.
#[expect(clippy::disallowed_methods, reason = "a program of its own, outside the server")]
pub(crate) fn environment(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A cargo command in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(environment("CARGO").unwrap_or_else(|| "cargo".to_owned()));
    command.current_dir(root()).args(arguments);
    command
}

/// Runs a step, saying what it is and how long it took; fails when it fails.
pub(crate) fn step(name: &str, command: &mut Command) -> Result<()> {
    say(&format!("==> {name}"));
    let started = Instant::now();
    let status = command.status().with_context(|| format!("{name}: cannot start"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    say(&format!("    {name}: {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// Folder for tools that are kept between runs.
pub(crate) fn kept() -> PathBuf {
    let base = environment("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| environment("HOME").map(|home| Path::new(&home).join(".cache")));
    base.unwrap_or_else(target).join("bailee-xtask")
}

/// The Python of an environment that has what tests and demo need; made when absent.
pub(crate) fn python() -> Result<PathBuf> {
    let folder = kept().join(format!("venv-{}", fingerprint(&PYTHON_PACKAGES.join(" "))));
    python_environment(&folder, PYTHON_PACKAGES)?;
    Ok(folder.join("bin/python"))
}

/// A Python environment with these packages; made when absent.
pub(crate) fn python_environment(folder: &Path, packages: &[&str]) -> Result<()> {
    if folder.join("complete").exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    say(&format!(
        "Installing {} into a Python environment of their own (once).",
        packages.join(", ")
    ));
    step("python environment", Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut install = Command::new(folder.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    step("python packages", install.args(packages))?;
    fs::write(folder.join("complete"), "")?;
    Ok(())
}

/// cargo-deny of the pinned version; built when absent.
pub(crate) fn deny() -> Result<PathBuf> {
    let folder = kept().join(format!("deny-{DENY_VERSION}"));
    let program = folder.join("bin/cargo-deny");
    if !program.exists() {
        let mut install = cargo(&["install", "cargo-deny", "--locked", "--debug", "--version"]);
        install.arg(DENY_VERSION).arg("--root").arg(&folder);
        install.env("CARGO_TARGET_DIR", folder.join("build"));
        step("cargo-deny (once)", &mut install)?;
        fs::remove_dir_all(folder.join("build")).ok();
    }
    Ok(program)
}

/// AWS's agent of the pinned version, as AWS builds it: a release build; built when absent.
pub(crate) fn aws_agent() -> Result<PathBuf> {
    let folder = kept().join(format!("aws-agent-{AWS_AGENT_VERSION}"));
    let program = folder.join("bin/aws_secretsmanager_agent");
    if !program.exists() {
        let name = "aws_secretsmanager_agent";
        let mut install = cargo(&["install", name, "--locked", "--version", AWS_AGENT_VERSION]);
        install.arg("--root").arg(&folder).env("CARGO_TARGET_DIR", folder.join("build"));
        step("AWS's agent (once; it takes long)", &mut install)?;
        fs::remove_dir_all(folder.join("build")).ok();
    }
    Ok(program)
}

/// The offline copy of the advisory database, unpacked; `None` where there is none.
pub(crate) fn advisories() -> Result<Option<PathBuf>> {
    let packed = root().join("../shared/advisory-db/advisory-db.tar.xz");
    if !packed.exists() {
        return Ok(None);
    }
    let size = fs::metadata(&packed)?.len();
    let folder = kept().join(format!("advisories-{size}"));
    let database = folder.join("advisory-db-3157b0e258782691");
    if !database.join(".git/FETCH_HEAD").exists() {
        fs::create_dir_all(&folder)?;
        let mut unpack = Command::new("tar");
        unpack.arg("-xJf").arg(&packed).arg("-C").arg(&folder);
        step("advisory database", &mut unpack)?;
        if !database.join("crates").exists() {
            bail!("the advisory database at {} has no crates folder", database.display());
        }
        fs::create_dir_all(database.join(".git"))?;
        fs::write(database.join(".git/FETCH_HEAD"), "")?;
    }
    Ok(Some(folder))
}

/// A short name for a text: FNV-1a, good enough to tell package lists apart.
pub(crate) fn fingerprint(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// When, of what, and on which machine something was measured.
pub(crate) fn circumstances() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.unwrap_or("unknown processor").trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let date = said("date", &["-u", "+%Y-%m-%d"]);
    let commit = said("git", &["describe", "--always", "--dirty"]);
    format!("{date}, commit {commit}, {cores} cores of {model}, load average {load} at the end.")
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
