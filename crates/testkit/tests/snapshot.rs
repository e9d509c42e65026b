//! Snapshots of a whole server: made while writes go on, restored whole or not at all.

#![expect(clippy::indexing_slicing, reason = "a test that panics is a test that fails")]

use bailee_testkit::{Ask, Options, TestServer, eventually};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;

const SAVE: &str = "sys/storage/raft/snapshot";
const FORCE: &str = "sys/storage/raft/snapshot-force";

async fn save(server: &TestServer) -> Bytes {
    let answer = server.api().get(SAVE).await.ok();
    assert_eq!(answer.headers["content-type"], "application/gzip");
    assert!(answer.body.starts_with(&[0x1f, 0x8b]), "gzip");
    answer.body
}

async fn restore(server: &TestServer, path: &str, body: impl Into<Bytes>) -> (u16, String) {
    let answer = server.api().send(Ask::new("POST", path).body(body)).await;
    (answer.status, answer.errors())
}

async fn read(server: &TestServer, path: &str) -> Value {
    server.api().get(&format!("secret/data/{path}")).await.at("/data/data")
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_on_another_machine_with_the_shares_of_the_first() {
    let first = TestServer::start_with(Options { shares: (3, 2), ..Options::default() }).await;
    first.api().write("app/db", json!({ "password": "correct horse" })).await;
    let rules = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" });
    first.api().put("sys/policies/acl/reader", rules).await.done();
    let made = first.api().post("auth/token/create", json!({ "policies": ["reader"] })).await.ok();
    let token = made.text("/auth/client_token");
    let snapshot = save(&first).await;
    let text = String::from_utf8_lossy(&snapshot).into_owned();
    assert!(!text.contains("correct horse"));

    let second = TestServer::start().await;
    second.api().write("other", json!({ "a": 1 })).await;
    let (status, text) = restore(&second, SAVE, snapshot.clone()).await;
    assert!(status == 400 && text.contains("snapshot-force"), "{status} {text}");
    assert_eq!(read(&second, "other").await, json!({ "a": 1 }));
    assert_eq!(restore(&second, FORCE, snapshot).await.0, 204);
    let seal = second.api().get("sys/seal-status").await.ok();
    assert_eq!(
        (seal.at("/sealed"), seal.at("/t"), seal.at("/n")),
        (true.into(), 2.into(), 3.into())
    );
    for key in &first.keys()[1..] {
        second.api().put("sys/unseal", json!({ "key": key })).await.done();
    }
    let there = second.api().with_token(first.api().token());
    let found = there.get("secret/data/app/db").await.ok();
    assert_eq!(found.at("/data/data/password"), "correct horse");
    assert_eq!(there.get("secret/data/other").await.status, 404);
    assert_eq!(there.get("sys/policies/acl/reader").await.ok().at("/data/name"), "reader");
    let reader = there.with_token(&token);
    reader.get("secret/data/app/db").await.done();
    reader.put("secret/data/app/db", json!({ "data": {} })).await.refused(403, "permission denied");
    // The tokens of before are void, and the first server has nothing to do with it.
    second.api().get("secret/data/app/db").await.refused(403, "");
    assert_eq!(read(&first, "app/db").await, json!({ "password": "correct horse" }));
    second.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_snapshot_takes_a_running_server_back_and_it_goes_on() {
    let mut server = TestServer::start().await;
    server.api().write("a", json!({ "turn": 1 })).await;
    let snapshot = save(&server).await;
    server.api().write("a", json!({ "turn": 2 })).await;
    server.api().write("b", json!({ "turn": 2 })).await;
    assert_eq!(restore(&server, SAVE, snapshot).await, (204, String::new()));
    assert_eq!(read(&server, "a").await, json!({ "turn": 1 }));
    assert_eq!(read(&server, "b").await, Value::Null);
    assert_eq!(server.api().get("sys/key-status").await.ok().at("/data/term"), 2);
    server.api().write("a", json!({ "turn": 3 })).await;
    server.kill();
    server.restart().await;
    assert_eq!(read(&server, "a").await, json!({ "turn": 3 }));
    assert_eq!(std::fs::read_dir(server.storage()).unwrap().count(), 4, "no scratch file is left");
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_snapshot_is_refused_and_replaces_nothing() {
    let server = TestServer::start().await;
    server.api().write("a", json!({ "turn": 1 })).await;
    let snapshot = save(&server).await;
    let mut damaged = Vec::new();
    for place in [0, 20, snapshot.len() / 2, snapshot.len() - 6] {
        let mut bytes = snapshot.to_vec();
        bytes[place] ^= 0x55;
        damaged.push(bytes);
    }
    damaged.push(snapshot[..snapshot.len() / 2].to_vec());
    damaged.push(snapshot[..snapshot.len() - 9].to_vec());
    damaged.push(Vec::new());
    damaged.push(b"{\"not\":\"a snapshot\"}".to_vec());
    damaged.push(vec![0; 100_000]);
    for (number, bytes) in damaged.into_iter().enumerate() {
        for path in [SAVE, FORCE] {
            let (status, text) = restore(&server, path, bytes.clone()).await;
            assert!(status == 400 && text.contains("snapshot"), "{number} {path} {status} {text}");
        }
    }
    assert_eq!(read(&server, "a").await, json!({ "turn": 1 }));
    // Who may not, cannot, whatever is sent.
    for api in [server.api().anonymous(), server.api().with_token("hvs.wrong")] {
        api.get(SAVE).await.refused(403, "permission denied");
        let ask = Ask::new("POST", FORCE).body(snapshot.clone());
        api.send(ask).await.refused(403, "permission denied");
    }
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_under_writes_holds_a_moment() {
    let server = TestServer::start().await;
    let api = server.api().clone();
    let writing = tokio::spawn(async move {
        for turn in 0..300 {
            api.write(&format!("many/{turn:04}"), json!({ "turn": turn })).await;
        }
    });
    eventually("some are written", async || read(&server, "many/0020").await != Value::Null).await;
    let snapshot = save(&server).await;
    writing.await.unwrap();
    assert_eq!(restore(&server, SAVE, snapshot).await.0, 204);
    let kept = server.api().list("secret/metadata/many").await.ok().at("/data/keys");
    let kept: Vec<&str> = kept.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!((21..300).contains(&kept.len()), "{}", kept.len());
    for (turn, name) in kept.iter().enumerate() {
        assert_eq!(*name, format!("{turn:04}"), "none is missing before the last");
        assert_eq!(read(&server, &format!("many/{name}")).await, json!({ "turn": turn }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_a_restore_leaves_the_old_or_the_new() {
    let mut server = TestServer::start().await;
    let filling = "x".repeat(200_000);
    server.api().write("state", json!({ "turn": "new" })).await;
    for number in 0..40 {
        server.api().write(&format!("fill/{number}"), json!({ "filling": filling })).await;
    }
    let snapshot = save(&server).await;
    let mut seen = std::collections::BTreeSet::new();
    for turn in 0_u64..8 {
        server.api().write("state", json!({ "turn": "old" })).await;
        let (api, body) = (server.api().clone(), snapshot.clone());
        let asked = tokio::spawn(async move {
            api.try_send(Ask::new("POST", SAVE).body(body)).await.map(|answer| answer.status)
        });
        tokio::time::sleep(Duration::from_millis(40 + 60 * turn)).await;
        server.kill();
        let answered = asked.await.unwrap();
        server.restart().await;
        let state = read(&server, "state").await;
        let state = state["turn"].as_str().expect("it is there").to_owned();
        assert!(state == "new" || (state == "old" && answered.is_err()), "{state} {answered:?}");
        for number in [0, 39] {
            assert_eq!(read(&server, &format!("fill/{number}")).await["filling"], filling.as_str());
        }
        seen.insert(state);
    }
    assert!(!seen.is_empty());
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_what_was_there() {
    let full = TestServer::start().await;
    let filling = "x".repeat(200_000);
    for number in 0..30 {
        full.api().write(&format!("fill/{number}"), json!({ "filling": filling })).await;
    }
    let snapshot = save(&full).await;
    let mut server = TestServer::start().await;
    server.api().write("state", json!({ "turn": "old" })).await;
    // Too little for the scratch files, for the transaction, for nothing.
    let mut refused = 0;
    for blocks in [2_000, 11_800, 60_000] {
        server.options_mut().shell = Some(format!("trap '' XFSZ; ulimit -f {blocks}"));
        server.restart().await;
        let (status, text) = restore(&server, FORCE, snapshot.clone()).await;
        if status == 204 {
            break;
        }
        refused += 1;
        assert_eq!(status, 500, "{blocks} {text}");
        assert_eq!(read(&server, "state").await, json!({ "turn": "old" }), "{blocks}");
    }
    assert!((1..3).contains(&refused), "{refused}");
    for key in full.keys() {
        server.api().put("sys/unseal", json!({ "key": key })).await.done();
    }
    let there = server.api().with_token(full.api().token());
    let found = there.get("secret/data/fill/29").await.ok();
    assert_eq!(found.at("/data/data/filling"), filling.as_str());
    server.assert_no_panic();
}
