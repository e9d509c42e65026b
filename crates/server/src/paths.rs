//! The path of a request: decoded once, and refused when it could mean two things.

use bailee_sdk::Error;
use percent_encoding::percent_decode_str;

/// What a raw path comes to.
pub(crate) enum Target {
    /// A path of the API, behind `/v1/`, decoded.
    Api(String),
    /// The same place under its plain name.
    Redirect(String),
    /// Not a path of ours.
    Elsewhere,
}

/// Reads a raw path. A path with empty or dotted segments is answered with a redirect to its plain
/// form, as clients of this API know it; encoded ones cannot be meant well and are refused.
pub(crate) fn read(raw: &str) -> Result<Target, Error> {
    if let Some(plain) = plain(raw) {
        return Ok(Target::Redirect(plain));
    }
    if raw == "/v1" {
        return Ok(Target::Redirect("/v1/".to_owned()));
    }
    let Some(path) = raw.strip_prefix("/v1/") else { return Ok(Target::Elsewhere) };
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| Error::invalid("path is not valid UTF-8"))?;
    if path.chars().any(char::is_control) {
        return Err(Error::invalid("path contains control characters"));
    }
    if path.split('/').any(|segment| segment == "..") {
        return Err(Error::invalid("path cannot contain parent references"));
    }
    let inner = path.strip_suffix('/').unwrap_or(&path);
    if !inner.is_empty() && inner.split('/').any(|segment| matches!(segment, "" | ".")) {
        return Err(Error::invalid("path cannot contain empty or '.' segments"));
    }
    Ok(Target::Api(path.into_owned()))
}

/// The path without empty, `.` and `..` segments, when it has any.
fn plain(raw: &str) -> Option<String> {
    let inner = raw.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let dotted = |segment: &str| matches!(segment, "." | "..");
    if inner.is_empty() || !inner.split('/').any(|segment| segment.is_empty() || dotted(segment)) {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in inner.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let end = if raw.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{end}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_and_empty_segments_are_redirected_to_the_plain_path() {
        assert_eq!(plain("/v1/kv/x/../y").as_deref(), Some("/v1/kv/y"));
        assert_eq!(plain("/v1/kv//dd").as_deref(), Some("/v1/kv/dd"));
        assert_eq!(plain("/../../etc").as_deref(), Some("/etc"));
        assert_eq!(plain("/v1/kv/a..b"), None);
        assert_eq!(plain("/v1/kv/a/"), None);
        assert_eq!(plain("/"), None);
    }

    #[test]
    fn encoded_parent_references_are_refused() {
        assert!(read("/v1/kv/%2e%2e/a").is_err());
        assert!(read("/v1/kv/x%2f..%2fa").is_err());
        assert!(read("/v1/kv/%00").is_err());
        assert!(read("/v1/sys/mounts/%2Fkv").is_err());
        assert!(read("/v1/kv/a%2F/").is_err());
        assert!(read("/v1/kv/%2e/a").is_err());
        assert!(matches!(read("/v1/kv/a/"), Ok(Target::Api(path)) if path == "kv/a/"));
        assert!(matches!(read("/v1/"), Ok(Target::Api(path)) if path.is_empty()));
        assert!(read("/v1/kv/%ff").is_err());
        assert!(matches!(read("/v1/kv/a%20b"), Ok(Target::Api(path)) if path == "kv/a b"));
    }
}
