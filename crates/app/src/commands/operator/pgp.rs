//! PGP keys that encrypt what is made for their owners.

use crate::{failure::Failure, value};
use std::fs;

/// PGP keys as the API takes them: `keybase:` names as they are, files in base64.
pub(super) fn pgp_keys(files: &[String]) -> Result<Vec<String>, Failure> {
    files.iter().map(|file| pgp_key(file)).collect()
}

/// One of them.
pub(super) fn pgp_key(file: &str) -> Result<String, Failure> {
    if file.starts_with("keybase:") {
        return Ok(file.to_owned());
    }
    let file = file.strip_prefix('@').unwrap_or(file);
    let bytes = fs::read(file)
        .map_err(|error| Failure::usage(format!("PGP key {file}: {}", value::plain(&error))))?;
    // A file may hold the base64 itself.
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Ok(value::base64(error.as_bytes())),
    }
}
