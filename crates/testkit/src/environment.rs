//! What the test command tells the tests, through the environment.

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

/// The cargo that runs the tests.
pub(crate) fn cargo() -> String {
    variable("CARGO").unwrap_or_else(|| "cargo".to_owned())
}

/// Where programs are found.
pub fn search_path() -> String {
    variable("PATH").unwrap_or_else(|| "/usr/bin:/bin".to_owned())
}
