//! What the test command tells the tests, through the environment.

use crate::workspace;
use std::path::PathBuf;

#[expect(clippy::disallowed_methods, reason = "the environment of a test, not of the server")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether the slow runs are asked for (`cargo xtask test --all`).
pub fn is_slow() -> bool {
    variable("BAILEE_TEST_SLOW").is_some()
}

/// The Python that has boto3 and moto. Fails when the test command did not say which.
pub fn python() -> PathBuf {
    let python = variable("BAILEE_TEST_PYTHON").map(PathBuf::from);
    python.expect("BAILEE_TEST_PYTHON names a Python with boto3 and moto: run `cargo xtask test`")
}

/// Where `xtask test --all` put a client that nobody here wrote. Fails when it did not say.
pub fn other_client(name: &str) -> PathBuf {
    let place = variable(name).map(PathBuf::from);
    place.expect("a variable names each client of others: run `cargo xtask test --all`")
}

/// Says in place of a folder that there are no recorded answers, and that whoever runs the tests was told so.
const NONE: &str = "none";

/// The folder of what other servers and their programs answered: `../shared/conformance` beside the
/// workspace, or the folder that `BAILEE_TEST_RECORDINGS` names. Fails where `program`, which replays
/// it, is not there: a comparison with nothing proves nothing. `None` where the variable is `none`, as
/// `cargo xtask test` sets it where it says that nothing is compared.
pub fn recordings(program: &str) -> Option<PathBuf> {
    let named = variable("BAILEE_TEST_RECORDINGS");
    if named.as_deref() == Some(NONE) {
        return None;
    }
    let folder = named.map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| workspace().join("../shared/conformance"));
    Some(found(folder, program).expect("tests compare with answers that were recorded"))
}

fn found(folder: PathBuf, program: &str) -> Result<PathBuf, String> {
    if folder.join(program).is_file() {
        return Ok(folder);
    }
    Err(format!(
        "{program} is not in {}: clone the recorded answers so that they are there, or name their \
         folder in BAILEE_TEST_RECORDINGS; \"none\" compares nothing",
        folder.display()
    ))
}

/// The cargo that runs the tests.
pub(crate) fn cargo() -> String {
    variable("CARGO").unwrap_or_else(|| "cargo".to_owned())
}

/// Where programs are found.
pub fn search_path() -> String {
    variable("PATH").unwrap_or_else(|| "/usr/bin:/bin".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_that_are_not_there_are_told_with_the_place_where_they_were_looked_for() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let place = folder.path().to_owned();
        let missing = found(place.clone(), "replay.py").expect_err("the folder is empty");
        assert!(missing.starts_with("replay.py is not in "), "{missing}");
        assert!(missing.contains(&place.display().to_string()), "{missing}");
        assert!(missing.contains("BAILEE_TEST_RECORDINGS"), "{missing}");
        std::fs::write(place.join("replay.py"), "").expect("it can be written");
        assert_eq!(found(place.clone(), "replay.py"), Ok(place));
    }
}
