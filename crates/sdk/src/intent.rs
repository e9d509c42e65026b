//! Effects outside the server, announced before they happen.
//!
//! A handler that makes something outside (a user of a cloud) first commits an intent that says how to
//! find it. The batch that accounts for it, usually with a lease, removes the intent. What a crash or
//! a failure leaves over is undone by [`crate::Engine::roll_back`].
//!
//! The unit of the request holds the intent's lock until its batch has landed or was dropped: who
//! undoes takes the same lock and looks again, so that nothing is undone that is still under way.

use crate::Error;
use bailee_barrier::{Revision, View};
use bailee_crypto::{clock::to_millis, random};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// The folder of a mount's intents, within its storage. The key itself is the gate through which
/// intents come: who holds its lock keeps new ones out.
pub const GATE: &str = "intents";
/// How old an intent is before it is undone without being asked. What its request sent off has
/// arrived by then, or never will.
pub const ROLL_BACK_AFTER: Duration = Duration::from_secs(300);

/// An intent as stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stored {
    /// When it was declared, in milliseconds since 1970.
    pub made: u64,
    /// Not undone before, in milliseconds since 1970.
    pub due: u64,
    /// Failed attempts to undo it.
    pub tries: u32,
    /// Why the last one failed.
    pub failure: Option<String>,
    /// What the engine needs to undo it.
    pub body: Value,
}

/// An intent that has been committed.
#[derive(Debug)]
pub struct Declared {
    key: String,
    revision: Option<Revision>,
}

/// Commits an intent, apart from the unit of `view`. The effect may follow when this returns.
pub async fn declare<T: Serialize>(
    view: &View,
    body: &T,
    now: SystemTime,
) -> Result<Declared, Error> {
    let made = to_millis(now);
    let key = format!("{GATE}/{made:016x}-{}", random::uuid());
    view.lock(&key).await;
    let ahead = view.ahead();
    ahead.lock(GATE).await;
    ahead.expect_absent(&key);
    let body = serde_json::to_value(body).map_err(Error::internal)?;
    let due = made.saturating_add(millis(ROLL_BACK_AFTER));
    ahead.put(&key, &Stored { made, due, tries: 0, failure: None, body });
    let revision = ahead.commit().await?;
    Ok(Declared { key, revision })
}

impl Declared {
    /// Removes the intent with the unit of `view`, which accounts for the effect or has undone it. The
    /// commit conflicts if somebody else undid it meanwhile.
    pub fn settle(self, view: &View) {
        if let Some(revision) = self.revision {
            view.expect(&self.key, revision);
        }
        view.delete(&self.key);
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
