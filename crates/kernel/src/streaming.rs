//! Answers without an end. They end with the token that asked for them; when its rights are others than
//! at the start, since what is sent is chosen by those; with the session; and after a time.

use crate::{
    Answer, Call, Content,
    kernel::Kernel,
    policy::{self, Acl, Rights},
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
    /// The rights that the answer was begun with.
    acl: Arc<Acl>,
    checks: Interval,
    ends: Instant,
}

/// The answer, which ends with the rights it was begun with.
pub(crate) fn guarded(
    answer: Answer,
    kernel: &Arc<Kernel>,
    call: &Call,
    acl: Option<Arc<Acl>>,
) -> Answer {
    match (answer.content, acl) {
        (Content::Stream { content_type, pieces }, Some(acl)) => {
            let pieces = guard(pieces, kernel, call, acl);
            Answer { content: Content::Stream { content_type, pieces }, ..answer }
        }
        // Nobody's answers end at once: there is no right that could be watched.
        (Content::Stream { .. }, None) => Answer { content: Content::Empty, ..answer },
        (content, _) => Answer { content, ..answer },
    }
}

fn guard(pieces: Pieces, kernel: &Arc<Kernel>, call: &Call, acl: Arc<Acl>) -> Pieces {
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
    let state = Guarded { pieces, kernel, call, acl, checks, ends: start + STREAM_TIME_MAX };
    Pieces::new(stream::unfold(state, |mut state| async move {
        loop {
            tokio::select! {
                biased;
                _ = state.checks.tick() => {
                    let kernel = state.kernel.upgrade()?;
                    if Instant::now() >= state.ends || !kernel.may_still(&state.call, &state.acl).await {
                        return None;
                    }
                }
                piece = state.pieces.next() => return piece.map(|piece| (piece, state)),
            }
        }
    }))
}

impl Kernel {
    /// Whether who asked still has the same rights. What cannot be told is no.
    async fn may_still(&self, call: &Call, begun_with: &Arc<Acl>) -> bool {
        let places = self.registry.places();
        let Some((place, _)) = places.resolve(&call.namespace, &call.path) else { return false };
        if places.locked(&place.namespace).is_some() {
            return false;
        }
        let Ok(Some(token)) = self.authenticate(call, place, true).await else { return false };
        match policy::full_rights(&self.policies, &token).await {
            Ok(Rights { acl, .. }) => Arc::ptr_eq(&acl, begun_with) || acl == *begun_with,
            Err(_) => false,
        }
    }
}
