use super::world::{Recorder, World, call, refused};
use crate::AuditDevice;
use bailee_sdk::{Code, Namespace, Operation};
use bailee_storage::memory::Memory;
use serde_json::json;
use std::sync::Arc;

async fn recorded() -> (World, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let devices: Vec<Arc<dyn AuditDevice>> = vec![recorder.clone()];
    let world = World::with(Arc::new(Memory::default()), devices).await;
    recorder.take();
    (world, recorder)
}

#[tokio::test]
async fn each_request_is_recorded_before_and_after_without_its_secrets() {
    let (world, recorder) = recorded().await;
    let input = r#"{"value":{"canary-field":"canary-7c1f","pin":271828,"ok":true}}"#;
    world.write("boxes/box/a", input).await.unwrap();
    world.read("boxes/box/a").await.unwrap();
    let lines = recorder.take();
    let kinds: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["request", "response", "request", "response"]);
    let text = serde_json::to_string(&lines).unwrap();
    for secret in ["canary-7c1f", "271828", world.root.as_str()] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    let (request, answer) = (&lines[0], &lines[3]);
    assert_eq!(request["request"]["operation"], "update");
    assert_eq!(request["request"]["path"], "boxes/box/a");
    assert_eq!(request["request"]["mount_point"], "boxes/");
    assert_eq!(request["request"]["mount_type"], "boxes");
    assert_eq!(request["request"]["namespace"], json!({ "id": "root" }));
    assert_eq!(request["auth"]["display_name"], "root");
    assert_eq!(request["auth"]["policies"], json!(["root"]));
    assert_eq!(request["auth"]["policy_results"]["allowed"], true);
    assert_eq!(request["request"]["data"]["value"]["ok"], true);
    let code = request["request"]["data"]["value"]["canary-field"].as_str().unwrap();
    assert!(code.starts_with("hmac-sha256:") && code.len() == 76, "{code}");
    assert_eq!(answer["response"]["data"]["value"]["canary-field"], code);
    assert_eq!(lines[0]["request"]["id"], lines[1]["request"]["id"]);
    let token = request["request"]["client_token"].as_str().unwrap();
    assert!(token.starts_with("hmac-sha256:"));
}

#[tokio::test]
async fn refusals_and_logins_are_recorded() {
    let (world, recorder) = recorded().await;
    world.core.handle(call(Operation::Read, "boxes/box/a", "{}", None)).await.unwrap_err();
    world.core.handle(call(Operation::Read, "nope", "{}", Some("hvs.bad"))).await.unwrap_err();
    world.core.handle(call(Operation::Update, "a/", "{}", None)).await.unwrap_err();
    let lines = recorder.take();
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().all(|line| line["error"].is_string()), "{lines:?}");
    assert!(!serde_json::to_string(&lines).unwrap().contains("hvs.bad"));
    world.write("sys/auth/door", r#"{"type":"door"}"#).await.unwrap();
    recorder.take();
    let login = call(Operation::Update, "auth/door/login", r#"{"policy":"x"}"#, None);
    let auth = world.core.handle(login).await.unwrap().auth.unwrap();
    let lines = recorder.take();
    let shown = &lines[1]["response"]["auth"];
    assert_eq!(shown["policies"], json!(["default", "x"]));
    assert!(shown["client_token"].as_str().unwrap().starts_with("hmac-sha256:"));
    let text = serde_json::to_string(&lines).unwrap();
    assert!(!text.contains(auth.client_token.expose().as_str()));
    assert!(!text.contains(&auth.accessor));
}

#[tokio::test]
async fn fields_that_are_to_be_shown_are_shown() {
    let (world, recorder) = recorded().await;
    let input =
        r#"{"audit_non_hmac_request_keys":["value"],"audit_non_hmac_response_keys":"value"}"#;
    world.write("sys/mounts/boxes/tune", input).await.unwrap();
    recorder.take();
    world.write("boxes/box/a", r#"{"value":"plain"}"#).await.unwrap();
    world.read("boxes/box/a").await.unwrap();
    let lines = recorder.take();
    assert_eq!(lines[0]["request"]["data"]["value"], "plain");
    assert_eq!(lines[3]["response"]["data"]["value"], "plain");
}

#[tokio::test]
async fn a_device_that_cannot_write_refuses_requests_and_deliveries() {
    let (world, recorder) = recorded().await;
    let session = world.core.sessions().borrow().clone().unwrap();
    *recorder.fails.lock() = true;
    let outcome = world.write("boxes/box/a", r#"{"value":1}"#).await;
    assert_eq!(refused(outcome).0, Code::Internal);
    let root = Namespace::root();
    let detail = serde_json::Map::new();
    let outcome = session.audit_system("sync/a", &root, "delivery", "boxes/box/a", &detail).await;
    assert_eq!(refused(outcome).0, Code::Internal);
    assert!(
        session
            .read_as_system("sync/a", &root, "boxes/box/a", serde_json::Map::new())
            .await
            .is_err()
    );
    *recorder.fails.lock() = false;
    // It was refused before it had an effect.
    assert_eq!(refused(world.read("boxes/box/a").await).0, Code::NotFound);
}

#[tokio::test]
async fn what_cannot_be_recorded_takes_no_use_of_a_token() {
    let (world, recorder) = recorded().await;
    let made = world.write("auth/token/create", r#"{"policies":["root"],"num_uses":2}"#).await;
    let token = made.unwrap().auth.unwrap().client_token.expose().clone();
    let read = || world.core.handle(call(Operation::Read, "sys/mounts", "{}", Some(&token)));
    for _ in 0..2 {
        for _ in 0..3 {
            *recorder.fails.lock() = true;
            assert_eq!(refused(read().await).0, Code::Internal);
            *recorder.fails.lock() = false;
        }
        read().await.unwrap();
    }
    assert_eq!(refused(read().await).0, Code::PermissionDenied);
}

#[tokio::test]
async fn one_device_that_can_write_is_enough() {
    let (broken, working) = (Arc::new(Recorder::default()), Arc::new(Recorder::default()));
    *broken.fails.lock() = true;
    let devices: Vec<Arc<dyn AuditDevice>> = vec![broken, working.clone()];
    let world = World::with(Arc::new(Memory::default()), devices).await;
    working.take();
    world.read("sys/mounts").await.unwrap();
    assert_eq!(working.take().len(), 2);
}

#[tokio::test]
async fn what_the_system_does_is_recorded_without_names() {
    let (world, recorder) = recorded().await;
    let session = world.core.sessions().borrow().clone().unwrap();
    let root = Namespace::root();
    let detail = json!({ "secret": "canary-name", "version": 3 }).as_object().unwrap().clone();
    session.audit_system("sync/a", &root, "delivery", "boxes/canary-path", &detail).await.unwrap();
    world.write("boxes/box/a", r#"{"value":1}"#).await.unwrap();
    session.read_as_system("sync/a", &root, "boxes/box/a", serde_json::Map::new()).await.unwrap();
    let lines = recorder.take();
    assert_eq!(lines[0]["request"]["operation"], "delivery");
    assert_eq!(lines[0]["auth"]["display_name"], "sync/a");
    assert!(!serde_json::to_string(&lines[0]).unwrap().contains("canary"));
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["type"], &last["auth"]["display_name"]),
        (&json!("response"), &json!("sync/a"))
    );
}
