//! Audit devices as operators handle them.

use super::world::{Recorder, World, call, data, refused};
use crate::{Answer, AuditDevice, Call};
use bailee_sdk::{Code, Error, Headers, Operation};
use bailee_storage::memory::Memory;
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};

async fn enable(world: &World, name: &str, options: Value) -> Result<Answer, Error> {
    let input = json!({ "type": "file", "options": options }).to_string();
    world.write(&format!("sys/audit/{name}"), &input).await
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_device_serves_from_its_test_line_until_it_is_disabled() {
    let (world, folder) = (World::new().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("audit.log");
    enable(&world, "file", json!({ "file_path": path })).await.unwrap();
    world.read("sys/mounts").await.unwrap();
    world.delete("sys/audit/file").await.unwrap();
    world.read("sys/mounts").await.unwrap();
    let found = lines(&path);
    let told: Vec<_> = found
        .iter()
        .map(|line| (line["type"].as_str().unwrap(), line["request"]["path"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("request", "sys/audit/test"),
            ("response", "sys/audit/file"),
            ("request", "sys/mounts"),
            ("response", "sys/mounts"),
            ("request", "sys/audit/file"),
        ]
    );
    assert_eq!(world.read("sys/audit").await.unwrap(), json!({}));
}

#[tokio::test]
async fn devices_are_there_after_a_restart_and_have_a_new_salt_when_enabled_anew() {
    let (world, folder) = (World::new().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("audit.log");
    enable(&world, "deep/er", json!({ "path": path })).await.unwrap();
    let hash = async |world: &World| {
        let answer = world.write("sys/audit-hash/deep/er", r#"{"input":"hello"}"#).await.unwrap();
        super::world::data(&answer)["hash"].as_str().unwrap().to_owned()
    };
    let first = hash(&world).await;
    let world = world.restart().await;
    let before = lines(&path).len();
    assert_eq!(hash(&world).await, first);
    let found = lines(&path);
    assert_eq!(found.len(), before + 2);
    // What the file shows is what the endpoint tells.
    assert_eq!(found[before]["request"]["data"]["input"], first);
    world.delete("sys/audit/deep/er").await.unwrap();
    enable(&world, "deep/er", json!({ "path": path })).await.unwrap();
    assert_ne!(hash(&world).await, first);
}

#[tokio::test]
async fn what_cannot_be_written_to_is_not_enabled() {
    let (world, folder) = (World::new().await, tempfile::tempdir().unwrap());
    let place = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(place("in-the-way"), "").unwrap();
    for (options, part) in [
        (json!({ "file_path": "/dev/full" }), ""),
        (json!({ "file_path": place("in-the-way/audit.log") }), "not a directory"),
        (json!({ "file_path": place("a\0b") }), "sanity check failed"),
        (json!({ "file_path": place("x"), "mode": "0711" }), "executable"),
        (json!({ "file_path": place("x"), "prefix": "#!/bin/sh\n" }), "prefixing"),
        (json!({ "file_path": place("x"), "format": "jsonx" }), "unsupported \"format\""),
        (json!({ "file_path": place("x"), "filter": "mount_type == kv" }), "enterprise"),
        (json!({ "file_path": place("x"), "hmac_acessor": "false" }), "unknown option"),
    ] {
        let (code, text) = refused(enable(&world, "x", options).await);
        assert_eq!(code, Code::InvalidRequest);
        assert!(text.contains(part), "{text}");
    }
    for (kind, options) in [
        ("socket", json!({})),
        ("socket", json!({ "address": "127.0.0.1:1" })),
        ("socket", json!({ "address": "nowhere", "socket_type": "pigeon" })),
        ("socket", json!({ "address": "127.0.0.1:1", "write_timeout": "1h" })),
        ("syslog", json!({ "facility": "NOWHERE" })),
        ("syslog", json!({ "tag": "two words" })),
        ("http", json!({})),
    ] {
        let input = json!({ "type": kind, "options": options }).to_string();
        assert_eq!(refused(world.write("sys/audit/x", &input).await).0, Code::InvalidRequest);
    }
    assert_eq!(world.read("sys/audit").await.unwrap(), json!({}));
    assert!(!folder.path().join("x").exists());
    enable(&world, "a", json!({ "file_path": place("a") })).await.unwrap();
    for taken in ["a", "a/b"] {
        let outcome = enable(&world, taken, json!({ "file_path": place("b") })).await;
        assert!(refused(outcome).1.starts_with("path already in use"));
    }
}

#[tokio::test]
async fn while_one_device_works_requests_go_on_and_without_any_they_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let devices: Vec<Arc<dyn AuditDevice>> = vec![recorder.clone()];
    let world = World::with(Arc::new(Memory::default()), devices).await;
    let path = folder.path().join("log/audit.log");
    enable(&world, "file", json!({ "file_path": path })).await.unwrap();
    *recorder.fails.lock() = true;
    world.write("boxes/box/a", r#"{"value":1}"#).await.unwrap();
    // Its folder becomes a file: the next opening fails.
    std::fs::remove_dir_all(folder.path().join("log")).unwrap();
    std::fs::write(folder.path().join("log"), "").unwrap();
    world.core.reopen_audit();
    let outcome = world.write("boxes/box/a", r#"{"value":2}"#).await;
    assert_eq!(refused(outcome).0, Code::Internal);
    *recorder.fails.lock() = false;
    assert_eq!(world.read("boxes/box/a").await.unwrap()["value"], 1);
    *recorder.fails.lock() = true;
    std::fs::remove_file(folder.path().join("log")).unwrap();
    assert_eq!(world.read("boxes/box/a").await.unwrap()["value"], 1);
}

#[tokio::test]
async fn a_device_that_cannot_be_opened_does_not_keep_the_server_sealed() {
    let (world, folder) = (World::new().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("log/audit.log");
    enable(&world, "file", json!({ "file_path": path })).await.unwrap();
    world.core.shut_down().await;
    std::fs::remove_dir_all(folder.path().join("log")).unwrap();
    std::fs::write(folder.path().join("log"), "").unwrap();
    let world = world.restart().await;
    assert_eq!(refused(world.read("sys/mounts").await).0, Code::Internal);
    std::fs::remove_file(folder.path().join("log")).unwrap();
    world.read("sys/mounts").await.unwrap();
}

#[tokio::test]
async fn a_device_shows_what_its_options_say() {
    let (world, folder) = (World::new().await, tempfile::tempdir().unwrap());
    let place = |name: &str| folder.path().join(name);
    let raw = json!({ "file_path": place("raw"), "log_raw": "true" });
    enable(&world, "raw", raw).await.unwrap();
    let short = json!({
        "file_path": place("short"), "hmac_accessor": "false", "elide_list_responses": "true",
    });
    enable(&world, "short", short).await.unwrap();
    world.write("boxes/box/a", r#"{"value":"in-clear"}"#).await.unwrap();
    world.list("sys/policies/acl/").await.unwrap();
    let (raw, short) = (lines(&place("raw")), lines(&place("short")));
    let written = raw.iter().find(|line| line["request"]["path"] == "boxes/box/a").unwrap();
    assert_eq!(written["request"]["data"]["value"], "in-clear");
    assert_eq!(written["request"]["client_token"], world.root);
    let listed = short.last().unwrap();
    assert_eq!(listed["response"]["data"]["keys"], 2);
    assert_eq!(listed["auth"]["accessor"], written["auth"]["accessor"]);
    assert!(!listed.to_string().contains(&world.root));
}

/// Enough of them beside a copy of the storage are everything.
#[tokio::test]
async fn shares_are_in_clear_on_no_device() {
    let (world, folder) = (World::new().await, tempfile::tempdir().unwrap());
    let place = folder.path().join("raw");
    enable(&world, "raw", json!({ "file_path": place, "log_raw": "true" })).await.unwrap();
    let begun = world.write("sys/generate-root/attempt", "{}").await.unwrap();
    let begun = data(&begun);
    let mut made = Value::Null;
    for key in &world.keys[..2] {
        let input = json!({ "key": hex::encode(key.as_slice()), "nonce": begun["nonce"] });
        made = data(&world.write("sys/generate-root/update", &input.to_string()).await.unwrap());
    }
    let (pad, token) = (&begun["otp"], &made["encoded_token"]);
    let input = json!({ "encoded_token": token, "otp": pad });
    let told = data(&world.write("sys/decode-token", &input.to_string()).await.unwrap());
    let written = std::fs::read_to_string(&place).unwrap();
    assert!(written.contains("sys/generate-root/update"));
    let secrets = [pad, token, &told["token"]].map(|text| text.as_str().unwrap().to_owned());
    let shares = world.keys.iter().map(|key| hex::encode(key.as_slice()));
    for secret in shares.chain(secrets) {
        assert!(!secret.is_empty() && !written.contains(&secret), "{secret}");
    }
}

#[tokio::test]
async fn audited_headers_appear_as_configured_and_no_other() {
    let recorder = Arc::new(Recorder::default());
    let devices: Vec<Arc<dyn AuditDevice>> = vec![recorder.clone()];
    let world = World::with(Arc::new(Memory::default()), devices).await;
    let family = "sys/config/auditing/request-headers";
    world.write(&format!("{family}/X-Plain"), "{}").await.unwrap();
    world.write(&format!("{family}/X-Coded"), r#"{"hmac":true}"#).await.unwrap();
    for name in ["x-vault-token", "Authorization"] {
        let outcome = world.write(&format!("{family}/{name}"), "{}").await;
        assert!(refused(outcome).1.contains("credentials"));
    }
    assert!(refused(world.write(&format!("{family}/a b"), "{}").await).1.contains("no name"));
    let wanted = world.core.wanted_headers();
    for name in ["correlation-id", "user-agent", "x-coded", "x-plain"] {
        assert!(wanted.iter().any(|wanted| wanted == name), "{name}");
    }
    recorder.take();
    let headers = ["x-plain", "x-coded", "accept", "user-agent"];
    let headers = headers.map(|name| (name.to_owned(), format!("value of {name}")));
    let call = Call {
        headers: Headers(Arc::new(headers.to_vec())),
        ..call(Operation::Read, "sys/mounts", "{}", Some(&world.root))
    };
    world.core.handle(call).await.unwrap();
    let shown = &recorder.take()[0]["request"]["headers"];
    assert_eq!(shown["x-plain"], json!(["value of x-plain"]));
    assert_eq!(shown["user-agent"], json!(["value of user-agent"]));
    assert!(shown["x-coded"][0].as_str().unwrap().starts_with("hmac-sha256:"));
    assert!(shown.get("accept").is_none());
    world.delete(&format!("{family}/user-agent")).await.unwrap();
    let world = world.restart().await;
    let kept = world.read(family).await.unwrap();
    assert!(kept["headers"].get("user-agent").is_none());
    assert_eq!(kept["headers"]["x-coded"], json!({ "hmac": true }));
}

#[tokio::test]
async fn lines_name_the_mount_the_client_and_the_error() {
    let recorder = Arc::new(Recorder::default());
    let devices: Vec<Arc<dyn AuditDevice>> = vec![recorder.clone()];
    let world = World::with(Arc::new(Memory::default()), devices).await;
    let token = world.token_with("path \"boxes/*\" { capabilities = [\"read\"] }").await;
    recorder.take();
    let denied = call(Operation::Update, "boxes/box/a", r#"{"value":1}"#, Some(&token));
    world.core.handle(denied).await.unwrap_err();
    world
        .core
        .handle(call(Operation::Read, "boxes/box/none", "{}", Some(&token)))
        .await
        .unwrap_err();
    let found = recorder.take();
    let (denied, missing) = (&found[1], &found[3]);
    assert_eq!(denied["auth"]["policy_results"], json!({ "allowed": false }));
    assert!(denied["response"]["data"]["error"].as_str().unwrap().starts_with("hmac-sha256:"));
    assert_eq!(denied["response"]["mount_class"], "secret");
    assert_eq!(denied["request"]["mount_running_version"], "v2.2.0+builtin");
    let policies = missing["auth"]["policy_results"]["granting_policies"].as_array().unwrap();
    assert_eq!(policies[0]["namespace_id"], "root");
    assert!(missing.get("error").is_none(), "nothing there is no error");
    assert_eq!(denied["request"]["client_id"], missing["request"]["client_id"]);
    // Of the root token and namespace it is the same everywhere.
    world.read("sys/mounts").await.unwrap();
    let id = "0DHqvq2D77kL2/JTPSZkTMJbkFVmUu0TzMi0jiXcFy8=";
    assert_eq!(recorder.take()[0]["request"]["client_id"], id);
}

#[tokio::test]
async fn a_number_that_was_put_away_is_not_shown_when_it_is_taken_out() {
    let recorder = Arc::new(Recorder::default());
    let devices: Vec<Arc<dyn AuditDevice>> = vec![recorder.clone()];
    let world = World::with(Arc::new(Memory::default()), devices).await;
    world.write("boxes/box/a", r#"{"value":271828}"#).await.unwrap();
    let wrapping = Call {
        wrap_ttl: Some(std::time::Duration::from_secs(60)),
        ..call(Operation::Read, "boxes/box/a", "{}", Some(&world.root))
    };
    let wrapped = world.core.handle(wrapping).await.unwrap().wrapped.unwrap();
    let token = wrapped.token.expose().as_str();
    let unwrap = call(Operation::Update, "sys/wrapping/unwrap", "{}", Some(token));
    world.core.handle(unwrap).await.unwrap();
    let text = serde_json::to_string(&recorder.take()).unwrap();
    assert!(!text.contains("271828") && !text.contains(token), "{text}");
}
