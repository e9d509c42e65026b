//! All tests, with what they need.

use crate::tools;
use anyhow::Result;

pub(crate) fn run(options: &[String]) -> Result<()> {
    let slow = options.iter().any(|option| option == "--all");
    let python = tools::python()?;
    let mut build = tools::cargo(&["build", "--workspace", "--bins", "--locked"]);
    tools::step("programs that tests start", &mut build)?;
    let mut tests = tools::cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    tests.env("BAILEE_TEST_PYTHON", &python);
    if slow {
        tests.env("BAILEE_TEST_SLOW", "1");
    }
    tools::step("tests", &mut tests)
}
