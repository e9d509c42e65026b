//! Where a KV path really is: the mount, its version, and the API path of a secret.

use crate::{Client, Error, Method, Outgoing, Response, Session};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The mount that serves a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvMount {
    /// Where it is mounted, with a final `/`.
    pub path: String,
    /// Whether it keeps versions.
    pub versioned: bool,
}

#[derive(Deserialize)]
struct Preflight {
    path: String,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

impl KvMount {
    /// Asks the server which mount serves `path`.
    pub async fn of(client: &Client, path: &str) -> Result<KvMount, Error> {
        let outgoing = question(path);
        let url = outgoing.url(client.settings());
        KvMount::told(&client.send(outgoing).await?, url)
    }

    /// The same, with the token of a session.
    pub async fn found(session: &Session, path: &str) -> Result<KvMount, Error> {
        let outgoing = question(path);
        let url = outgoing.url(session.settings());
        KvMount::told(&session.send(outgoing).await?, url)
    }

    fn told(response: &Response, url: String) -> Result<KvMount, Error> {
        let found: Preflight = response.data().ok_or(Error::Answer {
            method: "GET",
            url,
            reason: "does not describe a mount",
        })?;
        let version = found.options.unwrap_or_default().remove("version");
        Ok(KvMount { path: found.path, versioned: version.as_deref() == Some("2") })
    }

    /// The API path of `path`: with the segment, such as `data`, that versioned mounts put in.
    pub fn api_path(&self, segment: &str, path: &str) -> String {
        let path = path.trim_start_matches('/');
        let mount = self.path.trim_end_matches('/');
        let rest = path.strip_prefix(mount).unwrap_or(path).trim_start_matches('/');
        match (self.versioned, rest.is_empty()) {
            (false, _) => format!("{mount}/{rest}"),
            (true, true) => format!("{mount}/{segment}"),
            (true, false) => format!("{mount}/{segment}/{rest}"),
        }
    }
}

fn question(path: &str) -> Outgoing {
    let path = path.trim_start_matches('/');
    Outgoing::new(Method::Get, format!("sys/internal/ui/mounts/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versioned_mounts_put_a_segment_behind_the_mount() {
        let mount = KvMount { path: "team/kv/".to_owned(), versioned: true };
        assert_eq!(mount.api_path("data", "team/kv/app/db"), "team/kv/data/app/db");
        assert_eq!(mount.api_path("metadata", "team/kv/"), "team/kv/metadata");
        let mount = KvMount { path: "kv/".to_owned(), versioned: false };
        assert_eq!(mount.api_path("data", "kv/app"), "kv/app");
    }
}
