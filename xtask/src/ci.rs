//! What must hold before a change lands.

use crate::{test, tidy, tools};
use anyhow::{Result, bail};
use std::{fs, process::Command};

pub(crate) fn run() -> Result<()> {
    tools::step("fmt", &mut tools::cargo(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    tools::step("clippy", &mut tools::cargo(&clippy))?;
    let mut docs = tools::cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    tools::step("docs", docs.env("RUSTDOCFLAGS", "-D warnings"))?;
    deny()?;
    test::run(&[])
}

/// Licences, bans and sources always; advisories where an offline copy of the database is at hand.
fn deny() -> Result<()> {
    let program = tools::deny()?;
    let mut check = Command::new(&program);
    check.current_dir(tools::root()).arg("--offline");
    let options = ["check", "--hide-inclusion-graph"];
    match tools::advisories()? {
        None => {
            tools::say("deny: no offline advisory database here, advisories are NOT checked");
            tools::step("deny", check.args(options).args(["bans", "licenses", "sources"]))
        }
        Some(database) => {
            let config = fs::read_to_string(tools::root().join("deny.toml"))?;
            let place = format!("[advisories]\ndb-path = {:?}", database.display().to_string());
            let with_place = config.replacen("[advisories]", &place, 1);
            if with_place == config {
                bail!("deny.toml has no [advisories] section");
            }
            let file = tools::target().join("deny-offline.toml");
            fs::create_dir_all(tools::target())?;
            fs::write(&file, with_place)?;
            check.arg("--config").arg(&file).args(options);
            tools::step("deny", check.args(["advisories", "bans", "licenses", "sources"]))
        }
    }
}
