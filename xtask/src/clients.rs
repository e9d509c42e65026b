//! Clients that nobody here wrote: built or installed once, for the tests of `xtask test --all`.

use crate::tools::{self, fingerprint, kept, step};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The source of hvac, which ships its own integration suite.
const HVAC: &str = "hvac==2.4.0";
/// What that suite needs beside it.
const HVAC_PACKAGES: &[&str] = &[
    "hvac[parser]==2.4.0",
    "packaging==23.2",
    "parameterized==0.9.0",
    "pyhcl==0.4.5",
    "pytest==9.1.1",
    "pytest-mock==3.17.0",
    "requests-mock==1.12.1",
    "semantic-version==2.10.0",
    "jwcrypto==1.6.1",
    "Authlib==1.9.10",
    "Flask==3.1.3",
    "Flask-SQLAlchemy==3.1.1",
    "Werkzeug==3.1.9",
    "python-ldap-test==0.3.1",
    "greenlet==3.5.6",
];
/// The fuzzer of OpenAPI documents.
const SCHEMATHESIS_PACKAGES: &[&str] = &["schemathesis==4.32.5"];

/// Variables that tell the tests where these clients are.
pub(crate) fn variables() -> Result<Vec<(&'static str, PathBuf)>> {
    Ok(vec![
        ("BAILEE_TEST_GO_CLIENTS", go()?),
        ("BAILEE_TEST_NODE_CLIENT", node()?),
        ("BAILEE_TEST_VAULTRS", vaultrs()?),
        ("BAILEE_TEST_SPRING_VAULT", spring()?),
        ("BAILEE_TEST_HVAC_SUITE", hvac_suite()?),
        ("BAILEE_TEST_SCHEMATHESIS", schemathesis()?),
    ])
}

/// The program with the Go clients of Vault and OpenBao.
fn go() -> Result<PathBuf> {
    let program = kept().join("go-clients");
    let mut build = Command::new("go");
    build.current_dir(source("go")).args(["build", "-o"]).arg(&program).arg(".");
    step("Go clients", build.env("GOFLAGS", "-mod=readonly"))?;
    Ok(program)
}

/// The folder with node-vault and its script.
fn node() -> Result<PathBuf> {
    let folder = kept().join("node-client");
    copy(&source("node"), &folder, &["package.json", "package-lock.json", "walk.js"])?;
    let mut install = Command::new("npm");
    install.current_dir(&folder).args(["ci", "--silent", "--no-audit", "--no-fund"]);
    step("node-vault", &mut install)?;
    Ok(folder)
}

/// The program with vaultrs.
fn vaultrs() -> Result<PathBuf> {
    let target = kept().join("vaultrs");
    let mut build = tools::cargo(&["build", "--quiet", "--locked", "--manifest-path"]);
    build.arg(source("vaultrs").join("Cargo.toml")).env("CARGO_TARGET_DIR", &target);
    step("vaultrs", &mut build)?;
    Ok(target.join("debug/vaultrs-walk"))
}

/// The folder with the classes of spring-vault's program, and its libraries in `lib`.
fn spring() -> Result<PathBuf> {
    let folder = kept().join("spring-client");
    let mut build = Command::new("mvn");
    build.current_dir(source("spring")).args([
        "-q",
        "-B",
        "compile",
        "dependency:copy-dependencies",
    ]);
    build.arg(format!("-Dbuild.folder={}", folder.display()));
    build.arg(format!("-DoutputDirectory={}", folder.join("lib").display()));
    step("spring-vault", &mut build)?;
    Ok(folder)
}

/// The folder of hvac's source; its Python is in `venv`.
fn hvac_suite() -> Result<PathBuf> {
    let folder = kept().join(format!("hvac-{}", fingerprint(&HVAC_PACKAGES.join(" "))));
    let suite = folder.join("suite");
    if folder.join("complete").exists() {
        return Ok(suite);
    }
    fs::create_dir_all(&folder)?;
    let mut download = Command::new("python3");
    download.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"]);
    download.args(["--no-deps", "--no-binary", ":all:", "-d"]).arg(&folder).arg(HVAC);
    step("source of hvac", &mut download)?;
    let archive = fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "gz"));
    let archive = archive.context("pip brought no archive of hvac")?;
    fs::create_dir_all(&suite)?;
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(&archive).args(["--strip-components=1", "-C"]).arg(&suite);
    step("source of hvac", &mut unpack)?;
    tools::python_environment(&suite.join("venv"), HVAC_PACKAGES)?;
    fs::write(folder.join("complete"), "")?;
    Ok(suite)
}

fn schemathesis() -> Result<PathBuf> {
    let folder = kept().join(format!("st-{}", fingerprint(&SCHEMATHESIS_PACKAGES.join(" "))));
    tools::python_environment(&folder, SCHEMATHESIS_PACKAGES)?;
    Ok(folder.join("bin/schemathesis"))
}

fn source(name: &str) -> PathBuf {
    tools::root().join("tests/clients").join(name)
}

fn copy(from: &Path, to: &Path, names: &[&str]) -> Result<()> {
    fs::create_dir_all(to)?;
    for name in names {
        if fs::copy(from.join(name), to.join(name)).is_err() {
            bail!("{} cannot be copied", from.join(name).display());
        }
    }
    Ok(())
}
