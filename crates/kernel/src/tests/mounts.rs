use super::world::{World, call, data, refused};
use bailee_sdk::{Code, Operation};
use futures_util::StreamExt;
use serde_json::json;

#[tokio::test]
async fn mounts_survive_a_restart() {
    let world = World::new().await;
    world
        .write(
            "sys/mounts/team/a",
            r#"{"type":"kv-v2","description":"ours","config":{"max_lease_ttl":"2h",
                "default_lease_ttl":1800,"listing_visibility":"unauth",
                "audit_non_hmac_request_keys":"a,b"}}"#,
        )
        .await
        .unwrap();
    world.write("team/a/box/x", r#"{"value":1}"#).await.unwrap();
    let before = world.read("sys/mounts/team/a").await.unwrap();
    assert_eq!(before["type"], "kv");
    assert_eq!(before["options"], json!({ "version": "2" }));
    assert_eq!(before["description"], "ours");
    assert_eq!(
        before["config"],
        json!({
            "default_lease_ttl": 1800, "max_lease_ttl": 7200, "force_no_cache": false,
            "listing_visibility": "unauth", "audit_non_hmac_request_keys": ["a", "b"],
        })
    );
    let accessor = before["accessor"].as_str().unwrap();
    assert!(accessor.starts_with("kv_") && accessor.len() == 11, "{accessor}");
    let world = world.restart().await;
    assert_eq!(world.read("sys/mounts/team/a").await.unwrap(), before);
    assert_eq!(world.read("team/a/box/x").await.unwrap(), json!({ "value": 1 }));
    let all = world.read("sys/mounts").await.unwrap();
    let names: Vec<_> = all.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["boxes/", "cubbyhole/", "identity/", "sys/", "team/a/"]);
    assert_eq!(all["sys/"]["options"], json!(null));
}

