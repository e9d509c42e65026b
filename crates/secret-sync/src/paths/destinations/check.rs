//! `…/check`: whether a destination can be reached, who we are there, and what we may do.

use crate::{
    destination::Checked,
    failure::{Error as SyncError, Failure},
    paths::{Named, Paths},
};
use bailee_sdk::{Body, Error, Reply, Request};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The longest that a check may take.
const CHECK_TIME_MAX: Duration = Duration::from_secs(15);

impl Paths {
    pub(in crate::paths) async fn check_destination(
        self: Arc<Self>,
        request: Request<Named>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let Named { kind, name } = &request.input;
        let kind = self.kind(kind)?;
        let found = store.destination(kind.name, name).await?;
        let (stored, _) = found.ok_or_else(Error::not_found)?;
        let (sync, namespace) = (self.sync.clone(), request.namespace.clone());
        Ok(Body::After(Box::pin(async move {
            // Built anew: nothing that was kept from before may make it look better than it is.
            let check = async { sync.registry.build(&stored, &namespace).await?.check().await };
            let checked = tokio::time::timeout(CHECK_TIME_MAX, check).await;
            let checked = checked.unwrap_or_else(|_| {
                let message = format!("no answer within {} seconds", CHECK_TIME_MAX.as_secs());
                Err(SyncError::new(Failure::Unavailable, message))
            });
            Ok(Reply::data(&shown(checked)))
        }))
        .into())
    }
}

/// A check that found something is an answer, not a failure of this server.
fn shown(checked: Result<Checked, SyncError>) -> Value {
    match checked {
        Ok(Checked { identity, notes }) => {
            json!({ "ok": true, "identity": identity, "notes": notes, "error": null })
        }
        Err(error) => json!({
            "ok": false,
            "identity": {},
            "notes": [],
            "error": {
                "class": error.failure.name(),
                "code": error.provider_code,
                "message": error.message,
                "missing_permission": error.missing_permission,
                "next_action": next_action(error.failure),
            },
        }),
    }
}

/// A check is not tried again by itself.
fn next_action(failure: Failure) -> &'static str {
    if failure.passes() {
        "check again in a while; deliveries are tried again by themselves"
    } else {
        failure.next_action()
    }
}
