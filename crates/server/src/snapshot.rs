//! Snapshots: bodies that do not fit in memory, in both directions.

use crate::{
    limits::{BODY_BYTES_MAX, BODY_TIME_MAX},
    wire::{self, Reply},
};
use bailee_kernel::{Call, Core, Restore};
use bailee_sdk::{Error, Operation};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::sync::Arc;

/// What is asked about snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Save,
    Restore { force: bool },
}

/// Whether requests to this path are about snapshots, and may take as long as those do.
pub(crate) fn is_snapshot(path: &str) -> bool {
    matches!(path, "sys/storage/raft/snapshot" | "sys/storage/raft/snapshot-force")
}

/// What a request asks about snapshots.
pub(crate) fn asked(path: &str, operation: Operation) -> Option<Asked> {
    match (path, operation) {
        ("sys/storage/raft/snapshot", Operation::Read) => Some(Asked::Save),
        ("sys/storage/raft/snapshot", Operation::Update) => Some(Asked::Restore { force: false }),
        ("sys/storage/raft/snapshot-force", Operation::Update) => {
            Some(Asked::Restore { force: true })
        }
        _ => None,
    }
}

/// Serves it. The right is asked for before a byte of the body is read.
pub(crate) async fn serve(
    core: &Arc<Core>,
    asked: Asked,
    call: Call,
    mut body: Incoming,
) -> Result<Reply, Error> {
    let force = match asked {
        Asked::Save => {
            let media = HeaderValue::from_static("application/gzip");
            return Ok(wire::stream(media, core.save(call).await?));
        }
        Asked::Restore { force } => force,
    };
    let received = match core.restore(call, force).await {
        Ok(restore) => receive(restore, &mut body).await,
        Err(refusal) => Err(refusal),
    };
    match received {
        Ok(restore) => restore.finish().await?,
        Err(error) => {
            drain(&mut body).await;
            return Err(error);
        }
    }
    Ok(wire::empty(StatusCode::NO_CONTENT))
}

async fn receive(mut restore: Restore, body: &mut Incoming) -> Result<Restore, Error> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::invalid("the request's body ended early"))?;
        if let Some(data) = frame.data_ref() {
            restore.write(data).await?;
        }
    }
    Ok(restore)
}

/// Reads on for a while, for nothing: most clients read no answer before they have sent all.
async fn drain(body: &mut Incoming) {
    let mut left = BODY_BYTES_MAX;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, |data| data.len());
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Whether it was in time makes no difference.
    tokio::time::timeout(BODY_TIME_MAX, read).await.ok();
}
