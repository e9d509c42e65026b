//! `sys/activation-flags`: features that are off until somebody activates them.

use super::{Nothing, Paths};
use crate::store::{Flags, Store};
use bailee_sdk::{Error, Reply, Request};
use serde_json::json;
use std::sync::Arc;

const FEATURE: &str = "secrets-sync";

impl Paths {
    pub(super) async fn read_flags(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let store = Store::within(&request.view, &request.namespace);
        Ok(flags(store.flags().await?))
    }

    pub(super) async fn activate(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let store = Store::within(&request.view, &request.namespace);
        let flags_now = Flags { activated: true };
        if store.flags().await? != flags_now {
            store.put_flags(flags_now);
        }
        Ok(flags(flags_now))
    }
}

fn flags(flags: Flags) -> Reply {
    let (on, off): (&[&str], &[&str]) =
        if flags.activated { (&[FEATURE], &[]) } else { (&[], &[FEATURE]) };
    Reply::data(&json!({ "activated": on, "unactivated": off }))
}
