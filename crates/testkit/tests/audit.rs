//! Audit devices of a whole server: what is in the files, and what happens when they are moved.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_testkit::{Api, Ask, TestServer};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Put into everything a request can hold.
const CANARY: &str = "canary-4f0c92be";
const NUMBER: &str = "918273645546372";

async fn enable(api: &Api, name: &str, path: &Path) {
    let body = json!({ "type": "file", "options": { "file_path": path } });
    api.put(&format!("sys/audit/{name}"), body).await.done();
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_in_a_line() {
    let server = TestServer::start().await;
    let (api, log) = (server.api(), server.folder().join("audit/audit.log"));
    enable(api, "file", &log).await;
    let hashed = json!({ "hmac": true });
    api.post("sys/config/auditing/request-headers/x-custom", hashed).await.done();
    let body = format!(
        r#"{{"data":{{"{CANARY}-field":"{CANARY}","n":{NUMBER},"list":["{CANARY}",{{"x":"{CANARY}"}}]}}}}"#
    );
    drop(api.send(Ask::new("PUT", "secret/data/a").body(body)).await.ok());
    let read = api.get("secret/data/a").await.ok();
    assert!(read.body_text().contains(CANARY) && read.body_text().contains(NUMBER));
    api.get(&format!("secret/data/a?version={CANARY}")).await;
    drop(api.put("secret/data/a", json!({ "data": CANARY })).await);
    drop(api.put("auth/token/lookup", json!({ "token": CANARY })).await);
    drop(api.put("sys/tools/hash", json!({ "input": CANARY })).await);
    drop(api.put("sys/policies/acl/p", json!({ "policy": format!("# {CANARY}") })).await);
    api.with_token(CANARY).get("secret/data/a").await.refused(403, "permission denied");
    let asked = |name: &str| Ask::new("GET", "secret/data/a").header(name, CANARY);
    drop(api.send(asked("x-custom")).await.ok());
    drop(api.send(asked("cookie")).await.ok());
    let made = api.put("auth/token/create", json!({ "policies": ["default"] })).await.ok();
    let token = made.text("/auth/client_token");
    drop(api.with_token(&token).get("auth/token/lookup-self").await.ok());
    let wrapped = Ask::new("GET", "secret/data/a").header("x-vault-wrap-ttl", "60s");
    let wrapped = api.send(wrapped).await.ok().text("/wrap_info/token");
    drop(api.with_token(&wrapped).put("sys/wrapping/unwrap", json!({})).await.ok());
    let text = fs::read_to_string(&log).unwrap();
    // Field names are shown, as everywhere in this format.
    let text = text.replace(&format!("{CANARY}-field"), "");
    for secret in [CANARY, NUMBER, api.token(), &token, &wrapped] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    let hash = api.post("sys/audit-hash/file", json!({ "input": CANARY })).await.ok();
    assert!(text.contains(&hash.text("/data/hash")));
    for line in lines(&log) {
        assert!(line["time"].is_string() && line["request"]["id"].is_string(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_a_signal_opens_the_file_anew() {
    let mut server = TestServer::start().await;
    let folder = server.folder().to_owned();
    let (log, old) = (folder.join("audit.log"), folder.join("audit.old"));
    enable(server.api(), "file", &log).await;
    fs::rename(&log, &old).unwrap();
    server.signal(Signal::HUP);
    // Each request is recorded in one or the other, whenever the signal arrives.
    while !log.exists() {
        drop(server.api().get("sys/mounts").await.ok());
    }
    let before = lines(&log).len();
    drop(server.api().get("sys/mounts").await.ok());
    assert_eq!(lines(&log).len(), before + 2);
    server.restart().await;
    let before = lines(&log).len();
    drop(server.api().get("sys/mounts").await.ok());
    assert_eq!(lines(&log).len(), before + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_files_are_no_place_for_lines() {
    let server = TestServer::start().await;
    for path in [server.storage().join("audit.log"), server.storage()] {
        let body = json!({ "type": "file", "options": { "file_path": path } });
        server.api().put("sys/audit/file", body).await.refused(400, "sanity check failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_when_they_ask_too_often() {
    let server = TestServer::start().await;
    let api = server.api();
    let config = json!({ "enable_rate_limit_response_headers": true });
    api.post("sys/quotas/config", config).await.done();
    let quota = json!({ "path": "secret/", "rate": 2, "interval": "1h" });
    api.post("sys/quotas/rate-limit/q", quota).await.done();
    let left = |answer: &bailee_testkit::Answer| {
        answer.headers.get("x-ratelimit-remaining").unwrap().to_str().unwrap().to_owned()
    };
    for expected in ["1", "0"] {
        let answer = api.get("secret/data/none").await;
        assert_eq!((answer.status, left(&answer).as_str()), (404, expected));
    }
    let answer = api.get("secret/data/none").await;
    assert_eq!(left(&answer), "0");
    let wait: u64 = answer.headers.get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait));
    answer.refused(429, "request path \"secret/data/none\": rate limit quota exceeded");
    drop(api.get("sys/mounts").await.ok());
}
