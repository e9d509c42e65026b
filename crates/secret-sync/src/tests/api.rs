//! The paths: shapes, masks, refusals.

use super::world::World;
use bailee_sdk::{Code, Operation};
use serde_json::{Value, json};
use std::time::Duration;

const KEYS: &str =
    r#"{"access_key_id":"AKIA1","secret_access_key":"canary-secret","region":"eu-west-1"}"#;

fn keys(more: Value) -> Value {
    let mut keys: Value = serde_json::from_str(KEYS).unwrap();
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

async fn refusal(world: &World, path: &str, input: Value) -> (Code, String) {
    let error = world.post(path, input).await.unwrap_err();
    (error.code, error.to_string())
}

#[tokio::test(start_paused = true)]
async fn nothing_is_served_before_activation() {
    let world = World::with(
        super::world::barrier(std::sync::Arc::new(bailee_storage::memory::Memory::default()))
            .await
            .unwrap(),
        std::sync::Arc::default(),
        crate::Settings::default(),
        std::sync::Arc::new(bailee_sdk::testing::TestClock::default()),
    );
    let flags = world.get("activation-flags").await.unwrap();
    assert_eq!(flags, json!({ "activated": [], "unactivated": ["secrets-sync"] }));
    let (code, message) = refusal(&world, "sync/destinations/in-mem/d1", json!({})).await;
    assert_eq!(code, Code::InvalidRequest);
    assert!(message.contains("not activated"));
    let listed = world.call(Operation::List, "sync/destinations", json!({})).await;
    assert_eq!(listed.unwrap_err().code, Code::InvalidRequest);
    let activated = json!({ "activated": ["secrets-sync"], "unactivated": [] });
    let path = "activation-flags/secrets-sync/activate";
    assert_eq!(world.post(path, json!({})).await.unwrap(), activated);
    assert_eq!(world.post(path, json!({})).await.unwrap(), activated);
    assert_eq!(world.get("activation-flags").await.unwrap(), activated);
    world.post("sync/destinations/in-mem/d1", json!({})).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn destinations_are_shown_with_masked_secrets() {
    let world = World::new().await;
    let path = "sync/destinations/aws-sm/d1";
    let made = world.post(path, keys(json!({}))).await.unwrap();
    let shown = json!({
        "connection_details": {
            "access_key_id": "*****", "secret_access_key": "*****", "region": "eu-west-1",
        },
        "name": "d1",
        "options": {
            "custom_tags": {},
            "granularity_level": "secret-path",
            "secret_name_template": "vault/{{ .MountAccessor }}/{{ .SecretPath }}",
        },
        "type": "aws-sm",
    });
    assert_eq!(made, shown);
    assert_eq!(world.get(path).await.unwrap(), shown);
    let list = world.call(Operation::List, "sync/destinations", json!({})).await.unwrap();
    assert_eq!(
        list,
        json!({
            "key_info": { "aws-sm/": ["d1"], "in-mem/": ["d1"] },
            "keys": ["aws-sm/", "in-mem/"],
            "total_destinations": 2,
        })
    );
    let list = world.call(Operation::List, "sync/destinations/aws-sm", json!({})).await.unwrap();
    assert_eq!(list, json!({ "keys": ["d1"], "total_destinations": 1 }));
}

#[tokio::test(start_paused = true)]
async fn masked_secrets_in_a_write_stay_as_they_are() {
    let world = World::new().await;
    let path = "sync/destinations/aws-sm/d1";
    let masked = keys(json!({ "secret_access_key": "*****" }));
    let (code, message) = refusal(&world, path, masked.clone()).await;
    assert_eq!(code, Code::InvalidRequest);
    assert!(message.contains("secret_access_key is masked"));
    world.post(path, keys(json!({}))).await.unwrap();
    world.post(path, masked).await.unwrap();
    let store = crate::store::Store::open(&world.barrier, &world.namespace);
    let (stored, _) = store.destination("aws-sm", "d1").await.unwrap().unwrap();
    assert_eq!(stored.details.text("secret_access_key").as_deref(), Some("canary-secret"));
    assert!(!format!("{stored:?}").contains("canary"));
}

#[tokio::test(start_paused = true)]
async fn a_partial_change_keeps_the_rest() {
    let world = World::new().await;
    let path = "sync/destinations/aws-sm/d1";
    let patch = |input| world.call(Operation::Patch, path, input);
    assert_eq!(patch(json!({})).await.unwrap_err().code, Code::NotFound);
    let tags = json!({ "custom_tags": { "a": "1", "b": "2" }, "allowed_ports": "443,8443" });
    world.post(path, keys(tags)).await.unwrap();
    let changed = json!({ "tags_to_remove": ["a"], "custom_tags": { "c": "3" } });
    let shown = patch(changed).await.unwrap();
    assert_eq!(shown["options"]["custom_tags"], json!({ "b": "2", "c": "3" }));
    assert_eq!(shown["options"]["allowed_ports"], json!([443, 8443]));
    assert_eq!(shown["connection_details"]["access_key_id"], "*****");
    // A full write replaces.
    let shown = world.post(path, keys(json!({}))).await.unwrap();
    assert_eq!(shown["options"]["custom_tags"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn wrong_destinations_are_refused_by_field_and_change_nothing() {
    let world = World::new().await;
    for (name, input, reason) in [
        ("d2", keys(json!({ "secret_name_template": "{{ .Nope }}" })), "template"),
        ("d2", keys(json!({ "secret_name_template": "{{ .SecretKey }}" })), "template"),
        ("d2", keys(json!({ "custom_tags": { "aws:x": "1" } })), "custom_tags"),
        ("d2", keys(json!({ "custom_tags": 7 })), "custom_tags"),
        ("d2", keys(json!({ "allowed_ipv4_addresses": ["10.0.0.0/33"] })), "invalid CIDR address"),
        ("d2", keys(json!({ "allowed_ports": ["0"] })), "invalid port"),
        ("d2", keys(json!({ "kms_key_id": "arn:aws:kms:x" })), "kms_key_id"),
        ("d2", keys(json!({ "identity_token_audience": "a" })), "identity_token_audience"),
        ("d2", keys(json!({ "role_arn": "admin" })), "role_arn"),
        ("d2", keys(json!({ "region": "" })), "region"),
        ("d2", keys(json!({ "region": "evil.example/?" })), "region"),
        ("d2", json!({ "region": "eu-west-1" }), "ambient_credentials = true"),
        ("d2", json!({ "region": "eu-west-1", "access_key_id": "A" }), "set together"),
        ("d 2", keys(json!({})), "name of the destination"),
        ("..", keys(json!({})), "name of the destination"),
    ] {
        let (code, message) =
            refusal(&world, &format!("sync/destinations/aws-sm/{name}"), input).await;
        assert_eq!(code, Code::InvalidRequest, "{reason}");
        assert!(message.contains(reason), "{message} does not name {reason}");
        assert!(!message.contains("canary"), "{message}");
    }
    let (code, message) = refusal(&world, "sync/destinations/nope/d2", json!({})).await;
    assert_eq!(code, Code::NotFound);
    assert!(message.contains("unsupported path"));
    let listed = world.call(Operation::List, "sync/destinations/aws-sm", json!({})).await;
    assert_eq!(listed.unwrap_err().code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_a_warning() {
    let world = World::new().await;
    let reply = world
        .reply(Operation::Update, "sync/destinations/in-mem/d1", json!({ "colour": "blue" }))
        .await
        .unwrap();
    assert_eq!(reply.warnings, ["Endpoint ignored these unrecognized parameters: [colour]"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_read_a_secret_cannot_associate_it() {
    let world = World::new().await;
    *world.readable.lock() = Some("kv/data/app/web".to_owned());
    let set = "sync/destinations/in-mem/d1/associations/set";
    let input = json!({ "mount": "kv", "secret_name": "app/db" });
    let (code, message) = refusal(&world, set, input).await;
    assert_eq!(code, Code::PermissionDenied);
    let text = "permission denied to read the content of the secret app/db in mount kv";
    assert_eq!(message, text);
    world.set("app/web").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn wrong_associations_are_refused() {
    let world = World::new().await;
    let set = "sync/destinations/in-mem/d1/associations/set";
    for (mount, name, reason) in [
        ("nope", "a", "no secrets engine"),
        ("old", "a", "not a KV version 2"),
        ("kv", "a/", "Please provide full path"),
        ("kv", "", "Please provide full path"),
        ("kv", "a/../b", "secret_name is invalid"),
        ("kv", "a//b", "secret_name is invalid"),
    ] {
        let (code, message) =
            refusal(&world, set, json!({ "mount": mount, "secret_name": name })).await;
        assert_eq!(code, Code::InvalidRequest, "{reason}");
        assert!(message.contains(reason), "{message}");
    }
    let (code, message) = refusal(&world, set, json!({ "mount": "kv" })).await;
    assert_eq!((code, message.as_str()), (Code::InvalidRequest, "missing secret_name"));
    let absent = "sync/destinations/in-mem/d9/associations/set";
    let input = json!({ "mount": "kv", "secret_name": "a" });
    assert_eq!(refusal(&world, absent, input).await.0, Code::NotFound);
    let listed = world.call(Operation::List, "sync/associations", json!({})).await;
    assert_eq!(listed.unwrap_err().code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_taken_name_is_refused_with_its_holder_until_it_is_free() {
    let world = World::new().await;
    for secret in ["app/a b", "app/a*b"] {
        world.write(secret, json!({ "of": secret })).await.unwrap();
    }
    world.set("app/a b").await.unwrap();
    let entry = world.set("app/a*b").await.unwrap();
    assert_eq!(entry["sync_status"], "CLIENT_SIDE_ERROR");
    assert_eq!(entry["error"]["class"], "name_taken");
    let message = entry["error"]["message"].as_str().unwrap();
    assert!(message.contains("secret kv/app/a b has the name"), "{message}");
    let held = world.cloud.text("vault/kv_1234/app/a-b");
    assert_eq!(held.unwrap(), r#"{"of":"app/a b"}"#, "the holder's value stays");
    world.remove("app/a b").await.unwrap();
    world.settle().await;
    assert_eq!(world.entry("app/a*b").await["sync_status"], "SYNCED");
    assert_eq!(world.cloud.text("vault/kv_1234/app/a-b").unwrap(), r#"{"of":"app/a*b"}"#);
}

#[tokio::test(start_paused = true)]
async fn associations_are_visible_at_once_from_every_side() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.cloud.set_latency(Duration::from_secs(60));
    let entry = world.set("app/db").await.unwrap();
    assert_eq!(entry["sync_status"], "PENDING", "the wait is bounded");
    world.set("web").await.unwrap();
    let all = world.call(Operation::List, "sync/associations", json!({})).await.unwrap();
    assert_eq!(
        all,
        json!({
            "key_info": {
                "kv/app/db": [{ "mount": "kv/", "secret_path": "app/db" }],
                "kv/web": [{ "mount": "kv/", "secret_path": "web" }],
            },
            "keys": ["kv/app/db", "kv/web"],
            "total_associations": 2,
            "total_secrets": 2,
        })
    );
    let input = json!({ "mount": "kv", "secret_name": "app/db" });
    let of_secret =
        world.call(Operation::Read, "sync/associations/destinations", input).await.unwrap();
    let shown = &of_secret["associated_destinations"]["in-mem/d1"];
    assert_eq!(shown["sync_status"], "PENDING");
    assert_eq!(shown["type"], "in-mem");
    let of_secret = world.get("sync/associations/kv/web").await.unwrap();
    assert!(of_secret["associated_destinations"]["in-mem/d1"]["updated_at"].is_string());
    assert_eq!(world.get("sync/associations/kv/nope").await.unwrap_err().code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn set_counts_statuses_and_warns_of_a_secret_without_value() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    let input = json!({ "mount": "kv/", "secret_name": "empty" });
    let path = "sync/destinations/in-mem/d1/associations/set";
    let reply = world.reply(Operation::Update, path, input).await.unwrap();
    assert!(reply.warnings.iter().any(|warning| warning.contains("no live version")));
    let bailee_sdk::Body::Data(data) = reply.body else { panic!("no data") };
    let data: Value = serde_json::from_slice(data.bytes()).unwrap();
    assert_eq!(data["sync_operation_counters"], json!({ "SYNCED": 1, "UNSYNCED": 1 }));
    assert_eq!(data["store_name"], "d1");
    assert_eq!(data["store_type"], "in-mem");
}

#[tokio::test(start_paused = true)]
async fn names_that_users_chose_are_in_no_key() {
    use bailee_storage::Backend;
    use futures_util::StreamExt;
    let disk = std::sync::Arc::new(bailee_storage::memory::Memory::default());
    let clock = std::sync::Arc::new(bailee_sdk::testing::TestClock::default());
    let world = World::on(disk.clone(), std::sync::Arc::default(), clock).await;
    world.ready().await;
    world.write("canary-path/db", json!({ "v": 1 })).await.unwrap();
    world.post("sync/destinations/in-mem/canary-d", json!({})).await.unwrap();
    world.set("canary-path/db").await.unwrap();
    world.cloud.set_latency(Duration::from_secs(60));
    world.write("canary-path/db", json!({ "v": 2 })).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let entries: Vec<_> = disk.scan("n/root/", "").collect().await;
    let mut dirty = false;
    for entry in entries {
        let (key, entry) = entry.unwrap();
        dirty |= key.contains("/dirty/");
        // The KV store of these tests does not hide its names; sync does.
        assert!(key.contains("/mount/") || !key.contains("canary"), "{key}");
        assert!(!String::from_utf8_lossy(&entry.bytes).contains("canary"), "{key}");
    }
    assert!(dirty);
}
