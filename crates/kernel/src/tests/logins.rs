//! Logins: kinds of tokens, address blocks, lock-out, and the end of the mount.

use super::world::{World, call, data, refused};
use crate::Answer;
use bailee_sdk::{Code, Error, Operation};
use serde_json::json;
use std::{sync::Arc, time::Duration};

const DOOR: &str = r#"{"type":"door"}"#;
const WRONG: &str = "invalid username or password";

async fn world() -> World {
    let world = World::new().await;
    world.write("sys/auth/door", DOOR).await.unwrap();
    world
}

async fn knock(world: &World, user: &str, password: &str) -> Result<Answer, Error> {
    knock_with(world, user, json!({ "password": password }), None).await
}

async fn knock_with(
    world: &World,
    user: &str,
    input: serde_json::Value,
    remote: Option<&str>,
) -> Result<Answer, Error> {
    let path = format!("auth/door/login/{user}");
    let mut call = call(Operation::Update, &path, &input.to_string(), None);
    call.remote = remote.map(|remote| remote.parse().unwrap());
    world.core.handle(call).await
}

fn token_of(answer: Answer) -> String {
    answer.auth.unwrap().client_token.expose().clone()
}

async fn look_up(world: &World, token: &str) -> Result<serde_json::Value, Error> {
    world.read_by(token, "auth/token/lookup-self").await
}

#[tokio::test]
async fn a_login_is_named_after_its_mount_and_its_user() {
    let world = world().await;
    let token = token_of(knock(&world, "anna", "open").await.unwrap());
    let shown = look_up(&world, &token).await.unwrap();
    assert_eq!(shown["display_name"], "door-anna");
    assert_eq!(shown["path"], "auth/door/login/anna");
    assert_eq!(shown["type"], "service");
}

#[tokio::test]
async fn five_failures_lock_a_user_out_and_nobody_else() {
    let world = world().await;
    for user in ["anna", "nobody"] {
        for _ in 0..5 {
            assert_eq!(refused(knock(&world, user, "no").await).1, WRONG);
        }
        let outcome = refused(knock(&world, user, "open").await);
        assert_eq!(outcome, (Code::PermissionDenied, "permission denied".to_owned()), "{user}");
    }
    // Another spelling is the same user.
    assert_eq!(refused(knock(&world, "ANNA", "open").await).0, Code::PermissionDenied);
    knock(&world, "adam", "open").await.unwrap();
    // Neither a restart nor sealing opens the door.
    let world = world.restart().await;
    assert_eq!(refused(knock(&world, "anna", "open").await).0, Code::PermissionDenied);
    let shown = world.read("sys/locked-users").await.unwrap();
    assert_eq!(shown["total"], 1);
    let mount = &shown["by_namespace"][0]["mount_accessors"][0];
    assert_eq!(mount["alias_identifiers"], json!(["anna"]));
    let accessor = mount["mount_accessor"].as_str().unwrap();
    assert!(accessor.starts_with("auth_door_"));
    world.write(&format!("sys/locked-users/{accessor}/unlock/anna"), "{}").await.unwrap();
    knock(&world, "anna", "open").await.unwrap();
    assert_eq!(world.read("sys/locked-users").await.unwrap()["total"], 0);
}

#[tokio::test]
async fn a_success_forgets_the_failures_before_it() {
    let world = world().await;
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(refused(knock(&world, "anna", "no").await).1, WRONG);
        }
        knock(&world, "anna", "open").await.unwrap();
    }
}

#[tokio::test]
async fn many_guesses_at_once_are_no_more_than_one_after_another() {
    let world = Arc::new(world().await);
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let world = world.clone();
        guesses.spawn(async move { refused(knock(&world, "anna", "no").await).1 });
    }
    let texts = guesses.join_all().await;
    assert_eq!(texts.iter().filter(|text| *text == WRONG).count(), 5);
}

