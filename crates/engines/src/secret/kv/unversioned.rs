//! Paths of an unversioned store, which clients try by mistake.

use super::Kv;
use bailee_sdk::{Error, Operation, Reply, Request};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Families of paths that are served below these names only.
const ROOTS: [&str; 5] = ["data", "metadata", "delete", "undelete", "destroy"];

pub(super) async fn explain(
    _: Arc<Kv>,
    request: Request<Map<String, Value>>,
) -> Result<Reply, Error> {
    let command = match request.operation {
        Operation::Read => "get",
        Operation::Create | Operation::Update => "put",
        Operation::Patch => "patch",
        Operation::Delete => "delete",
        Operation::List | Operation::Scan => "list",
    };
    // The roots of the families, named without a slash, are no folders to those who do not list.
    let is_root = ROOTS.contains(&request.path.as_str()) && !request.operation.is_listing();
    let warning = if is_root {
        "Non-listing operations on the root of a K/V v2 mount are not supported.".to_owned()
    } else {
        // Clients look for this sentence.
        format!(
            "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate \
             API endpoints to use. If using the Vault CLI, use 'vault kv {command}' for this \
             operation."
        )
    };
    Ok(Reply::empty().warn(warning).as_missing())
}
