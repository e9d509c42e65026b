//! The life of credentials.

use super::World;
use crate::secret::aws::tests::iam::Faults;
use bailee_sdk::{Code, intent::ROLL_BACK_AFTER};
use serde_json::json;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_user_is_made_with_all_its_role_says_and_goes_with_its_lease() {
    let world = World::new().await;
    let creds = world.read("creds/ci").await.unwrap();
    let names = world.iam.made();
    assert_eq!(names.len(), 1);
    let user = world.iam.state.lock().users[&names[0]].clone();
    assert_eq!(user.keys.keys().collect::<Vec<_>>(), [creds["access_key"].as_str().unwrap()]);
    assert!(user.attached.contains("arn:aws:iam::aws:policy/ReadOnlyAccess"));
    assert!(user.inline.contains("ci") && user.groups.contains("staff"));
    assert!(creds["session_token"].is_null() && creds["security_token"].is_null());
    assert_eq!(world.mount.roll_back().await, 0, "no intent is left");
    let leases = world.mount.leases().await;
    assert!(leases[0].1.renewable && leases[0].1.ttl.is_zero());
    world.mount.revoke(&leases[0].0).await.unwrap();
    assert!(world.iam.made().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_is_answered_when_it_works() {
    let world = World::new().await;
    world.iam.state.lock().key_delay = 30_000;
    for seed in 1..20 {
        world.iam.seed(seed);
        let reply = world.write("creds/ci", json!({})).await.unwrap();
        assert!(reply.warnings.is_empty(), "{:?}", reply.warnings);
        let now = bailee_crypto::clock::to_millis(world.mount.now());
        let state = world.iam.state.lock();
        for user in state.users.values() {
            assert!(user.keys.values().all(|usable| *usable <= now));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_does_not_work_in_time_is_answered_with_a_warning() {
    let world = World::new().await;
    world.write("config/root", json!({ "wait_until_usable_timeout": "2s" })).await.unwrap();
    world.iam.state.lock().key_delay = u64::MAX / 4;
    let reply = world.write("creds/ci", json!({})).await.unwrap();
    assert!(reply.warnings[0].contains("was not seen to work in time"), "{:?}", reply.warnings);
    world.write("config/root", json!({ "wait_until_usable": false })).await.unwrap();
    assert!(world.write("creds/ci", json!({})).await.unwrap().warnings.is_empty());
    for wrong in ["1s", "51s"] {
        let error = world.refusal("config/root", json!({ "wait_until_usable_timeout": wrong }));
        assert!(error.await.starts_with("wait_until_usable_timeout must be between 2s and"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_hung_on_a_user_goes_too_and_what_is_gone_is_done() {
    let world = World::new().await;
    world.read("creds/ci").await.unwrap();
    world.read("creds/ci").await.unwrap();
    let names = world.iam.made();
    {
        let mut state = world.iam.state.lock();
        let user = state.users.get_mut(&names[0]).unwrap();
        user.login = true;
        user.keys.insert("AKIAOTHER".to_owned(), 0);
        user.attached.insert("arn:aws:iam::aws:policy/Other".to_owned());
        user.devices.insert("GAHT123".to_owned());
        user.certificates.insert("C1".to_owned());
        user.inline.clear();
        state.users.remove(&names[1]);
    }
    for (id, _) in world.mount.leases().await {
        world.mount.revoke(&id).await.unwrap();
    }
    assert!(world.iam.made().is_empty() && world.mount.leases().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_user_of_somebody_else_with_the_same_name_stays() {
    let world = World::new().await;
    world.read("creds/ci").await.unwrap();
    let name = world.iam.made().remove(0);
    {
        let mut state = world.iam.state.lock();
        let user = state.users.get_mut(&name).unwrap();
        *user = super::iam::TestUser { id: "AIDAOTHER".to_owned(), ..Default::default() };
    }
    let leases = world.mount.leases().await;
    world.mount.revoke(&leases[0].0).await.unwrap();
    assert_eq!(world.iam.made(), [name]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_on_the_way_leaves_no_user() {
    let world = World::new().await;
    world.iam.state.lock().denied.insert("CreateAccessKey");
    let error = world.read("creds/ci").await.unwrap_err();
    assert_eq!(error.code, Code::InvalidRequest);
    assert!(error.to_string().starts_with("Error creating access keys: AccessDenied"), "{error}");
    assert!(world.iam.made().is_empty() && world.mount.leases().await.is_empty());
    assert_eq!(world.mount.roll_back().await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_may_not_tag_makes_users_without_marks_and_says_so() {
    let world = World::new().await;
    world.iam.state.lock().denied.insert("TagUser");
    let reply = world.write("creds/ci", json!({})).await.unwrap();
    assert!(reply.warnings[0].contains("iam:TagUser"), "{:?}", reply.warnings);
    let leases = world.mount.leases().await;
    world.mount.revoke(&leases[0].0).await.unwrap();
    assert!(world.iam.made().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_crash_leaves_an_intent_and_the_intent_removes_the_user() {
    for crash in (0..1600).step_by(80) {
        let world = World::new().await;
        let request = world.read("creds/ci");
        let crashed = tokio::time::timeout(Duration::from_millis(crash), request).await.is_err();
        assert!(crashed, "a request takes longer than {crash} ms");
        let mount = world.mount.restarted().await;
        let users = world.iam.made().len();
        assert!(mount.roll_back().await >= users, "nothing is undone that may be under way");
        assert_eq!(world.iam.made().len(), users);
        tokio::time::sleep(ROLL_BACK_AFTER).await;
        assert_eq!(mount.roll_back().await, 0);
        assert!(world.iam.made().is_empty() && mount.leases().await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_of_a_revocation_is_told_as_such() {
    let world = World::new().await;
    world.read("creds/ci").await.unwrap();
    let leases = world.mount.leases().await;
    world.iam.state.lock().faults = Faults { throttled: 1000, ..Faults::default() };
    let error = world.mount.revoke(&leases[0].0).await.unwrap_err();
    assert_eq!(error.code, Code::RateLimited);
    let error = world.read("creds/ci").await.unwrap_err();
    assert_eq!(error.code, Code::Upstream);
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_user_lasts_as_configured() {
    let world = World::new().await;
    world.write("config/lease", json!({ "lease": "30m", "lease_max": "1h" })).await.unwrap();
    world.read("creds/ci").await.unwrap();
    let (id, lease) = world.mount.leases().await.remove(0);
    assert_eq!(lease.ttl, Duration::from_secs(1800));
    let term = world.mount.renew(&id, Duration::ZERO).await.unwrap();
    assert_eq!((term.ttl.as_secs(), term.max_ttl.as_secs()), (1800, 3600));
    let term = world.mount.renew(&id, Duration::from_secs(600)).await.unwrap();
    assert_eq!(term.ttl.as_secs(), 600);
}

#[tokio::test(start_paused = true)]
async fn the_roots_key_is_replaced_and_the_old_one_goes() {
    let world = World::new().await;
    let answer = world.write("config/rotate-root", json!({})).await.unwrap();
    let new = bailee_sdk::testing::data(&answer)["access_key"].as_str().unwrap().to_owned();
    let keys = world.iam.state.lock().users["root-user"].keys.clone();
    assert_eq!(keys.keys().collect::<Vec<_>>(), [&new]);
    assert_eq!(world.read("config/root").await.unwrap()["access_key"], new);
    world.read("creds/ci").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_is_cut_short_leaves_the_old_key_and_no_other() {
    for crash in (0..1200).step_by(60) {
        let world = World::new().await;
        let request = world.write("config/rotate-root", json!({}));
        let crashed = tokio::time::timeout(Duration::from_millis(crash), request).await.is_err();
        let mount = world.mount.restarted().await;
        tokio::time::sleep(ROLL_BACK_AFTER).await;
        assert_eq!(mount.roll_back().await, 0);
        mount.tick().await.unwrap();
        let stored = world.read("config/root").await.unwrap()["access_key"].clone();
        let keys = world.iam.state.lock().users["root-user"].keys.clone();
        assert!(keys.contains_key(stored.as_str().unwrap()), "after {crash} ms ({crashed})");
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_are_given_for_the_time_that_is_asked() {
    let world = World::new().await;
    let role = json!({
        "credential_type": "assumed_role",
        "role_arns": "arn:aws:iam::123456789012:role/test",
        "default_sts_ttl": "20m", "max_sts_ttl": "1h",
    });
    world.write("roles/assumed", role).await.unwrap();
    let creds = world.read("creds/assumed").await.unwrap();
    let arn = creds["arn"].as_str().unwrap();
    assert!(arn.starts_with("arn:aws:sts::1:x/vault-test-assumed-"), "{arn}");
    assert_eq!(creds["security_token"], creds["session_token"]);
    let leases = world.mount.leases().await;
    assert!(!leases[0].1.renewable && (1199..=1200).contains(&leases[0].1.ttl.as_secs()));
    world.mount.revoke(&leases[0].0).await.unwrap();
    let error = world.refusal("sts/assumed", json!({ "ttl": "10m" })).await;
    assert!(error.contains("'durationSeconds'"), "{error}");
    assert!(error.starts_with("Error assuming role: ValidationError"), "{error}");
    world.write("roles/own", json!({ "credential_type": "session_token" })).await.unwrap();
    let error = world.refusal("sts/own", json!({ "ttl": "10m" })).await;
    assert!(error.starts_with("Error generating STS keys: ValidationError"), "{error}");
    let other = json!({ "role_arn": "arn:aws:iam::123456789012:role/other" });
    assert_eq!(
        world.refusal("sts/assumed", other).await,
        "role_arn \"arn:aws:iam::123456789012:role/other\" not in allowed role arns for Vault role \
         \"assumed\""
    );
    let error = world.refusal("sts/assumed", json!({ "role_session_name": "a b" })).await;
    assert!(error.starts_with("role_session_name is not valid"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn orphans_are_found_by_their_mark_and_removed_when_asked() {
    let world = World::new().await;
    world.read("creds/ci").await.unwrap();
    world.read("creds/ci").await.unwrap();
    let view = world.mount.view();
    let records = view.list("users/", "", 10).await.unwrap();
    view.delete(&format!("users/{}", records[0]));
    view.commit().await.unwrap();
    let young = world.read("orphans").await.unwrap();
    assert_eq!(young["orphans"], json!([]));
    tokio::time::sleep(ROLL_BACK_AFTER + Duration::from_secs(1)).await;
    let found = world.read("orphans").await.unwrap();
    assert_eq!(found["orphans"].as_array().unwrap().len(), 1);
    assert_eq!(world.iam.made().len(), 2);
    let reply = world.write("orphans", json!({})).await.unwrap();
    assert_eq!(bailee_sdk::testing::data(&reply)["removed"], found["orphans"]);
    assert_eq!(world.iam.made().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_key_of_a_static_role_is_replaced_at_its_intervals() {
    let world = World::new().await;
    {
        let mut state = world.iam.state.lock();
        let old = super::iam::TestUser {
            id: "AIDAAPP".to_owned(),
            keys: [("AKIAOLD1".to_owned(), 0), ("AKIAOLD2".to_owned(), 0)].into(),
            ..Default::default()
        };
        state.users.insert("app".to_owned(), old);
    }
    let role = json!({ "username": "app", "rotation_period": "1h" });
    let made = world.write("static-roles/app", role.clone()).await.unwrap();
    assert_eq!(bailee_sdk::testing::data(&made)["rotation_period"], 3600);
    let first = world.read("static-creds/app").await.unwrap()["access_key"].clone();
    let keys = || world.iam.state.lock().users["app"].keys.clone();
    assert!(keys().contains_key(first.as_str().unwrap()) && keys().len() == 2);
    world.mount.tick().await.unwrap();
    assert_eq!(world.read("static-creds/app").await.unwrap()["access_key"], first);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    world.mount.tick().await.unwrap();
    let second = world.read("static-creds/app").await.unwrap()["access_key"].clone();
    assert_ne!(second, first);
    assert!(keys().contains_key(first.as_str().unwrap()), "who has it can go on for an interval");
    assert!(keys().contains_key(second.as_str().unwrap()) && keys().len() == 2);
    let error = world.refusal("static-roles/other", role).await;
    assert!(error.contains("belongs to the static role \"app\""), "{error}");
    let short = json!({ "username": "x", "rotation_period": "59s" });
    assert_eq!(
        world.refusal("static-roles/x", short).await,
        "rotation_period must be >= 60 seconds"
    );
    world.mount.call(bailee_sdk::Operation::Delete, "static-roles/app", json!({})).await.unwrap();
    assert!(!keys().contains_key(second.as_str().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_static_role_says_why_its_key_could_not_be_replaced() {
    let world = World::new().await;
    let app = super::iam::TestUser { id: "AIDAAPP".to_owned(), ..Default::default() };
    world.iam.state.lock().users.insert("app".to_owned(), app);
    let role = json!({ "username": "app", "rotation_period": "1h" });
    world.write("static-roles/app", role).await.unwrap();
    let before = world.read("static-creds/app").await.unwrap();
    assert!(world.read("static-roles/app").await.unwrap().get("rotation_error").is_none());
    world.iam.state.lock().denied.insert("CreateAccessKey");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let error = world.mount.tick().await.unwrap_err().to_string();
    assert_eq!(world.read("static-roles/app").await.unwrap()["rotation_error"], error);
    assert_eq!(world.read("static-creds/app").await.unwrap(), before);
    world.iam.state.lock().denied.clear();
    world.mount.tick().await.unwrap();
    assert!(world.read("static-roles/app").await.unwrap().get("rotation_error").is_none());
    assert_ne!(world.read("static-creds/app").await.unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_of_a_static_role_that_is_cut_short_loses_no_key_and_leaves_no_other() {
    for crash in (0..2000).step_by(90) {
        let world = World::new().await;
        let app = super::iam::TestUser { id: "AIDAAPP".to_owned(), ..Default::default() };
        world.iam.state.lock().users.insert("app".to_owned(), app);
        let role = json!({ "username": "app", "rotation_period": "1h" });
        world.write("static-roles/app", role).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let turn = tokio::time::timeout(Duration::from_millis(crash), world.mount.tick()).await;
        let mount = world.mount.restarted().await;
        tokio::time::sleep(ROLL_BACK_AFTER).await;
        assert_eq!(mount.roll_back().await, 0);
        let stored = world.read("static-creds/app").await.unwrap()["access_key"].clone();
        let keys = world.iam.state.lock().users["app"].keys.clone();
        assert!(keys.contains_key(stored.as_str().unwrap()), "{crash} ms, {}", turn.is_ok());
        assert!(keys.len() <= 2);
        mount.tick().await.unwrap();
    }
}
