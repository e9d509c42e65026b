//! Users and groups by name.

use crate::outputs::Invalid;
use std::{fs::File, io::Read as _, path::Path};

/// The longest list of users or groups that is read, in bytes.
const LIST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The number of a user.
///
/// # Errors
/// There is no such user in `/etc/passwd`.
pub fn user(text: &str) -> Result<u32, Invalid> {
    number("user", text, Path::new("/etc/passwd"))
}

/// The number of a group.
///
/// # Errors
/// There is no such group in `/etc/group`.
pub fn group(text: &str) -> Result<u32, Invalid> {
    number("group", text, Path::new("/etc/group"))
}

/// The third field of the line that begins with the name; both lists have it there.
fn number(field: &str, text: &str, list: &Path) -> Result<u32, Invalid> {
    // The largest number means "unchanged" to the system.
    if let Ok(number) = text.parse::<u32>()
        && number != u32::MAX
    {
        return Ok(number);
    }
    let shown = list.display();
    let mut lines = String::new();
    let read =
        File::open(list).and_then(|file| file.take(LIST_BYTES_MAX).read_to_string(&mut lines));
    read.map_err(|error| Invalid::new(format!("{field}: {shown} cannot be read: {error}")))?;
    let found = lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        let named = fields.next() == Some(text) && !text.is_empty();
        named.then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    let message =
        format!("{field}: there is no {text:?} in {shown}; take a name from there, or a number");
    found.ok_or_else(|| Invalid::new(message))
}
