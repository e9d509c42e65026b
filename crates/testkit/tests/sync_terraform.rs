//! The calls that the stock Terraform provider makes for its resources of secrets sync, in its order:
//! what it reads back equals what it wrote, so that a second plan finds nothing to change.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Answer, Api, Options, TestServer};
use serde_json::{Map, Value, json};

/// Fields that the provider keeps from its configuration, since they are shown masked.
const MASKED: &[&str] =
    &["access_key_id", "secret_access_key", "identity_token_audience", "identity_token_key"];

async fn world() -> (FakeAws, TestServer) {
    let aws = FakeAws::start().await;
    let server = TestServer::start_with(Options::delivering_to(&aws)).await;
    (aws, server)
}

/// A field where the provider looks for it: in one map, then in the other.
fn read_back(answer: &Answer, field: &str) -> Value {
    let field = if field == "granularity" { "granularity_level" } else { field };
    let found = answer.at(&format!("/data/connection_details/{field}"));
    if found.is_null() { answer.at(&format!("/data/options/{field}")) } else { found }
}

/// What a plan would change: fields whose read-back is not what was written.
fn differences(answer: &Answer, written: &Value) -> Map<String, Value> {
    let fields = written.as_object().unwrap().iter();
    let differ = fields.filter(|(name, value)| {
        let read = read_back(answer, name);
        if MASKED.contains(&name.as_str()) { read != "*****" } else { read != **value }
    });
    differ.map(|(name, _)| (name.clone(), read_back(answer, name))).collect()
}

/// Create or update, then the read that follows each.
async fn apply(api: &Api, path: &str, fields: &Value) {
    api.put(path, fields.clone()).await.done();
    for _ in 0..2 {
        let read = api.get(path).await.ok();
        assert_eq!(differences(&read, fields), Map::new(), "{read:?}");
        assert_eq!(read.at("/data/name"), path.rsplit('/').next().unwrap());
        assert_eq!(read.at("/data/type"), "aws-sm");
    }
}

async fn activate(api: &Api) {
    let features = |answer: &Answer, list: &str| {
        let all = answer.at(&format!("/data/{list}"));
        all.as_array().unwrap().iter().any(|feature| feature == "secrets-sync")
    };
    let before = api.get("sys/activation-flags").await.ok();
    assert!(features(&before, "unactivated") && !features(&before, "activated"));
    api.put("sys/activation-flags/secrets-sync/activate", json!({})).await.done();
    let after = api.get("sys/activation-flags").await.ok();
    assert!(features(&after, "activated") && !features(&after, "unactivated"));
}

