//! KV version 1, and what becomes of its secrets when the mount is tuned to version 2.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use bailee_engines::secret::kv;
use bailee_sdk::{
    Body, Code, Error, Operation, Reply,
    testing::{EngineHarness, data},
};
use serde_json::{Value, json};
use std::time::Duration;

async fn store() -> EngineHarness {
    EngineHarness::mount(&kv::kind(), &[("version", "1")]).await
}

async fn call(
    kv: &EngineHarness,
    operation: Operation,
    path: &str,
    input: Value,
) -> Result<Reply, Error> {
    kv.call(operation, path, input).await
}

async fn read(kv: &EngineHarness, path: &str) -> Result<Reply, Error> {
    call(kv, Operation::Read, path, json!({})).await
}

async fn put(kv: &EngineHarness, path: &str, value: Value) {
    let reply = call(kv, Operation::Update, path, value).await.unwrap();
    assert!(matches!(reply.body, Body::Empty) && reply.warnings.is_empty(), "{reply:?}");
}

async fn keys(kv: &EngineHarness, operation: Operation, path: &str, input: Value) -> Value {
    data(&call(kv, operation, path, input).await.unwrap())["keys"].clone()
}

fn code(outcome: Result<Reply, Error>) -> Code {
    outcome.expect_err("it must fail").code
}

#[tokio::test]
async fn a_secret_is_any_object_and_is_written_whole() {
    let kv = store().await;
    // Also fields that are named like what the path gives, or like inputs elsewhere.
    let secret = json!({"path": "p", "data": null, "version": 3, "o": {"list": [1, {"d": 1.5}]}});
    put(&kv, "dir/a", secret.clone()).await;
    let reply = read(&kv, "dir/a").await.unwrap();
    assert_eq!(data(&reply), secret);
    put(&kv, "dir/a", json!({"x": "2"})).await;
    assert_eq!(data(&read(&kv, "dir/a").await.unwrap()), json!({"x": "2"}));
    assert_eq!(kv.exists("dir/a", json!({})).await.unwrap().ok(), Some(true));
    assert_eq!(kv.exists("dir", json!({})).await.unwrap().ok(), Some(false));
    assert!(kv.changed().await.is_empty(), "sync delivers from version 2 alone");
}

#[tokio::test]
async fn numbers_come_back_letter_by_letter() {
    let kv = store().await;
    let text = r#"{"a":1.10,"b":1.5e+400,"c":12345678901234567890123,"d":-0}"#;
    put(&kv, "n", serde_json::from_str(text).unwrap()).await;
    let reply = read(&kv, "n").await.unwrap();
    let Body::Lease(json, _) = &reply.body else { panic!("{reply:?}") };
    assert_eq!(std::str::from_utf8(json.bytes()).unwrap(), text);
}

