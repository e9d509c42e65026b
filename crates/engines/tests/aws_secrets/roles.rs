//! Roles through which the engine reaches what it manages.

use super::{ACCOUNT, ALL, OTHER_ACCOUNT, World, trusting};
use bailee_fake_clouds::aws::Fault;
use serde_json::json;
use std::time::Duration;

/// A role of another account that wants an external id, and a user there.
fn other_account(world: &World) -> String {
    let trust = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
        "Action": "sts:AssumeRole",
        "Condition": { "StringEquals": {
            "sts:ExternalId": "shared-word", "sts:RoleSessionName": "bailee-keys",
        } },
    }] });
    world.aws.create_user_in(OTHER_ACCOUNT, "app", &[]);
    world.aws.create_role_in(OTHER_ACCOUNT, "keys", &trust.to_string(), &[ALL])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_role_manages_a_user_of_another_account() {
    let world = World::as_user(ALL, json!({})).await;
    let arn = other_account(&world);
    // There is a namesake here, and it is another user.
    world.aws.create_user("app", &[]);
    let role = json!({
        "username": "app", "rotation_period": "1h",
        "assume_role_arn": arn, "assume_role_session_name": "bailee-keys",
        "external_id": "shared-word",
    });
    world.write("static-roles/there", role.clone()).await.unwrap();
    world
        .write("static-roles/here", json!({ "username": "app", "rotation_period": "1h" }))
        .await
        .unwrap();
    let shown = world.read("static-roles/there").await.unwrap();
    assert_eq!(shown["assume_role_arn"], arn);
    assert_eq!(shown["assume_role_session_name"], "bailee-keys");
    assert_eq!(shown["external_id"], "shared-word");
    assert_ne!(shown["id"], world.read("static-roles/here").await.unwrap()["id"]);
    let key = world.read("static-creds/there").await.unwrap()["access_key"].clone();
    assert!(world.aws.key_works(key.as_str().unwrap()));
    let error = world.write("static-roles/again", role).await.unwrap_err().to_string();
    assert!(error.contains("belongs to the static role \"there\""), "{error}");
    // Without the external id nothing is reached, and nothing has changed.
    let wrong = json!({ "external_id": "other" });
    let error = world.write("static-roles/there", wrong).await.unwrap_err().to_string();
    assert!(error.contains("AssumeRole"), "{error}");
    // The way here leads to another user of that name.
    let here = json!({ "assume_role_arn": "" });
    let error = world.write("static-roles/there", here).await.unwrap_err().to_string();
    assert!(error.contains("is not the one that it was"), "{error}");
    world.delete("static-roles/there").await.unwrap();
    assert!(!world.aws.key_works(key.as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rotation_elsewhere_leaves_is_undone_there() {
    let world = World::as_user(ALL, json!({})).await;
    let arn = other_account(&world);
    let role = json!({
        "username": "app", "rotation_period": "1h",
        "assume_role_arn": arn, "assume_role_session_name": "bailee-keys",
        "external_id": "shared-word",
    });
    // The new key never works: it is not stored, and the intent removes it.
    world
        .write(
            "config/root",
            json!({ "wait_until_usable": true, "wait_until_usable_timeout": "2s" }),
        )
        .await
        .unwrap();
    world.aws.set_new_key_delay(Duration::from_secs(3600));
    let error = world.write("static-roles/there", role).await.unwrap_err().to_string();
    assert!(error.contains("does not work yet"), "{error}");
    let keys = world.aws.key_count(OTHER_ACCOUNT, "app");
    assert_eq!(keys, 2, "the user's own, and the one that is to go");
    assert_eq!(world.mount.undo_now().await, 0);
    assert_eq!(world.aws.key_count(OTHER_ACCOUNT, "app"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leads_to_no_role_is_refused_and_nothing_is_asked() {
    let world = World::as_user(ALL, json!({})).await;
    for (field, value) in [
        ("assume_role_arn", "nope"),
        ("assume_role_session_name", "only-this"),
        ("external_id", "only-this"),
    ] {
        let role = json!({ "username": "app", "rotation_period": "1h", field: value });
        let error = world.write("static-roles/x", role).await.unwrap_err().to_string();
        assert!(error.contains("assume_role_arn"), "{field}: {error}");
    }
    let arn = format!("arn:aws:iam::{OTHER_ACCOUNT}:role/keys");
    for (field, value) in [("assume_role_session_name", "a b"), ("external_id", "a b")] {
        let role = json!({
            "username": "app", "rotation_period": "1h", "assume_role_arn": arn, field: value,
        });
        let error = world.write("static-roles/x", role).await.unwrap_err().to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
    assert!(world.aws.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_key_is_replaced_also_where_the_engine_takes_on_a_role() {
    let world = World::new().await;
    let key = world.aws.create_user("engine", &[ALL]);
    let role = world.aws.create_role("work", &trusting(ACCOUNT), &[ALL]);
    world.configure(&key, json!({ "role_arn": role })).await;
    let reply = world.write("config/rotate-root", json!({})).await.unwrap();
    assert!(reply.warnings.is_empty(), "{:?}", reply.warnings);
    assert!(!world.aws.key_works(&key.access_key_id));
    world
        .write("roles/ci", json!({ "credential_type": "iam_user", "policy_document": ALL }))
        .await
        .unwrap();
    world.read("creds/ci").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_whose_session_aws_calls_expired_is_taken_on_anew() {
    let world = World::new().await;
    let key = world.aws.create_user("engine", &[ALL]);
    let role = world.aws.create_role("work", &trusting(ACCOUNT), &[ALL]);
    world.configure(&key, json!({ "role_arn": role })).await;
    world
        .write("roles/ci", json!({ "credential_type": "iam_user", "policy_document": ALL }))
        .await
        .unwrap();
    world.read("creds/ci").await.unwrap();
    world.read("creds/ci").await.unwrap();
    assert_eq!(world.aws.call_count("sts:AssumeRole"), 1);
    let expired = Fault::error("iam:CreateUser", 403, "ExpiredToken", "The token is expired");
    world.aws.inject(expired.times(1));
    let error = world.read("creds/ci").await.unwrap_err().to_string();
    assert!(error.contains("ExpiredToken"), "{error}");
    world.read("creds/ci").await.unwrap();
    assert_eq!(world.aws.call_count("sts:AssumeRole"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_outlast_what_the_mount_lets_a_lease_last() {
    let mut world = World::as_user(ALL, json!({})).await;
    world.mount = world.mount.with_lease_max(Duration::from_secs(1200));
    let arn = world.aws.create_role("deploy", &trusting(ACCOUNT), &[]);
    let role = json!({ "credential_type": "assumed_role", "role_arns": arn });
    world.write("roles/deploy", role).await.unwrap();
    let ttl = world.read("creds/deploy").await.unwrap()["ttl"].as_u64().unwrap();
    assert!((1190..=1200).contains(&ttl), "{ttl}");
    let asked = world.write("sts/deploy", json!({ "ttl": "2h" })).await.unwrap();
    assert!(bailee_sdk::testing::data(&asked)["ttl"].as_u64().unwrap() <= 1200);
}

#[tokio::test(flavor = "multi_thread")]
async fn undoing_one_static_role_leaves_the_key_of_another_for_the_same_user() {
    let world = World::as_user(ALL, json!({})).await;
    world.aws.create_user("app", &[]);
    let role = json!({ "username": "app", "rotation_period": "1h" });
    let wait = json!({ "wait_until_usable": true, "wait_until_usable_timeout": "2s" });
    world.write("config/root", wait).await.unwrap();
    world.aws.set_new_key_delay(Duration::from_secs(3600));
    world.write("static-roles/a", role.clone()).await.unwrap_err();
    world.aws.set_new_key_delay(Duration::ZERO);
    world.write("static-roles/b", role).await.unwrap();
    let key = world.read("static-creds/b").await.unwrap()["access_key"].clone();
    assert_eq!(world.mount.undo_now().await, 0);
    assert!(world.aws.key_works(key.as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engines_own_user_is_no_static_role() {
    let world = World::as_user(ALL, json!({})).await;
    let role = json!({ "username": "engine", "rotation_period": "1h" });
    let error = world.write("static-roles/own", role).await.unwrap_err().to_string();
    assert!(error.contains("is the engine's own"), "{error}");
    assert_eq!(world.aws.key_count(ACCOUNT, "engine"), 1);
}
