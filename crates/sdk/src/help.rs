//! Help texts, made from declared paths.

use crate::{Path, openapi};
use std::fmt::Write as _;

/// Help on one path: what each operation does, and each field with its type and description.
pub fn of_path(path: &Path) -> String {
    let mut text = format!("{}\n", path.pattern);
    if path.unauthenticated {
        text.push_str("\nServed without a token.\n");
    }
    if path.sudo {
        text.push_str("\nNeeds the sudo capability.\n");
    }
    text.push_str("\nOperations:\n");
    for (operation, endpoint) in &path.endpoints {
        line(&mut text, &format!("    {:<8} {}", operation.name(), endpoint.summary));
    }
    let fields = openapi::fields(path);
    if !fields.is_empty() {
        text.push_str("\nFields:\n");
    }
    for field in fields {
        line(&mut text, &format!("    {} ({})", field.name, field.kind));
        line(&mut text, &format!("        {}", field.description));
    }
    text
}

/// Help on an engine: its paths, each with what its operations do.
pub fn of_engine(paths: &[Path]) -> String {
    let mut text = String::from("Paths:\n");
    for path in paths.iter().filter(|path| !path.hidden) {
        line(&mut text, &format!("\n    {}", path.pattern));
        for endpoint in path.endpoints.values() {
            line(&mut text, &format!("        {}", endpoint.summary));
        }
    }
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes all that is written");
}
