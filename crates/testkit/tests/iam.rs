//! The documented policies: enough, and no more than needed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use bailee_fake_clouds::{FakeAws, aws::Key};
use bailee_testkit::{Sync, TestServer, eventually, workspace};
use serde_json::{Value, json};

/// The policies of docs/sync-aws.md, as a reader copies them: the minimal one, the denying one.
fn documented() -> (Value, Value) {
    let page = std::fs::read_to_string(workspace().join("docs/sync-aws.md")).unwrap();
    let mut blocks = page.split("```json\n").skip(1).map(|rest| {
        let text = rest.split("```").next().unwrap();
        serde_json::from_str::<Value>(text).expect("the documented policy is JSON")
    });
    let minimal = blocks.next().expect("the minimal policy");
    let denying = blocks.next().expect("the denying statement");
    (minimal, denying)
}

fn actions(policy: &Value) -> Vec<String> {
    let actions = policy.pointer("/Statement/0/Action").and_then(Value::as_array).unwrap();
    actions.iter().map(|action| action.as_str().unwrap().to_owned()).collect()
}

fn without(policy: &Value, action: &str) -> String {
    let mut policy = policy.clone();
    let actions = policy.pointer_mut("/Statement/0/Action").and_then(Value::as_array_mut).unwrap();
    actions.retain(|listed| listed != action);
    policy.to_string()
}

async fn server_for(aws: &FakeAws, key: &Key, tags: Value) -> TestServer {
    let server = TestServer::delivering_to(aws).await;
    let mut fields = Sync::fields_of(aws, key);
    fields["custom_tags"] = tags;
    server.sync().destination_with("fake", fields).await.done();
    server
}