#[tokio::test]
async fn a_read_says_how_long_the_secret_lasts() {
    let kv = store().await;
    put(&kv, "own", json!({"ttl": "30m"})).await;
    put(&kv, "none", json!({"v": 1})).await;
    for (path, ttl) in [("own", Duration::from_secs(1800)), ("none", Duration::ZERO)] {
        let reply = read(&kv, path).await.unwrap();
        let Body::Lease(_, lease) = &reply.body else { panic!("{reply:?}") };
        assert_eq!((lease.ttl, lease.renewable, &lease.data), (ttl, false, &Value::Null));
    }
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_leaves_nothing_in_storage() {
    let kv = store().await;
    let before = stored(&kv).await;
    put(&kv, "a/b", json!({"v": 1})).await;
    for _ in 0..2 {
        call(&kv, Operation::Delete, "a/b", json!({})).await.unwrap();
    }
    call(&kv, Operation::Delete, "a/", json!({})).await.unwrap();
    assert_eq!(code(read(&kv, "a/b").await), Code::NotFound);
    assert_eq!(code(call(&kv, Operation::List, "a/", json!({})).await), Code::NotFound);
    assert_eq!(stored(&kv).await, before);
}

async fn stored(kv: &EngineHarness) -> Vec<String> {
    use futures_util::TryStreamExt;
    let entries: Vec<_> = kv.backend().scan("", "").try_collect().await.unwrap();
    entries.into_iter().map(|(key, _)| key).collect()
}

#[tokio::test]
async fn storage_shows_neither_names_nor_values() {
    let kv = store().await;
    put(&kv, "canary-folder/canary-name", json!({"canary-field": "canary-value"})).await;
    use futures_util::TryStreamExt;
    let entries: Vec<_> = kv.backend().scan("", "").try_collect().await.unwrap();
    for (key, entry) in entries {
        let bytes = String::from_utf8_lossy(&entry.bytes).into_owned();
        assert!(!key.contains("canary") && !bytes.contains("canary"), "{key}");
    }
}

#[tokio::test]
async fn what_cannot_be_written_or_read_is_refused() {
    let kv = store().await;
    let error = call(&kv, Operation::Update, "a", json!({})).await.unwrap_err();
    assert_eq!(
        (error.code, error.to_string().as_str()),
        (Code::InvalidRequest, "missing data fields")
    );
    for path in ["", "a/"] {
        let outcome = call(&kv, Operation::Update, path, json!({"v": 1})).await;
        assert_eq!(code(outcome), Code::InvalidRequest);
        assert_eq!(code(read(&kv, path).await), Code::NotFound);
    }
    assert_eq!(code(call(&kv, Operation::Patch, "a", json!({"v": 1})).await), Code::Unsupported);
    let large = json!({ "v": "x".repeat(kv::SECRET_BYTES_MAX) });
    assert_eq!(code(call(&kv, Operation::Update, "a", large).await), Code::TooLarge);
    let deep = vec!["a"; 257].join("/");
    assert_eq!(
        code(call(&kv, Operation::Update, &deep, json!({"v": 1})).await),
        Code::InvalidRequest
    );
}

#[tokio::test]
async fn names_are_listed_in_pages_and_scanned_in_the_order_of_their_letters() {
    let kv = store().await;
    for path in ["a", "dir", "dir/b", "dir-x", "dir/sub/leaf", "z"] {
        put(&kv, path, json!({"v": 1})).await;
    }
    assert_eq!(
        keys(&kv, Operation::List, "", json!({})).await,
        json!(["a", "dir", "dir-x", "dir/", "z"])
    );
    assert_eq!(keys(&kv, Operation::List, "dir", json!({})).await, json!(["b", "sub/"]));
    let page = json!({"after": "dir", "limit": 2});
    assert_eq!(keys(&kv, Operation::List, "", page).await, json!(["dir-x", "dir/"]));
    let all = json!(["a", "dir", "dir-x", "dir/b", "dir/sub/leaf", "z"]);
    assert_eq!(keys(&kv, Operation::Scan, "", json!({})).await, all);
    assert_eq!(keys(&kv, Operation::Scan, "dir/", json!({})).await, json!(["b", "sub/leaf"]));
    // Pages of any size, put together, are the whole.
    for limit in 1..=6 {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let input = json!({ "after": after, "limit": limit });
            let Ok(reply) = call(&kv, Operation::Scan, "", input).await else { break };
            let page = data(&reply)["keys"].as_array().unwrap().clone();
            assert!(page.len() <= limit);
            after = page.last().unwrap().as_str().unwrap().to_owned();
            found.extend(page);
        }
        assert_eq!(Value::from(found), all, "pages of {limit}");
    }
}

#[tokio::test]
async fn a_mount_tuned_to_version_2_goes_on_with_its_secrets_at_once() {
    let kv = store().await;
    put(&kv, "a", json!({"v": "old"})).await;
    put(&kv, "a", json!({"v": "new"})).await;
    put(&kv, "dir/b", json!({"v": 1})).await;
    let kv = kv.tuned(&kv::kind(), &[("version", "2")]);
    let shown = data(&read(&kv, "data/a").await.unwrap());
    assert_eq!(shown["data"], json!({"v": "new"}));
    assert_eq!(shown["metadata"]["version"], 1);
    assert_eq!(keys(&kv, Operation::List, "metadata/", json!({})).await, json!(["a", "dir/"]));
    let input = json!({"data": {"v": 2}, "options": {"cas": 1}});
    let reply = call(&kv, Operation::Update, "data/dir/b", input).await.unwrap();
    assert_eq!(data(&reply)["version"], 2);
    let first = call(&kv, Operation::Read, "data/dir/b", json!({"version": 1})).await.unwrap();
    assert_eq!(data(&first)["data"], json!({"v": 1}));
    call(&kv, Operation::Delete, "metadata/a", json!({})).await.unwrap();
    assert_eq!(code(read(&kv, "data/a").await), Code::NotFound);
}
