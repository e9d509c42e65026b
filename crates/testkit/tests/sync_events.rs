//! `sys/sync/events` as clients hear it.

#![expect(clippy::indexing_slicing, reason = "a test that panics is a test that fails")]

use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Ask, Listening, TestServer};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const EVENTS: &str = "sys/sync/events";

async fn world() -> (FakeAws, TestServer) {
    let aws = FakeAws::start().await;
    let server = TestServer::delivering_to(&aws).await;
    server.sync().destination(&aws, "fake").await;
    (aws, server)
}

/// The next event that is no keep-alive.
async fn heard(stream: &mut Listening) -> Value {
    loop {
        let line = stream.line().await.expect("the stream goes on");
        let event: Value = serde_json::from_str(&line).expect("each line is JSON");
        if event["event"] != "keep_alive" {
            return event;
        }
    }
}

async fn ends(stream: &mut Listening) {
    let end = async { while stream.line().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(30), end).await.expect("the stream ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_heard_in_both_forms_while_it_happens() {
    let (_aws, server) = world().await;
    let api = server.api();
    let mut lines = api.listen(Ask::new("GET", EVENTS)).await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let accepts = Ask::new("GET", EVENTS).header("accept", "text/event-stream");
    let mut server_sent = api.listen(accepts).await;
    assert_eq!(server_sent.header("content-type"), Some("text/event-stream"));
    assert_eq!(server_sent.line().await.as_deref(), Some(": keep-alive"));
    assert_eq!(server_sent.line().await.as_deref(), Some(""));
    api.write("app/db", json!({ "password": "canary-value" })).await;
    server.sync().set("fake", "app/db").await.done();
    let event = heard(&mut lines).await;
    assert_eq!(event["event"], "delivered");
    assert_eq!(event["secret_name"], "app/db");
    assert_eq!(event["external_name"], "vault/app/db");
    assert_eq!(event["status"], "SYNCED");
    assert!(!event.to_string().contains("canary"));
    assert_eq!(server_sent.line().await.as_deref(), Some("event: delivered"));
    let data = server_sent.line().await.unwrap();
    let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(data, event);
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token_its_right_and_the_session() {
    let (_aws, server) = world().await;
    let api = server.api();
    let rules = format!("path \"{EVENTS}\" {{ capabilities = [\"read\"] }}");
    api.put("sys/policies/acl/listener", json!({ "policy": rules })).await.done();
    let token = async |ttl: &str| {
        let wish = json!({ "policies": ["listener"], "ttl": ttl });
        api.post("auth/token/create", wish).await.ok().text("/auth/client_token")
    };
    let (revoked, expiring, unrighted) = (token("1h").await, token("4s").await, token("1h").await);
    let listen = async |token: &str| api.with_token(token).listen(Ask::new("GET", EVENTS)).await;
    let (mut first, mut second) = (listen(&revoked).await, listen(&expiring).await);
    let mut third = listen(&unrighted).await;
    // Nothing of secrets that the listener may not read.
    api.write("app/db", json!({ "n": 1 })).await;
    server.sync().set("fake", "app/db").await.done();
    let hidden = heard(&mut third).await;
    assert_eq!((&hidden["event"], &hidden["count"]), (&json!("hidden"), &json!(1)));
    api.post("auth/token/revoke", json!({ "token": revoked })).await.done();
    ends(&mut first).await;
    ends(&mut second).await;
    api.put(
        "sys/policies/acl/listener",
        json!({ "policy": "path \"x\" { capabilities = [\"read\"] }" }),
    )
    .await
    .done();
    ends(&mut third).await;
    let mut last = api.listen(Ask::new("GET", EVENTS)).await;
    api.put("sys/seal", json!({})).await.done();
    ends(&mut last).await;
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_token_may_read_other_secrets_than_before() {
    let (_aws, server) = world().await;
    let api = server.api();
    let listens = format!("path \"{EVENTS}\" {{ capabilities = [\"read\"] }}\n");
    let reads = "path \"secret/data/*\" { capabilities = [\"read\"] }";
    let policy = async |name: &str, rules: &str| {
        let path = format!("sys/policies/acl/{name}");
        api.put(&path, json!({ "policy": format!("{listens}{rules}") })).await.done();
    };
    let mut streams = Vec::new();
    for name in ["narrowed", "kept"] {
        policy(name, reads).await;
        let wish = json!({ "policies": [name] });
        let token = api.post("auth/token/create", wish).await.ok().text("/auth/client_token");
        streams.push(api.with_token(&token).listen(Ask::new("GET", EVENTS)).await);
    }
    policy("narrowed", "").await;
    ends(&mut streams[0]).await;
    // Whose rights are as before hears on, although policies were written.
    tokio::time::sleep(Duration::from_secs(6)).await;
    api.write("app/db", json!({ "n": 1 })).await;
    server.sync().set("fake", "app/db").await.done();
    assert_eq!(heard(&mut streams[1]).await["event"], "delivered");
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_the_server_waits_for_no_listener() {
    let (_aws, mut server) = world().await;
    let mut stream = server.api().listen(Ask::new("GET", EVENTS)).await;
    assert!(stream.line().await.is_some());
    let start = Instant::now();
    server.ask_to_stop();
    server.ended().await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_answer_is_not_wrapped() {
    let (_aws, server) = world().await;
    let ask = Ask::new("GET", EVENTS).header("x-vault-wrap-ttl", "60");
    server.api().send(ask).await.refused(400, "cannot be wrapped");
}
