//! The paths of sources: what is stored and shown, what is refused, and who may.

use super::{
    sources::{PATH, fields, world},
    world::World,
};
use bailee_sdk::{Code, Operation};
use serde_json::{Value, json};

#[tokio::test(start_paused = true)]
async fn a_source_is_shown_masked_changed_in_part_and_deleted() {
    let (world, _) = world().await;
    let made =
        world.post(PATH, fields(json!({ "schedule": "1h", "paused": "true" }))).await.unwrap();
    let shown = json!({
        "name": "x",
        "type": "vault",
        "address": "https://vault.example",
        "token": "*****",
        "mounts": ["kv"],
        "destination": "in-mem/d1",
        "prefix": "p",
        "compare": "version",
        "ownership": "refuse",
        "drift": "repair",
        "deletion": "keep",
        "deletion_share_max": 0.25,
        "schedule": "1h",
        "paused": true,
    });
    assert_eq!(made, shown);
    assert_eq!(world.get(PATH).await.unwrap(), shown);
    for operation in [Operation::List, Operation::Read] {
        let listed = world.call(operation, "sync/sources", json!({})).await.unwrap();
        assert_eq!((&listed["keys"], &listed["total_sources"]), (&json!(["x"]), &json!(1)));
        assert_eq!(listed["key_info"]["x"]["destination"], "in-mem/d1");
    }
    let patch = |input| world.call(Operation::Patch, PATH, input);
    let changed = patch(json!({
        "folders": "shared:web,shared:/db/", "mounts": [], "names": "q/{{ .MountPath }}/{{ .SecretPath }}",
        "deletion": "schedule", "recovery_window_days": 7, "deletion_share_max": "10%",
        "mount_versions": { "shared": 1 }, "schedule": null, "allowed_ports": "8200",
        "custom_tags": { "team": "blue" },
    }));
    let changed = changed.await.unwrap();
    for (field, value) in [
        ("folders", json!(["shared:web/", "shared:db/"])),
        ("names", json!("q/{{ .MountPath }}/{{ .SecretPath }}")),
        ("deletion", json!("schedule")),
        ("recovery_window_days", json!(7)),
        ("deletion_share_max", json!(0.1)),
        ("mount_versions", json!({ "shared": "1" })),
        ("allowed_ports", json!(["8200"])),
        ("custom_tags", json!({ "team": "blue" })),
        ("token", json!("*****")),
        ("prefix", Value::Null),
        ("schedule", Value::Null),
        ("mounts", Value::Null),
        ("paused", json!(true)),
    ] {
        assert_eq!(changed[field], value, "{field}: {changed}");
    }
    // Written anew with masks, the secret stays and the rest goes.
    let again = world.post(PATH, fields(json!({ "token": "*****" }))).await.unwrap();
    assert_eq!((&again["custom_tags"], &again["paused"]), (&Value::Null, &json!(true)));
    let store = crate::store::Store::open(&world.barrier, &world.namespace);
    let stored = store.source("x").await.unwrap().unwrap();
    assert_eq!(stored.details.text("token").as_deref(), Some("canary-token"));
    assert!(!format!("{stored:?}").contains("canary"));

    let refused = world.call(Operation::Delete, "sync/destinations/in-mem/d1", json!({})).await;
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("these sources deliver to: x;"), "{told}");
    world.call(Operation::Delete, PATH, json!({})).await.unwrap();
    world.call(Operation::Delete, PATH, json!({})).await.unwrap();
    assert_eq!(world.get(PATH).await.unwrap_err().code, Code::NotFound);
    let listed = world.call(Operation::List, "sync/sources", json!({})).await;
    assert_eq!(listed.unwrap_err().code, Code::NotFound);
    world.call(Operation::Delete, "sync/destinations/in-mem/d1", json!({})).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn wrong_sources_are_refused_by_field_and_change_nothing() {
    let world = World::new().await;
    let pem = "no certificate";
    for (input, reason) in [
        (json!({ "type": "paper" }), "type is not valid"),
        (json!({ "type": null }), "type is missing"),
        (json!({ "address": "" }), "address is missing"),
        (json!({ "address": "vault.example" }), "address is not valid"),
        (json!({ "address": "https://u:canary@vault.example" }), "user or password"),
        (json!({ "ca_cert": pem }), "ca_cert: no certificate found"),
        (json!({ "ca_cert": "/etc/ssl/certs/ca-certificates.crt" }), "ca_cert: no certificate"),
        (json!({ "tls_server_name": "127.0.0.1" }), "tls_server_name: want a DNS name"),
        (json!({ "tls_server_name": "a b" }), "tls_server_name: want a DNS name"),
        (json!({ "token": "" }), "auth is missing"),
        (json!({ "token": "a\nb" }), "token contains a line break"),
        (json!({ "token": "x".repeat(20_000) }), "token is longer than"),
        (json!({ "token": "*****" }), "token is masked"),
        (json!({ "role_id": "r" }), "auth: give one of"),
        (json!({ "auth": "approle" }), "auth: what is given is for another auth"),
        (json!({ "auth": "magic" }), "auth: want token, approle"),
        (json!({ "token": "", "secret_id": "s" }), "role_id is missing"),
        (json!({ "token": "", "auth": "aws" }), "ambient_credentials"),
        (json!({ "region": "eu-west-1" }), "region is not a field of type vault"),
        (json!({ "mounts": "" }), "mounts is missing"),
        (json!({ "mounts": "/" }), "mounts: want paths"),
        (json!({ "folders": "shared" }), "folders: want a mount, a colon"),
        (json!({ "folders": "kv:a" }), "folders: kv is in mounts"),
        (json!({ "mount_versions": { "kv": "3" } }), "mount_versions: want 1 or 2"),
        (json!({ "mount_versions": { "other": "1" } }), "mount_versions: want 1 or 2"),
        (json!({ "destination": "" }), "destination is missing"),
        (json!({ "destination": "in-mem" }), "destination is missing"),
        (json!({ "destination": "ftp/d1" }), "destination: there is no type \"ftp\""),
        (json!({ "destination": "in-mem/d9" }), "destination: in-mem/d9 does not exist"),
        (json!({ "prefix": "" }), "prefix is missing"),
        (json!({ "prefix": "{{ x" }), "prefix: want how all names begin"),
        (json!({ "names": "n" }), "prefix and names exclude each other"),
        (json!({ "prefix": null, "names": "{{ .Nope }}" }), "template"),
        (json!({ "prefix": null, "names": "{{ .MountAccessor }}" }), "names: MountAccessor"),
        (json!({ "compare": "size" }), "compare: want version"),
        (json!({ "ownership": "steal" }), "ownership: want refuse"),
        (json!({ "drift": "off" }), "drift: want repair"),
        (json!({ "deletion": "shred" }), "deletion: want keep"),
        (json!({ "recovery_window_days": 7 }), "recovery_window_days: goes with"),
        (
            json!({ "deletion": "schedule", "recovery_window_days": 31 }),
            "recovery_window_days: want",
        ),
        (json!({ "deletion_share_max": 1.5 }), "deletion_share_max: want a share"),
        (json!({ "deletion_share_max": [1] }), "deletion_share_max: want a share"),
        (json!({ "custom_tags": { "bailee:owner": "me" } }), "custom_tags"),
        (json!({ "schedule": "rate(30 fortnights)" }), "schedule: "),
        (json!({ "schedule": "30s" }), "schedule: want a minute or more"),
        (json!({ "allowed_ports": "0" }), "invalid port"),
        (json!({ "allowed_ipv4_addresses": "10.0.0.0/33" }), "invalid CIDR address"),
    ] {
        let error = world.post(PATH, fields(input)).await.unwrap_err();
        let told = error.to_string();
        assert_eq!(error.code, Code::InvalidRequest, "{told}");
        assert!(told.contains(reason), "{told} does not name {reason}");
        assert!(!told.contains("canary"), "{told}");
    }
    for name in ["a b", ".x", &"n".repeat(129)] {
        let told =
            world.post(&format!("sync/sources/{name}"), fields(json!({}))).await.unwrap_err();
        assert!(told.to_string().contains("name of the source"), "{told}");
    }
    let aws = json!({
        "type": "aws-sm", "region": "eu-west-1", "access_key_id": "A", "secret_access_key": "S",
        "destination": "in-mem/d1", "prefix": "p",
    });
    for (field, value, reason) in [
        ("region", json!("evil.example/?"), "region"),
        ("secret_access_key", json!(""), "set together"),
        ("mounts", json!("kv"), "mounts, folders and mount_versions are not fields"),
        ("address", json!("https://x.example"), "address is not a field of type aws-sm"),
    ] {
        let mut input = aws.clone();
        input[field] = value;
        let told = world.post(PATH, input).await.unwrap_err().to_string();
        assert!(told.contains(reason), "{told} does not name {reason}");
    }
    let listed = world.call(Operation::List, "sync/sources", json!({})).await;
    assert_eq!(listed.unwrap_err().code, Code::NotFound);
    world.post(PATH, aws).await.unwrap();
    let partly = world.call(Operation::Patch, "sync/sources/none", json!({})).await;
    assert_eq!(partly.unwrap_err().code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn credentials_do_not_travel_to_another_server() {
    let world = World::new().await;
    world.post(PATH, fields(json!({}))).await.unwrap();
    let patch = |input| world.call(Operation::Patch, PATH, input);
    for (field, value) in [("address", "https://evil.example"), ("tls_server_name", "evil.example")]
    {
        let told = patch(json!({ field: value })).await.unwrap_err().to_string();
        assert!(told.contains(&format!("{field} changed: give token again")), "{told}");
        let masked = fields(json!({ field: value, "token": "*****" }));
        let told = world.post(PATH, masked).await.unwrap_err().to_string();
        assert!(told.contains("give token again"), "{told}");
        patch(json!({ field: value, "token": "another" })).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_deliver_to_a_destination_has_no_source_deliver_there() {
    let (world, source) = world().await;
    source.write("a", "1");
    let of_destination = "sys/sync/destinations/in-mem/d1/associations/set";
    *world.readable.lock() = Some("kv/data/a".to_owned());
    let told = world.post(PATH, fields(json!({}))).await.unwrap_err();
    assert_eq!(told.code, Code::PermissionDenied);
    assert!(told.to_string().contains(of_destination), "{told}");
    *world.readable.lock() = Some(of_destination.to_owned());
    world.post(PATH, fields(json!({ "paused": true }))).await.unwrap();
    // To let it rest takes no more than the source itself; to have it write other names does.
    *world.readable.lock() = Some("kv/data/a".to_owned());
    let patch = |input| world.call(Operation::Patch, PATH, input);
    patch(json!({ "paused": false })).await.unwrap();
    patch(json!({ "paused": true })).await.unwrap();
    let told = patch(json!({ "prefix": "q", "ownership": "overwrite" })).await.unwrap_err();
    assert_eq!(told.code, Code::PermissionDenied);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_has_so_many_sources_and_no_more() {
    let world = World::new().await;
    for at in 0..crate::pulling::stored::SOURCES_MAX {
        let paused = fields(json!({ "paused": true }));
        world.post(&format!("sync/sources/s{at}"), paused).await.unwrap();
    }
    let told = world.post(PATH, fields(json!({}))).await.unwrap_err().to_string();
    assert!(told.contains("64 sources"), "{told}");
    world.post("sync/sources/s1", fields(json!({ "paused": true }))).await.unwrap();
}
