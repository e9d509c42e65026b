//! A whole server and its fields of `aws-sm`: roles taken on with its own tokens, keys, replicas,
//! deletions that can be taken back, secrets of others.

#![expect(clippy::indexing_slicing, reason = "a test that panics is a test that fails")]

use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Sync, TestServer, eventually};
use serde_json::{Value, json};

const MINIMAL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[
    "secretsmanager:CreateSecret","secretsmanager:UpdateSecret","secretsmanager:DeleteSecret",
    "secretsmanager:TagResource"],"Resource":"arn:aws:secretsmanager:*:*:secret:vault*"}]}"#;
const DESTINATION: &str = "sys/sync/destinations/aws-sm/d";

fn number(aws: &FakeAws, name: &str) -> Option<u64> {
    let held = aws.secret(name).filter(|secret| secret.deleted_at.is_none())?;
    serde_json::from_str::<Value>(&held.value?).ok()?["n"].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_taken_on_with_a_token_that_aws_verifies() {
    let aws = FakeAws::start().await;
    let server = TestServer::delivering_to(&aws).await;
    let (api, sync) = (server.api(), server.sync());
    let issuer = "https://bailee.test:8200/v1/identity/oidc/secrets-sync";
    let bare = issuer.trim_start_matches("https://");
    let provider = format!("arn:aws:iam::{}:oidc-provider/{bare}", aws.account_id());
    let trust = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": { "Federated": provider },
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": { "StringEquals": {
            format!("{bare}:aud"): "canary-audience",
            format!("{bare}:sub"): "secrets-sync:root:aws-sm:d",
        } },
    }] });
    let role = aws.create_role("deliver", &trust.to_string(), &[MINIMAL]);
    let fields = json!({
        "region": "us-east-1",
        "role_arn": role,
        "identity_token_audience": "canary-audience",
        "identity_token_ttl": "15m",
        "secret_name_template": "vault/{{ .SecretPath }}",
        "allowed_ipv4_addresses": ["127.0.0.0/8"],
        "allowed_ports": [aws.port()],
    });
    sync.destination_with("d", fields).await.done();
    let shown = api.get(DESTINATION).await.ok();
    assert_eq!(shown.text("/data/connection_details/identity_token_audience"), "*****");
    assert!(!shown.body_text().contains("canary-audience"));

    // Nobody could verify a token that names no address.
    let check = format!("{DESTINATION}/check");
    let checked = api.post(&check, json!({})).await.ok().data();
    assert_eq!(checked["error"]["class"], "invalid", "{checked}");
    assert!(checked.to_string().contains("identity/oidc/config"), "{checked}");
    let config = json!({ "issuer": "https://bailee.test:8200" });
    assert_eq!(api.post("identity/oidc/config", config).await.status, 200);
    // The account does not know the issuer yet.
    let checked = api.post(&check, json!({})).await.ok().data();
    assert_eq!(checked["error"]["code"], "InvalidIdentityToken", "{checked}");
    let anybody = api.anonymous();
    let discovery =
        anybody.get("identity/oidc/secrets-sync/.well-known/openid-configuration").await.ok().json;
    assert_eq!(discovery["issuer"], issuer);
    assert_eq!(discovery["jwks_uri"], format!("{issuer}/.well-known/keys"));
    let keys = anybody.get("identity/oidc/secrets-sync/.well-known/keys").await.ok().json;
    aws.create_oidc_provider(issuer, &["canary-audience"], keys);
    let checked = api.post(&check, json!({})).await.ok().data();
    assert_eq!(checked["ok"], true, "{checked}");
    let arn = checked["identity"]["arn"].as_str().unwrap();
    assert!(arn.contains("assumed-role/deliver/"), "{checked}");

    api.write("app", json!({ "n": 1 })).await;
    sync.set("d", "app").await.done();
    sync.until("d", "app", "SYNCED").await;
    assert_eq!(number(&aws, "vault/app"), Some(1));
    // Another destination is another subject, which the role does not trust.
    let fields = api.get(DESTINATION).await.ok().data();
    assert!(fields["connection_details"]["access_key_id"].is_null(), "{fields}");
    let other = json!({
        "region": "us-east-1", "role_arn": role, "identity_token_audience": "canary-audience",
        "allowed_ipv4_addresses": ["127.0.0.0/8"], "allowed_ports": [aws.port()],
    });
    sync.destination_with("other", other).await.done();
    let path = "sys/sync/destinations/aws-sm/other/check";
    let checked = api.post(path, json!({})).await.ok().data();
    let permission = &checked["error"]["missing_permission"];
    assert_eq!(permission, "sts:AssumeRoleWithWebIdentity", "{checked}");
    // A key of one's own, which has to list the audience.
    let key = json!({ "algorithm": "ES256", "allowed_client_ids": "else" });
    api.post("identity/oidc/key/cloud", key).await.done();
    api.patch(DESTINATION, json!({ "identity_token_key": "cloud" })).await.done();
    let checked = api.post(&check, json!({})).await.ok().data();
    assert!(checked.to_string().contains("allowed_client_ids"), "{checked}");
    assert!(!server.log().contains("eyJ"), "no token in the log");
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_replicas_follow_the_destination() {
    let aws = FakeAws::start().await;
    let server = TestServer::delivering_to(&aws).await;
    let (api, sync) = (server.api(), server.sync());
    let (key, there) = (aws.create_kms_key(), aws.create_kms_key_in("eu-west-1"));
    let mut fields = Sync::fields(&aws);
    fields["kms_key_id"] = json!(key);
    fields["replica_regions"] = json!({ "eu-west-1": there, "us-west-2": "" });
    sync.destination_with("d", fields).await.done();
    let shown = api.get(DESTINATION).await.ok();
    assert_eq!(shown.at("/data/connection_details/replica_regions/eu-west-1"), there);
    for secret in ["a", "b"] {
        api.write(secret, json!({ "n": 1 })).await;
        sync.set("d", secret).await.done();
        sync.until("d", secret, "SYNCED").await;
    }
    let held = aws.secret("vault/a").unwrap();
    assert_eq!(held.kms_key_arn.as_deref(), Some(key.as_str()));
    assert_eq!(held.replica_regions, ["eu-west-1", "us-west-2"]);
    let copy = aws.secret_in("eu-west-1", "vault/a").unwrap();
    assert_eq!(copy.kms_key_arn.as_deref(), Some(there.as_str()));

    // Everything follows by itself, and makes no version.
    let change = json!({ "kms_key_id": "", "replica_regions": { "ap-south-1": "" } });
    let mut fields = Sync::fields(&aws);
    fields.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    sync.destination_with("d", fields).await.done();
    for secret in ["vault/a", "vault/b"] {
        eventually("the new placement", async || {
            let held = aws.secret(secret).unwrap();
            held.kms_key_arn.is_none() && held.replica_regions == ["ap-south-1"]
        })
        .await;
        assert_eq!(aws.secret(secret).unwrap().versions.len(), 1);
    }
    sync.until("d", "a", "SYNCED").await;
    for (fields, told) in [
        (json!({ "kms_key_id": there }), "kms_key_id is a key in eu-west-1"),
        (json!({ "replica_regions": { "us-east-1": "" } }), "leave it out"),
        (json!({ "replica_regions": { "Europe": "" } }), "replica_regions"),
    ] {
        api.patch(DESTINATION, fields).await.refused(400, told);
    }
    for secret in ["a", "b"] {
        sync.remove("d", secret).await.done();
    }
    eventually("no copy is left in any region", async || aws.secrets().is_empty()).await;
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_deletion_is_taken_back_and_others_keep_what_is_theirs() {
    let aws = FakeAws::start().await;
    let server = TestServer::delivering_to(&aws).await;
    let (api, sync) = (server.api(), server.sync());
    let mut fields = Sync::fields(&aws);
    fields["deletion"] = json!("schedule");
    fields["recovery_window_days"] = json!(9);
    fields["ownership"] = json!("refuse");
    sync.destination_with("d", fields).await.done();
    api.write("app", json!({ "n": 1 })).await;
    sync.set("d", "app").await.done();
    sync.until("d", "app", "SYNCED").await;
    sync.remove("d", "app").await.done();
    let going = aws.secret("vault/app").unwrap();
    let window = going.deleted_for_good_at.unwrap().duration_since(going.deleted_at.unwrap());
    assert_eq!(window.unwrap().as_secs(), 9 * 86_400);
    api.write("app", json!({ "n": 2 })).await;
    sync.set("d", "app").await.done();
    sync.until("d", "app", "SYNCED").await;
    assert_eq!(number(&aws, "vault/app"), Some(2));

    aws.put_secret("vault/theirs", "precious");
    api.write("theirs", json!({ "n": 1 })).await;
    sync.set("d", "theirs").await.done();
    let status = sync.until("d", "theirs", "CLIENT_SIDE_ERROR").await;
    assert!(status.to_string().contains("ownership=adopt"), "{status}");
    api.patch(DESTINATION, json!({ "ownership": "adopt" })).await.done();
    sync.until("d", "theirs", "SYNCED").await;
    assert_eq!(number(&aws, "vault/theirs"), Some(1));
    api.patch(DESTINATION, json!({ "deletion": "retain" })).await.done();
    sync.remove("d", "theirs").await.done();
    let left = aws.secret("vault/theirs").unwrap();
    assert!(left.deleted_at.is_none() && left.tags.is_empty(), "{left:?}");
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_a_destination_too() {
    let server = TestServer::start().await;
    server.sync().activate().await;
    let api = server.api();
    let path = "sys/sync/destinations/in-mem/here";
    api.post(path, json!({})).await.done();
    api.write("app", json!({ "n": 1 })).await;
    let input = json!({ "mount": "secret", "secret_name": "app" });
    let set = api.post(&format!("{path}/associations/set"), input.clone()).await.ok();
    assert!(set.body_text().contains("SYNCED"), "{set:?}");
    let removed = api.post(&format!("{path}/associations/remove"), input).await.ok();
    assert!(removed.body_text().contains("UNSYNCED"), "{removed:?}");
    api.post(path, json!({ "region": "eu-west-1" })).await.refused(400, "region");
}
