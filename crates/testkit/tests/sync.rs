//! The life of an association from end to end.

use bailee_fake_clouds::{FakeAws, aws::Fault};
use bailee_testkit::{Options, Sync, TestServer, eventually};
use serde_json::{Value, json};

fn value(aws: &FakeAws, name: &str) -> Option<Value> {
    let held = aws.secret(name).filter(|secret| secret.deleted_at.is_none())?;
    serde_json::from_str(&held.value?).ok()
}

async fn becomes(aws: &FakeAws, name: &str, wanted: Option<Value>) {
    let what = format!("{name} becomes {wanted:?} in AWS");
    eventually(&what, async || value(aws, name) == wanted).await;
}

async fn world() -> (FakeAws, TestServer) {
    let aws = FakeAws::start().await;
    let server = TestServer::delivering_to(&aws).await;
    server.sync().destination(&aws, "fake").await;
    (aws, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_created_changed_and_removed_with_its_source() {
    let (aws, server) = world().await;
    let (api, sync) = (server.api(), server.sync());
    api.write("app/db", json!({ "n": 1 })).await;
    let set = sync.set("fake", "app/db").await.ok();
    let all = set.at("/data/associated_secrets");
    let (key, entry) = all.as_object().unwrap().iter().next().unwrap();
    assert_eq!(entry["sync_status"], "SYNCED", "{set:?}");
    assert_eq!(entry["secret_name"], "app/db");
    assert_eq!(*key, format!("{}/app/db", entry["accessor"].as_str().unwrap()));
    assert_eq!(set.at("/data/store_name"), "fake");
    assert_eq!(set.at("/data/store_type"), "aws-sm");
    assert_eq!(value(&aws, "vault/app/db"), Some(json!({ "n": 1 })));

    api.write("app/db", json!({ "n": 2 })).await;
    becomes(&aws, "vault/app/db", Some(json!({ "n": 2 }))).await;
    // The newest version goes: the newest that lives takes its place.
    api.delete("secret/data/app/db").await.done();
    becomes(&aws, "vault/app/db", Some(json!({ "n": 1 }))).await;
    api.put("secret/undelete/app/db", json!({ "versions": [2] })).await.done();
    becomes(&aws, "vault/app/db", Some(json!({ "n": 2 }))).await;
    api.put("secret/destroy/app/db", json!({ "versions": [2] })).await.done();
    becomes(&aws, "vault/app/db", Some(json!({ "n": 1 }))).await;
    // Nothing living is left.
    api.put("secret/delete/app/db", json!({ "versions": [1] })).await.done();
    becomes(&aws, "vault/app/db", None).await;
    sync.until("fake", "app/db", "UNSYNCED").await;
    // A new version brings it back.
    api.write("app/db", json!({ "n": 3 })).await;
    becomes(&aws, "vault/app/db", Some(json!({ "n": 3 }))).await;
    sync.until("fake", "app/db", "SYNCED").await;
    api.delete("secret/metadata/app/db").await.done();
    becomes(&aws, "vault/app/db", None).await;
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn dissociation_removes_and_is_fine_twice() {
    let (aws, server) = world().await;
    let (api, sync) = (server.api(), server.sync());
    for secret in ["a", "b"] {
        api.write(secret, json!({ "n": 1 })).await;
        sync.set("fake", secret).await.done();
    }
    let listed = api.list("sys/sync/associations").await.ok();
    assert_eq!(listed.at("/data/total_associations"), 2);
    assert_eq!(
        listed.at("/data/key_info/secret~1a/0"),
        json!({ "mount": "secret/", "secret_path": "a" })
    );
    let by_secret =
        api.get("sys/sync/associations/destinations?mount=secret&secret_name=a").await.ok();
    assert_eq!(by_secret.at("/data/associated_destinations/aws-sm~1fake/sync_status"), "SYNCED");

    let removed = sync.remove("fake", "a").await.ok();
    assert!(removed.body_text().contains("UNSYNCED"), "{removed:?}");
    assert_eq!(value(&aws, "vault/a"), None);
    assert_eq!(value(&aws, "vault/b"), Some(json!({ "n": 1 })));
    assert_eq!(sync.association("fake", "a").await, None);
    sync.remove("fake", "a").await.done();
    // Writes to what is not associated go nowhere.
    api.write("a", json!({ "n": 2 })).await;
    api.write("b", json!({ "n": 2 })).await;
    becomes(&aws, "vault/b", Some(json!({ "n": 2 }))).await;
    assert_eq!(value(&aws, "vault/a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_shown_masked_listed_changed_and_purged() {
    let (aws, server) = world().await;
    let (api, sync) = (server.api(), server.sync());
    let path = "sys/sync/destinations/aws-sm/fake";
    let shown = api.get(path).await.ok();
    assert_eq!(shown.at("/data/connection_details/access_key_id"), "*****");
    assert_eq!(shown.at("/data/connection_details/secret_access_key"), "*****");
    assert_eq!(shown.at("/data/connection_details/region"), "us-east-1");
    assert_eq!(shown.at("/data/options/granularity_level"), "secret-path");
    assert_eq!(shown.at("/data/options/custom_tags"), json!({}));
    assert_eq!(shown.at("/data/type"), "aws-sm");
    let listed = api.list("sys/sync/destinations").await.ok();
    assert_eq!(listed.at("/data/keys"), json!(["aws-sm/"]));
    assert_eq!(listed.at("/data/key_info/aws-sm~1"), json!(["fake"]));
    let of_type = api.get("sys/sync/destinations/aws-sm?list=true").await.ok();
    assert_eq!(of_type.at("/data/keys"), json!(["fake"]));

    // Masked values written back change nothing.
    api.patch(path, json!({ "secret_access_key": "*****", "custom_tags": { "team": "core" } }))
        .await
        .done();
    api.write("a", json!({ "n": 1 })).await;
    sync.set("fake", "a").await.done();
    sync.until("fake", "a", "SYNCED").await;
    assert_eq!(aws.secret("vault/a").unwrap().tags.get("team").map(String::as_str), Some("core"));

    api.delete(path).await.refused(400, "associated");
    api.delete(&format!("{path}?purge=true")).await.done();
    eventually("the destination goes with its secrets", async || api.get(path).await.status == 404)
        .await;
    assert_eq!(value(&aws, "vault/a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_scheduled_for_deletion_is_restored_and_written() {
    let (aws, server) = world().await;
    aws.put_secret("vault/app", "from before");
    assert!(aws.schedule_deletion("vault/app", 7));
    server.api().write("app", json!({ "n": 1 })).await;
    server.sync().set("fake", "app").await.done();
    becomes(&aws, "vault/app", Some(json!({ "n": 1 }))).await;
    server.sync().until("fake", "app", "SYNCED").await;
    let tags = aws.secret("vault/app").unwrap().tags;
    assert!(tags.contains_key("hashicorp:vault"), "{tags:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_shown_and_made_up_for() {
    let (aws, server) = world().await;
    let (api, sync) = (server.api(), server.sync());
    api.write("app", json!({ "n": 1 })).await;
    sync.set("fake", "app").await.done();
    aws.inject(Fault::error("secretsmanager:*", 503, "ServiceUnavailable", "down"));
    api.write("app", json!({ "n": 2 })).await;
    let status = sync.until("fake", "app", "EXTERNAL_SERVICE_ERROR").await;
    assert!(status.get("error").is_some(), "{status}");
    api.write("app", json!({ "n": 3 })).await;
    aws.clear_faults();
    becomes(&aws, "vault/app", Some(json!({ "n": 3 }))).await;
    sync.until("fake", "app", "SYNCED").await;
    let values: Vec<_> = aws
        .secret("vault/app")
        .unwrap()
        .versions
        .into_iter()
        .filter_map(|version| version.text)
        .collect();
    assert!(
        !values.iter().any(|text| text.contains('2')),
        "an old value was delivered: {values:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_the_server_was_down_is_found_at_its_start() {
    let (aws, mut server) = world().await;
    server.api().write("late", json!({ "n": 1 })).await;
    server.sync().set("fake", "late").await.done();
    server.sync().until("fake", "late", "SYNCED").await;
    // AWS is out; a write is acknowledged; the server dies; AWS comes back before it does.
    aws.inject(Fault::lose_request("secretsmanager:*"));
    server.api().write("late", json!({ "n": 2 })).await;
    server.kill();
    aws.clear_faults();
    server.restart().await;
    becomes(&aws, "vault/late", Some(json!({ "n": 2 }))).await;
    server.sync().until("fake", "late", "SYNCED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_associates_what_they_may_not_read() {
    let (aws, server) = world().await;
    let api = server.api();
    api.write("app/db", json!({ "n": 1 })).await;
    let policy = r#"
        path "sys/sync/*" { capabilities = ["create", "read", "update", "delete", "list"] }
        path "secret/data/open/*" { capabilities = ["read"] }
    "#;
    api.put("sys/policies/acl/syncer", json!({ "policy": policy })).await.done();
    let made = api.post("auth/token/create", json!({ "policies": ["syncer"] })).await.ok();
    let limited = api.with_token(&made.text("/auth/client_token"));
    let path = "sys/sync/destinations/aws-sm/fake/associations/set";
    let ask = |name: &str| json!({ "mount": "secret", "secret_name": name });
    let text = "permission denied to read the content of the secret app/db in mount secret";
    limited.put(path, ask("app/db")).await.refused(403, text);
    assert_eq!(server.sync().association("fake", "app/db").await, None);
    assert!(aws.secrets().is_empty());
    api.write("open/a", json!({ "n": 1 })).await;
    limited.put(path, ask("open/a")).await.done();
    becomes(&aws, "vault/open/a", Some(json!({ "n": 1 }))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn until_it_is_activated_sync_refuses() {
    let aws = FakeAws::start().await;
    let server = TestServer::start_with(Options::delivering_to(&aws)).await;
    let (api, sync) = (server.api(), server.sync());
    let flags = api.anonymous().get("sys/activation-flags").await.ok();
    assert_eq!(flags.at("/data/activated"), json!([]));
    assert!(flags.at("/data/unactivated").to_string().contains("secrets-sync"), "{flags:?}");
    let refused = sync.destination_with("fake", Sync::fields(&aws)).await;
    assert!((400..500).contains(&refused.status), "{refused:?}");
    assert!(refused.errors().contains("activat"), "{refused:?}");
    let refused = api.list("sys/sync/destinations").await;
    assert!((400..500).contains(&refused.status) && !refused.errors().is_empty(), "{refused:?}");
    sync.activate().await;
    let flags = api.anonymous().get("sys/activation-flags").await.ok();
    assert!(flags.at("/data/activated").to_string().contains("secrets-sync"), "{flags:?}");
    sync.destination(&aws, "fake").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_credentials_are_used_only_where_the_configuration_says_so() {
    let aws = FakeAws::start().await;
    let mut options = Options::delivering_to(&aws);
    let key = aws.administrator().clone();
    options.environment.push(("AWS_ACCESS_KEY_ID".to_owned(), key.access_key_id));
    options.environment.push(("AWS_SECRET_ACCESS_KEY".to_owned(), key.secret_access_key));
    let mut server = TestServer::start_with(options).await;
    server.sync().activate().await;
    let mut fields = Sync::fields(&aws);
    fields.as_object_mut().unwrap().retain(|name, _| !name.contains("access_key"));
    let refused = server.sync().destination_with("fake", fields.clone()).await;
    refused.refused(400, "ambient_credentials");
    server.api().list("sys/sync/destinations").await.refused(404, "");

    server.options_mut().config = "sync {\n  ambient_credentials = true\n}".to_owned();
    server.restart().await;
    server.sync().destination_with("fake", fields.clone()).await.done();
    server.api().write("app", json!({ "n": 1 })).await;
    server.sync().set("fake", "app").await.done();
    becomes(&aws, "vault/app", Some(json!({ "n": 1 }))).await;
    // Not for tenants.
    server.api().put("sys/namespaces/team", json!({})).await.done();
    let tenant = server.api().in_namespace("team");
    let path = "sys/sync/destinations/aws-sm/fake";
    tenant.put(path, fields).await.refused(400, "root namespace");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_nobody_permitted_are_not_dialled() {
    let aws = FakeAws::start().await;
    let server = TestServer::delivering_to(&aws).await;
    server.api().write("app", json!({ "n": 1 })).await;
    let port = aws.port().to_string();
    for (name, dropped, said) in
        [("a", "allowed_ipv4_addresses", "127.0.0.1"), ("b", "allowed_ports", port.as_str())]
    {
        let mut fields = Sync::fields(&aws);
        fields.as_object_mut().unwrap().retain(|field, _| field != dropped);
        fields["secret_name_template"] = json!(format!("vault/{name}/{{{{ .SecretPath }}}}"));
        server.sync().destination_with(name, fields).await.done();
        server.sync().set(name, "app").await.done();
        let status = server.sync().until(name, "app", "CLIENT_SIDE_ERROR").await;
        assert!(status["error"].to_string().contains(said), "{status}");
    }
    assert_eq!(aws.calls().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_sync_is_disabled_changes_wait() {
    let (aws, server) = world().await;
    let (api, sync) = (server.api(), server.sync());
    api.write("app", json!({ "n": 1 })).await;
    sync.set("fake", "app").await.done();
    api.patch("sys/sync/config", json!({ "disabled": true })).await.done();
    api.write("app", json!({ "n": 2 })).await;
    sync.until("fake", "app", "PENDING").await;
    assert_eq!(value(&aws, "vault/app"), Some(json!({ "n": 1 })));
    api.patch("sys/sync/config", json!({ "disabled": false })).await.done();
    becomes(&aws, "vault/app", Some(json!({ "n": 2 }))).await;
    sync.until("fake", "app", "SYNCED").await;
}
