//! Where the binary is; built when it is not, or not new.

use crate::environment;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).expect("this crate is two folders below the root").to_owned()
}

/// The server's binary, next to the tests. Cargo is asked once per test program whether it is up to
/// date: a test of yesterday's binary proves nothing. Fails when it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("a running program has a path");
        // target/<profile>/deps/<test>, or target/<profile>/<program>.
        let mut folder = test.parent().expect("a program is in a folder");
        if folder.ends_with("deps") {
            folder = folder.parent().expect("deps is in the profile's folder");
        }
        let mut build = Command::new(environment::cargo());
        // The same selection as `cargo xtask test`: another one means other features, and building
        // everything anew.
        build.args(["build", "--quiet", "--workspace", "--bins", "--locked"]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        let target = folder.parent().expect("a profile's folder is in the target folder");
        build.env("CARGO_TARGET_DIR", target).current_dir(workspace());
        let built = build.status().expect("cargo runs");
        assert!(built.success(), "the server's binary cannot be built");
        let binary = folder.join("bailee");
        assert!(binary.exists(), "{} is absent after its build", binary.display());
        binary
    })
}