fn value(aws: &FakeAws, name: &str) -> Option<Value> {
    let held = aws.secret(name).filter(|secret| secret.deleted_at.is_none())?;
    serde_json::from_str(&held.value?).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_minimal_policy_is_enough() {
    let aws = FakeAws::start().await;
    let (minimal, _) = documented();
    let key = aws.create_user("sync", &[&minimal.to_string()]);
    let server = server_for(&aws, &key, json!({ "team": "payments" })).await;
    let (api, sync) = (server.api(), server.sync());

    api.write("app/db", json!({ "n": 1 })).await;
    let set = sync.set("fake", "app/db").await.ok();
    let entry = set.at("/data/associated_secrets").as_object().unwrap().values().next().cloned();
    assert_eq!(entry.unwrap()["sync_status"], "SYNCED", "{set:?}");
    assert_eq!(value(&aws, "vault/app/db"), Some(json!({ "n": 1 })));
    let tags = aws.secret("vault/app/db").unwrap().tags;
    assert_eq!(tags.get("hashicorp:vault").map(String::as_str), Some(""));
    assert_eq!(tags.get("team").map(String::as_str), Some("payments"));

    api.write("app/db", json!({ "n": 2 })).await;
    eventually("the update", async || value(&aws, "vault/app/db") == Some(json!({ "n": 2 }))).await;
    api.patch("sys/sync/destinations/aws-sm/fake", json!({ "custom_tags": { "team": "core" } }))
        .await
        .done();
    sync.set("fake", "app/db").await.done();
    eventually("the tag changes", async || {
        let tags = aws.secret("vault/app/db").unwrap().tags;
        tags.get("team").map(String::as_str) == Some("core")
    })
    .await;
    let removed = sync.remove("fake", "app/db").await.ok();
    assert!(removed.body_text().contains("UNSYNCED"), "{removed:?}");
    assert_eq!(value(&aws, "vault/app/db"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_permission_that_is_missing_is_named_by_the_status() {
    let aws = FakeAws::start().await;
    let (minimal, _) = documented();
    let key = aws.create_user("sync", &[&minimal.to_string()]);
    let server = server_for(&aws, &key, json!({})).await;
    let (api, sync) = (server.api(), server.sync());
    for (number, action) in actions(&minimal).into_iter().enumerate() {
        let secret = format!("app/{number}");
        let name = format!("vault/{secret}");
        aws.set_user_policies("sync", &[&minimal.to_string()]);
        api.write(&secret, json!({ "n": 1 })).await;
        let creates = action.ends_with(":CreateSecret") || action.ends_with(":TagResource");
        if !creates {
            sync.set("fake", &secret).await.done();
            sync.until("fake", &secret, "SYNCED").await;
        }
        aws.set_user_policies("sync", &[&without(&minimal, &action)]);
        if creates {
            sync.set("fake", &secret).await.done();
        } else if action.ends_with(":UpdateSecret") {
            api.write(&secret, json!({ "n": 2 })).await;
        } else {
            assert!(action.ends_with(":DeleteSecret"), "a new action, {action}, needs a case here");
            // Nothing live is left, so it is to be removed.
            api.delete(&format!("secret/metadata/{secret}")).await.done();
        }
        let status = sync.until("fake", &secret, "CLIENT_SIDE_ERROR").await;
        assert!(status.to_string().contains(&action), "{action} is not named: {status}");

        aws.set_user_policies("sync", &[&minimal.to_string()]);
        if action.ends_with(":DeleteSecret") {
            sync.remove("fake", &secret).await.done();
            eventually("it is removed once permitted", async || value(&aws, &name).is_none()).await;
        } else {
            sync.set("fake", &secret).await.done();
            sync.until("fake", &secret, "SYNCED").await;
        }
    }
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_statement_the_status_says_which_permission_comes_first() {
    let aws = FakeAws::start().await;
    let key = aws.create_user("nobody", &[]);
    let server = server_for(&aws, &key, json!({})).await;
    server.api().write("app/db", json!({ "n": 1 })).await;
    server.sync().set("fake", "app/db").await.done();
    let status = server.sync().until("fake", "app/db", "CLIENT_SIDE_ERROR").await;
    assert!(status.to_string().contains("secretsmanager:CreateSecret"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_denial_keeps_the_role_from_secrets_that_are_not_synced() {
    let aws = FakeAws::start().await;
    let (mut minimal, denying) = documented();
    minimal["Statement"].as_array_mut().unwrap().push(denying);
    let key = aws.create_user("sync", &[&minimal.to_string()]);
    let server = server_for(&aws, &key, json!({})).await;
    let (api, sync) = (server.api(), server.sync());

    // Somebody else's secret, under the same prefix and without the mark.
    aws.put_secret("vault/foreign", "precious");
    api.write("foreign", json!({ "n": 1 })).await;
    sync.set("fake", "foreign").await.done();
    let status = sync.until("fake", "foreign", "CLIENT_SIDE_ERROR").await;
    assert!(status.to_string().contains("secretsmanager:UpdateSecret"), "{status}");
    assert_eq!(aws.secret("vault/foreign").unwrap().value.as_deref(), Some("precious"));
    sync.remove("fake", "foreign").await.done();
    assert_eq!(aws.secret("vault/foreign").unwrap().value.as_deref(), Some("precious"));

    // What carries the mark is not in the way of the denial.
    api.write("own", json!({ "n": 1 })).await;
    sync.set("fake", "own").await.done();
    sync.until("fake", "own", "SYNCED").await;
    api.write("own", json!({ "n": 2 })).await;
    eventually("the update", async || value(&aws, "vault/own") == Some(json!({ "n": 2 }))).await;

    // Somebody takes the mark off: hands off from then on.
    assert!(aws.set_secret_tag("vault/own", "hashicorp:vault", None));
    api.write("own", json!({ "n": 3 })).await;
    let status = sync.until("fake", "own", "CLIENT_SIDE_ERROR").await;
    assert!(status.to_string().contains("secretsmanager:UpdateSecret"), "{status}");
    assert_eq!(value(&aws, "vault/own"), Some(json!({ "n": 2 })));
}
