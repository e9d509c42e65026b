//! The life of a lease.

use super::world::{HOUR, Mood, World, data, refused};
use crate::{tests::Recorder, token::tests::world::Fault};
use bailee_sdk::{Code, Operation};
use serde_json::json;
use std::{sync::Arc, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_lease_is_shown_prolonged_and_revoked() {
    let world = World::new().await;
    let (id, loan) = world.borrow("bank/loans/a/b", HOUR, &world.root).await.unwrap();
    assert!(id.starts_with("bank/loans/a/b/") && id.len() == "bank/loans/a/b/".len() + 24, "{id}");
    let shown = world.look_up(&id).await.unwrap();
    assert_eq!((&shown["id"], &shown["ttl"]), (&json!(id), &json!(3600)));
    assert_eq!((&shown["renewable"], &shown["last_renewal"]), (&json!(true), &json!(null)));
    assert_eq!(world.list("sys/leases/lookup/").await.unwrap(), json!(["bank/"]));
    assert_eq!(world.list("sys/leases/lookup/bank/loans/").await.unwrap(), json!(["a/"]));
    let letters = id.rsplit('/').next().unwrap();
    assert_eq!(world.list("sys/leases/lookup/bank/loans/a/b/").await.unwrap(), json!([letters]));

    world.clock.advance(MINUTE);
    let wish = json!({ "lease_id": id, "increment": 7200 });
    let answer = world.write("sys/leases/renew", wish).await.unwrap();
    let leased = answer.leased.unwrap();
    assert_eq!((leased.id.as_str(), leased.ttl, leased.renewable), (id.as_str(), HOUR * 2, true));
    let wish = json!({ "increment": 10_000_000 });
    let answer = world.write(&format!("sys/renew/{id}"), wish).await.unwrap();
    assert_eq!(answer.leased.unwrap().ttl, HOUR * 24 * 32 - MINUTE);
    assert!(answer.warnings[0].starts_with("TTL of "), "{:?}", answer.warnings);

    assert!(world.is_out(&loan));
    world.write("sys/leases/revoke", json!({ "lease_id": id })).await.unwrap();
    assert!(!world.is_out(&loan));
    assert_eq!(refused(world.look_up(&id).await).1, "invalid lease");
    let renewal = world.write("sys/leases/renew", json!({ "lease_id": id })).await;
    assert_eq!(refused(renewal).1, "lease not found");
    world.write("sys/leases/revoke", json!({ "lease_id": id })).await.unwrap();
    for path in ["sys/leases/lookup", "sys/leases/renew", "sys/leases/revoke"] {
        assert_eq!(refused(world.write(path, json!({})).await).1, "lease_id must be specified");
    }
    assert!(world.lease_keys().await.is_empty(), "{:?}", world.lease_keys().await);
}

#[tokio::test]
async fn a_lease_ends_at_its_time_and_not_before() {
    let mut world = World::new().await;
    let (id, loan) = world.borrow("bank/loans/a", HOUR, &world.root).await.unwrap();
    let (_, rigid) = world.borrow("bank/loans/rigid", HOUR * 2, &world.root).await.unwrap();
    world.clock.advance(HOUR - Duration::from_millis(1));
    world.pass().await;
    assert!(world.is_out(&loan));
    world.restart().await;
    world.clock.advance(Duration::from_millis(1));
    let renewal = world.write("sys/leases/renew", json!({ "lease_id": id })).await;
    assert_eq!(refused(renewal).1, "lease expired");
    let next = world.kernel.leases.pass(world.now()).await.unwrap();
    assert_eq!(next, Some(world.now() + HOUR));
    assert!(!world.is_out(&loan) && world.is_out(&rigid));
}

#[tokio::test]
async fn a_lease_ends_with_the_token_that_asked() {
    let world = World::new().await;
    for how in ["revoked", "parent revoked", "expired"] {
        let parent = world.token(json!({ "policies": ["root"], "ttl": "2h" })).await;
        let input = json!({ "policies": ["root"], "ttl": "1h" });
        let made = world.call(Operation::Update, "auth/token/create", input, &parent).await;
        let token = made.unwrap().auth.unwrap().client_token.expose().clone();
        let (id, loan) = world.borrow("bank/loans/a", HOUR * 24, &token).await.unwrap();
        match how {
            "revoked" => {
                world.write("auth/token/revoke", json!({ "token": token })).await.unwrap();
            }
            "parent revoked" => {
                world.write("auth/token/revoke", json!({ "token": parent })).await.unwrap();
            }
            _ => {
                world.clock.advance(HOUR);
                let renewal = world.write("sys/leases/renew", json!({ "lease_id": id })).await;
                let text = "cannot renew lease, no valid associated token";
                assert_eq!(refused(renewal).1, text);
            }
        }
        world.pass().await;
        assert!(!world.is_out(&loan), "{how}");
    }
    // The rest ends with the tokens that are left.
    world.clock.advance(HOUR * 2);
    world.pass().await;
    assert!(world.lease_keys().await.is_empty());
}

#[tokio::test]
async fn a_lease_that_may_last_no_longer_goes_on_until_its_end() {
    let world = World::new().await;
    let (id, loan) = world.borrow("bank/loans/a", HOUR * 4, &world.root).await.unwrap();
    world.clock.advance(HOUR * 2);
    world.write("sys/mounts/bank/tune", json!({ "max_lease_ttl": "1h" })).await.unwrap();
    let renewal = world.write("sys/leases/renew", json!({ "lease_id": id })).await;
    assert_eq!(refused(renewal).1, "past the max TTL, cannot renew");
    world.pass().await;
    assert!(world.is_out(&loan));
    assert_eq!(world.look_up(&id).await.unwrap()["ttl"], 7200);
}

#[tokio::test]
async fn what_the_system_takes_back_is_audited_and_ends_also_when_no_device_can_write() {
    let recorder = Arc::new(Recorder::default());
    let world = World::recorded(vec![recorder.clone()]).await;
    let (id, loan) = world.borrow("bank/loans/canary-role", HOUR, &world.root).await.unwrap();
    recorder.take();
    world.clock.advance(HOUR);
    world.pass().await;
    assert!(!world.is_out(&loan));
    let lines = recorder.take();
    assert_eq!(lines.len(), 1);
    let (auth, request) = (&lines[0]["auth"], &lines[0]["request"]);
    assert_eq!((&auth["display_name"], &auth["token_type"]), (&json!("leases"), &json!("system")));
    assert_eq!(request["operation"], "revoke");
    let text = lines[0].to_string();
    assert!(!text.contains("canary") && !text.contains(&id), "{text}");
    let (_, loan) = world.borrow("bank/loans/a", HOUR, &world.root).await.unwrap();
    *recorder.fails.lock() = true;
    world.clock.advance(HOUR);
    world.pass().await;
    assert!(!world.is_out(&loan));
}

#[tokio::test]
async fn what_the_engine_cannot_take_back_is_kept_shown_and_tried_again() {
    let mut world = World::new().await;
    let (id, loan) = world.borrow("bank/loans/a", HOUR, &world.root).await.unwrap();
    world.mood(Mood::Refuses);
    let (code, text) = refused(world.write("sys/leases/revoke", json!({ "lease_id": id })).await);
    assert_eq!(code, Code::Upstream);
    assert!(text.ends_with("the lender is away"), "{text}");
    assert_eq!(world.look_up(&id).await.unwrap()["revoke_error"], "the lender is away");
    let renewal = world.write("sys/leases/renew", json!({ "lease_id": id })).await;
    assert_eq!(refused(renewal).1, "lease expired");
    for _ in 0..6 {
        world.clock.advance(Duration::from_secs(330));
        world.restart().await;
        world.pass().await;
    }
    let counted = world.read("sys/leases/count").await.unwrap();
    assert_eq!(counted, json!({ "lease_count": 1, "counts": { "bank/": 1 } }));
    let irrevocable = json!({ "type": "irrevocable" });
    let told = world.call(Operation::Read, "sys/leases", irrevocable.clone(), &world.root).await;
    let told = data(&told.unwrap());
    assert_eq!(told["leases"], json!([{ "lease_id": id, "error": "the lender is away" }]));
    let counted = world.call(Operation::Read, "sys/leases/count", irrevocable, &world.root).await;
    assert_eq!(data(&counted.unwrap())["lease_count"], 1);
    assert!(world.is_out(&loan));
    // What the engine wrote when it failed has not landed.
    let keys = world.backend.keys_under("n/root/mount/").await;
    assert!(!keys.iter().any(|key| key.ends_with("/last")), "{keys:?}");

    world.mood(Mood::Works);
    world.clock.advance(HOUR);
    world.pass().await;
    assert!(!world.is_out(&loan));
    assert!(world.lease_keys().await.is_empty());
}

#[tokio::test]
async fn an_operator_tries_again_at_once_or_gives_up() {
    let world = World::new().await;
    let borrow = async || world.borrow("bank/loans/a", HOUR, &world.root).await.unwrap();
    let (id, loan) = borrow().await;
    world.mood(Mood::Refuses);
    for _ in 0..6 {
        world.write("sys/leases/revoke", json!({ "lease_id": id })).await.unwrap_err();
    }
    world.mood(Mood::Works);
    let answer = world.write("sys/leases/tidy", json!({})).await.unwrap();
    assert!(answer.accepted && !answer.warnings.is_empty());
    world.pass().await;
    assert!(!world.is_out(&loan));

    let (id, loan) = borrow().await;
    world.mood(Mood::Refuses);
    let refusal = world.write("sys/leases/revoke-prefix/bank", json!({})).await;
    let (code, text) = refused(refusal);
    assert_eq!(code, Code::InvalidRequest);
    assert!(text.contains("the lender is away") && text.contains("revoke-force"), "{text}");
    world.write("sys/leases/revoke-force/bank/loans", json!({})).await.unwrap();
    assert_eq!(refused(world.look_up(&id).await).1, "invalid lease");
    assert!(world.is_out(&loan), "nobody could take it back");
    assert!(world.lease_keys().await.is_empty());
}

#[tokio::test]
async fn a_prefix_means_whole_segments() {
    let world = World::new().await;
    let mut loans = Vec::new();
    for path in ["bank/loans/a/x", "bank/loans/a/y", "bank/loans/ab", "bank/loans/b"] {
        loans.push(world.borrow(path, HOUR, &world.root).await.unwrap().1);
    }
    let out = |loans: &[String]| loans.iter().map(|loan| world.is_out(loan)).collect::<Vec<_>>();
    world.write("sys/leases/revoke-prefix/bank/loans/a", json!({})).await.unwrap();
    assert_eq!(out(&loans), [false, false, true, true]);
    let later = json!({ "sync": false });
    let answer = world.write("sys/revoke-prefix/bank", later).await.unwrap();
    assert!(answer.accepted);
    assert_eq!(out(&loans), [false, false, true, true]);
    world.pass().await;
    assert_eq!(out(&loans), [false; 4]);
}

#[tokio::test]
async fn a_mount_stays_until_all_its_leases_are_revoked() {
    let world = World::new().await;
    let (_, loan) = world.borrow("bank/loans/a", HOUR, &world.root).await.unwrap();
    world.mood(Mood::Refuses);
    let (code, text) = refused(world.delete("sys/mounts/bank").await);
    assert_eq!(code, Code::InvalidRequest);
    assert!(text.contains("the lender is away") && text.contains("the mount stays"), "{text}");
    // It can be read, mended and used.
    world.write("bank/config", json!({ "word": "mended" })).await.unwrap();
    assert_eq!(world.read("bank/config").await.unwrap(), json!({ "word": "mended" }));
    let (_, second) = world.borrow("bank/loans/a", HOUR, &world.root).await.unwrap();
    world.mood(Mood::Works);
    world.delete("sys/mounts/bank").await.unwrap();
    assert!(!world.is_out(&loan) && !world.is_out(&second));
    assert!(world.lease_keys().await.is_empty());
    assert_eq!(refused(world.read("bank/config").await).0, Code::NotFound);
}

#[tokio::test]
async fn a_namespace_stays_until_all_its_leases_are_revoked() {
    let world = World::new().await;
    world.write("sys/namespaces/team", json!({})).await.unwrap();
    world.mount_in("team/", "bank").await;
    let (id, loan) = world.borrow("team/bank/loans/a", HOUR, &world.root).await.unwrap();
    assert!(id.starts_with("bank/loans/a/") && id.contains('.'), "{id}");
    assert_eq!(world.look_up(&id).await.unwrap()["namespace_path"], "team/");
    let in_team = world.write("team/sys/leases/lookup", json!({ "lease_id": id })).await;
    assert_eq!(data(&in_team.unwrap())["id"], json!(id));
    world.write("sys/namespaces/other", json!({})).await.unwrap();
    let in_other = world.write("other/sys/leases/lookup", json!({ "lease_id": id })).await;
    assert_eq!(refused(in_other).1, "invalid lease");
    world.mood(Mood::Refuses);
    assert!(refused(world.delete("sys/namespaces/team").await).1.contains("the namespace stays"));
    assert!(world.read("team/bank/config").await.is_ok());
    world.mood(Mood::Works);
    world.delete("sys/namespaces/team").await.unwrap();
    assert!(!world.is_out(&loan));
}

#[tokio::test]
async fn the_last_use_of_a_token_gets_no_lease() {
    let world = World::new().await;
    let token = world.token(json!({ "policies": ["root"], "num_uses": 2, "ttl": "1h" })).await;
    assert!(world.borrow("bank/loans/a", HOUR, &token).await.is_ok());
    let (code, text) = refused(world.borrow("bank/loans/a", HOUR, &token).await);
    let expected = "Secret cannot be returned; token had one use left, so leased credentials were \
                    immediately revoked.";
    assert_eq!((code, text.as_str()), (Code::InvalidRequest, expected));
    world.pass().await;
    assert!(world.ledger.out.lock().is_empty());
    assert!(world.lease_keys().await.is_empty());
}

#[tokio::test]
async fn tokens_stand_among_leases() {
    let world = World::new().await;
    world.write("sys/auth/door", json!({ "type": "door" })).await.unwrap();
    let log_in = async |name: &str| {
        let path = format!("auth/door/login/{name}");
        let answer = world.call(Operation::Update, &path, json!({}), "").await.unwrap();
        answer.auth.unwrap().client_token.expose().clone()
    };
    let (amy, ben) = (log_in("amy").await, log_in("ben").await);
    assert_eq!(
        world.list("sys/leases/lookup/auth/door/login/").await.unwrap(),
        json!(["amy/", "ben/"])
    );
    let names = world.list("sys/leases/lookup/auth/door/login/amy/").await.unwrap();
    let id = format!("auth/door/login/amy/{}", names[0].as_str().unwrap());
    assert!(id.starts_with("auth/door/login/amy/h") && id.len() == 20 + 65, "{id}");
    assert_eq!(world.look_up(&id).await.unwrap()["ttl"], 3600);
    let renewal = world.write("sys/leases/renew", json!({ "lease_id": id })).await;
    assert_eq!(refused(renewal).1, "tokens cannot be renewed through this endpoint");
    let is_alive = async |token: &str| {
        let path = "auth/token/lookup-self";
        world.call(Operation::Read, path, json!({}), token).await.is_ok()
    };
    world.write("sys/leases/revoke", json!({ "lease_id": id })).await.unwrap();
    assert!(!is_alive(&amy).await && is_alive(&ben).await);
    assert_eq!(refused(world.look_up(&id).await).1, "invalid lease");
    world.write("sys/leases/revoke-prefix/auth/door", json!({})).await.unwrap();
    assert!(!is_alive(&ben).await);
    let cara = log_in("cara").await;
    world.delete("sys/auth/door").await.unwrap();
    assert!(!is_alive(&cara).await && is_alive(&world.root).await);
    let keys = world.backend.keys_under("n/root/token/origin/").await;
    assert!(keys.is_empty(), "{keys:?}");
}

#[tokio::test]
async fn names_that_users_chose_are_in_no_key() {
    let world = World::new().await;
    world.mount("canary-mount").await.unwrap();
    world.borrow("canary-mount/loans/canary-role", HOUR, &world.root).await.unwrap();
    world.token(json!({ "ttl": "1h", "display_name": "canary" })).await;
    for key in world.backend.keys_under("").await {
        assert!(!key.contains("canary"), "{key}");
    }
}

#[tokio::test]
async fn cut_at_any_commit_a_lease_is_neither_lost_nor_forgotten() {
    for fault in [Fault::Before, Fault::After] {
        for cut in 0..12 {
            let mut world = World::new().await;
            let token = world.token(json!({ "policies": ["root"], "ttl": "1h" })).await;
            let (_, loan) = world.borrow("bank/loans/a", HOUR * 24, &token).await.unwrap();
            let mut left = cut;
            world.backend.fail(move || {
                let fails = left == 0;
                left = i32::max(left - 1, -1);
                fails.then_some(fault)
            });
            let revoked = world.write("auth/token/revoke", json!({ "token": token })).await.is_ok();
            let passed = world.kernel.leases.pass(world.now()).await.is_ok();
            world.backend.fail(|| None);
            let is_kept = !world.lease_keys().await.is_empty();
            assert!(!world.is_out(&loan) || is_kept, "{fault:?} at {cut}: lost");
            assert!(!world.is_out(&loan) || !revoked || !passed, "{fault:?} at {cut}: outlives");
            world.restart().await;
            world.clock.advance(HOUR);
            world.pass().await;
            assert!(!world.is_out(&loan), "{fault:?} at {cut}");
            assert!(world.lease_keys().await.is_empty(), "{fault:?} at {cut}");
        }
    }
}
