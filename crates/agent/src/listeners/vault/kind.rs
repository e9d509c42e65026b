//! What an answer is: something that may be kept, or not.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::time::Instant;

/// An answer that may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A secret of a KV engine.
    Kv,
    /// Something made for this client, under a lease.
    Leased {
        /// The lease.
        id: String,
        /// How long it holds.
        duration: Duration,
        /// Whether it can be renewed.
        renewable: bool,
    },
    /// The token that a login gave.
    Login {
        /// How long it holds.
        duration: Duration,
        /// Whether it can be renewed.
        renewable: bool,
        /// When the server last took the same login again, after the first time.
        taken_at: Option<Instant>,
    },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default)]
    lease_id: String,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
    #[serde(default)]
    mount_type: String,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    wrap_info: Option<&'a RawValue>,
    #[serde(borrow, default)]
    auth: Option<&'a RawValue>,
}

/// What a secret of a KV engine of version 2 looks like, for servers that do not name the engine.
#[derive(Deserialize)]
struct Versioned {
    #[serde(rename = "data")]
    _data: IgnoredAny,
    metadata: Version,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
    #[serde(rename = "created_time")]
    _created_time: String,
}

/// Whether what is at a path is of the moment, or belongs to one token, and is never kept.
pub(crate) fn is_passing(path: &str) -> bool {
    let first = path.split('/').find(|part| !part.is_empty()).unwrap_or_default();
    ["sys", "auth", "cubbyhole", "identity"].contains(&first)
}

/// What an answer with the status 200 is; `None` where it is not kept.
pub(crate) fn of(read: bool, path: &str, body: &[u8]) -> Option<Kind> {
    if is_passing(path) {
        return None;
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    let present = |part: Option<&RawValue>| part.is_some_and(|part| part.get() != "null");
    if present(envelope.wrap_info) || present(envelope.auth) || !present(envelope.data) {
        return None;
    }
    let renewing = path.contains("sys/leases/") || path.contains("sys/renew");
    if !envelope.lease_id.is_empty() && envelope.lease_duration > 0 && !renewing {
        return Some(Kind::Leased {
            id: envelope.lease_id,
            duration: Duration::from_secs(envelope.lease_duration),
            renewable: envelope.renewable,
        });
    }
    let is_kv = match envelope.mount_type.as_str() {
        "kv" => true,
        "" => envelope
            .data
            .and_then(|data| serde_json::from_str::<Versioned>(data.get()).ok())
            .is_some_and(|versioned| versioned.metadata.version > 0),
        _ => false,
    };
    (read && is_kv && envelope.lease_id.is_empty()).then_some(Kind::Kv)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(read: bool, path: &str, body: &str) -> Option<Kind> {
        of(read, path, body.as_bytes())
    }

    #[test]
    fn secrets_of_kv_engines_are_kept_and_what_only_looks_like_them_is_not() {
        let v2 = r#"{"lease_id":"","data":{"data":{"a":1},"metadata":{"created_time":"x","version":3}},"wrap_info":null,"auth":null}"#;
        let v1 = r#"{"lease_id":"","lease_duration":2764800,"data":{"a":"b"},"mount_type":"kv"}"#;
        assert_eq!(kind(true, "secret/data/a", v2), Some(Kind::Kv));
        assert_eq!(kind(true, "kv/a", v1), Some(Kind::Kv));
        assert_eq!(kind(false, "secret/data/a", v2), None);
        assert_eq!(kind(true, "sys/wrapping/unwrap", v2), None);
        assert_eq!(kind(true, "kv/a", &v1.replace("kv\"}", "cubbyhole\"}")), None);
        assert_eq!(kind(true, "kv/a", r#"{"data":{"data":1,"metadata":{"x":1}}}"#), None);
        assert_eq!(kind(true, "kv/a", r#"{"data":null,"mount_type":"kv"}"#), None);
        assert_eq!(kind(true, "kv/a", "no json"), None);
    }

    #[test]
    fn what_is_under_a_lease_is_kept_however_it_was_asked_for() {
        let leased =
            r#"{"lease_id":"aws/creds/r/1","lease_duration":60,"renewable":true,"data":{"a":1}}"#;
        let id = "aws/creds/r/1".to_owned();
        let lease = Kind::Leased { id, duration: Duration::from_secs(60), renewable: true };
        assert_eq!(kind(true, "aws/creds/r", leased), Some(lease.clone()));
        assert_eq!(kind(false, "aws/sts/r", leased), Some(lease));
        assert_eq!(kind(false, "sys/leases/renew", leased), None);
        assert_eq!(kind(false, "ns/sys/leases/renew", leased), None);
        let wrapped = leased.replace("{\"lease", "{\"wrap_info\":{\"token\":\"t\"},\"lease");
        assert_eq!(kind(true, "aws/creds/r", &wrapped), None);
    }
}
