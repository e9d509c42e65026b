use super::world::{World, call, data, refused};
use bailee_sdk::{Code, Operation, change};
use serde_json::json;
use std::sync::Arc;

const DENIED: &str = "1 error occurred:\n\t* permission denied\n\n";

#[tokio::test]
async fn a_value_that_was_written_is_read() {
    let world = World::new().await;
    let answer = world.write("boxes/box/a/b", r#"{"value":{"n":1.50}}"#).await.unwrap();
    assert_eq!(answer.mount_kind, "boxes");
    let read = world.read("boxes/box/a/b").await.unwrap();
    assert_eq!(read["value"]["n"].to_string(), "1.50");
    assert_eq!(world.list("boxes/boxes/").await.unwrap(), json!(["a/"]));
    world.delete("boxes/box/a/b").await.unwrap();
    let (code, text) = refused(world.read("boxes/box/a/b").await);
    assert_eq!((code, text.as_str()), (Code::NotFound, ""));
}

#[tokio::test]
async fn refusals_have_the_texts_that_clients_know() {
    let world = World::new().await;
    let ask = async |operation, path: &str, token: Option<&str>| {
        let (code, text) = refused(world.core.handle(call(operation, path, "{}", token)).await);
        (code, text)
    };
    let root = Some(world.root.as_str());
    let own = |code, text: &str| (code, text.to_owned());
    assert_eq!(
        ask(Operation::Read, "nope/at/all", root).await,
        own(Code::NotFound, "no handler for route \"nope/at/all\". route entry not found.")
    );
    assert_eq!(
        ask(Operation::Read, "boxes/nothing", root).await,
        own(Code::NotFound, "1 error occurred:\n\t* unsupported path\n\n")
    );
    assert_eq!(
        ask(Operation::Read, "sys/mounts/", root).await,
        own(Code::NotFound, "1 error occurred:\n\t* unsupported path\n\n")
    );
    // What can be listed is there, whatever else is asked of it.
    assert_eq!(
        ask(Operation::Read, "sys/policies/acl/", root).await,
        own(Code::Unsupported, "1 error occurred:\n\t* unsupported operation\n\n")
    );
    for path in ["identity/mfa/method/", "identity/mfa/method/totp/"] {
        assert_eq!(ask(Operation::List, path, root).await, own(Code::NotFound, ""));
    }
    let mut beside = call(Operation::Read, "sys/mounts", "{}", root);
    beside.namespace = "nope".to_owned();
    let refusal = refused(world.core.handle(beside).await);
    assert_eq!(refusal, own(Code::NotFound, "namespace not found"));
    assert_eq!(
        ask(Operation::List, "sys/mounts/boxes/", root).await,
        own(Code::Unsupported, "1 error occurred:\n\t* unsupported operation\n\n")
    );
    assert_eq!(
        ask(Operation::Update, "boxes/box/a/", root).await,
        own(Code::InvalidRequest, "cannot write to a path ending in '/'")
    );
    assert_eq!(
        ask(Operation::Read, "boxes/box/../a", root).await,
        own(Code::InvalidRequest, "path cannot contain parent references")
    );
    assert_eq!(ask(Operation::Read, "boxes/box/a..b", root).await.0, Code::NotFound);
    for path in ["boxes/box/a", "nope", "sys/nope"] {
        assert_eq!(
            ask(Operation::Read, path, None).await,
            own(Code::PermissionDenied, "permission denied"),
        );
        assert_eq!(ask(Operation::Read, path, Some("")).await.1, "permission denied");
        assert_eq!(
            ask(Operation::Read, path, Some("hvs.nonsense")).await,
            own(
                Code::PermissionDenied,
                "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"
            ),
        );
    }
    let stranger = world.token_with(r#"path "else" { capabilities = ["read"] }"#).await;
    for path in ["boxes/box/a", "nope", "sys/nope", "sys/mounts"] {
        assert_eq!(
            ask(Operation::Read, path, Some(&stranger)).await,
            own(Code::PermissionDenied, DENIED)
        );
    }
}

#[tokio::test]
async fn create_and_update_are_told_apart_when_the_policy_does() {
    let world = World::new().await;
    let creator = world.token_with(r#"path "boxes/box/*" { capabilities = ["create"] }"#).await;
    let updater = world.token_with(r#"path "boxes/box/*" { capabilities = ["update"] }"#).await;
    let write = async |token: &str| {
        let input = r#"{"value":1}"#;
        world.core.handle(call(Operation::Update, "boxes/box/a", input, Some(token))).await
    };
    assert_eq!(refused(write(&updater).await).1, DENIED);
    write(&creator).await.unwrap();
    assert_eq!(refused(write(&creator).await).1, DENIED);
    write(&updater).await.unwrap();
}

#[tokio::test]
async fn a_right_to_create_does_not_change_what_was_created_meanwhile() {
    let world = Arc::new(World::new().await);
    let rights = |right: &str| format!(r#"path "boxes/box/*" {{ capabilities = ["{right}"] }}"#);
    let slow = |token: String| {
        let world = world.clone();
        tokio::spawn(async move {
            let input = r#"{"value":"slow","pause":50}"#;
            world.core.handle(call(Operation::Update, "boxes/box/a", input, Some(&token))).await
        })
    };
    let creating = slow(world.token_with(&rights("create")).await);
    tokio::task::yield_now().await;
    world.write("boxes/box/a", r#"{"value":"fast"}"#).await.unwrap();
    assert_eq!(refused(creating.await.unwrap()).1, DENIED);
    assert_eq!(world.read("boxes/box/a").await.unwrap()["value"], "fast");
    let updating = slow(world.token_with(&rights("update")).await);
    tokio::task::yield_now().await;
    world.delete("boxes/box/a").await.unwrap();
    assert_eq!(refused(updating.await.unwrap()).1, DENIED);
    assert_eq!(refused(world.read("boxes/box/a").await).0, Code::NotFound);
}

#[tokio::test]
async fn an_endpoint_that_needs_sudo_needs_it() {
    let world = World::new().await;
    let plain = world.token_with(r#"path "boxes/guarded/*" { capabilities = ["read"] }"#).await;
    assert_eq!(refused(world.read_by(&plain, "boxes/guarded/a").await).1, DENIED);
    let rules = r#"path "boxes/guarded/*" { capabilities = ["read", "sudo"] }"#;
    let sudo = world.token_with(rules).await;
    world.read_by(&sudo, "boxes/guarded/a").await.unwrap();
}

#[tokio::test]
async fn engines_learn_what_their_caller_may() {
    let world = World::new().await;
    let rules = r#"
        path "boxes/whoami/*" { capabilities = ["read"] }
        path "boxes/box/a" { capabilities = ["read"] }
    "#;
    let token = world.token_with(rules).await;
    let told = world.read_by(&token, "boxes/whoami/boxes/box/a").await.unwrap();
    let expected = json!({ "read": true, "update": false, "namespace": "", "mounts": ["boxes/"] });
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_refused_request_writes_nothing() {
    let world = World::new().await;
    let input = r#"{"value":1,"refuse":true,"tell":true}"#;
    assert_eq!(refused(world.write("boxes/box/a", input).await).1, "refused after the write");
    assert_eq!(refused(world.read("boxes/box/a").await).0, Code::NotFound);
}

#[tokio::test]
async fn racing_writers_are_run_anew_until_each_has_counted() {
    let world = Arc::new(World::new().await);
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.write("boxes/count/x", "{}").await })
        })
        .collect();
    let mut counts = Vec::new();
    for racer in racers {
        let answer = racer.await.unwrap().unwrap();
        counts.push(data(&answer)["count"].as_u64().unwrap());
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reply_that_waits_comes_after_the_commit() {
    let world = World::new().await;
    let answer = world.write("boxes/box/a", r#"{"value":7,"wait":true,"odd":1}"#).await.unwrap();
    assert_eq!(data(&answer), json!({ "landed": 7 }));
    let ignored = "Endpoint ignored these unrecognized parameters: [odd]";
    assert_eq!(answer.warnings, [ignored, "waited"]);
}

#[tokio::test]
async fn a_panic_is_an_error_of_one_request() {
    let world = World::new().await;
    let (code, text) = refused(world.write("boxes/panic/x", "{}").await);
    assert_eq!((code, text.as_str()), (Code::Internal, "internal error"));
    world.write("boxes/box/a", r#"{"value":1}"#).await.unwrap();
}

#[tokio::test]
async fn a_changed_secret_leaves_a_note_in_its_batch_and_wakes_who_waits() {
    let world = World::new().await;
    let session = world.core.sessions().borrow().clone().unwrap();
    let mut changed = session.changed();
    world.write("boxes/box/quiet", r#"{"value":1}"#).await.unwrap();
    assert!(!changed.has_changed().unwrap());
    world.write("boxes/box/db", r#"{"value":1,"tell":true}"#).await.unwrap();
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    let root = bailee_sdk::Namespace::root();
    let view = session.barrier().view("");
    let notes = change::waiting(&view, &root, "", 10).await.unwrap();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].change.path, "db");
    assert_eq!(notes[0].change.mount, session.mounts(&root).at("boxes").unwrap().uuid);
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_its_write() {
    let world = World::new().await;
    let input = r#"{"value":1}"#;
    let write = world.core.handle(call(Operation::Update, "boxes/box/a", input, Some(&world.root)));
    // Polled once, then dropped.
    assert!(futures_util::future::FutureExt::now_or_never(write).is_none());
    for _ in 0..1000 {
        tokio::task::yield_now().await;
        if world.read("boxes/box/a").await.is_ok() {
            return;
        }
    }
    panic!("the write was lost");
}

#[tokio::test]
async fn a_token_of_one_use_serves_one_request() {
    let world = World::new().await;
    let input = r#"{"policies":["root"],"num_uses":1}"#;
    let made = world.write("auth/token/create", input).await.unwrap();
    let token = made.auth.unwrap().client_token.expose().clone();
    world.read_by(&token, "sys/mounts").await.unwrap();
    let (code, text) = refused(world.read_by(&token, "sys/mounts").await);
    assert_eq!(code, Code::PermissionDenied);
    assert!(text.contains("invalid token"));
}

#[tokio::test]
async fn a_use_is_spent_by_a_refused_request_too() {
    let world = World::new().await;
    let made =
        world.write("auth/token/create", r#"{"policies":["default"],"num_uses":1}"#).await.unwrap();
    let token = made.auth.unwrap().client_token.expose().clone();
    assert_eq!(refused(world.read_by(&token, "sys/mounts").await).1, DENIED);
    assert!(refused(world.read_by(&token, "sys/mounts").await).1.contains("invalid token"));
}

#[tokio::test]
async fn a_login_makes_a_token_in_the_batch_of_its_engine() {
    let world = World::new().await;
    world.write("sys/auth/door", r#"{"type":"door"}"#).await.unwrap();
    let rules = r#"{"policy":"path \"boxes/box/*\" { capabilities = [\"create\"] }"}"#;
    world.write("sys/policies/acl/guest", rules).await.unwrap();
    let enter = |input: &str| call(Operation::Update, "auth/door/login", input, None);
    let answer = world.core.handle(enter(r#"{"policy":"Guest"}"#)).await.unwrap();
    let auth = answer.auth.unwrap();
    assert_eq!(auth.policies, ["default", "guest"]);
    assert_eq!(auth.ttl.as_secs(), 600);
    assert!(auth.renewable && auth.orphan);
    let token = auth.client_token.expose();
    let input = r#"{"value":1}"#;
    world.core.handle(call(Operation::Update, "boxes/box/a", input, Some(token))).await.unwrap();
    assert_eq!(
        refused(world.core.handle(enter(r#"{"policy":"root"}"#)).await).0,
        Code::InvalidRequest
    );
    let (code, text) = refused(world.core.handle(enter(r#"{"policy":"a","refuse":true}"#)).await);
    assert_eq!((code, text.as_str()), (Code::InvalidRequest, "the door is shut"));
}

#[tokio::test]
async fn metrics_need_a_token_and_are_outside_the_envelope() {
    let world = World::new().await;
    let outcome = world.core.handle(call(Operation::Read, "sys/metrics", "{}", None)).await;
    assert_eq!(refused(outcome).0, Code::PermissionDenied);
    let input = r#"{"format":"prometheus"}"#;
    let asked = call(Operation::Read, "sys/metrics", input, Some(&world.root));
    assert_eq!(data(&world.core.handle(asked).await.unwrap()), json!("# metrics\n"));
    let shown = world.read("sys/metrics").await.unwrap();
    let shown: serde_json::Value = serde_json::from_str(shown.as_str().unwrap()).unwrap();
    assert_eq!(shown["Gauges"], json!([]));
}

#[tokio::test]
async fn the_openapi_document_names_mounts_to_callers_only() {
    let world = World::new().await;
    let document = world.read("sys/internal/specs/openapi").await.unwrap();
    let document: serde_json::Value = serde_json::from_str(document.as_str().unwrap()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.keys().any(|path| path.starts_with("/boxes/box/")), "{:?}", paths.keys());
    // It is made once for all who have no token, whatever they ask for.
    let mut told = Vec::new();
    for input in ["{}", r#"{"generic_mount_paths":true}"#, "{}"] {
        let call = call(Operation::Read, "sys/internal/specs/openapi", input, None);
        let document = data(&world.core.handle(call).await.unwrap());
        assert!(!document.as_str().unwrap().contains("boxes"));
        told.push(document);
    }
    assert!(told.iter().all(|document| *document == told[0]));
}

#[tokio::test]
async fn whoever_asks_for_a_wrapped_answer_never_gets_the_plain_one() {
    let world = World::new().await;
    // A document of its own type has no envelope that could be put away.
    let mut call = call(Operation::Read, "sys/metrics", "{}", Some(&world.root));
    call.wrap_ttl = Some(std::time::Duration::from_secs(60));
    let (code, text) = refused(world.core.handle(call).await);
    assert_eq!(code, Code::InvalidRequest);
    assert!(text.contains("X-Vault-Wrap-TTL"), "{text}");
}

#[tokio::test]
async fn a_denial_is_not_evaded_by_another_spelling_of_the_path() {
    let world = World::new().await;
    world.write("sys/policies/acl/guarded", r#"{"policy":"path \"x\" {}"}"#).await.unwrap();
    let token = world
        .token_with(
            r#"path "sys/*" { capabilities = ["read", "update", "delete", "sudo"] }
               path "sys/mounts/boxes" { capabilities = ["deny"] }
               path "sys/policies/acl/guarded" { capabilities = ["deny"] }"#,
        )
        .await;
    for path in ["sys/mounts/boxes", "sys/mounts/boxes/", "sys/policies/acl/GUARDED"] {
        let call = call(Operation::Delete, path, "{}", Some(&token));
        assert_eq!(refused(world.core.handle(call).await).0, Code::PermissionDenied, "{path}");
    }
    for path in ["sys/mounts//boxes", "sys/./mounts/boxes", "/sys/mounts/boxes"] {
        let call = call(Operation::Delete, path, "{}", Some(&token));
        assert_eq!(refused(world.core.handle(call).await).0, Code::InvalidRequest, "{path}");
    }
    world.read("sys/mounts/boxes").await.unwrap();
    world.read("sys/policies/acl/guarded").await.unwrap();
}

#[tokio::test]
async fn help_tells_about_a_path_and_never_reads_it() {
    let world = World::new().await;
    world.write("boxes/box/a", r#"{"value":"canary"}"#).await.unwrap();
    let ask = async |path: &str, token: &str| {
        let asked = call(Operation::Read, path, r#"{"help":"1"}"#, Some(token));
        let answer = world.core.handle(asked).await?;
        let text = data(&answer).as_str().unwrap().to_owned();
        assert!(!text.contains("canary"));
        Ok::<serde_json::Value, bailee_sdk::Error>(serde_json::from_str(&text).unwrap())
    };
    let told = ask("boxes/box/a", &world.root).await.unwrap();
    assert!(told["help"].as_str().unwrap().contains("Look into a box"), "{told}");
    assert_eq!(told["see_also"], json!(null));
    let paths: Vec<_> = told["openapi"]["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(paths, ["/boxes/box/{path}"]);
    // The mount itself tells of all it serves; a path that only lists has help, too.
    for path in ["boxes", "boxes/"] {
        let told = ask(path, &world.root).await.unwrap();
        assert!(told["help"].as_str().unwrap().contains("List boxes"), "{told}");
    }
    assert!(ask("boxes/boxes/x", &world.root).await.is_ok());
    assert_eq!(refused(ask("boxes/nothing", &world.root).await).0, Code::NotFound);
    let writer = r#"path "boxes/box/*" { capabilities = ["update"] }"#;
    let writer = world.token_with(writer).await;
    assert!(ask("boxes/box/a", &writer).await.is_ok());
    for path in ["boxes/count/a", "nope/at/all"] {
        assert_eq!(refused(ask(path, &writer).await).1, DENIED);
    }
    assert_eq!(refused(ask("sys/internal/specs/openapi", "").await).0, Code::PermissionDenied);
}
