//! What belongs to logins of EC2 instances, which this method does not have: refused by name.

use super::{Aws, short};
use bailee_sdk::{
    Error,
    Operation::{Delete, List, Read, Update},
    Path, Reply, Request,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

const PATTERNS: &[&str] = &[
    "config/certificate/{rest...}",
    "config/certificates",
    "config/tidy/{rest...}",
    "identity-accesslist/{rest...?}",
    "identity-whitelist/{rest...?}",
    "role/{rest...}/tag",
    "roletag-blacklist/{rest...?}",
    "roletag-denylist/{rest...?}",
    "tidy/{rest...}",
];

/// Whatever is named.
#[derive(Deserialize, JsonSchema)]
struct Whatever {
    /// What is named.
    #[serde(default, rename = "rest")]
    _rest: String,
}

/// Why a field or path of EC2 is refused.
pub(super) fn refusal(what: &str) -> Error {
    Error::invalid(format!(
        "{what} belongs to auth_type ec2 or to inferred instances, which this server does not have: its \
         aws auth method is of auth_type iam"
    ))
}

/// Paths that say so.
pub(super) fn paths(engine: &Arc<Aws>) -> Vec<Path> {
    let refuse = |pattern| {
        [Read, Update, Delete, List].into_iter().fold(
            Path::new(pattern).hidden(),
            |path, operation| {
                path.on(operation, engine, "Not supported: logins of EC2 instances", refused)
            },
        )
    };
    PATTERNS.iter().map(|pattern| refuse(*pattern)).collect()
}

async fn refused(_: Arc<Aws>, request: Request<Whatever>) -> Result<Reply, Error> {
    let head: String = request.path.split('/').take(2).collect::<Vec<_>>().join("/");
    Err(refusal(&format!("path {:?}", short(&head))))
}
