//! Rate-limit quotas as operators handle them.

use super::world::{Recorder, World, call, refused};
use crate::{AuditDevice, Limited};
use bailee_sdk::{Code, Operation};
use bailee_storage::memory::Memory;
use serde_json::json;
use std::sync::Arc;

async fn asked(world: &World, namespace: &str, path: &str) -> Limited {
    let mut call = call(Operation::Read, path, "{}", None);
    call.namespace = namespace.to_owned();
    world.core.limit(&call).await.unwrap()
}

/// How many requests in a row are granted, up to ten.
async fn granted(world: &World, namespace: &str, path: &str) -> usize {
    for count in 0..10 {
        if asked(world, namespace, path).await.refused.is_some() {
            return count;
        }
    }
    10
}

async fn put(world: &World, name: &str, input: &str) {
    world.write(&format!("sys/quotas/rate-limit/{name}"), input).await.unwrap();
}

#[tokio::test]
async fn the_quota_that_says_most_about_a_request_counts_it() {
    let world = World::new().await;
    world.write("sys/namespaces/team", "{}").await.unwrap();
    world.write("sys/namespaces/other", "{}").await.unwrap();
    world.write("sys/mounts/more", r#"{"type":"boxes"}"#).await.unwrap();
    put(&world, "all", r#"{"rate":5,"interval":"1h"}"#).await;
    put(&world, "team", r#"{"rate":4,"interval":"1h","path":"team"}"#).await;
    put(&world, "boxes", r#"{"rate":3,"interval":"1h","path":"boxes/"}"#).await;
    put(&world, "some", r#"{"rate":2,"interval":"1h","path":"boxes/box/*"}"#).await;
    put(&world, "one", r#"{"rate":1,"interval":"1h","path":"boxes/box/a"}"#).await;
    assert_eq!(granted(&world, "", "boxes/box/a").await, 1);
    assert_eq!(granted(&world, "", "boxes/box/b").await, 2);
    assert_eq!(granted(&world, "", "boxes/x").await, 3);
    assert_eq!(granted(&world, "team", "sys/mounts").await, 4);
    assert_eq!(granted(&world, "", "team/sys/mounts").await, 0);
    // The one for all holds in namespaces without one of their own, and counts them together.
    assert_eq!(granted(&world, "other", "sys/mounts").await, 5);
    assert_eq!(granted(&world, "", "more/box/a").await, 0);
    assert_eq!(granted(&world, "", "sys/health").await, 10);
    let shown = world.read("sys/quotas/rate-limit/all").await.unwrap();
    assert_eq!((&shown["inheritable"], &shown["path"]), (&json!(true), &json!("")));
}

#[tokio::test]
async fn quotas_follow_their_mount_and_end_with_it() {
    let world = World::new().await;
    put(&world, "q", r#"{"rate":1,"path":"boxes/"}"#).await;
    world.write("sys/remount", r#"{"from":"boxes","to":"crates"}"#).await.unwrap();
    let shown = world.read("sys/quotas/rate-limit/q").await.unwrap();
    assert_eq!(shown["path"], "crates/");
    let world = world.restart().await;
    assert_eq!(world.list("sys/quotas/rate-limit/").await.unwrap(), json!(["q"]));
    world.delete("sys/mounts/crates").await.unwrap();
    assert_eq!(refused(world.read("sys/quotas/rate-limit/q").await).0, Code::NotFound);
    assert_eq!(refused(world.list("sys/quotas/rate-limit/").await).0, Code::NotFound);
    world.write("sys/mounts/crates", r#"{"type":"boxes"}"#).await.unwrap();
    assert_eq!(granted(&world, "", "crates/box/a").await, 10);
    put(&world, "q", r#"{"rate":1,"path":"crates/"}"#).await;
    assert_eq!(granted(&world, "", "crates/box/a").await, 1);
}

#[tokio::test]
async fn what_is_no_quota_is_refused() {
    let world = World::new().await;
    for (input, part) in [
        (r#"{"path":""}"#, "'rate' is invalid"),
        (r#"{"rate":-1}"#, "'rate' is invalid"),
        (r#"{"rate":"NaN"}"#, "'rate' is invalid"),
        (r#"{"rate":1e400}"#, "'rate' is invalid"),
        (r#"{"rate":1,"path":"nope/"}"#, "invalid mount path \"nope/\""),
        (r#"{"rate":1,"path":"boxes/*/x"}"#, "last letter"),
        (r#"{"rate":1,"interval":"10ms"}"#, "'interval'"),
        (r#"{"rate":1,"block_interval":"10000000h"}"#, "block_interval"),
        (r#"{"rate":1,"group_by":"entity_then_ip"}"#, "enterprise"),
        (r#"{"rate":1,"secondary_rate":2}"#, "secondary_rate"),
        (r#"{"rate":1,"path":"boxes/","inheritable":true}"#, "only namespace quotas"),
        (r#"{"rate":1,"path":"boxes/","role":"r"}"#, "auth mount"),
        (r#"{"rate":1,"type":"lease-count"}"#, "'type'"),
    ] {
        let (code, text) = refused(world.write("sys/quotas/rate-limit/q", input).await);
        assert_eq!(code, Code::InvalidRequest, "{input}: {text}");
        assert!(text.contains(part), "{input}: {text}");
    }
    put(&world, "first", r#"{"rate":1,"path":"boxes/"}"#).await;
    let outcome = world.write("sys/quotas/rate-limit/second", r#"{"rate":2,"path":"boxes"}"#).await;
    assert!(refused(outcome).1.contains("exists under the name \"first\""));
    assert!(refused(world.list("sys/quotas/lease-count/").await).1.contains("enterprise-only"));
}

#[tokio::test]
async fn a_role_has_its_own_count_of_logins() {
    let world = World::new().await;
    world.write("sys/auth/door", r#"{"type":"door"}"#).await.unwrap();
    put(&world, "mount", r#"{"rate":3,"interval":"1h","path":"auth/door/"}"#).await;
    put(&world, "role", r#"{"rate":1,"interval":"1h","path":"auth/door/","role":"r"}"#).await;
    let ask = async |input: &str| {
        let call = call(Operation::Update, "auth/door/login", input, None);
        world.core.limit(&call).await.unwrap().refused.is_none()
    };
    assert!(ask(r#"{"role":"r"}"#).await && !ask(r#"{"role":"r"}"#).await);
    assert!(ask(r#"{"role":"other"}"#).await && ask("{}").await && ask("{}").await);
    assert!(!ask("{}").await);
}

#[tokio::test]
async fn refusals_are_told_and_recorded_as_configured() {
    let recorder = Arc::new(Recorder::default());
    let devices: Vec<Arc<dyn AuditDevice>> = vec![recorder.clone()];
    let world = World::with(Arc::new(Memory::default()), devices).await;
    put(&world, "q", r#"{"rate":1,"interval":"1h","path":"boxes/"}"#).await;
    recorder.take();
    assert!(asked(&world, "", "boxes/box/a").await.shown.is_none());
    let limited = asked(&world, "", "boxes/box/a").await;
    let text = limited.refused.unwrap().to_string();
    assert_eq!(text, "request path \"boxes/box/a\": rate limit quota exceeded");
    assert!(recorder.take().is_empty());
    let config = r#"{"enable_rate_limit_audit_logging":true,"enable_rate_limit_response_headers":true,
        "rate_limit_exempt_paths":"boxes/open","absolute_rate_limit_exempt_paths":["boxes/free*"]}"#;
    world.write("sys/quotas/config", config).await.unwrap();
    recorder.take();
    let limited = asked(&world, "", "boxes/box/a").await;
    assert!(limited.refused.is_some());
    assert_eq!((limited.shown.unwrap().limit, limited.shown.unwrap().remaining), (1, 0));
    let lines = recorder.take();
    assert_eq!(lines.len(), 1);
    assert!(lines[0]["error"].as_str().unwrap().contains("rate limit quota exceeded"));
    assert_eq!(granted(&world, "", "boxes/open/x").await, 10);
    assert_eq!(granted(&world, "", "boxes/freedom").await, 10);
    let world = world.restart().await;
    let kept = world.read("sys/quotas/config").await.unwrap();
    assert_eq!(kept["rate_limit_exempt_paths"], json!(["boxes/open"]));
}