#[tokio::test]
async fn a_batch_login_is_all_in_its_text_and_ends_with_its_mount() {
    let world = world().await;
    let input = json!({ "password": "open", "token_type": "batch" });
    let batch = token_of(knock_with(&world, "anna", input, None).await.unwrap());
    let service = token_of(knock(&world, "anna", "open").await.unwrap());
    assert!(batch.starts_with("hvb."), "{batch}");
    let shown = look_up(&world, &batch).await.unwrap();
    assert_eq!((&shown["type"], &shown["accessor"]), (&json!("batch"), &json!("")));
    let own = call(Operation::Update, "sys/capabilities-self", r#"{"path":"a"}"#, Some(&batch));
    assert_eq!(data(&world.core.handle(own).await.unwrap())["a"], json!(["deny"]));
    for (path, expected) in [
        ("auth/token/renew-self", "batch tokens cannot be renewed"),
        ("auth/token/revoke-self", "batch tokens cannot be revoked"),
        ("cubbyhole/a", "cubbyhole operations are only supported by \"service\" type tokens"),
    ] {
        let outcome = world.core.handle(call(Operation::Update, path, "{}", Some(&batch))).await;
        assert_eq!(refused(outcome).1, expected, "{path}");
    }
    let world = world.restart().await;
    look_up(&world, &batch).await.unwrap();
    look_up(&world, &service).await.unwrap();
    world.delete("sys/auth/door").await.unwrap();
    for token in [&batch, &service] {
        assert_eq!(refused(look_up(&world, token).await).0, Code::PermissionDenied);
    }
    // One that is mounted there afterwards is another one.
    world.write("sys/auth/door", DOOR).await.unwrap();
    assert_eq!(refused(look_up(&world, &batch).await).0, Code::PermissionDenied);
    assert_eq!(refused(look_up(&world, &service).await).0, Code::PermissionDenied);
}

#[tokio::test]
async fn the_logins_of_a_method_end_when_it_moves() {
    let world = world().await;
    let token = token_of(knock(&world, "anna", "open").await.unwrap());
    look_up(&world, &token).await.unwrap();
    let input = r#"{"from":"auth/door","to":"auth/gate"}"#;
    world.write("sys/remount", input).await.unwrap();
    assert_eq!(refused(look_up(&world, &token).await).0, Code::PermissionDenied);
    look_up(&world, &world.root).await.unwrap();
}

#[tokio::test]
async fn the_token_method_can_be_tuned_like_any_other() {
    let world = world().await;
    let renew = async |token: &str| {
        let call = call(Operation::Update, "auth/token/renew-self", "{}", Some(token));
        world.core.handle(call).await.unwrap().auth.unwrap().ttl
    };
    let make =
        async |input: &str| world.write("auth/token/create", input).await.unwrap().auth.unwrap();
    let before = make(r#"{"policies":["default"],"ttl":"10h"}"#).await;
    let tune = r#"{"default_lease_ttl":"1h","max_lease_ttl":"2h"}"#;
    world.write("sys/auth/token/tune", tune).await.unwrap();
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    assert_eq!(make(r#"{"policies":["default"]}"#).await.ttl, hours(1));
    assert_eq!(make(r#"{"policies":["default"],"ttl":"3h"}"#).await.ttl, hours(2));
    assert_eq!(make(r#"{"policies":["default"],"type":"batch"}"#).await.ttl, hours(1));
    let left = renew(before.client_token.expose()).await;
    assert!(left <= hours(2), "{left:?}");
}

#[tokio::test]
async fn the_mount_decides_which_kind_a_login_gets() {
    let world = world().await;
    world.write("sys/auth/door/tune", r#"{"token_type":"batch"}"#).await.unwrap();
    assert!(token_of(knock(&world, "anna", "open").await.unwrap()).starts_with("hvb."));
    world.write("sys/auth/door/tune", r#"{"token_type":"service"}"#).await.unwrap();
    let input = json!({ "password": "open", "token_type": "batch" });
    let token = token_of(knock_with(&world, "anna", input, None).await.unwrap());
    assert!(token.starts_with("hvs."));
}

#[tokio::test]
async fn a_bound_token_is_refused_from_elsewhere_and_from_nowhere() {
    let world = world().await;
    for kind in ["service", "batch"] {
        let input =
            json!({ "password": "open", "bound_cidrs": ["10.0.0.0/8"], "token_type": kind });
        for remote in [None, Some("192.0.2.1:5")] {
            let outcome = knock_with(&world, "anna", input.clone(), remote).await;
            assert_eq!(refused(outcome).0, Code::PermissionDenied);
        }
        let here = Some("10.1.2.3:5");
        let token = token_of(knock_with(&world, "anna", input, here).await.unwrap());
        let from = async |remote: Option<&str>| {
            let mut call = call(Operation::Read, "auth/token/lookup-self", "{}", Some(&token));
            call.remote = remote.map(|remote| remote.parse().unwrap());
            world.core.handle(call).await.map(|answer| data(&answer))
        };
        assert_eq!(from(here).await.unwrap()["bound_cidrs"], json!(["10.0.0.0/8"]));
        from(Some("[::ffff:10.1.2.3]:5")).await.unwrap();
        for remote in [None, Some("11.0.0.1:5"), Some("[::1]:5")] {
            let refusal = refused(from(remote).await);
            assert_eq!(refusal, (Code::PermissionDenied, "permission denied".to_owned()));
        }
    }
}

#[tokio::test]
async fn the_method_is_asked_before_its_token_is_prolonged() {
    let world = world().await;
    let token = token_of(knock(&world, "anna", "open").await.unwrap());
    let renew = async || {
        world
            .core
            .handle(call(Operation::Update, "auth/token/renew-self", "{}", Some(&token)))
            .await
    };
    assert_eq!(renew().await.unwrap().auth.unwrap().ttl.as_secs(), 600);
    world.write("auth/door/renewed-for/120", "{}").await.unwrap();
    assert_eq!(renew().await.unwrap().auth.unwrap().ttl.as_secs(), 120);
    world.write("auth/door/renewed-for/0", "{}").await.unwrap();
    assert_eq!(refused(renew().await).1, "the door is shut for you");
    look_up(&world, &token).await.unwrap();
}

#[tokio::test]
async fn a_role_makes_tokens_that_its_caller_has_no_policies_for() {
    let world = World::new().await;
    let role = r#"{"allowed_policies":"p,q","disallowed_policies_glob":"x*","orphan":true,
        "renewable":false,"token_num_uses":3,"path_suffix":"sfx","allowed_entity_aliases":"al*"}"#;
    world.write("auth/token/roles/r", role).await.unwrap();
    let caller =
        world.token_with(r#"path "auth/token/create/r" { capabilities = ["update"] }"#).await;
    let create = async |input: &str| {
        world
            .core
            .handle(call(Operation::Update, "auth/token/create/r", input, Some(&caller)))
            .await
    };
    for (input, expected) in [
        ("{}", vec!["default", "p", "q"]),
        (r#"{"policies":["p"]}"#, vec!["default", "p"]),
        (r#"{"policies":["p"],"no_default_policy":true}"#, vec!["p"]),
    ] {
        let made = create(input).await.unwrap().auth.unwrap();
        assert_eq!(made.policies, expected, "{input}");
        assert!(made.orphan && !made.renewable);
        assert_eq!(made.num_uses, 3);
    }
    let made = create(r#"{"policies":["p"],"entity_alias":"Alice"}"#).await.unwrap().auth.unwrap();
    assert!(!made.entity_id.is_empty());
    let again = create(r#"{"policies":["p"],"entity_alias":"alice"}"#).await.unwrap().auth.unwrap();
    assert_eq!(again.entity_id, made.entity_id);
    for (input, expected) in [
        (r#"{"policies":["other"]}"#, "must be subset of the role's allowed policies"),
        (r#"{"policies":["root"]}"#, "must be subset of the role's allowed policies"),
        (r#"{"entity_alias":"zed"}"#, "invalid 'entity_alias' value"),
        (r#"{"type":"batch"}"#, "batch tokens cannot have \"num_uses\" set"),
    ] {
        let text = refused(create(input).await).1;
        assert!(text.contains(expected), "{input}: {text}");
    }
    let text = refused(world.write("auth/token/create/nope", "{}").await).1;
    assert_eq!(text, "unknown role nope");
}