#[tokio::test]
async fn a_mount_that_cannot_be_is_refused_with_the_known_text() {
    let world = World::new().await;
    world.write("sys/mounts/team/a", r#"{"type":"kv"}"#).await.unwrap();
    for (path, input, text) in [
        ("boxes", r#"{"type":"kv"}"#, "path is already in use at boxes/"),
        ("boxes/sub", r#"{"type":"kv"}"#, "path is already in use at boxes/"),
        ("team", r#"{"type":"kv"}"#, "path is already in use at team/a/"),
        ("x", r#"{"type":"nope"}"#, "plugin not found in the catalog: nope"),
        ("x", "{}", "backend type must be specified as a string"),
        ("x", r#"{"type":"kv","options":{"version":"3"}}"#, "unknown version \"3\""),
        ("sys", r#"{"type":"kv"}"#, "cannot mount \"sys/\""),
        ("sys/x", r#"{"type":"kv"}"#, "cannot mount \"sys/x/\""),
        ("auth", r#"{"type":"kv"}"#, "cannot mount \"auth/\""),
        ("identity", r#"{"type":"kv"}"#, "cannot mount \"identity/\""),
        ("c", r#"{"type":"cubbyhole"}"#, "mount type of \"cubbyhole\" is not mountable"),
        ("s", r#"{"type":"system"}"#, "mount type of \"system\" is not mountable"),
        (
            "x",
            r#"{"type":"kv","config":{"default_lease_ttl":"abc"}}"#,
            "unable to parse default TTL of abc: time: invalid duration \"abc\"",
        ),
        (
            "x",
            r#"{"type":"kv","config":{"default_lease_ttl":"3h","max_lease_ttl":"2h"}}"#,
            "given default lease TTL greater than given max lease TTL",
        ),
        (
            "x",
            r#"{"type":"kv","config":{"listing_visibility":"yes"}}"#,
            "invalid listing_visibility yes",
        ),
        ("a//b", r#"{"type":"kv"}"#, "path cannot contain empty or '.' segments"),
        ("a/ b", r#"{"type":"kv"}"#, "invalid mount path \"a/ b\""),
    ] {
        let (code, error) = refused(world.write(&format!("sys/mounts/{path}"), input).await);
        assert_eq!((code, error.as_str()), (Code::InvalidRequest, text), "{path}");
    }
    let error = refused(world.read("sys/mounts/nope").await);
    assert_eq!(error, (Code::InvalidRequest, "No secret engine mount at nope/".to_owned()));
    let odd = ["a+b", "a b", "café"];
    for path in odd {
        world.write(&format!("sys/mounts/{path}"), r#"{"type":"kv"}"#).await.unwrap();
        world.write(&format!("{path}/box/x"), r#"{"value":1}"#).await.unwrap();
        world.read(&format!("{path}/box/x")).await.unwrap();
    }
}

#[tokio::test]
async fn racing_mounts_of_one_path_have_one_winner() {
    let world = std::sync::Arc::new(World::new().await);
    let racers: Vec<_> = ["race", "race/sub", "race", "race/sub/deep"]
        .into_iter()
        .map(|path| {
            let world = world.clone();
            let path = format!("sys/mounts/{path}");
            tokio::spawn(async move { world.write(&path, r#"{"type":"kv"}"#).await.is_ok() })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        winners += usize::from(racer.await.unwrap());
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn unmounting_removes_all_data_and_the_path_is_free_again() {
    let world = World::new().await;
    for number in 0..250 {
        world
            .write(&format!("boxes/box/f{}/{number}", number % 7), r#"{"value":1}"#)
            .await
            .unwrap();
    }
    let uuid = world.read("sys/mounts/boxes").await.unwrap()["uuid"].as_str().unwrap().to_owned();
    world.delete("sys/mounts/boxes").await.unwrap();
    let (code, text) = refused(world.read("boxes/box/f1/1").await);
    assert_eq!(code, Code::NotFound);
    assert!(text.starts_with("no handler for route"));
    let all = world.backend.scan("", "").collect::<Vec<_>>().await;
    assert!(all.iter().all(|entry| !entry.as_ref().unwrap().0.contains(&uuid)));
    world.write("sys/mounts/boxes", r#"{"type":"boxes"}"#).await.unwrap();
    assert_eq!(refused(world.read("boxes/box/f1/1").await).0, Code::NotFound);
    // What is not there is gone already.
    world.delete("sys/mounts/nope").await.unwrap();
    let (_, text) = refused(world.delete("sys/mounts/sys").await);
    assert_eq!(text, "cannot unmount \"sys/\"");
}

#[tokio::test]
async fn a_write_that_is_under_way_does_not_land_in_a_mount_that_goes_away() {
    for again in [false, true] {
        let world = std::sync::Arc::new(World::new().await);
        let shown = world.read("sys/mounts/boxes").await.unwrap();
        let uuid = shown["uuid"].as_str().unwrap();
        let late = world.clone();
        let late = tokio::spawn(async move {
            late.write("boxes/box/late", r#"{"value":1,"pause":2000,"tell":true}"#).await
        });
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        world.delete("sys/mounts/boxes").await.unwrap();
        if again {
            world.write("sys/mounts/boxes", r#"{"type":"boxes"}"#).await.unwrap();
        }
        assert!(!late.is_finished());
        let outcome = late.await.unwrap();
        // It is run anew, and finds nothing, or what is at its path now.
        assert_eq!(outcome.is_ok(), again);
        assert_eq!(world.read("boxes/box/late").await.is_ok(), again);
        let all = world.backend.scan("", "").collect::<Vec<_>>().await;
        assert!(all.iter().all(|entry| !entry.as_ref().unwrap().0.contains(uuid)));
    }
}

#[tokio::test]
async fn auth_methods_have_a_table_of_their_own() {
    let world = World::new().await;
    world.write("sys/auth/door", r#"{"type":"door","description":"in"}"#).await.unwrap();
    world.write("sys/mounts/door", r#"{"type":"kv"}"#).await.unwrap();
    let shown = world.read("sys/auth/door").await.unwrap();
    assert!(shown["accessor"].as_str().unwrap().starts_with("auth_door_"));
    assert_eq!(shown["config"]["token_type"], "default-service");
    let names: Vec<_> =
        world.read("sys/auth").await.unwrap().as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["door/", "token/"]);
    for (path, input, text) in [
        ("sys/auth/door", r#"{"type":"door"}"#, "path is already in use at door/"),
        ("sys/auth/x", r#"{"type":"kv"}"#, "plugin not found in the catalog: kv"),
        (
            "sys/auth/token2",
            r#"{"type":"token"}"#,
            "token credential backend cannot be instantiated",
        ),
        (
            "sys/auth/x",
            r#"{"type":"door","config":{"token_type":"weird"}}"#,
            "invalid value for 'token_type'",
        ),
        (
            "sys/auth/nope/tune",
            r#"{"description":"x"}"#,
            "tune of path \"auth/nope/\" failed: no mount entry found",
        ),
        (
            "sys/mounts/door/tune",
            r#"{"token_type":"batch"}"#,
            "'token_type' can only be modified on auth mounts",
        ),
    ] {
        assert_eq!(refused(world.write(path, input).await).1, text);
    }
    let text = refused(world.delete("sys/auth/token").await).1;
    assert_eq!(text, "token credential backend cannot be disabled");
    assert_eq!(refused(world.read("sys/auth/nope").await).1, "No auth engine at nope/");
    let input = r#"{"default_lease_ttl":"1h","token_type":"service"}"#;
    world.write("sys/mounts/auth/door/tune", input).await.unwrap();
    let tuned = world.read("sys/auth/door/tune").await.unwrap();
    assert_eq!(
        tuned,
        json!({
            "default_lease_ttl": 3600, "max_lease_ttl": 2_764_800, "force_no_cache": false,
            "token_type": "service", "description": "in",
        })
    );
    world.delete("sys/auth/door").await.unwrap();
    assert_eq!(refused(world.write("auth/door/login", "{}").await).0, Code::NotFound);
}

#[tokio::test]
async fn a_mount_can_be_tuned() {
    let world = World::new().await;
    world.write("sys/mounts/kv", r#"{"type":"kv","options":{"version":1}}"#).await.unwrap();
    let tune = async |input: &str| world.write("sys/mounts/kv/tune", input).await;
    tune(r#"{"default_lease_ttl":"1h","max_lease_ttl":7200,"description":"new"}"#).await.unwrap();
    tune(r#"{"listing_visibility":"unauth","passthrough_request_headers":["X-A","X-B"]}"#)
        .await
        .unwrap();
    tune(r#"{"default_lease_ttl":"","max_lease_ttl":"2h"}"#).await.unwrap();
    let world = world.restart().await;
    assert_eq!(
        world.read("sys/mounts/kv/tune").await.unwrap(),
        json!({
            "default_lease_ttl": 3600, "max_lease_ttl": 7200, "description": "new",
            "force_no_cache": false, "listing_visibility": "unauth",
            "passthrough_request_headers": ["X-A", "X-B"], "options": { "version": "1" },
        })
    );
    let tune = async |input: &str| world.write("sys/mounts/kv/tune", input).await;
    let text = refused(tune(r#"{"default_lease_ttl":"5h"}"#).await).1;
    let expected =
        "backend max lease TTL of 7200 would be less than backend default lease TTL of 18000";
    assert_eq!(text, expected);
    assert_eq!(refused(tune(r#"{"default_lease_ttl":"xyz"}"#).await).0, Code::InvalidRequest);
    tune(r#"{"default_lease_ttl":"system","max_lease_ttl":"system"}"#).await.unwrap();
    tune("{}").await.unwrap();
    let upgraded = tune(r#"{"options":{"version":"2"}}"#).await.unwrap();
    assert!(upgraded.warnings[0].starts_with("Upgrading mount"), "{:?}", upgraded.warnings);
    let text = refused(tune(r#"{"options":{"version":"1"}}"#).await).1;
    assert_eq!(text, "cannot downgrade mount from version 2");
    let text = refused(world.write("sys/mounts/nope/tune", "{}").await).1;
    assert_eq!(text, "tune of path \"nope/\" failed: no mount entry found");
    let text = refused(world.read("sys/mounts/nope/tune").await).1;
    assert_eq!(text, "cannot fetch sysview for path \"nope/\"");
}

#[tokio::test]
async fn the_preflight_of_kv_commands_tells_the_mount_to_who_may_use_it() {
    let world = World::new().await;
    world.write("sys/mounts/kv", r#"{"type":"kv-v2"}"#).await.unwrap();
    let user = world.token_with(r#"path "kv/data/app/*" { capabilities = ["read"] }"#).await;
    for path in ["kv", "kv/app/db"] {
        let shown = world.read_by(&user, &format!("sys/internal/ui/mounts/{path}")).await.unwrap();
        assert_eq!(shown["path"], "kv/");
        assert_eq!(shown["options"], json!({ "version": "2" }));
        assert_eq!(shown["config"]["default_lease_ttl"], 2_764_800);
    }
    for (path, shown) in [("boxes/x", "boxes/x/"), ("nope", "nope/")] {
        let outcome = world.read_by(&user, &format!("sys/internal/ui/mounts/{path}")).await;
        let text = format!(
            "preflight capability check returned 403, please ensure client's policies grant \
             access to path \"{shown}\""
        );
        assert_eq!(refused(outcome), (Code::PermissionDenied, text));
    }
    let nobody = call(Operation::Read, "sys/internal/ui/mounts/kv", "{}", None);
    assert_eq!(refused(world.core.handle(nobody).await).1, "permission denied");
    let denied = r#"path "kv/*" { capabilities = ["deny"] }"#;
    let denied = world.token_with(denied).await;
    assert!(world.read_by(&denied, "sys/internal/ui/mounts/kv").await.is_err());
}

#[tokio::test]
async fn mounts_are_listed_to_who_may_see_them() {
    let world = World::new().await;
    let input = r#"{"type":"kv","description":"open","config":{"listing_visibility":"unauth"}}"#;
    world.write("sys/mounts/open", input).await.unwrap();
    let nobody = call(Operation::Read, "sys/internal/ui/mounts", "{}", None);
    let shown = data(&world.core.handle(nobody).await.unwrap());
    assert_eq!(
        shown,
        json!({
            "auth": {},
            "secret": { "open/": { "description": "open", "options": {}, "type": "kv" } },
        })
    );
    let user = world.token_with(r#"path "boxes/box/a" { capabilities = ["read"] }"#).await;
    let shown = world.read_by(&user, "sys/internal/ui/mounts").await.unwrap();
    let names: Vec<_> = shown["secret"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["boxes/", "cubbyhole/", "identity/", "open/", "sys/"]);
    let rights = world.read_by(&user, "sys/internal/ui/resultant-acl").await.unwrap();
    assert_eq!(rights["root"], false);
    assert_eq!(rights["exact_paths"]["boxes/box/a"]["capabilities"], json!(["read"]));
    assert_eq!(world.read("sys/internal/ui/resultant-acl").await.unwrap()["root"], true);
}

#[tokio::test]
async fn a_mount_moves_with_all_it_holds() {
    let world = World::new().await;
    world.write("boxes/box/a", r#"{"value":"kept"}"#).await.unwrap();
    let before = world.read("sys/mounts/boxes").await.unwrap();
    let moved = world.write("sys/remount", r#"{"from":"boxes","to":"/crates/"}"#).await.unwrap();
    assert_eq!(world.read("crates/box/a").await.unwrap()["value"], "kept");
    assert_eq!(refused(world.read("boxes/box/a").await).0, Code::NotFound);
    let after = world.read("sys/mounts/crates").await.unwrap();
    assert_eq!((&after["uuid"], &after["accessor"]), (&before["uuid"], &before["accessor"]));
    let id = data(&moved)["migration_id"].as_str().unwrap().to_owned();
    let status = world.read(&format!("sys/remount/status/{id}")).await.unwrap();
    assert_eq!(status["migration_info"]["status"], "success");
    assert_eq!(status["migration_info"]["target_mount"], "crates/");
    let world = world.restart().await;
    assert_eq!(world.read("crates/box/a").await.unwrap()["value"], "kept");
}

#[tokio::test]
async fn a_mount_moves_only_to_a_free_place_of_its_kind() {
    let world = World::new().await;
    world.write("sys/mounts/other", r#"{"type":"boxes"}"#).await.unwrap();
    world.write("sys/auth/door", r#"{"type":"door"}"#).await.unwrap();
    world.write("sys/namespaces/team", "{}").await.unwrap();
    for (from, to, expected) in [
        ("boxes", "boxes", r#"path already in use at "boxes/""#),
        ("boxes", "other/x", r#"path already in use at "other/x/""#),
        ("nope", "x", r#"no matching mount at "nope/""#),
        ("sys", "x", r#"cannot remount "sys/""#),
        ("auth/token", "auth/x", r#"cannot remount "auth/token/""#),
        ("boxes", "sys/x", "cannot remount to destination sys/x/"),
        ("boxes", "identity", "cannot remount to destination identity/"),
        ("auth/door", "x", r#"cannot remount auth mount to non-auth mount "x/""#),
        ("boxes", "auth/x", r#"cannot remount non-auth mount to auth mount "auth/x/""#),
        ("auth/door", "auth/token", "cannot remount to destination auth/token/"),
        ("boxes", "team/x", "path is already in use at team/"),
        ("boxes", "a/../b", r#"invalid mount path "a/../b""#),
        ("boxes", "", "both 'from' and 'to' path must be specified as a string"),
    ] {
        let input = serde_json::json!({ "from": from, "to": to }).to_string();
        let (code, text) = refused(world.write("sys/remount", &input).await);
        assert_eq!((code, text.as_str()), (Code::InvalidRequest, expected), "{from} {to}");
    }
    world.write("sys/remount", r#"{"from":"auth/door","to":"auth/gate"}"#).await.unwrap();
    assert!(world.read("sys/auth/gate").await.is_ok());
    assert!(world.read("sys/auth/door").await.is_err());
}

#[tokio::test]
async fn every_setting_of_a_mount_is_tuned_and_shown() {
    let world = World::new().await;
    let settings = serde_json::json!({
        "listing_visibility": "unauth",
        "passthrough_request_headers": ["X-One"],
        "allowed_response_headers": ["X-Two"],
        "delegated_auth_accessors": ["auth_door_1"],
        "allowed_managed_keys": ["k"],
        "identity_token_key": "default",
        "audit_non_hmac_request_keys": ["a"],
        "audit_non_hmac_response_keys": ["b"],
        "force_no_cache": true,
        "trim_request_trailing_slashes": true,
        "default_lease_ttl": 60,
        "max_lease_ttl": 120,
    });
    let mut input = settings.clone();
    input["default_lease_ttl"] = "1m".into();
    input["max_lease_ttl"] = "2m".into();
    world.write("sys/mounts/boxes/tune", &input.to_string()).await.unwrap();
    world
        .write("sys/mounts/new", &serde_json::json!({"type": "boxes", "config": input}).to_string())
        .await
        .unwrap();
    for mount in ["boxes", "new"] {
        let tuned = world.read(&format!("sys/mounts/{mount}/tune")).await.unwrap();
        let shown = world.read(&format!("sys/mounts/{mount}")).await.unwrap();
        for (name, value) in settings.as_object().unwrap() {
            assert_eq!((&tuned[name], &shown["config"][name]), (value, value), "{mount} {name}");
        }
    }
    world
        .write("sys/mounts/boxes/tune", r#"{"max_lease_ttl":"system","default_lease_ttl":"0"}"#)
        .await
        .unwrap();
    let tuned = world.read("sys/mounts/boxes/tune").await.unwrap();
    assert_eq!(tuned["default_lease_ttl"], 2_764_800);
    for (input, expected) in [
        (r#"{"token_type":"batch"}"#, "'token_type' can only be modified on auth mounts"),
        (r#"{"default_lease_ttl":"x"}"#, r#"time: invalid duration "x""#),
        (r#"{"listing_visibility":"x"}"#, "invalid listing_visibility x"),
        (
            r#"{"user_lockout_config":{"lockout_threshold":3}}"#,
            r#"tuning of user lockout configuration for type "boxes" not allowed"#,
        ),
        (
            r#"{"plugin_version":"v9"}"#,
            r#"plugin version "v9" is not there, leave plugin_version out or use "v2.2.0+builtin""#,
        ),
        (
            r#"{"user_lockout_config":"x"}"#,
            "Field validation failed: error converting input for field \"user_lockout_config\": '' \
             expected a map, got 'string'",
        ),
    ] {
        let refusal = refused(world.write("sys/mounts/boxes/tune", input).await);
        assert_eq!((refusal.0, refusal.1.as_str()), (Code::InvalidRequest, expected));
    }
}

#[tokio::test]
async fn a_new_mount_takes_no_settings_that_its_kind_cannot_have() {
    let world = World::new().await;
    let input = r#"{"type":"boxes","config":{"token_type":"batch"}}"#;
    world.write("sys/mounts/b", input).await.unwrap();
    let config = world.read("sys/mounts/b").await.unwrap()["config"].clone();
    assert_eq!(config.get("token_type"), None, "{config}");
    let input = r#"{"type":"boxes","config":{"user_lockout_config":{"lockout_disable":true}}}"#;
    let text = refused(world.write("sys/mounts/c", input).await).1;
    assert_eq!(text, "tuning of user lockout configuration for type \"boxes\" not allowed");
}
