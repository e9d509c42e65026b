//! Answers without an end. They end when the token that asked for them, or its right, does; with the
//! session; and after a time, so that rights that were judged at the start do not live for ever.

use crate::{
    Answer, Call, Content,
    handle::within,
    kernel::Kernel,
    policy::{self, Rights},
};
use bailee_sdk::{Pieces, Sensitive};
use futures_util::{StreamExt, stream};
use serde_json::Map;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How often it is asked whether the client may still have it.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The longest that one answer goes on.
const STREAM_TIME_MAX: Duration = Duration::from_secs(3600);

struct Guarded {
    pieces: Pieces,
    /// Not held: a session ends although clients listen.
    kernel: Weak<Kernel>,
    call: Call,
    checks: Interval,
    ends: Instant,
}

/// The answer, which ends with the right to it.
pub(crate) fn guarded(answer: Answer, kernel: &Arc<Kernel>, call: &Call) -> Answer {
    match answer.content {
        Content::Stream { content_type, pieces } => {
            let pieces = guard(pieces, kernel, call);
            Answer { content: Content::Stream { content_type, pieces }, ..answer }
        }
        content => Answer { content, ..answer },
    }
}

fn guard(pieces: Pieces, kernel: &Arc<Kernel>, call: &Call) -> Pieces {
    let start = Instant::now();
    let mut checks = interval_at(start + CHECK_INTERVAL, CHECK_INTERVAL);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let call = Call {
        id: call.id.clone(),
        namespace: call.namespace.clone(),
        path: call.path.clone(),
        operation: call.operation,
        input: Map::new(),
        token: call.token.as_ref().map(|token| Sensitive::from(token.expose().as_str())),
        wrap_ttl: None,
        remote: call.remote,
        headers: call.headers.clone(),
    };
    let kernel = Arc::downgrade(kernel);
    let state = Guarded { pieces, kernel, call, checks, ends: start + STREAM_TIME_MAX };
    Pieces::new(stream::unfold(state, |mut state| async move {
        loop {
            tokio::select! {
                biased;
                _ = state.checks.tick() => {
                    let kernel = state.kernel.upgrade()?;
                    if Instant::now() >= state.ends || !kernel.may_still(&state.call).await {
                        return None;
                    }
                }
                piece = state.pieces.next() => return piece.map(|piece| (piece, state)),
            }
        }
    }))
}

impl Kernel {
    /// Whether who asked may still ask the same. What cannot be told is no.
    async fn may_still(&self, call: &Call) -> bool {
        let places = self.registry.places();
        let Some((place, path)) = places.resolve(&call.namespace, &call.path) else { return false };
        if places.locked(&place.namespace).is_some() {
            return false;
        }
        let Ok(Some(token)) = self.authenticate(call, place, true).await else { return false };
        match policy::full_rights(&self.policies, &token).await {
            Ok(Rights { acl, .. }) => acl.may(call.operation, &within(&token, place, &path)),
            Err(_) => false,
        }
    }
}
