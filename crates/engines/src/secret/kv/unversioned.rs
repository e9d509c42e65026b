//! Paths of an unversioned store, which clients try by mistake.

use super::Kv;
use bailee_sdk::{Error, Operation, Reply, Request};
use serde_json::{Map, Value};
use std::sync::Arc;

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
    let warning = format!(
        "Invalid path for a versioned K/V secrets engine: secrets are under data/, their names and \
         versions under metadata/. On the command line, 'kv {command}' finds the right path."
    );
    Ok(Reply::empty().warn(warning).as_missing())
}
