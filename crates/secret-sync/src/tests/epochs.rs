//! A restored snapshot beside the server it was taken from.

use super::world::{NAME, World, barrier};
use crate::{Settings, testing::FakeCloud};
use bailee_barrier::RESTORE_KEY;
use bailee_sdk::{Clock, testing::TestClock};
use bailee_storage::{Backend, Batch, Write, memory::Memory};
use futures_util::StreamExt;
use serde_json::json;
use std::{sync::Arc, time::Duration};

const PASS: Duration = Duration::from_secs(1300);

/// A copy of storage, as a snapshot is: with the mark of a restoration.
pub(super) async fn restored(original: &Memory) -> Arc<Memory> {
    let copy = Arc::new(Memory::default());
    let mut batch = Batch::default();
    let mut entries = original.scan("", "");
    while let Some(entry) = entries.next().await {
        let (key, entry) = entry.unwrap();
        batch.writes.push(Write::Put(key, entry.bytes));
    }
    batch.writes.push(Write::Put(RESTORE_KEY.to_owned(), b"restored".to_vec()));
    copy.commit(&batch).await.unwrap();
    copy
}

async fn world(memory: Arc<Memory>, cloud: &Arc<FakeCloud>, clock: &Arc<dyn Clock>) -> World {
    let barrier = barrier(memory).await.unwrap();
    World::with(barrier, cloud.clone(), Settings::default(), clock.clone())
}

#[tokio::test(start_paused = true)]
async fn a_restored_server_delivers_nothing_until_it_takes_over_and_then_alone() {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
    let (cloud, memory) = (Arc::new(FakeCloud::default()), Arc::new(Memory::default()));
    let original = world(memory.clone(), &cloud, &clock).await;
    original.ready().await;
    original.write("app/db", json!({ "v": 1 })).await.unwrap();
    original.set("app/db").await.unwrap();
    let copy = world(restored(&memory).await, &cloud, &clock).await;
    original.write("app/db", json!({ "v": 2 })).await.unwrap();
    copy.write("app/db", json!({ "v": "copy" })).await.unwrap();
    tokio::time::sleep(PASS).await;
    assert_eq!(cloud.text(NAME).unwrap(), r#"{"v":2}"#, "the copy is held");
    let refused = original.post("sync/takeover", json!({})).await.unwrap_err();
    assert!(refused.to_string().contains("nothing to take over"), "{refused}");
    copy.post("sync/takeover", json!({})).await.unwrap();
    tokio::time::sleep(PASS).await;
    assert_eq!(cloud.text(NAME).unwrap(), r#"{"v":"copy"}"#);
    let before = cloud.attempts();
    tokio::time::sleep(PASS * 10).await;
    assert_eq!(cloud.attempts(), before, "they do not fight");
    let entry = original.entry("app/db").await;
    assert_eq!(entry["drift"]["kind"], "taken", "{entry}");
    assert!(copy.post("sync/takeover", json!({})).await.is_err(), "once is enough");
    original.write("app/db", json!({ "v": 3 })).await.unwrap();
    original.settle().await;
    assert_eq!(cloud.text(NAME).unwrap(), r#"{"v":"copy"}"#, "what is taken is left alone");
    let entry = original.set("app/db").await.unwrap();
    assert_eq!(entry["error"]["class"], "not_ours", "{entry}");
    assert_eq!(cloud.attempts(), before);
}