/// All fields that the provider has for this destination, with keys.
fn with_keys() -> Value {
    json!({
        "access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "secret_access_key": "canary-secret",
        "region": "us-east-1",
        "role_arn": "arn:aws:iam::123456789012:role/sync",
        "external_id": "unique-id",
        "secret_name_template": "tf_{{ .MountPath }}_{{ .SecretPath }}",
        "granularity": "secret-path",
        "custom_tags": { "foo": "bar", "team": "core" },
        "disable_strict_networking": true,
        "allowed_ipv4_addresses": ["192.168.1.1/24", "10.0.0.0/8"],
        "allowed_ipv6_addresses": ["2001:db8:1234::/48"],
        "allowed_ports": [443, 8443],
        "kms_key_id": "arn:aws:kms:us-east-1:123456789012:key/1234abcd",
        "replica_regions": {
            "us-east-2": "arn:aws:kms:us-east-2:123456789012:key/5678efgh", "us-west-2": "",
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_plan_of_a_destination_finds_nothing_to_change() {
    let (aws, server) = world().await;
    let api = server.api();
    // The provider sends fields by the server's version, and fails on what is not one.
    let version = api.anonymous().get("sys/seal-status").await.ok().text("/version");
    let numbers: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(numbers.len() == 3 && numbers >= vec![2, 2, 0], "{version}");
    activate(api).await;
    let path = "sys/sync/destinations/aws-sm/tf";
    apply(api, path, &with_keys()).await;
    let mut changed = with_keys();
    changed["custom_tags"] = json!({ "foo": "baz" });
    changed["secret_name_template"] = json!("tf2/{{ .SecretPath }}/{{ .SecretKey | lowercase }}");
    changed["granularity"] = json!("secret-key");
    changed["replica_regions"] = json!({ "us-west-2": "" });
    changed["allowed_ports"] = json!([443]);
    changed["external_id"] = json!("another-id");
    apply(api, path, &changed).await;
    // What is no longer configured is gone.
    let fewer = json!({
        "access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "canary-secret",
        "region": "us-east-1", "granularity": "secret-path",
    });
    apply(api, path, &fewer).await;
    let read = api.get(path).await.ok();
    assert_eq!(read.at("/data/options/custom_tags"), json!({}));
    for field in ["role_arn", "external_id", "kms_key_id", "replica_regions", "allowed_ports"] {
        assert_eq!(read_back(&read, field), Value::Null, "{field}");
    }
    assert_eq!(api.delete(path).await.status, 204);
    api.get(path).await.refused(404, "");
    let federated = json!({
        "region": "us-east-1",
        "role_arn": "arn:aws:iam::123456789012:role/sync",
        "identity_token_audience": "sts.amazonaws.com",
        "identity_token_ttl": 3600,
        "granularity": "secret-path",
        "secret_name_template": "vault/{{ .SecretPath }}",
    });
    apply(api, "sys/sync/destinations/aws-sm/wif", &federated).await;
    assert_eq!(api.delete("sys/sync/destinations/aws-sm/wif").await.status, 204);
    assert!(aws.secrets().is_empty());
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_plan_of_an_association_finds_nothing_to_change() {
    let (aws, server) = world().await;
    let (api, sync) = (server.api(), server.sync());
    activate(api).await;
    for (name, granularity) in [("whole", "secret-path"), ("keys", "secret-key")] {
        let mut fields = bailee_testkit::Sync::fields(&aws);
        fields["granularity"] = json!(granularity);
        fields["secret_name_template"] = json!(match granularity {
            "secret-path" => "whole/{{ .SecretPath }}",
            _ => "keys/{{ .SecretPath }}/{{ .SecretKey }}",
        });
        sync.destination_with(name, fields).await.done();
    }
    api.write("app/db", json!({ "user": "u", "password": "p" })).await;
    let mounts = api.get("sys/internal/ui/mounts/secret").await.ok();
    let accessor = mounts.text("/data/accessor");
    let ask = json!({ "mount": "secret", "secret_name": "app/db" });
    for (name, sub_keys) in [("whole", vec![None]), ("keys", vec![Some("password"), Some("user")])]
    {
        let path = format!("sys/sync/destinations/aws-sm/{name}/associations");
        // Twice: an update sets it again.
        for _ in 0..2 {
            api.put(&format!("{path}/set"), ask.clone()).await.done();
            // The provider fails unless it finds at least one at once.
            let read = api.get(&path).await.ok();
            let all = read.at("/data/associated_secrets");
            let found: Vec<&Value> = all
                .as_object()
                .unwrap()
                .values()
                .filter(|one| one["accessor"] == *accessor && one["secret_name"] == "app/db")
                .collect();
            let keys: Vec<Option<&str>> =
                found.iter().map(|one| one.get("sub_key").and_then(Value::as_str)).collect();
            assert_eq!(keys, sub_keys, "{read:?}");
            for one in found {
                assert_eq!(one["sync_status"], "SYNCED", "{read:?}");
                assert!(one["updated_at"].is_string());
            }
        }
        api.delete(&format!("sys/sync/destinations/aws-sm/{name}"))
            .await
            .refused(400, "has associated secrets");
        api.put(&format!("{path}/remove"), ask.clone()).await.done();
        let read = api.get(&path).await.ok();
        assert_eq!(read.at("/data/associated_secrets"), json!({}));
        // Again: what is gone is removed.
        api.put(&format!("{path}/remove"), ask.clone()).await.done();
        assert_eq!(api.delete(&format!("sys/sync/destinations/aws-sm/{name}")).await.status, 204);
    }
    let left = aws.secrets().into_iter().filter(|secret| secret.deleted_at.is_none());
    assert_eq!(left.count(), 0);
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_plan_of_the_configuration_finds_nothing_to_change() {
    let (_aws, server) = world().await;
    let api = server.api();
    activate(api).await;
    let path = "sys/sync/config";
    for wish in [
        json!({ "disabled": true, "queue_capacity": 500_000 }),
        json!({ "disabled": false, "queue_capacity": 1_000_000 }),
    ] {
        api.patch(path, wish.clone()).await.done();
        let read = api.get(path).await.ok();
        for field in ["disabled", "queue_capacity"] {
            assert_eq!(read.at(&format!("/data/{field}")), wish[field], "{read:?}");
        }
    }
    api.patch(path, json!({ "disabled": true, "queue_capacity": 7 })).await.done();
    let reset = api.delete(path).await.ok();
    assert_eq!(reset.at("/data/disabled"), false);
    assert_eq!(reset.at("/data/queue_capacity"), 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_that_are_not_there_are_refused_plainly() {
    let (_aws, server) = world().await;
    let api = server.api();
    activate(api).await;
    for path in [
        "sys/sync/destinations/azure-kv/tf",
        "sys/sync/destinations/gcp-sm/tf",
        "sys/sync/destinations/gh/tf",
        "sys/sync/destinations/vercel-project/tf",
        "sys/sync/github-apps/tf",
    ] {
        api.put(path, json!({ "project_id": "p" })).await.refused(404, "unsupported path");
    }
}
