//! Waiting for what another process does. The bound is generous: it ends a hang, it measures nothing.

use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `found` gives something. `what` says in the failure what did not come.
pub async fn eventually_some<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "it did not come about: {what}");
        tokio::time::sleep(STEP).await;
    }
}

/// Waits until `holds` is true.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    eventually_some(what, async || holds().await.then_some(())).await;
}
