//! Answers that are put away, and the cubbyholes of tokens.

use super::world::{Recorder, World, call, data, refused};
use crate::{Answer, Call, Content};
use bailee_crypto::Sensitive;
use bailee_sdk::{Code, Error, Operation};
use bailee_storage::{
    memory::Memory,
    testing::{Faulty, LastCommit},
};
use futures_util::StreamExt;
use serde_json::json;
use std::{sync::Arc, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);
const NOT_VALID: &str = "wrapping token is not valid or does not exist";

async fn wrapped(world: &World, call: Call) -> Result<Answer, Error> {
    world.core.handle(Call { wrap_ttl: Some(MINUTE), ..call }).await
}

/// A box that is read wrapped; the wrapping token.
async fn token_for_a_box(world: &World) -> String {
    world.write("boxes/box/a", r#"{"value":"canary"}"#).await.unwrap();
    let read = call(Operation::Read, "boxes/box/a", "{}", Some(&world.root));
    let answer = wrapped(world, read).await.unwrap();
    answer.wrapped.unwrap().token.expose().clone()
}

async fn keys_with(world: &World, part: &str) -> Vec<String> {
    let entries: Vec<_> = world.backend.scan("n/", "").collect().await;
    let keys = entries.into_iter().map(|entry| entry.unwrap().0);
    keys.filter(|key| key.contains(part)).collect()
}

fn unwrap_by(token: &str) -> Call {
    call(Operation::Update, "sys/wrapping/unwrap", "{}", Some(token))
}

#[tokio::test]
async fn a_wrapped_answer_is_given_once_and_whole() {
    let world = World::new().await;
    world.write("boxes/box/a", r#"{"value":{"a":1.10}}"#).await.unwrap();
    let read = call(Operation::Read, "boxes/box/a", "{}", Some(&world.root));
    let answer = wrapped(&world, read).await.unwrap();
    assert!(matches!(answer.content, Content::Empty));
    assert_eq!(answer.id, "");
    let info = answer.wrapped.unwrap();
    assert_eq!((info.ttl, info.path.as_str()), (MINUTE, "boxes/box/a"));
    assert_eq!(info.accessor_inside, "");
    let token = info.token.expose().clone();

    let lookup = format!(r#"{{"token":"{token}"}}"#);
    for asker in [None, Some(token.as_str()), Some(world.root.as_str())] {
        let call = call(Operation::Update, "sys/wrapping/lookup", &lookup, asker);
        let told = data(&world.core.handle(call).await.unwrap());
        assert_eq!(told["creation_path"], "boxes/box/a");
        assert_eq!(told["creation_ttl"], 60);
    }

    let answer = world.core.handle(unwrap_by(&token)).await.unwrap();
    let Content::Data(json) = &answer.content else { panic!("{answer:?}") };
    assert_eq!(json.bytes(), br#"{"value":{"a":1.10}}"#);
    assert_eq!(answer.mount_kind, "boxes");
    for call in [
        unwrap_by(&token),
        call(Operation::Update, "sys/wrapping/unwrap", &lookup, Some(&world.root)),
        call(Operation::Update, "sys/wrapping/lookup", &lookup, None),
        call(Operation::Update, "sys/wrapping/rewrap", &lookup, Some(&world.root)),
    ] {
        let (code, text) = refused(world.core.handle(call).await);
        assert_eq!((code, text.as_str()), (Code::InvalidRequest, NOT_VALID));
    }
    assert!(keys_with(&world, "/kept/").await.is_empty());
}

#[tokio::test]
async fn of_many_who_unwrap_at_once_one_gets_the_answer() {
    let world = Arc::new(World::new().await);
    for by_body in [false, true] {
        let token = token_for_a_box(&world).await;
        let mut racers = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (world, token) = (world.clone(), token.clone());
            racers.spawn(async move {
                let call = if by_body {
                    let input = format!(r#"{{"token":"{token}"}}"#);
                    call(Operation::Update, "sys/wrapping/unwrap", &input, Some(&world.root))
                } else {
                    unwrap_by(&token)
                };
                world.core.handle(call).await.map(|answer| data(&answer))
            });
        }
        let outcomes = racers.join_all().await;
        let won: Vec<_> = outcomes.iter().flatten().collect();
        assert_eq!(won, [&json!({ "value": "canary" })], "by_body: {by_body}");
        for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(matches!(error.code, Code::InvalidRequest | Code::PermissionDenied), "{error}");
        }
    }
}

#[tokio::test]
async fn an_answer_lost_after_the_commit_is_not_given_twice() {
    let backend = Arc::new(Faulty::new(Arc::new(Memory::default())));
    let world = World::with(backend.clone(), Vec::new()).await;
    let token = token_for_a_box(&world).await;
    let input = format!(r#"{{"token":"{token}"}}"#);
    let mut given = 0;
    for _ in 0..20 {
        backend.go_down_after(0, LastCommit::Landed);
        let call = call(Operation::Update, "sys/wrapping/unwrap", &input, Some(&world.root));
        given += u32::from(world.core.handle(call).await.is_ok());
        backend.heal();
        let call = unwrap_by(&token);
        given += u32::from(world.core.handle(call).await.is_ok());
    }
    assert!(given <= 1, "given {given} times");
}

#[tokio::test]
async fn an_answer_that_is_unwrapped_into_another_wrapping_is_not_lost() {
    for commits in 0..4 {
        let backend = Arc::new(Faulty::new(Arc::new(Memory::default())));
        let world = World::with(backend.clone(), Vec::new()).await;
        let token = token_for_a_box(&world).await;
        let input = format!(r#"{{"token":"{token}"}}"#);
        let take = || call(Operation::Update, "sys/wrapping/unwrap", &input, Some(&world.root));
        backend.go_down_after(commits, LastCommit::Lost);
        let answered = wrapped(&world, take()).await;
        backend.heal();
        let answer = match answered {
            Ok(answer) => {
                let info = answer.wrapped.unwrap();
                world.core.handle(unwrap_by(info.token.expose())).await
            }
            Err(_) => world.core.handle(take()).await,
        };
        assert_eq!(data(&answer.unwrap()), json!({ "value": "canary" }), "{commits}");
    }
}

#[tokio::test]
async fn who_has_no_token_cannot_fill_the_storage_with_wrapped_answers() {
    let world = World::new().await;
    let path = "sys/internal/ui/mounts";
    let error = refused(wrapped(&world, call(Operation::Read, path, "{}", None)).await).1;
    assert!(error.starts_with("an answer that needs no token is not wrapped"), "{error}");
    assert!(keys_with(&world, "/kept/").await.is_empty());
    let by_root = wrapped(&world, call(Operation::Read, path, "{}", Some(&world.root))).await;
    assert!(by_root.unwrap().wrapped.is_some());
}

#[tokio::test]
async fn an_answer_of_a_namespace_is_unwrapped_from_above_and_not_from_beside() {
    let world = World::new().await;
    for namespace in ["a", "b"] {
        world.write(&format!("sys/namespaces/{namespace}"), "{}").await.unwrap();
    }
    let wrap = || call(Operation::Update, "a/sys/wrapping/wrap", r#"{"x":1}"#, Some(&world.root));
    let info = wrapped(&world, wrap()).await.unwrap().wrapped.unwrap();
    let input = format!(r#"{{"token":"{}"}}"#, info.token.expose());
    let beside = world.write("b/sys/wrapping/unwrap", &input).await;
    assert_eq!(refused(beside).1, NOT_VALID);
    let answer = world.write("sys/wrapping/unwrap", &input).await.unwrap();
    assert_eq!(data(&answer), json!({ "x": 1 }));
    assert_eq!(refused(world.write("a/sys/wrapping/unwrap", &input).await).1, NOT_VALID);
}

#[tokio::test]
async fn a_wrapped_login_names_the_accessor_inside() {
    let world = World::new().await;
    world.write("sys/auth/door", r#"{"type":"door"}"#).await.unwrap();
    let login = call(Operation::Update, "auth/door/login", r#"{"policy":"guests"}"#, None);
    let answer = wrapped(&world, login).await.unwrap();
    assert!(answer.auth.is_none());
    let info = answer.wrapped.unwrap();
    let answer = world.core.handle(unwrap_by(info.token.expose())).await.unwrap();
    let auth = answer.auth.unwrap();
    assert_eq!(auth.accessor, info.accessor_inside);
    let token = auth.client_token.expose();
    let own = call(Operation::Read, "auth/token/lookup-self", "{}", Some(token));
    assert!(world.core.handle(own).await.is_ok());
}

#[tokio::test]
async fn errors_and_empty_answers_are_not_wrapped() {
    let world = World::new().await;
    let write = call(Operation::Update, "boxes/box/b", r#"{"value":1}"#, Some(&world.root));
    let answer = wrapped(&world, write).await.unwrap();
    assert!(!answer.says_something());
    let read = call(Operation::Read, "boxes/box/none", "{}", Some(&world.root));
    assert_eq!(refused(wrapped(&world, read).await).0, Code::NotFound);
    let list = call(Operation::List, "boxes/boxes/", "{}", Some(&world.root));
    assert!(wrapped(&world, list).await.unwrap().wrapped.is_some());
    // Completed after its batch had landed.
    let input = r#"{"value":1,"wait":true}"#;
    let late = call(Operation::Update, "boxes/box/c", input, Some(&world.root));
    let info = wrapped(&world, late).await.unwrap().wrapped.unwrap();
    let answer = world.core.handle(unwrap_by(info.token.expose())).await.unwrap();
    assert_eq!(data(&answer), json!({ "landed": 1 }));
    assert_eq!(answer.warnings, ["waited"]);
}

#[tokio::test]
async fn rewrapping_ends_the_old_token_and_keeps_path_and_time() {
    let world = World::new().await;
    let old = token_for_a_box(&world).await;
    let input = format!(r#"{{"token":"{old}"}}"#);
    let rewrap = call(Operation::Update, "sys/wrapping/rewrap", &input, Some(&world.root));
    let info = world.core.handle(rewrap).await.unwrap().wrapped.unwrap();
    assert_eq!((info.path.as_str(), info.ttl), ("boxes/box/a", MINUTE));
    assert_eq!(refused(world.core.handle(unwrap_by(&old)).await).1, NOT_VALID);
    let answer = world.core.handle(unwrap_by(info.token.expose())).await.unwrap();
    assert_eq!(data(&answer), json!({ "value": "canary" }));
}

#[tokio::test]
async fn old_clients_read_the_answer_from_the_cubbyhole() {
    let world = World::new().await;
    let token = token_for_a_box(&world).await;
    let read = || call(Operation::Read, "cubbyhole/response", "{}", Some(&token));
    let answer = world.core.handle(read()).await.unwrap();
    let Content::Answer(inside) = answer.content else { panic!("{answer:?}") };
    assert_eq!(data(&inside), json!({ "value": "canary" }));
    assert_eq!(refused(world.core.handle(read()).await).0, Code::PermissionDenied);
    assert_eq!(refused(world.core.handle(unwrap_by(&token)).await).1, NOT_VALID);
}

#[tokio::test]
async fn what_is_given_to_be_wrapped_must_be_wrapped() {
    let world = World::new().await;
    let wrap =
        || call(Operation::Update, "sys/wrapping/wrap", r#"{"a":"1","n":1.10}"#, Some(&world.root));
    let (code, text) = refused(world.core.handle(wrap()).await);
    let expected = "endpoint requires response wrapping to be used";
    assert_eq!((code, text.as_str()), (Code::InvalidRequest, expected));
    let info = wrapped(&world, wrap()).await.unwrap().wrapped.unwrap();
    assert_eq!(info.path, "sys/wrapping/wrap");
    let answer = world.core.handle(unwrap_by(info.token.expose())).await.unwrap();
    assert_eq!(data(&answer).to_string(), r#"{"a":"1","n":1.10}"#);
}

#[tokio::test]
async fn a_wrapping_token_may_do_nothing_else() {
    let world = World::new().await;
    let token = token_for_a_box(&world).await;
    let read = call(Operation::Read, "boxes/box/a", "{}", Some(&token));
    assert_eq!(refused(world.core.handle(read).await).0, Code::PermissionDenied);
    // Its only use is spent with that.
    assert!(world.core.handle(unwrap_by(&token)).await.is_err());
    let plain = world.token_with(r#"path "boxes/*" { capabilities = ["read"] }"#).await;
    assert_eq!(refused(world.core.handle(unwrap_by(&plain)).await).1, NOT_VALID);
    let none = Call { token: None, ..unwrap_by("") };
    assert_eq!(refused(world.core.handle(none).await).0, Code::InvalidRequest);
}

#[tokio::test]
async fn audit_shows_who_wrapped_and_who_unwrapped_but_no_secret() {
    let recorder = Arc::new(Recorder::default());
    let backend = Arc::new(Memory::default());
    let world = World::with(backend, vec![recorder.clone()]).await;
    let token = token_for_a_box(&world).await;
    let lines = recorder.take();
    let info = &lines.last().unwrap()["response"]["wrap_info"];
    assert_eq!(info["creation_path"], "boxes/box/a");
    assert!(info["token"].as_str().unwrap().starts_with("hmac-sha256:"));
    world.core.handle(unwrap_by(&token)).await.unwrap();
    let second = world.core.handle(unwrap_by(&token)).await;
    assert!(second.is_err());
    let lines = recorder.take();
    assert_eq!(lines.len(), 4);
    assert!(lines[1]["response"]["data"]["value"].as_str().unwrap().starts_with("hmac"));
    assert_eq!(lines[3]["error"], NOT_VALID);
    let all = serde_json::to_string(&lines).unwrap();
    assert!(!all.contains("canary") && !all.contains(&token));
}

#[tokio::test]
async fn each_token_has_a_cubbyhole_that_ends_with_it() {
    let world = World::new().await;
    let made = world.write("auth/token/create", r#"{"policies":["default"]}"#).await.unwrap();
    let own = made.auth.unwrap().client_token.expose().clone();
    let by = |token: &str, operation, path: &str, input: &str| {
        world.core.handle(call(operation, path, input, Some(token)))
    };
    by(&own, Operation::Update, "cubbyhole/a", r#"{"x":1.10}"#).await.unwrap();
    by(&own, Operation::Update, "cubbyhole/canary-name/e", r#"{"x":1}"#).await.unwrap();
    assert_eq!(world.read_by(&own, "cubbyhole/a").await.unwrap().to_string(), r#"{"x":1.10}"#);
    let names = by(&own, Operation::List, "cubbyhole/", "{}").await.unwrap();
    assert_eq!(data(&names)["keys"], json!(["a", "canary-name/"]));
    assert_eq!(refused(world.read("cubbyhole/a").await).0, Code::NotFound);
    let empty = by(&own, Operation::Update, "cubbyhole/a", "{}").await;
    assert_eq!(refused(empty), (Code::InvalidRequest, "missing data fields".to_owned()));
    assert_eq!(refused(world.read_by(&own, "cubbyhole/").await).0, Code::InvalidRequest);
    by(&own, Operation::Delete, "cubbyhole/a", "{}").await.unwrap();
    by(&own, Operation::Delete, "cubbyhole/a", "{}").await.unwrap();
    assert_eq!(refused(world.read_by(&own, "cubbyhole/a").await).0, Code::NotFound);
    let keys = keys_with(&world, "/cubbyhole/").await;
    assert!(!keys.is_empty());
    assert!(keys.iter().all(|key| !key.contains("canary")), "{keys:?}");
    world.write("auth/token/revoke", &format!(r#"{{"token":"{own}"}}"#)).await.unwrap();
    assert!(keys_with(&world, "/cubbyhole/").await.is_empty());
    let token = Some(Sensitive::from(own.as_str()));
    let late = call(Operation::Update, "cubbyhole/a", r#"{"x":1}"#, None);
    assert!(world.core.handle(Call { token, ..late }).await.is_err());
}
