//! Destinations as users write, change, check and delete them.

use super::world::{World, barrier};
use crate::{Settings, failure::Error as SyncError, store::Store, testing::Fault};
use bailee_sdk::{Code, Operation, testing::TestClock};
use bailee_storage::memory::Memory;
use serde_json::{Value, json};
use std::sync::Arc;

const AWS: &str = "sync/destinations/aws-sm/d1";
const MEM: &str = "sync/destinations/in-mem/d1";

/// A server whose AWS is at an address that the guard forbids: nothing is called.
async fn world() -> World {
    let settings = Settings {
        aws_endpoint_url: Some("https://127.0.0.1:9".to_owned()),
        aws_sts_endpoint_url: Some("https://127.0.0.1:9".to_owned()),
        ..Settings::default()
    };
    let storage = barrier(Arc::new(Memory::default())).await.unwrap();
    let world = World::with(storage, Arc::default(), settings, Arc::new(TestClock::default()));
    world.ready().await;
    world
}

fn keys(more: Value) -> Value {
    let mut keys = json!({
        "access_key_id": "AKIA1", "secret_access_key": "canary-secret", "region": "eu-west-1",
    });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

async fn patch(world: &World, path: &str, input: Value) -> Result<Value, String> {
    let answer = world.call(Operation::Patch, path, input).await;
    answer.map_err(|error| error.to_string())
}

async fn stored(world: &World, kind: &str) -> String {
    let store = Store::open(&world.barrier, &world.namespace);
    let found = store.destination(kind, "d1").await.unwrap();
    serde_json::to_string(&found.map(|(stored, _)| stored)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_field_is_shown_as_it_was_written() {
    let world = world().await;
    let made = world
        .post(
            AWS,
            json!({
                "region": "eu-west-1",
                "role_arn": "arn:aws:iam::123456789012:role/sync",
                "identity_token_audience": "sts.amazonaws.com",
                "identity_token_ttl": "30m",
                "kms_key_id": "arn:aws:kms:eu-west-1:123456789012:key/1",
                "replica_regions": { "eu-central-1": "", "us-east-1": "alias/copy" },
                "granularity": "secret-key",
                "drift": "report",
                "ownership": "adopt",
                "deletion": "schedule",
                "recovery_window_days": "7",
                "disable_strict_networking": "true",
                "allowed_ports": "443, 8443",
                "allowed_ipv6_addresses": ["fd00::/8"],
                "custom_tags": ["team=core", "env=prod"],
            }),
        )
        .await
        .unwrap();
    let shown = json!({
        "connection_details": {
            "region": "eu-west-1",
            "role_arn": "arn:aws:iam::123456789012:role/sync",
            "identity_token_audience": "*****",
            "identity_token_ttl": 1800,
            "kms_key_id": "arn:aws:kms:eu-west-1:123456789012:key/1",
            "replica_regions": { "eu-central-1": "", "us-east-1": "alias/copy" },
        },
        "name": "d1",
        "options": {
            "allowed_ipv6_addresses": ["fd00::/8"],
            "allowed_ports": [443, 8443],
            "custom_tags": { "env": "prod", "team": "core" },
            "deletion": "schedule",
            "disable_strict_networking": true,
            "drift": "report",
            "granularity_level": "secret-key",
            "ownership": "adopt",
            "recovery_window_days": 7,
            "secret_name_template": "vault/{{ .MountAccessor }}/{{ .SecretPath }}/{{ .SecretKey }}",
        },
        "type": "aws-sm",
    });
    assert_eq!(made, shown);
    // What was shown can be written back, masks and all: nothing changes.
    let before = stored(&world, "aws-sm").await;
    let (details, options) = (&shown["connection_details"], &shown["options"]);
    let mut back = details.as_object().unwrap().clone();
    back.extend(options.as_object().unwrap().clone());
    back.remove("granularity_level");
    back.insert("granularity".to_owned(), json!("secret-key"));
    assert_eq!(world.post(AWS, Value::Object(back)).await.unwrap(), shown);
    // The template is now the user's own, though it is the same.
    let after = stored(&world, "aws-sm").await;
    let own = r#""template":"vault/{{ .MountAccessor }}/{{ .SecretPath }}/{{ .SecretKey }}""#;
    assert_eq!(before.replace(r#""template":null"#, own), after);
}

#[tokio::test(start_paused = true)]
async fn a_merge_patch_keeps_what_it_does_not_name_and_null_takes_away() {
    let world = world().await;
    let all = json!({
        "custom_tags": { "a": "1", "b": "2", "te-am": "x" },
        "replica_regions": "eu-central-1=,us-east-1=",
        "drift": "off", "deletion": "schedule", "recovery_window_days": 10,
        "secret_name_template": "x/{{ .SecretPath }}", "allowed_ports": [443, 8443],
    });
    world.post(AWS, keys(all)).await.unwrap();
    let change = json!({
        "custom_tags": { "a": null, "c": "3" }, "tags_to_remove": "te*am",
        "replica_regions": { "us-east-1": null, "us-west-2": "" },
        "drift": null, "secret_name_template": null, "allowed_ports": null,
    });
    let shown = patch(&world, AWS, change).await.unwrap();
    let (details, options) = (&shown["connection_details"], &shown["options"]);
    assert_eq!(options["custom_tags"], json!({ "b": "2", "c": "3" }));
    assert_eq!(details["replica_regions"], json!({ "eu-central-1": "", "us-west-2": "" }));
    assert_eq!(options.get("drift"), None);
    assert_eq!(options.get("allowed_ports"), None);
    assert_eq!(options["recovery_window_days"], 10);
    let template = "vault/{{ .MountAccessor }}/{{ .SecretPath }}";
    assert_eq!(options["secret_name_template"], template);
    let gone = json!({ "custom_tags": null, "replica_regions": null, "deletion": null });
    let shown = patch(&world, AWS, gone).await.unwrap();
    assert_eq!(shown["options"]["custom_tags"], json!({}));
    assert_eq!(shown["connection_details"].get("replica_regions"), None);
    assert_eq!(shown["options"].get("recovery_window_days"), None);
    // A full write replaces all, and ignores what is for patches.
    let again = keys(json!({ "custom_tags": { "a": "1" }, "tags_to_remove": ["a"] }));
    let shown = world.post(AWS, again).await.unwrap();
    assert_eq!(shown["options"]["custom_tags"], json!({ "a": "1" }));
}

#[tokio::test(start_paused = true)]
async fn credentials_do_not_travel_to_another_address() {
    let world = world().await;
    world.post(AWS, keys(json!({}))).await.unwrap();
    let role = "arn:aws:iam::123456789012:role/sync";
    for change in [
        json!({ "region": "us-east-1" }),
        json!({ "region": "us-east-1", "access_key_id": "*****", "secret_access_key": "*****" }),
        json!({ "region": "us-east-1", "access_key_id": "AKIA2" }),
        json!({ "role_arn": role }),
    ] {
        let error = patch(&world, AWS, change.clone()).await.unwrap_err();
        assert!(error.contains("changed: give"), "{change}: {error}");
        assert!(error.contains("secret_access_key again"), "{change}: {error}");
    }
    let masked = keys(json!({ "region": "us-east-1", "secret_access_key": "***" }));
    let error = world.post(AWS, masked).await.unwrap_err().to_string();
    assert!(error.starts_with("region changed: give secret_access_key again"), "{error}");
    let shown = patch(&world, AWS, keys(json!({ "region": "us-east-1" }))).await.unwrap();
    assert_eq!(shown["connection_details"]["region"], "us-east-1");
    // What is no address changes alone.
    patch(&world, AWS, json!({ "access_key_id": "AKIA2" })).await.unwrap();
    // Without stored credentials there is nothing to give again.
    let ambient = json!({
        "access_key_id": null, "secret_access_key": null, "role_arn": role,
        "identity_token_audience": "a",
    });
    patch(&world, AWS, ambient).await.unwrap();
    let error = patch(&world, AWS, json!({ "role_arn": format!("{role}2") })).await.unwrap_err();
    assert!(error.contains("role_arn changed: give identity_token_audience again"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn while_secrets_are_associated_the_address_is_fixed() {
    let world = world().await;
    world.post(AWS, keys(json!({}))).await.unwrap();
    let set = json!({ "mount": "kv", "secret_name": "app/db" });
    world.post(&format!("{AWS}/associations/set"), set.clone()).await.unwrap();
    let role = json!({ "role_arn": "arn:aws:iam::123456789012:role/sync" });
    for change in
        [keys(json!({ "region": "us-east-1" })), keys(role), keys(json!({ "region": "" }))]
    {
        let error = world.post(AWS, change).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidRequest);
        assert!(
            error.to_string().contains("cannot change while secrets are associated"),
            "{error}"
        );
    }
    world.post(AWS, keys(json!({ "access_key_id": "AKIA2" }))).await.unwrap();
    world.post(&format!("{AWS}/associations/remove"), set).await.unwrap();
    world.settle().await;
    world.post(AWS, keys(json!({ "region": "us-east-1" }))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_wrong_field_is_refused_by_name_and_nothing_changes() {
    let world = world().await;
    world.post(AWS, keys(json!({ "custom_tags": { "a": "1" } }))).await.unwrap();
    let before = stored(&world, "aws-sm").await;
    let long = |length: usize| "a".repeat(length);
    let many: Vec<String> = (0..300).map(|n| format!("10.{}.{}.0/24", n / 250, n % 250)).collect();
    let regions: Value = (0..65).map(|n| (format!("eu-west-{n}"), json!(""))).collect();
    let tags: Value = (0..49).map(|n| (n.to_string(), json!(""))).collect();
    for (input, reason) in [
        (
            json!({ "granularity": "secret" }),
            "granularity is not valid: want secret-path or secret-key",
        ),
        (json!({ "granularity": 7 }), "granularity is not valid"),
        (json!({ "granularity": ["secret-key"] }), "\"granularity\""),
        (json!({ "drift": "fix" }), "drift is not valid: want off, report or repair"),
        (json!({ "ownership": "mine" }), "ownership is not valid: want overwrite, adopt or refuse"),
        (json!({ "deletion": "soft" }), "deletion is not valid: want delete, schedule or retain"),
        (
            json!({ "recovery_window_days": 7 }),
            "recovery_window_days is for deletion=schedule alone",
        ),
        (
            json!({ "deletion": "schedule", "recovery_window_days": 6 }),
            "recovery_window_days is not valid: want 7 to 30 days",
        ),
        (json!({ "deletion": "schedule", "recovery_window_days": 31 }), "want 7 to 30 days"),
        (json!({ "deletion": "schedule", "recovery_window_days": "x" }), "recovery_window_days"),
        (json!({ "secret_name_template": long(4097) }), "longer than 4096 bytes"),
        (json!({ "secret_name_template": { "a": 1 } }), "\"secret_name_template\""),
        (
            json!({ "granularity": "secret-key", "secret_name_template": "{{ .SecretPath }}" }),
            "should contain reference to the secret key",
        ),
        (json!({ "custom_tags": { "k": long(256) } }), "longer than 255 characters"),
        (json!({ "custom_tags": tags }), "custom_tags has 49 tags"),
        (json!({ "custom_tags": { "bailee:owner": "x" } }), "the mark of secrets sync itself"),
        (json!({ "custom_tags": { "a": { "b": 1 } } }), "\"custom_tags\""),
        (json!({ "allowed_ipv4_addresses": many }), "allowed_ipv4_addresses has 300 entries"),
        (json!({ "allowed_ipv4_addresses": "fd00::/8" }), "invalid CIDR address"),
        (json!({ "allowed_ipv6_addresses": "10.0.0.0/8" }), "invalid CIDR address"),
        (json!({ "allowed_ports": [70000] }), "invalid port"),
        (json!({ "allowed_ports": true }), "\"allowed_ports\""),
        (json!({ "disable_strict_networking": "maybe" }), "\"disable_strict_networking\""),
        (json!({ "region": "eu west" }), "region is not valid"),
        (json!({ "region": " eu-west-1" }), "region begins or ends with white space"),
        (json!({ "region": { "a": 1 } }), "region is not valid: want a text"),
        (json!({ "access_key_id": long(4097) }), "access_key_id is longer than 4096 bytes"),
        (json!({ "access_key_id": "AK IA" }), "access_key_id is not valid"),
        (json!({ "access_key_id": "" }), "access_key_id is missing"),
        (json!({ "secret_access_key": "canary-x\n" }), "secret_access_key contains a line break"),
        (json!({ "secret_access_key": ["canary-x"] }), "secret_access_key is not valid"),
        (json!({ "external_id": "x1" }), "external_id without role_arn"),
        (json!({ "identity_token_audience": "a" }), "exclude each other"),
        (json!({ "identity_token_key": "k" }), "identity_token_key without"),
        (json!({ "identity_token_ttl": "soon" }), "identity_token_ttl is not valid"),
        (json!({ "identity_token_ttl": 59 }), "identity_token_ttl is not valid: want 60"),
        (
            json!({ "kms_key_id": "arn:aws:kms:us-east-1:123456789012:key/1" }),
            "kms_key_id is a key in",
        ),
        (
            json!({ "replica_regions": { "eu-west-1": "" } }),
            "replica_regions: eu-west-1 is the region",
        ),
        (json!({ "replica_regions": { "Narnia": "" } }), "replica_regions"),
        (json!({ "replica_regions": "eu-west-2" }), "replica_regions is not valid: want a map"),
        (json!({ "replica_regions": regions }), "replica_regions is not valid: want at most 64"),
        (json!({ "project_id": "p" }), "project_id is not a field of aws-sm"),
        (json!({ "installation_id": 7 }), "installation_id is not a field of aws-sm"),
        (
            json!({ "deployment_environments": ["production"] }),
            "deployment_environments is not a field",
        ),
    ] {
        for operation in [Operation::Update, Operation::Patch] {
            let error = world.call(operation, AWS, keys(input.clone())).await.unwrap_err();
            assert_eq!(error.code, Code::InvalidRequest, "{reason}");
            let text = error.to_string();
            assert!(text.contains(reason), "{operation:?} {input}: {text} does not say {reason}");
            assert!(!text.contains("canary"), "{text}");
            assert_eq!(stored(&world, "aws-sm").await, before, "{reason}");
        }
    }
    let tags: Vec<String> = (0..257).map(|n| n.to_string()).collect();
    let error = patch(&world, AWS, json!({ "tags_to_remove": tags })).await.unwrap_err();
    assert!(error.contains("tags_to_remove has 257 entries"), "{error}");
    let error = world.post(MEM, json!({ "region": "eu-west-1" })).await.unwrap_err().to_string();
    assert!(error.contains("region is not a field of in-mem"), "{error}");
    // What says nothing is no contradiction: clients send all fields they know.
    let empty = json!({ "project_id": "", "installation_id": 0, "team_id": null });
    world.post(AWS, keys(empty)).await.unwrap();
    for kind in ["azure-kv", "gcp-sm", "gh", "vercel-project"] {
        let path = format!("sync/destinations/{kind}/d1");
        let error = world.post(&path, json!({ "project_id": "p" })).await.unwrap_err();
        assert_eq!(error.code, Code::NotFound, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_says_what_is_wrong_and_is_no_failure() {
    let world = world().await;
    let good = world.get(&format!("{MEM}/check")).await.unwrap();
    assert_eq!(good, json!({ "ok": true, "identity": {}, "notes": [], "error": null }));
    world.post(AWS, keys(json!({}))).await.unwrap();
    let bad = world.post(&format!("{AWS}/check"), json!({})).await.unwrap();
    assert_eq!(bad["ok"], false);
    assert_eq!(bad["error"]["class"], "refused");
    assert!(bad["error"]["message"].as_str().unwrap().contains("port: 9 "), "{bad}");
    assert!(bad["error"]["next_action"].as_str().unwrap().contains("network rules"), "{bad}");
    let absent = world.get("sync/destinations/in-mem/nope/check").await;
    assert_eq!(absent.unwrap_err().code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_paused_destination_rests_until_it_is_resumed() {
    let world = world().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    let shown = world.post(&format!("{MEM}/pause"), json!({})).await.unwrap();
    assert_eq!(shown["paused"], true);
    let set = json!({ "mount": "kv", "secret_name": "app/db" });
    let path = format!("{MEM}/associations/set");
    let reply = world.reply(Operation::Update, &path, set.clone()).await.unwrap();
    assert!(reply.warnings.iter().any(|text| text.contains("in-mem/d1 is paused")));
    assert_eq!(world.entry("app/db").await["sync_status"], "PENDING");
    // No write but this one ends it.
    let shown = world.post(MEM, json!({})).await.unwrap();
    assert_eq!(shown["paused"], true);
    let now = world.reply(Operation::Update, &format!("{MEM}/sync"), json!({})).await.unwrap();
    assert!(now.warnings.iter().any(|text| text.contains("is paused")));
    assert_eq!(world.cloud.attempts(), 0);
    let shown = world.post(&format!("{MEM}/resume"), json!({})).await.unwrap();
    assert_eq!(shown.get("paused"), None);
    world.settle().await;
    assert_eq!(world.entry("app/db").await["sync_status"], "SYNCED");
}

#[tokio::test(start_paused = true)]
async fn sync_now_looks_at_the_destination_and_repairs_if_told_to() {
    let world = world().await;
    world.post(MEM, json!({ "drift": "report" })).await.unwrap();
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.cloud.lose(super::world::NAME);
    let sync = format!("{MEM}/sync");
    let one = json!({ "mount": "kv", "secret_name": "app/db" });
    let told = world.post(&sync, one).await.unwrap();
    let entry = &told["associated_secrets"]["kv_1234/app/db"];
    assert_eq!(entry["drift"]["kind"], "missing", "{told}");
    assert_eq!(world.cloud.text(super::world::NAME), None);
    let told = world.post(&sync, json!({ "repair": true })).await.unwrap();
    assert_eq!(told, json!({ "associations": 1 }));
    world.settle().await;
    assert!(world.cloud.text(super::world::NAME).is_some());
    let error = world.post(&sync, json!({ "mount": "kv" })).await.unwrap_err().to_string();
    assert!(error.contains("secret_name is missing"), "{error}");
    let absent = json!({ "mount": "kv", "secret_name": "nope" });
    assert_eq!(world.post(&sync, absent).await.unwrap_err().code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_forced_deletion_tells_what_it_left_behind_until_somebody_took_note() {
    let world = world().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    let refusal = || Fault::Refuse(SyncError::forbidden("x:Delete", "may not delete"));
    world.cloud.fail(std::iter::repeat_with(refusal).take(20));
    let purge = |input| world.reply(Operation::Delete, MEM, input);
    purge(json!({ "purge": true })).await.unwrap();
    world.settle().await;
    let shown = world.get(MEM).await.unwrap();
    assert!(shown["purge_initiated_at"].is_string(), "{shown}");
    assert_eq!(shown["purge_error"], "may not delete");
    // A purge that failed blocks nothing any more.
    world.set("app/db").await.unwrap();
    let reply = purge(json!({ "force_delete": true })).await.unwrap();
    assert!(reply.warnings.iter().any(|text| text.contains("sys/sync/orphans/in-mem/d1")));
    world.settle().await;
    assert_eq!(world.get(MEM).await.unwrap_err().code, Code::NotFound);
    let listed = world.call(Operation::List, "sync/orphans", json!({})).await.unwrap();
    assert_eq!(listed["keys"], json!(["in-mem/d1"]));
    assert_eq!(listed["total_orphans"], 1);
    let one = world.get("sync/orphans/in-mem/d1").await.unwrap();
    let orphan = &one["orphans"][0];
    assert_eq!(orphan["external_name"], super::world::NAME);
    assert_eq!(orphan["secret_name"], "app/db");
    assert_eq!(orphan["error"]["class"], "forbidden");
    assert!(world.cloud.text(super::world::NAME).is_some());
    world.call(Operation::Delete, "sync/orphans/in-mem/d1", json!({})).await.unwrap();
    let gone = world.get("sync/orphans").await;
    assert_eq!(gone.unwrap_err().code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_refused_while_secrets_are_associated_or_nothing_goes_out() {
    let world = world().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    let delete = |input| world.call(Operation::Delete, MEM, input);
    let error = delete(json!({})).await.unwrap_err().to_string();
    assert!(error.contains("has associated secrets"), "{error}");
    world.post("sync/config", json!({ "disabled": true })).await.unwrap();
    let error = delete(json!({ "purge": true })).await.unwrap_err().to_string();
    assert!(error.contains("secrets sync is disabled"), "{error}");
    world.post("sync/config", json!({ "disabled": false })).await.unwrap();
    world.cloud.set_latency(std::time::Duration::from_secs(30));
    delete(json!({ "purge": true })).await.unwrap();
    for path in [format!("{MEM}/associations/set"), format!("{MEM}/associations/remove")] {
        let input = json!({ "mount": "kv", "secret_name": "app/db" });
        let error = world.post(&path, input).await.unwrap_err().to_string();
        assert!(error.contains("purge in progress"), "{error}");
    }
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(world.get(MEM).await.unwrap_err().code, Code::NotFound);
    assert!(world.cloud.names().is_empty());
}
